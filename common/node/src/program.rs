//! A process from `main` to its end: logs, the runtime, and how a failure is said.

use std::process::ExitCode;

use hearth_settings::{Loaded, LogFormat};
use hearth_telemetry::LogStyle;

use crate::error::NodeError;

/// Sets up logs, runs `serve` on a runtime of its own, and ends what still runs when it is done.
pub fn run<F, E>(loaded: Loaded, serve: impl FnOnce(hearth_settings::Settings) -> F) -> Result<(), E>
where
    F: Future<Output = Result<(), E>>,
    E: From<NodeError>,
{
    let Loaded { settings, warnings } = loaded;
    let style = match settings.log.format {
        LogFormat::Text => LogStyle::Text,
        LogFormat::Json => LogStyle::Json,
    };
    hearth_telemetry::init_logs(&settings.log.level, style).map_err(NodeError::from)?;
    hearth_telemetry::log_panics();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|source| NodeError::System { doing: "start a runtime", source })?;
    let done = runtime.block_on(serve(settings));
    // Everything that must be on disk is; what still runs may be left.
    runtime.shutdown_background();
    done
}

/// The end of `main`: 0, or the error for a person and 1.
#[allow(clippy::print_stderr, reason = "the last words of a process are for a person")]
pub fn report(program: &str, done: Result<(), NodeError>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {}", hearth_common::error::chain(&error));
            ExitCode::FAILURE
        }
    }
}
