//! speedscope's file format: JSON with frames that all profiles share, and profiles that are sampled or evented.
//!
//! Source of the format: the public `file-format-spec.ts` of the speedscope project. A document is checked as a whole when it
//! is parsed; what its profiles are worth is the caller's to say ([`Document::stacks`]). Must not know: types of profiles,
//! sample rates.

mod model;

use hashbrown::HashMap;

use crate::stacks::{StackId, StackLimits, StackTree, StacksError};
use model::{Events, File, Kind, Profile, Samples};

/// The only schema.
pub const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";
/// Bytes of a document: read, it takes a few times as much memory.
pub const DOCUMENT_BYTES_MAX: usize = 64 << 20;
/// Profiles of a document.
pub const PROFILES_MAX: usize = 1024;
/// How much of an odd text is shown.
const SHOWN_CHARS_MAX: usize = 80;

/// What the values of a profile are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of the format")]
pub enum Unit {
    None,
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    Bytes,
}

impl Unit {
    /// Its name in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Nanoseconds => "nanoseconds",
            Self::Microseconds => "microseconds",
            Self::Milliseconds => "milliseconds",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        use Unit::*;
        [None, Nanoseconds, Microseconds, Milliseconds, Seconds, Bytes]
            .into_iter()
            .find(|unit| unit.as_str() == text)
    }

    /// Nanoseconds in one; `None` = it is no time.
    pub fn ns(self) -> Option<f64> {
        match self {
            Self::Nanoseconds => Some(1.0),
            Self::Microseconds => Some(1e3),
            Self::Milliseconds => Some(1e6),
            Self::Seconds => Some(1e9),
            Self::None | Self::Bytes => None,
        }
    }
}

/// The bytes are no document of speedscope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpeedscopeError {
    /// More bytes than are read.
    #[error("the document is {0} bytes long, more than {DOCUMENT_BYTES_MAX}: send fewer profiles at once")]
    TooLarge(usize),
    /// No JSON, or not of the format; with line and column.
    #[error("no speedscope document: {0}")]
    Json(String),
    /// Another schema.
    #[error("Unknown schema: {0}")]
    Schema(String),
    /// Too many profiles.
    #[error("the document has {0} profiles, more than {PROFILES_MAX}")]
    Profiles(usize),
    /// Something in a profile.
    #[error("profile {profile}: {what}")]
    Profile {
        /// From 0.
        profile: usize,
        /// What is wrong, and where.
        what: String,
    },
}

/// A document that holds what it says.
#[derive(Debug)]
pub struct Document<'a> {
    frames: Vec<String>,
    profiles: Vec<Profile<'a>>,
    groups: Vec<Group>,
}

/// Profiles that are taken as one: those of equal name, kind, unit and start (api-semantics §3.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The name of them.
    pub name: String,
    /// The unit of them.
    pub unit: Unit,
    /// Indices of profiles.
    members: Vec<usize>,
}

impl<'a> Document<'a> {
    /// Parses a document and checks all of it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SpeedscopeError> {
        if bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(SpeedscopeError::TooLarge(bytes.len()));
        }
        let file: File<'a> = serde_json::from_slice(bytes)
            .map_err(|error| SpeedscopeError::Json(shown(&error.to_string())))?;
        if file.schema != SCHEMA {
            return Err(SpeedscopeError::Schema(shown(&file.schema)));
        }
        if file.profiles.len() > PROFILES_MAX {
            return Err(SpeedscopeError::Profiles(file.profiles.len()));
        }
        let frames: Vec<String> =
            file.shared.frames.into_iter().map(|frame| frame.name.into_owned()).collect();
        let mut document = Self { frames, profiles: file.profiles, groups: Vec::new() };
        document.check()?;
        Ok(document)
    }

    /// What is to be taken as one profile each, in the order of the document.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The stacks of a group; a value is `worth` times what the document says, rounded at the end of each sample or event.
    pub fn stacks(&self, group: &Group, worth: f64, limits: StackLimits) -> Result<StackTree, StacksError> {
        let mut out = StackTree::new(limits);
        let mut names = HashMap::new();
        for profile in &group.members {
            match &self.profiles[*profile].kind {
                Kind::Sampled { samples, weights } => {
                    for (frames, weight) in samples.iter().zip(weights) {
                        let mut stack = StackId::ROOT;
                        for frame in frames {
                            stack = self.child(&mut out, &mut names, stack, *frame)?;
                        }
                        out.add(stack, (weight * worth).round() as i64);
                    }
                }
                Kind::Evented(events) => self.replay(events, worth, &mut out, &mut names)?,
            }
        }
        Ok(out)
    }

    /// What passes while frames are open is the innermost frame's own. Time with no frame open is nobody's.
    fn replay(
        &self,
        events: &Events,
        worth: f64,
        out: &mut StackTree,
        names: &mut HashMap<u32, u32>,
    ) -> Result<(), StacksError> {
        let mut open: Vec<StackId> = Vec::new();
        let mut now = 0.0;
        for event in &events.events {
            if let Some(stack) = open.last() {
                out.add(*stack, ((event.at - now) * worth).round() as i64);
            }
            now = event.at;
            if event.opens {
                let parent = open.last().copied().unwrap_or(StackId::ROOT);
                open.push(self.child(out, names, parent, event.frame)?);
            } else {
                open.pop();
            }
        }
        if let Some(stack) = open.last() {
            out.add(*stack, ((events.end - now).max(0.0) * worth).round() as i64);
        }
        Ok(())
    }

    fn child(
        &self,
        out: &mut StackTree,
        names: &mut HashMap<u32, u32>,
        parent: StackId,
        frame: u32,
    ) -> Result<StackId, StacksError> {
        let name = match names.get(&frame) {
            Some(name) => *name,
            None => {
                let name = out.name_of(&self.frames[frame as usize])?;
                names.insert(frame, name);
                name
            }
        };
        out.named_child(parent, name)
    }

    /// Checks the profiles and finds which belong together.
    fn check(&mut self) -> Result<(), SpeedscopeError> {
        let mut known: HashMap<(&str, bool, Unit, u64), usize> = HashMap::new();
        for (at, profile) in self.profiles.iter().enumerate() {
            let wrong = |what: String| SpeedscopeError::Profile { profile: at, what };
            let unit = Unit::parse(&profile.unit).ok_or_else(|| {
                wrong(format!(
                    "unit {:?} is none of none, nanoseconds, microseconds, milliseconds, seconds, bytes",
                    shown(&profile.unit)
                ))
            })?;
            let evented = match &profile.kind {
                Kind::Sampled { samples, weights } => {
                    check_samples(samples, weights, self.frames.len()).map_err(wrong)?;
                    false
                }
                Kind::Evented(events) => {
                    check_events(events, self.frames.len()).map_err(wrong)?;
                    true
                }
            };
            let key = (&*profile.name, evented, unit, profile.start.to_bits());
            let group = *known.entry(key).or_insert_with(|| {
                self.groups.push(Group { name: profile.name.to_string(), unit, members: Vec::new() });
                self.groups.len() - 1
            });
            self.groups[group].members.push(at);
        }
        Ok(())
    }
}

fn check_samples(samples: &Samples, weights: &[f64], frames: usize) -> Result<(), String> {
    if samples.len() != weights.len() {
        return Err(format!("{} samples have {} weights", samples.len(), weights.len()));
    }
    for (at, (stack, weight)) in samples.iter().zip(weights).enumerate() {
        if let Some(frame) = stack.iter().find(|frame| **frame as usize >= frames) {
            return Err(format!("sample {at} has frame {frame}, but there are {frames} frames"));
        }
        if *weight < 0.0 {
            return Err(format!("the weight of sample {at} is {weight}, less than 0"));
        }
    }
    Ok(())
}

fn check_events(events: &Events, frames: usize) -> Result<(), String> {
    let mut open: Vec<u32> = Vec::new();
    let mut now = f64::NEG_INFINITY;
    for (at, event) in events.events.iter().enumerate() {
        if event.frame as usize >= frames {
            return Err(format!("event {at} has frame {}, but there are {frames} frames", event.frame));
        }
        if event.at < now {
            return Err(format!("event {at} is at {}, before the one before it, at {now}", event.at));
        }
        now = event.at;
        if event.opens {
            open.push(event.frame);
            continue;
        }
        match open.pop() {
            Some(frame) if frame == event.frame => {}
            Some(frame) => {
                return Err(format!("event {at} closes frame {}, but frame {frame} is open", event.frame));
            }
            None => return Err(format!("event {at} closes frame {}, but none is open", event.frame)),
        }
    }
    Ok(())
}

fn shown(text: &str) -> String {
    if text.chars().nth(SHOWN_CHARS_MAX).is_none() {
        return text.to_owned();
    }
    text.chars().take(SHOWN_CHARS_MAX).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
