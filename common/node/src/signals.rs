//! SIGTERM, SIGINT and `POST /shutdown`: the first asks for a clean stop, the second signal ends the process at once. A request
//! is no signal: a hook that sends one before a container stops is followed by SIGTERM, which asks for the same.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::error::NodeError;

/// What a shell reports for a process that a signal ended.
const EXIT_CODE_FORCED: i32 = 130;

/// Who asked the process to stop.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    by_request: bool,
    signals: u32,
}

/// Knows who asked the process to stop.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Sender<Asked>);

impl Stop {
    /// Listens from now on.
    pub(crate) fn on_signals() -> Result<Self, NodeError> {
        let fail = |doing| move |source| NodeError::System { doing, source };
        let terminate = signal(SignalKind::terminate()).map_err(fail("listen for SIGTERM"))?;
        let interrupt = signal(SignalKind::interrupt()).map_err(fail("listen for SIGINT"))?;
        let stop = Self(watch::Sender::new(Asked::default()));
        tokio::spawn(listen(terminate, interrupt, stop.clone()));
        Ok(stop)
    }

    /// A signal asks for it.
    fn ask(&self) {
        self.0.send_modify(|asked| asked.signals += 1);
    }

    /// Asks for a clean stop if nobody has; asking again changes nothing.
    pub(crate) fn ask_cleanly(&self) {
        self.0.send_modify(|asked| asked.by_request = true);
    }

    /// Waits for the first.
    pub(crate) async fn wait(self) {
        // The sender is this one.
        let _ = self.0.subscribe().wait_for(|asked| asked.by_request || asked.signals > 0).await;
    }

    /// Lets time pass, unless a second signal comes.
    pub(crate) async fn pause(self, pause: Duration) {
        if pause.is_zero() {
            return;
        }
        tracing::info!(seconds = pause.as_secs_f64(), "not ready any more; requests are still served");
        // The sender is this one.
        let _ = tokio::time::timeout(pause, self.0.subscribe().wait_for(|asked| asked.signals > 1)).await;
    }

    /// From now on a second signal ends the process.
    pub(crate) fn second_ends_at_once(self) {
        tokio::spawn(async move {
            if self.0.subscribe().wait_for(|asked| asked.signals > 1).await.is_ok() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_and_the_signal_behind_it_are_one_wish() {
        let stop = Stop(watch::Sender::new(Asked::default()));
        stop.ask_cleanly();
        stop.clone().wait().await;
        stop.ask();
        let pause = stop.clone().pause(Duration::from_secs(3600));
        let ended = tokio::time::timeout(Duration::from_millis(50), pause).await;
        assert!(ended.is_err(), "requests are served for the whole of it");
        stop.ask();
        tokio::time::timeout(Duration::from_secs(60), stop.pause(Duration::from_secs(3600)))
            .await
            .expect("a second signal ends it");
    }
}
