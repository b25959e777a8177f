//! Other queriers over the same store, that do what a test says.
#![allow(dead_code, unreachable_pub, reason = "shared by several test files, each of which uses a part")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use hearth_common::{ErrorKind, InstanceId, TimestampNs};
use hearth_internode::{
    BlocksAnswer, BlocksError, BlocksRequest, CallError, QuerierApi, Refusal, RefusalWhy,
};
use hearth_querier::{BlockPeers, QuerierOptions, SharingDeps, SharingOptions};
use hearth_query::share::Threshold;
use hearth_ring::Ring;
use hearth_testkit::HandClock;
use parking_lot::Mutex;

use crate::support::{BASE_MS, Profile, World};

/// What a peer does instead of answering at once.
#[derive(Debug, Clone, PartialEq)]
pub enum Does {
    Answer,
    /// Answers after a while.
    Late(Duration),
    Never,
    Fail(BlocksError),
    /// Is told to use no more than this.
    Within(u64),
}

pub fn refuse(why: RefusalWhy) -> Does {
    Does::Fail(Refusal::new(why, "so the test says").into())
}

/// Every way to fail that a querier gets over, with the word for it in metrics.
pub fn failures() -> Vec<(&'static str, Does)> {
    let peer = || "b".to_owned();
    let fail = |error: CallError| Does::Fail(error.into());
    vec![
        ("refused", fail(CallError::Refused(peer()))),
        ("unreachable", fail(CallError::Unreachable { peer: peer(), why: "no route".to_owned() })),
        ("lost", fail(CallError::Lost { peer: peer(), why: "it died".to_owned() })),
        ("timed_out", fail(CallError::TimedOut(peer()))),
        ("malformed", fail(CallError::Malformed { peer: peer(), what: "other blocks".to_owned() })),
        ("error", fail(CallError::Answered { kind: ErrorKind::Unimplemented, message: "older".to_owned() })),
        ("busy", refuse(RefusalWhy::Busy)),
        ("stranger", refuse(RefusalWhy::Stranger)),
        ("failed", refuse(RefusalWhy::Failed)),
        ("unreadable", refuse(RefusalWhy::Unreadable)),
    ]
}

/// The others, and what was asked of them.
#[derive(Debug)]
pub struct Others {
    ring: Arc<Ring>,
    serving: OnceLock<BTreeMap<InstanceId, Arc<dyn QuerierApi>>>,
    does: Mutex<BTreeMap<InstanceId, Does>>,
    /// (peer, blocks, bytes, time left), in order.
    pub calls: Mutex<Vec<(String, usize, u64, Duration)>>,
    /// Calls that were dropped before they ended.
    pub given_up: AtomicU64,
    clock: Arc<HandClock>,
}

struct Running<'a>(&'a Others, bool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.1 {
            self.0.given_up.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn name(peer: &str) -> InstanceId {
    InstanceId(Arc::from(peer))
}

impl Others {
    pub fn set(&self, peer: &str, does: Does) {
        self.does.lock().insert(name(peer), does);
    }

    /// Time passes for whoever rests.
    pub fn pass(&self, time: Duration) {
        self.clock.pass(time);
    }

    /// Blocks that each peer was asked for since the last look.
    pub fn take_asked(&self) -> BTreeMap<String, usize> {
        let mut asked = BTreeMap::new();
        for (peer, blocks, ..) in std::mem::take(&mut *self.calls.lock()) {
            *asked.entry(peer).or_default() += blocks;
        }
        asked
    }
}

#[async_trait]
impl BlockPeers for Others {
    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring)
    }

    async fn blocks(&self, peer: &InstanceId, request: &BlocksRequest) -> Result<BlocksAnswer, BlocksError> {
        let call = (peer.to_string(), request.blocks.len(), request.bytes_max, request.timeout);
        self.calls.lock().push(call);
        let mut running = Running(self, true);
        let does = self.does.lock().get(peer).cloned().unwrap_or(Does::Answer);
        let mut request = request.clone();
        match does {
            Does::Answer => {}
            Does::Late(time) => tokio::time::sleep(time).await,
            Does::Never => std::future::pending().await,
            Does::Fail(error) => {
                running.1 = false;
                return Err(error);
            }
            Does::Within(bytes) => request.bytes_max = bytes,
        }
        let serving = &self.serving.get().expect("set by the test")[peer];
        let answered = serving.blocks(request).await;
        running.1 = false;
        Ok(answered?)
    }
}

pub fn options() -> SharingOptions {
    SharingOptions {
        threshold: Threshold { blocks: 1, bytes: 0 },
        hedge_min: Duration::from_millis(20),
        hedge_max: Duration::from_millis(100),
        ..SharingOptions::default()
    }
}

/// Blocks of the world below, and what they sum up to.
pub const BLOCKS: usize = 40;

pub fn sum() -> i64 {
    (0..BLOCKS as i64).map(|at| at + 1).sum()
}

/// The querier `a` with the others `b` and `c`, and a block for each of some profiles.
pub async fn world(options: SharingOptions, querier: QuerierOptions) -> (Arc<World>, Arc<Others>) {
    let others = Arc::new(Others {
        ring: Arc::new(Ring::new(&["a", "b", "c"].map(name))),
        serving: OnceLock::new(),
        does: Mutex::default(),
        calls: Mutex::default(),
        given_up: AtomicU64::new(0),
        clock: Arc::new(HandClock::at(TimestampNs::from_ms(BASE_MS))),
    });
    let peers = SharingDeps {
        me: name("a"),
        peers: Arc::<Others>::clone(&others),
        clock: Arc::<HandClock>::clone(&others.clock),
        options,
    };
    let world = World::with_peers(querier, peers);
    let serving = ["b", "c"].map(|peer| (name(peer), world.another(QuerierOptions::default()).serving()));
    others.serving.set(serving.into_iter().collect()).expect("set once");
    for at in 0..BLOCKS as i64 {
        let stack = if at % 2 == 0 { "main;work" } else { "main" };
        world.push(Profile::new("shop", BASE_MS + at * 1000, &[(stack, at + 1)]));
        world.publish().await;
    }
    (Arc::new(world), others)
}
