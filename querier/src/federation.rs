//! Queries over several tenants (`a|b`): what each of them is asked, and how answers say whose they are.
//!
//! A label that no profile has, `__tenant_id__`, tells tenants apart: selectors may name it, series may be grouped by it, and with
//! several tenants it stands among the labels. Pure; must not know how a tenant is asked.

use hearth_common::TenantId;
use hearth_model::labels::{PROFILE_TYPE, SAMPLED};
use hearth_model::points::PointSet;
use hearth_model::selector::{MatchOp, Matcher, Selector};
use hearth_model::{Answer, Labels, Question};

/// The label.
pub(crate) const TENANT_ID: &str = "__tenant_id__";

/// What one tenant is asked in place of a question; `None`: the question excludes the tenant.
pub(crate) fn of_tenant(tenant: &TenantId, question: &Question) -> Option<Question> {
    let mut question = question.clone();
    match &mut question {
        Question::Tree(query) | Question::Pprof(query) => take_out(tenant, &mut query.selector)?,
        Question::Points { query, group_by, .. } => {
            take_out(tenant, &mut query.selector)?;
            group_by.retain(|name| name != TENANT_ID);
        }
        Question::LabelNames { matchers, .. } => take_out_any(tenant, matchers)?,
        Question::LabelValues { name, matchers, .. } => {
            take_out_any(tenant, matchers)?;
            // Every profile has it: whoever has a value has profiles.
            if name == TENANT_ID {
                PROFILE_TYPE.clone_into(name);
            }
        }
        Question::Series { matchers, label_names, .. } => {
            take_out_any(tenant, matchers)?;
            let all = label_names.is_empty();
            label_names.retain(|name| name != TENANT_ID);
            if !all && label_names.is_empty() {
                label_names.push(PROFILE_TYPE.to_owned());
            }
        }
        Question::Estimate { selector, .. } | Question::Tally { selector, .. } => {
            take_out(tenant, selector)?;
        }
        Question::ProfileTypes { .. } | Question::Stats => {}
    }
    Some(question)
}

/// Leaves out what sampling has kept the totals of, which have no stacks.
pub(crate) fn without_totals(question: &mut Question) {
    if let Question::Tree(query) | Question::Pprof(query) | Question::Points { query, .. } = question {
        let (name, value) = (SAMPLED.to_owned(), "true".to_owned());
        query.selector.matchers.push(Matcher { name, op: MatchOp::NotEqual, value });
    }
}

/// A tenant's answer to [`of_tenant`] as part of the answer to the question itself; `several`: other tenants are asked, too.
pub(crate) fn labelled(tenant: &TenantId, several: bool, question: &Question, answer: Answer) -> Answer {
    match (question, answer) {
        (Question::Points { group_by, .. }, Answer::Points(points))
            if group_by.iter().any(|name| name == TENANT_ID) =>
        {
            let groups = points.groups.into_iter();
            let groups = groups.map(|(group, buckets)| (with_tenant(tenant, &group), buckets)).collect();
            Answer::Points(PointSet { groups })
        }
        (Question::LabelNames { .. }, Answer::Names(mut names)) if several && !names.is_empty() => {
            names.insert(TENANT_ID.to_owned());
            Answer::Names(names)
        }
        (Question::LabelValues { name, .. }, Answer::Names(names)) if name == TENANT_ID => {
            Answer::Names(names.iter().take(1).map(|_| tenant.to_string()).collect())
        }
        (Question::Series { label_names, .. }, Answer::Series(sets)) => {
            let asked = label_names.iter().any(|name| name == TENANT_ID);
            let label: fn(&TenantId, &Labels) -> Labels = match &label_names[..] {
                [_] if asked => |tenant, _| with_tenant(tenant, &Labels::default()),
                _ if asked || (several && label_names.is_empty()) => with_tenant,
                _ => return Answer::Series(sets),
            };
            Answer::Series(sets.iter().map(|labels| label(tenant, labels)).collect())
        }
        (_, answer) => answer,
    }
}

fn with_tenant(tenant: &TenantId, labels: &Labels) -> Labels {
    let own = labels.iter().filter(|(name, _)| *name != TENANT_ID);
    Labels::from_pairs(own.chain([(TENANT_ID, tenant.as_str())]))
}

/// Takes the matchers of the label out of a selector; `None` when one of them excludes the tenant.
fn take_out(tenant: &TenantId, selector: &mut Selector) -> Option<()> {
    if !selector.admits(TENANT_ID, tenant.as_str()) {
        return None;
    }
    selector.matchers.retain(|matcher| matcher.name != TENANT_ID);
    Some(())
}

/// The same for alternatives, of which none means everything.
fn take_out_any(tenant: &TenantId, alternatives: &mut Vec<Selector>) -> Option<()> {
    let all = alternatives.is_empty();
    alternatives.retain_mut(|selector| take_out(tenant, selector).is_some());
    if alternatives.iter().any(|selector| selector.matchers.is_empty()) {
        alternatives.clear();
        return Some(());
    }
    (all || !alternatives.is_empty()).then_some(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hearth_model::points::Buckets;

    use super::*;

    fn tenant(id: &str) -> TenantId {
        TenantId::parse(id).expect("valid")
    }

    fn selectors(texts: &[&str]) -> Vec<Selector> {
        texts.iter().map(|text| Selector::parse(text).expect("valid")).collect()
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied())
    }

    /// The alternatives that a tenant is asked with, if it is asked.
    fn asked(id: &str, texts: &[&str]) -> Option<Vec<Selector>> {
        let question = Question::LabelNames { range: None, matchers: selectors(texts) };
        match of_tenant(&tenant(id), &question)? {
            Question::LabelNames { matchers, .. } => Some(matchers),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn selectors_choose_tenants_and_do_not_reach_them() {
        assert_eq!(asked("a", &[]), Some(Vec::new()));
        let own = r#"{__tenant_id__="a", x="1"}"#;
        assert_eq!(asked("a", &[own]), Some(selectors(&[r#"{x="1"}"#])));
        assert_eq!(asked("b", &[own]), None);
        assert_eq!(asked("b", &[r#"{__tenant_id__=~"a|c"}"#]), None);
        assert_eq!(asked("b", &[r#"{__tenant_id__!="a"}"#]), Some(Vec::new()));
        assert_eq!(asked("b", &[own, r#"{y="2"}"#]), Some(selectors(&[r#"{y="2"}"#])));
        // An alternative that is left empty selects everything, whatever the others say.
        assert_eq!(asked("a", &[r#"{__tenant_id__="a"}"#, r#"{y="2"}"#]), Some(Vec::new()));
    }

    #[test]
    fn series_are_grouped_by_tenant_where_they_are_asked_to_be() {
        let group = labels(&[("pod", "1")]);
        let answer = || {
            let mut points = PointSet::default();
            points.groups.insert(group.clone(), Buckets::default());
            Answer::Points(points)
        };
        let of = |group_by: &[&str]| {
            let question = Question::Points {
                query: hearth_model::ProfileQuery {
                    profile_type: hearth_model::ProfileType::parse("a:b:c:d:e").expect("valid"),
                    selector: Selector::default(),
                    range: hearth_common::TimeRange::ALL,
                    call_site: Vec::new(),
                    spans: None,
                    profile_ids: Vec::new(),
                    native: false,
                },
                group_by: group_by.iter().map(|name| (*name).to_owned()).collect(),
                grid: hearth_model::StepGrid::new(0, 1, 1),
            };
            let Some(Question::Points { group_by: asked, .. }) = of_tenant(&tenant("a"), &question) else {
                panic!("not asked")
            };
            assert!(!asked.contains(&TENANT_ID.to_owned()));
            let Answer::Points(points) = labelled(&tenant("a"), true, &question, answer()) else {
                panic!("no points")
            };
            points.groups.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(of(&["pod"]), std::slice::from_ref(&group));
        assert_eq!(of(&[TENANT_ID, "pod"]), [labels(&[(TENANT_ID, "a"), ("pod", "1")])]);
    }

    #[test]
    fn labels_tell_whose_they_are() {
        let of = |names: &[&str], several| {
            let label_names = names.iter().map(|name| (*name).to_owned()).collect();
            let question = Question::Series { range: None, matchers: Vec::new(), label_names };
            let Some(Question::Series { label_names, .. }) = of_tenant(&tenant("a"), &question) else {
                panic!("not asked")
            };
            let set = labels(&[("pod", "1"), (PROFILE_TYPE, "t")]);
            let set = if label_names.is_empty() { set } else { set.project(&label_names) };
            let answer = labelled(&tenant("a"), several, &question, Answer::Series(BTreeSet::from([set])));
            let Answer::Series(sets) = answer else { panic!("no series") };
            sets.into_iter().next().expect("one")
        };
        assert_eq!(of(&[], false).get(TENANT_ID), None);
        assert_eq!(of(&[], true), labels(&[("pod", "1"), (PROFILE_TYPE, "t"), (TENANT_ID, "a")]));
        assert_eq!(of(&["pod"], true), labels(&[("pod", "1")]));
        assert_eq!(of(&["pod", TENANT_ID], true), labels(&[("pod", "1"), (TENANT_ID, "a")]));
        assert_eq!(of(&[TENANT_ID], false), labels(&[(TENANT_ID, "a")]));

        let question =
            Question::LabelValues { name: TENANT_ID.to_owned(), range: None, matchers: Vec::new() };
        let values = |answer: &[&str]| {
            let names = answer.iter().map(|name| (*name).to_owned()).collect();
            match labelled(&tenant("a"), true, &question, Answer::Names(names)) {
                Answer::Names(names) => names.into_iter().collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((values(&["t", "u"]), values(&[])), (vec!["a".to_owned()], Vec::new()));
    }
}
