//! Calls over real sockets: what arrives, and how each way to fail is told apart.

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hearth_cluster::{PushError, PushOutcome};
use hearth_common::{ErrorKind, JournalId, LogId, Position, TenantId};
use hearth_internode::api::{ControlError, MemberStatus, NotReady, Retry, RetryWhy};
use hearth_internode::limits::MESSAGE_BYTES_MAX;
use hearth_internode::{
    CallError, Fetch, FetchOutcome, Fetched, IngesterApi, IngesterClient, Metrics, Outcome, Pool, Push,
    Pushed,
};
use hearth_model::{Answer, AnswerError, NameTree, Question};
use hearth_proto::hearth::internal::v1::PushRequest;
use hearth_proto::hearth::internal::v1::ingester_client::IngesterClient as IngesterWire;
use hearth_query::fetch::{FetchAnswer, FetchError, FetchRequest, HeadSource, JournalAnswer};
use support::{Nothing, Port, cell, free_port, inbox, member, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(30);

/// Does what the cell's name says.
#[derive(Debug)]
struct Script {
    /// Told when a call that never ends is given up.
    given_up: mpsc::UnboundedSender<()>,
}

struct TellWhenDropped(mpsc::UnboundedSender<()>);

impl Drop for TellWhenDropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

impl Script {
    async fn never(&self) {
        let _told = TellWhenDropped(self.given_up.clone());
        std::future::pending::<()>().await;
    }
}

#[async_trait]
impl IngesterApi for Script {
    async fn push(&self, push: Push) -> Result<Pushed, PushError> {
        match &*push.cell.0.0 {
            "never" => self.never().await,
            "unavailable" => return Err(PushError::Unavailable("its disk is full".to_owned())),
            "malformed" => return Err(PushError::Malformed("cut off".to_owned())),
            _ => {}
        }
        let outcome = |record: &Bytes| match record.first() {
            Some(0) => Outcome::Done(PushOutcome::Acked),
            Some(1) => Outcome::Done(PushOutcome::Refused {
                kind: ErrorKind::ResourceExhausted,
                reason: "series_limit",
                message: format!("record of {} bytes", record.len()),
            }),
            _ => Outcome::Retry(Retry {
                why: RetryWhy::NotLeader,
                message: "b leads".to_owned(),
                leader: Some(member("b").instance),
            }),
        };
        Ok(Pushed {
            outcomes: push.records.iter().map(outcome).collect(),
            roster_version: push.roster_version + 1,
        })
    }

    async fn fetch(&self, fetch: Fetch) -> Result<Fetched, FetchError> {
        match fetch.request.tenant.as_str() {
            "never" => self.never().await,
            "overflow" => return Err(FetchError::Answer(AnswerError::Overflow)),
            "unavailable" => return Err(FetchError::Unavailable("it stops".to_owned())),
            _ => {}
        }
        let journal = journal();
        let after = fetch.request.covered(&journal);
        let outcome = match fetch.request.root_version {
            0 => FetchOutcome::NotReady(NotReady {
                cell: None,
                why: "it reads its log".to_owned(),
                leader: None,
            }),
            1 => FetchOutcome::NeedFresh { journal, retained_after: Position(9) },
            _ => FetchOutcome::Answered {
                journals: vec![JournalAnswer {
                    journal,
                    after,
                    visible_end: Position(70),
                    rows_end: Position(66),
                }],
                partial: Answer::Tree(tree()),
                inexact: None,
                cells: fetch.cells,
                elsewhere: vec![NotReady { cell: Some(cell("c")), why: "b leads".to_owned(), leader: None }],
            },
        };
        Ok(Fetched { outcome, roster_version: 8 })
    }

    async fn status(&self) -> Result<MemberStatus, ControlError> {
        Nothing.status().await
    }

    async fn flush(&self) -> Result<(), ControlError> {
        Err(ControlError { kind: ErrorKind::FailedPrecondition, message: "the store is away".to_owned() })
    }

    async fn leave(&self) -> Result<(), ControlError> {
        Ok(())
    }
}

fn journal() -> JournalId {
    JournalId::of_log(&cell("a"), LogId(7))
}

/// Large enough to be compressed and to be decoded elsewhere.
fn tree() -> NameTree {
    let mut tree = NameTree::new();
    for stack in 0..3000u32 {
        let frames = ["main".to_owned(), format!("handler{}", stack % 7), format!("function{stack}")];
        tree.add_stack(&frames, i64::from(stack));
    }
    tree
}

fn fetch(tenant: &str, root_version: u64, timeout: Duration) -> Fetch {
    let request = FetchRequest {
        tenant: TenantId::parse(tenant).expect("valid"),
        question: Question::Stats,
        root_version,
        coverage: [(journal(), Position(12))].into(),
        drained: Default::default(),
        deletions: Vec::new(),
        timeout,
    };
    Fetch { request, roster_version: 7, cells: vec![cell("a")] }
}

fn push(cell_name: &str, records: Vec<Bytes>) -> Push {
    Push { cell: cell(cell_name), roster_version: 3, records }
}

async fn scripted() -> (Port, IngesterClient, mpsc::UnboundedReceiver<()>) {
    let (given_up, told) = mpsc::unbounded_channel();
    let port = Port::open(support::hello("b"), Arc::new(Script { given_up }), inbox(false).0).await;
    let client = client(&port.address);
    (port, client, told)
}

fn client(address: &str) -> IngesterClient {
    IngesterClient::connect_lazy(address, None, Metrics::default()).expect("an address")
}

#[tokio::test]
async fn a_push_comes_back_with_an_outcome_for_each_record() {
    let (port, client, _) = scripted().await;
    let records = [&[0u8, 5][..], &[1, 5, 5], &[2]].map(Bytes::copy_from_slice).to_vec();
    let pushed = client.push(push("a", records), LONG).await.expect("answered");
    let refused = PushOutcome::Refused {
        kind: ErrorKind::ResourceExhausted,
        reason: "series_limit",
        message: "record of 3 bytes".to_owned(),
    };
    let retry =
        Retry { why: RetryWhy::NotLeader, message: "b leads".to_owned(), leader: Some(member("b").instance) };
    let outcomes = vec![Outcome::Done(PushOutcome::Acked), Outcome::Done(refused), Outcome::Retry(retry)];
    assert_eq!(pushed, Pushed { outcomes, roster_version: 4 });
    assert_eq!(client.status(LONG).await.expect("answered").roster_version, 4);
    assert_eq!(client.leave(LONG).await, Ok(()));
    port.close().await;
}

#[tokio::test]
async fn a_fetch_comes_back_with_the_whole_answer() {
    let (port, client, _) = scripted().await;
    let fetched = client.fetch(fetch("t", 5, LONG)).await.expect("answered");
    assert_eq!(fetched.roster_version, 8);
    let FetchOutcome::Answered { journals, partial: Answer::Tree(got), cells, elsewhere, .. } =
        fetched.outcome
    else {
        panic!("an answer, not {:?}", fetched.outcome);
    };
    assert_eq!(
        journals,
        [JournalAnswer {
            journal: journal(),
            after: Position(12),
            visible_end: Position(70),
            rows_end: Position(66)
        }]
    );
    assert_eq!((cells, elsewhere.len()), (vec![cell("a")], 1));
    let want = tree();
    assert_eq!((got.len(), got.checked_total()), (want.len(), want.checked_total()));

    let heads: &dyn HeadSource = &client;
    let not_ready = heads.fetch(fetch("t", 0, LONG).request).await;
    assert!(matches!(not_ready, Ok(FetchAnswer::NotReady(why)) if why == "it reads its log"));
    let fresh = heads.fetch(fetch("t", 1, LONG).request).await;
    assert!(matches!(fresh, Ok(FetchAnswer::NeedFresh { retained_after: Position(9), .. })));
    port.close().await;
}

#[tokio::test]
async fn errors_of_the_role_arrive_as_they_are() {
    let (port, client, _) = scripted().await;
    let answered = |kind, message: &str| CallError::Answered { kind, message: message.to_owned() };
    let full = client.push(push("unavailable", Vec::new()), LONG).await.expect_err("refused");
    assert_eq!(full, answered(ErrorKind::Unavailable, "ingester cannot take profiles now: its disk is full"));
    assert!(matches!(PushError::from(full), PushError::Unavailable(_)));
    let malformed = client.push(push("malformed", Vec::new()), LONG).await.expect_err("refused");
    assert!(matches!(PushError::from(malformed), PushError::Malformed(_)));
    let overflow = client.fetch(fetch("overflow", 2, LONG)).await.expect_err("refused");
    assert!(matches!(FetchError::from(overflow), FetchError::Answer(AnswerError::Overflow)));
    let unavailable = client.fetch(fetch("unavailable", 2, LONG)).await.expect_err("refused");
    assert!(matches!(FetchError::from(unavailable), FetchError::Unavailable(_)));
    let flush = client.flush(LONG).await.expect_err("refused");
    assert_eq!(flush, answered(ErrorKind::FailedPrecondition, "the store is away"));
    assert_eq!(port.metric("hearth_internode_served_total{call=\"push\",outcome=\"unavailable\"}"), 1);
    port.close().await;
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_given_up_on_both_sides() {
    let (port, client, mut told) = scripted().await;
    let pushed = client.push(push("never", Vec::new()), SHORT).await;
    assert_eq!(pushed, Err(CallError::TimedOut(port.address.clone())));
    soon(told.recv()).await.expect("the ingester's side was dropped");
    let fetched = client.fetch(fetch("never", 2, SHORT)).await;
    assert!(matches!(fetched, Err(CallError::TimedOut(_))));
    soon(told.recv()).await.expect("the ingester's side was dropped");
    // The connection is as good as before.
    assert!(client.push(push("a", Vec::new()), LONG).await.is_ok());
    port.close().await;
}

#[tokio::test]
async fn a_peer_that_is_down_is_told_from_one_that_is_silent_or_breaks() {
    let nobody = free_port().await.to_string();
    let refused = client(&nobody).push(push("a", Vec::new()), LONG).await;
    assert_eq!(refused, Err(CallError::Refused(nobody)));
    assert!(refused.expect_err("refused").not_sent());

    let unknown = client("no-such-host.invalid:4041").push(push("a", Vec::new()), LONG).await;
    assert!(matches!(unknown, Err(CallError::Unreachable { .. })), "{unknown:?}");

    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = silent.local_addr().expect("bound").to_string();
    let timed_out = client(&address).push(push("a", Vec::new()), SHORT).await;
    assert_eq!(timed_out, Err(CallError::TimedOut(address)));

    let (port, client, mut told) = scripted().await;
    let (push, kill) = tokio::join!(client.push(push("never", Vec::new()), LONG), async {
        // The call has arrived when a second one is answered on the same connection.
        client.status(LONG).await.expect("answered");
        port.running.abort();
        soon(told.recv()).await
    });
    assert!(matches!(push, Err(CallError::Lost { .. })), "{push:?}");
    assert!(kill.is_some());
    let again = client.status(LONG).await;
    assert!(matches!(again, Err(CallError::Refused(_))), "{again:?}");
}

#[tokio::test]
async fn all_calls_to_an_address_share_a_connection() {
    let (port, _, _) = scripted().await;
    let pool = Pool::new(Arc::new(hearth_common::SystemClock::default()), None, Metrics::default());
    let calls = (0..100).map(|_| {
        let client = pool.get(&port.address).expect("an address");
        async move { client.push(push("a", vec![Bytes::from_static(&[0])]), LONG).await }
    });
    let pushed = futures::future::join_all(calls).await;
    assert!(pushed.iter().all(Result::is_ok));
    assert_eq!(port.metric("hearth_internode_connections"), 1);
    drop(pool);
    port.close().await;
}

#[tokio::test]
async fn garbage_is_turned_away_and_harms_nobody() {
    let (port, client, _) = scripted().await;
    for garbage in ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/1.0\r\n", "\0\0\0"] {
        let mut stream = TcpStream::connect(&port.address).await.expect("it listens");
        stream.write_all(garbage.as_bytes()).await.expect("taken");
        let mut answer = Vec::new();
        // The end comes as an orderly one or as a reset.
        let _ = soon(stream.read_to_end(&mut answer)).await;
        assert_eq!(answer, b"");
    }
    let mut preface_then_garbage = TcpStream::connect(&port.address).await.expect("it listens");
    preface_then_garbage.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("taken");
    preface_then_garbage.write_all(&[0xff; 4096]).await.expect("taken");
    let mut answer = Vec::new();
    let _ = soon(preface_then_garbage.read_to_end(&mut answer)).await;
    assert_eq!(port.metric("hearth_internode_strangers_total{reason=\"garbage\"}"), 3);
    assert!(client.push(push("a", Vec::new()), LONG).await.is_ok());
    port.close().await;
}

#[tokio::test]
async fn the_longest_record_passes_and_a_longer_message_is_refused() {
    let (port, client, _) = scripted().await;
    let longest = Bytes::from(vec![1; 128 << 20]);
    let pushed = client.push(push("a", vec![longest]), LONG).await.expect("answered");
    let Outcome::Done(PushOutcome::Refused { message, .. }) = &pushed.outcomes[0] else {
        panic!("{pushed:?}")
    };
    assert_eq!(message, &format!("record of {} bytes", 128 << 20));
    let longer = Bytes::from(vec![1; MESSAGE_BYTES_MAX]);
    let refused = client.push(push("a", vec![longer.clone()]), LONG).await;
    assert!(
        matches!(refused, Err(CallError::TooLarge { bytes }) if bytes > MESSAGE_BYTES_MAX),
        "{refused:?}"
    );
    // A sender that knows no limit is refused at the other end.
    let endpoint =
        tonic::transport::Endpoint::from_shared(format!("http://{}", port.address)).expect("an address");
    let mut raw = IngesterWire::new(endpoint.connect().await.expect("it listens"));
    let request = PushRequest { records: vec![longer], cell: "a".to_owned(), roster_version: 1 };
    let refused = raw.push(request).await.expect_err("too long");
    assert_eq!(refused.code(), tonic::Code::OutOfRange, "{refused:?}");
    assert!(client.push(push("a", Vec::new()), LONG).await.is_ok());
    port.close().await;
}
