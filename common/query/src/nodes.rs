//! How many nodes an answer may have (api-semantics §2.7).

use hearth_common::limits::raise;
use hearth_common::{Classify, ErrorKind, TenantLimits};

/// The number is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodesError {
    /// More than the tenant may ask for.
    #[error(
        "max flamegraph nodes limit {asked} is greater than allowed {max}{}",
        raise("max_flamegraph_nodes_max")
    )]
    TooMany {
        /// What was asked for.
        asked: i64,
        /// What is allowed.
        max: i64,
    },
    /// Negative, which would mean "all", while there is a limit.
    #[error("max flamegraph nodes limit must be set (max allowed {max})")]
    Unset {
        /// What is allowed.
        max: i64,
    },
}

impl Classify for NodesError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// The number of nodes to draw; ≤ 0 in the result means all.
pub fn resolve(asked: Option<i64>, limits: &TenantLimits) -> Result<i64, NodesError> {
    let max = limits.max_flamegraph_nodes_max;
    match asked.unwrap_or(0) {
        0 => Ok(limits.max_flamegraph_nodes_default),
        asked if max == 0 => Ok(asked),
        asked if asked < 0 => Err(NodesError::Unset { max }),
        asked if asked > max => Err(NodesError::TooMany { asked, max }),
        asked => Ok(asked),
    }
}

/// The same for merged pprof: unlimited unless the tenant's flag says otherwise or the request gives a number.
pub fn resolve_pprof(asked: Option<i64>, limits: &TenantLimits) -> Result<i64, NodesError> {
    match limits.max_flamegraph_nodes_on_select_merge_profile {
        true => resolve(asked, limits),
        false => Ok(asked.unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_the_reference() {
        let limits = TenantLimits::default();
        assert_eq!(resolve(None, &limits), Ok(8192));
        assert_eq!(resolve(Some(0), &limits), Ok(8192));
        assert_eq!(resolve(Some(1_048_576), &limits), Ok(1_048_576));
        let error = resolve(Some(1_048_577), &limits).expect_err("too many").to_string();
        let want = "max flamegraph nodes limit 1048577 is greater than allowed 1048576; max_flamegraph_nodes_max allows";
        assert!(error.starts_with(want), "{error}");
        assert_eq!(
            resolve(Some(-1), &limits).map_err(|e| e.to_string()),
            Err("max flamegraph nodes limit must be set (max allowed 1048576)".to_owned())
        );
        let unlimited = TenantLimits { max_flamegraph_nodes_max: 0, ..limits };
        assert_eq!(resolve(Some(-1), &unlimited), Ok(-1));
        assert_eq!(resolve_pprof(None, &TenantLimits::default()), Ok(0));
    }
}
