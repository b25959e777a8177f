//! Clients by address: one connection for each, as many as there are peers, closed when idle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hearth_common::Clock;
use parking_lot::Mutex;

use super::IngesterClient;
use crate::error::CallError;
use crate::metrics::Metrics;
use crate::tls::Tls;

/// Most connections; beyond it the one that was idle longest goes.
pub(super) const CLIENTS_MAX: usize = 256;
/// A connection that nobody asked for so long is closed.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(300);

/// Clients by address. A client that is taken out of the pool works on until its last clone is dropped.
#[derive(Debug)]
pub struct Pool {
    clients: Mutex<BTreeMap<String, (IngesterClient, Duration)>>,
    clock: Arc<dyn Clock>,
    tls: Option<Tls>,
    metrics: Metrics,
}

impl Pool {
    /// An empty pool.
    pub fn new(clock: Arc<dyn Clock>, tls: Option<Tls>, metrics: Metrics) -> Self {
        Self { clients: Mutex::default(), clock, tls, metrics }
    }

    /// The client for an address. Must be called within the runtime.
    pub fn get(&self, address: &str) -> Result<IngesterClient, CallError> {
        let now = self.clock.monotonic();
        let mut clients = self.clients.lock();
        if let Some((client, asked)) = clients.get_mut(address) {
            *asked = now;
            return Ok(client.clone());
        }
        clients.retain(|_, (_, asked)| now.saturating_sub(*asked) < IDLE_MAX);
        if clients.len() >= CLIENTS_MAX {
            let idlest =
                clients.iter().min_by_key(|(_, (_, asked))| *asked).map(|(address, _)| address.clone());
            idlest.and_then(|address| clients.remove(&address));
        }
        let client = IngesterClient::connect_lazy(address, self.tls.clone(), self.metrics.clone())?;
        clients.insert(address.to_owned(), (client.clone(), now));
        Ok(client)
    }

    /// How many connections are kept.
    pub fn len(&self) -> usize {
        self.clients.lock().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use hearth_testkit::HandClock;

    use super::*;

    #[tokio::test]
    async fn connections_are_shared_bounded_and_given_up_when_idle() {
        let clock = Arc::new(HandClock::default());
        let pool = Pool::new(Arc::clone(&clock) as Arc<dyn Clock>, None, Metrics::default());
        let same = |a: &str, b: &str| {
            let address = |address| pool.get(address).expect("valid").address.as_ptr();
            address(a) == address(b)
        };
        assert!(same("a:1", "a:1") && !same("a:1", "b:1"));
        assert_eq!(pool.len(), 2);
        for port in 0..CLIENTS_MAX {
            clock.pass(Duration::from_secs(1));
            pool.get(&format!("c:{}", port + 1)).expect("valid");
        }
        assert_eq!(pool.len(), CLIENTS_MAX);
        clock.pass(IDLE_MAX);
        pool.get("d:1").expect("valid");
        assert_eq!(pool.len(), 1);
        assert!(pool.get("no address").is_err() && pool.get("no-port").is_err());
    }
}
