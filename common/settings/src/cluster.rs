//! Keys of processes that form a cluster: who this one is, and how it finds the others. Hearth on one machine uses none.

use std::net::IpAddr;

use hearth_common::units::GoDuration;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::model::Settings;
use crate::size::ByteSize;

/// Longest name of an instance, a zone or a cluster, in bytes.
const NAME_MAX_BYTES: usize = 100;
/// Most seeds of gossip.
const SEEDS_MAX: usize = 100;
/// Others take the places of a member only after it was away this long: below it, each restart would move data.
const REPLACE_AFTER_MIN: GoDuration = GoDuration::from_secs(10);
/// What a change of placement is announced ahead, at least: gossip takes a second or two to all.
const PLACEMENT_AHEAD_MIN: GoDuration = GoDuration::from_secs(2);
/// And at most, which keeps an ingester that joins waiting.
const PLACEMENT_AHEAD_MAX: GoDuration = GoDuration::from_secs(3600);

/// The cluster, and the port for its processes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Name of the cluster: processes with another one are refused. A namespace, no secret.
    pub id: String,
    /// Address and port at which ingesters take calls of other roles. Empty: the address of `listen`, any free port.
    pub listen: String,
    /// The IP address that others reach this process under. Empty: the one that `listen` names, else that of the route to
    /// the seeds.
    pub advertise: String,
    /// How long an ingester is away before others take its places.
    pub replace_after: GoDuration,
    /// How long a change of where profiles go is known before it holds: so long may a process that hears no gossip go on as
    /// before without being sent back. Cells change one after the other, each so much after the last.
    pub placement_ahead: GoDuration,
    /// A service of which more is pushed is spread over several cells: one for so many bytes of records a second, over all of
    /// its profiles. 0: a service is always in one cell.
    pub shard_bytes_per_second: ByteSize,
    /// The least time between two changes of that.
    pub shards_every: GoDuration,
    /// Certificates between roles.
    pub tls: ClusterTls,
}

/// Mutual TLS on all calls between roles; gossip is never encrypted. The same in all processes of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterTls {
    /// The switch.
    pub enabled: bool,
    /// The certificate of this process in PEM, for server and client, then those between it and the authority. Files are
    /// looked at every ten seconds: renewed ones are used without a restart.
    pub cert_file: String,
    /// Its private key in PEM.
    pub key_file: String,
    /// The authorities that sign certificates of the cluster, in PEM.
    pub ca_file: String,
    /// The name that every certificate of the cluster carries (subject alternative name, DNS).
    pub server_name: String,
}

impl Default for ClusterTls {
    fn default() -> Self {
        Self {
            enabled: false,
            cert_file: String::new(),
            key_file: String::new(),
            ca_file: String::new(),
            server_name: "hearth-cluster".to_owned(),
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            id: "hearth".to_owned(),
            listen: String::new(),
            advertise: String::new(),
            replace_after: GoDuration::from_secs(10 * 60),
            placement_ahead: GoDuration::from_secs(60),
            shard_bytes_per_second: ByteSize::mib(8),
            shards_every: GoDuration::from_secs(10 * 60),
            tls: ClusterTls::default(),
        }
    }
}

/// How processes find each other. The port is neither encrypted nor authenticated: only the cluster should reach it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gossip {
    /// Address and UDP port of gossip.
    pub listen: String,
    /// Some processes of the cluster, as `host:port`; a name stands for all of its addresses. With flag and variable:
    /// separated by commas.
    pub seeds: Vec<String>,
}

impl Default for Gossip {
    fn default() -> Self {
        Self { listen: "0.0.0.0:7946".to_owned(), seeds: Vec::new() }
    }
}

/// What a type cannot say.
pub(crate) fn check(settings: &Settings) -> Result<(), Error> {
    let Settings { zone, instance_id, replication_factor, cluster, gossip, .. } = settings;
    name("zone", zone, true)?;
    name("instance_id", instance_id, true)?;
    name("cluster.id", &cluster.id, false)?;
    if !(1..=3).contains(replication_factor) {
        return invalid("replication_factor", replication_factor, "each profile is kept on 1, 2 or 3 disks");
    }
    if !cluster.listen.is_empty() && !has_port(&cluster.listen) {
        return invalid(
            "cluster.listen",
            &cluster.listen,
            "write an address and a port, such as 10.0.0.1:9095",
        );
    }
    let advertise = cluster.advertise.parse::<IpAddr>();
    if !cluster.advertise.is_empty() && !advertise.is_ok_and(|ip| !ip.is_unspecified()) {
        return invalid(
            "cluster.advertise",
            &cluster.advertise,
            "write the IP address that others can reach",
        );
    }
    if cluster.replace_after < REPLACE_AFTER_MIN {
        return invalid("cluster.replace_after", &cluster.replace_after, "it is at least 10s");
    }
    if !(PLACEMENT_AHEAD_MIN..=PLACEMENT_AHEAD_MAX).contains(&cluster.placement_ahead) {
        return invalid("cluster.placement_ahead", &cluster.placement_ahead, "it is between 2s and 1h");
    }
    check_tls(&cluster.tls)?;
    if !has_port(&gossip.listen) {
        return invalid("gossip.listen", &gossip.listen, "write an address and a port, such as 0.0.0.0:7946");
    }
    if gossip.seeds.len() > SEEDS_MAX {
        return invalid(
            "gossip.seeds",
            &gossip.seeds.len(),
            "100 seeds are enough: one name may stand for many",
        );
    }
    match gossip.seeds.iter().find(|seed| !has_port(seed)) {
        Some(seed) => invalid("gossip.seeds", seed, "write host:port, IPv6 addresses as [::1]:7946"),
        None => Ok(()),
    }
}

/// With the switch on, all files are named; what they hold is seen when the process starts.
fn check_tls(tls: &ClusterTls) -> Result<(), Error> {
    let files = [
        ("cluster.tls.cert_file", &tls.cert_file),
        ("cluster.tls.key_file", &tls.key_file),
        ("cluster.tls.ca_file", &tls.ca_file),
        ("cluster.tls.server_name", &tls.server_name),
    ];
    match files.into_iter().find(|(_, value)| tls.enabled && value.is_empty()) {
        Some((key, value)) => invalid(key, value, "cluster.tls.enabled needs it"),
        None => Ok(()),
    }
}

fn invalid(key: &'static str, value: &dyn ToString, message: &'static str) -> Result<(), Error> {
    Err(Error::Invalid { key, value: value.to_string(), message })
}

/// Names stand in keys of objects, in metrics and in pages.
fn name(key: &'static str, text: &str, may_be_empty: bool) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !text.chars().all(allowed) || text.len() > NAME_MAX_BYTES || (text.is_empty() && !may_be_empty) {
        return invalid(
            key,
            &format!("'{text}'"),
            "a name is of letters, digits and -_. and has at most 100 of them",
        );
    }
    Ok(())
}

pub(crate) fn has_port(text: &str) -> bool {
    let bare_v6 = |host: &str| host.contains(':') && !host.starts_with('[');
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !bare_v6(host) && host.len() <= 253 && port.parse::<u16>().is_ok()
    })
}
