//! Values that several of Pyroscope's keys make together, and where defaults differ.

use serde_json::Value;

use super::tree::{Leaf, get};
use super::{Migration, shown};

pub(super) fn all(migration: &mut Migration, leaves: &[Leaf], overrides: bool) {
    listen(migration, leaves);
    store(migration, leaves);
    gossip(migration, leaves);
    logs(migration, leaves);
    disk(migration, leaves);
    overrides_file(migration, leaves, overrides);
    differences(migration, leaves);
}

fn text(leaf: &Leaf) -> String {
    match &leaf.value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// Puts a composed value, unless the environment fills a part of it in.
fn put(migration: &mut Migration, new: &'static str, value: &Value, from: &str, note: &str) {
    if migration.is_variable(from, value, new) {
        return;
    }
    match super::tree::fits(new, value) {
        Ok(()) => {
            migration.report.mapped(from, new, &shown(new, value), note);
            migration.set(new, value.clone(), from);
        }
        Err(why) => {
            migration.report.cannot(from, &format!("{new} does not take {}: {why}", shown(new, value)))
        }
    }
}

fn listen(migration: &mut Migration, leaves: &[Leaf]) {
    let host = get(leaves, "server.http_listen_address");
    let port = get(leaves, "server.http_listen_port");
    let from = match (host, port) {
        (None, None) => "Pyroscope's default".to_owned(),
        (host, port) => host.into_iter().chain(port).map(Leaf::origin).collect::<Vec<_>>().join(", "),
    };
    let host = host.map(text).filter(|host| !host.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned());
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    let port = port.map_or_else(|| "4040".to_owned(), text);
    let note = "Hearth's default answers its own machine only";
    put(migration, "listen", &Value::from(format!("{host}:{port}")), &from, note);
}

const OWN_PREFIX: &str = "a prefix of its own: Pyroscope's objects stay as they are beside it";

fn store(migration: &mut Migration, leaves: &[Leaf]) {
    let backend = get(leaves, "storage.backend").map(text).unwrap_or_default();
    let (key, scheme) = match backend.as_str() {
        "s3" => ("storage.s3.bucket_name", "s3"),
        "gcs" => ("storage.gcs.bucket_name", "gs"),
        "azure" => ("storage.azure.container_name", "az"),
        "" | "filesystem" => return folder(migration, leaves),
        other => {
            let instead = "Hearth stores in S3, GCS, Azure or a folder: set object_store";
            return migration.report.cannot(&format!("storage.backend: {other}"), instead);
        }
    };
    let Some(bucket) = get(leaves, key) else {
        let what = format!(
            "storage.backend is {backend}, but {key} is not in the file: set object_store to {scheme}://BUCKET/hearth"
        );
        return migration.report.by_hand(what);
    };
    let prefix = get(leaves, "storage.prefix").map(text).unwrap_or_default();
    let prefix = prefix.trim_matches('/');
    let parts = [prefix, "hearth"];
    let prefix = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    let url = format!("{scheme}://{}/{prefix}", text(bucket));
    put(migration, "object_store", &Value::from(url), &bucket.origin(), OWN_PREFIX);
    if backend == "s3" && get(leaves, "storage.s3.region").is_none() {
        let what =
            "storage.s3.region is not set: Hearth needs AWS_REGION (us-east-1 if the server has no regions)";
        migration.report.by_hand(what.to_owned());
    }
}

fn folder(migration: &mut Migration, leaves: &[Leaf]) {
    let Some(dir) = get(leaves, "storage.filesystem.dir") else { return };
    let path = text(dir);
    if !path.starts_with('/') && !path.contains("${") {
        let what = format!(
            "storage.filesystem.dir is {path}, which depends on where Pyroscope is started: set object_store to file:///FOLDER, or leave it: then it is in data_dir"
        );
        return migration.report.by_hand(what);
    }
    let url = format!("file://{}/hearth", path.trim_end_matches('/'));
    put(migration, "object_store", &Value::from(url), &dir.origin(), "a folder of its own");
}

fn gossip(migration: &mut Migration, leaves: &[Leaf]) {
    let port = get(leaves, "memberlist.bind_port").map_or_else(|| "7946".to_owned(), text);
    let host = get(leaves, "memberlist.bind_addr").and_then(|leaf| match &leaf.value {
        Value::Array(list) => list.first().and_then(Value::as_str).map(str::to_owned),
        _ => Some(text(leaf)),
    });
    let set: Vec<String> = ["memberlist.bind_addr", "memberlist.bind_port"]
        .iter()
        .filter_map(|key| get(leaves, key))
        .map(Leaf::origin)
        .collect();
    if !set.is_empty() {
        let listen = format!("{}:{port}", host.unwrap_or_else(|| "0.0.0.0".to_owned()));
        put(
            migration,
            "gossip.listen",
            &Value::from(listen),
            &set.join(", "),
            "UDP, where Pyroscope's is TCP",
        );
    }
    let Some(join) = get(leaves, "memberlist.join_members") else { return };
    let seeds: Vec<Value> = match &join.value {
        Value::Array(list) => list.clone(),
        value => vec![value.clone()],
    };
    // The look-up by SRV or several A records is what a name does here by itself.
    let seed = |seed: &Value| {
        let text = seed.as_str().unwrap_or_default();
        let host =
            text.split_once('+').filter(|(kind, _)| kind.starts_with("dns")).map_or(text, |(_, host)| host);
        let host = host.trim_end_matches('.');
        Value::from(if host.contains(':') { host.to_owned() } else { format!("{host}:{port}") })
    };
    let seeds = Value::Array(seeds.iter().map(seed).collect());
    let note = "the names are of Pyroscope's processes: put those of Hearth's in their place; gossip is UDP";
    put(migration, "gossip.seeds", &seeds, &join.origin(), note);
}

fn logs(migration: &mut Migration, leaves: &[Leaf]) {
    let Some(format) = get(leaves, "server.log_format") else { return };
    let new = if text(format) == "json" { "json" } else { "text" };
    put(migration, "log.format", &Value::from(new), &format.origin(), "");
}

fn disk(migration: &mut Migration, leaves: &[Leaf]) {
    let Some(free) = get(leaves, "pyroscopedb.min_free_disk_gb") else { return };
    let value = Value::from(format!("{}GiB", text(free)));
    let note = "Pyroscope deletes old blocks below it, Hearth refuses pushes";
    put(migration, "wal.reserve_bytes", &value, &free.origin(), note);
}

fn overrides_file(migration: &mut Migration, leaves: &[Leaf], migrated: bool) {
    let Some(file) = get(leaves, "runtime_config.file").filter(|_| !migrated) else { return };
    let note = "the file as it is; given as --overrides, the report says what becomes of its keys";
    put(migration, "overrides_file", &file.value, &file.origin(), note);
}

/// What changes although no key says so.
fn differences(migration: &mut Migration, leaves: &[Leaf]) {
    let given = |key: &str| get(leaves, key).is_some();
    let report = &mut migration.report;
    if !given("limits.compactor_blocks_retention_period") && !given("limits.retention_period") {
        report.differs("Retention: Pyroscope 2 deletes profiles after 31 days if nothing is said, Hearth (as Pyroscope 1) never: set limits.compactor_blocks_retention_period if you relied on it.");
    }
    let replicas = ["distributor.replication_factor", "ingester.lifecycler.ring.replication_factor"];
    if !replicas.into_iter().any(given) {
        report.differs("Copies: Pyroscope keeps one copy of what is not published if nothing is said; a cluster of Hearth keeps 3 (replication_factor) and so needs 3 ingesters.");
    }
    report.differs("Blocks: Pyroscope cuts a block for each hour of profile time, Hearth by size and age (ingester.cut_age, 15m); queries see a push at once in both.");
    report.differs("Log: Hearth writes each push to a log on disk before it acknowledges it; give ingesters a disk (wal.quota_bytes, 8GiB).");
    report.differs("History: Hearth does not read blocks of Pyroscope; keep Pyroscope for reading until its data has expired (docs/operations/migrate-from-pyroscope.md).");
}
