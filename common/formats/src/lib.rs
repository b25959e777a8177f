//! Profile formats: bytes from the network to flat profiles, and the normalised record that the WAL keeps.
//!
//! Each file is one format. Every decoder is a total function: bounded memory, no panic, linear time. Must not know: limits
//! of tenants beyond what is passed in, labels' meaning, async.

pub mod app_name;
pub mod attime;
pub mod folded;
pub mod gunzip;
pub mod jfr;
pub mod nodes;
pub mod otlp;
pub mod pprof;
pub mod record;
pub mod speedscope;
pub mod stacks;
pub mod tree;
pub mod trie;
mod wire;
