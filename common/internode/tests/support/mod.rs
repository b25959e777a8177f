//! A port with fakes behind it.

#![allow(dead_code, reason = "each file of tests uses its part")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hearth_cell::{AppendHead, Body, Entry, Life, Message, Probe, Term};
use hearth_cluster::PushError;
use hearth_common::{CellId, DiskId, InstanceId, LogId, MemberId, Position, Rid};
use hearth_internode::api::{ControlError, MemberStatus};
use hearth_internode::frame::PROTOCOL;
use hearth_internode::{
    Fetch, Fetched, Frame, Hello, IngesterApi, InternalServer, LinkEvent, LinkSink, Metrics, Outbox, Push,
    Pushed, ServerOptions, Tls,
};
use hearth_query::fetch::FetchError;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("this takes no minute")
}

pub(crate) fn member(name: &str) -> MemberId {
    MemberId { instance: InstanceId(Arc::from(name)), disk: DiskId(name.len() as u128) }
}

pub(crate) fn cell(name: &str) -> CellId {
    CellId(InstanceId(Arc::from(name)))
}

pub(crate) fn hello(name: &str) -> Hello {
    Hello { cluster_id: "test".to_owned(), protocol: PROTOCOL, member: member(name) }
}

/// An append with one record.
pub(crate) fn append(prev: u64, bytes: Bytes) -> Frame {
    let head = AppendHead {
        term: Term(3),
        prev: Position(prev),
        prev_term: Term(2),
        commit: Position(prev),
        released: Position(0),
        probe: Probe(1),
        life: Life(1),
    };
    let entry = Entry { term: Term(3), body: Body::Record { rid: Rid(u128::from(prev)), bytes } };
    let message = Message::Append { head, entries: vec![entry] };
    Frame { cell: cell("a"), log: LogId(5), roster_version: 1, message }
}

/// The position before an append's first entry.
pub(crate) fn prev(frame: &Frame) -> u64 {
    match &frame.message {
        Message::Append { head, .. } => head.prev.0,
        other => panic!("an append was sent, not {other:?}"),
    }
}

/// The record of an append.
pub(crate) fn record(frame: &Frame) -> Bytes {
    match &frame.message {
        Message::Append { entries, .. } => match &entries[0].body {
            Body::Record { bytes, .. } => bytes.clone(),
            other => panic!("a record was sent, not {other:?}"),
        },
        other => panic!("an append was sent, not {other:?}"),
    }
}

/// An ingester that has nothing.
#[derive(Debug)]
pub(crate) struct Nothing;

#[async_trait]
impl IngesterApi for Nothing {
    async fn push(&self, _push: Push) -> Result<Pushed, PushError> {
        Err(PushError::Unavailable("nothing here".to_owned()))
    }

    async fn fetch(&self, _fetch: Fetch) -> Result<Fetched, FetchError> {
        Err(FetchError::Unavailable("nothing here".to_owned()))
    }

    async fn status(&self) -> Result<MemberStatus, ControlError> {
        Ok(MemberStatus {
            cluster_id: "test".to_owned(),
            member: member("b"),
            roster_version: 4,
            state: "active".to_owned(),
            cells: Vec::new(),
            volumes: Vec::new(),
            wall_ns: 0,
        })
    }

    async fn flush(&self) -> Result<(), ControlError> {
        Ok(())
    }

    async fn leave(&self) -> Result<(), ControlError> {
        Ok(())
    }
}

/// Keeps what comes over links.
#[derive(Debug)]
pub(crate) struct Inbox {
    frames: mpsc::UnboundedSender<(MemberId, Frame)>,
    events: mpsc::UnboundedSender<LinkEvent>,
    /// A frame is taken when there is a permit.
    pub(crate) pace: Arc<Semaphore>,
    /// Whether each frame is sent back.
    echo: bool,
}

pub(crate) struct Received {
    pub(crate) frames: mpsc::UnboundedReceiver<(MemberId, Frame)>,
    pub(crate) events: mpsc::UnboundedReceiver<LinkEvent>,
}

impl Received {
    pub(crate) async fn frame(&mut self) -> Frame {
        soon(self.frames.recv()).await.expect("the sink lives").1
    }

    /// Waits for an event; what comes before is passed over.
    pub(crate) async fn event(&mut self, is: impl Fn(&LinkEvent) -> bool) -> LinkEvent {
        soon(async {
            loop {
                let event = self.events.recv().await.expect("the sink lives");
                if is(&event) {
                    return event;
                }
            }
        })
        .await
    }
}

pub(crate) fn inbox(echo: bool) -> (Arc<Inbox>, Received) {
    let (frames, received) = mpsc::unbounded_channel();
    let (events, seen) = mpsc::unbounded_channel();
    let pace = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
    (Arc::new(Inbox { frames, events, pace, echo }), Received { frames: received, events: seen })
}

#[async_trait]
impl LinkSink for Inbox {
    async fn frame(&self, from: &MemberId, frame: Frame, back: &Outbox) {
        self.pace.acquire().await.expect("never closed").forget();
        if self.echo {
            back.send(frame.clone()).await.expect("the stream is up");
        }
        // The test may be over.
        let _ = self.frames.send((from.clone(), frame));
    }

    fn link(&self, event: LinkEvent) {
        let _ = self.events.send(event);
    }
}

/// A running port.
pub(crate) struct Port {
    pub(crate) address: String,
    pub(crate) stop: CancellationToken,
    pub(crate) running: JoinHandle<()>,
    registry: Registry,
}

impl Port {
    pub(crate) async fn open(local: Hello, ingester: Arc<dyn IngesterApi>, sink: Arc<dyn LinkSink>) -> Self {
        Self::open_at(SocketAddr::from(([127, 0, 0, 1], 0)), local, ingester, sink).await
    }

    #[allow(dead_code, reason = "not each test binary asks for certificates")]
    pub(crate) async fn open_tls(tls: Tls, ingester: Arc<dyn IngesterApi>, sink: Arc<dyn LinkSink>) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::open_with(listen, hello("b"), Some(tls), ingester, sink).await
    }

    pub(crate) async fn open_at(
        listen: SocketAddr,
        local: Hello,
        ingester: Arc<dyn IngesterApi>,
        sink: Arc<dyn LinkSink>,
    ) -> Self {
        Self::open_with(listen, local, None, ingester, sink).await
    }

    async fn open_with(
        listen: SocketAddr,
        local: Hello,
        tls: Option<Tls>,
        ingester: Arc<dyn IngesterApi>,
        sink: Arc<dyn LinkSink>,
    ) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let options = ServerOptions { listen, local, tls, metrics };
        let server = InternalServer::bind(options, ingester, sink).await.expect("the port is free");
        let address = server.local_addr().expect("bound").to_string();
        let stop = CancellationToken::new();
        let running = tokio::spawn(server.run(stop.clone().cancelled_owned()));
        Self { address, stop, running, registry }
    }

    /// The value of a metric, by its line in the exposition.
    pub(crate) fn metric(&self, line: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("memory");
        let value =
            text.lines().find_map(|l| l.strip_prefix(line)).unwrap_or_else(|| panic!("{line} in {text}"));
        value.trim().parse().expect("a number")
    }

    pub(crate) async fn close(self) {
        self.stop.cancel();
        soon(self.running).await.expect("no panic");
    }
}

/// A port where nobody listens.
pub(crate) async fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("bound")
}
