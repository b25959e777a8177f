//! Builders of profiles, seeds and fakes for tests.
//!
//! - [`PprofBuilder`]: a small valid pprof from stacks, labels and values.
//! - [`raw::RawProfile`]: any pprof message, valid or not, and its bytes.
//! - [`wire`]: the protobuf wire format by hand, for bytes that no encoder writes.
//! - [`jfr`]: flight recordings, valid or not.
//! - [`records`]: a record from a pprof without any of the distributor's rules.
//! - [`certificates`]: an authority and files of certificates.
//! - [`clock`]: time that passes when a test says so.
//! - [`s3`]: a real S3 server, and [`fault_proxy`]: a proxy that fails as a test says.
//! - [`report`]: what CI prints at its end of tests that were skipped, and figures.
//! - [`otlp`]: exports of OTLP profiles in the layout of any release.
//! - [`files`]: the real profiles that lie beside the project, when they do.
//!
//! Clear before fast; must not be used outside tests.

pub mod certificates;
pub mod clock;
pub mod fault_proxy;
pub mod files;
pub mod jfr;
pub mod otlp;
pub mod pprof;
pub mod raw;
pub mod records;
pub mod report;
pub mod s3;
pub mod wire;

pub use clock::HandClock;
pub use fault_proxy::FaultProxy;
pub use pprof::{PprofBuilder, gzip};
pub use s3::S3Server;
