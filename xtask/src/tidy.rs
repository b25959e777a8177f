//! `cargo xtask tidy`: the rules of the house that a compiler does not check.
//!
//! Dependency direction between crates, who may name which library, sizes of files and functions, and that each crate has
//! its entry in `ARCHITECTURE.md`. Each finding says what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const ALLOW_LIST: &str = "xtask/tidy-allow.txt";

/// Layers, lowest first: a crate uses only crates of lower layers, or those of its own that `SAME_LAYER` names.
const LAYERS: &[&[&str]] = &[
    &["hearth-common"],
    &["hearth-model"],
    &["hearth-formats", "hearth-ring", "hearth-cell", "hearth-wal", "hearth-block", "hearth-symbols"],
    &[
        "hearth-proto",
        "hearth-telemetry",
        "hearth-settings",
        "hearth-objstore",
        "hearth-cluster",
        "hearth-rpc",
    ],
    &["hearth-catalog", "hearth-debuginfo"],
    &["hearth-query"],
    &["hearth-internode"],
    &["hearth-node"],
    &["hearth-distributor", "hearth-ingester", "hearth-querier", "hearth-compactor"],
    &["hearth"],
    &["hearth-integration-tests", "hearth-sim", "xtask"],
];
const SAME_LAYER: &[(&str, &str)] = &[
    ("hearth-rpc", "hearth-proto"),
    ("hearth-rpc", "hearth-telemetry"),
    ("hearth-telemetry", "hearth-proto"),
    ("hearth-cluster", "hearth-objstore"),
];

/// Used only as a dev-dependency, by anyone.
const TEST_ONLY: &str = "hearth-testkit";

/// A library and the only crates that may name it.
const NAMED_ONLY_IN: &[(&str, &[&str])] = &[
    ("chitchat", &["hearth-cluster"]),
    ("hashring", &["hearth-ring"]),
    ("object_store", &["hearth-objstore"]),
    ("parquet", &["hearth-block"]),
    ("reqwest", &["hearth-querier", "hearth-telemetry"]),
    ("connectrpc", &["hearth-rpc"]),
    ("tonic", &["hearth-proto", "hearth-internode"]),
    ("tonic-prost", &["hearth-proto"]),
    ("opentelemetry", &["hearth-telemetry"]),
    ("opentelemetry_sdk", &["hearth-telemetry"]),
    ("opentelemetry-otlp", &["hearth-telemetry"]),
    ("pprof", &["hearth-telemetry"]),
    ("jemalloc_pprof", &["hearth-telemetry"]),
    // Tests read manifests.
    ("serde-saphyr", &["hearth-settings", "hearth-integration-tests"]),
];

/// Roles, and what only their `src/api` may name: wire types stop there.
const ROLES: &[&str] = &["distributor", "ingester", "querier", "compactor"];
const WIRE: &[&str] = &["axum", "connectrpc", "hearth_proto", "multer", "tonic"];

/// These take values and return values.
const PURE: &[&str] = &[
    "hearth-model",
    "hearth-formats",
    "hearth-ring",
    "hearth-cell",
    "hearth-block",
    "hearth-wal",
    "hearth-symbols",
    "hearth-query",
];

/// Checks the tree below `root`; prints what is wrong and fails if anything is.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut findings = Vec::new();
    let metadata = metadata(root)?;
    dependencies(&metadata, &mut findings);
    manifests(root, &metadata, &mut findings)?;
    code_map(root, &metadata, &mut findings)?;
    sizes(root, &mut findings)?;
    wire_types(root, &mut findings)?;
    #[allow(clippy::print_stdout, reason = "this is what the command is for")]
    for finding in &findings {
        println!("tidy: {finding}");
    }
    if findings.is_empty() { Ok(()) } else { bail!("{} findings", findings.len()) }
}

struct Package {
    name: String,
    manifest: PathBuf,
    /// (name, whether it is only for tests)
    dependencies: Vec<(String, bool)>,
}

fn metadata(root: &Path) -> Result<Vec<Package>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("cargo metadata does not run")?;
    let json: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata gives no JSON")?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let packages = json["packages"].as_array().context("cargo metadata names no packages")?;
    let package = |package: &serde_json::Value| Package {
        name: text(&package["name"]),
        manifest: PathBuf::from(text(&package["manifest_path"])),
        dependencies: package["dependencies"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|d| (text(&d["name"]), d["kind"] == "dev"))
            .collect(),
    };
    Ok(packages.iter().map(package).collect())
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

fn dependencies(packages: &[Package], findings: &mut Vec<String>) {
    for package in packages {
        let name = package.name.as_str();
        for (dependency, dev) in &package.dependencies {
            let dependency = dependency.as_str();
            for (library, homes) in NAMED_ONLY_IN {
                if dependency == *library && !homes.contains(&name) && !dev {
                    findings.push(format!(
                        "{name} depends on {library}, which only {} may name",
                        homes.join(", ")
                    ));
                }
            }
            if PURE.contains(&name) && dependency == "tokio" && !dev {
                findings
                    .push(format!("{name} is pure and may not depend on tokio: move the I/O to its caller"));
            }
            if dependency == TEST_ONLY && !dev && name != "hearth-integration-tests" {
                findings.push(format!("{name} depends on {TEST_ONLY} outside of tests"));
            }
            if *dev || dependency == TEST_ONLY || name == TEST_ONLY {
                continue;
            }
            let (Some(from), Some(to)) = (layer(name), layer(dependency)) else {
                if dependency.starts_with("hearth") {
                    findings
                        .push(format!("{name} or {dependency} has no layer: name it in xtask/src/tidy.rs"));
                }
                continue;
            };
            if to > from || (to == from && !SAME_LAYER.contains(&(name, dependency))) {
                findings.push(format!("{name} depends on {dependency}, which is not in a lower layer"));
            }
        }
    }
}

fn manifests(root: &Path, packages: &[Package], findings: &mut Vec<String>) -> Result<()> {
    for package in packages {
        let text = fs::read_to_string(&package.manifest)?;
        let shown = package.manifest.strip_prefix(root).unwrap_or(&package.manifest).display();
        if !text.contains("[lints]\nworkspace = true") {
            findings.push(format!("{shown} does not opt into the workspace's lints"));
        }
        let mut section = "";
        for line in text.lines() {
            if line.starts_with('[') {
                section = line;
            } else if section.contains("dependencies")
                && line.contains("version")
                && !line.contains("workspace")
            {
                findings.push(format!(
                    "{shown} pins a version by itself: `{line}`; versions stand in the root manifest"
                ));
            }
        }
    }
    Ok(())
}

fn code_map(root: &Path, packages: &[Package], findings: &mut Vec<String>) -> Result<()> {
    let map = fs::read_to_string(root.join("ARCHITECTURE.md")).context("ARCHITECTURE.md cannot be read")?;
    for package in packages {
        if !map.contains(&format!("`{}`", package.name)) {
            findings.push(format!("ARCHITECTURE.md has no entry for `{}`", package.name));
        }
    }
    Ok(())
}

fn wire_types(root: &Path, findings: &mut Vec<String>) -> Result<()> {
    for role in ROLES {
        let source = root.join(role).join("src");
        let mut files = Vec::new();
        rust_files(&source, &mut files)?;
        for path in
            files.iter().filter(|path| !path.starts_with(source.join("api")) && !path.ends_with("src/api.rs"))
        {
            let text = fs::read_to_string(path)?;
            let shown = path.strip_prefix(root).unwrap_or(path).display();
            for library in WIRE.iter().filter(|library| names(&without_tests(&text), library)) {
                findings.push(format!("{shown} names {library}: wire types stop at {role}/src/api"));
            }
        }
    }
    Ok(())
}

/// Whether code, comments aside, has a path that begins with a crate's name.
fn names(code: &[&str], library: &str) -> bool {
    let path = format!("{library}::");
    code.iter().filter(|line| !line.trim_start().starts_with("//")).any(|line| {
        line.match_indices(&path).any(|(at, _)| {
            !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':')
        })
    })
}

fn sizes(root: &Path, findings: &mut Vec<String>) -> Result<()> {
    let allowed = allow_list(root)?;
    let mut used = BTreeSet::new();
    let mut files = Vec::new();
    for top in [
        "common",
        "distributor",
        "ingester",
        "querier",
        "compactor",
        "standalone",
        "integration-tests",
        "xtask",
    ] {
        rust_files(&root.join(top), &mut files)?;
    }
    for path in files {
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        if shown.contains("/gen/") || shown.contains("/tests/") || shown.ends_with("/tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let code = without_tests(&text);
        let mut check = |what: String, lines: usize, max: usize| {
            if lines <= max {
                return;
            }
            match allowed.get(&what) {
                Some(most) if lines <= *most => drop(used.insert(what)),
                _ => findings.push(format!("{what} has {lines} lines, at most {max}: split it")),
            }
        };
        check(shown.clone(), code.len(), FILE_LINES_MAX);
        for (function, lines) in functions(&code) {
            check(format!("{shown}:{function}"), lines, FUNCTION_LINES_MAX);
        }
        if !text.starts_with("//!") {
            findings.push(format!("{shown} does not start with what the module owns (`//! …`)"));
        }
    }
    for stale in allowed.keys().filter(|what| !used.contains(*what)) {
        findings.push(format!(
            "{ALLOW_LIST} still lists {stale}, which is small enough now: the list only shrinks"
        ));
    }
    Ok(())
}

/// Lines `path[:function] most`.
fn allow_list(root: &Path) -> Result<BTreeMap<String, usize>> {
    let text = fs::read_to_string(root.join(ALLOW_LIST)).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (what, most) = line.rsplit_once(' ').with_context(|| format!("{ALLOW_LIST}: `{line}`"))?;
            Ok((what.to_owned(), most.parse()?))
        })
        .collect()
}

fn rust_files(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

/// The lines before the first `#[cfg(test)] mod`.
fn without_tests(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        pair[0].trim() == "#[cfg(test)]" && pair[1].trim_start().starts_with("mod ") && pair[1].ends_with('{')
    });
    lines[..tests.unwrap_or(lines.len())].to_vec()
}

/// Functions with their lengths, by indentation: rustfmt closes a function at the column where it began.
fn functions(code: &[&str]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, line) in code.iter().enumerate() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        let words: Vec<&str> = trimmed.split_whitespace().take(6).collect();
        let Some(keyword) = words.iter().position(|word| *word == "fn") else { continue };
        let prefix = ["pub", "pub(crate)", "pub(super)", "async", "const", "unsafe"];
        if !words[..keyword].iter().all(|word| prefix.contains(word)) || trimmed.ends_with(';') {
            continue;
        }
        let name =
            words.get(keyword + 1).map(|w| w.split(['(', '<']).next().unwrap_or(w)).unwrap_or_default();
        let close = format!("{}}}", " ".repeat(indent));
        if let Some(length) = code[at..].iter().position(|later| *later == close) {
            found.push((name.to_owned(), length + 1));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_and_tests_are_not() {
        let text = "//! x\nfn a() {\n    1\n}\n\nimpl B {\n    pub(crate) async fn b(\n        c: u8,\n    ) {\n    }\n}\n\
                    #[cfg(test)]\nmod tests {\n    fn long() {\n    }\n}\n";
        let code = without_tests(text);
        assert_eq!(code.len(), 11);
        assert_eq!(functions(&code), [("a".to_owned(), 3), ("b".to_owned(), 4)]);
    }

    #[test]
    fn crates_are_found_in_paths_only() {
        assert!(names(&["use axum::Router;"], "axum") && names(&["fn a(b: axum::C)"], "axum"));
        assert!(!names(&["// axum::Router"], "axum") && !names(&["use my_axum::x;"], "axum"));
        assert!(!names(&["crate::axum::x"], "axum"));
    }

    #[test]
    fn each_layer_is_above_what_it_uses() {
        assert!(
            layer("hearth-common") < layer("hearth-model") && layer("hearth-query") < layer("hearth-querier")
        );
        assert_eq!(layer("serde"), None);
    }
}
