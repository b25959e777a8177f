//! Certificates between roles: from settings to what the internal port takes, and the look at renewed files.

use std::path::PathBuf;
use std::sync::Arc;

use hearth_common::Clock;
use hearth_internode::tls::{REFRESH_INTERVAL, Refreshed};
use hearth_internode::{Tls, TlsError, TlsFiles};
use hearth_settings::Settings;

/// What settings ask for; `None` when the switch is off. The task that looks at renewed files ends with the runtime. Must
/// be called inside a tokio runtime.
pub(crate) fn open(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    metrics: &hearth_internode::Metrics,
) -> Result<Option<Tls>, TlsError> {
    let wanted = &settings.cluster.tls;
    if !wanted.enabled {
        return Ok(None);
    }
    let files = TlsFiles {
        cert: PathBuf::from(&wanted.cert_file),
        key: PathBuf::from(&wanted.key_file),
        ca: PathBuf::from(&wanted.ca_file),
        name: wanted.server_name.clone(),
    };
    let tls = Tls::open(files, Arc::clone(clock), metrics.clone())?;
    tokio::spawn(watch(tls.clone()));
    Ok(Some(tls))
}

/// A renewed certificate is used by the next handshake; one that cannot be used is told once, until the files change again
/// or are well.
async fn watch(tls: Tls) {
    let mut told: Option<String> = None;
    loop {
        tokio::time::sleep(REFRESH_INTERVAL).await;
        let looking = tls.clone();
        let Ok(looked) = tokio::task::spawn_blocking(move || looking.refresh()).await else { return };
        match looked {
            Ok(Refreshed::Same) => {}
            Ok(Refreshed::Renewed) => {
                told = None;
                tracing::info!(expires_s = tls.expires().0 / 1_000_000_000, "certificates are renewed");
            }
            Err(error) => {
                let error = hearth_common::error::chain(&error);
                if told.as_ref() != Some(&error) {
                    tracing::error!(
                        error,
                        "renewed certificates cannot be used; those read before stay in use"
                    );
                    told = Some(error);
                }
            }
        }
    }
}
