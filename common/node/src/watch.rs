//! How long loops may be silent at work before the process counts as stuck.

use std::time::Duration;

use hearth_cluster::gossip::Role;
use hearth_common::Pulse;
use hearth_settings::Settings;
use hearth_telemetry::Liveness;

use crate::membership::MembershipPulses;
use crate::node::Node;

/// Requests to the store one after the other in one step of a loop, each with all of its retries. A store that is away, or
/// slow, is not cured by a restart: its client gives up first.
const STORE_REQUESTS_MAX: u32 = 10;

/// For loops that wait for the store.
fn with_store(settings: &Settings) -> Duration {
    let store = &settings.store;
    let request =
        store.retry_for.0.saturating_add(store.request_timeout.0).saturating_add(store.connect_timeout.0);
    let requests = request.saturating_mul(STORE_REQUESTS_MAX).saturating_add(store.upload_retry_for.0);
    settings.liveness.stalled_after.0.saturating_add(requests)
}

pub(crate) fn membership(liveness: &Liveness, role: Role, settings: &Settings) -> MembershipPulses {
    let limit = with_store(settings);
    let planner = match role {
        Role::Ingester => liveness.watch("planner", limit),
        _ => Pulse::default(),
    };
    let membership = liveness.watch("membership", settings.liveness.stalled_after.0);
    MembershipPulses { membership, roster: liveness.watch("roster", limit), planner }
}

impl Node {
    /// The pulse of a loop that waits for nothing but this machine.
    pub fn watch(&self, name: &'static str) -> Pulse {
        self.liveness.watch(name, self.settings.liveness.stalled_after.0)
    }

    /// The pulse of a loop that waits for the store: it is given as much longer as the store's client goes on trying.
    pub fn watch_with_store(&self, name: &'static str) -> Pulse {
        self.liveness.watch(name, with_store(&self.settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_away_is_waited_for_longer_than_its_client_tries() {
        let settings = Settings::default();
        let away = settings.store.retry_for.0 + settings.store.request_timeout.0;
        assert!(with_store(&settings) > away * 5 + settings.store.upload_retry_for.0);
    }
}
