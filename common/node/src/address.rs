//! From settings to names and addresses: who this process is, where it listens, and what it tells others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hearth_cluster::gossip::{GossipOptions, Role};
use hearth_cluster::roster::PlanOptions;
use hearth_common::{InstanceId, TenantId};
use hearth_settings::{Settings, TenantOverrides};
use tokio::net::{UdpSocket, lookup_host};

use crate::error::NodeError;
use crate::membership::MembershipOptions;

/// Nobody has this address (RFC 5737). It stands for "somewhere else"; nothing is sent to it.
const ELSEWHERE: &str = "192.0.2.1:9";

/// How often a process speaks with some others: one that is gone is noticed within about five seconds.
const GOSSIP_EVERY: Duration = Duration::from_millis(500);
/// How often an ingester looks whether the roster is as it should be.
const PLAN_EVERY: Duration = Duration::from_secs(1);
/// How often the store is asked for a newer roster of which gossip has not told.
const POLL_EVERY: Duration = Duration::from_secs(10);

/// The address that a setting names; of several the first.
pub(crate) async fn resolve(key: &'static str, value: &str) -> Result<SocketAddr, NodeError> {
    let bad = |problem: String| NodeError::Address { key, value: value.to_owned(), problem };
    let mut found = lookup_host(value).await.map_err(|error| bad(format!("is no address: {error}")))?;
    found.next().ok_or_else(|| bad("has no address".to_owned()))
}

/// From settings to those of the membership.
pub(crate) async fn membership(
    role: Role,
    settings: &Settings,
    ingestion_window: Duration,
    limits: &TenantOverrides,
) -> Result<MembershipOptions, NodeError> {
    let listen = resolve("listen", &settings.listen).await?;
    let gossip = GossipOptions {
        cluster_id: settings.cluster.id.clone(),
        listen: resolve("gossip.listen", &settings.gossip.listen).await?,
        advertise: Some(advertised(settings, listen).await?),
        seeds: settings.gossip.seeds.clone(),
        interval: GOSSIP_EVERY,
    };
    let plan = PlanOptions {
        replace_after: settings.cluster.replace_after.0,
        entry_ahead: settings.cluster.placement_ahead.0,
        shard_bytes_per_second: settings.cluster.shard_bytes_per_second.0,
        shards_every: settings.cluster.shards_every.0,
        shuffle_size: limits.default_limits().ingestion_tenant_shard_size,
        shuffle_sizes: limits
            .named()
            .filter_map(|(tenant, limits)| {
                Some((TenantId::parse(tenant).ok()?, limits.ingestion_tenant_shard_size))
            })
            .filter(|(_, size)| *size != limits.default_limits().ingestion_tenant_shard_size)
            .collect(),
        ..PlanOptions::new(&settings.cluster.id, settings.replication_factor, ingestion_window)
    };
    Ok(MembershipOptions {
        role,
        instance: instance(settings)?,
        zone: settings.zone.clone(),
        gossip,
        plan,
        folder: (role == Role::Ingester).then(|| settings.data_dir.clone()),
        plan_every: PLAN_EVERY,
        poll_every: POLL_EVERY,
    })
}

/// The name of the process: the one of settings, else the host's.
pub(crate) fn instance(settings: &Settings) -> Result<InstanceId, NodeError> {
    if !settings.instance_id.is_empty() {
        return Ok(InstanceId(Arc::from(settings.instance_id.as_str())));
    }
    let host = host_name();
    let valid = host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if host.is_empty() || host.len() > 100 || !valid {
        let problem = "is the host's name and not fit to name this process: say another one".to_owned();
        return Err(NodeError::Address { key: "instance_id", value: host, problem });
    }
    Ok(InstanceId(Arc::from(host)))
}

/// The name of this machine, or of its container.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The address of the internal port before it is bound.
pub(crate) async fn cluster_listen(settings: &Settings, listen: SocketAddr) -> Result<SocketAddr, NodeError> {
    match settings.cluster.listen.as_str() {
        "" => Ok(SocketAddr::new(listen.ip(), 0)),
        given => resolve("cluster.listen", given).await,
    }
}

/// The IP address that others reach this process under: the one that settings say, else the one that it listens on, else
/// the one from which packets leave for the seeds.
pub(crate) async fn advertised(settings: &Settings, listen: SocketAddr) -> Result<IpAddr, NodeError> {
    if let Ok(told) = settings.cluster.advertise.parse() {
        return Ok(told);
    }
    if !listen.ip().is_unspecified() {
        return Ok(listen.ip());
    }
    for target in settings.gossip.seeds.iter().map(String::as_str).chain([ELSEWHERE]) {
        if let Some(ip) = route_to(target).await {
            return Ok(ip);
        }
    }
    Err(NodeError::Address {
        key: "cluster.advertise",
        value: String::new(),
        problem: format!(
            "{listen} is all addresses and there is no route to the seeds: say which one to tell others"
        ),
    })
}

/// The address of this machine on the way to another one. The socket only asks the system for a route.
async fn route_to(target: &str) -> Option<IpAddr> {
    for to in lookup_host(target).await.ok()? {
        let any: IpAddr =
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let Ok(socket) = UdpSocket::bind((any, 0)).await else { continue };
        if socket.connect(to).await.is_ok()
            && let Ok(from) = socket.local_addr()
            && !from.ip().is_unspecified()
        {
            return Some(from.ip());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(listen: &str, advertise: &str, seeds: &[&str], expect: &str) {
        let mut settings = Settings::default();
        settings.cluster.advertise = advertise.to_owned();
        settings.gossip.seeds = seeds.iter().map(|seed| (*seed).to_owned()).collect();
        let listen = listen.parse().expect("an address");
        let told = advertised(&settings, listen).await.expect("an address");
        assert_eq!(told.to_string(), expect, "{listen} {advertise} {seeds:?}");
    }

    #[tokio::test]
    async fn others_are_told_an_address_that_they_can_reach() {
        check("127.0.0.1:4040", "", &[], "127.0.0.1").await;
        check("127.0.0.1:4040", "10.1.2.3", &[], "10.1.2.3").await;
        check("0.0.0.0:4040", "", &["no.such.host.invalid:1", "127.0.0.1:7946"], "127.0.0.1").await;
    }

    #[tokio::test]
    async fn the_internal_port_lies_beside_the_public_one() {
        let mut settings = Settings::default();
        let listen: SocketAddr = "127.0.0.3:4040".parse().expect("an address");
        assert_eq!(cluster_listen(&settings, listen).await.expect("one").to_string(), "127.0.0.3:0");
        settings.cluster.listen = "127.0.0.4:9095".to_owned();
        assert_eq!(cluster_listen(&settings, listen).await.expect("one").to_string(), "127.0.0.4:9095");
        let error = resolve("listen", "no.such.host.invalid:1").await.expect_err("nowhere").to_string();
        assert!(error.starts_with("setting 'listen': 'no.such.host.invalid:1' is no address"), "{error}");
    }
}
