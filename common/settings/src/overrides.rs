//! Limits of single tenants on top of the limits of all.

mod entry;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use hearth_common::limits::ignored::{own_key, why};
use hearth_common::{LimitsSource, TenantId, TenantLimits};
use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;
use crate::file;
use crate::ignored::{self, IgnoredKey};
use crate::layers::subtract;
use crate::nearest::nearest;
use entry::Entry;

/// The limits of every tenant: those named in the overrides file, and all others.
#[derive(Debug, Clone)]
pub struct TenantOverrides {
    default: Arc<TenantLimits>,
    tenants: BTreeMap<String, Arc<TenantLimits>>,
    ignored: Vec<IgnoredKey>,
}

/// Keys and values of a map.
type Tree = BTreeMap<String, Value>;

/// The file. What it names and says nothing of is null.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<T> {
    overrides: Option<BTreeMap<String, Option<T>>>,
}

impl<T: Default> Document<T> {
    /// The entries; that of a tenant of which nothing is said is an empty one.
    fn entries(self) -> BTreeMap<String, T> {
        let entries = self.overrides.unwrap_or_default().into_iter();
        entries.map(|(tenant, entry)| (tenant, entry.unwrap_or_default())).collect()
    }
}

impl TenantOverrides {
    /// The same limits for all.
    pub fn none(default: TenantLimits) -> Self {
        Self { default: Arc::new(default), tenants: BTreeMap::new(), ignored: Vec::new() }
    }

    /// The limits of tenants that are not named.
    pub fn default_limits(&self) -> &TenantLimits {
        &self.default
    }

    /// The tenants that are named, and their limits.
    pub fn named(&self) -> impl Iterator<Item = (&str, &TenantLimits)> {
        self.tenants.iter().map(|(tenant, limits)| (tenant.as_str(), &**limits))
    }

    /// Keys of the file that are ignored.
    pub fn ignored(&self) -> &[IgnoredKey] {
        &self.ignored
    }

    /// All limits that are in force for somebody.
    pub fn all(&self) -> impl Iterator<Item = &TenantLimits> {
        std::iter::once(&*self.default).chain(self.tenants.values().map(|limits| &**limits))
    }

    /// All of them as a file would say it; `changes`: of each tenant only what differs from the limits of all.
    pub fn to_yaml(&self, changes: bool) -> String {
        let value = |limits: &TenantLimits| {
            serde_json::to_value(limits).expect("limits have string keys and finite numbers only")
        };
        let default = value(&self.default);
        let tenants = self.tenants.iter().map(|(tenant, limits)| {
            let mut tree = value(limits);
            if changes {
                subtract(&mut tree, &default);
            }
            (tenant.clone(), tree)
        });
        let document = serde_json::json!({ "overrides": tenants.collect::<serde_json::Map<_, _>>() });
        serde_saphyr::to_string(&document).expect("a tree of strings, numbers, lists and maps is YAML")
    }

    /// Reads `overrides: {tenant: {key: value}}`; what a tenant's entry does not name it has from `default`.
    pub fn read(path: &Path, default: TenantLimits) -> Result<Self, Error> {
        let read = || Self::parse(path, &file::text(path)?, default);
        read().map_err(Error::hidden)
    }

    fn parse(path: &Path, text: &str, default: TenantLimits) -> Result<Self, Error> {
        let tree = |limits: &TenantLimits| {
            serde_json::to_value(limits).expect("limits have string keys and finite numbers only")
        };
        let (of_all, unset) = (tree(&default), tree(&TenantLimits::default()));
        let named = file::parse::<Document<Tree>>(path, text)?.entries();
        let mut ignored = Vec::new();
        for (tenant, entry) in &named {
            ignored.extend(ignored::keys_in(Some(tenant.as_str()), entry));
            check_keys(path, tenant, entry, &of_all)?;
        }
        let (mut tenants, none) = (BTreeMap::new(), Tree::new());
        for (tenant, entry) in file::parse::<Document<Entry>>(path, text)?.entries() {
            let mut tree = of_all.clone();
            entry.put_into(&mut tree, named.get(&tenant).unwrap_or(&none), &unset);
            let limits: TenantLimits = serde_json::from_value(tree).map_err(|error| Error::File {
                path: path.to_owned(),
                line: 0,
                message: format!("overrides.{tenant}: {error}"),
            })?;
            tenants.insert(tenant, Arc::new(limits));
        }
        Ok(Self { default: Arc::new(default), tenants, ignored })
    }
}

/// Refuses keys that do not exist, and those that stand there under both of their names.
fn check_keys(path: &Path, tenant: &str, entry: &Tree, known: &Value) -> Result<(), Error> {
    for key in entry.keys().filter(|key| why(key).is_none()) {
        let own = own_key(key);
        if own != key && entry.contains_key(own) {
            let message = format!("overrides.{tenant}: {key} is another name of {own}; leave one out");
            return Err(Error::File { path: path.to_owned(), line: 0, message });
        }
        if known.get(own).is_none() {
            let names = known.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
            let suggestion = nearest(key, names).map(str::to_owned);
            let key = format!("overrides.{tenant}.{key}");
            return Err(Error::UnknownSetting { origin: path.display().to_string(), key, suggestion });
        }
    }
    Ok(())
}

impl LimitsSource for TenantOverrides {
    fn limits(&self, tenant: &TenantId) -> Arc<TenantLimits> {
        Arc::clone(self.tenants.get(tenant.as_str()).unwrap_or(&self.default))
    }
}

#[cfg(test)]
mod tests {
    use hearth_common::limits::RelabelAction;

    use super::*;

    #[test]
    fn a_tenant_inherits_what_its_entry_does_not_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("overrides.yaml");
        std::fs::write(&path, "overrides:\n  a: {ingestion_rate_mb: 10, max_query_length: 2d}\n")
            .expect("written");
        let default = TenantLimits { ingestion_burst_size_mb: 7.0, ..TenantLimits::default() };
        let overrides = TenantOverrides::read(&path, default.clone()).expect("valid");
        let a = overrides.limits(&TenantId::parse("a").expect("valid"));
        assert_eq!((a.ingestion_rate_mb, a.ingestion_burst_size_mb), (10.0, 7.0));
        assert_eq!(*overrides.limits(&TenantId::anonymous()), default);
        assert_eq!(overrides.all().count(), 2);
        assert_eq!(
            overrides.to_yaml(true).trim(),
            "overrides:\n  a:\n    ingestion_rate_mb: 10.0\n    max_query_length: 2d"
        );
        std::fs::write(&path, overrides.to_yaml(false)).expect("written");
        let again = TenantOverrides::read(&path, default.clone()).expect("valid");
        assert_eq!(again.limits(&TenantId::parse("a").expect("valid")), a);

        std::fs::write(&path, "overrides:\n  a: {ingestion_rat_mb: 10}\n").expect("written");
        let error = TenantOverrides::read(&path, default.clone()).expect_err("a wrong key").to_string();
        assert!(
            error.contains("overrides.a.ingestion_rat_mb") && error.contains("'ingestion_rate_mb'"),
            "{error}"
        );
        std::fs::write(&path, "overrides:\n  a: {max_query_length: x}\n").expect("written");
        let error = TenantOverrides::read(&path, default).expect_err("a wrong value").to_string();
        assert!(error.contains("overrides.yaml:2: ") && error.contains("'x' is not a duration"), "{error}");
    }

    /// What a file says of tenant `a`, on top of these limits.
    fn of_a(text: &str, default: &TenantLimits) -> TenantLimits {
        let read = TenantOverrides::parse(Path::new("o.yaml"), text, default.clone());
        let overrides = read.unwrap_or_else(|error| panic!("{text}: {error}"));
        TenantLimits::clone(&overrides.limits(&TenantId::parse("a").expect("valid")))
    }

    #[test]
    fn what_is_named_without_a_value_says_nothing() {
        let rule = hearth_common::limits::RelabelRule::default();
        let default = TenantLimits {
            ingestion_rate_mb: 9.0,
            s3_sse_type: "SSE-S3".to_owned(),
            ingestion_relabeling_rules: vec![rule],
            distributor_usage_groups: [("g".to_owned(), "{}".to_owned())].into(),
            ingestion_limit: Some(hearth_common::limits::usage::IngestionLimit::default()),
            ..TenantLimits::default()
        };
        for text in ["", "overrides:\n", "overrides: ~\n", "overrides:\n  a:\n", "overrides:\n  a: {}\n"] {
            assert_eq!(of_a(text, &default), default, "{text:?}");
        }
        let named = "overrides:
  a:
    ingestion_rate_mb:
    s3_sse_type:
    max_profile_size_bytes: null
    symbolizer:
";
        assert_eq!(of_a(named, &default), default);
        let emptied = "overrides:
  a:
    ingestion_relabeling_rules:
    distributor_usage_groups:
    ingestion_limit:
";
        let want = TenantLimits {
            ingestion_rate_mb: 9.0,
            s3_sse_type: "SSE-S3".to_owned(),
            ..TenantLimits::default()
        };
        assert_eq!(of_a(emptied, &default), want);
    }

    #[test]
    fn texts_are_taken_as_they_are_written() {
        let text = "overrides:
  a:
    ingestion_relabeling_rules:
    - source_labels: [on, 404]
      separator: 1
      regex: 0200
      target_label: yes
      replacement: 1.0
      action: Replace
    - {action: LabelDrop, regex: true}
    - {action: HASHMOD, modulus: 1e+06, target_label: x}
    distributor_usage_groups: {7: '{}'}
";
        let a = of_a(text, &TenantLimits::default());
        let [first, second, third] = &a.ingestion_relabeling_rules[..] else { panic!("three: {a:?}") };
        assert_eq!(first.source_labels, ["on", "404"]);
        assert_eq!(
            (&*first.separator, &*first.regex, &*first.target_label, &*first.replacement),
            ("1", "0200", "yes", "1.0")
        );
        assert_eq!((first.action, second.action), (RelabelAction::Replace, RelabelAction::LabelDrop));
        assert_eq!(
            (&*second.regex, third.action, third.modulus),
            ("true", RelabelAction::HashMod, 1_000_000)
        );
        assert_eq!(a.distributor_usage_groups.keys().collect::<Vec<_>>(), ["7"]);
    }

    #[test]
    fn numbers_and_durations_are_taken_as_files_have_them() {
        let text = "overrides:
  a:
    max_profile_size_bytes: 4.194304e+06
    max_global_series_per_tenant: 1e+06
    ingestion_rate_mb: 10
    reject_older_than: 0
    reject_newer_than: 1h30m
    max_query_lookback: 1d
    max_query_length: 0s
    keep_stripped_profiles: yes
    ingestion_limit: {limit_reset_time: 1.7e+09, sampling: {period: 1m, num_requests: 5}}
";
        let a = of_a(text, &TenantLimits::default());
        assert_eq!((a.max_profile_size_bytes, a.max_global_series_per_tenant), (4 << 20, 1_000_000));
        let durations = [a.reject_older_than, a.reject_newer_than, a.max_query_lookback, a.max_query_length];
        assert_eq!(durations.map(|duration| duration.to_string()), ["0s", "1h30m", "1d", "0s"]);
        assert!(a.keep_stripped_profiles && a.ingestion_rate_mb == 10.0);
        let limit = a.ingestion_limit.expect("given");
        assert_eq!((limit.limit_reset_time, limit.sampling.num_requests), (1_700_000_000, 5));
        let wrong = |value: &str| {
            let text = format!("overrides:\n  a:\n    max_sessions_per_series: {value}\n");
            let read = TenantOverrides::parse(Path::new("o.yaml"), &text, TenantLimits::default());
            read.expect_err("refused").to_string()
        };
        for value in ["1.5", "-1", "many"] {
            assert!(wrong(value).starts_with("o.yaml:3: "), "{value}: {}", wrong(value));
        }
    }

    #[test]
    fn limits_within_a_limit_are_inherited_too() {
        let mut default = TenantLimits::default();
        default.symbolizer.max_unresolved_locations = 7;
        let a = of_a("overrides:\n  a:\n    symbolizer: {enabled: true}\n", &default);
        assert_eq!((a.symbolizer.enabled, a.symbolizer.max_unresolved_locations), (true, 7));
    }

    #[test]
    fn keys_without_meaning_here_are_ignored_and_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("overrides.yaml");
        let read = |text: &str| {
            std::fs::write(&path, text).expect("written");
            TenantOverrides::read(&path, TenantLimits::default())
        };
        let overrides = read(
            "overrides:\n  a:\n    write_path: segment-writer\n    async_ingest: true\n    retention_period: 3d\n    symbolizer: {symbol_ref_trees_enabled: true}\n  b: {adaptive_placement_tenant_shards: 3}\n",
        )
        .expect("taken");
        let told: Vec<String> = overrides.ignored().iter().map(IgnoredKey::path).collect();
        let want = [
            "overrides.a.async_ingest",
            "overrides.a.symbolizer.symbol_ref_trees_enabled",
            "overrides.a.write_path",
            "overrides.b.adaptive_placement_tenant_shards",
        ];
        assert_eq!(told, want);
        let a = overrides.limits(&TenantId::parse("a").expect("valid"));
        assert_eq!(a.compactor_blocks_retention_period.to_string(), "3d");
        let error = read("overrides: {a: {write_paths: x}}\n").expect_err("a typo").to_string();
        assert!(error.contains("overrides.a.write_paths"), "{error}");
        let twice = "overrides: {a: {retention_period: 3d, compactor_blocks_retention_period: 4d}}\n";
        let error = read(twice).expect_err("twice").to_string();
        assert!(error.contains("another name of compactor_blocks_retention_period"), "{error}");
    }
}
