//! Why a replica does not do what it was asked.

use hearth_common::{Classify, ErrorKind, MemberId, Retry};

use std::time::Duration;

/// The replica does not lead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this member does not lead the cell; {}", match .leader {
    Some(leader) => format!("'{}' does", leader.instance),
    None => "no leader is known".to_owned(),
})]
pub struct NotLeader {
    /// Who leads, if known.
    pub leader: Option<MemberId>,
}

impl Classify for NotLeader {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }

    fn retry(&self) -> Retry {
        let known = self.leader.is_some();
        Retry::After(if known { Duration::ZERO } else { Duration::from_millis(500) })
    }
}

/// Why a record is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another member leads, or none.
    #[error(transparent)]
    NotLeader(#[from] NotLeader),
    /// Leadership is being handed over.
    #[error("leadership of the cell is being handed to '{}'", .0.instance)]
    HandingOver(MemberId),
    /// Too much waits for a quorum.
    #[error("{bytes} bytes wait for a second copy, limit {limit}")]
    Uncommitted {
        /// Bytes of entries that are not committed, with the refused one.
        bytes: u64,
        /// [`crate::Limits::uncommitted_bytes`].
        limit: u64,
    },
}

impl Classify for ProposeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotLeader(error) => error.kind(),
            Self::HandingOver(_) => ErrorKind::Unavailable,
            Self::Uncommitted { .. } => ErrorKind::ResourceExhausted,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::NotLeader(error) => error.retry(),
            Self::HandingOver(_) | Self::Uncommitted { .. } => Retry::After(Duration::from_millis(200)),
        }
    }
}

/// Why the members are not changed, or leadership is not handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Another member leads, or none.
    #[error(transparent)]
    NotLeader(#[from] NotLeader),
    /// A change is under way, or the leader has not committed an entry of its term yet.
    #[error("the cell is not ready for a change of members: an earlier entry is not committed yet")]
    NotCommitted,
    /// Leadership is being handed over.
    #[error("leadership of the cell is being handed to '{}'", .0.instance)]
    HandingOver(MemberId),
    /// The change makes no sense for that member.
    #[error("'{}' {why}", .member.instance)]
    Member {
        /// Which one.
        member: MemberId,
        /// Why.
        why: &'static str,
    },
    /// The learner is too far behind.
    #[error("'{}' lacks {lag} entries, limit {limit}", .member.instance)]
    Behind {
        /// Which one.
        member: MemberId,
        /// Entries that it does not have on disk.
        lag: u64,
        /// [`crate::Limits::promote_lag_entries`].
        limit: u64,
    },
    /// The learner has not answered within the least election timeout: as a voter it would be missing.
    #[error("'{}' has not answered lately", .0.instance)]
    Silent(MemberId),
}

impl Classify for ChangeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotLeader(error) => error.kind(),
            Self::NotCommitted | Self::HandingOver(_) | Self::Behind { .. } | Self::Silent(_) => {
                ErrorKind::Unavailable
            }
            Self::Member { .. } => ErrorKind::FailedPrecondition,
        }
    }
}
