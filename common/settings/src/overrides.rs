//! Limits of single tenants on top of the limits of all.

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

/// The limits of every tenant: those named in the overrides file, and all others.
#[derive(Debug, Clone)]
pub struct TenantOverrides {
    default: Arc<TenantLimits>,
    tenants: BTreeMap<String, Arc<TenantLimits>>,
    ignored: Vec<IgnoredKey>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Document {
    overrides: BTreeMap<String, BTreeMap<String, Value>>,
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
        let read = || Self::merge(path, file::read(path)?, default);
        read().map_err(Error::hidden)
    }

    fn merge(path: &Path, document: Document, default: TenantLimits) -> Result<Self, Error> {
        let base = serde_json::to_value(&default).expect("limits have string keys and finite numbers only");
        let (mut tenants, mut ignored) = (BTreeMap::new(), Vec::new());
        for (tenant, entry) in document.overrides {
            ignored.extend(ignored::keys_in(Some(&tenant), &entry));
            let mut tree = base.clone();
            for (key, value) in &entry {
                let known = tree.as_object_mut().expect("limits are a map");
                if why(key).is_some() {
                    continue;
                }
                let own = own_key(key);
                if own != key && entry.contains_key(own) {
                    let message =
                        format!("overrides.{tenant}: {key} is another name of {own}; leave one out");
                    return Err(Error::File { path: path.to_owned(), line: 0, message });
                }
                if !known.contains_key(own) {
                    let suggestion = nearest(key, known.keys().map(String::as_str)).map(str::to_owned);
                    let key = format!("overrides.{tenant}.{key}");
                    return Err(Error::UnknownSetting {
                        origin: path.display().to_string(),
                        key,
                        suggestion,
                    });
                }
                known.insert(own.to_owned(), value.clone());
            }
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

impl LimitsSource for TenantOverrides {
    fn limits(&self, tenant: &TenantId) -> Arc<TenantLimits> {
        Arc::clone(self.tenants.get(tenant.as_str()).unwrap_or(&self.default))
    }
}

#[cfg(test)]
mod tests {
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
        assert!(error.contains("overrides.a: 'x' is not a duration"), "{error}");
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
