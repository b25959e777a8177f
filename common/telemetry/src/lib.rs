//! Logs, the metrics registry, figures of the process itself, readiness.
//!
//! Owns how a line of the log looks, how metrics are exposed, and what `/ready` says. Must not know any role: roles register
//! their own metrics, and hold gates that they open.

mod build;
mod logs;
mod metrics;
mod panics;
mod process;
mod ready;

pub use build::BuildInfo;
pub use logs::{LogError, LogStyle, init_logs};
pub use metrics::{Exposition, Metrics, OPENMETRICS_CONTENT_TYPE, TEXT_CONTENT_TYPE};
pub use panics::log_panics;
pub use process::{ProcessFigures, memory_bytes};
pub use ready::{Gate, Readiness};
