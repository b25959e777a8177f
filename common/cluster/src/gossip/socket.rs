//! The gossip port: bound once, counted, and deaf to garbage.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport};
use chitchat::{ChitchatEnvelope, ChitchatMessage};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::codec::{Codec, DATAGRAM_MAX_BYTES};
use super::metrics::Metrics;

/// Messages that wait to be looked at; more are dropped, as UDP does.
const WAITING_MAX: usize = 64;

/// Hands the bound port to chitchat, as often as it starts.
pub(super) struct CountingTransport {
    pub(super) udp: Arc<UdpSocket>,
    pub(super) metrics: Metrics,
    pub(super) cluster_id: String,
}

struct CountingSocket {
    udp: Arc<UdpSocket>,
    metrics: Metrics,
    encoder: Codec,
    received: mpsc::Receiver<RecvOutcome>,
    reader: JoinHandle<()>,
}

#[async_trait]
impl Transport for CountingTransport {
    async fn open(&self, _listen_addr: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let (sender, received) = mpsc::channel(WAITING_MAX);
        let (encoder, decoder) = (Codec::new().await?, Codec::new().await?);
        let (udp, metrics) = (Arc::clone(&self.udp), self.metrics.clone());
        // A task of its own: decoding must not be cancelled, and chitchat cancels what it waits for.
        let reader =
            Reader { udp: Arc::clone(&udp), metrics: metrics.clone(), cluster_id: self.cluster_id.clone() };
        let reader = tokio::spawn(reader.read(decoder, sender));
        Ok(Box::new(CountingSocket { udp, metrics, encoder, received, reader }))
    }
}

/// Takes what comes to the port.
struct Reader {
    udp: Arc<UdpSocket>,
    metrics: Metrics,
    cluster_id: String,
}

impl Reader {
    /// chitchat refuses a process of another cluster by itself, and says nothing of it here.
    fn count_stranger(&self, from: SocketAddr, message: &ChitchatMessage) {
        let theirs = match message {
            ChitchatMessage::Syn { cluster_id, .. } if *cluster_id != self.cluster_id => Some(&**cluster_id),
            ChitchatMessage::BadCluster => None,
            _ => return,
        };
        let first = self.metrics.other_cluster.inc() == 0;
        if first {
            let (ours, theirs) = (&self.cluster_id, theirs.unwrap_or("(it does not say)"));
            tracing::warn!(%from, ours, theirs,
                "gossip of another cluster is refused; later ones are only counted: --cluster.id and --gossip.seeds must be right");
        }
    }

    /// Until the socket breaks, or nobody listens any more.
    async fn read(self, mut decoder: Codec, sender: mpsc::Sender<RecvOutcome>) {
        let Self { udp, metrics, .. } = &self;
        let mut buffer = vec![0; DATAGRAM_MAX_BYTES];
        loop {
            let (num_bytes_received, from_addr) = match udp.recv_from(&mut buffer).await {
                Ok(received) => received,
                // Says that an earlier datagram did not arrive.
                Err(error) if is_transient(&error) => continue,
                Err(error) => {
                    tracing::error!(%error, "the gossip port cannot be read");
                    return;
                }
            };
            metrics.received.inc();
            metrics.received_bytes.inc_by(num_bytes_received as u64);
            let envelope = match decoder.decode(&buffer[..num_bytes_received]).await {
                Ok(Some(envelope)) => envelope,
                Ok(None) => {
                    metrics.undecodable.inc();
                    tracing::debug!(from = %from_addr, bytes = num_bytes_received, "a datagram is no gossip");
                    continue;
                }
                Err(error) => {
                    tracing::error!(error = %format!("{error:#}"), "gossip cannot be decoded");
                    return;
                }
            };
            self.count_stranger(from_addr, &envelope.message);
            match sender.try_send(RecvOutcome { from_addr, envelope, num_bytes_received }) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => drop(metrics.dropped.inc()),
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::OutOfMemory
            | Kind::Interrupted
    )
}

#[async_trait]
impl Socket for CountingSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.udp.local_addr()?)
    }

    /// Fails only if encoding does: that one datagram cannot be sent (no route, a full buffer) breaks nothing.
    async fn send(&mut self, to: SocketAddr, envelope: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        let datagram = self.encoder.encode(envelope).await?;
        let num_bytes_sent = datagram.len();
        match self.udp.send_to(datagram, to).await {
            Ok(_) => {
                self.metrics.sent.inc();
                self.metrics.sent_bytes.inc_by(num_bytes_sent as u64);
            }
            Err(error) => {
                self.metrics.send_failures.inc();
                tracing::debug!(%to, %error, "a datagram could not be sent");
            }
        }
        Ok(SendOutcome { num_bytes_sent })
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        self.received.recv().await.context("the gossip port cannot be read")
    }
}

impl Drop for CountingSocket {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
