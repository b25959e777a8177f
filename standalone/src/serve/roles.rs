//! All roles in one process: what each is given, and in which order they stop.

use std::sync::Arc;

use anyhow::Result;
use hearth_common::Clock;
use hearth_rpc::Routes;
use hearth_settings::Settings;
use hearth_telemetry::Readiness;
use prometheus_client::registry::Registry;

use super::web::Flush;

/// The running roles.
#[derive(Debug)]
pub(super) struct Roles {}

impl Roles {
    /// Starts all roles.
    pub(super) async fn start(
        _settings: &Settings,
        _clock: Arc<dyn Clock>,
        _readiness: &Readiness,
        _registry: &mut Registry,
    ) -> Result<(Self, Routes)> {
        Ok((Self {}, Routes::new()))
    }

    /// Publishes all heads.
    pub(super) fn flush(&self) -> Flush {
        Arc::new(|| Box::pin(async { Ok(()) }))
    }

    /// Publishes all heads and closes the log.
    pub(super) async fn stop(self) -> Result<()> {
        Ok(())
    }
}
