//! `hearth config check` and `hearth config migrate`, as a person calls them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

fn hearth(dir: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth"));
    command.arg("config").args(words).current_dir(dir).env_remove("HEARTH_CONFIG");
    command.output().expect("hearth runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// What a check of `settings` and `overrides` prints, and whether it succeeds.
fn check(settings: &str, overrides: Option<&str>) -> (String, bool) {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("h.yaml"), settings).expect("written");
    let mut words = vec!["check", "h.yaml"];
    if let Some(overrides) = overrides {
        std::fs::write(dir.path().join("o.yaml"), overrides).expect("written");
        words.extend(["--overrides", "o.yaml"]);
    }
    let output = hearth(dir.path(), &words);
    (text(&output.stdout), output.status.success())
}

#[test]
fn good_files_have_no_findings() {
    let good = ("h.yaml: nothing wrong, nothing doubtful\n".to_owned(), true);
    assert_eq!(check("", None), good);
    let dir = tempfile::tempdir().expect("a folder");
    let defaults = hearth(dir.path(), &["--defaults"]);
    assert_eq!(
        check(
            &text(&defaults.stdout),
            Some("overrides: {anonymous: {ingestion_rate_mb: 9, ingestion_burst_size_mb: 9}}")
        ),
        good
    );
}

#[test]
fn errors_say_where_and_what() {
    for (settings, overrides, want) in [
        (
            "listen: 0.0.0.0:1\nwall:\n  quota_bytes: 1\n",
            None,
            "h.yaml:2: error: wall: there is no such key; did you mean 'wal'?",
        ),
        ("wal:\n  quota_bytes: many\n", None, "h.yaml:2: error: "),
        (
            "compactor:\n  interval: 15m\n  merge_blocks: 1\n",
            None,
            "h.yaml:3: error: compactor.merge_blocks: 1: at least two blocks are merged",
        ),
        ("object_store: ftp://x\n", None, "h.yaml:1: error: object_store: 'ftp:…'"),
        ("object_store: s3://k:s@bucket/x\n", None, "h.yaml:1: error: object_store: the URL holds more than"),
        (
            "limits:\n  ingestion_relabeling_rules:\n    - {regex: '(', target_label: a}\n",
            None,
            "h.yaml:2: error: limits.ingestion_relabeling_rules[0]: regex '(' is not valid: unclosed group",
        ),
        (
            "limits:\n  retention:\n    - {selector: '{a=', period: 1d}\n",
            None,
            "h.yaml:2: error: limits.retention: ",
        ),
        (
            "limits:\n  s3_sse_type: AES\n",
            None,
            "h.yaml:2: error: limits.s3_sse_type: s3_sse_type 'AES' is none of",
        ),
        (
            "limits:\n  ingestion_rate_mb: -1\n",
            None,
            "h.yaml:2: error: limits.ingestion_rate_mb: -1: it is 0 or more",
        ),
        (
            "",
            Some("overrides:\n  a:\n    ingestion_rat_mb: 1\n"),
            "o.yaml:3: error: overrides.a.ingestion_rat_mb: there is no such key; did you mean 'ingestion_rate_mb'?",
        ),
        (
            "multitenancy: true",
            Some("overrides:\n  a/b: {}\n"),
            "o.yaml:2: error: overrides.a/b: no tenant has this name",
        ),
        (
            "multitenancy: true",
            Some("overrides:\n  a:\n    distributor_usage_groups: {other: '{}'}\n"),
            "o.yaml:3: error: overrides.a.distributor_usage_groups: 'other' is no name",
        ),
    ] {
        let (said, success) = check(settings, overrides);
        assert!(said.contains(want) && !success, "{settings}: {said}");
        assert_eq!(said.lines().count(), 1, "{settings}: {said}");
    }
}

#[test]
fn doubts_are_warnings_and_no_failure() {
    for (settings, overrides, want) in [
        (
            "limits: {reject_older_than: 30d}\n",
            None,
            "limits.reject_older_than: profiles up to 30d old are taken",
        ),
        (
            "limits: {ingestion_rate_mb: 100}\n",
            None,
            "limits.ingestion_burst_size_mb: 2 MiB may come at once",
        ),
        (
            "compactor: {deletion_delay: 1m}\n",
            None,
            "compactor.deletion_delay: 1m is shorter than querier.timeout (2m)",
        ),
        ("overrides_file: missing.yaml\n", None, "overrides_file: cannot read missing.yaml"),
        ("", Some("overrides: {a: {}}\n"), "overrides: multitenancy is off"),
        (
            "limits:\n  ingestion_rate_mb: 4\n  write_path: combined\n",
            None,
            "h.yaml:3: warning: limits.write_path: has no meaning here and is ignored: there is one way to write",
        ),
        (
            "multitenancy: true",
            Some("overrides:\n  a:\n    async_ingest: true\n"),
            "o.yaml:3: warning: overrides.a.async_ingest: has no meaning here and is ignored: a push is",
        ),
        (
            "multitenancy: true",
            Some("overrides: {a: {max_label_names_per_series: 0}}\n"),
            "overrides.a.max_label_names_per_series: 0 does not",
        ),
    ] {
        let (said, success) = check(settings, overrides);
        assert!(said.contains(want) && said.contains("warning: ") && success, "{settings}: {said}");
    }
}

#[test]
fn machines_get_a_list() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("h.yaml"), "listn: x\n").expect("written");
    let output = hearth(dir.path(), &["check", "--json", "h.yaml"]);
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        (&list[0]["level"], &list[0]["line"], &list[0]["key"]),
        (&"error".into(), &1.into(), &"listn".into())
    );
    std::fs::write(dir.path().join("h.yaml"), "").expect("written");
    assert_eq!(text(&hearth(dir.path(), &["check", "--json", "h.yaml"]).stdout), "[]\n");
}

/// A file of Pyroscope becomes what is committed beside it, which can be used.
fn migrated(name: &str, further: &[&str]) {
    let dir = tempfile::tempdir().expect("a folder");
    let file = cases().join(format!("{name}.yaml"));
    let mut words = vec!["migrate", file.to_str().expect("UTF-8"), "--output", "hearth.yaml"];
    words.extend(further);
    let output = hearth(dir.path(), &words);
    let report = text(&output.stderr);
    assert!(output.status.success(), "{report}");
    let read = |file: &str| std::fs::read_to_string(dir.path().join(file)).unwrap_or_default();
    let parts = [report, read("hearth.yaml"), read("hearth-overrides.yaml")];
    let all = parts.join("\n=====\n");
    assert!(!all.contains("do-not-print-me") && !all.contains("AKIAEXAMPLE"), "a secret: {all}");
    let want = cases().join(format!("{name}.migrated"));
    if std::env::var_os("HEARTH_UPDATE").is_some() {
        std::fs::write(&want, &all).expect("written");
    }
    let known = std::fs::read_to_string(&want).unwrap_or_default();
    assert_eq!(all, known, "with HEARTH_UPDATE=1 the test writes {}", want.display());
    let checked = hearth(dir.path(), &["check", "hearth.yaml"]);
    assert!(checked.status.success(), "{}\n{all}", text(&checked.stdout));
}

#[test]
fn one_binary_with_a_bucket() {
    migrated("single", &[]);
}

#[test]
fn microservices_with_gossip() {
    migrated(
        "microservices",
        &[
            "--flags",
            "-auth.multitenancy-enabled=true -validation.max-query-length=7d -querier.max-query-length=2d",
        ],
    );
}

#[test]
fn version_two_with_overrides() {
    let overrides = cases().join("v2-overrides.yaml");
    migrated("v2", &["--overrides", overrides.to_str().expect("UTF-8")]);
}

#[test]
fn without_output_the_settings_are_printed() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = hearth(
        dir.path(),
        &["migrate", "--flags", "-log.level=warn -storage.s3.secret-access-key=do-not-print-me"],
    );
    let (out, report) = (text(&output.stdout), text(&output.stderr));
    assert!(out.contains("log:\n  # from -log.level\n  level: warn\n"), "{out}");
    assert!(report.contains("AWS_SECRET_ACCESS_KEY"), "{report}");
    assert!(!out.contains("do-not-print-me") && !report.contains("do-not-print-me"));
}
