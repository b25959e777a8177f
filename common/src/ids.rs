//! Newtypes for every id. Parsed at the edge once; printed the same everywhere.

use std::fmt;
use std::sync::Arc;

use crate::error::{Classify, ErrorKind};

/// The longest tenant id, in bytes.
pub const TENANT_ID_MAX_BYTES: usize = 150;

/// The most tenants that one request may name.
pub const TENANTS_MAX: usize = 100;

/// A tenant's id: first path element of all its objects, so its grammar is strict.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

/// Why a text is no tenant id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTenantId {
    /// The header is missing or empty.
    #[error("no org id")]
    Missing,
    /// More than [`TENANT_ID_MAX_BYTES`] bytes.
    #[error("tenant ID is too long: {0} bytes, max {TENANT_ID_MAX_BYTES}")]
    TooLong(usize),
    /// `.` and `..` would leave the tenant's folder.
    #[error("tenant ID is '.' or '..'")]
    Dots,
    /// The header is there several times: one of them may be whoever's.
    #[error("the header X-Scope-OrgID is there {0} times: send it once, several tenants as a|b")]
    Repeated(usize),
    /// More than [`TENANTS_MAX`] at once.
    #[error(
        "the header X-Scope-OrgID names {0} tenants, at most {TENANTS_MAX} are asked at once: ask in parts"
    )]
    TooMany(usize),
    /// A character outside letters, digits and `!-_.*'()`.
    #[error("tenant ID '{0}' contains unsupported character '{1}'")]
    Character(String, char),
}

impl Classify for InvalidTenantId {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unauthenticated
    }
}

impl TenantId {
    /// The tenant of every request when multi-tenancy is off.
    pub fn anonymous() -> Self {
        Self(Arc::from("anonymous"))
    }

    /// Parses one id. The caller has cut `:metadata` off and split at `|`.
    pub fn parse(text: &str) -> Result<Self, InvalidTenantId> {
        if text.is_empty() {
            return Err(InvalidTenantId::Missing);
        }
        if text.len() > TENANT_ID_MAX_BYTES {
            return Err(InvalidTenantId::TooLong(text.len()));
        }
        if text == "." || text == ".." {
            return Err(InvalidTenantId::Dots);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
        match text.chars().find(|c| !allowed(*c)) {
            Some(c) => Err(InvalidTenantId::Character(text.to_owned(), c)),
            None => Ok(Self(Arc::from(text))),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.0)
    }
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:032x})", stringify!($name), self.0)
            }
        }

        impl $name {
            /// Parses 32 hex digits.
            pub fn from_hex(text: &str) -> Option<Self> {
                let valid = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
                valid.then(|| u128::from_str_radix(text, 16).ok()).flatten().map(Self)
            }
        }
    };
}

hex_id!(
    /// The identity of a record: a hash of what was sent. A retry has the same one (design: replication B1).
    Rid
);
hex_id!(
    /// The identity of a block: a hash of its sources, not of its bytes (design: storage B4).
    BlockId
);
hex_id!(
    /// Random, written once into a data folder. The same instance with another disk is another member.
    DiskId
);

hex_id!(
    /// The identity of a cell's log: random, made when the cell is. A cell that lost its log and begins another one has
    /// another id, so that positions are never mistaken.
    LogId
);

/// The configured name of a process, stable over restarts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InstanceId(pub Arc<str>);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An ingester with its disk.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemberId {
    /// The process.
    pub instance: InstanceId,
    /// Its disk.
    pub disk: DiskId,
}

/// A group of ingesters that keep each other's journals; named by the instance that is its home.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CellId(pub InstanceId);

/// Which life of a journal's owner: grows by one at each start of the process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Incarnation(pub u64);

/// A journal: entries 1, 2, 3 …, as the coverage of roots names them (design: replication B3). Today each is the log of a
/// cell ([`JournalId::of_log`]).
///
/// Its text form `cell/epoch/owner-instance/owner-disk/incarnation` is used as a key in roots.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct JournalId {
    /// The cell that keeps it.
    pub cell: CellId,
    /// The epoch of the cell in which it was opened.
    pub epoch: u32,
    /// The only member that appends to it.
    pub owner: MemberId,
    /// The owner's life.
    pub incarnation: Incarnation,
}

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MemberId { instance, disk } = &self.owner;
        write!(f, "{}/{}/{}/{}/{}", self.cell.0, self.epoch, instance, disk, self.incarnation.0)
    }
}

impl JournalId {
    /// The journal that the log of a cell is: its members keep it together, so it has one epoch and one life (ADR 5).
    pub fn of_log(cell: &CellId, log: LogId) -> Self {
        let owner = MemberId { instance: cell.0.clone(), disk: DiskId(log.0) };
        Self { cell: cell.clone(), epoch: 1, owner, incarnation: Incarnation(1) }
    }

    /// Parses the text form.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let cell = CellId(InstanceId(Arc::from(parts.next()?)));
        let epoch = parts.next()?.parse().ok()?;
        let instance = InstanceId(Arc::from(parts.next()?));
        let disk = DiskId::from_hex(parts.next()?)?;
        let incarnation = Incarnation(parts.next()?.parse().ok()?);
        let whole = parts.next().is_none();
        whole.then_some(Self { cell, epoch, owner: MemberId { instance, disk }, incarnation })
    }
}

/// A place in a journal, from 1. 0 means "nothing yet".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position(pub u64);

impl Position {
    /// The next place.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
