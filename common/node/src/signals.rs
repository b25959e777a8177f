//! SIGTERM, SIGINT and `POST /shutdown`: the first asks for a clean stop, the second ends the process at once.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::error::NodeError;

/// What a shell reports for a process that a signal ended.
const EXIT_CODE_FORCED: i32 = 130;

/// Knows how often the process was asked to stop.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Sender<u32>);

impl Stop {
    /// Listens from now on.
    pub(crate) fn on_signals() -> Result<Self, NodeError> {
        let fail = |doing| move |source| NodeError::System { doing, source };
        let terminate = signal(SignalKind::terminate()).map_err(fail("listen for SIGTERM"))?;
        let interrupt = signal(SignalKind::interrupt()).map_err(fail("listen for SIGINT"))?;
        let stop = Self(watch::Sender::new(0));
        tokio::spawn(listen(terminate, interrupt, stop.clone()));
        Ok(stop)
    }

    /// Asks for it, once more.
    fn ask(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    /// Asks for a clean stop if nobody has; asking again changes nothing.
    pub(crate) fn ask_cleanly(&self) {
        self.0.send_if_modified(|count| {
            let first = *count == 0;
            *count = (*count).max(1);
            first
        });
    }

    /// Waits for the first.
    pub(crate) async fn wait(self) {
        // The sender is this one.
        let _ = self.0.subscribe().wait_for(|count| *count > 0).await;
    }

    /// Lets time pass, unless asked a second time.
    pub(crate) async fn pause(self, pause: Duration) {
        if pause.is_zero() {
            return;
        }
        tracing::info!(seconds = pause.as_secs_f64(), "not ready any more; requests are still served");
        // The sender is this one.
        let _ = tokio::time::timeout(pause, self.0.subscribe().wait_for(|count| *count > 1)).await;
    }

    /// From now on a second signal ends the process.
    pub(crate) fn second_ends_at_once(self) {
        tokio::spawn(async move {
            if self.0.subscribe().wait_for(|count| *count > 1).await.is_ok() {
                tracing::warn!(
                    "asked to stop a second time: ending at once, the log has what was acknowledged"
                );
                std::process::exit(EXIT_CODE_FORCED);
            }
        });
    }
}

/// Waits until the process is told to stop: for programs that run no role, and have nothing to keep.
pub async fn told_to_stop() -> Result<(), NodeError> {
    Stop::on_signals()?.wait().await;
    Ok(())
}

async fn listen(mut terminate: Signal, mut interrupt: Signal, stop: Stop) {
    loop {
        tokio::select! {
            _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stopping"),
            _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stopping"),
        }
        stop.ask();
    }
}
