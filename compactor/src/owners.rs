//! Which compactor works on which day of which tenant, so that several divide the work.
//!
//! Only economy: the root decides what becomes true, whoever worked on it.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use hearth_cluster::gossip::{PeerState, Peers, Role};
use hearth_common::{InstanceId, TenantId};
use hearth_ring::{Ring, token_of_text};
use parking_lot::Mutex;
use tokio::sync::watch;

/// Divides days of tenants among compactors.
pub trait Owners: Debug + Send + Sync {
    /// Whether this process merges the blocks of a day.
    fn owns(&self, tenant: &TenantId, day: i32) -> bool;
}

/// There is no other compactor.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Owners for Alone {
    fn owns(&self, _tenant: &TenantId, _day: i32) -> bool {
        true
    }
}

/// The compactors that gossip sees, on a ring.
#[derive(Debug)]
pub struct Shared {
    me: InstanceId,
    heard: watch::Receiver<Arc<Peers>>,
    ring: Mutex<Option<(Arc<Peers>, Arc<Ring>)>>,
}

impl Shared {
    /// `heard`: everybody that gossip sees.
    pub fn new(me: InstanceId, heard: watch::Receiver<Arc<Peers>>) -> Self {
        Self { me, heard, ring: Mutex::default() }
    }

    /// Built anew only when somebody came or went.
    fn ring(&self) -> Arc<Ring> {
        let heard = Arc::clone(&self.heard.borrow());
        let mut known = self.ring.lock();
        if let Some((of, ring)) = known.as_ref()
            && Arc::ptr_eq(of, &heard)
        {
            return Arc::clone(ring);
        }
        let others = heard.alive().map(|peer| &peer.said);
        let others = others.filter(|said| said.role == Role::Compactor && said.state != PeerState::Leaving);
        // This process counts even before it has heard itself.
        let members: BTreeSet<InstanceId> =
            others.map(|said| said.instance.clone()).chain([self.me.clone()]).collect();
        let ring = match known.take() {
            Some((_, ring)) if ring.members().iter().eq(&members) => ring,
            _ => Arc::new(Ring::new(&members.into_iter().collect::<Vec<_>>())),
        };
        *known = Some((heard, Arc::clone(&ring)));
        ring
    }
}

impl Owners for Shared {
    fn owns(&self, tenant: &TenantId, day: i32) -> bool {
        self.ring().owner(token_of_text(&format!("{tenant}/{day}"))) == Some(&self.me)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use hearth_cluster::gossip::Announcement;

    use super::*;

    fn said(name: &str, role: Role, state: PeerState) -> Announcement {
        let address = SocketAddr::from(([127, 0, 0, 1], 4040));
        Announcement {
            role,
            instance: InstanceId(Arc::from(name)),
            disk: None,
            zone: String::new(),
            api_addr: address,
            cluster_addr: address,
            state,
            roster_version: 0,
        }
    }

    #[test]
    fn each_day_of_a_tenant_has_one_owner_among_those_that_work() {
        use PeerState::{Active, Leaving};
        let all = [
            said("compactor-0", Role::Compactor, Active),
            said("compactor-1", Role::Compactor, Active),
            said("compactor-2", Role::Compactor, Leaving),
            said("q-0", Role::Querier, Active),
        ];
        let (tell, heard) = watch::channel(Peers::fixed(all.clone()));
        let owners: Vec<Shared> =
            (0..2).map(|n| Shared::new(InstanceId(format!("compactor-{n}").into()), heard.clone())).collect();
        let tenants = ["a", "b", "c"].map(|name| TenantId::parse(name).expect("valid"));
        let owned = |owner: &Shared| {
            tenants
                .iter()
                .map(|tenant| (0..100).filter(|day| owner.owns(tenant, *day)).count())
                .sum::<usize>()
        };
        let shares: Vec<usize> = owners.iter().map(owned).collect();
        assert_eq!(shares.iter().sum::<usize>(), 300, "none is left out, none has two owners");
        assert!(shares.iter().all(|share| *share > 90), "{shares:?}");
        // One goes: the other has all.
        tell.send_replace(Peers::fixed(all[1..].to_vec()));
        assert_eq!(owned(&owners[1]), 300);
    }
}
