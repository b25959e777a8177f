//! Which share of a usage group's profiles is kept.

use hearth_common::limits::usage::Sampling;
use serde_json::json;

use super::Matched;

/// The rule that counts for a profile.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sampled {
    /// Of this group.
    group: String,
    pub(super) probability: f64,
}

impl Sampled {
    pub(super) fn annotation(&self) -> String {
        let source = json!({ "usageGroup": self.group, "probability": self.probability });
        json!({ "body": { "source": source } }).to_string()
    }
}

/// The rule of the groups of a series: one for a name with values in it, or without placeholders, before one for the name
/// with placeholders; of these the least probability. `None`: all is kept.
pub(super) fn of(rules: &Sampling, groups: &Matched) -> Option<Sampled> {
    let rule = |concrete: bool| {
        let of_member = move |member: &super::groups::Member| {
            let own = rules.usage_groups.get(&member.resolved);
            let rule = match concrete {
                true => own,
                false if member.is_concrete() => None,
                false => rules.usage_groups.get(&member.configured),
            };
            rule.map(|rule| Sampled { group: member.resolved.clone(), probability: rule.probability })
        };
        let found = groups.members().iter().filter_map(of_member);
        found.min_by(|a, b| a.probability.total_cmp(&b.probability))
    };
    rule(true).or_else(|| rule(false))
}

#[cfg(test)]
mod tests {
    use hearth_common::limits::usage::GroupSampling;

    use super::super::UsageGroups;
    use super::*;

    #[test]
    fn concrete_names_count_first_then_the_least_probability() {
        let configured = [("all", "{}"), ("team/${labels.team}", "{}"), ("dev", r#"{env="dev"}"#)];
        let configured = configured.map(|(name, selector)| (name.to_owned(), selector.to_owned()));
        let groups = UsageGroups::compile(&configured.into_iter().collect()).expect("valid");
        let of = |rules: &[(&str, f64)], env: &'static str| {
            let rules = rules
                .iter()
                .map(|(name, probability)| ((*name).to_owned(), GroupSampling { probability: *probability }));
            let matched = groups.of(&[("env".into(), env.into()), ("team".into(), "a".into())]);
            of(&Sampling { usage_groups: rules.collect() }, &matched)
        };
        let sampled = |group: &str, probability| Some(Sampled { group: group.to_owned(), probability });
        assert_eq!(of(&[("all", 0.5), ("dev", 0.1)], "dev"), sampled("dev", 0.1));
        assert_eq!(of(&[("all", 0.5), ("dev", 0.1)], "prod"), sampled("all", 0.5));
        assert_eq!(of(&[("team/${labels.team}", 0.2)], "prod"), sampled("team/a", 0.2));
        assert_eq!(of(&[("team/${labels.team}", 0.2), ("team/a", 0.7)], "prod"), sampled("team/a", 0.7));
        assert_eq!(of(&[("team/${labels.team}", 0.2), ("all", 0.7)], "prod"), sampled("all", 0.7));
        assert_eq!(of(&[("nobody", 0.0)], "prod"), None);
        let annotation = sampled("dev", 0.25).expect("some").annotation();
        assert_eq!(annotation, r#"{"body":{"source":{"probability":0.25,"usageGroup":"dev"}}}"#);
    }
}
