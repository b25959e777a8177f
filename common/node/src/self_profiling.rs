//! Whether the process profiles itself, and where its profiles go.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use hearth_cluster::gossip::Role;
use hearth_common::{Clock, InstanceId};
use hearth_settings::Settings;
use hearth_telemetry::profiling::{self, PushOptions, SelfProfiling};

use crate::error::NodeError;
use crate::program::service_name;

/// Refuses what cannot work, and tells the allocator what is wanted of it.
pub(crate) async fn prepare(role: Role, settings: &Settings) -> Result<(), NodeError> {
    let own = &settings.self_profiling;
    if own.push && own.url.is_empty() && role != Role::Standalone {
        return Err(NodeError::SelfProfilingUrl);
    }
    if settings.profiling.heap || (own.push && own.heap) {
        let kept = tokio::task::spawn_blocking(profiling::keep_heap_profile).await;
        match kept {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "going on without profiles of the heap"),
            Err(error) => tracing::warn!(%error, "going on without profiles of the heap"),
        }
    }
    Ok(())
}

/// Begins, once the port is bound: it may be where profiles go.
pub(crate) fn start(
    this: SelfProfiling,
    (role, instance): (Role, &InstanceId),
    settings: &Settings,
    bound: SocketAddr,
    clock: Arc<dyn Clock>,
) {
    let own = &settings.self_profiling;
    if !own.push {
        return;
    }
    let options = PushOptions {
        url: if own.url.is_empty() { itself(bound) } else { own.url.clone() },
        tenant: own.tenant.clone(),
        interval: own.interval.0,
        cpu: own.cpu,
        heap: own.heap,
        service: service_name(role),
        instance: instance.0.to_string(),
    };
    tokio::spawn(this.run(options, clock));
}

/// The address of the own port, from here.
fn itself(bound: SocketAddr) -> String {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, bound.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_port_is_reached_from_here() {
        for (bound, expect) in [
            ("0.0.0.0:4040", "http://127.0.0.1:4040"),
            ("[::]:1", "http://[::1]:1"),
            ("10.0.0.1:2", "http://10.0.0.1:2"),
        ] {
            assert_eq!(itself(bound.parse().expect("an address")), expect);
        }
    }
}
