//! Keys of the reference's limits that have no meaning here. They are taken and ignored, so that its files can be used as they
//! are; whoever loads a file says so. Must not know: files, logs.

use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Why a key has no meaning here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nothing is needed in its place.
    NotNeeded(&'static str),
    /// What it asks for cannot be had.
    Lacking(&'static str),
}

impl Why {
    /// For a person.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotNeeded(text) | Self::Lacking(text) => text,
        }
    }
}

use Why::{Lacking, NotNeeded};

const ONE_WRITE: Why = NotNeeded("there is one way to write");
const ONE_READ: Why = NotNeeded("there is one way to read");
const MERGES: Why = NotNeeded(
    "merges are planned by size and age: see compactor.merge_blocks, compactor.day_age, compactor.settle_age",
);
const AS_THEY_CAME: Why = Lacking("profiles are stored as they came; nothing is added up before");
const NO_RULES: Why = Lacking("metrics are not made of profiles by recording rules here");
const PLACEMENT: Why = NotNeeded("a service is spread over cells by itself: cluster.shard_bytes_per_second");

/// Each key, or family of keys (`…*`), with its reason. Sorted. Keys below `symbolizer` have their path.
const IGNORED: &[(&str, Why)] = &[
    ("adaptive_placement*", PLACEMENT),
    ("async_ingest", Lacking("a push is acknowledged when it is on disk, never before")),
    ("compactor_downsampler_enabled", NotNeeded("days are summed by themselves as they are merged")),
    (
        "compactor_partial_block_deletion_delay",
        NotNeeded(
            "a block is visible as a whole or not at all: what is left over goes by compactor.orphan_grace",
        ),
    ),
    ("compactor_split_and_merge_shards", MERGES),
    ("compactor_split_and_merge_stage_size", MERGES),
    ("compactor_split_groups", MERGES),
    ("compactor_tenant_shard_size", MERGES),
    ("distributor_aggregation_period", AS_THEY_CAME),
    ("distributor_aggregation_window", AS_THEY_CAME),
    ("enable_query_backend*", ONE_READ),
    ("max_async_query_concurrency", Lacking("queries are answered while the client waits")),
    ("max_recording_rules", NO_RULES),
    ("query_backend*", ONE_READ),
    ("query_sanitize_on_merge", NotNeeded("merged profiles are always whole")),
    ("query_tree_enabled", ONE_READ),
    ("read_path*", ONE_READ),
    ("recording_rules", NO_RULES),
    ("s3_sse_kms_encryption_context", Lacking("there is no encryption context: use a key that needs none")),
    ("segment_writer*", ONE_WRITE),
    ("split_queries_by_interval", NotNeeded("queries are split by blocks")),
    ("store_gateway_tenant_shard_size", NotNeeded("blocks are shared among all queriers")),
    ("symbolizer.symbol_ref_trees_enabled", NotNeeded("names are looked up once all is merged")),
    ("write_path*", ONE_WRITE),
];

/// Why a key of limits has no meaning here; `None`: it has one, or there is no such key.
pub fn why(key: &str) -> Option<Why> {
    let fits = |row: &str| match row.strip_suffix('*') {
        Some(family) => key.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')),
        None => row == key,
    };
    IGNORED.iter().find(|(row, _)| fits(row)).map(|(_, why)| *why)
}

/// Each key, or family of keys (`…*`), that is ignored, with its reason.
pub fn rows() -> impl Iterator<Item = (&'static str, Why)> {
    IGNORED.iter().copied()
}

/// Keys that are called otherwise here, with their name here.
pub const RENAMED: &[(&str, &str)] = &[("retention_period", "compactor_blocks_retention_period")];

/// What a key of the reference is called here.
pub fn own_key(key: &str) -> &str {
    RENAMED.iter().find(|(theirs, _)| *theirs == key).map_or(key, |(_, own)| own)
}

/// Reads limits from a map that may have keys that are ignored.
pub fn limits<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_map(Map { below: "", read: PhantomData })
}

/// The same, below `symbolizer`.
pub(crate) fn symbolizer<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_map(Map { below: "symbolizer.", read: PhantomData })
}

/// Reads a `T` from a map without the keys that are ignored.
struct Map<T> {
    below: &'static str,
    read: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Map<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(Without { map, below: self.below }))
    }
}

struct Without<A> {
    map: A,
    below: &'static str,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Without<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, mut seed: K) -> Result<Option<K::Value>, A::Error> {
        loop {
            match self.map.next_key_seed(Key { seed, below: self.below })? {
                None => return Ok(None),
                Some(Looked::Known(key)) => return Ok(Some(key)),
                Some(Looked::Ignored(unused)) => {
                    self.map.next_value::<IgnoredAny>()?;
                    seed = unused;
                }
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// A key that is looked at before `seed` sees it. Thus an error about it is made where the reader knows its place.
struct Key<K> {
    seed: K,
    below: &'static str,
}

enum Looked<T, K> {
    Known(T),
    Ignored(K),
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for Key<K> {
    type Value = Looked<K::Value, K>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for Key<K> {
    type Value = Looked<K::Value, K>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        if why(&format!("{}{key}", self.below)).is_some() {
            return Ok(Looked::Ignored(self.seed));
        }
        self.seed.deserialize(key.into_deserializer()).map(Looked::Known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TenantLimits;

    #[test]
    fn every_key_of_the_reference_is_taken_and_a_mistyped_one_is_not() {
        let known = serde_json::to_value(TenantLimits::default()).expect("a map");
        let meaningless = "distributor_aggregation_window distributor_aggregation_period write_path \
             write_path_ingester_weight write_path_segment_writer_weight write_path_segment_writer_timeout \
             write_path_compression async_ingest split_queries_by_interval query_sanitize_on_merge \
             max_async_query_concurrency store_gateway_tenant_shard_size enable_query_backend \
             enable_query_backend_from query_tree_enabled compactor_split_and_merge_shards \
             compactor_split_and_merge_stage_size compactor_split_groups compactor_tenant_shard_size \
             compactor_partial_block_deletion_delay compactor_downsampler_enabled s3_sse_kms_encryption_context \
             adaptive_placement_tenant_shards recording_rules max_recording_rules read_path query_backend_address";
        for key in meaningless.split_whitespace() {
            assert!(why(key).is_some() && known.get(key).is_none(), "{key}");
        }
        assert!(known.get(own_key("retention_period")).is_some());
        for key in known.as_object().expect("a map").keys() {
            assert_eq!(why(key), None, "{key}");
        }
        for typo in
            ["write_pathx", "async_ingests", "compactor_split_group", "compactor_tenant", "symbolizer"]
        {
            assert_eq!(why(typo), None, "{typo}");
        }
        assert!(IGNORED.windows(2).all(|pair| pair[0].0 < pair[1].0), "sorted");
    }

    #[test]
    fn limits_are_read_without_them() {
        let read = |text: &str| {
            let mut deserializer = serde_json::Deserializer::from_str(text);
            limits::<TenantLimits, _>(&mut deserializer).map_err(|error| error.to_string())
        };
        let text = r#"{"write_path": {"a": [1]}, "ingestion_rate_mb": 9, "async_ingest": null,
            "symbolizer": {"symbol_ref_trees_enabled": true, "enabled": true}, "retention_period": "2d"}"#;
        let got = read(text).expect("taken");
        assert_eq!((got.ingestion_rate_mb, got.symbolizer.enabled), (9.0, true));
        assert_eq!(got.compactor_blocks_retention_period.to_string(), "2d");
        assert!(read(r#"{"ingestion_rat_mb": 9}"#).expect_err("a typo").contains("ingestion_rat_mb"));
        assert!(read(r#"{"symbolizer": {"enable": true}}"#).expect_err("a typo").contains("enable"));
    }
}
