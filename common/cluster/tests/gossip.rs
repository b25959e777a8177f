//! Real gossip on loopback ports.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hearth_cluster::gossip::{
    Announcement, Gossip, GossipError, GossipOptions, PeerState, Peers, Role, Voice,
};
use hearth_cluster::roster::Presence;
use hearth_common::{DiskId, InstanceId, MemberId, SystemClock};
use tokio::net::UdpSocket;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(90);
const V4: &str = "127.0.0.1:0";
const V6: &str = "[::1]:0";

fn instance(name: &str) -> InstanceId {
    InstanceId(Arc::from(name))
}

fn said(name: &str) -> Announcement {
    Announcement {
        role: Role::Ingester,
        instance: instance(name),
        disk: Some(DiskId(1)),
        zone: "a".to_owned(),
        api_addr: ([127, 0, 0, 1], 4040).into(),
        cluster_addr: ([127, 0, 0, 1], 4041).into(),
        state: PeerState::Active,
        roster_version: 0,
    }
}

fn options(cluster_id: &str, listen: &str, seeds: &[SocketAddr]) -> GossipOptions {
    GossipOptions {
        cluster_id: cluster_id.to_owned(),
        listen: listen.parse().unwrap(),
        advertise: None,
        seeds: seeds.iter().map(SocketAddr::to_string).collect(),
        interval: Duration::from_millis(50),
    }
}

async fn start_as(said: Announcement, listen: &str, seeds: &[SocketAddr]) -> Gossip {
    Gossip::start(options("test", listen, seeds), said, Arc::new(SystemClock::default())).await.unwrap()
}

async fn start(name: &str, seeds: &[SocketAddr]) -> Gossip {
    start_as(said(name), V4, seeds).await
}

/// Waits until somebody's snapshot is as wanted.
async fn until(gossip: &Gossip, what: &str, wanted: impl Fn(&Peers) -> bool) -> Arc<Peers> {
    let mut watch = gossip.watch();
    let found = tokio::time::timeout(PATIENCE, watch.wait_for(|peers| wanted(peers))).await;
    let Ok(found) = found else { panic!("{what}: {:?}", gossip.peers()) };
    Arc::clone(&found.unwrap())
}

fn names(peers: &Peers) -> String {
    peers.alive().map(|peer| peer.said.instance.to_string()).collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_meet_talk_and_miss_who_goes() {
    let one = start("i1", &[]).await;
    assert_eq!(names(&one.peers()), "i1", "itself at once");
    let two = start("i2", &[one.addr()]).await;
    let three = start("i3", &[one.addr()]).await;
    for gossip in [&one, &two, &three] {
        until(gossip, "all meet", |peers| names(peers) == "i1 i2 i3").await;
    }
    three.set_state(PeerState::Leaving);
    three.set_roster_version(7);
    let member = MemberId { instance: instance("i3"), disk: DiskId(1) };
    for gossip in [&one, &two, &three] {
        let peers = until(gossip, "news spread", |peers| peers.newest_roster_version() == 7).await;
        assert_eq!(peers.by_member(&member).unwrap().said.state, PeerState::Leaving);
        assert_eq!(hearth_cluster::seen(&peers)[2].presence, Presence::Leaving);
    }
    assert!(one.counts().received > 0 && one.counts().sent > 0);
    three.stop().await;
    for gossip in [&one, &two] {
        let peers = until(gossip, "it is missed", |peers| names(peers) == "i1 i2").await;
        let gone = peers.gone().next().unwrap();
        assert_eq!((&gone.said.instance, gone.said.roster_version), (&instance("i3"), 7));
        assert_eq!(peers.last_seen(&member, Duration::MAX), gone.last_seen);
        assert_eq!(hearth_cluster::seen(&peers)[2].presence, Presence::Gone);
    }
    // It comes back under its name, on another port.
    let three = start("i3", &[two.addr()]).await;
    let peers = until(&one, "it is back", |peers| names(peers) == "i1 i2 i3").await;
    assert_eq!((peers.gone().count(), peers.by_member(&member).unwrap().said.roster_version), (0, 0));
    drop(three);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_is_the_same_one_and_another_disk_is_not() {
    let one = start("i1", &[]).await;
    let two = start("i2", &[one.addr()]).await;
    let before = until(&one, "they meet", |peers| names(peers) == "i1 i2").await;
    let first_life = before.by_instance(&instance("i2")).unwrap().generation;
    two.stop().await;
    let again = start("i2", &[one.addr()]).await;
    let later = |peers: &Peers| peers.by_instance(&instance("i2")).is_some_and(|p| p.generation > first_life);
    let peers = until(&one, "its next life", later).await;
    assert_eq!(names(&peers), "i1 i2");
    again.stop().await;
    let replaced = start_as(Announcement { disk: Some(DiskId(2)), ..said("i2") }, V4, &[one.addr()]).await;
    let disks = |peers: &Peers| {
        peers
            .alive()
            .filter(|p| p.said.instance == instance("i2"))
            .map(|p| p.said.disk.unwrap().0)
            .collect::<Vec<_>>()
    };
    let peers = until(&one, "the old disk is missed", |peers| disks(peers) == [2]).await;
    assert_eq!(peers.gone().map(|gone| gone.said.disk.unwrap().0).collect::<Vec<_>>(), [1]);
    drop(replaced);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_cluster_is_not_seen() {
    let one = start("i1", &[]).await;
    let clock = Arc::new(SystemClock::default());
    let stranger = Gossip::start(options("other", V4, &[one.addr()]), said("x1"), clock).await.unwrap();
    let two = start("i2", &[one.addr(), stranger.addr()]).await;
    until(&one, "friends meet", |peers| names(peers) == "i1 i2").await;
    // The stranger goes on knocking and is answered.
    let heard = one.counts().received;
    let mut wait = tokio::time::interval(Duration::from_millis(20));
    let knocked = async {
        while one.counts().received < heard + 40 || stranger.counts().received < 10 {
            wait.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, knocked).await.unwrap();
    assert_eq!((names(&one.peers()), names(&two.peers())), ("i1 i2".to_owned(), "i1 i2".to_owned()));
    assert_eq!(names(&stranger.peers()), "x1");
    // Both sides count: who is asked, and who is refused.
    assert!(one.counts().other_cluster > 0 && stranger.counts().other_cluster > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn version_6_works_as_well() {
    let one = start_as(said("i1"), V6, &[]).await;
    let two = start_as(said("i2"), V6, &[one.addr()]).await;
    assert!(one.addr().is_ipv6());
    for gossip in [&one, &two] {
        until(gossip, "they meet", |peers| names(peers) == "i1 i2").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeds_may_be_names() {
    let one = start("i1", &[]).await;
    let seed = format!("localhost:{}", one.addr().port());
    let options = GossipOptions { seeds: vec![seed], ..options("test", V4, &[]) };
    let two = Gossip::start(options, said("i2"), Arc::new(SystemClock::default())).await.unwrap();
    for gossip in [&one, &two] {
        until(gossip, "they meet", |peers| names(peers) == "i1 i2").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_counted_and_harmless() {
    let one = start("i1", &[]).await;
    let noise = UdpSocket::bind(V4).await.unwrap();
    // Nothing, noise, and noise behind the header of each kind of message.
    let header = |kind: u8| [&45_139u16.to_le_bytes()[..], &[1, kind], &[0xff; 400]].concat();
    let garbage = [vec![], vec![0], vec![0x5a; 60_000], header(0), header(1), header(2), header(9)];
    for datagram in &garbage {
        noise.send_to(datagram, one.addr()).await.unwrap();
    }
    let mut wait = tokio::time::interval(Duration::from_millis(20));
    let counted = async {
        while one.counts().undecodable < garbage.len() as u64 {
            wait.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.unwrap();
    let two = start("i2", &[one.addr()]).await;
    until(&one, "they meet all the same", |peers| names(peers) == "i1 i2").await;
    until(&two, "they meet all the same", |peers| names(peers) == "i1 i2").await;
    let counts = one.counts();
    assert_eq!((counts.undecodable, counts.other_cluster, counts.restarts), (garbage.len() as u64, 0, 0));
    assert!(counts.received_bytes >= garbage.iter().map(|g| g.len() as u64).sum());
}

#[tokio::test]
async fn a_port_in_use_and_wrong_settings_are_refused() {
    let one = start("i1", &[]).await;
    let clock = || Arc::new(SystemClock::default());
    let again = Gossip::start(options("test", &one.addr().to_string(), &[]), said("i2"), clock()).await;
    assert!(matches!(again, Err(GossipError::Bind { .. })), "{again:?}");
    let nameless = Gossip::start(options("test", V4, &[]), said(""), clock()).await;
    assert!(matches!(nameless, Err(GossipError::Settings(_))), "{nameless:?}");
    let addr = one.addr();
    one.stop().await;
    let freed = Gossip::start(options("test", &addr.to_string(), &[]), said("i2"), clock()).await;
    assert!(freed.is_ok(), "{freed:?}");
}
