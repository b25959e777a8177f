//! chitchat's messages to bytes and back. chitchat keeps its encoding to itself: only its own UDP socket can encode and
//! decode, and it swallows what it cannot decode. So each codec is a pair of sockets on the loopback interface, one of them
//! chitchat's.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use chitchat::transport::{Socket, UdpSocket as TheirSocket};
use chitchat::{ChitchatEnvelope, ChitchatMessage, ProtocolVersion};
use tokio::net::UdpSocket;

/// Longest datagram that UDP carries.
pub(super) const DATAGRAM_MAX_BYTES: usize = 65_507;
/// The loopback interface delivers at once; this is for a machine that does not.
const LOOPBACK_WITHIN: Duration = Duration::from_secs(5);
/// Bytes before a message's body: magic (2), protocol version, type of the message.
const HEADER_BYTES: usize = 4;

pub(super) struct Codec {
    theirs: TheirSocket,
    ours: UdpSocket,
    our_addr: SocketAddr,
    /// A message without a body. It follows each datagram that is decoded: when it comes out first, the datagram was none.
    marker: Vec<u8>,
    buffer: Vec<u8>,
}

impl Codec {
    pub(super) async fn new() -> anyhow::Result<Self> {
        let on = |ip: std::net::IpAddr| SocketAddr::new(ip, 0);
        let loopback = [on(Ipv4Addr::LOCALHOST.into()), on(Ipv6Addr::LOCALHOST.into())];
        let ours = UdpSocket::bind(&loopback[..]).await.context("no socket on the loopback interface")?;
        let our_addr = ours.local_addr()?;
        let theirs = TheirSocket::open(on(our_addr.ip())).await?;
        ours.connect(theirs.local_addr()?).await?;
        let buffer = vec![0; DATAGRAM_MAX_BYTES];
        let mut codec = Self { theirs, ours, our_addr, marker: Vec::new(), buffer };
        codec.marker = codec.encode(marker(ProtocolVersion::V0)).await?.to_vec();
        if codec.marker.len() != HEADER_BYTES {
            bail!("chitchat's messages do not have the header that is expected");
        }
        Ok(codec)
    }

    /// The bytes of a message. Fails only if the loopback interface does.
    pub(super) async fn encode(&mut self, envelope: ChitchatEnvelope) -> anyhow::Result<&[u8]> {
        self.theirs.send(self.our_addr, envelope).await?;
        let received = tokio::time::timeout(LOOPBACK_WITHIN, self.ours.recv(&mut self.buffer)).await;
        let bytes = received.context("the loopback interface lost a datagram")??;
        Ok(&self.buffer[..bytes])
    }

    /// The message in a datagram; `None` if it is none. Fails only if the loopback interface does. Must not be cancelled:
    /// the marker would come out as the next answer.
    pub(super) async fn decode(&mut self, datagram: &[u8]) -> anyhow::Result<Option<ChitchatEnvelope>> {
        // Most garbage ends here, and chitchat, which logs each such datagram, does not see it.
        let Some(header) = datagram.get(..HEADER_BYTES) else { return Ok(None) };
        let version = match header[2] {
            0 => ProtocolVersion::V0,
            1 => ProtocolVersion::V1,
            _ => return Ok(None),
        };
        if header[..2] != self.marker[..2] || header[3] > self.marker[3] {
            return Ok(None);
        }
        // Could not be told from the marker.
        if header[3] == self.marker[3] {
            return Ok(Some(marker(version)));
        }
        self.ours.send(datagram).await?;
        self.ours.send(&self.marker).await?;
        let first = self.receive().await?;
        if is_marker(&first) {
            return Ok(None);
        }
        if !is_marker(&self.receive().await?) {
            bail!("the loopback interface delivers out of order");
        }
        Ok(Some(first))
    }

    async fn receive(&mut self) -> anyhow::Result<ChitchatEnvelope> {
        loop {
            let received = tokio::time::timeout(LOOPBACK_WITHIN, self.theirs.recv()).await;
            let received = received.context("the loopback interface lost a datagram")??;
            // Another process of this machine may find the port.
            if received.from_addr == self.our_addr {
                return Ok(received.envelope);
            }
        }
    }
}

fn marker(version: ProtocolVersion) -> ChitchatEnvelope {
    ChitchatEnvelope { version, message: ChitchatMessage::BadCluster }
}

fn is_marker(envelope: &ChitchatEnvelope) -> bool {
    matches!(envelope.message, ChitchatMessage::BadCluster)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message with a body, as a node sends it.
    async fn real() -> Vec<u8> {
        let from = UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
        let seed = from.local_addr().expect("bound");
        let config = chitchat::ChitchatConfig {
            chitchat_id: chitchat::ChitchatId::new("n", 1, ([127, 0, 0, 1], 1).into()),
            cluster_id: "c".to_owned(),
            gossip_interval: Duration::from_millis(10),
            listen_addr: ([127, 0, 0, 1], 0).into(),
            seed_nodes: vec![seed.to_string()],
            failure_detector_config: chitchat::FailureDetectorConfig::default(),
            marked_for_deletion_grace_period: Duration::from_secs(60),
            catchup_callback: None,
            extra_liveness_predicate: None,
            protocol_version: ProtocolVersion::V1,
        };
        let transport = chitchat::transport::UdpTransport;
        let node = chitchat::spawn_chitchat(config, Vec::new(), &transport).await.expect("starts");
        let mut buffer = vec![0; DATAGRAM_MAX_BYTES];
        let bytes = from.recv(&mut buffer).await.expect("gossip");
        node.shutdown().await.expect("stops");
        buffer.truncate(bytes);
        buffer
    }

    #[tokio::test]
    async fn garbage_between_messages_is_told_apart() {
        let (mut codec, real) = (Codec::new().await.expect("loopback"), real().await);
        let cut = |len: usize| real[..len].to_vec();
        let mut garbage = vec![Vec::new(), b"x".to_vec(), vec![0; 65_507], cut(3), cut(4)];
        garbage.extend((4..real.len()).map(cut));
        garbage.push([&real[..3], &[9], &real[4..]].concat());
        for datagram in garbage {
            assert_eq!(codec.decode(&datagram).await.expect("loopback"), None, "{datagram:?}");
            let decoded = codec.decode(&real).await.expect("loopback").expect("a message");
            assert_eq!(codec.encode(decoded).await.expect("loopback"), real);
        }
        let marker = codec.marker.clone();
        assert!(codec.decode(&marker).await.expect("loopback").is_some_and(|e| is_marker(&e)));
        assert!(codec.decode(&real).await.expect("loopback").is_some_and(|e| !is_marker(&e)));
    }
}
