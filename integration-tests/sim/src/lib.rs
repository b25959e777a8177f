//! Simulated clusters; everything lies in `tests/sim`, so that what tests switch on stays out of the binaries.
//!
//! - `cargo xtask sim --seeds 500` tries so many seeds.
//! - `cargo xtask sim --seed 7` tries one, and shows what happened; `--plants 2000` puts bugs in that must be found.
