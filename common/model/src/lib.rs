//! What a profile means: labels, selectors, profile types, name trees, flame graphs, series, and the algebra that merges
//! them.
//!
//! Owns every merge: partial answers come from heads and blocks in any order and any split, and merge to the same whole.
//! Must not know: wire messages, disks, clocks, async.

pub mod answer_bytes;
pub mod diff;
pub mod dot;
pub mod flamegraph;
pub mod labels;
mod layout;
pub mod name_tree;
pub mod native;
pub mod points;
pub mod pprof_export;
pub mod pprof_merge;
pub mod profile_type;
pub mod question;
mod re2;
pub mod selector;
pub mod spans;
pub mod tally;
pub mod tenant_rules;
pub mod tree_bytes;
pub mod view;

pub use labels::Labels;
pub use name_tree::NameTree;
pub use points::{PointSet, StepGrid};
pub use pprof_merge::PprofMerge;
pub use profile_type::ProfileType;
pub use question::{Answer, AnswerError, ProfileQuery, Question};
pub use selector::{MatchKind, Matcher, Selector};
pub use tally::{Counted, Tally};
pub use view::View;
