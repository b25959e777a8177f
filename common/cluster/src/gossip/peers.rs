//! Who is in the cluster, as values. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hearth_common::{DiskId, InstanceId, MemberId};

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Takes pushes.
    Distributor,
    /// Keeps logs.
    Ingester,
    /// Answers questions.
    Querier,
    /// Merges and collects.
    Compactor,
    /// All of them.
    Standalone,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] =
        [Self::Distributor, Self::Ingester, Self::Querier, Self::Compactor, Self::Standalone];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Distributor => "distributor",
            Self::Ingester => "ingester",
            Self::Querier => "querier",
            Self::Compactor => "compactor",
            Self::Standalone => "standalone",
        }
    }

    /// From its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// What a process says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerState {
    /// It runs and is not ready yet.
    Joining,
    /// It works.
    Active,
    /// It was asked to leave the cluster for good. A restart is none.
    Leaving,
}

impl PeerState {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Active => "active",
            Self::Leaving => "leaving",
        }
    }

    /// From its name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Joining, Self::Active, Self::Leaving].into_iter().find(|state| state.as_str() == text)
    }
}

/// What a process tells the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// What it does.
    pub role: Role,
    /// Its configured name, unique in the cluster.
    pub instance: InstanceId,
    /// The identity of its data folder, if it has one.
    pub disk: Option<DiskId>,
    /// Where it runs: machines of one zone may fail together. May be empty.
    pub zone: String,
    /// Where clients and other roles reach its public port.
    pub api_addr: SocketAddr,
    /// Where other roles reach its cluster port.
    pub cluster_addr: SocketAddr,
    /// Whether it works.
    pub state: PeerState,
    /// The newest version of the roster that it has persisted; 0 for none.
    pub roster_version: u64,
}

/// A process that is probably alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What it says of itself.
    pub said: Announcement,
    /// When it was started, in ns by its own clock: a greater one is a later life.
    pub generation: u64,
    /// Since when it is taken to be alive without a gap, by this process' monotonic clock.
    pub since: Duration,
}

impl Peer {
    /// Its identity as a keeper of logs, if it has a disk.
    pub fn member(&self) -> Option<MemberId> {
        Some(MemberId { instance: self.said.instance.clone(), disk: self.said.disk? })
    }
}

/// A process that was seen in this life of ours and is not alive now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// What it said last.
    pub said: Announcement,
    /// Until when it was taken to be alive, by this process' monotonic clock.
    pub last_seen: Duration,
}

/// A name with a disk. The same name with another disk is another keeper of logs, so the two are told apart.
type Key = (InstanceId, Option<DiskId>);

/// Everybody at one moment, this process included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peers {
    alive: BTreeMap<Key, Peer>,
    gone: BTreeMap<Key, Gone>,
    watching_since: Duration,
}

/// Most processes that are remembered after they went.
const GONE_MAX: usize = 10_000;

impl Peers {
    /// A cluster that does not change, for one process with all roles: nobody ever goes.
    pub fn fixed(announcements: impl IntoIterator<Item = Announcement>) -> Arc<Self> {
        let found = announcements.into_iter().map(|said| (0, said)).collect();
        Arc::new(Self::default().next(found, Duration::ZERO).0)
    }

    /// Nobody yet.
    pub fn begin(now: Duration) -> Self {
        Self { watching_since: now, ..Self::default() }
    }

    /// All that are alive, sorted by instance. Right after an instance came back with another disk, or when two processes
    /// have one name, there are two of it.
    pub fn alive(&self) -> impl Iterator<Item = &Peer> {
        self.alive.values()
    }

    /// All that went, sorted by instance.
    pub fn gone(&self) -> impl Iterator<Item = &Gone> {
        self.gone.values()
    }

    /// Those alive of a role, those with all roles included, sorted by instance.
    pub fn role(&self, role: Role) -> impl Iterator<Item = &Peer> {
        self.alive().filter(move |peer| peer.said.role == role || peer.said.role == Role::Standalone)
    }

    /// The process of a name, if it is alive; of several lives the latest.
    pub fn by_instance(&self, instance: &InstanceId) -> Option<&Peer> {
        let first = (instance.clone(), None);
        let lives = self.alive.range(first..).take_while(|((name, _), _)| name == instance);
        lives.map(|(_, peer)| peer).max_by_key(|peer| peer.generation)
    }

    /// The process of a name with this disk, if it is alive.
    pub fn by_member(&self, member: &MemberId) -> Option<&Peer> {
        self.alive.get(&(member.instance.clone(), Some(member.disk)))
    }

    /// When a member was last taken to be alive, by this process' monotonic clock: `now` if it is, and the moment when
    /// this process began to watch if it was never seen.
    pub fn last_seen(&self, member: &MemberId, now: Duration) -> Duration {
        let key = (member.instance.clone(), Some(member.disk));
        match (self.alive.get(&key), self.gone.get(&key)) {
            (Some(_), _) => now,
            (None, Some(gone)) => gone.last_seen,
            (None, None) => self.watching_since,
        }
    }

    /// Since when this process watches, by its monotonic clock.
    pub fn watching_since(&self) -> Duration {
        self.watching_since
    }

    /// The newest roster that anybody alive says to have: a hint to look at the store.
    pub fn newest_roster_version(&self) -> u64 {
        self.alive().map(|peer| peer.said.roster_version).max().unwrap_or(0)
    }

    /// The next snapshot, when exactly these are alive (generation, announcement). Of one key the latest life counts. The
    /// differences are for the log.
    pub fn next(&self, found: Vec<(u64, Announcement)>, now: Duration) -> (Self, Differences) {
        let mut alive: BTreeMap<Key, Peer> = BTreeMap::new();
        for (generation, said) in found {
            let key = (said.instance.clone(), said.disk);
            if alive.get(&key).is_some_and(|held| held.generation >= generation) {
                continue;
            }
            let since = self.alive.get(&key).map_or(now, |before| before.since);
            alive.insert(key, Peer { said, generation, since });
        }
        let went: Vec<Gone> = (self.alive.iter())
            .filter(|(key, _)| !alive.contains_key(key))
            .map(|(_, peer)| Gone { said: peer.said.clone(), last_seen: now })
            .collect();
        let came: Vec<Announcement> = (alive.iter())
            .filter(|(key, _)| !self.alive.contains_key(key))
            .map(|(_, peer)| peer.said.clone())
            .collect();
        let mut gone = self.gone.clone();
        gone.extend(went.iter().map(|one| ((one.said.instance.clone(), one.said.disk), one.clone())));
        gone.retain(|key, _| !alive.contains_key(key));
        while gone.len() > GONE_MAX {
            let oldest = gone.iter().min_by_key(|(_, gone)| gone.last_seen).map(|(key, _)| key.clone());
            oldest.map(|key| gone.remove(&key));
        }
        (Self { alive, gone, watching_since: self.watching_since }, Differences { came, went })
    }
}

/// Who came and who went between two snapshots.
#[derive(Debug, Default)]
pub struct Differences {
    /// What those said last that came.
    pub came: Vec<Announcement>,
    /// Those that went.
    pub went: Vec<Gone>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, disk: u128) -> Announcement {
        let addr = SocketAddr::from(([127, 0, 0, 1], 4040));
        Announcement {
            role: Role::Ingester,
            instance: InstanceId(Arc::from(name)),
            disk: Some(DiskId(disk)),
            zone: "a".to_owned(),
            api_addr: addr,
            cluster_addr: addr,
            state: PeerState::Active,
            roster_version: 0,
        }
    }

    fn member(name: &str, disk: u128) -> MemberId {
        MemberId { instance: InstanceId(Arc::from(name)), disk: DiskId(disk) }
    }

    fn s(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn names_are_read_back() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
        }
        for state in [PeerState::Joining, PeerState::Active, PeerState::Leaving] {
            assert_eq!(PeerState::parse(state.as_str()), Some(state));
        }
        assert_eq!((Role::parse(""), PeerState::parse("Active")), (None, None));
    }

    #[test]
    fn last_seen_follows_comings_and_goings() {
        let (one, differences) = Peers::begin(s(5)).next(vec![(1, said("i1", 1)), (1, said("i2", 2))], s(10));
        assert_eq!((differences.came.len(), differences.went.len()), (2, 0));
        assert_eq!(one.last_seen(&member("i1", 1), s(11)), s(11));
        assert_eq!(one.last_seen(&member("i3", 3), s(11)), s(5), "never seen: since we watch");
        let (two, differences) = one.next(vec![(1, said("i1", 1))], s(20));
        assert_eq!((differences.came.len(), differences.went.len()), (0, 1));
        assert_eq!(two.last_seen(&member("i2", 2), s(99)), s(20));
        assert_eq!(two.by_instance(&InstanceId(Arc::from("i1"))).expect("alive").since, s(10));
        let (three, _) = two.next(vec![(1, said("i1", 1)), (9, said("i2", 2))], s(30));
        assert_eq!(three.last_seen(&member("i2", 2), s(31)), s(31));
        assert_eq!(three.gone().count(), 0);
    }

    #[test]
    fn the_latest_life_of_a_name_counts() {
        for order in [[1, 2], [2, 1]] {
            let found = order.map(|generation| (generation, said("i1", 1))).to_vec();
            let (peers, _) = Peers::begin(s(0)).next(found, s(2));
            assert_eq!(peers.alive().map(|p| p.generation).collect::<Vec<_>>(), [2]);
        }
    }

    #[test]
    fn another_disk_is_another_one() {
        let before = Peers::begin(s(0)).next(vec![(1, said("i1", 1))], s(1)).0;
        let (both, differences) = before.next(vec![(1, said("i1", 1)), (2, said("i1", 7))], s(2));
        assert_eq!((both.alive().count(), differences.came.len(), differences.went.len()), (2, 1, 0));
        assert_eq!(both.by_instance(&member("i1", 0).instance).expect("alive").generation, 2);
        let (after, _) = both.next(vec![(2, said("i1", 7))], s(3));
        assert!(after.by_member(&member("i1", 1)).is_none() && after.by_member(&member("i1", 7)).is_some());
        assert_eq!(after.last_seen(&member("i1", 1), s(9)), s(3));
    }

    #[test]
    fn one_process_has_all_roles() {
        let all = Peers::fixed([Announcement { role: Role::Standalone, ..said("i1", 1) }]);
        assert!(Role::ALL.into_iter().all(|role| all.role(role).count() == 1));
        assert_eq!(all.last_seen(&member("i1", 1), s(99)), s(99));
    }
}
