//! exhaustive
