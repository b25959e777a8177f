//! Keys of what a process tells of itself.

use hearth_common::units::GoDuration;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::model::Settings;

/// A loop may be silent for this long at least: a disk or a busy machine makes it wait a second now and then.
const STALLED_AFTER_MIN: GoDuration = GoDuration::from_secs(1);

/// What `/healthz` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Liveness {
    /// A loop that is silent at work for longer is stuck, and the process is not alive: a write or fsync of the log that does
    /// not come back, tasks that do not run. Loops that wait for the object store get as much longer as its client tries.
    pub stalled_after: GoDuration,
}

impl Default for Liveness {
    fn default() -> Self {
        Self { stalled_after: GoDuration::from_secs(60) }
    }
}

/// What a type cannot say.
pub(crate) fn check(settings: &Settings) -> Result<(), Error> {
    let stalled_after = &settings.liveness.stalled_after;
    if *stalled_after < STALLED_AFTER_MIN {
        let (key, value) = ("liveness.stalled_after", stalled_after.to_string());
        return Err(Error::Invalid { key, value, message: "it is at least 1s" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_said() {
        let mut settings = Settings::default();
        assert!(check(&settings).is_ok());
        settings.liveness.stalled_after = GoDuration::from_secs(0);
        let said = check(&settings).expect_err("too short").to_string();
        assert!(said.contains("liveness.stalled_after"), "{said}");
    }
}
