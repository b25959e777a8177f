//! What is gossiped: the keys, and from values to an announcement and back. Pure.
//!
//! All values together are well below 1 KB: chitchat stops a node's updates for ever at a value that does not fit into a
//! datagram.

use std::sync::Arc;

use hearth_common::{DiskId, InstanceId};

use super::peers::{Announcement, PeerState, Role};

/// What the process does.
pub(super) const ROLE: &str = "role";
/// The identity of its data folder, 32 hex digits; empty: it has none.
pub(super) const DISK: &str = "disk";
/// Where it runs.
pub(super) const ZONE: &str = "zone";
/// Its public port, `ip:port`.
pub(super) const API_ADDR: &str = "api_addr";
/// Its cluster port, `ip:port`.
pub(super) const CLUSTER_ADDR: &str = "cluster_addr";
/// Whether it works.
pub(super) const STATE: &str = "state";
/// The newest roster that it has persisted, decimal.
pub(super) const ROSTER_VERSION: &str = "roster_version";

/// Longest name of an instance or zone, in bytes.
pub(super) const NAME_MAX_BYTES: usize = 253;

/// Keys with their values.
pub(super) fn values(said: &Announcement) -> Vec<(String, String)> {
    [
        (ROLE, said.role.as_str().to_owned()),
        (DISK, said.disk.map(|disk| disk.to_string()).unwrap_or_default()),
        (ZONE, said.zone.clone()),
        (API_ADDR, said.api_addr.to_string()),
        (CLUSTER_ADDR, said.cluster_addr.to_string()),
        (STATE, said.state.as_str().to_owned()),
        (ROSTER_VERSION, said.roster_version.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}

/// What a node says of itself; `None` if a key is missing or has no value of its kind: such a node is not shown.
pub(super) fn announcement<'a>(node_id: &str, get: impl Fn(&str) -> Option<&'a str>) -> Option<Announcement> {
    if !valid_name(node_id) || node_id.is_empty() {
        return None;
    }
    let disk = match get(DISK)? {
        "" => None,
        text => Some(DiskId::from_hex(text)?),
    };
    Some(Announcement {
        role: Role::parse(get(ROLE)?)?,
        instance: InstanceId(Arc::from(node_id)),
        disk,
        zone: Some(get(ZONE)?).filter(|zone| valid_name(zone))?.to_owned(),
        api_addr: get(API_ADDR)?.parse().ok()?,
        cluster_addr: get(CLUSTER_ADDR)?.parse().ok()?,
        state: PeerState::parse(get(STATE)?)?,
        roster_version: get(ROSTER_VERSION)?.parse().ok()?,
    })
}

/// Names stand in keys and in texts with `/` between parts.
pub(super) fn valid_name(text: &str) -> bool {
    text.len() <= NAME_MAX_BYTES && !text.contains('/') && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn said(zone: &str, disk: Option<u128>, port: u16, roster_version: u64) -> Announcement {
        Announcement {
            role: Role::Ingester,
            instance: InstanceId(Arc::from("ingester-1")),
            disk: disk.map(DiskId),
            zone: zone.to_owned(),
            api_addr: ([10, 0, 0, 1], port).into(),
            cluster_addr: (std::net::Ipv6Addr::LOCALHOST, port).into(),
            state: PeerState::Joining,
            roster_version,
        }
    }

    fn read(node_id: &str, values: &BTreeMap<String, String>) -> Option<Announcement> {
        announcement(node_id, |key| values.get(key).map(String::as_str))
    }

    #[test]
    fn a_node_without_all_keys_is_not_shown() {
        let all: BTreeMap<_, _> = values(&said("a", None, 1, 1)).into_iter().collect();
        for key in all.keys() {
            let mut some = all.clone();
            some.remove(key);
            assert_eq!(read("ingester-1", &some), None, "without {key}");
            // Only these two may be empty.
            some.insert(key.clone(), String::new());
            assert_eq!(read("ingester-1", &some).is_some(), key == DISK || key == ZONE, "empty {key}");
        }
        for name in ["", "a/b", "a\n", &"x".repeat(254)] {
            assert_eq!(read(name, &all), None, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_said_is_heard(
            zone in "[a-z0-9 .-]{0,253}", disk: Option<u128>, port: u16, version: u64,
        ) {
            let said = said(&zone, disk, port, version);
            let values: BTreeMap<_, _> = values(&said).into_iter().collect();
            let bytes: usize = values.iter().map(|(key, value)| key.len() + value.len()).sum();
            prop_assert!(bytes < 1024, "{bytes}");
            prop_assert_eq!(read("ingester-1", &values), Some(said));
        }

        #[test]
        fn any_values_are_read_or_refused(key in "role|disk|zone|api_addr|cluster_addr|state|roster_version", value: String) {
            let mut values: BTreeMap<_, _> = values(&said("a", Some(1), 1, 1)).into_iter().collect();
            values.insert(key, value);
            if let Some(heard) = read("ingester-1", &values) {
                prop_assert!(heard.zone.len() <= NAME_MAX_BYTES);
            }
        }
    }
}
