//! What the tests of whole requests share.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod pprof;
pub(crate) mod target;
