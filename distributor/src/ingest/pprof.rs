//! pprof of `/ingest`: which profile it is, and the quirks of older clients (api-semantics §3.12).

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use hearth_common::TimestampNs;
use hearth_formats::pprof::Pprof;
use serde::Deserialize;

use crate::reject::{Reason, Rejected};

const NS_PER_DAY: i64 = 86_400_000_000_000;
/// End of the year 1970: clients that know no time send something near zero.
const YEAR_1970_NS: i64 = 365 * NS_PER_DAY;

/// Most bytes of texts that are made for the quirks of a client: many functions may share one long file.
const TEXTS_BYTES_MAX: usize = 64 << 20;

/// What a client says about a sample type; only the name has an effect.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct TypeConfig {
    #[serde(rename = "display-name", default)]
    display_name: String,
}

/// Configuration by sample type.
pub(crate) type TypeConfigs = HashMap<String, TypeConfig>;

/// The `__name__` of a profile, from its sample types and what the client says about them.
pub(crate) fn name(pprof: &Pprof<'_>, configs: Option<&TypeConfigs>) -> String {
    if pprof.sample_types.iter().any(|ty| bytes(pprof, ty.ty) == b"wall") {
        return "wall".to_owned();
    }
    let mut last = Cow::Borrowed("");
    for ty in &pprof.sample_types {
        let ty = text(pprof, ty.ty);
        let shown = match (configs, ty) {
            (Some(configs), ty) => match configs.get(&*ty) {
                Some(config) if !config.display_name.is_empty() => Cow::Borrowed(&*config.display_name),
                _ => ty,
            },
            (None, Cow::Borrowed(ty)) => Cow::Borrowed(default_name(ty)),
            (None, ty) => ty,
        };
        if let Some(name) = decides(&shown) {
            return name.to_owned();
        }
        last = shown;
    }
    last.into_owned()
}

/// What a sample type is called when the client does not say.
fn default_name(ty: &str) -> &str {
    match ty {
        "samples" => "cpu",
        "goroutine" => "goroutines",
        "contentions" => "mutex_count",
        "delay" => "mutex_duration",
        other => other,
    }
}

fn decides(shown: &str) -> Option<&'static str> {
    if shown.contains("cpu") {
        Some("process_cpu")
    } else if shown.contains("alloc_") || shown.contains("inuse_") || matches!(shown, "space" | "objects") {
        Some("memory")
    } else if shown.contains("mutex_") {
        Some("mutex")
    } else if shown.contains("block_") {
        Some("block")
    } else if shown.contains("goroutines") {
        Some("goroutines")
    } else {
        None
    }
}

fn bytes<'a>(pprof: &Pprof<'a>, index: i64) -> &'a [u8] {
    usize::try_from(index).ok().and_then(|at| pprof.strings.get(at)).copied().unwrap_or_default()
}

fn text<'a>(pprof: &Pprof<'a>, index: i64) -> Cow<'a, str> {
    String::from_utf8_lossy(bytes(pprof, index))
}

/// Gives a profile that knows no time the one of the request.
pub(crate) fn mend_time(pprof: &mut Pprof<'_>, from: TimestampNs) {
    if pprof.time_ns < YEAR_1970_NS {
        pprof.time_ns = from.0;
    }
}

/// Texts that the quirks of a client need; they must outlive the profile.
#[derive(Debug, Default)]
pub(crate) struct Quirks {
    texts: Vec<u8>,
    /// (function, range of its name).
    names: Vec<(u32, Range<usize>)>,
    /// (sample type, range of its name).
    types: Vec<(u32, Range<usize>)>,
    pair_functions: bool,
}

impl Quirks {
    /// What has to be mended for a spy. Sample types are few: see [`crate::validate::sample_types`].
    pub(crate) fn new(pprof: &Pprof<'_>, spy: &str, configs: Option<&TypeConfigs>) -> Result<Self, Rejected> {
        let mut quirks = Self::default();
        match spy {
            "pyspy" | "rbspy" | "scripting" => quirks.name_files(pprof, spy == "pyspy")?,
            "dotnetspy" => quirks.dotnet(pprof)?,
            "unknown" if configs.is_some_and(|configs| configs.contains_key("inuse-space")) => {
                quirks.dotnet(pprof)?;
            }
            _ => {}
        }
        Ok(quirks)
    }

    /// Makes room for one more text, or says that there is none.
    fn begin(&self, length: usize) -> Result<usize, Rejected> {
        let start = self.texts.len();
        if length > TEXTS_BYTES_MAX - start {
            let message = format!(
                "names of functions with their files, and of sample types, take more than {TEXTS_BYTES_MAX} bytes: shorten them"
            );
            return Err(Rejected::invalid(Reason::ProfileSizeLimit, message));
        }
        Ok(start)
    }

    /// Functions of scripts are known by file and name; those of an absolute file carry it already.
    fn name_files(&mut self, pprof: &Pprof<'_>, keep_absolute: bool) -> Result<(), Rejected> {
        for (at, function) in (0..).zip(&pprof.functions) {
            let (file, name) = (bytes(pprof, function.filename), bytes(pprof, function.name));
            if keep_absolute && file.starts_with(b"/") {
                continue;
            }
            let start = self.begin(file.len() + 1 + name.len())?;
            self.texts.extend_from_slice(file);
            self.texts.push(b' ');
            self.texts.extend_from_slice(name);
            self.names.push((at, start..self.texts.len()));
        }
        Ok(())
    }

    /// Older .NET clients give several functions one id, and write types with dashes.
    fn dotnet(&mut self, pprof: &Pprof<'_>) -> Result<(), Rejected> {
        let mut ids: Vec<u64> = pprof.functions.iter().map(|function| function.id).collect();
        ids.sort_unstable();
        let repeated = ids.windows(2).any(|pair| pair[0] == pair[1]);
        // Their locations have one line each and stand in the order of their functions.
        self.pair_functions = repeated
            && pprof.locations.len() == pprof.functions.len()
            && pprof.locations.iter().all(|location| location.line_count == 1);
        for (at, ty) in (0..).zip(&pprof.sample_types) {
            let name = text(pprof, ty.ty);
            if name.contains('-') {
                let start = self.begin(name.len())?;
                self.texts.extend_from_slice(name.replace('-', "_").as_bytes());
                self.types.push((at, start..self.texts.len()));
            }
        }
        Ok(())
    }

    /// Mends the profile.
    pub(crate) fn apply<'a>(&'a self, pprof: &mut Pprof<'a>) {
        for (function, range) in &self.names {
            pprof.functions[*function as usize].name = pprof.strings.len() as i64;
            pprof.strings.push(&self.texts[range.clone()]);
        }
        for (ty, range) in &self.types {
            pprof.sample_types[*ty as usize].ty = pprof.strings.len() as i64;
            pprof.strings.push(&self.texts[range.clone()]);
        }
        if self.pair_functions {
            for (id, function) in (1..).zip(&mut pprof.functions) {
                function.id = id;
            }
            for (id, location) in (1..).zip(&pprof.locations) {
                pprof.lines[location.first_line as usize].function_id = id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hearth_formats::pprof::{Function, Line, Location, ValueType};

    use super::*;

    fn typed(types: &[&'static str]) -> Pprof<'static> {
        let mut pprof = Pprof { strings: vec![b""], ..Pprof::default() };
        for ty in types {
            pprof.sample_types.push(ValueType { ty: pprof.strings.len() as i64, unit: 0 });
            pprof.strings.push(ty.as_bytes());
        }
        pprof
    }

    #[test]
    fn names_of_profiles() {
        let check =
            |types: &[&'static str], want: &str| assert_eq!(name(&typed(types), None), want, "{types:?}");
        check(&["samples", "cpu"], "process_cpu");
        check(&["samples", "wall"], "wall");
        check(&["alloc_objects", "alloc_space"], "memory");
        check(&["objects", "space"], "memory");
        check(&["contentions", "delay"], "mutex");
        check(&["goroutine"], "goroutines");
        check(&["exceptions"], "exceptions");
        check(&["a", "b"], "b");
        let configs: TypeConfigs = serde_json::from_str(
            r#"{"contentions": {"display-name": "block_count", "units": "lock_samples"}}"#,
        )
        .expect("valid");
        assert_eq!(name(&typed(&["contentions", "delay"]), Some(&configs)), "block");
        assert_eq!(name(&typed(&["samples"]), Some(&configs)), "samples");
    }

    #[test]
    fn scripts_name_functions_by_file() {
        let function = |name, filename| Function { id: 1, name, filename, ..Function::default() };
        let check = |spy: &str, want: [&str; 2]| {
            let mut pprof = Pprof {
                strings: vec![b"", b"work", b"main.py", b"/abs/x.py"],
                functions: vec![function(1, 2), function(1, 3)],
                ..Pprof::default()
            };
            let quirks = Quirks::new(&pprof, spy, None).expect("short");
            quirks.apply(&mut pprof);
            let names: Vec<String> =
                pprof.functions.iter().map(|f| text(&pprof, f.name).into_owned()).collect();
            assert_eq!(names, want, "{spy}");
        };
        check("pyspy", ["main.py work", "work"]);
        check("rbspy", ["main.py work", "/abs/x.py work"]);
        check("gospy", ["work", "work"]);
    }

    #[test]
    fn texts_of_many_functions_are_bounded() {
        let long = vec![b'a'; 1 << 20];
        let function = Function { id: 1, name: 1, filename: 2, ..Function::default() };
        let mut pprof =
            Pprof { strings: vec![b"", b"work", &long], functions: vec![function; 63], ..Pprof::default() };
        assert!(Quirks::new(&pprof, "rbspy", None).is_ok());
        pprof.functions.push(function);
        let refused = Quirks::new(&pprof, "rbspy", None).expect_err("too long");
        assert_eq!(refused.reason, Reason::ProfileSizeLimit);
    }

    #[test]
    fn dotnet_is_mended() {
        let mut pprof = typed(&["inuse-space"]);
        pprof.functions = vec![Function { id: 7, ..Function::default() }; 2];
        pprof.lines = vec![Line { function_id: 7, line: 0 }; 2];
        let location = |id, first_line| Location { id, first_line, line_count: 1, ..Location::default() };
        pprof.locations = vec![location(1, 0), location(2, 1)];
        let quirks = Quirks::new(&pprof, "dotnetspy", None).expect("short");
        quirks.apply(&mut pprof);
        assert_eq!(text(&pprof, pprof.sample_types[0].ty), "inuse_space");
        assert_eq!(pprof.functions.iter().map(|f| f.id).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(pprof.lines.iter().map(|l| l.function_id).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn times_of_1970_are_no_times() {
        for (sent, want) in [(0, 9), (YEAR_1970_NS - 1, 9), (YEAR_1970_NS, YEAR_1970_NS)] {
            let mut pprof = Pprof { time_ns: sent, ..Pprof::default() };
            mend_time(&mut pprof, TimestampNs(9));
            assert_eq!(pprof.time_ns, want);
        }
    }
}
