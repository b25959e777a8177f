//! A deletion as people and programs see it: the JSON of the API and of the command line.

use hearth_catalog::{Progress, Taken};
use hearth_common::{TimeRange, TimestampNs};
use hearth_model::{Counted, ProfileType};
use serde::{Deserialize, Serialize};

use super::{DeletionAsk, DeletionInfo, State, Takes};

/// A deletion, or what one would take. A profile counts once for each of its types.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// 32 hex digits; none of a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// As it was written.
    pub selector: String,
    /// First millisecond; none: from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<i64>,
    /// Last millisecond; none: to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// `dry_run`, `pending`, `done`, `cancelled`.
    pub state: String,
    /// When it was made; none if nothing is remembered of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_ms: Option<i64>,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_ms: Option<i64>,
    /// Blocks that may have held such rows at the beginning; of a dry run, those that hold some.
    pub blocks: u64,
    /// Of these, blocks that are not written anew yet.
    pub blocks_left: u64,
    /// Logs of ingesters that may hold such rows beyond what is published.
    pub journals_left: u64,
    /// What it takes, by service and type.
    pub takes: Vec<Taken>,
    /// All profiles.
    pub profiles: u64,
    /// All their samples.
    pub samples: u64,
    /// About how many bytes they take.
    pub bytes: u64,
    /// Of the profiles, those that are not published yet; none when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profiles_unpublished: Option<u64>,
}

impl From<DeletionInfo> for Report {
    fn from(info: DeletionInfo) -> Self {
        let DeletionInfo { record, state } = info;
        let (state, Progress { blocks_left, journals_left }) = match state {
            State::Pending(progress) => ("pending", progress),
            State::Done => ("done", Progress::default()),
            State::Cancelled => ("cancelled", Progress::default()),
        };
        let (from_ms, until_ms) = bounds(record.range);
        let sum = |of: fn(&Taken) -> u64| record.takes.iter().map(of).sum();
        Self {
            id: Some(format!("{:032x}", record.id)),
            selector: record.selector.clone(),
            from_ms,
            until_ms,
            state: state.to_owned(),
            // Of a deletion without a record it is not known.
            created_ms: (record.created != TimestampNs(0)).then(|| record.created.as_ms()),
            cancelled_ms: record.cancelled.map(TimestampNs::as_ms),
            blocks: record.blocks,
            blocks_left: blocks_left as u64,
            journals_left: journals_left as u64,
            profiles: sum(|taken| taken.profiles),
            samples: sum(|taken| taken.samples),
            bytes: sum(|taken| taken.bytes),
            takes: record.takes,
            profiles_unpublished: None,
        }
    }
}

impl Report {
    /// Of what a deletion would take.
    pub fn of_preview(ask: DeletionAsk, takes: &Takes) -> Self {
        let sum = takes.tally.sum();
        let (from_ms, until_ms) = bounds(ask.range);
        Self {
            id: None,
            selector: ask.selector,
            from_ms,
            until_ms,
            state: "dry_run".to_owned(),
            created_ms: None,
            cancelled_ms: None,
            blocks: takes.in_blocks.blocks,
            blocks_left: takes.in_blocks.blocks,
            journals_left: 0,
            takes: takes.tally.counted.iter().map(taken).collect(),
            profiles: sum.profiles,
            samples: sum.samples,
            bytes: sum.bytes,
            profiles_unpublished: Some(sum.profiles - takes.in_blocks.sum().profiles),
        }
    }
}

pub(super) fn taken(((service, ty), counted): (&(String, ProfileType), &Counted)) -> Taken {
    Taken {
        service: service.clone(),
        profile_type: ty.id(),
        profiles: counted.profiles,
        samples: counted.samples,
        bytes: counted.bytes,
    }
}

fn bounds(range: TimeRange) -> (Option<i64>, Option<i64>) {
    let from = (range.start != TimeRange::ALL.start).then(|| range.start.as_ms());
    (from, (range.end != TimeRange::ALL.end).then(|| range.end.as_ms()))
}

/// The last instant of a millisecond: profiles have times in nanoseconds.
pub fn last_of_ms(ms: i64) -> TimestampNs {
    TimestampNs(TimestampNs::from_ms(ms).0.saturating_add(999_999))
}
