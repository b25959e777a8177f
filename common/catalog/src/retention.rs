//! Retention by selector: which profiles are older than a tenant keeps them. Pure.
//!
//! A rule only shortens: a profile goes when it is older than the period of *any* rule that selects it, and with its block
//! when that is older than the period of all (`compactor_blocks_retention_period`).

use hearth_block::merge::Expiry;
use hearth_common::{Classify, ErrorKind, TenantLimits, TimestampNs};
use hearth_model::Selector;
use hearth_model::selector::InvalidSelector;

/// Most rules of one tenant: each merge compares each series with all of them.
pub const RETENTION_RULES_MAX: usize = 100;

/// Why rules of retention are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRetention {
    /// Too many.
    #[error("retention has {0} rules, the limit is {RETENTION_RULES_MAX}: join some with =~")]
    TooMany(usize),
    /// A selector.
    #[error("retention rule '{selector}' is no selector")]
    Selector {
        /// As written.
        selector: String,
        /// Why.
        #[source]
        source: InvalidSelector,
    },
    /// A period of nothing.
    #[error(
        "retention rule '{selector}' has period 0, which would delete what was just pushed: leave the rule out to keep \
         profiles as long as the rest"
    )]
    NoPeriod {
        /// The rule.
        selector: String,
    },
}

impl Classify for InvalidRetention {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// What a tenant's rules let go at a time, for the filter of a merge; empty when it has none. Fails for rules that
/// are refused when settings are loaded.
pub fn expiries(limits: &TenantLimits, now: TimestampNs) -> Result<Vec<Expiry>, InvalidRetention> {
    if limits.retention.len() > RETENTION_RULES_MAX {
        return Err(InvalidRetention::TooMany(limits.retention.len()));
    }
    let expiry = |rule: &hearth_common::limits::RetentionRule| {
        let text = || rule.selector.clone();
        if rule.period.is_zero() {
            return Err(InvalidRetention::NoPeriod { selector: text() });
        }
        let selector = Selector::parse(&rule.selector)
            .map_err(|source| InvalidRetention::Selector { selector: text(), source })?;
        Ok(Expiry { selector, before: TimestampNs(now.0.saturating_sub(rule.period.as_ns())) })
    };
    limits.retention.iter().map(expiry).collect()
}

#[cfg(test)]
mod tests {
    use hearth_common::limits::RetentionRule;
    use hearth_common::units::GoDuration;

    use super::*;

    fn limits(rules: &[(&str, u64)]) -> TenantLimits {
        let rule = |(selector, secs): &(&str, u64)| RetentionRule {
            selector: (*selector).to_owned(),
            period: GoDuration::from_secs(*secs),
        };
        TenantLimits { retention: rules.iter().map(rule).collect(), ..TenantLimits::default() }
    }

    #[test]
    fn each_rule_lets_go_what_is_older_than_its_period() {
        let now = TimestampNs(100_000_000_000);
        let got = expiries(&limits(&[(r#"{env="dev"}"#, 10), ("{}", 1_000_000)]), now).expect("valid");
        let got: Vec<_> = got.iter().map(|e| (e.selector.matchers.len(), e.before.0)).collect();
        assert_eq!(got, [(1, 90_000_000_000), (0, 100_000_000_000 - 1_000_000_000_000_000)]);
        assert!(expiries(&TenantLimits::default(), now).expect("valid").is_empty());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let refused = |rules: &[(&str, u64)]| {
            expiries(&limits(rules), TimestampNs(0)).map(drop).expect_err("refused").to_string()
        };
        assert_eq!(refused(&[("{env=", 5)]), "retention rule '{env=' is no selector");
        assert!(refused(&[("{}", 0)]).contains("has period 0"));
        assert!(refused(&vec![("{}", 5); 101]).contains("has 101 rules, the limit is 100"));
    }
}
