//! Exports of OTLP profiles in the layout of any release of opentelemetry-proto, from the same description.

mod convert;
mod tables;

pub use convert::from_pprof;

use crate::wire;
use tables::{Tables, key_values};

/// The release whose field numbers an export has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the releases")]
pub enum Release {
    V1_5,
    V1_7,
    V1_8,
    V1_9,
    V1_10,
}

impl Release {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::V1_5, Self::V1_7, Self::V1_8, Self::V1_9, Self::V1_10];

    fn has_stacks(self) -> bool {
        self >= Self::V1_8
    }
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are those of AnyValue")]
pub enum AttributeValue {
    Text(String),
    Int(i64),
    Bool(bool),
    Double(f64),
    List(Vec<AttributeValue>),
}

impl From<&str> for AttributeValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for AttributeValue {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

/// Attributes with their keys.
pub type Attributes = Vec<(String, AttributeValue)>;

/// Attributes from texts.
pub fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect()
}

/// A sample.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Frames, root first, with `;` between them. A frame `0x…` is an address that nobody has symbolised.
    pub stack: String,
    /// Values.
    pub values: Vec<i64>,
    /// Timestamps.
    pub timestamps: Vec<u64>,
    /// Attributes.
    pub attributes: Attributes,
    /// Trace and span.
    pub link: Option<(Vec<u8>, Vec<u8>)>,
}

impl Sample {
    /// A sample with values.
    pub fn new(stack: &str, values: &[i64]) -> Self {
        Self { stack: stack.to_owned(), values: values.to_vec(), ..Self::default() }
    }

    /// With timestamps.
    #[must_use]
    pub fn at(self, timestamps: &[u64]) -> Self {
        Self { timestamps: timestamps.to_vec(), ..self }
    }

    /// With text attributes.
    #[must_use]
    pub fn with(self, pairs: &[(&str, &str)]) -> Self {
        Self { attributes: attributes(pairs), ..self }
    }

    /// With a link.
    #[must_use]
    pub fn linked(self, trace: &[u8], span: &[u8]) -> Self {
        Self { link: Some((trace.to_vec(), span.to_vec())), ..self }
    }
}

/// A profile.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    /// Types and units; one, or several before v1.8.
    pub sample_types: Vec<(String, String)>,
    /// What happens between samples.
    pub period_type: Option<(String, String)>,
    /// How much of it.
    pub period: i64,
    /// Begin.
    pub time_ns: u64,
    /// Duration.
    pub duration_ns: u64,
    /// Samples.
    pub samples: Vec<Sample>,
}

impl Profile {
    /// A profile of this sample type and period type.
    pub fn new(sample_type: (&str, &str), period_type: Option<(&str, &str)>, period: i64) -> Self {
        let owned = |(ty, unit): (&str, &str)| (ty.to_owned(), unit.to_owned());
        Self {
            sample_types: vec![owned(sample_type)],
            period_type: period_type.map(owned),
            period,
            ..Self::default()
        }
    }

    /// CPU samples at 100 Hz.
    pub fn cpu() -> Self {
        Self::new(("samples", "count"), Some(("cpu", "nanoseconds")), 10_000_000)
    }

    /// With a sample more.
    #[must_use]
    pub fn sample(mut self, sample: Sample) -> Self {
        self.samples.push(sample);
        self
    }
}

/// Profiles of one resource and scope.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resource {
    /// Of the resource.
    pub attributes: Attributes,
    /// Of the scope.
    pub scope_attributes: Attributes,
    /// Profiles.
    pub profiles: Vec<Profile>,
}

/// The program that all frames of an export lie in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of Mapping")]
pub struct Binary {
    pub file: String,
    pub build_id: String,
    pub start: u64,
    pub limit: u64,
    pub offset: u64,
}

impl Default for Binary {
    fn default() -> Self {
        Self {
            file: "/app/bin".to_owned(),
            build_id: "abcd".to_owned(),
            start: 0x1000,
            limit: 0x9000,
            offset: 0,
        }
    }
}

/// An export.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Export {
    /// Resources.
    pub resources: Vec<Resource>,
    /// The program.
    pub binary: Binary,
}

impl Export {
    /// An export of profiles of one resource with these text attributes.
    pub fn of(pairs: &[(&str, &str)], profiles: Vec<Profile>) -> Self {
        let resource = Resource { attributes: attributes(pairs), profiles, ..Resource::default() };
        Self { resources: vec![resource], ..Self::default() }
    }

    /// The bytes as a release writes them.
    pub fn encode(&self, release: Release) -> Vec<u8> {
        let mut shared = Tables::new(release, &self.binary);
        let mut out = Vec::new();
        for resource in &self.resources {
            let mut scope_profiles = Vec::new();
            let scope = key_values(&resource.scope_attributes, 3);
            wire::bytes(&mut scope_profiles, 1, &scope);
            for profile in &resource.profiles {
                let bytes = match release {
                    Release::V1_5 => {
                        let mut own = Tables::new(release, &self.binary);
                        own.profile(profile)
                    }
                    _ => shared.profile(profile),
                };
                wire::bytes(&mut scope_profiles, 2, &bytes);
            }
            let mut message = Vec::new();
            wire::bytes(&mut message, 1, &key_values(&resource.attributes, 1));
            wire::bytes(&mut message, 2, &scope_profiles);
            wire::bytes(&mut out, 1, &message);
        }
        if release != Release::V1_5 {
            wire::bytes(&mut out, 2, &shared.dictionary());
        }
        out
    }
}
