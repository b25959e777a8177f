//! Requests to the object store, by the server's own count.

use anyhow::Result;

use crate::client::Client;

const OPERATIONS: &str = "objstore_bucket_operations_total{";

/// Requests since the server's start, each part of a multipart upload and each range counted by the server as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Requests {
    /// Objects and ranges read.
    pub(super) gets: u64,
    /// Objects written.
    pub(super) puts: u64,
}

impl Requests {
    /// As they are now; 0 where the server does not say.
    pub(super) fn of(client: &Client) -> Result<Self> {
        let text = String::from_utf8_lossy(&client.get("/metrics")?.body).into_owned();
        Ok(Self::read(&text))
    }

    /// Those after an earlier count.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self { gets: self.gets.saturating_sub(earlier.gets), puts: self.puts.saturating_sub(earlier.puts) }
    }

    fn read(metrics: &str) -> Self {
        let sum = |operations: &[&str]| {
            let lines = metrics.lines().filter(|line| line.starts_with(OPERATIONS));
            let lines = lines.filter(|line| {
                operations.iter().any(|operation| line.contains(&format!("operation=\"{operation}\"")))
            });
            lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>() as u64
        };
        Self { gets: sum(&["get", "get_range"]), puts: sum(&["upload", "create"]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_of_all_buckets_are_summed() {
        let metrics = "# TYPE objstore_bucket_operations counter\n\
            objstore_bucket_operations_total{operation=\"get\",bucket=\"a\"} 3\n\
            objstore_bucket_operations_total{bucket=\"a\",operation=\"get_range\"} 4\n\
            objstore_bucket_operations_total{operation=\"upload\"} 5\n\
            objstore_bucket_operations_total{operation=\"iter\"} 70\n\
            objstore_bucket_operation_failures_total{operation=\"get\"} 100\n";
        let found = Requests::read(metrics);
        assert_eq!(found, Requests { gets: 7, puts: 5 });
        assert_eq!(found.since(Requests { gets: 1, puts: 5 }), Requests { gets: 6, puts: 0 });
        assert_eq!(Requests::read(""), Requests::default());
    }
}
