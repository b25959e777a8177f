//! Limits of symbols at query time (api-semantics §4.1, §10.6).

use serde::{Deserialize, Serialize};

/// `symbolizer`: whether, and how far, addresses without function names get some when a query is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Symbolizer {
    /// Addresses get names; off, flame graphs leave them out.
    pub enabled: bool,
    /// Bytes of a program or debug file that symbols are read from; larger ones give none.
    #[serde(deserialize_with = "super::whole::read")]
    pub max_symbol_size_bytes: u64,
    /// Distinct addresses of one query that are looked up; those beyond stay `binary!0x…`.
    #[serde(deserialize_with = "super::whole::read")]
    pub max_unresolved_locations: usize,
}

impl Default for Symbolizer {
    fn default() -> Self {
        Self { enabled: false, max_symbol_size_bytes: 512 << 20, max_unresolved_locations: 1_000_000 }
    }
}
