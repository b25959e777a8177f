//! Label sets: sorted name-value pairs, and the labels that Hearth derives for each sample type.

use std::fmt;
use std::sync::Arc;

use crate::profile_type::ProfileType;

/// Name of the label that holds a profile's name.
pub const NAME: &str = "__name__";
/// Name of the label that holds the service.
pub const SERVICE_NAME: &str = "service_name";
/// Derived: the five-part profile type id.
pub const PROFILE_TYPE: &str = "__profile_type__";
/// Derived: the sample type.
pub const TYPE: &str = "__type__";
/// Derived: the sample unit.
pub const UNIT: &str = "__unit__";
/// Derived: the period type; absent when empty.
pub const PERIOD_TYPE: &str = "__period_type__";
/// Derived: the period unit; absent when empty.
pub const PERIOD_UNIT: &str = "__period_unit__";
/// Derived: a copy of `service_name`.
pub const SERVICE_NAME_COPY: &str = "__service_name__";
/// Of profiles of which sampling has left the totals: `"true"`. Queries leave them out unless the tenant wants them.
pub const SAMPLED: &str = "__sampled__";

/// One label.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Label {
    /// Never empty.
    pub name: Arc<str>,
    /// May be any UTF-8.
    pub value: Arc<str>,
}

/// A label set, sorted by name (bytes), each name once. Cheap to clone; ordered by pairs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Labels(Arc<[Label]>);

impl Labels {
    /// Sorts the pairs by name. Of equal names the first is kept (callers that must refuse them check before).
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut labels: Vec<Label> = pairs
            .into_iter()
            .map(|(n, v)| Label { name: Arc::from(n.as_ref()), value: Arc::from(v.as_ref()) })
            .collect();
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        labels.dedup_by(|later, earlier| later.name == earlier.name);
        Self(labels.into())
    }

    /// Takes labels that are already sorted by name, each name once; their texts stay shared.
    pub fn from_sorted(labels: Vec<Label>) -> Self {
        debug_assert!(labels.is_sorted_by(|a, b| a.name < b.name), "labels are sorted and unique");
        Self(labels.into())
    }

    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.binary_search_by(|l| (*l.name).cmp(name)).ok().map(|at| &*self.0[at].value)
    }

    /// The labels in order of name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|l| (&*l.name, &*l.value))
    }

    /// The labels themselves.
    pub fn as_slice(&self) -> &[Label] {
        &self.0
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Only the labels named, those that exist.
    #[must_use]
    pub fn project<S: AsRef<str>>(&self, names: &[S]) -> Self {
        Self(self.0.iter().filter(|l| names.iter().any(|n| n.as_ref() == &*l.name)).cloned().collect())
    }

    /// The labels that users see for one sample type of a series: those sent, less the ones that only steer ingestion
    /// (`__delta__`, `__otel__`, `__order__`), plus the derived ones (api-semantics §3.11).
    ///
    /// The series as stored (head, blocks) has the sent labels only; the profile's own `__name__` is among them.
    #[must_use]
    pub fn with_type(&self, ty: &ProfileType) -> Self {
        let steering = ["__delta__", "__otel__", "__order__"];
        let mut labels: Vec<Label> =
            self.0.iter().filter(|l| !steering.contains(&&*l.name)).cloned().collect();
        let mut put = |name: &str, value: &str| {
            labels.retain(|l| &*l.name != name);
            if !value.is_empty() {
                labels.push(Label { name: Arc::from(name), value: Arc::from(value) });
            }
        };
        put(PROFILE_TYPE, &ty.id());
        put(TYPE, &ty.sample_type);
        put(UNIT, &ty.sample_unit);
        put(PERIOD_TYPE, &ty.period_type);
        put(PERIOD_UNIT, &ty.period_unit);
        put(SERVICE_NAME_COPY, self.get(SERVICE_NAME).unwrap_or_default());
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        Self(labels.into())
    }
}

/// `{a="b", c="d"}`: the text form of messages and hash keys.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (name, value)) in self.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
