//! The layers together: who wins, and what a mistake is answered with.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

use hearth_common::units::GoDuration;
use hearth_settings::{ByteSize, Layers, LogFormat, Settings};

fn yaml(text: &str) -> Result<Settings, String> {
    Settings::from_yaml(Path::new("h.yaml"), text).map_err(|error| error.to_string())
}

fn flag(key: &str, value: &str) -> (String, String, String) {
    (format!("--{key}"), key.to_owned(), value.to_owned())
}

#[test]
fn later_layers_win_key_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hearth.yaml");
    std::fs::write(&file, "listen: 1.2.3.4:1\nmultitenancy: true\nwal: {segment_bytes: 1MiB}\nlimits:\n  ingestion_rate_mb: 9\n")
        .unwrap();
    let environment =
        [("HEARTH_LISTEN", "5.6.7.8:2"), ("HEARTH_LIMITS_REJECT_OLDER_THAN", "0"), ("PATH", "/bin")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let layers = Layers {
        file: Some(file),
        environment: environment.to_vec(),
        flags: vec![
            flag("listen", "127.0.0.1:3"),
            flag("wal.quota_bytes", "7MiB"),
            flag("log.format", "json"),
        ],
    };
    let loaded = layers.load().unwrap();
    let settings = loaded.settings;
    assert_eq!(settings.listen, "127.0.0.1:3");
    assert!(settings.multitenancy);
    assert_eq!((settings.wal.segment_bytes, settings.wal.quota_bytes), (ByteSize::mib(1), ByteSize::mib(7)));
    assert_eq!(settings.limits.ingestion_rate_mb, 9.0);
    assert_eq!(settings.limits.reject_older_than, GoDuration::from_secs(0));
    assert_eq!(settings.limits.ingestion_burst_size_mb, 2.0, "untouched keys keep their defaults");
    assert_eq!(settings.log.format, LogFormat::Json);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn a_wrong_key_is_named_with_its_line_and_the_nearest_valid_key() {
    let error = yaml("listen: 127.0.0.1:1\nlimits:\n  ingestion_rate: 5\n").unwrap_err();
    assert_eq!(error, "h.yaml:3: unknown key 'ingestion_rate'; did you mean 'ingestion_rate_mb'?");
    let error = yaml("colour: red\n").unwrap_err();
    assert_eq!(error, "h.yaml:1: unknown key 'colour'; `hearth config --defaults` prints all keys");
    let error = yaml("\n\nwal:\n  segment: 1\n").unwrap_err();
    assert_eq!(error, "h.yaml:4: unknown key 'segment'; did you mean 'segment_bytes'?");
}

#[test]
fn limits_of_pyroscope_without_meaning_here_are_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("hearth.yaml");
    let text = "limits:\n  write_path: {any: [thing]}\n  ingestion_rate_mb: 9\n  symbolizer:\n    symbol_ref_trees_enabled: true\n";
    std::fs::write(&file, text).unwrap();
    let loaded = Layers { file: Some(file), ..Layers::default() }.load().unwrap();
    assert_eq!(loaded.settings.limits.ingestion_rate_mb, 9.0);
    let ignored: Vec<String> =
        loaded.ignored.iter().map(|key| format!("{} {}", key.path(), key.message())).collect();
    let want = [
        "limits.symbolizer.symbol_ref_trees_enabled has no meaning here and is ignored: names are looked up once all is merged",
        "limits.write_path has no meaning here and is ignored: there is one way to write",
    ];
    assert_eq!(ignored, want);
    let error = yaml("limits:\n  write_path: x\n  async_ingests: true\n").unwrap_err();
    assert!(error.starts_with("h.yaml:3: unknown key 'async_ingests'"), "{error}");
}

#[test]
fn a_wrong_value_is_named_with_its_line() {
    for (text, line, part) in [
        ("limits:\n  max_query_length: forever\n", 2, "'forever' is not a duration"),
        ("limits:\n  max_label_names_per_series: many\n", 2, "many"),
        ("wal:\n  quota_bytes: 3 bananas\n", 2, "'3 bananas' is not a size"),
        ("multitenancy: perhaps\n", 1, ""),
        ("wal: [\n", 1, "mapping"),
        ("listen: x\nlisten: y\n", 2, ""),
    ] {
        let error = yaml(text).unwrap_err();
        assert!(error.starts_with(&format!("h.yaml:{line}: ")) && error.contains(part), "{text:?}: {error}");
    }
    assert!(yaml("listen: nowhere\n").unwrap_err().contains("127.0.0.1:4040"));
    assert!(yaml("wal: {segment_bytes: 1MiB, quota_bytes: 1MiB}\n").unwrap_err().contains("two segments"));
}

#[test]
fn flags_and_variables_are_checked_like_the_file() {
    let load = |layers: Layers| layers.load().unwrap_err().to_string();
    let flags = vec![("--set".to_owned(), "limits.ingestion_rate".to_owned(), "1".to_owned())];
    let error = load(Layers { flags, ..Layers::default() });
    assert_eq!(
        error,
        "--set: there is no setting 'limits.ingestion_rate'; did you mean 'limits.ingestion_rate_mb'?"
    );
    let environment = vec![("HEARTH_WAL_SEGMENT_BYTES".to_owned(), "huge".to_owned())];
    let error = load(Layers { environment, ..Layers::default() });
    assert!(
        error.starts_with("HEARTH_WAL_SEGMENT_BYTES: 'huge' does not fit setting 'wal.segment_bytes'"),
        "{error}"
    );
    let missing = Layers { file: Some(PathBuf::from("/nowhere/hearth.yaml")), ..Layers::default() };
    assert!(load(missing).starts_with("cannot read /nowhere/hearth.yaml: "));
}

#[test]
fn mistyped_variables_are_warned_about_and_foreign_ones_are_not() {
    let environment =
        [("HEARTH_DATADIR", "x"), ("HEARTH_SERVICE_HOST", "10.0.0.1"), ("HEARTH_PORT", "tcp://10.0.0.1:1")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let loaded = Layers { environment: environment.to_vec(), ..Layers::default() }.load().unwrap();
    assert_eq!(loaded.warnings, ["variable HEARTH_DATADIR is not known; did you mean HEARTH_DATA_DIR?"]);
}

#[test]
fn what_is_printed_reads_back_as_the_same() {
    let mut settings = Settings { multitenancy: true, ..Settings::default() };
    settings.limits.ingestion_relabeling_rules.push(hearth_common::limits::RelabelRule::default());
    assert_eq!(yaml(&settings.to_yaml()).unwrap(), settings);
    assert_eq!(yaml("").unwrap(), Settings::default());
    assert_eq!(yaml("# nothing\n---\n").unwrap(), Settings::default());
    assert!(Settings::default().object_store_url().starts_with("file:///"));
}

#[test]
fn changes_are_what_differs_from_the_defaults() {
    let settings =
        yaml("limits: {ingestion_rate_mb: 17}\nwal: {segment_bytes: 1MiB, queue_bytes: 64MiB}\n").unwrap();
    let mut lines: Vec<String> = settings.changes_yaml().lines().map(|line| line.trim().to_owned()).collect();
    lines.retain(|line| !line.is_empty());
    assert_eq!(lines, ["limits:", "ingestion_rate_mb: 17.0", "wal:", "segment_bytes: 1MiB"]);
    assert!(Settings::default().changes_yaml().trim().len() <= 2);
}

#[test]
fn lists_are_given_with_commas_or_as_yaml() {
    let seeds = |value: &str| {
        let flags = vec![flag("gossip.seeds", value)];
        Layers { flags, ..Layers::default() }.load().map(|loaded| loaded.settings.gossip.seeds)
    };
    assert_eq!(seeds("a:1,b:2").unwrap(), ["a:1", "b:2"]);
    assert_eq!(seeds(" a:1 , ,[::1]:2,").unwrap(), ["a:1", "[::1]:2"]);
    assert_eq!(seeds("[a:1, 'b:2']").unwrap(), ["a:1", "b:2"]);
    assert_eq!(seeds("[::1]:7946").unwrap(), ["[::1]:7946"]);
    assert!(seeds("").unwrap().is_empty());
    let environment = vec![("HEARTH_GOSSIP_SEEDS".to_owned(), "x:1,y:2".to_owned())];
    let loaded = Layers { environment, ..Layers::default() }.load().unwrap();
    assert_eq!(loaded.settings.gossip.seeds, ["x:1", "y:2"]);
    assert!(
        seeds("no-port")
            .unwrap_err()
            .to_string()
            .contains("setting 'gossip.seeds' is no-port: write host:port")
    );
}

#[test]
fn settings_of_a_cluster_are_checked() {
    for (text, part) in [
        ("zone: a/b", "setting 'zone'"),
        ("instance_id: 'a b'", "setting 'instance_id'"),
        ("cluster: {id: ''}", "setting 'cluster.id'"),
        ("replication_factor: 0", "1, 2 or 3"),
        ("replication_factor: 4", "1, 2 or 3"),
        ("cluster: {listen: '10.0.0.1'}", "cluster.listen"),
        ("cluster: {advertise: 0.0.0.0}", "cluster.advertise"),
        ("cluster: {advertise: host}", "cluster.advertise"),
        ("cluster: {replace_after: 1s}", "at least 10s"),
        ("cluster: {placement_ahead: 1s}", "between 2s and 1h"),
        ("gossip: {listen: '::1:7946'}", "gossip.listen"),
        ("gossip: {seeds: [':1']}", "gossip.seeds"),
        ("gossip: {seed: []}", "did you mean 'seeds'?"),
    ] {
        let error = yaml(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
    let long = "x".repeat(101);
    assert!(yaml(&format!("instance_id: {long}")).is_err() && yaml(&format!("zone: {}", &long[1..])).is_ok());
    let settings = yaml("zone: eu-1a\ninstance_id: i_1.x\nreplication_factor: 2\ncluster: {listen: '[::]:0', advertise: '::1'}").unwrap();
    assert_eq!((settings.zone.as_str(), settings.replication_factor), ("eu-1a", 2));
    assert_eq!(
        (Settings::default().replication_factor, Settings::default().gossip.listen.as_str()),
        (3, "0.0.0.0:7946")
    );
}

#[test]
fn requests_to_a_bucket_are_bounded() {
    let store = |keys: &str| yaml(&format!("store: {{{keys}}}")).map(|settings| settings.store);
    let changed =
        store("retries_max: 3, upload_retry_for: 0, query_requests_max: 1, hedge_after: 0").expect("valid");
    assert_eq!((changed.retries_max, changed.query_requests_max, changed.hedges_max), (3, 1, 16));
    assert!(changed.hedge_after.is_zero() && changed.upload_retry_for.is_zero());
    for (keys, named) in [
        ("retries_max: 101", "store.retries_max"),
        ("request_timeout: 0", "store.request_timeout"),
        ("connect_timeout: 0", "store.connect_timeout"),
        ("compaction_requests_max: 0", "store.compaction_requests_max"),
    ] {
        let error = store(keys).expect_err("refused");
        assert!(error.contains(named), "{error}");
    }
}
