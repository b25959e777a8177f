//! Answers computed from profiles as they are, and answers in a form that can be compared.
#![allow(unreachable_pub, reason = "shared by several test files")]

use std::collections::{BTreeMap, BTreeSet};

use hearth_common::{TimeRange, TimestampNs};
use hearth_model::name_tree::NodeId;
use hearth_model::native::NativeFrame;
use hearth_model::pprof_export::{ExportOptions, export};
use hearth_model::question::Stats;
use hearth_model::{
    Answer, Counted, NameTree, PointSet, PprofMerge, ProfileQuery, ProfileType, Question, Tally,
};

use super::{Location, Profile};

/// An answer as plain data.
#[derive(Debug, PartialEq, Eq)]
pub enum Plain {
    Tree(BTreeMap<Vec<String>, i64>),
    Pprof(BTreeMap<Vec<Location>, i64>),
    Points(PointSet),
    Names(BTreeSet<String>),
}

/// Turns an answer into plain data.
pub fn plain(answer: &Answer) -> Plain {
    match answer {
        Answer::Tree(tree) => Plain::Tree(plain_tree(tree)),
        Answer::Pprof(merge) => Plain::Pprof(plain_pprof(merge)),
        Answer::Points(points) => Plain::Points(points.clone()),
        Answer::ProfileTypes(types) => Plain::Names(types.iter().map(ProfileType::id).collect()),
        Answer::Names(names) => Plain::Names(names.clone()),
        Answer::Series(series) => Plain::Names(series.iter().map(ToString::to_string).collect()),
        Answer::Stats(stats) => Plain::Names([format!("{stats:?}")].into()),
        Answer::Estimate(estimate) => Plain::Names([format!("{estimate:?}")].into()),
        Answer::Tally(tally) => Plain::Names(
            tally
                .counted
                .iter()
                .map(|((service, ty), counted)| {
                    let Counted { profiles, samples, oldest_newest, .. } = counted;
                    format!("{service} {}: {profiles} {samples} {oldest_newest:?}", ty.id())
                })
                .collect(),
        ),
    }
}

fn plain_tree(tree: &NameTree) -> BTreeMap<Vec<String>, i64> {
    let mut found = BTreeMap::new();
    for (at, &value) in tree.selfs().iter().enumerate().filter(|(_, value)| **value != 0) {
        let mut path = Vec::new();
        let mut node = NodeId(at as u32);
        while node != NameTree::ROOT {
            path.push(tree.name(node).to_owned());
            node = tree.parent(node);
        }
        path.reverse();
        found.insert(path, value);
    }
    found
}

fn plain_pprof(merge: &PprofMerge) -> BTreeMap<Vec<Location>, i64> {
    let file = export(merge, ExportOptions::default()).expect("fits");
    let text = |at: u32| file.strings[at as usize].clone();
    let location = |at: &u32| {
        let location = &file.locations[*at as usize];
        let mapping = location.mapping.map(|at| file.mappings[at as usize]);
        let line = |line: &hearth_model::pprof_merge::LineKey| {
            let f = file.functions[line.function as usize];
            (text(f.name), text(f.system_name), text(f.file), f.start_line, line.line)
        };
        Location {
            mapping: mapping.map(|m| (text(m.file), text(m.build_id), m.start)),
            address: location.address,
            lines: location.lines.iter().map(line).collect(),
        }
    };
    let mut found = BTreeMap::new();
    for (locations, value) in &file.samples {
        *found.entry(locations.iter().rev().map(location).collect()).or_insert(0) += value;
    }
    found
}

fn names_of(stack: &[Location]) -> Vec<String> {
    stack.iter().flat_map(|location| location.lines.iter().rev().map(|line| line.0.clone())).collect()
}

/// With a name for each location without lines of which anything is known.
fn names_with_native(stack: &[Location]) -> Vec<String> {
    let names = |location: &Location| {
        let (file, build_id, start) = location.mapping.clone().unwrap_or_default();
        let (limit, offset) = if location.mapping.is_some() { (start + 10, start / 2) } else { (0, 0) };
        let address = location.address;
        let frame = NativeFrame { build_id: &build_id, file: &file, start, limit, offset, address };
        match location.lines.is_empty() && frame.is_known() {
            true => vec![frame.encode()],
            false => names_of(std::slice::from_ref(location)),
        }
    };
    stack.iter().flat_map(names).collect()
}

fn type_of(profile: &Profile) -> ProfileType {
    let [a, b, c, d] = &profile.sample_type;
    ProfileType::new(&profile.name, a, b, c, d)
}

fn in_range(profile: &Profile, range: Option<TimeRange>) -> bool {
    range.is_none_or(|range| range.contains(TimestampNs(profile.time_ns)))
}

/// The selected samples of a profile; `None` = the profile is not selected.
fn selected(profile: &Profile, query: &ProfileQuery) -> Option<Vec<(Vec<Location>, i64)>> {
    let ty = type_of(profile);
    let chosen = ty == query.profile_type
        && in_range(profile, Some(query.range))
        && query.selector.matches(&profile.labels.with_type(&ty))
        && (query.profile_ids.is_empty() || query.profile_ids.contains(&profile.rid))
        && profile.samples.iter().any(|(_, value)| *value > 0);
    if !chosen {
        return None;
    }
    let samples: Vec<(Vec<Location>, i64)> = match &query.spans {
        None => profile.samples.clone(),
        Some(filter) => {
            let spans =
                profile.spans.iter().filter(|(span, trace, ..)| filter.selects(*span, trace.as_ref()));
            spans.map(|(_, _, stack, value)| (stack.clone(), *value)).collect()
        }
    };
    let of_site = |(stack, _): &(Vec<Location>, i64)| names_of(stack).starts_with(&query.call_site);
    Some(samples.into_iter().filter(of_site).collect())
}

/// The answer to a question from profiles as they are.
pub fn answer(profiles: &[Profile], question: &Question) -> Plain {
    match question {
        Question::Tree(query) => {
            let mut sums = BTreeMap::new();
            for (stack, value) in profiles.iter().filter_map(|p| selected(p, query)).flatten() {
                let names = if query.native { names_with_native(&stack) } else { names_of(&stack) };
                *sums.entry(names).or_insert(0) += value;
            }
            // A sample without a stack is nowhere in a tree.
            sums.retain(|stack, value| *value != 0 && !stack.is_empty());
            Plain::Tree(sums)
        }
        Question::Pprof(query) => {
            let mut sums = BTreeMap::new();
            for (stack, value) in profiles.iter().filter_map(|p| selected(p, query)).flatten() {
                *sums.entry(stack).or_insert(0) += value;
            }
            sums.retain(|_, value| *value != 0);
            Plain::Pprof(sums)
        }
        Question::Points { query, group_by, grid } => {
            let mut points = PointSet::default();
            for profile in profiles {
                let Some(samples) = selected(profile, query) else { continue };
                let Some(step) = grid.index_of(TimestampNs(profile.time_ns)) else { continue };
                let group = profile.labels.with_type(&type_of(profile)).project(group_by);
                let bucket = points.group(&group).bucket(step);
                bucket.sum += samples.iter().map(|(_, value)| i128::from(*value)).sum::<i128>();
                bucket.count += 1;
                bucket.annotations.extend(profile.annotations.iter().cloned());
            }
            Plain::Points(points)
        }
        Question::Stats => {
            let with_values = profiles.iter().filter(|p| p.samples.iter().any(|(_, value)| *value > 0));
            let mut stats = Stats::default();
            with_values.for_each(|p| {
                let time = TimestampNs(p.time_ns);
                stats.merge(Stats { oldest_newest: Some((time, time)) });
            });
            plain(&Answer::Stats(stats))
        }
        Question::Tally { range, selector } => {
            let mut tally = Tally::default();
            for profile in profiles.iter().filter(|p| in_range(p, Some(*range))) {
                let ty = type_of(profile);
                let samples = profile.samples.iter().filter(|(_, value)| *value > 0).count() as u64;
                if samples > 0 && selector.matches(&profile.labels.with_type(&ty)) {
                    let mut counted = Counted::default();
                    counted.add_rows(1, samples);
                    counted.see(TimestampNs(profile.time_ns), TimestampNs(profile.time_ns));
                    tally.add(&profile.service, &ty, counted);
                }
            }
            plain(&Answer::Tally(tally))
        }
        _ => Plain::Names(names(profiles, question)),
    }
}

fn names(profiles: &[Profile], question: &Question) -> BTreeSet<String> {
    let any = |matchers: &[hearth_model::Selector], labels: &hearth_model::Labels| {
        matchers.is_empty() || matchers.iter().any(|m| m.matches(labels))
    };
    let mut found = BTreeSet::new();
    let with_values = profiles.iter().filter(|p| p.samples.iter().any(|(_, value)| *value > 0));
    for profile in with_values.filter(|p| in_range(p, question.range())) {
        let ty = type_of(profile);
        let labels = profile.labels.with_type(&ty);
        match question {
            Question::ProfileTypes { .. } => _ = found.insert(ty.id()),
            Question::LabelNames { matchers, .. } if any(matchers, &labels) => {
                found.extend(labels.iter().map(|(name, _)| name.to_owned()));
            }
            Question::LabelValues { name, matchers, .. } if any(matchers, &labels) => {
                found.extend(labels.get(name).filter(|v| !v.is_empty()).map(str::to_owned));
            }
            Question::Series { matchers, label_names, .. } if any(matchers, &labels) => {
                let labels = if label_names.is_empty() { labels } else { labels.project(label_names) };
                found.insert(labels.to_string());
            }
            _ => {}
        }
    }
    found
}
