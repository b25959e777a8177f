//! Usage groups: which of a tenant's groups a series belongs to.

use std::collections::BTreeMap;

pub(crate) use hearth_model::tenant_rules::{InvalidGroup, OTHER_USAGE_GROUP as OTHER};
use hearth_model::{Selector, tenant_rules};

use crate::labels::{self, Label};

const PLACEHOLDER: &str = "${labels.";

/// A part of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Label(String),
}

#[derive(Debug, Clone)]
struct Group {
    /// As configured.
    name: String,
    pieces: Vec<Piece>,
    selector: Selector,
}

/// The groups of a tenant, ready to be matched.
#[derive(Debug, Clone, Default)]
pub(crate) struct UsageGroups(Vec<Group>);

/// A group that a series belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    /// With the series' values in it.
    pub(crate) resolved: String,
    /// As configured.
    pub(crate) configured: String,
}

impl Member {
    /// Whether the name has no placeholder.
    pub(crate) fn is_concrete(&self) -> bool {
        !self.configured.contains(PLACEHOLDER)
    }
}

/// All groups of a series; none: [`OTHER`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Matched(Vec<Member>);

impl Matched {
    /// The groups, none for a series of no group.
    pub(crate) fn members(&self) -> &[Member] {
        &self.0
    }

    /// Names under which the series is counted, each once: several groups may have one name with their values in it.
    pub(crate) fn counted(&self) -> impl Iterator<Item = &str> {
        let none = self.0.is_empty().then_some(OTHER);
        // They are sorted by it.
        let mut last = None;
        let names = self.0.iter().map(|member| member.resolved.as_str());
        names.filter(move |name| last.replace(*name) != Some(*name)).chain(none)
    }
}

impl UsageGroups {
    /// Reads the groups of a tenant.
    pub(crate) fn compile(groups: &BTreeMap<String, String>) -> Result<Self, InvalidGroup> {
        let group = |(name, selector): (String, Selector)| Group { pieces: pieces(&name), name, selector };
        Ok(Self(tenant_rules::usage_groups(groups)?.into_iter().map(group).collect()))
    }

    /// The groups of a series, each once.
    pub(crate) fn of(&self, series: &[Label<'_>]) -> Matched {
        let value = |name: &str| labels::get(series, name).unwrap_or_default();
        let selects = |group: &&Group| {
            group.selector.matchers.iter().all(|matcher| matcher.matches(value(&matcher.name)))
        };
        let member = |group: &Group| {
            let text = group.pieces.iter().map(|piece| match piece {
                Piece::Text(text) => Some(text.as_str()),
                // A series without the label is of no such group.
                Piece::Label(name) => Some(value(name)).filter(|value| !value.is_empty()),
            });
            let resolved = text.collect::<Option<String>>()?;
            Some(Member { resolved, configured: group.name.clone() })
        };
        let mut members: Vec<Member> = self.0.iter().filter(selects).filter_map(member).collect();
        members.sort();
        Matched(members)
    }
}

fn pieces(name: &str) -> Vec<Piece> {
    let (mut pieces, mut rest) = (Vec::new(), name);
    while let Some((before, (label, after))) =
        rest.split_once(PLACEHOLDER).and_then(|(before, after)| Some((before, after.split_once('}')?)))
    {
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(Piece::Label(label.to_owned()));
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(pairs: &[(&str, &str)]) -> Result<UsageGroups, InvalidGroup> {
        let pairs = pairs.iter().map(|(name, selector)| ((*name).to_owned(), (*selector).to_owned()));
        UsageGroups::compile(&pairs.collect())
    }

    fn of(groups: &UsageGroups, series: &[(&str, &str)]) -> Vec<String> {
        let series: Vec<Label<'_>> =
            series.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        groups.of(&series).counted().map(str::to_owned).collect()
    }

    #[test]
    fn a_series_is_of_every_group_that_selects_it() {
        let groups = groups(&[
            ("shop", r#"{namespace=~"shop.*"}"#),
            ("team/${labels.team}", "{}"),
            ("${labels.zone}-${labels.team}", r#"{env!="dev"}"#),
        ]);
        let groups = groups.expect("valid");
        assert_eq!(of(&groups, &[("namespace", "shop-eu")]), ["shop"]);
        assert_eq!(of(&groups, &[("namespace", "shop"), ("team", "a")]), ["shop", "team/a"]);
        assert_eq!(of(&groups, &[("team", "a"), ("zone", "z")]), ["team/a", "z-a"]);
        assert_eq!(of(&groups, &[("team", "a"), ("zone", "z"), ("env", "dev")]), ["team/a"]);
        assert_eq!(of(&groups, &[("namespace", "bank")]), [OTHER]);
        assert_eq!(of(&UsageGroups::default(), &[]), [OTHER]);
    }

    #[test]
    fn a_series_is_counted_once_under_a_name() {
        let groups = groups(&[("team/a", "{}"), ("team/${labels.team}", "{}")]).expect("valid");
        assert_eq!(of(&groups, &[("team", "a")]), ["team/a"]);
        assert_eq!(of(&groups, &[("team", "b")]), ["team/a", "team/b"]);
    }

    #[test]
    fn names_without_an_end_are_text() {
        assert_eq!(pieces("a${labels.b"), [Piece::Text("a${labels.b".to_owned())]);
        assert_eq!(pieces("${labels.b}")[1], Piece::Label("b".to_owned()));
    }

    #[test]
    fn what_cannot_be_a_group_is_said() {
        let message = |pairs: &[(&str, &str)]| groups(pairs).expect_err("invalid").to_string();
        assert!(message(&[("other", "{}")]).contains("'other' is no name of a group"));
        assert!(
            message(&[("a", "{a=}")]).starts_with("distributor_usage_groups: a: 1:"),
            "{}",
            message(&[("a", "{a=}")])
        );
        let many: BTreeMap<String, String> = (0..51).map(|at| (format!("g{at}"), "{}".to_owned())).collect();
        assert_eq!(UsageGroups::compile(&many).expect_err("too many"), InvalidGroup::TooMany(51));
    }
}
