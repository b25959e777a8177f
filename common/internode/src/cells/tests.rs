//! Orders and leaders over rosters and peers made by hand.

use std::net::SocketAddr;
use std::time::Duration;

use hearth_cluster::gossip::{Announcement, PeerState, Role};
use hearth_cluster::roster::{Cell, CellState, LogId, Member, MemberState, ScheduleEntry};
use hearth_common::{DiskId, MemberId, SystemClock, TimestampNs};

use super::*;
use crate::client::Pool;
use crate::metrics::Metrics;

fn instance(name: &str) -> InstanceId {
    InstanceId(Arc::from(name))
}

fn member(name: &str) -> MemberId {
    MemberId { instance: instance(name), disk: DiskId(1) }
}

fn cell(name: &str) -> CellId {
    CellId(instance(name))
}

fn roster(version: u64, founders: &[&str], wanted: &[&str]) -> Arc<Roster> {
    let ids = |names: &[&str]| names.iter().map(|name| member(name)).collect();
    let cells = vec![Cell {
        id: cell("a"),
        log: LogId(1),
        founders: ids(founders),
        wanted: ids(wanted),
        state: CellState::Open,
    }];
    let members = ["a", "b", "c", "d"].map(|name| Member {
        id: member(name),
        zone: String::new(),
        state: MemberState::Active,
        joined: TimestampNs(0),
    });
    let roster = Roster {
        version,
        nonce: u128::from(version),
        parent: u128::from(version) - 1,
        cluster_id: "test".to_owned(),
        factor: 3,
        members: members.into(),
        cells,
        schedule: vec![ScheduleEntry::new(TimestampNs(0), vec![cell("a")])],
        losses: Vec::new(),
    };
    roster.check().expect("valid");
    Arc::new(roster)
}

fn peers(names: &[&str]) -> Arc<Peers> {
    let said = |name: &&str| Announcement {
        role: Role::Ingester,
        instance: instance(name),
        disk: Some(DiskId(1)),
        zone: String::new(),
        api_addr: SocketAddr::from(([127, 0, 0, 1], 1)),
        cluster_addr: SocketAddr::from(([127, 0, 0, 1], 2)),
        state: PeerState::Active,
        roster_version: 0,
    };
    Peers::fixed(names.iter().map(said))
}

type Sender = watch::Sender<Option<Arc<Roster>>>;

fn cells(first: Option<Arc<Roster>>, alive: &[&str]) -> (Cells, Sender, watch::Receiver<u64>) {
    let (roster_sender, roster) = watch::channel(first);
    let (_, peers) = watch::channel(peers(alive));
    let (hint, hinted) = watch::channel(0);
    let reach = Arc::new(Pool::new(Arc::new(SystemClock::default()), None, Metrics::default()));
    (Cells::new(CellsParts { roster, peers, hint, reach }), roster_sender, hinted)
}

fn check_order(cells: &Cells, expect: &str) {
    let order: Vec<String> = cells.order(&cell("a")).iter().map(ToString::to_string).collect();
    assert_eq!(order.join(" "), expect);
}

#[test]
fn the_leader_then_the_home_then_the_others_and_the_unseen_last() {
    let (cells, roster_sender, _) =
        cells(Some(roster(1, &["a", "b", "c"], &["a", "b", "c"])), &["a", "b", "c", "d"]);
    check_order(&cells, "a b c");
    cells.leads(&cell("a"), &instance("c"));
    check_order(&cells, "c a b");
    cells.leads_not(&cell("a"), &instance("b"));
    check_order(&cells, "c a b");
    cells.leads_not(&cell("a"), &instance("c"));
    check_order(&cells, "a b c");
    roster_sender.send_replace(Some(roster(2, &["a", "b", "c"], &["a", "d", "b"])));
    check_order(&cells, "a d b c");
    assert_eq!(cells.order(&cell("other")), []);
}

#[test]
fn whoever_gossip_does_not_see_is_asked_last() {
    let (cells, ..) = cells(Some(roster(1, &["a", "b", "c"], &["a", "b", "c"])), &["b", "c"]);
    check_order(&cells, "b c a");
    let error = cells.client(&instance("a")).expect_err("no address");
    assert!(error.not_sent() && error.to_string().contains("gossip has not seen it"), "{error}");
}

#[tokio::test]
async fn the_view_follows_the_roster_and_hints_go_to_whoever_follows() {
    let (cells, roster_sender, hinted) = cells(None, &[]);
    assert_eq!(cells.view().expect_err("none"), NoCells::NoRoster);
    let soon = || Instant::now() + Duration::from_millis(5);
    assert!(!cells.reaches(1, soon()).await);
    assert_eq!(*hinted.borrow(), 1);
    roster_sender.send_replace(Some(roster(4, &["a"], &["a"])));
    assert!(cells.reaches(4, soon()).await && cells.reaches(2, soon()).await);
    let view = cells.view().expect("there");
    assert_eq!((view.roster.version, view.homes.version()), (4, 4));
    assert!(Arc::ptr_eq(&view, &cells.view().expect("there")));
    cells.heard(3);
    assert_eq!(*hinted.borrow(), 4);
}
