//! `/ingest` and OTLP: what requests of other protocols mean (api-semantics §3.12, §3.13). Pure: parameters and bytes to labels
//! and pprof.
//!
//! Must not know: HTTP, limits, records.

pub(crate) mod jfr;
pub(crate) mod otlp;
pub(crate) mod params;
pub(crate) mod pprof;
pub(crate) mod profile_type;
pub(crate) mod text;

use hearth_formats::app_name::AppName;

/// Labels on their way into a series: names unique, the last value counts.
#[derive(Debug, Default)]
pub(crate) struct SeriesLabels(Vec<(String, String)>);

impl SeriesLabels {
    /// The labels that every `/ingest` has: the profile's name and its spy; then those of the name, whose names may not begin
    /// with `__` (but for the session).
    pub(crate) fn new(name: &str, spy: &str, app: &AppName<'_>) -> Self {
        let mut labels = Self::default();
        labels.set("__name__", name);
        // Values of this protocol are never cumulative.
        labels.set("__delta__", "false");
        labels.set(crate::pipeline::SPY, spy);
        let users =
            app.labels.iter().filter(|(name, _)| !name.starts_with("__") || *name == "__session_id__");
        users.for_each(|(name, value)| labels.set(name, value));
        labels
    }

    /// Sets a label.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(other, _)| other != name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// Whether a label is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| other == name)
    }

    /// As pairs.
    pub(crate) fn pairs(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
}
