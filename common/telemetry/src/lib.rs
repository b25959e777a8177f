//! Logs, the metrics registry, figures of the process itself, readiness, liveness.
//!
//! Owns how a line of the log looks, how metrics are exposed, and what `/ready` and `/healthz` say. Must not know any role:
//! roles register their own metrics, hold gates that they open, and pulses that they let beat.

mod build;
mod liveness;
mod logfmt;
mod logs;
mod metrics;
mod panics;
mod process;
pub mod profiling;
mod ready;
pub mod trace;
mod turns;

pub use build::BuildInfo;
pub use liveness::{Liveness, Stuck};
pub use logs::{LogError, LogStyle, init_logs};
pub use metrics::{Exposition, Metrics, OPENMETRICS_CONTENT_TYPE, TEXT_CONTENT_TYPE};
pub use panics::log_panics;
pub use process::{ProcessFigures, memory_bytes};
pub use ready::{Gate, Readiness};
pub use turns::TurnMetrics;
