//! The service `Cell`: the side of a link that accepts.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures::stream::{Stream, StreamExt};
use hearth_common::MemberId;
use hearth_proto::hearth::internal::v1 as pb;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::frame::Hello;
use crate::limits::LINKS_MAX;
use crate::link::{
    Ended, Incoming, LinkEvent, LinkSink, LinkState, Outbox, Side, acquainted, hello, outgoing,
};
use crate::metrics::{Metrics, Stranger};
use crate::outbox::QUEUE_BYTES_MAX;
use crate::strangers::Strangers;

#[derive(Debug)]
pub(super) struct Service {
    local: Hello,
    sink: Arc<dyn LinkSink>,
    metrics: Metrics,
    strangers: Strangers,
    closing: CancellationToken,
    /// The stream of each peer: a newer one ends the one before, which the peer has given up.
    accepted: Arc<Mutex<Accepted>>,
}

#[derive(Debug, Default)]
struct Accepted {
    count: u64,
    streams: BTreeMap<MemberId, (u64, CancellationToken)>,
}

impl Accepted {
    /// The number of the new stream; `None` = too many peers.
    fn add(&mut self, peer: &MemberId, end: &CancellationToken) -> Option<u64> {
        if self.streams.len() >= LINKS_MAX && !self.streams.contains_key(peer) {
            return None;
        }
        self.count += 1;
        if let Some((_, older)) = self.streams.insert(peer.clone(), (self.count, end.clone())) {
            older.cancel();
        }
        Some(self.count)
    }

    fn remove(&mut self, peer: &MemberId, number: u64) {
        if self.streams.get(peer).is_some_and(|(newest, _)| *newest == number) {
            self.streams.remove(peer);
        }
    }
}

impl Service {
    pub(super) fn new(
        local: Hello,
        sink: Arc<dyn LinkSink>,
        metrics: Metrics,
        strangers: Strangers,
        closing: CancellationToken,
    ) -> Self {
        Self { local, sink, metrics, strangers, closing, accepted: Arc::default() }
    }

    fn refuse(&self, peer: &str, stranger: Stranger, why: &str) -> Status {
        self.strangers.refuse(peer, stranger, why);
        Status::failed_precondition(why)
    }

    /// Reads the stream in a task of its own, until either side ends it.
    fn read(&self, incoming: Incoming, number: u64, end: CancellationToken) {
        let (sink, peer) = (Arc::clone(&self.sink), incoming.peer.clone());
        let (strangers, accepted) = (self.strangers.clone(), Arc::clone(&self.accepted));
        let up = incoming.metrics.up();
        let tell = move |state| sink.link(LinkEvent { peer: peer.clone(), side: Side::Accepted, state });
        let peer = incoming.peer.clone();
        tokio::spawn(async move {
            let _up = up;
            tell(LinkState::Up);
            let ended = incoming.read(&end).await;
            end.cancel();
            accepted.lock().remove(&peer, number);
            if let Ended::Malformed(why) = &ended {
                strangers.refuse(&peer.instance.0, Stranger::Malformed, why);
            }
            tell(LinkState::Down(ended.to_string()));
        });
    }
}

#[async_trait]
impl pb::cell_server::Cell for Service {
    type LinkStream = Pin<Box<dyn Stream<Item = Result<pb::Frame, Status>> + Send>>;

    async fn link(
        &self,
        request: Request<Streaming<pb::Frame>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let mut frames = request.into_inner();
        let peer =
            hello(&mut frames).await.map_err(|(stranger, why)| self.refuse("unknown", stranger, &why))?;
        let name = peer.member.instance.to_string();
        acquainted(&self.local, &peer).map_err(|(stranger, why)| self.refuse(&name, stranger, &why))?;
        let end = self.closing.child_token();
        let Some(number) = self.accepted.lock().add(&peer.member, &end) else {
            return Err(self.refuse(&name, Stranger::Crowd, "there are too many links"));
        };
        self.strangers.welcome(&name);
        let metrics = self.metrics.link(&name);
        let (back, feed) = Outbox::new(QUEUE_BYTES_MAX);
        let outgoing = outgoing(&self.local, feed, &end, metrics.clone());
        let (sink, peer) = (Arc::clone(&self.sink), peer.member);
        self.read(Incoming { frames, peer, sink, back, metrics }, number, end);
        Ok(Response::new(Box::pin(outgoing.map(Ok))))
    }
}
