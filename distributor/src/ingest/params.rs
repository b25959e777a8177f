//! The query parameters of `/ingest`, and which format they mean.

use hearth_common::TimestampNs;
use hearth_formats::{app_name, attime};

const SAMPLE_RATE_DEFAULT: u32 = 100;

/// The parameters as sent, with their defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Params {
    /// `name`.
    pub(crate) name: String,
    /// `from`, as sent.
    pub(crate) from: String,
    /// `until`, as sent.
    pub(crate) until: String,
    /// `format`, as sent.
    pub(crate) format: String,
    /// `sampleRate`: samples a second.
    pub(crate) sample_rate: u32,
    /// `spyName`.
    pub(crate) spy: String,
}

/// How the body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// pprof, the whole body.
    Pprof,
    /// A multipart form that holds a pprof.
    PprofForm,
    /// `stack count` lines.
    Groups,
    /// A stack a line.
    Lines,
    /// A flight recording, the whole body or in a multipart form.
    Jfr,
    /// A node a frame.
    Tree,
    /// A node a fragment of stacks as text.
    Trie,
    /// A document of speedscope.
    Speedscope,
}

impl Params {
    /// From pairs of a query string; of equal names the first counts.
    pub(crate) fn new(query: &[(String, String)]) -> Self {
        let get = |name: &str| {
            query.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let spy = get("spyName");
        Self {
            name: get("name"),
            from: get("from"),
            until: get("until"),
            format: get("format"),
            sample_rate: get("sampleRate").parse().unwrap_or(SAMPLE_RATE_DEFAULT),
            spy: if spy.is_empty() { "unknown".to_owned() } else { spy },
        }
    }

    /// The application and its labels. A pair `__name__=x` replaces the application.
    pub(crate) fn app(&self) -> Result<app_name::AppName<'_>, app_name::AppNameError> {
        let mut app = app_name::parse(&self.name)?;
        if let Some((_, name)) = app.labels.iter().find(|(name, _)| *name == "__name__") {
            app.app = name;
        }
        Ok(app)
    }

    /// Begin and end of the profile; now when they are not given.
    pub(crate) fn times(&self, now: TimestampNs) -> (TimestampNs, TimestampNs) {
        (attime::parse(&self.from, now), attime::parse(&self.until, now))
    }

    /// The format by the parameter, else by the content type.
    pub(crate) fn format(&self, content_type: &str) -> Format {
        match (self.format.as_str(), content_type) {
            ("trie", _) | (_, "binary/octet-stream+trie") => Format::Trie,
            ("tree", _) | (_, "binary/octet-stream+tree") => Format::Tree,
            ("lines", _) => Format::Lines,
            ("jfr", _) => Format::Jfr,
            ("pprof", _) => Format::Pprof,
            ("speedscope", _) => Format::Speedscope,
            (_, content_type) if content_type.contains("multipart/form-data") => Format::PprofForm,
            _ => Format::Groups,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Params::new(&pairs)
    }

    #[test]
    fn defaults_and_oddities() {
        let check =
            |rate: &str, want| assert_eq!(params(&[("sampleRate", rate)]).sample_rate, want, "{rate}");
        check("49", 49);
        check("0", 0);
        check("x", 100);
        check("-1", 100);
        check("", 100);
        assert_eq!(params(&[("name", "a"), ("name", "b")]).name, "a");
        assert_eq!(params(&[]).spy, "unknown");
        let renamed = params(&[("name", "app{__name__=b c,k=v}")]);
        assert_eq!(renamed.app().map(|app| app.app), Ok("b c"));
    }

    #[test]
    fn formats() {
        let check = |format: &str, content_type: &str, want| {
            assert_eq!(params(&[("format", format)]).format(content_type), want, "{format} {content_type}");
        };
        check("", "", Format::Groups);
        check("folded", "application/octet-stream", Format::Groups);
        check("nonsense", "", Format::Groups);
        check("lines", "", Format::Lines);
        check("pprof", "multipart/form-data; boundary=x", Format::Pprof);
        check("", "multipart/form-data; boundary=x", Format::PprofForm);
        check("groups", "multipart/form-data; boundary=x", Format::PprofForm);
        check("jfr", "multipart/form-data; boundary=x", Format::Jfr);
        check("", "binary/octet-stream+trie", Format::Trie);
        check("tree", "binary/octet-stream+trie", Format::Trie);
        check("speedscope", "binary/octet-stream+tree", Format::Tree);
        check("speedscope", "application/json", Format::Speedscope);
    }
}
