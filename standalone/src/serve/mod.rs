//! `hearth serve`: settings, logs, all roles, one port, and the way down.

mod lock;
mod roles;
mod signals;
mod web;

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use anyhow::{Context, Result};
use hearth_common::{Clock, SystemClock};
use hearth_rpc::{RequestMetrics, ServerOptions, Tenancy};
use hearth_settings::{Layers, Loaded, LogFormat, Settings};
use hearth_telemetry::{BuildInfo, LogStyle, Metrics, Readiness};

use crate::cli::ServeArgs;
use lock::FolderLock;
use roles::Roles;
use signals::Stop;
use web::Web;

/// Bytes of one RPC message after decompression, whatever the tenant's own limit says.
const MESSAGE_BYTES_MAX: usize = 512 << 20;

/// Settings from all layers.
pub(crate) fn load_settings(args: &ServeArgs) -> Result<Loaded> {
    let path = |path: &std::path::PathBuf| path.to_string_lossy().into_owned();
    let named = [
        ("--listen", "listen", args.listen.clone()),
        ("--data-dir", "data_dir", args.data_dir.as_ref().map(path)),
        ("--multitenancy", "multitenancy", args.multitenancy.then(|| "true".to_owned())),
        ("--object-store", "object_store", args.object_store.clone()),
        ("--log-level", "log.level", args.log_level.clone()),
        ("--log-format", "log.format", args.log_format.clone()),
    ];
    let mut flags: Vec<(String, String, String)> = named
        .into_iter()
        .filter_map(|(flag, key, value)| Some((flag.to_owned(), key.to_owned(), value?)))
        .collect();
    for pair in &args.set {
        let (key, value) = pair.split_once('=').with_context(|| format!("--set {pair}: write KEY=VALUE"))?;
        flags.push(("--set".to_owned(), key.to_owned(), value.to_owned()));
    }
    let layers = Layers { file: args.config.clone(), environment: std::env::vars().collect(), flags };
    Ok(layers.load()?)
}

/// Runs the server until it is told to stop.
pub(crate) fn run(args: &ServeArgs) -> Result<()> {
    let Loaded { settings, warnings } = load_settings(args)?;
    let style = match settings.log.format {
        LogFormat::Text => LogStyle::Text,
        LogFormat::Json => LogStyle::Json,
    };
    hearth_telemetry::init_logs(&settings.log.level, style)?;
    hearth_telemetry::log_panics();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let done = runtime.block_on(serve(settings));
    // Everything that must be on disk is; what still runs may be left.
    runtime.shutdown_background();
    done
}

async fn serve(settings: Settings) -> Result<()> {
    let settings = Arc::new(settings);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let started = clock.monotonic();
    let stop = Stop::on_signals()?;
    let _lock = FolderLock::take(&settings.data_dir)?;
    let readiness = Readiness::default();
    let gate = readiness.gate("start", "roles are starting");
    let mut registry = Metrics::registry();
    let request_metrics = RequestMetrics::new(&mut registry);
    let (roles, role_routes) = Roles::start(&settings, Arc::clone(&clock), &readiness, &mut registry).await?;
    let web = Web {
        settings: Arc::clone(&settings),
        metrics: Metrics::new(registry),
        readiness: readiness.clone(),
        flush: roles.flush(),
    };
    let health = {
        let readiness = readiness.clone();
        Arc::new(move || readiness.check().is_ok())
    };
    let BuildInfo { version, revision, .. } = BuildInfo::CURRENT;
    let routes = role_routes.merge(hearth_rpc::common_routes(health, version, revision)).http(web.routes());
    let listen = resolve(&settings.listen)?;
    let tenancy = if settings.multitenancy { Tenancy::Multi } else { Tenancy::Single };
    let options = ServerOptions {
        listen,
        tenancy,
        max_message_bytes: MESSAGE_BYTES_MAX,
        metrics: request_metrics,
        clock: Arc::clone(&clock),
    };
    let server = hearth_rpc::bind(options, routes)
        .await
        .with_context(|| format!("cannot listen on {} (another address: --listen)", settings.listen))?;
    let address = server.local_addr()?;
    gate.open();
    tracing::info!(%address, version, data_dir = %settings.data_dir.display(), multitenancy = settings.multitenancy,
        start_ms = (clock.monotonic() - started).as_millis() as u64, "serving");
    say(&format!("Hearth {version} listens on http://{address}, data in {}", settings.data_dir.display()));
    server.run(stop.clone().wait()).await;
    gate.close("stopping");
    stop.second_ends_at_once();
    roles.stop().await?;
    tracing::info!("stopped");
    Ok(())
}

fn resolve(listen: &str) -> Result<SocketAddr> {
    let mut found =
        listen.to_socket_addrs().with_context(|| format!("setting 'listen': '{listen}' is no address"))?;
    found.next().with_context(|| format!("setting 'listen': '{listen}' has no address"))
}

#[allow(clippy::print_stdout, reason = "the one line for the person who started it")]
fn say(text: &str) {
    println!("{text}");
}
