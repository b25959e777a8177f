//! What is asked of a head or a block, and the partial answer it gives. Partial answers merge in any order.

use std::collections::BTreeSet;

use hearth_common::{Classify, ErrorKind, TimeRange, TimestampNs};

use crate::labels::Labels;
use crate::name_tree::NameTree;
use crate::points::{PointSet, StepGrid};
use crate::pprof_merge::PprofMerge;
use crate::profile_type::ProfileType;
use crate::selector::Selector;
use crate::spans::SpanFilter;
use crate::tally::Tally;

/// Selects profiles of one type, and of them some stacks.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileQuery {
    /// The one type asked for.
    pub profile_type: ProfileType,
    /// Matchers on the labels of series, derived ones included.
    pub selector: Selector,
    /// Times of profiles, both ends inclusive.
    pub range: TimeRange,
    /// Only stacks whose root side equals these function names (root first); empty = all.
    pub call_site: Vec<String>,
    /// Only samples of these spans or traces; `None` = all samples.
    pub spans: Option<SpanFilter>,
    /// Only these profiles (their rid); empty = all.
    pub profile_ids: Vec<u128>,
    /// Name trees have locations without lines, too, under names of [`crate::native`]; otherwise they leave them out. Whoever
    /// asks so puts names in their place.
    pub native: bool,
}

/// A question that heads and blocks answer alike.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// Sum by function names.
    Tree(ProfileQuery),
    /// Sum by whole stacks: locations, lines, mappings.
    Pprof(ProfileQuery),
    /// Sum and count of profile totals by group and step. `query.range` already reaches back one step.
    Points {
        /// What is summed.
        query: ProfileQuery,
        /// Names of labels that make a group, sorted.
        group_by: Vec<String>,
        /// The steps.
        grid: StepGrid,
    },
    /// The profile types present.
    ProfileTypes {
        /// `None` = whatever is there.
        range: Option<TimeRange>,
    },
    /// Names of labels (derived ones included) of the series that match one of the selectors; no selector = all.
    LabelNames {
        /// `None` = whatever is there.
        range: Option<TimeRange>,
        /// Alternatives.
        matchers: Vec<Selector>,
    },
    /// Values of one label.
    LabelValues {
        /// The label.
        name: String,
        /// `None` = whatever is there.
        range: Option<TimeRange>,
        /// Alternatives.
        matchers: Vec<Selector>,
    },
    /// Label sets (derived labels included), projected to `label_names` unless that is empty.
    Series {
        /// `None` = whatever is there.
        range: Option<TimeRange>,
        /// Alternatives.
        matchers: Vec<Selector>,
        /// Labels to keep; empty = all.
        label_names: Vec<String>,
    },
    /// Oldest and newest profile time.
    Stats,
    /// What a query over this range and these series would read.
    Estimate {
        /// Times of profiles.
        range: TimeRange,
        /// Matchers on the labels of series.
        selector: Selector,
    },
    /// How many profiles and samples there are, exactly, by service and type.
    Tally {
        /// Times of profiles.
        range: TimeRange,
        /// Matchers on the labels of series.
        selector: Selector,
    },
}

/// Oldest and newest profile time of what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// `None` = no data.
    pub oldest_newest: Option<(TimestampNs, TimestampNs)>,
}

/// What a query would read: of blocks, what a flame graph would fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    /// Blocks (or heads) that would be opened.
    pub blocks: u64,
    /// Series that match.
    pub series: u64,
    /// Profiles that match.
    pub profiles: u64,
    /// Sample rows that match.
    pub samples: u64,
    /// Bytes of index: what opening the blocks reads.
    pub index_bytes: u64,
    /// Bytes of profile and sample columns, or of sums that are read instead.
    pub profile_bytes: u64,
    /// Bytes of symbols that are read beside the index.
    pub symbol_bytes: u64,
}

/// A partial answer; one variant for each question.
#[derive(Debug, Clone)]
pub enum Answer {
    /// To [`Question::Tree`].
    Tree(NameTree),
    /// To [`Question::Pprof`].
    Pprof(PprofMerge),
    /// To [`Question::Points`].
    Points(PointSet),
    /// To [`Question::ProfileTypes`].
    ProfileTypes(BTreeSet<ProfileType>),
    /// To [`Question::LabelNames`] and [`Question::LabelValues`].
    Names(BTreeSet<String>),
    /// To [`Question::Series`].
    Series(BTreeSet<Labels>),
    /// To [`Question::Stats`].
    Stats(Stats),
    /// To [`Question::Estimate`].
    Estimate(Estimate),
    /// To [`Question::Tally`].
    Tally(Tally),
}

/// Why partial answers cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The sum of values does not fit in 63 bits.
    #[error(
        "the sum of the selected values does not fit in 63 bits: ask for a shorter range or fewer series"
    )]
    Overflow,
    /// Answers to two different questions were merged: a defect.
    #[error("answers of different kinds cannot be merged")]
    Kind,
}

impl Classify for AnswerError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Overflow => ErrorKind::OutOfRange,
            Self::Kind => ErrorKind::Internal,
        }
    }
}

impl Question {
    /// The times that the question is about; `None` = all times.
    pub fn range(&self) -> Option<TimeRange> {
        match self {
            Self::Tree(query) | Self::Pprof(query) | Self::Points { query, .. } => Some(query.range),
            Self::ProfileTypes { range }
            | Self::LabelNames { range, .. }
            | Self::LabelValues { range, .. }
            | Self::Series { range, .. } => *range,
            Self::Stats => None,
            Self::Estimate { range, .. } | Self::Tally { range, .. } => Some(*range),
        }
    }

    /// The query on profile data, if the question is one.
    pub fn profile_query(&self) -> Option<&ProfileQuery> {
        match self {
            Self::Tree(query) | Self::Pprof(query) | Self::Points { query, .. } => Some(query),
            _ => None,
        }
    }
}

impl Answer {
    /// The answer of nothing: the unit of [`Answer::merge`].
    pub fn empty(question: &Question) -> Self {
        match question {
            Question::Tree(_) => Self::Tree(NameTree::new()),
            Question::Pprof(_) => Self::Pprof(PprofMerge::new()),
            Question::Points { .. } => Self::Points(PointSet::default()),
            Question::ProfileTypes { .. } => Self::ProfileTypes(BTreeSet::new()),
            Question::LabelNames { .. } | Question::LabelValues { .. } => Self::Names(BTreeSet::new()),
            Question::Series { .. } => Self::Series(BTreeSet::new()),
            Question::Stats => Self::Stats(Stats::default()),
            Question::Estimate { .. } => Self::Estimate(Estimate::default()),
            Question::Tally { .. } => Self::Tally(Tally::default()),
        }
    }

    /// Adds another partial answer to the same question. Associative and commutative; [`Answer::empty`] is the unit.
    pub fn merge(&mut self, other: Self) -> Result<(), AnswerError> {
        match (self, other) {
            (Self::Tree(to), Self::Tree(from)) => to.merge(&from)?,
            (Self::Pprof(to), Self::Pprof(from)) => to.merge(&from)?,
            (Self::Points(to), Self::Points(from)) => to.merge(from),
            (Self::ProfileTypes(to), Self::ProfileTypes(from)) => to.extend(from),
            (Self::Names(to), Self::Names(from)) => to.extend(from),
            (Self::Series(to), Self::Series(from)) => to.extend(from),
            (Self::Stats(to), Self::Stats(from)) => to.merge(from),
            (Self::Estimate(to), Self::Estimate(from)) => to.merge(from),
            (Self::Tally(to), Self::Tally(from)) => to.merge(from),
            _ => return Err(AnswerError::Kind),
        }
        Ok(())
    }
}

impl Answer {
    /// Both together: the smaller is merged into the larger, which costs less.
    pub fn join(mut self, mut other: Self) -> Result<Self, AnswerError> {
        let swap = match (&self, &other) {
            (Self::Tree(one), Self::Tree(two)) => one.len() < two.len(),
            (Self::Pprof(one), Self::Pprof(two)) => one.len() < two.len(),
            (Self::Points(one), Self::Points(two)) => one.len() < two.len(),
            (Self::Names(one), Self::Names(two)) => one.len() < two.len(),
            (Self::Series(one), Self::Series(two)) => one.len() < two.len(),
            _ => false,
        };
        if swap {
            std::mem::swap(&mut self, &mut other);
        }
        self.merge(other)?;
        Ok(self)
    }
}

impl Stats {
    /// Widens the span by another.
    pub fn merge(&mut self, other: Self) {
        self.oldest_newest = match (self.oldest_newest, other.oldest_newest) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
    }
}

impl Estimate {
    /// Adds another estimate.
    pub fn merge(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.series += other.series;
        self.profiles += other.profiles;
        self.samples += other.samples;
        self.index_bytes += other.index_bytes;
        self.profile_bytes += other.profile_bytes;
        self.symbol_bytes += other.symbol_bytes;
    }
}
