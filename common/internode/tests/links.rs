//! Links over real sockets: order, back-pressure, and who is turned away.

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hearth_internode::frame::PROTOCOL;
use hearth_internode::link::{SendError, Side};
use hearth_internode::outbox::QUEUE_BYTES_MAX;
use hearth_internode::{Hello, Link, LinkOptions, LinkSink, LinkState, Metrics};
use hearth_proto::hearth::internal::v1 as pb;
use support::{Nothing, Port, Received, append, free_port, hello, inbox, member, prev, record, soon};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A link that is kept until the guard is dropped.
fn dial(address: &str, local: Hello, peer: &str, sink: Arc<dyn LinkSink>) -> (Link, DropGuard) {
    let options = LinkOptions {
        address: address.to_owned(),
        local,
        peer: member(peer),
        sink,
        tls: None,
        random: Arc::new(|| 7),
        metrics: Metrics::default(),
    };
    let (link, task) = Link::new(options);
    let stop = CancellationToken::new();
    tokio::spawn(task.run(stop.clone()));
    (link, stop.drop_guard())
}

async fn up(received: &mut Received) {
    received.event(|event| event.state == LinkState::Up).await;
}

async fn open(sink: Arc<dyn LinkSink>) -> Port {
    Port::open(hello("b"), Arc::new(Nothing), sink).await
}

#[tokio::test]
async fn many_small_frames_keep_their_order_in_both_directions() {
    const FRAMES: u64 = 10_000;
    let (sink_b, mut at_b) = inbox(true);
    let port = open(sink_b).await;
    let (sink_a, mut at_a) = inbox(false);
    let (link, _kept) = dial(&port.address, hello("a"), "b", sink_a);
    up(&mut at_a).await;
    assert!(link.is_up());
    tokio::spawn(async move {
        for number in 0..FRAMES {
            link.send(append(number, Bytes::from_static(b"record"))).await.expect("the stream is up");
        }
    });
    for number in 0..FRAMES {
        let sent = append(number, Bytes::from_static(b"record"));
        let (from, frame) = soon(at_b.frames.recv()).await.expect("the sink lives");
        assert_eq!((from, &frame), (member("a"), &sent));
        assert_eq!(at_a.frame().await, sent);
    }
    let line = "hearth_internode_link_frames_total{peer=\"a\",direction=\"received\"}";
    assert_eq!(port.metric(line), FRAMES);
    port.close().await;
}

#[tokio::test]
async fn a_slow_reader_stops_its_peer_and_memory_is_bounded() {
    const RECORD_BYTES: usize = 64 << 10;
    let (sink_b, mut at_b) = inbox(false);
    let pace = Arc::clone(&sink_b.pace);
    pace.forget_permits(usize::MAX);
    let port = open(sink_b).await;
    let (sink_a, mut at_a) = inbox(false);
    let (link, _kept) = dial(&port.address, hello("a"), "b", sink_a);
    up(&mut at_a).await;
    // Until nothing moves: the queue is full and stays so.
    let mut sent = 0;
    let mut full = 0;
    while full < 20 {
        match link.try_send(append(sent, Bytes::from(vec![sent as u8; RECORD_BYTES]))) {
            Ok(()) => (sent, full) = (sent + 1, 0),
            Err(SendError::Full) => {
                full += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(SendError::Closed) => panic!("the stream is up"),
        }
    }
    let bytes = sent as usize * RECORD_BYTES;
    assert!(bytes >= QUEUE_BYTES_MAX / 2, "{bytes} bytes were taken");
    // The queue, the windows and buffers of HTTP/2 and of both sockets.
    assert!(bytes <= QUEUE_BYTES_MAX + (24 << 20), "{bytes} bytes were taken");
    assert!(link.queued_bytes() <= QUEUE_BYTES_MAX);
    pace.add_permits(tokio::sync::Semaphore::MAX_PERMITS / 2);
    for number in 0..sent {
        let frame = at_b.frame().await;
        assert_eq!((prev(&frame), record(&frame)[RECORD_BYTES - 1]), (number, number as u8));
    }
    port.close().await;
}

#[tokio::test]
async fn the_longest_entry_passes() {
    let (sink_b, mut at_b) = inbox(false);
    let port = open(sink_b).await;
    let (sink_a, mut at_a) = inbox(false);
    let (link, _kept) = dial(&port.address, hello("a"), "b", sink_a);
    up(&mut at_a).await;
    let mut longest = vec![7; 128 << 20];
    longest[100 << 20] = 9;
    let sent = append(1, Bytes::from(longest));
    link.try_send(sent.clone()).expect("a frame larger than the queue goes alone");
    assert_eq!(link.try_send(append(2, Bytes::new())), Err(SendError::Full));
    soon(link.send(append(3, Bytes::new()))).await.expect("the stream is up");
    assert!(at_b.frame().await == sent);
    assert_eq!(prev(&at_b.frame().await), 3);
    port.close().await;
}

/// Dials with a Hello that the port does not like; both sides know why.
async fn check_stranger(local: Hello, expected: &str, words: &str, reason: &str) {
    let (sink_b, mut at_b) = inbox(false);
    let port = open(sink_b).await;
    let (sink_a, mut at_a) = inbox(false);
    let (link, _kept) = dial(&port.address, local, expected, sink_a);
    let event = at_a.event(|event| !matches!(event.state, LinkState::Unreachable(_))).await;
    assert!(matches!(&event.state, LinkState::Stranger(why) if why.contains(words)), "{event:?}");
    assert!(!link.is_up());
    assert_eq!(link.try_send(append(1, Bytes::new())), Err(SendError::Closed));
    if reason.is_empty() {
        // Only the side that dials knows whom it wants.
        at_b.event(|event| matches!(event.state, LinkState::Down(_))).await;
    } else {
        assert!(port.metric(&format!("hearth_internode_strangers_total{{reason=\"{reason}\"}}")) >= 1);
        assert!(at_b.events.try_recv().is_err());
    }
    assert!(at_b.frames.try_recv().is_err());
    port.close().await;
}

#[tokio::test]
async fn strangers_are_turned_away() {
    let other_cluster = Hello { cluster_id: "prod".to_owned(), ..hello("a") };
    check_stranger(other_cluster, "b", "it is of cluster 'prod', we are of 'test'", "cluster").await;
    let later = Hello { protocol: PROTOCOL + 1, ..hello("a") };
    check_stranger(later, "b", "it speaks version", "protocol").await;
    check_stranger(hello("b"), "b", "this very member", "member").await;
    check_stranger(hello("a"), "another", "'b' with disk", "").await;
}

#[tokio::test]
async fn a_peer_that_dies_is_down_then_refused_then_up_again() {
    let (sink_b, _at_b) = inbox(false);
    let port = open(sink_b).await;
    let (sink_a, mut at_a) = inbox(false);
    let address = port.address.clone();
    let (link, _kept) = dial(&address, hello("a"), "b", sink_a);
    up(&mut at_a).await;
    port.running.abort();
    let down = at_a.event(|event| matches!(event.state, LinkState::Down(_))).await;
    assert_eq!((down.peer, down.side), (member("b"), Side::Dialled(address.clone())));
    assert_eq!(link.try_send(append(1, Bytes::new())), Err(SendError::Closed));
    at_a.event(|event| event.state == LinkState::Refused).await;
    let (sink_b, mut at_b) = inbox(false);
    let listen = address.parse().expect("an address");
    let port = Port::open_at(listen, hello("b"), Arc::new(Nothing), sink_b).await;
    up(&mut at_a).await;
    soon(link.send(append(2, Bytes::new()))).await.expect("the stream is up");
    assert_eq!(prev(&at_b.frame().await), 2);
    port.close().await;
}

/// Hands bytes on in both directions until it is frozen; then it holds both connections and does nothing.
async fn proxy(target: String, freeze: CancellationToken) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut near, _) = listener.accept().await.expect("it listens");
            let mut far = TcpStream::connect(&target).await.expect("it listens");
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                () = freeze.cancelled() => {}
            }
            held.push((near, far));
        }
    });
    address
}

#[tokio::test]
async fn a_connection_that_hangs_is_noticed_on_both_sides() {
    let (sink_b, mut at_b) = inbox(false);
    let port = open(sink_b).await;
    let freeze = CancellationToken::new();
    let address = proxy(port.address.clone(), freeze.clone()).await;
    let (sink_a, mut at_a) = inbox(false);
    let (_link, _kept) = dial(&address, hello("a"), "b", sink_a);
    up(&mut at_a).await;
    up(&mut at_b).await;
    freeze.cancel();
    at_a.event(|event| matches!(event.state, LinkState::Down(_))).await;
    at_b.event(|event| matches!(event.state, LinkState::Down(_))).await;
    port.close().await;
}

#[tokio::test]
async fn nobody_at_the_address_is_refused_each_time() {
    let (sink, mut events) = inbox(false);
    let (_link, _kept) = dial(&free_port().await.to_string(), hello("a"), "b", sink);
    for _ in 0..3 {
        events.event(|event| event.state == LinkState::Refused).await;
    }
}

#[tokio::test]
async fn a_newer_stream_of_a_peer_ends_the_one_before() {
    let (sink_b, mut at_b) = inbox(false);
    let port = open(sink_b).await;
    let (sink_a, mut at_a) = inbox(false);
    let (_first, _kept) = dial(&port.address, hello("a"), "b", sink_a);
    up(&mut at_a).await;
    up(&mut at_b).await;
    let (sink_a2, mut at_a2) = inbox(false);
    let (second, _kept2) = dial(&port.address, hello("a"), "b", sink_a2);
    up(&mut at_a2).await;
    at_a.event(|event| matches!(event.state, LinkState::Down(_))).await;
    assert!(second.is_up());
    drop(_kept);
    port.close().await;
}

#[tokio::test]
async fn the_port_closes_at_once_though_links_are_open() {
    let (sink_b, mut at_b) = inbox(false);
    let port = open(sink_b).await;
    let (sink_a, mut at_a) = inbox(false);
    let (_link, _kept) = dial(&port.address, hello("a"), "b", sink_a);
    up(&mut at_a).await;
    port.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), port.running)
        .await
        .expect("it does not wait")
        .expect("no panic");
    at_b.event(|event| matches!(event.state, LinkState::Down(_))).await;
}

#[tokio::test]
async fn frames_that_are_none_end_the_stream() {
    let (sink_b, mut at_b) = inbox(false);
    let port = open(sink_b).await;
    let endpoint =
        tonic::transport::Endpoint::from_shared(format!("http://{}", port.address)).expect("valid");
    let mut raw = pb::cell_client::CellClient::new(endpoint.connect().await.expect("it listens"));
    let member = pb::Member { instance: "a".to_owned(), disk: Bytes::from_static(&[1; 16]) };
    let said = pb::Hello { cluster_id: "test".to_owned(), protocol: PROTOCOL, member: Some(member) };
    let said = pb::Frame { message: Some(pb::frame::Message::Hello(said)), ..Default::default() };
    let bad =
        pb::Frame { message: Some(pb::frame::Message::TimeoutNow(pb::TimeoutNow {})), ..Default::default() };

    let no_hello = raw.link(futures::stream::iter([bad.clone()])).await.expect_err("refused");
    assert_eq!(no_hello.message(), "malformed message: a name is empty or too long");
    let empty = raw.link(futures::stream::iter([pb::Frame::default()])).await;
    assert!(empty.is_err());
    let mut stream = raw.link(futures::stream::iter([said, bad])).await.expect("a Hello").into_inner();
    assert!(matches!(soon(stream.message()).await, Ok(Some(_))));
    let down = at_b.event(|event| matches!(event.state, LinkState::Down(_))).await;
    assert!(matches!(&down.state, LinkState::Down(why) if why.contains("malformed")), "{down:?}");
    assert!(at_b.frames.try_recv().is_err());
    assert_eq!(port.metric("hearth_internode_strangers_total{reason=\"malformed\"}"), 3);
    port.close().await;
}
