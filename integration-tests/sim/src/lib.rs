//! A simulated cell of ingesters; everything lies in `tests/sim`, so that what tests switch on stays out of the binaries.
//!
//! - `HEARTH_SIM_SEEDS=500 cargo test -p hearth-sim` tries so many seeds.
//! - `HEARTH_SIM_SEED=7 cargo test -p hearth-sim` tries one, and shows what happened.
