//! What is counted of gossip.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of the gossip port since the process began. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    pub(super) received: Counter,
    pub(super) received_bytes: Counter,
    pub(super) undecodable: Counter,
    pub(super) other_cluster: Counter,
    pub(super) dropped: Counter,
    pub(super) sent: Counter,
    pub(super) sent_bytes: Counter,
    pub(super) send_failures: Counter,
    pub(super) restarts: Counter,
    pub(super) peers: Gauge,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Datagrams that came, whatever is in them.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Of these datagrams, those that are no gossip.
    pub undecodable: u64,
    /// Of these datagrams, those with which a process of another cluster asked, or refused this one.
    pub other_cluster: u64,
    /// Of these datagrams, those that were not looked at because others wait.
    pub dropped: u64,
    /// Datagrams that were sent.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Datagrams that the machine refused to send.
    pub send_failures: u64,
    /// How often gossip ended by itself and was begun again.
    pub restarts: u64,
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let counters = [
            ("hearth_gossip_datagrams_received", "Datagrams that came to the gossip port", &self.received),
            (
                "hearth_gossip_received_bytes",
                "Bytes of datagrams that came to the gossip port",
                &self.received_bytes,
            ),
            ("hearth_gossip_datagrams_undecodable", "Datagrams that are no gossip", &self.undecodable),
            (
                "hearth_gossip_datagrams_other_cluster",
                "Datagrams with which a process of another cluster asked, or refused this one",
                &self.other_cluster,
            ),
            (
                "hearth_gossip_datagrams_dropped",
                "Datagrams that were not looked at because others wait",
                &self.dropped,
            ),
            ("hearth_gossip_datagrams_sent", "Datagrams sent by gossip", &self.sent),
            ("hearth_gossip_sent_bytes", "Bytes of datagrams sent by gossip", &self.sent_bytes),
            ("hearth_gossip_send_failures", "Datagrams that could not be sent", &self.send_failures),
            (
                "hearth_gossip_restarts",
                "How often gossip ended by itself and was begun again",
                &self.restarts,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "hearth_gossip_peers",
            "Processes that are taken to be alive, this one included",
            self.peers.clone(),
        );
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            received: self.received.get(),
            received_bytes: self.received_bytes.get(),
            undecodable: self.undecodable.get(),
            other_cluster: self.other_cluster.get(),
            dropped: self.dropped.get(),
            sent: self.sent.get(),
            sent_bytes: self.sent_bytes.get(),
            send_failures: self.send_failures.get(),
            restarts: self.restarts.get(),
        }
    }
}
