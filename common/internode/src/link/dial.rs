//! The side of a link that connects: says Hello, sends from a bounded queue, hands what comes back to the sink, and
//! connects anew with growing, jittered pauses.

use std::sync::Arc;
use std::time::Duration;

use hearth_common::MemberId;
use hearth_proto::hearth::internal::v1 as pb;
use parking_lot::RwLock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Streaming};

use super::{Incoming, LinkEvent, LinkSink, LinkState, Side, acquainted, hello, outgoing};
use crate::connect;
use crate::error::CallError;
use crate::frame::{Frame, Hello};
use crate::limits::{BACKOFF_MAX, BACKOFF_MIN, HELLO_TIMEOUT, LINK_MESSAGE_BYTES_MAX, STEADY};
use crate::metrics::{LinkMetrics, Metrics, Stranger};
use crate::outbox::{Outbox, QUEUE_BYTES_MAX, SendError};
use crate::status::call_error;
use crate::strangers::Strangers;
use crate::tls::Tls;

/// Random numbers, passed in.
pub type Random = Arc<dyn Fn() -> u128 + Send + Sync>;

/// What a link is made of.
#[derive(Clone)]
pub struct LinkOptions {
    /// `host:port` of the peer's internal port.
    pub address: String,
    /// Who we are.
    pub local: Hello,
    /// Who is expected there: another member that answers is refused.
    pub peer: MemberId,
    /// Takes what comes back.
    pub sink: Arc<dyn LinkSink>,
    /// With it, both sides show certificates.
    pub tls: Option<Tls>,
    /// For the pauses between tries.
    pub random: Random,
    /// Where things are counted.
    pub metrics: Metrics,
}

impl std::fmt::Debug for LinkOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkOptions")
            .field("address", &self.address)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Sends frames to a peer while there is a stream. Cheap to clone; its [`LinkTask`] keeps the stream.
#[derive(Debug, Clone)]
pub struct Link {
    /// Of the stream that is up. Each stream has its own: what waits for one that broke is lost, never sent late.
    current: Arc<RwLock<Option<Outbox>>>,
    metrics: LinkMetrics,
}

impl Link {
    /// A link and the task that keeps it up.
    pub fn new(options: LinkOptions) -> (Self, LinkTask) {
        let metrics = options.metrics.link(&options.peer.instance.0);
        let link = Self { current: Arc::default(), metrics };
        let strangers = Strangers::new(options.metrics.clone());
        (link.clone(), LinkTask { options, link, strangers })
    }

    /// Whether both sides said Hello on the present stream.
    pub fn is_up(&self) -> bool {
        self.current.read().is_some()
    }

    /// Queues a frame, or refuses at once.
    pub fn try_send(&self, frame: Frame) -> Result<(), SendError> {
        let sent = match &*self.current.read() {
            Some(outbox) => outbox.try_send(frame),
            None => Err(SendError::Closed),
        };
        if sent.is_err() {
            self.metrics.dropped.inc();
        }
        sent
    }

    /// Queues a frame; waits while the queue is full, not for a stream.
    pub async fn send(&self, frame: Frame) -> Result<(), SendError> {
        let outbox = self.current.read().clone();
        let sent = match outbox {
            Some(outbox) => outbox.send(frame).await,
            None => Err(SendError::Closed),
        };
        if sent.is_err() {
            self.metrics.dropped.inc();
        }
        sent
    }

    /// Bytes queued now.
    pub fn queued_bytes(&self) -> usize {
        self.current.read().as_ref().map_or(0, Outbox::queued_bytes)
    }
}

/// Keeps one link up.
#[derive(Debug)]
pub struct LinkTask {
    options: LinkOptions,
    link: Link,
    strangers: Strangers,
}

/// Why there is no stream.
enum Failed {
    Call(CallError),
    Stranger(Stranger, String),
}

impl LinkTask {
    /// Connects and connects anew until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut pause = BACKOFF_MIN;
        while !stop.is_cancelled() {
            let tried = tokio::select! {
                tried = self.connect(&stop) => tried,
                () = stop.cancelled() => return,
            };
            match tried {
                Ok(stream) => {
                    let began = Instant::now();
                    self.keep(stream).await;
                    if began.elapsed() >= STEADY {
                        pause = BACKOFF_MIN;
                    }
                }
                Err(failed) => self.failed(failed),
            }
            tokio::select! {
                () = tokio::time::sleep(self.jittered(pause)) => {}
                () = stop.cancelled() => return,
            }
            pause = (pause * 2).min(BACKOFF_MAX);
        }
    }

    /// Between half the pause and all of it, so that peers of one that is back do not come at once.
    fn jittered(&self, pause: Duration) -> Duration {
        let half_ns = u64::try_from(pause.as_nanos() / 2).unwrap_or(u64::MAX).max(1);
        let more = (self.options.random)() % u128::from(half_ns);
        pause / 2 + Duration::from_nanos(u64::try_from(more).unwrap_or(half_ns))
    }

    async fn connect(&self, stop: &CancellationToken) -> Result<Stream, Failed> {
        let options = &self.options;
        let channel = connect::eager(&options.address, options.tls.clone()).await.map_err(Failed::Call)?;
        let mut client =
            pb::cell_client::CellClient::new(channel).max_decoding_message_size(LINK_MESSAGE_BYTES_MAX);
        let (outbox, feed) = Outbox::new(QUEUE_BYTES_MAX);
        let end = stop.child_token();
        let frames = outgoing(&options.local, feed, &end, self.link.metrics.clone());
        let answered = match tokio::time::timeout(HELLO_TIMEOUT, client.link(frames)).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(status)) if matches!(status.code(), Code::FailedPrecondition | Code::Unimplemented) => {
                return Err(Failed::Stranger(Stranger::Cluster, status.message().to_owned()));
            }
            Ok(Err(status)) => return Err(Failed::Call(call_error(&options.address, &status))),
            Err(_) => return Err(Failed::Call(CallError::TimedOut(options.address.clone()))),
        };
        let mut frames = answered.into_inner();
        let peer = hello(&mut frames).await.map_err(|(reason, why)| Failed::Stranger(reason, why))?;
        acquainted(&options.local, &peer).map_err(|(reason, why)| Failed::Stranger(reason, why))?;
        if peer.member != options.peer {
            let why = format!("'{}' with disk {} is there", peer.member.instance, peer.member.disk);
            return Err(Failed::Stranger(Stranger::Member, why));
        }
        Ok(Stream { frames, outbox, end })
    }

    async fn keep(&self, stream: Stream) {
        let Stream { frames, outbox, end } = stream;
        let options = &self.options;
        *self.link.current.write() = Some(outbox.clone());
        let _up = self.link.metrics.up();
        self.strangers.welcome(&options.peer.instance.0);
        tracing::debug!(peer = %options.peer.instance, address = options.address, "link is up");
        self.tell(LinkState::Up);
        let incoming = Incoming {
            frames,
            peer: options.peer.clone(),
            sink: Arc::clone(&options.sink),
            back: outbox,
            metrics: self.link.metrics.clone(),
        };
        let ended = incoming.read(&end).await;
        *self.link.current.write() = None;
        end.cancel();
        tracing::info!(peer = %options.peer.instance, address = options.address, %ended, "link is down");
        self.tell(LinkState::Down(ended.to_string()));
    }

    fn failed(&self, failed: Failed) {
        let state = match failed {
            Failed::Call(CallError::Refused(_)) => LinkState::Refused,
            Failed::Call(error) => LinkState::Unreachable(error.to_string()),
            Failed::Stranger(stranger, why) => {
                self.strangers.refuse(&self.options.peer.instance.0, stranger, &why);
                LinkState::Stranger(why)
            }
        };
        tracing::debug!(peer = %self.options.peer.instance, ?state, "link cannot be opened");
        self.tell(state);
    }

    fn tell(&self, state: LinkState) {
        let side = Side::Dialled(self.options.address.clone());
        self.options.sink.link(LinkEvent { peer: self.options.peer.clone(), side, state });
    }
}

/// A stream on which both sides said Hello.
struct Stream {
    frames: Streaming<pb::Frame>,
    outbox: Outbox,
    end: CancellationToken,
}
