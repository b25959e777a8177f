//! Splitting by sample labels: which group a sample belongs to, and its span (api-semantics §3.8).
//!
//! A group is the set of string labels of its samples, less those that the series has too: there the series' value counts.
//! `span_id` and `trace_id` stay on samples. Groups depend on the push alone, no rule of a tenant enters.

use hashbrown::{HashMap, HashTable};
use hearth_formats::pprof::{Label as SampleLabel, Pprof, Sample};
use hearth_model::spans::{SpanId, TraceId, parse_span_id, parse_trace_id};

use crate::idtable::NONE;
use crate::labels::Label;
use crate::mix::mix;

/// Older name of the label of spans.
const PROFILE_ID: &str = "profile_id";
const SPAN_ID: &str = "span_id";
const TRACE_ID: &str = "trace_id";

/// Where a sample belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// Index of its group.
    pub(crate) group: u32,
    /// Its span; 0 when it has none.
    pub(crate) span: SpanId,
    /// Its trace.
    pub(crate) trace: Option<TraceId>,
}

/// The groups of one profile.
#[derive(Debug)]
pub(crate) struct Groups<'a> {
    /// Labels of each group: sorted by name, names unique.
    pub(crate) sets: Vec<Vec<(&'a str, &'a str)>>,
    by_set: HashMap<Vec<(&'a str, &'a str)>, u32>,
    /// The group of samples without labels.
    bare: u32,
    /// Sequences of (key, value) indices seen, so that each is resolved once.
    seen: HashTable<(u64, u32, u32, u32)>,
    pairs: Vec<(u32, u32)>,
    scratch: Vec<(u32, u32)>,
}

impl Default for Groups<'_> {
    fn default() -> Self {
        Self {
            sets: Vec::new(),
            by_set: HashMap::new(),
            bare: NONE,
            seen: HashTable::new(),
            pairs: Vec::new(),
            scratch: Vec::new(),
        }
    }
}

impl<'a> Groups<'a> {
    /// The place of a sample.
    #[inline]
    pub(crate) fn place(
        &mut self,
        pprof: &Pprof<'_>,
        sample: &Sample,
        strings: &[&'a str],
        series: &[Label<'_>],
    ) -> Place {
        if sample.label_count == 0 {
            return Place { group: self.bare(), ..Place::default() };
        }
        self.labelled_place(pprof, sample, strings, series)
    }

    fn labelled_place(
        &mut self,
        pprof: &Pprof<'_>,
        sample: &Sample,
        strings: &[&'a str],
        series: &[Label<'_>],
    ) -> Place {
        let first = sample.first_label as usize;
        let labels = &pprof.labels[first..first + sample.label_count as usize];
        let mut place = Place::default();
        self.scratch.clear();
        for label in labels {
            self.label(label, strings, &mut place);
        }
        place.group = if self.scratch.is_empty() { self.bare() } else { self.labelled(strings, series) };
        place
    }

    fn label(&mut self, label: &SampleLabel, strings: &[&'a str], place: &mut Place) {
        // Numeric labels are lost; so are labels whose indices point nowhere.
        let (Ok(key), Ok(value)) = (u32::try_from(label.key), u32::try_from(label.str)) else { return };
        if value == 0 {
            return;
        }
        let (Some(name), Some(text)) = (strings.get(key as usize), strings.get(value as usize)) else {
            return;
        };
        match *name {
            SPAN_ID | PROFILE_ID => place.span = parse_span_id(text).unwrap_or(0),
            TRACE_ID => place.trace = parse_trace_id(text),
            _ => self.scratch.push((key, value)),
        }
    }

    fn bare(&mut self) -> u32 {
        if self.bare == NONE {
            self.bare = self.sets.len() as u32;
            self.sets.push(Vec::new());
        }
        self.bare
    }

    fn labelled(&mut self, strings: &[&'a str], series: &[Label<'_>]) -> u32 {
        let Self { seen, pairs, scratch, .. } = &*self;
        let hash =
            scratch.iter().fold(0, |hash, (key, value)| mix(hash ^ u64::from(*key), u64::from(*value)));
        let equal =
            |(_, start, end, _): &(u64, u32, u32, u32)| pairs[*start as usize..*end as usize] == scratch[..];
        if let Some((.., group)) = seen.find(hash, equal) {
            return *group;
        }
        let mut set: Vec<(&'a str, &'a str)> = scratch
            .iter()
            .map(|(key, value)| (strings[*key as usize], strings[*value as usize]))
            .filter(|(name, _)| !series.iter().any(|(n, _)| n == name))
            .collect();
        set.sort_unstable();
        set.dedup_by(|later, earlier| later.0 == earlier.0);
        let group = self.group(set);
        let start = self.pairs.len() as u32;
        self.pairs.extend_from_slice(&self.scratch);
        let entry = (hash, start, self.pairs.len() as u32, group);
        self.seen.insert_unique(hash, entry, |(hash, ..)| *hash);
        group
    }

    fn group(&mut self, set: Vec<(&'a str, &'a str)>) -> u32 {
        if set.is_empty() {
            return self.bare();
        }
        if let Some(group) = self.by_set.get(&set) {
            return *group;
        }
        let group = self.sets.len() as u32;
        self.sets.push(set.clone());
        self.by_set.insert(set, group);
        group
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[test]
    fn groups_spans_and_conflicts() {
        let strings = [
            "",
            "handler",
            "/x",
            "span_id",
            "0102030405060708",
            "profile_id",
            "trace_id",
            "pod",
            "p1",
            "oops",
        ];
        let trace = "000102030405060708090a0b0c0d0e0f";
        let strings: Vec<&str> = strings.into_iter().chain([trace]).collect();
        let series = [(Cow::Borrowed("pod"), Cow::Borrowed("mine"))];
        let mut groups = Groups::default();
        let mut place = |labels: &[(i64, i64)]| {
            let labels: Vec<SampleLabel> = labels
                .iter()
                .map(|(key, str)| SampleLabel { key: *key, str: *str, num: 7, num_unit: 0 })
                .collect();
            let sample = Sample { label_count: labels.len() as u32, ..Sample::default() };
            let pprof = Pprof { labels, ..Pprof::default() };
            groups.place(&pprof, &sample, &strings, &series)
        };
        let bare = place(&[]);
        assert_eq!(bare, Place::default());
        assert_eq!(place(&[(1, 0)]), bare, "numeric labels are dropped");
        assert_eq!(place(&[(7, 8)]).group, bare.group, "the series' label wins");
        let handler = place(&[(1, 2)]);
        assert_ne!(handler.group, bare.group);
        let both = place(&[(3, 4), (1, 2), (6, 10)]);
        assert_eq!(both.group, handler.group);
        assert_eq!(both.span, u64::from_le_bytes([1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(both.trace, Some(std::array::from_fn(|at| at as u8)));
        assert_eq!(place(&[(5, 4)]).span, both.span, "profile_id is the older name");
        assert_eq!(place(&[(3, 9)]), bare, "what is no span id is absent");
        assert_eq!(place(&[(7, 8), (1, 2)]).group, handler.group);
        assert_eq!(groups.sets, [vec![], vec![("handler", "/x")]]);
    }
}
