//! Queriers ask each other over real sockets: what arrives, who is refused, and what ends when the asker is gone.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hearth_block::BlockEntry;
use hearth_common::{BlockId, InstanceId, SystemClock, TenantId, TimeRange, TimestampNs};
use hearth_internode::blocks::PROTOCOL;
use hearth_internode::{
    BlocksAnswer, BlocksError, BlocksRequest, CallError, InternalServer, Metrics, QuerierApi, QuerierClients,
    QuerierServerOptions, Refusal, RefusalWhy, Tls, TlsFiles,
};
use hearth_model::{Answer, NameTree, Question, Selector};
use hearth_proto::hearth::internal::v1::blocks_response::Outcome;
use hearth_proto::hearth::internal::v1::querier_client::QuerierClient as QuerierWire;
use hearth_proto::hearth::internal::v1::{self as pb};
use hearth_testkit::certificates::Authority;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

const LONG: Duration = Duration::from_secs(30);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("this takes no minute")
}

/// Does what the tenant's name says.
#[derive(Debug)]
struct Script {
    given_up: mpsc::UnboundedSender<()>,
}

struct TellWhenDropped(mpsc::UnboundedSender<()>);

impl Drop for TellWhenDropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[async_trait]
impl QuerierApi for Script {
    async fn blocks(&self, request: BlocksRequest) -> Result<BlocksAnswer, Refusal> {
        match request.tenant.as_str() {
            "never" => {
                let _told = TellWhenDropped(self.given_up.clone());
                std::future::pending::<()>().await;
            }
            "busy" => return Err(Refusal::new(RefusalWhy::Busy, "eight calls are served")),
            _ => {}
        }
        let mut tree = NameTree::new();
        for block in &request.blocks {
            tree.add_stack(&[format!("block-{}", block.id.0)], block.profiles as i64);
        }
        Ok(BlocksAnswer { partial: Answer::Tree(tree), fetched_bytes: request.bytes_max, wire_bytes: 0 })
    }
}

struct Port {
    address: SocketAddr,
    given_up: mpsc::UnboundedReceiver<()>,
    registry: Registry,
}

impl Port {
    async fn open(cluster_id: &str, tls: Option<Tls>) -> Self {
        let (tell, given_up) = mpsc::unbounded_channel();
        let mut registry = Registry::default();
        let options = QuerierServerOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            cluster_id: cluster_id.to_owned(),
            tls,
            metrics: Metrics::new(&mut registry),
        };
        let server =
            InternalServer::bind_querier(options, Arc::new(Script { given_up: tell })).await.unwrap();
        let address = server.local_addr().unwrap();
        tokio::spawn(server.run(std::future::pending()));
        Self { address, given_up, registry }
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

fn clients(cluster_id: &str, tls: Option<Tls>) -> QuerierClients {
    let asker = InstanceId(Arc::from("querier-1"));
    QuerierClients::new(cluster_id, asker, Arc::new(SystemClock::default()), tls, Metrics::default())
}

fn block(id: u128) -> Arc<BlockEntry> {
    Arc::new(BlockEntry {
        id: BlockId(id),
        attempt: "a".to_owned(),
        format: 1,
        day: 0,
        level: 0,
        min_time: TimestampNs(0),
        max_time: TimestampNs(1),
        first_service: "a".to_owned(),
        last_service: "b".to_owned(),
        types: Vec::new(),
        objects: Vec::new(),
        index_directory_offset: 0,
        profiles: 10 * id as u64,
        samples: 1,
        series: 1,
        units: 1,
        sources: Vec::new(),
    })
}

fn request(tenant: &str, timeout: Duration) -> BlocksRequest {
    BlocksRequest {
        tenant: TenantId::parse(tenant).unwrap(),
        question: Question::Estimate { range: TimeRange::ALL, selector: Selector::default() },
        blocks: vec![block(1), block(2)],
        deletions: Vec::new(),
        bytes_max: 4321,
        timeout,
    }
}

#[tokio::test]
async fn a_partial_answer_crosses_the_wire() {
    let port = Port::open("c", None).await;
    let clients = clients("c", None);
    let answer = soon(clients.blocks(port.address, &request("t", LONG))).await.unwrap();
    let Answer::Tree(tree) = &answer.partial else { panic!("{answer:?}") };
    // With the root.
    assert_eq!((tree.checked_total(), tree.len()), (Ok(30), 3));
    assert!(answer.fetched_bytes == 4321 && answer.wire_bytes > 10);
    let busy = soon(clients.blocks(port.address, &request("busy", LONG))).await.unwrap_err();
    assert_eq!(busy, BlocksError::Refused(Refusal::new(RefusalWhy::Busy, "eight calls are served")));
    let metrics = port.metrics();
    for outcome in ["ok", "refused"] {
        let line = format!("hearth_internode_served_total{{call=\"blocks\",outcome=\"{outcome}\"}} 1");
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[tokio::test]
async fn a_peer_of_another_cluster_is_refused_and_told_why() {
    let port = Port::open("other", None).await;
    let error = soon(clients("c", None).blocks(port.address, &request("t", LONG))).await.unwrap_err();
    let BlocksError::Refused(refusal) = &error else { panic!("{error:?}") };
    assert_eq!(refusal.why, RefusalWhy::Stranger);
    assert_eq!(error.to_string(), "it is of cluster 'c', this is 'other'");
    assert!(port.metrics().contains("strangers_total{reason=\"cluster\"} 1"), "{}", port.metrics());
}

#[tokio::test]
async fn a_peer_of_another_version_is_refused() {
    let port = Port::open("c", None).await;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", port.address)).unwrap();
    let mut client = QuerierWire::new(soon(channel.connect()).await.unwrap());
    let asked =
        pb::BlocksRequest { cluster_id: "c".to_owned(), protocol: PROTOCOL + 1, ..Default::default() };
    let answered = soon(client.blocks(asked)).await.unwrap().into_inner();
    let Some(Outcome::Refused(refused)) = answered.outcome else { panic!("{answered:?}") };
    assert_eq!(refused.why(), pb::blocks_refused::Why::Stranger);
    assert_eq!(refused.message, format!("it asks in version {}, this is version {PROTOCOL}", PROTOCOL + 1));
    assert!(port.metrics().contains("strangers_total{reason=\"protocol\"} 1"), "{}", port.metrics());
    // Nothing that a peer sends breaks the port.
    let empty = pb::BlocksRequest { cluster_id: "c".to_owned(), protocol: PROTOCOL, ..Default::default() };
    assert_eq!(soon(client.blocks(empty)).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    assert!(soon(clients("c", None).blocks(port.address, &request("t", LONG))).await.is_ok());
}

#[tokio::test]
async fn work_ends_with_its_asker_and_with_its_deadline() {
    let mut port = Port::open("c", None).await;
    let clients = Arc::new(clients("c", None));
    // The asker goes away.
    let asking = {
        let (clients, address) = (Arc::clone(&clients), port.address);
        tokio::spawn(async move { clients.blocks(address, &request("never", LONG)).await })
    };
    soon(async {
        while !port.metrics().contains("hearth_internode_connections 1") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // It is there before it is given up.
        tokio::time::sleep(Duration::from_millis(200)).await;
    })
    .await;
    assert!(port.given_up.try_recv().is_err());
    asking.abort();
    soon(port.given_up.recv()).await.unwrap();
    // Time is over.
    let late = soon(clients.blocks(port.address, &request("never", Duration::from_millis(100)))).await;
    assert!(matches!(late, Err(BlocksError::Call(CallError::TimedOut(_)))), "{late:?}");
    soon(port.given_up.recv()).await.unwrap();
}

#[tokio::test]
async fn nobody_there_is_told_apart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = soon(clients("c", None).blocks(address, &request("t", LONG))).await.unwrap_err();
    assert!(matches!(error, BlocksError::Call(CallError::Refused(_))), "{error:?}");
}

#[tokio::test]
async fn certificates_are_asked_for_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let open = |name: &str| {
        let files = authority.issue(&dir.path().join(name), "hearth-cluster");
        let files =
            TlsFiles { cert: files.cert, key: files.key, ca: files.ca, name: "hearth-cluster".to_owned() };
        Tls::open(files, Arc::new(SystemClock::default()), Metrics::default()).unwrap()
    };
    let port = Port::open("c", Some(open("a"))).await;
    let with = clients("c", Some(open("b")));
    assert!(soon(with.blocks(port.address, &request("t", LONG))).await.is_ok());
    let without = soon(clients("c", None).blocks(port.address, &request("t", LONG))).await;
    assert!(without.is_err(), "{without:?}");
}
