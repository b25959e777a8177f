//! Metrics of the internal port, of calls to it, and of links.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hearth_common::TimestampNs;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Most peers that metrics tell apart; the rest is `other`.
const PEERS_MAX: usize = 256;
/// Seconds: a fast call within a zone takes less than a millisecond, a deadline some seconds.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    peer: Arc<str>,
    call: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServedLabels {
    call: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabel {
    call: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LinkLabels {
    peer: Arc<str>,
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeerLabel {
    peer: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// Why a connection or a stream is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Stranger {
    /// What it sends is no HTTP/2.
    Garbage,
    /// It sends nothing.
    Silent,
    /// It is of another cluster.
    Cluster,
    /// It speaks another version.
    Protocol,
    /// It is another member than expected.
    Member,
    /// Its messages do not decode.
    Malformed,
    /// There are too many.
    Crowd,
    /// It speaks TLS, and this port does not.
    Tls,
    /// It speaks no TLS, and this port asks for it.
    Plain,
    /// Its certificate is missing, or is none of this cluster.
    Certificate,
}

impl Stranger {
    const ALL: [Self; 10] = [
        Self::Garbage,
        Self::Silent,
        Self::Cluster,
        Self::Protocol,
        Self::Member,
        Self::Malformed,
        Self::Crowd,
        Self::Tls,
        Self::Plain,
        Self::Certificate,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Garbage => "garbage",
            Self::Silent => "silent",
            Self::Cluster => "cluster",
            Self::Protocol => "protocol",
            Self::Member => "member",
            Self::Malformed => "malformed",
            Self::Crowd => "too_many",
            Self::Tls => "tls",
            Self::Plain => "no_tls",
            Self::Certificate => "certificate",
        }
    }
}

/// All metrics of this crate. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    calls: Family<CallLabels, Counter>,
    durations: Family<CallLabel, Histogram, fn() -> Histogram>,
    served: Family<ServedLabels, Counter>,
    frames: Family<LinkLabels, Counter>,
    frame_bytes: Family<LinkLabels, Counter>,
    dropped: Family<PeerLabel, Counter>,
    links: Family<PeerLabel, Gauge>,
    strangers: Family<ReasonLabel, Counter>,
    connections: Gauge,
    certificate_expires: Gauge,
    certificates_refused: Counter,
    peers: Arc<Mutex<BTreeMap<Arc<str>, ()>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let make: fn() -> Histogram = || Histogram::new(BUCKETS);
        let metrics = Self {
            calls: Family::default(),
            durations: Family::new_with_constructor(make),
            served: Family::default(),
            frames: Family::default(),
            frame_bytes: Family::default(),
            dropped: Family::default(),
            links: Family::default(),
            strangers: Family::default(),
            connections: Gauge::default(),
            certificate_expires: Gauge::default(),
            certificates_refused: Counter::default(),
            peers: Arc::default(),
        };
        for stranger in Stranger::ALL {
            drop(metrics.strangers.get_or_create(&ReasonLabel { reason: stranger.label() }));
        }
        metrics
    }
}

impl Metrics {
    /// Registers the metrics.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("hearth_internode");
        registry.register("calls", "Calls to other processes, by how they ended", metrics.calls.clone());
        registry.register("call_duration_seconds", "Time that calls took", metrics.durations.clone());
        registry.register("served", "Calls of other processes, by how they ended", metrics.served.clone());
        registry.register("link_frames", "Frames of links", metrics.frames.clone());
        registry.register("link_bytes", "Bytes of entries in frames of links", metrics.frame_bytes.clone());
        registry.register(
            "link_dropped_frames",
            "Frames that found no room in the queue or no stream",
            metrics.dropped.clone(),
        );
        registry.register("link_streams", "Streams of links that are up", metrics.links.clone());
        registry.register("strangers", "Connections and streams refused", metrics.strangers.clone());
        registry.register("connections", "Connections to the internal port", metrics.connections.clone());
        registry.register(
            "tls_certificate_expires_timestamp_seconds",
            "When the certificate in use ends, in seconds since 1970; 0 without TLS",
            metrics.certificate_expires.clone(),
        );
        registry.register(
            "tls_refused_files",
            "Looks at files of certificates that could not be used; the ones read before stay in use",
            metrics.certificates_refused.clone(),
        );
        metrics
    }

    pub(crate) fn certificate_expires(&self, at: TimestampNs) {
        self.certificate_expires.set(at.0 / 1_000_000_000);
    }

    pub(crate) fn certificate_refused(&self) {
        self.certificates_refused.inc();
    }

    /// A peer as a label; names come from the network, so there are only so many.
    pub(crate) fn peer(&self, name: &str) -> Arc<str> {
        let mut peers = self.peers.lock();
        if let Some((known, ())) = peers.get_key_value(name) {
            return Arc::clone(known);
        }
        if peers.len() >= PEERS_MAX {
            return Arc::from("other");
        }
        let name: Arc<str> = Arc::from(name);
        peers.insert(Arc::clone(&name), ());
        name
    }

    pub(crate) fn called(&self, peer: &Arc<str>, call: &'static str, outcome: &'static str, took: Duration) {
        let labels = CallLabels { peer: Arc::clone(peer), call, outcome };
        self.calls.get_or_create(&labels).inc();
        self.durations.get_or_create(&CallLabel { call }).observe(took.as_secs_f64());
    }

    pub(crate) fn served(&self, call: &'static str, outcome: &'static str) {
        self.served.get_or_create(&ServedLabels { call, outcome }).inc();
    }

    pub(crate) fn stranger(&self, stranger: Stranger) {
        self.strangers.get_or_create(&ReasonLabel { reason: stranger.label() }).inc();
    }

    pub(crate) fn connection(&self) -> Counted {
        Counted::new(self.connections.clone())
    }

    pub(crate) fn link(&self, peer: &str) -> LinkMetrics {
        let peer = self.peer(peer);
        let labels = |direction| LinkLabels { peer: Arc::clone(&peer), direction };
        let peer_label = PeerLabel { peer: Arc::clone(&peer) };
        LinkMetrics {
            sent: of(&self.frames, &labels("sent")),
            sent_bytes: of(&self.frame_bytes, &labels("sent")),
            received: of(&self.frames, &labels("received")),
            received_bytes: of(&self.frame_bytes, &labels("received")),
            dropped: of(&self.dropped, &peer_label),
            up: of(&self.links, &peer_label),
        }
    }
}

/// One metric of a family. The family is locked only in here: two guards in one statement would block each other.
fn of<L: Clone + std::hash::Hash + Eq, M: Clone + Default>(family: &Family<L, M>, labels: &L) -> M {
    family.get_or_create(labels).clone()
}

/// The metrics of one peer's links.
#[derive(Debug, Clone)]
pub(crate) struct LinkMetrics {
    pub(crate) sent: Counter,
    pub(crate) sent_bytes: Counter,
    pub(crate) received: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) dropped: Counter,
    up: Gauge,
}

impl LinkMetrics {
    pub(crate) fn up(&self) -> Counted {
        Counted::new(self.up.clone())
    }
}

/// Counts something until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Counted {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
