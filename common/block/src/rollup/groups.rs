//! Which labels of a service's series are worth keeping, and the groups of series that are equal in those.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hearth_model::{Labels, labels};

use crate::meta::series::SeriesRow;

/// Most groups of a unit: labels are dropped, those with most values first, until there are no more.
const GROUPS_MAX: usize = 64;
/// Stands for the group of a series that has none: its unit has no rollups.
pub(crate) const NO_GROUP: u32 = u32::MAX;

/// The groups of a block. A group's number is the rank of its labels among those of its unit.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Groups {
    /// By series.
    pub(crate) of_series: Vec<u32>,
    /// Names of labels that are not kept, by unit; sorted.
    pub(crate) dropped: Vec<Vec<Arc<str>>>,
    /// The labels of groups, by unit.
    pub(crate) labels: Vec<Vec<Labels>>,
}

impl Groups {
    /// The groups of all series of a block.
    pub(crate) fn of(series: &[SeriesRow]) -> Self {
        let units = series.iter().map(|row| row.unit as usize + 1).max().unwrap_or_default();
        let mut by_unit: Vec<Vec<usize>> = vec![Vec::new(); units];
        for (at, row) in series.iter().enumerate() {
            by_unit[row.unit as usize].push(at);
        }
        let mut found = Self { of_series: vec![NO_GROUP; series.len()], ..Self::default() };
        for members in by_unit {
            let sets: Vec<&Labels> = members.iter().map(|&at| &series[at].labels).collect();
            let (kept, dropped) = kept(&sets);
            let labels: BTreeSet<Labels> = sets.iter().map(|set| set.project(&kept)).collect();
            let labels: Vec<Labels> = labels.into_iter().collect();
            if labels.len() <= GROUPS_MAX {
                for (&at, set) in members.iter().zip(&sets) {
                    let group = labels.binary_search(&set.project(&kept));
                    found.of_series[at] = group.map_or(NO_GROUP, |group| group as u32);
                }
            }
            found.dropped.push(dropped.into_iter().map(Arc::from).collect());
            found.labels.push(labels);
        }
        found
    }

    /// The group of a series.
    pub(crate) fn of_one(&self, series: u32) -> u32 {
        self.of_series.get(series as usize).copied().unwrap_or(NO_GROUP)
    }
}

/// Names of labels that are kept, and of those that are not; both sorted.
fn kept<'l>(sets: &[&'l Labels]) -> (Vec<&'l str>, Vec<&'l str>) {
    let mut values: BTreeMap<&str, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for (name, value) in sets.iter().flat_map(|set| set.iter()) {
        let of_name = values.entry(name).or_default();
        of_name.0 += 1;
        // More than this many tell nothing new.
        if of_name.1.len() <= sets.len() {
            of_name.1.insert(value);
        }
    }
    // That a label is absent is a value, too.
    let count = |(sent, values): &(usize, BTreeSet<&str>)| values.len() + usize::from(*sent < sets.len());
    let mut names: Vec<(usize, &str)> = values.iter().map(|(name, found)| (count(found), *name)).collect();
    names.sort_unstable();
    let mut dropped = Vec::new();
    loop {
        let kept: Vec<&str> = names.iter().map(|(_, name)| *name).collect();
        let last = names.iter().rposition(|(_, name)| *name != labels::SERVICE_NAME);
        // A label with more values than there may be groups need not be counted together with others.
        let many = last.is_some_and(|at| names[at].0 > GROUPS_MAX);
        let fits = || sets.iter().map(|set| set.project(&kept)).collect::<BTreeSet<_>>().len() <= GROUPS_MAX;
        match last {
            Some(at) if many || !fits() => dropped.push(names.remove(at).1),
            _ => break,
        }
    }
    let mut kept: Vec<&str> = names.into_iter().map(|(_, name)| name).collect();
    kept.sort_unstable();
    dropped.sort_unstable();
    (kept, dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(unit: u32, labels: &[(&str, &str)]) -> SeriesRow {
        SeriesRow { unit, labels: Labels::from_pairs(labels.iter().copied()) }
    }

    #[test]
    fn the_label_with_most_values_goes_first() {
        let pods: Vec<String> = (0..40).map(|pod| format!("p{pod}")).collect();
        let zones = ["a", "b", "c"];
        let mut rows = Vec::new();
        for (at, pod) in pods.iter().enumerate() {
            rows.push(series(0, &[("pod", pod), ("service_name", "s"), ("zone", zones[at % 3])]));
            rows.push(series(0, &[("pod", pod), ("service_name", "s"), ("zone", zones[(at + 1) % 3])]));
        }
        rows.push(series(1, &[("pod", "p1"), ("service_name", "t")]));
        let groups = Groups::of(&rows);
        assert_eq!(groups.dropped, [vec![Arc::from("pod")], vec![]]);
        assert_eq!(groups.labels[0].len(), 3);
        assert_eq!(groups.labels[0][1], Labels::from_pairs([("service_name", "s"), ("zone", "b")]));
        assert_eq!(groups.of_series[..4], [0, 1, 1, 2]);
        assert_eq!((groups.of_one(80), groups.of_one(81)), (0, NO_GROUP));
    }

    #[test]
    fn a_few_pods_are_kept_and_a_service_always() {
        let few = [series(0, &[("pod", "1")]), series(0, &[("pod", "2")]), series(0, &[])];
        assert_eq!(Groups::of(&few).of_series, [1, 2, 0]);
        let services: Vec<String> = (0..70).map(|at| format!("{at:02}")).collect();
        let rows: Vec<SeriesRow> = services.iter().map(|s| series(0, &[("service_name", s)])).collect();
        assert!(Groups::of(&rows).of_series.iter().all(|group| *group == NO_GROUP));
        let rows: Vec<SeriesRow> = services.iter().map(|s| series(0, &[("a", s), ("b", "same")])).collect();
        let groups = Groups::of(&rows);
        assert_eq!((groups.of_series[69], &groups.dropped[0][..]), (0, &[Arc::from("a")][..]));
    }
}
