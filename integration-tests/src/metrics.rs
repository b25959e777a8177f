//! Metrics from four sides: the page about them, the code that registers them, what processes expose, and the files that
//! ask for them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What names of our metrics begin with; other names in an expression are Prometheus' own, or labels.
const BEGINNINGS: [&str; 4] = ["hearth_", "pyroscope_", "objstore_", "process_"];

/// A value of the label `route` that looks like a metric.
const ROUTE: &str = "pyroscope_ingest";

/// A row of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `counter`, `gauge`, `histogram`.
    pub kind: String,
    /// Labels of its own.
    pub labels: BTreeSet<String>,
    /// Letters of the roles that have it.
    pub roles: BTreeSet<String>,
    /// It is there only from the first time that it has something to say.
    pub sometimes: bool,
}

/// What one process exposes of one family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Family {
    /// `counter`, `gauge`, `histogram`.
    pub kind: String,
    /// Labels of its series but `le`.
    pub labels: BTreeSet<String>,
}

/// The folder of the sources.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the sources.
pub fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a folder and those below it whose names end so, sorted.
pub fn files(folder: &str, end: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The rows of `docs/operations/metrics.md`.
pub fn page() -> BTreeMap<String, Row> {
    let text = read("docs/operations/metrics.md");
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, roles, meaning, odd] = cells[..] else {
            panic!("six columns are expected: {line}");
        };
        assert!(!meaning.is_empty() && !odd.is_empty(), "a column is empty: {line}");
        let words =
            |cell: &str| cell.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let row = Row {
            kind: kind.to_owned(),
            labels: words(labels),
            roles: words(roles),
            sometimes: name.ends_with('*'),
        };
        let name = name.trim_end_matches([' ', '*']).trim_matches('`').to_owned();
        assert!(rows.insert(name, row).is_none(), "twice: {line}");
    }
    rows
}

/// Names that the code registers, without the `_total` of counters.
pub fn registered() -> BTreeSet<String> {
    let crates = ["common", "distributor", "ingester", "querier", "compactor", "standalone"];
    let sources = crates.iter().flat_map(|folder| files(folder, ".rs"));
    let mut names = BTreeSet::new();
    for path in sources.filter(|path| path.components().any(|part| part.as_os_str() == "src")) {
        let text = std::fs::read_to_string(&path).expect("a source");
        let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        if text.contains("prometheus_client") {
            names.extend(registered_in(text));
        }
    }
    names
}

/// Names stand as the first argument of a call that registers, or first in a tuple `(name, help, &metric)`; those without a
/// beginning of their own have the prefix of the sub-registry above them.
fn registered_in(text: &str) -> Vec<String> {
    let (mut names, mut prefix) = (Vec::new(), None);
    let pieces: Vec<&str> = text.split('"').collect();
    for (at, literal) in pieces.iter().enumerate().skip(1).step_by(2) {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if literal.is_empty() || !literal.chars().all(is_name) {
            continue;
        }
        let before = pieces[at - 1].trim_end();
        if before.ends_with("sub_registry_with_prefix(") {
            prefix = Some(*literal);
            continue;
        }
        let calls = ["register(", "add(", "encode_descriptor(", "gauge(", " family(", "let name ="];
        let in_call = calls.iter().any(|call| before.ends_with(call));
        let between = pieces.get(at + 1).map_or("", |text| text.trim());
        let after = pieces.get(at + 3).map_or("", |text| text.trim());
        let in_tuple =
            before.ends_with('(') && between == "," && after.replace([' ', '\n'], "").starts_with(",&");
        if !in_call && !in_tuple {
            continue;
        }
        match prefix {
            _ if BEGINNINGS.iter().any(|beginning| literal.starts_with(beginning)) => {
                names.push((*literal).to_owned())
            }
            Some(prefix) => names.push(format!("{prefix}_{literal}")),
            None => {}
        }
    }
    names
}

/// The families of an answer of `/metrics` in the older text format.
pub fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            current = name.to_owned();
            families.insert(current.clone(), Family { kind: kind.to_owned(), ..Family::default() });
        } else if let (false, Some((_, labels))) = (line.starts_with('#'), line.split_once('{')) {
            let family = families.get_mut(&current).expect("a type stands above each series");
            let names = labels.split("=\"").filter_map(|part| part.rsplit(['{', ',', '"', ' ']).next());
            let mut names: Vec<&str> = names.collect();
            // What follows the last value.
            names.pop();
            family.labels.extend(names.into_iter().filter(|name| *name != "le").map(str::to_owned));
        }
    }
    families
}

/// Words of a file that are names of our metrics, or of recorded figures.
pub fn asked_for(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c| !word(c)).map(|word| word.trim_matches(':'));
    let ours = |name: &str| {
        name.starts_with("hearth:") || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
    };
    words.filter(|word| ours(word) && *word != ROUTE).map(str::to_owned).collect()
}

/// The family that a series belongs to: histograms have three kinds of them.
pub fn family_of<'a>(name: &'a str, page: &BTreeMap<String, Row>) -> &'a str {
    for end in ["_bucket", "_count", "_sum"] {
        let family = name.strip_suffix(end);
        if let Some(family) =
            family.filter(|family| page.get(*family).is_some_and(|row| row.kind == "histogram"))
        {
            return family;
        }
    }
    name
}
