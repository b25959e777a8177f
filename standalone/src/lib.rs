//! Hearth on one machine: all roles in one process, and the command line.
//!
//! Owns wiring and the words that people read in a terminal. Must not know how a role works: what it does here, it does
//! through the same traits and the same wire that other processes use.

mod bench;
mod canary;
pub mod cli;
mod client;
mod pprof_wire;
mod serve;
mod term;
