//! The five-part profile type id, `name:sample_type:sample_unit:period_type:period_unit`.

use std::fmt;
use std::sync::Arc;

/// A profile type. Ordered by the bytes of its parts, each closed by a colon, so types of one name are neighbours.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ProfileType {
    /// The profile's `__name__`, such as `process_cpu`.
    pub name: Arc<str>,
    /// Such as `cpu`.
    pub sample_type: Arc<str>,
    /// Such as `nanoseconds`.
    pub sample_unit: Arc<str>,
    /// May be empty.
    pub period_type: Arc<str>,
    /// May be empty.
    pub period_unit: Arc<str>,
}

/// The text is not a profile type id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "profile-type selection must be of the form <name>:<sample-type>:<sample-unit>:<period-type>:<period-unit>(:delta), got({parts}): \"{text}\""
)]
pub struct InvalidProfileType {
    /// How many parts there were.
    pub parts: usize,
    /// What was given.
    pub text: String,
}

impl hearth_common::Classify for InvalidProfileType {
    fn kind(&self) -> hearth_common::ErrorKind {
        hearth_common::ErrorKind::InvalidArgument
    }
}

impl ProfileType {
    /// Parses an id; a sixth part (historically `delta`) is accepted and ignored.
    pub fn parse(text: &str) -> Result<Self, InvalidProfileType> {
        let parts: Vec<&str> = text.split(':').collect();
        match parts[..] {
            [name, sample_type, sample_unit, period_type, period_unit]
            | [name, sample_type, sample_unit, period_type, period_unit, _] => {
                Ok(Self::new(name, sample_type, sample_unit, period_type, period_unit))
            }
            _ => Err(InvalidProfileType { parts: parts.len(), text: text.to_owned() }),
        }
    }

    /// A type from its parts.
    pub fn new(
        name: &str,
        sample_type: &str,
        sample_unit: &str,
        period_type: &str,
        period_unit: &str,
    ) -> Self {
        Self {
            name: Arc::from(name),
            sample_type: Arc::from(sample_type),
            sample_unit: Arc::from(sample_unit),
            period_type: Arc::from(period_type),
            period_unit: Arc::from(period_unit),
        }
    }

    /// The five parts joined by colons.
    pub fn id(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for ProfileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, sample_type, sample_unit, period_type, period_unit } = self;
        write!(f, "{name}:{sample_type}:{sample_unit}:{period_type}:{period_unit}")
    }
}

impl PartialOrd for ProfileType {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ProfileType {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let bytes = |t: &Self| {
            let parts =
                [&t.name, &t.sample_type, &t.sample_unit, &t.period_type, &t.period_unit].map(Arc::clone);
            parts.into_iter().flat_map(|part| part.bytes().chain([b':']).collect::<Vec<u8>>())
        };
        bytes(self).cmp(bytes(other))
    }
}
