//! Which layout an export has: each field seen rules out the layouts that do not have it with that wire type.
//!
//! Lists of numbers count as packed only, as every known sender writes them: what is not packed rules out, it is never taken
//! for another field. Stops as soon as one layout is left; reading is strict, so what comes later is checked there.

use super::{Layout, OtlpError, Result};
use crate::wire::{FIXED64, LEN, Reader, VARINT};

/// What was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// The layout; with a tie, [`Layout::StacksValuesSecond`].
    pub(super) layout: Layout,
    /// Whether it may as well be [`Layout::Stacks`], as far as field numbers tell.
    pub(super) tie: bool,
}

/// The layouts, and the wire types of their fields 1, 2, 3 …: `V`arint, `L`ength, `F`ixed 64 bits.
const LAYOUTS: [(Candidate, &[u8], &[u8]); 6] = [
    (CONTAINER, b"LFFLVLLL", b"*"),
    (PROFILE_TABLES, b"LLLLLLLLLLVVLVLVLLVLLL", b"VVLLVL"),
    (RANGES, b"LLLVVLVLVLVLLL", b"VVLLVL"),
    (STACKS_V1_8, b"LLFVLVLLVLLL", b"VLLVL"),
    (STACKS_V1_9, b"LLFVLVLVLLL", b"VLLVL"),
    // The newest may get more fields.
    (STACKS, b"LLFVLVLVLLL*", b"VLVLL*"),
];

type Candidate = u8;
/// v1.3: profiles are containers with times of their own.
const CONTAINER: Candidate = 1;
const PROFILE_TABLES: Candidate = 2;
const RANGES: Candidate = 4;
const STACKS_V1_8: Candidate = 8;
const STACKS_V1_9: Candidate = 16;
const STACKS: Candidate = 32;
const VALUES_SECOND: Candidate = STACKS_V1_8 | STACKS_V1_9;

/// Messages that tell layouts apart.
#[derive(Debug, Clone, Copy)]
enum Message {
    Profile,
    Sample,
}

/// Finds out the layout of an export.
pub(super) fn of(bytes: &[u8]) -> Result<Found> {
    let mut walk = Walk { left: u8::MAX, strings: false };
    let mut dictionary = false;
    let mut reader = Reader::new(bytes);
    while let Some((field, wire)) = reader.key()? {
        match (field, wire) {
            (2, LEN) => {
                dictionary = true;
                walk.dictionary(reader.message()?)?;
            }
            (field, wire) => reader.skip(field, wire)?,
        }
    }
    walk.left &= LAYOUTS.iter().fold(0, |all, (candidate, ..)| all | candidate);
    if dictionary {
        walk.left &= !(PROFILE_TABLES | CONTAINER);
    }
    let mut reader = Reader::new(bytes);
    while let Some((field, wire)) = reader.key()? {
        match (field, wire) {
            (1, LEN) => walk.resource(reader.message()?, dictionary)?,
            (field, wire) => reader.skip(field, wire)?,
        }
    }
    if dictionary { walk.with_dictionary() } else { walk.without_dictionary() }
}

struct Walk {
    /// Layouts that are not ruled out.
    left: Candidate,
    /// Whether a profile has what would be its string table.
    strings: bool,
}

impl Walk {
    fn decided(&self, dictionary: bool) -> bool {
        dictionary && (self.left.is_power_of_two() || self.left & !VALUES_SECOND == 0)
    }

    /// Field 7 are stacks, or units of attributes before there were stacks.
    fn dictionary(&mut self, mut reader: Reader<'_>) -> Result<()> {
        while let Some((field, wire)) = reader.key()? {
            match (field, wire) {
                (7, LEN) => {
                    let mut entry = reader.message()?;
                    match entry.key()? {
                        Some((1, LEN)) => self.left &= !RANGES,
                        Some((1 | 2, VARINT)) => self.left &= RANGES,
                        _ => continue,
                    }
                    return Ok(());
                }
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        Ok(())
    }

    fn resource(&mut self, mut reader: Reader<'_>, dictionary: bool) -> Result<()> {
        while let Some((field, wire)) = reader.key()? {
            match (field, wire) {
                (2, LEN) if !self.decided(dictionary) => self.scope(reader.message()?, dictionary)?,
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        Ok(())
    }

    fn scope(&mut self, mut reader: Reader<'_>, dictionary: bool) -> Result<()> {
        while let Some((field, wire)) = reader.key()? {
            match (field, wire) {
                (2, LEN) if !self.decided(dictionary) => self.profile(reader.message()?, dictionary)?,
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        Ok(())
    }

    fn profile(&mut self, mut reader: Reader<'_>, dictionary: bool) -> Result<()> {
        while let Some((field, wire)) = reader.key()? {
            self.seen(Message::Profile, field, wire, reader.at())?;
            self.strings |= (field, wire) == (10, LEN);
            match (field, wire) {
                (2, LEN) if !self.decided(dictionary) => {
                    let mut sample = reader.message()?;
                    while let Some((field, wire)) = sample.key()? {
                        self.seen(Message::Sample, field, wire, sample.at())?;
                        sample.skip(field, wire)?;
                    }
                }
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        Ok(())
    }

    fn seen(&mut self, message: Message, field: u64, wire: u8, at: usize) -> Result<()> {
        for (candidate, profile, sample) in LAYOUTS {
            let wires = match message {
                Message::Profile => profile,
                Message::Sample => sample,
            };
            let at = usize::try_from(field).unwrap_or(usize::MAX).wrapping_sub(1);
            let wanted = wires.get(at).or(wires.last().filter(|last| **last == b'*'));
            let fits = match wanted {
                Some(b'V') => wire == VARINT,
                Some(b'L') => wire == LEN,
                Some(b'F') => wire == FIXED64,
                Some(_) => true,
                None => false,
            };
            if !fits {
                self.left &= !candidate;
            }
        }
        if self.left != 0 {
            return Ok(());
        }
        let message = match message {
            Message::Profile => "profile",
            Message::Sample => "sample",
        };
        Err(OtlpError::NoLayout { message, field, wire, at })
    }

    /// Of layouts that nothing tells apart, the newest; all of them then mean the same, but for a tie.
    fn with_dictionary(&self) -> Result<Found> {
        let found = |layout, tie| Ok(Found { layout, tie });
        if self.left & STACKS != 0 {
            return match self.left & VALUES_SECOND {
                0 => found(Layout::Stacks, false),
                _ => found(Layout::StacksValuesSecond, true),
            };
        }
        match self.left & VALUES_SECOND {
            0 => found(Layout::Ranges, false),
            _ => found(Layout::StacksValuesSecond, false),
        }
    }

    fn without_dictionary(&self) -> Result<Found> {
        if self.left & PROFILE_TABLES != 0 && self.strings {
            return Ok(Found { layout: Layout::ProfileTables, tie: false });
        }
        match self.left {
            CONTAINER => Err(OtlpError::Refused {
                version: "v1.3 (v1experimental)",
                why: "whose profiles lie in containers that no later release has",
            }),
            RANGES => Err(OtlpError::Refused {
                version: "v1.6",
                why: "whose exports do not carry the tables that their profiles point into",
            }),
            _ => Err(OtlpError::NoDictionary),
        }
    }
}
