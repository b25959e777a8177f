//! Processes that find each other on this machine, over a folder as object store.

use std::path::Path;

use hearth_cluster::roster::{Cell, CellState, ScheduleEntry};
use hearth_common::SystemClock;
use hearth_objstore::StoreOptions;

use super::*;

struct One {
    membership: Arc<Membership>,
    endpoints: Endpoints,
    registry: Registry,
    readiness: Readiness,
}

fn options(role: Role, name: &str, seeds: Vec<String>, folder: &Path) -> MembershipOptions {
    MembershipOptions {
        role,
        instance: InstanceId(Arc::from(name)),
        zone: format!("zone-{name}"),
        gossip: GossipOptions {
            cluster_id: "test".to_owned(),
            listen: ([127, 0, 0, 1], 0).into(),
            advertise: None,
            seeds,
            interval: Duration::from_millis(25),
        },
        plan: PlanOptions {
            settle: Duration::from_millis(100),
            settle_without_zones: Duration::from_millis(100),
            ..PlanOptions::new("test", 1, Duration::from_secs(3600))
        },
        folder: (role == Role::Ingester).then(|| folder.to_owned()),
        plan_every: Duration::from_millis(50),
        poll_every: Duration::from_millis(200),
    }
}

fn one(dir: &Path, role: Role, name: &str, disk: Option<u128>, seeds: Vec<String>) -> One {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let folder = dir.join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    let store_options = StoreOptions { clock: Arc::clone(&clock), ..StoreOptions::default() };
    let url = format!("file://{}", dir.join("store").display());
    let readiness = Readiness::default();
    let mut registry = Registry::default();
    let metrics = hearth_internode::Metrics::new(&mut registry);
    let reach: Arc<dyn Reach> = Arc::new(hearth_internode::Pool::new(Arc::clone(&clock), None, metrics));
    let deps = MembershipDeps {
        store: Store::open(&url, store_options).expect("a store"),
        copy: None,
        clock,
        rng: Arc::new(crate::open::random),
        readiness: readiness.clone(),
        pulses: Default::default(),
        reach: Arc::clone(&reach),
        statuses: reach,
    };
    let membership = Membership::open(options(role, name, seeds, &folder), deps).expect("opened");
    let addr = ([127, 0, 0, 1], 9).into();
    let endpoints = Endpoints { disk: disk.map(DiskId), api_addr: addr, cluster_addr: addr };
    One { membership, endpoints, registry, readiness }
}

impl One {
    async fn join(&mut self) -> String {
        self.membership.join(self.endpoints, &mut self.registry).await.expect("joined");
        self.membership
            .joined
            .lock()
            .as_ref()
            .and_then(|joined| joined.gossip.as_ref())
            .expect("joined")
            .addr()
            .to_string()
    }

    async fn roster(&self, is: impl Fn(&Roster) -> bool) -> Arc<Roster> {
        let mut watch = self.membership.roster();
        let wait = watch.wait_for(|roster| roster.as_ref().is_some_and(|roster| is(roster)));
        let found = tokio::time::timeout(Duration::from_secs(30), wait).await.expect("in time");
        found.expect("the membership lives").clone().expect("there is one")
    }

    async fn peers(&self, are: impl Fn(&Peers) -> bool) -> Arc<Peers> {
        let mut watch = self.membership.peers();
        let wait = watch.wait_for(|peers| are(peers));
        let found = tokio::time::timeout(Duration::from_secs(30), wait).await.expect("in time");
        Arc::clone(&found.expect("the membership lives"))
    }

    fn member(&self) -> MemberId {
        self.membership.member().expect("joined, with a disk")
    }
}

fn cell_names(roster: &Roster) -> Vec<String> {
    roster.cells.iter().map(|cell| cell.id.0.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ingesters_begin_a_cluster_and_a_querier_follows() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut a = one(dir.path(), Role::Ingester, "a", Some(1), Vec::new());
    assert_eq!(a.readiness.check(), Err("cluster: no roster is known yet".to_owned()));
    let seed = a.join().await;
    a.roster(|roster| cell_names(roster) == ["a"]).await;
    let mut b = one(dir.path(), Role::Ingester, "b", Some(2), vec![seed.clone()]);
    let mut q = one(dir.path(), Role::Querier, "q", None, vec![seed]);
    b.join().await;
    q.join().await;
    let grown = |roster: &Roster| cell_names(roster) == ["a", "b"] && roster.schedule.len() == 2;
    for each in [&a, &b, &q] {
        let roster = each.roster(grown).await;
        let zones: Vec<&str> = roster.members.iter().map(|member| member.zone.as_str()).collect();
        assert_eq!((roster.factor, &zones[..]), (1, &["zone-a", "zone-b"][..]));
        let active = |peers: &Peers| {
            peers.alive().filter(|peer| peer.said.state == PeerState::Active).count() == 3
                && peers.alive().all(|peer| peer.said.roster_version == roster.version)
        };
        each.peers(active).await;
        assert_eq!(each.readiness.check(), Ok(()));
    }
    let roster = b.roster(grown).await;
    let kept = keeps(&roster, &b.member());
    assert_eq!(kept.len(), 1);
    assert_eq!(
        (&*kept[0].cell.0.0, &kept[0].founders, &kept[0].wanted),
        ("b", &Some(vec![b.member()]), &vec![b.member()])
    );
    assert!(dir.path().join("b/roster").exists() && !dir.path().join("q/roster").exists());

    b.membership.stop().await;
    a.peers(|peers| peers.gone().any(|gone| &*gone.said.instance.0 == "b")).await;
    // Its copy is there before it speaks with anybody.
    let again = one(dir.path(), Role::Ingester, "b", Some(2), Vec::new());
    assert_eq!(again.membership.roster().borrow().as_ref().map(|known| known.version), Some(roster.version));
    for each in [&a, &q] {
        each.membership.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_leaves_says_so_and_gets_no_new_records() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut a = one(dir.path(), Role::Ingester, "a", Some(1), Vec::new());
    let seed = a.join().await;
    a.roster(|_| true).await;
    let mut b = one(dir.path(), Role::Ingester, "b", Some(2), vec![seed]);
    b.join().await;
    a.roster(|roster| cell_names(roster) == ["a", "b"]).await;
    b.membership.leave().expect("kept");
    let leaving = |roster: &Roster| {
        roster.member(&b.member()).is_some_and(|member| member.state == MemberState::Leaving)
            && roster.cells.iter().any(|cell| cell.state == CellState::Lingering)
    };
    let roster = a.roster(leaving).await;
    assert_eq!(keeps(&roster, &b.member()).len(), 1, "it keeps what it has until all is published");
    a.membership.stop().await;
    b.membership.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_does_not_take_back_the_wish_to_leave_and_a_new_disk_does() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut a = one(dir.path(), Role::Ingester, "a", Some(1), Vec::new());
    let seed = a.join().await;
    let mut b = one(dir.path(), Role::Ingester, "b", Some(2), vec![seed.clone()]);
    b.join().await;
    a.roster(|roster| cell_names(roster) == ["a", "b"]).await;
    b.membership.leave().expect("kept");
    // At once: neither the others nor the roster need have heard of the wish.
    b.membership.stop().await;
    let state_of = |peers: &Peers, disk: u128| {
        let said = peers.alive().map(|peer| &peer.said);
        said.filter(|said| &*said.instance.0 == "b" && said.disk == Some(DiskId(disk)))
            .map(|said| said.state)
            .last()
    };
    let mut again = one(dir.path(), Role::Ingester, "b", Some(2), vec![seed.clone()]);
    again.join().await;
    let member = again.member();
    a.roster(|roster| roster.member(&member).is_some_and(|b| b.state == MemberState::Leaving)).await;
    a.peers(|peers| state_of(peers, 2) == Some(PeerState::Leaving)).await;
    again.membership.stop().await;
    let mut other = one(dir.path(), Role::Ingester, "b", Some(3), vec![seed]);
    other.join().await;
    a.peers(|peers| state_of(peers, 3).is_some_and(|state| state != PeerState::Leaving)).await;
    assert!(!*other.membership.leaving.borrow(), "another disk was never asked to leave");
    a.membership.stop().await;
    other.membership.stop().await;
}

#[test]
fn members_of_a_cell_are_found_also_when_gossip_has_lost_them() {
    let said = |name: &str, disk: u128, port: u16| Announcement {
        role: Role::Ingester,
        instance: InstanceId(Arc::from(name)),
        disk: Some(DiskId(disk)),
        zone: String::new(),
        api_addr: ([127, 0, 0, 1], 1).into(),
        cluster_addr: ([127, 0, 0, 1], port).into(),
        state: PeerState::Active,
        roster_version: 0,
    };
    let peers = Peers::fixed([said("a", 1, 10), said("b", 2, 20), said("b", 9, 99), said("d", 4, 40)]);
    let id = |name: &str, disk| MemberId { instance: InstanceId(Arc::from(name)), disk: DiskId(disk) };
    let members = [("a", 1), ("b", 2), ("c", 3)].map(|(name, disk)| id(name, disk)).to_vec();
    let cell = Cell {
        id: hearth_common::CellId(InstanceId(Arc::from("a"))),
        log: LogId(5),
        founders: members[..2].to_vec(),
        wanted: members.clone(),
        state: CellState::Open,
    };
    let roster = Roster {
        version: 1,
        nonce: 1,
        parent: 0,
        cluster_id: "c".to_owned(),
        factor: 3,
        members: Vec::new(),
        cells: vec![cell],
        schedule: Vec::new(),
        losses: Vec::new(),
    };
    let found = neighbours(&roster, &peers, &members[0], &[]);
    // c was never seen; b with another disk is another member; d keeps nothing of it.
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [(id("b", 2), "127.0.0.1:20".to_owned())]);
    assert_eq!(keeps(&roster, &id("b", 2))[0].founders.as_deref(), Some(&members[..2]));
    assert_eq!(keeps(&roster, &id("c", 3))[0].founders, None, "it learns from the leader");
    assert!(keeps(&roster, &id("d", 4)).is_empty());

    // Two of three are heard of, which is enough.
    assert_eq!(unheard(&roster, &peers), 0);
    assert_eq!(unheard(&roster, &Peers::fixed([said("a", 1, 10), said("b", 9, 99)])), 1);

    let with = |state, placed: bool| {
        let cells = vec![Cell { state, ..roster.cells[0].clone() }];
        let on = if placed { vec![cells[0].id.clone()] } else { Vec::new() };
        Roster { cells, schedule: vec![ScheduleEntry::new(TimestampNs(0), on)], ..roster.clone() }
    };
    for (state, placed) in [(CellState::Open, true), (CellState::Open, false), (CellState::Lingering, true)] {
        assert!(!publishes_last(&with(state, placed), &members[0]), "{state:?} {placed}");
    }
    assert!(publishes_last(&with(CellState::Lingering, false), &members[0]));
    assert!(!publishes_last(&with(CellState::Lingering, false), &id("d", 4)), "it keeps nothing of it");
}
