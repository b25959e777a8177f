//! A process from `main` to its end: logs, the runtime, and how a failure is said.

use std::process::ExitCode;

use hearth_cluster::gossip::Role;
use hearth_common::BoxError;
use hearth_settings::{Loaded, LogFormat, OtlpProtocol, Settings, Tracing};
use hearth_telemetry::LogStyle;
use hearth_telemetry::trace::{Protocol, TraceOptions, Traces, start_traces};

use crate::address;
use crate::args::{About, RoleArgs};
use crate::error::NodeError;
use crate::node::{ALONE, Node, Running};

/// Sets up logs, runs `serve` on a runtime of its own, and ends what still runs when it is done.
pub fn run<F, E>(role: Role, loaded: Loaded, serve: impl FnOnce(Settings) -> F) -> Result<(), E>
where
    F: Future<Output = Result<(), E>>,
    E: From<NodeError>,
{
    let Loaded { settings, warnings, ignored } = loaded;
    let style = match settings.log.format {
        LogFormat::Text => LogStyle::Text,
        LogFormat::Json => LogStyle::Json,
        LogFormat::Logfmt => LogStyle::Logfmt,
    };
    hearth_telemetry::init_logs(&settings.log.level, style).map_err(NodeError::from)?;
    hearth_telemetry::log_panics();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    for key in ignored {
        tracing::warn!("{} {}", key.path(), key.message());
    }
    // One thread more than compute at once: it wakes up whose turn it is while the others compute (hearth_common::Turns).
    let threads = crate::cores() + 1;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = runtime.map_err(|source| NodeError::System { doing: "start a runtime", source })?;
    let traces = runtime.block_on(async { traces(role, &settings) })?;
    let done = runtime.block_on(serve(settings));
    // Everything that must be on disk is; what still runs may be left.
    runtime.shutdown_background();
    drop(traces);
    done
}

/// Begins to export traces, if settings say where to.
fn traces(role: Role, settings: &Settings) -> Result<Option<Traces>, NodeError> {
    let Tracing { otlp_endpoint, protocol, sample_ratio } = &settings.tracing;
    if otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let options = TraceOptions {
        endpoint: otlp_endpoint.clone(),
        protocol: match protocol {
            OtlpProtocol::Http => Protocol::Http,
            OtlpProtocol::Grpc => Protocol::Grpc,
        },
        sample_ratio: *sample_ratio,
        service: service_name(role),
        instance: match role {
            Role::Standalone => ALONE.to_owned(),
            _ => address::instance(settings)?.0.to_string(),
        },
    };
    Ok(Some(start_traces(&options)?))
}

/// What a process calls itself towards others.
pub(crate) fn service_name(role: Role) -> String {
    format!("hearth-{}", role.as_str())
}

/// `main` of a role's binary: reads the command line, starts the process, lets `start` make the role out of it, and runs
/// until the stop. 0 after a clean one.
pub fn main(about: &About, start: impl AsyncFnOnce(&mut Node) -> Result<Running, BoxError>) -> ExitCode {
    let args = RoleArgs::parse_for(about);
    let role = about.role;
    let serve = async |settings| {
        let mut node = Node::start(role, settings).await?;
        let running = start(&mut node).await;
        let running = running.map_err(|source| NodeError::Role { role: role.as_str(), source })?;
        node.run(running).await
    };
    match args.load().and_then(|loaded| run(role, loaded, serve)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(about.program, &error);
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stderr, reason = "the last words of a process are for a person")]
fn say_error(program: &str, error: &NodeError) {
    eprintln!("{program}: {}", hearth_common::error::chain(error));
}
