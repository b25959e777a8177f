//! This process' part in gossip: what it says, and the snapshots of what it hears.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hearth_common::{Classify, Clock, ErrorKind};
use prometheus_client::registry::Registry;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::keys::valid_name;
use super::metrics::{Counts, Metrics};
use super::peers::{Announcement, PeerState, Peers};
use super::watcher::Watcher;

/// Longest seed, in bytes.
const SEED_MAX_BYTES: usize = 300;

/// How gossip works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GossipOptions {
    /// Only processes with the same one meet. A namespace, no secret.
    pub cluster_id: String,
    /// The UDP port. All of a machine's addresses: `0.0.0.0:7946` or `[::]:7946`.
    pub listen: SocketAddr,
    /// The address under which the others reach this port. By default the one that it listens on, or that of the cluster
    /// port if it listens on all.
    pub advertise: Option<IpAddr>,
    /// Where to find others, `host:port` each: a DNS name (all of its addresses; asked again each minute), an IPv4
    /// address, or an IPv6 address in brackets. Some of the cluster are enough, this process may be among them.
    pub seeds: Vec<String>,
    /// How often this process speaks with some others. A process that is gone is noticed after about ten times this.
    pub interval: Duration,
}

/// Why gossip cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GossipError {
    /// The port cannot be bound.
    #[error("cannot listen for gossip on {addr}/udp")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The settings cannot work.
    #[error("the settings of gossip cannot work: {0}")]
    Settings(String),
}

impl Classify for GossipError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Bind { .. } => ErrorKind::Unavailable,
            Self::Settings(_) => ErrorKind::FailedPrecondition,
        }
    }
}

/// A running gossip. Dropped: it falls silent, and the others notice as if the process had died.
#[derive(Debug)]
pub struct Gossip {
    said: watch::Sender<Announcement>,
    peers: watch::Receiver<Arc<Peers>>,
    addr: SocketAddr,
    metrics: Metrics,
    watcher: Option<JoinHandle<()>>,
}

/// What a process can tell the others.
pub trait Voice: Send + Sync + std::fmt::Debug {
    /// A new state.
    fn set_state(&self, state: PeerState);
    /// Which roster this process has persisted.
    fn set_roster_version(&self, version: u64);
}

impl Voice for Gossip {
    fn set_state(&self, state: PeerState) {
        self.said.send_if_modified(|said| std::mem::replace(&mut said.state, state) != state);
    }

    fn set_roster_version(&self, version: u64) {
        self.said.send_if_modified(|said| std::mem::replace(&mut said.roster_version, version) != version);
    }
}

impl Gossip {
    /// Binds the port and starts to speak. Does not wait for anybody.
    pub async fn start(
        options: GossipOptions,
        announcement: Announcement,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, GossipError> {
        check(&options, &announcement)?;
        let bind = |source| GossipError::Bind { addr: options.listen, source };
        let udp = UdpSocket::bind(options.listen).await.map_err(bind)?;
        let bound = udp.local_addr().map_err(bind)?;
        let addr = SocketAddr::new(advertised_ip(&options, &announcement)?, bound.port());
        let begun = Peers::begin(clock.monotonic());
        let (begun, _) = begun.next(vec![(0, announcement.clone())], clock.monotonic());
        let (sender, peers) = watch::channel(Arc::new(begun));
        let (said, hears_self) = watch::channel(announcement);
        let metrics = Metrics::default();
        metrics.peers.set(1);
        let watcher = Watcher {
            options,
            addr,
            clock,
            udp: Arc::new(udp),
            metrics: metrics.clone(),
            said: hears_self,
            peers: sender,
            generation: 0,
        };
        Ok(Self { said, peers, addr, metrics, watcher: Some(tokio::spawn(watcher.run())) })
    }

    /// Snapshots of who is alive; changes when somebody comes, goes, or says something new.
    pub fn watch(&self) -> watch::Receiver<Arc<Peers>> {
        self.peers.clone()
    }

    /// Who is alive now.
    pub fn peers(&self) -> Arc<Peers> {
        Arc::clone(&self.peers.borrow())
    }

    /// Where the others reach this gossip.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Counters of the port.
    pub fn counts(&self) -> Counts {
        self.metrics.counts()
    }

    /// Adds gossip's metrics to a registry.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Stops speaking and frees the port. The others notice after some time.
    pub async fn stop(mut self) {
        let watcher = self.watcher.take();
        // The watcher ends when nobody can say anything any more.
        drop(self);
        if let Some(Err(error)) = match watcher {
            Some(watcher) => Some(watcher.await),
            None => None,
        } {
            tracing::error!(%error, "gossip ended badly");
        }
    }
}

fn check(options: &GossipOptions, said: &Announcement) -> Result<(), GossipError> {
    let refuse = |why: String| Err(GossipError::Settings(why));
    for (what, name) in [("cluster", &*options.cluster_id), ("instance", &*said.instance.0)] {
        if name.is_empty() {
            return refuse(format!("the {what} has no name"));
        }
    }
    for name in [&*options.cluster_id, &*said.instance.0, &*said.zone] {
        if !valid_name(name) {
            return refuse(format!("the name '{}' is too long, or has a '/' in it", name.escape_debug()));
        }
    }
    if options.interval.is_zero() {
        return refuse("the interval is 0".to_owned());
    }
    for seed in &options.seeds {
        let port = seed.rsplit_once(':').and_then(|(host, port)| {
            let bare_v6 = host.contains(':') && !host.starts_with('[');
            (!host.is_empty() && !bare_v6).then(|| port.parse::<u16>().ok()).flatten()
        });
        if port.is_none() || seed.len() > SEED_MAX_BYTES {
            let seed = seed.escape_debug();
            return refuse(format!("the seed '{seed}' is not host:port; write IPv6 addresses as [::1]:7946"));
        }
    }
    Ok(())
}

fn advertised_ip(options: &GossipOptions, said: &Announcement) -> Result<IpAddr, GossipError> {
    let candidates = [options.advertise, Some(options.listen.ip()), Some(said.cluster_addr.ip())];
    candidates.into_iter().flatten().find(|ip| !ip.is_unspecified()).ok_or_else(|| {
        GossipError::Settings("it listens on all addresses: say which one to advertise".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use hearth_common::InstanceId;

    use super::super::peers::Role;
    use super::*;

    fn said(cluster_addr: &str) -> Announcement {
        Announcement {
            role: Role::Querier,
            instance: InstanceId(Arc::from("querier-1")),
            disk: None,
            zone: String::new(),
            api_addr: ([127, 0, 0, 1], 4040).into(),
            cluster_addr: cluster_addr.parse().expect("an address"),
            state: PeerState::Active,
            roster_version: 0,
        }
    }

    fn options(listen: &str, seeds: &[&str]) -> GossipOptions {
        GossipOptions {
            cluster_id: "test".to_owned(),
            listen: listen.parse().expect("an address"),
            advertise: None,
            seeds: seeds.iter().map(|seed| (*seed).to_owned()).collect(),
            interval: Duration::from_secs(1),
        }
    }

    #[test]
    fn seeds_have_a_host_and_a_port() {
        for good in ["10.0.0.1:7946", "[::1]:7946", "hearth-gossip.ns.svc:7946"] {
            assert!(check(&options("[::]:0", &[good]), &said("[::1]:1")).is_ok(), "{good}");
        }
        for bad in ["", "host", ":7946", "::1:7946", "host:port", "host:99999", &"x".repeat(400)] {
            assert!(check(&options("[::]:0", &[bad]), &said("[::1]:1")).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_found_to_advertise() {
        let ip = |listen: &str, cluster: &str| {
            advertised_ip(&options(listen, &[]), &said(cluster)).ok().map(|ip| ip.to_string())
        };
        assert_eq!(ip("10.0.0.1:7946", "10.0.0.2:1").as_deref(), Some("10.0.0.1"));
        assert_eq!(ip("0.0.0.0:7946", "10.0.0.2:1").as_deref(), Some("10.0.0.2"));
        assert_eq!(ip("[::]:7946", "0.0.0.0:1"), None);
        let told = GossipOptions { advertise: Some([9, 9, 9, 9].into()), ..options("[::]:1", &[]) };
        assert_eq!(advertised_ip(&told, &said("10.0.0.2:1")).expect("told").to_string(), "9.9.9.9");
    }
}
