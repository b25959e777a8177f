//! `hearth config check`: what a start would refuse, and what is doubtful.

use std::path::Path;

use anyhow::{Result, bail};
use hearth_common::{TenantId, TenantLimits, TimestampNs};
use hearth_settings::{Error, IgnoredKey, Layers, Loaded, Settings, TenantOverrides};

use super::CheckArgs;
use super::doubts;
use super::finding::{Finding, Level, Place};
use crate::term::print;

pub(super) fn run(args: &CheckArgs) -> Result<()> {
    let findings = findings(&args.file, args.overrides.as_deref());
    let errors = findings.iter().filter(|finding| finding.level == Level::Error).count();
    if args.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&findings)?))?;
    } else {
        for finding in &findings {
            print(&format!("{}\n", finding.text()))?;
        }
        if findings.is_empty() {
            print(&format!("{}: nothing wrong, nothing doubtful\n", args.file.display()))?;
        }
    }
    match errors {
        0 => Ok(()),
        1 => bail!("1 error"),
        errors => bail!("{errors} errors"),
    }
}

fn findings(file: &Path, overrides: Option<&Path>) -> Vec<Finding> {
    let layers = Layers { file: Some(file.to_owned()), ..Layers::default() };
    let Loaded { settings, ignored, .. } = match layers.load() {
        Ok(loaded) => loaded,
        Err(error) => return vec![of_error(file, &error)],
    };
    let place = Place::read(file);
    let mut found = Vec::new();
    of_ignored(&place, &ignored, &mut found);
    store(&place, &settings, &mut found);
    of_limits(&place, "limits", &settings.limits, &mut found);
    doubts::of_settings(&place, &settings, &mut found);
    let named = &settings.overrides_file;
    let overrides = overrides.or_else(|| (!named.as_os_str().is_empty()).then_some(named.as_path()));
    if let Some(overrides) = overrides {
        let given = overrides != named.as_path();
        match TenantOverrides::read(overrides, settings.limits.clone()) {
            Ok(limits) => of_tenants(&Place::read(overrides), &settings, &limits, &mut found),
            Err(error @ Error::Read { .. }) if !given => {
                let message = format!("{error}; a start needs it (to check another one: --overrides FILE)");
                found.push(place.finding(Level::Warning, "overrides_file", message));
            }
            Err(error) => found.push(of_error(overrides, &error)),
        }
    }
    found
}

/// What the loader says, in parts.
fn of_error(file: &Path, error: &Error) -> Finding {
    let known = |line: &u64| Some(*line).filter(|line| *line > 0);
    let finding = |line, key: Option<&String>, message| Finding {
        level: Level::Error,
        file: file.to_owned(),
        line,
        key: key.cloned(),
        message,
    };
    match error {
        Error::UnknownKey { line, key, suggestion, .. } => {
            finding(known(line), Some(key), format!("there is no such key{}", meant(suggestion)))
        }
        Error::UnknownSetting { key, suggestion, .. } => {
            Place::read(file).finding(Level::Error, key, format!("there is no such key{}", meant(suggestion)))
        }
        Error::File { line, message, .. } => {
            // The reader of YAML repeats the place.
            let message = message.split(" at line ").next().unwrap_or(message);
            finding(known(line), None, message.to_owned())
        }
        Error::Invalid { key, value, message } => {
            Place::read(file).finding(Level::Error, key, format!("{value}: {message}"))
        }
        other => finding(None, None, other.to_string()),
    }
}

fn meant(suggestion: &Option<String>) -> String {
    match suggestion {
        Some(key) => format!("; did you mean '{key}'?"),
        None => "; docs/operations/configuration.md has all keys".to_owned(),
    }
}

const SCHEMES: &[&str] = &["file", "s3", "gs", "az", "memory"];

fn store(place: &Place, settings: &Settings, found: &mut Vec<Finding>) {
    let url = settings.object_store_url();
    let scheme = url.split_once(':').map_or("file", |(scheme, _)| scheme);
    if !url.starts_with('/') && !SCHEMES.contains(&scheme) {
        let message = "the URL of a store begins with file:///, s3://, gs:// or az://";
        found.push(place.finding(Level::Error, "object_store", format!("'{scheme}:…': {message}")));
    }
    let bucket = url.split('/').nth(2).unwrap_or_default();
    if ["s3", "gs", "az"].contains(&scheme) && (bucket.contains('@') || url.contains('?')) {
        let message = "the URL holds more than a bucket and a prefix: credentials stand in the environment";
        found.push(place.finding(Level::Error, "object_store", message));
    }
}

/// What a start refuses in limits, and values that no limit has.
fn of_limits(place: &Place, of: &str, limits: &TenantLimits, found: &mut Vec<Finding>) {
    let mut error = |key: &str, message: String| {
        // Some say their key themselves.
        let message = message.strip_prefix(&format!("{key}: ")).unwrap_or(&message);
        found.push(place.finding(Level::Error, &format!("{of}.{key}"), message));
    };
    for (key, problem) in hearth_node::tenant_rules::problems(limits) {
        error(&key, problem);
    }
    if let Err(problem) = hearth_catalog::expiries(limits, TimestampNs(0)) {
        error("retention", hearth_common::error::chain(&problem));
    }
    if let Some(problem) = hearth_node::tenant_rules::encryption_problem(limits) {
        // It is said as by an upload.
        error("s3_sse_type", problem.rsplit("failed: ").next().unwrap_or(&problem).to_owned());
    }
    let numbers = [
        ("ingestion_rate_mb", limits.ingestion_rate_mb),
        ("ingestion_burst_size_mb", limits.ingestion_burst_size_mb),
        ("ingestion_body_limit_mb", limits.ingestion_body_limit_mb),
    ];
    for (key, value) in numbers.into_iter().filter(|(_, value)| !(0.0..f64::INFINITY).contains(value)) {
        error(key, format!("{value}: it is 0 or more"));
    }
    let nodes = [
        ("max_flamegraph_nodes_default", limits.max_flamegraph_nodes_default),
        ("max_flamegraph_nodes_max", limits.max_flamegraph_nodes_max),
    ];
    for (key, value) in nodes.into_iter().filter(|(_, value)| *value < 0) {
        error(key, format!("{value}: it is 0 or more"));
    }
    for (group, sampling) in limits.distributor_sampling.iter().flat_map(|sampling| &sampling.usage_groups) {
        if !(0.0..=1.0).contains(&sampling.probability) {
            let message = format!("probability of group '{group}' is {}: it is 0 to 1", sampling.probability);
            error("distributor_sampling", message);
        }
    }
}

fn of_ignored(place: &Place, ignored: &[IgnoredKey], found: &mut Vec<Finding>) {
    found.extend(ignored.iter().map(|key| place.finding(Level::Warning, &key.path(), key.message())));
}

fn of_tenants(place: &Place, settings: &Settings, limits: &TenantOverrides, found: &mut Vec<Finding>) {
    of_ignored(place, limits.ignored(), found);
    let mut from_all = Vec::new();
    of_limits(place, "limits", limits.default_limits(), &mut from_all);
    for (tenant, limits) in limits.named() {
        let of = format!("overrides.{tenant}");
        if let Err(error) = TenantId::parse(tenant) {
            found.push(place.finding(Level::Error, &of, format!("no tenant has this name: {error}")));
        }
        let before = found.len();
        of_limits(place, &of, limits, found);
        // What a tenant has from all was said there.
        let inherited = |finding: &Finding| {
            let rest =
                finding.key.as_ref().and_then(|key| key.strip_prefix(&format!("{of}.")).map(str::to_owned));
            from_all.iter().any(|all| {
                let key = all.key.as_ref().and_then(|key| key.strip_prefix("limits.").map(str::to_owned));
                key == rest && all.message == finding.message
            })
        };
        let own = found.split_off(before);
        found.extend(own.into_iter().filter(|finding| !inherited(finding)));
        doubts::of_limits(place, &of, limits, Some(&settings.limits), found);
    }
    doubts::of_tenants(place, settings, limits, found);
}
