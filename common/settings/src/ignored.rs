//! Which keys of a file are taken and ignored: those of Pyroscope's limits that have no meaning here.

use hearth_common::limits::ignored::{Why, why};
use serde_json::Value;

/// A key that has no meaning here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoredKey {
    /// The tenant in whose entry it stands; `None`: among the limits of all.
    pub tenant: Option<String>,
    /// Its path below the limits.
    pub key: String,
    /// Why it is ignored.
    pub why: Why,
}

impl IgnoredKey {
    /// Where it stands in its file.
    pub fn path(&self) -> String {
        match &self.tenant {
            Some(tenant) => format!("overrides.{tenant}.{}", self.key),
            None => format!("limits.{}", self.key),
        }
    }

    /// What is said about it.
    pub fn message(&self) -> String {
        format!("has no meaning here and is ignored: {}", self.why.text())
    }
}

/// Those of a map of limits.
pub(crate) fn keys_in<'a>(
    tenant: Option<&str>,
    limits: impl IntoIterator<Item = (&'a String, &'a Value)>,
) -> Vec<IgnoredKey> {
    let mut found = Vec::new();
    let mut look = |key: String| {
        found.extend(why(&key).map(|why| IgnoredKey { tenant: tenant.map(str::to_owned), key, why }));
    };
    for (key, value) in limits {
        look(key.clone());
        for (inner, _) in value.as_object().into_iter().flatten() {
            look(format!("{key}.{inner}"));
        }
    }
    found
}
