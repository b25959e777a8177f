//! Prometheus' relabelling, and the rules that stand by default (api-semantics §3.9).
//!
//! Must not know: profiles, limits, the wire.

use std::borrow::Cow;

use hearth_common::limits::{DefaultRulesPosition, RelabelAction, RelabelRule};
use hearth_model::labels::{NAME, TYPE};
use hearth_model::tenant_rules::relabel_regex;
use regex::Regex;

use crate::labels::{self, Label};
use crate::md5::md5;

const REPLACED_NAME: &str = "__name_replaced__";
const DELTA: &str = "__delta__";
const GODELTAPROF: &str = "godeltaprof_";

/// A rule that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("relabelling rule {at}: {problem}")]
pub struct InvalidRule {
    /// Which rule, from 0.
    pub at: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// Rules ready to run, the default ones at their place.
#[derive(Debug)]
pub struct Rules {
    defaults: DefaultRulesPosition,
    own: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    rule: RelabelRule,
    regex: Regex,
}

impl Rules {
    /// Compiles rules; the default ones stand before, after or nowhere.
    pub fn compile(rules: &[RelabelRule], defaults: DefaultRulesPosition) -> Result<Self, InvalidRule> {
        let own = rules
            .iter()
            .enumerate()
            .map(|(at, rule)| Rule::compile(rule).map_err(|problem| InvalidRule { at, problem }))
            .collect::<Result<_, _>>()?;
        Ok(Self { defaults, own })
    }

    /// Rewrites a sorted label set; `false` when a rule drops it. The set stays sorted.
    pub fn apply(&self, labels: &mut Vec<Label<'_>>) -> bool {
        if self.defaults == DefaultRulesPosition::First {
            default_rules(labels);
        }
        if !self.own.iter().all(|rule| rule.apply(labels)) {
            return false;
        }
        if self.defaults == DefaultRulesPosition::Last {
            default_rules(labels);
        }
        true
    }
}

/// The default rules, without their regexes: delta profiles of Go under the names of what they are, and wall-clock profiles
/// of CPU time.
fn default_rules(labels: &mut Vec<Label<'_>>) {
    let Some(name) = labels::get(labels, NAME) else { return };
    if let Some(rest) = name.strip_prefix(GODELTAPROF).map(str::to_owned) {
        let name = name.to_owned();
        labels::set(labels, Cow::Borrowed(REPLACED_NAME), Cow::Owned(name));
        labels::set(labels, Cow::Borrowed(DELTA), Cow::Borrowed("false"));
        labels::set(labels, Cow::Borrowed(NAME), Cow::Owned(rest));
    } else if name == "wall" && labels::get(labels, TYPE) == Some("cpu") {
        labels::set(labels, Cow::Borrowed(REPLACED_NAME), Cow::Borrowed("wall"));
        labels::set(labels, Cow::Borrowed(NAME), Cow::Borrowed("process_cpu"));
    }
}

impl Rule {
    fn compile(rule: &RelabelRule) -> Result<Self, String> {
        let regex = relabel_regex(rule)?;
        Ok(Self { rule: rule.clone(), regex })
    }

    /// Runs the rule; `false` when it drops the set.
    fn apply(&self, labels: &mut Vec<Label<'_>>) -> bool {
        let value = self.joined(labels);
        let target = &self.rule.target_label;
        let mut put = |value: String| {
            labels::set(labels, Cow::Owned(target.clone()), Cow::Owned(value));
            true
        };
        match self.rule.action {
            RelabelAction::Drop => !self.regex.is_match(&value),
            RelabelAction::Keep => self.regex.is_match(&value),
            RelabelAction::DropEqual => labels::get(labels, target).unwrap_or_default() != value,
            RelabelAction::KeepEqual => labels::get(labels, target).unwrap_or_default() == value,
            RelabelAction::Replace => {
                self.replace(&value, labels);
                true
            }
            RelabelAction::Lowercase => put(value.to_lowercase()),
            RelabelAction::Uppercase => put(value.to_uppercase()),
            RelabelAction::HashMod => {
                let digest = md5(value.as_bytes());
                let last = digest.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
                put((last % self.rule.modulus).to_string())
            }
            RelabelAction::LabelMap => {
                self.map_names(labels);
                true
            }
            RelabelAction::LabelDrop => {
                labels.retain(|(name, _)| !self.regex.is_match(name));
                true
            }
            RelabelAction::LabelKeep => {
                labels.retain(|(name, _)| self.regex.is_match(name));
                true
            }
        }
    }

    fn joined(&self, labels: &[Label<'_>]) -> String {
        let values: Vec<&str> = self
            .rule
            .source_labels
            .iter()
            .map(|name| labels::get(labels, name).unwrap_or_default())
            .collect();
        values.join(&self.rule.separator)
    }

    fn replace(&self, value: &str, labels: &mut Vec<Label<'_>>) {
        let Some(captures) = self.regex.captures(value) else { return };
        let mut target = String::new();
        captures.expand(&self.rule.target_label, &mut target);
        if target.is_empty() {
            return;
        }
        let mut replacement = String::new();
        captures.expand(&self.rule.replacement, &mut replacement);
        labels::set(labels, Cow::Owned(target), Cow::Owned(replacement));
    }

    fn map_names(&self, labels: &mut Vec<Label<'_>>) {
        let mapped: Vec<(String, String)> = labels
            .iter()
            .filter(|(name, _)| self.regex.is_match(name))
            .map(|(name, value)| {
                (self.regex.replace_all(name, &*self.rule.replacement).into_owned(), value.to_string())
            })
            .filter(|(name, _)| !name.is_empty())
            .collect();
        for (name, value) in mapped {
            labels::set(labels, Cow::Owned(name), Cow::Owned(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(
        action: RelabelAction,
        sources: &[&str],
        regex: &str,
        target: &str,
        replacement: &str,
    ) -> RelabelRule {
        RelabelRule {
            source_labels: sources.iter().map(|s| (*s).to_owned()).collect(),
            regex: regex.to_owned(),
            target_label: target.to_owned(),
            replacement: replacement.to_owned(),
            action,
            ..RelabelRule::default()
        }
    }

    /// The set after the rules, or "dropped".
    fn check(rules: &[RelabelRule], sent: &[(&'static str, &'static str)], want: &str) {
        let rules = Rules::compile(rules, DefaultRulesPosition::First).expect("valid");
        let mut labels: Vec<Label<'_>> =
            sent.iter().map(|(n, v)| (Cow::Borrowed(*n), Cow::Borrowed(*v))).collect();
        labels::sort(&mut labels);
        let got = if rules.apply(&mut labels) { labels::text(&labels) } else { "dropped".to_owned() };
        assert_eq!(got, want, "{rules:?}");
    }

    #[test]
    fn default_rules_rename_delta_profiles() {
        check(
            &[],
            &[(NAME, "godeltaprof_memory"), ("service_name", "x")],
            r#"{__delta__="false", __name__="memory", __name_replaced__="godeltaprof_memory", service_name="x"}"#,
        );
        check(
            &[],
            &[(NAME, "wall"), (TYPE, "cpu")],
            r#"{__name__="process_cpu", __name_replaced__="wall", __type__="cpu"}"#,
        );
        check(&[], &[(NAME, "wall")], r#"{__name__="wall"}"#);
    }

    #[test]
    fn where_the_default_rules_stand() {
        let drop = [rule(RelabelAction::Drop, &[NAME], "memory", "", "")];
        let run = |position| {
            let mut labels: Vec<Label<'_>> = vec![(Cow::Borrowed(NAME), Cow::Borrowed("godeltaprof_memory"))];
            let rules = Rules::compile(&drop, position).expect("valid");
            rules.apply(&mut labels).then(|| labels::text(&labels))
        };
        assert_eq!(run(DefaultRulesPosition::First), None);
        assert!(run(DefaultRulesPosition::Last).expect("kept").contains(r#"__name__="memory""#));
        assert_eq!(
            run(DefaultRulesPosition::Disabled),
            Some(r#"{__name__="godeltaprof_memory"}"#.to_owned())
        );
    }

    #[test]
    fn actions() {
        use RelabelAction::*;
        let ab = [("a", "foo"), ("b", "bar")];
        check(
            &[rule(Replace, &["a"], "f(.*)", "d", "ch${1}-ch${1}")],
            &ab,
            r#"{a="foo", b="bar", d="choo-choo"}"#,
        );
        check(
            &[rule(Replace, &["a", "b"], "(.*);(.*)", "c", "$2$1")],
            &ab,
            r#"{a="foo", b="bar", c="barfoo"}"#,
        );
        check(&[rule(Replace, &["a"], "oo", "c", "x")], &ab, r#"{a="foo", b="bar"}"#);
        check(&[rule(Replace, &["a"], ".*", "b", "")], &ab, r#"{a="foo"}"#);
        check(&[rule(Replace, &["a"], "(f)oo", "${1}_x", "y")], &ab, r#"{a="foo", b="bar", f_x="y"}"#);
        check(&[rule(Keep, &["a"], "foo", "", "")], &ab, r#"{a="foo", b="bar"}"#);
        check(&[rule(Keep, &["a"], "fo", "", "")], &ab, "dropped");
        check(&[rule(Drop, &["missing"], "", "", "")], &ab, "dropped");
        check(&[rule(KeepEqual, &["a"], "(.*)", "b", "")], &ab, "dropped");
        check(&[rule(DropEqual, &["a"], "(.*)", "b", "")], &ab, r#"{a="foo", b="bar"}"#);
        check(
            &[rule(LabelMap, &[], "(a|b)", "", "x_$1")],
            &ab,
            r#"{a="foo", b="bar", x_a="foo", x_b="bar"}"#,
        );
        check(&[rule(LabelDrop, &[], "a", "", "")], &ab, r#"{b="bar"}"#);
        check(&[rule(LabelKeep, &[], "a", "", "")], &ab, r#"{a="foo"}"#);
        check(&[rule(Uppercase, &["a"], "(.*)", "a", "")], &ab, r#"{a="FOO", b="bar"}"#);
        check(&[rule(Lowercase, &["A"], "(.*)", "c", "")], &[("A", "FOO")], r#"{A="FOO", c="foo"}"#);
        // A value of Prometheus' own tests.
        let hash = RelabelRule { modulus: 1000, ..rule(HashMod, &["c"], "(.*)", "d", "") };
        check(&[hash], &[("c", "baz")], r#"{c="baz", d="976"}"#);
        let hash = RelabelRule { modulus: 1000, ..rule(HashMod, &["a"], "(.*)", "d", "") };
        check(&[hash], &[("a", "foo\nbar")], r#"{a="foo\nbar", d="734"}"#);
    }

    #[test]
    fn rules_that_cannot_work() {
        let fails =
            |rule: RelabelRule| Rules::compile(&[rule], DefaultRulesPosition::First).expect_err("invalid");
        assert_eq!(fails(rule(RelabelAction::Drop, &[], "(", "", "")).at, 0);
        let error = fails(rule(RelabelAction::HashMod, &["a"], "(.*)", "b", ""));
        assert_eq!(error.to_string(), "relabelling rule 0: HashMod needs a modulus above 0");
        assert!(
            fails(rule(RelabelAction::Replace, &["a"], "(.*)", "", "x")).problem.contains("target_label")
        );
    }
}
