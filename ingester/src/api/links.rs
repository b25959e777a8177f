//! Links to the members that keep cells with this one: messages of replicas out and in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use hearth_cell::Message;
use hearth_common::{CellId, LogId, MemberId};
use hearth_internode::Tls;
use hearth_internode::frame::{Frame, Hello};
use hearth_internode::link::{Link, LinkEvent, LinkOptions, LinkSink, LinkState, Outbox};
use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;

use super::calls::Member;
use crate::host::Post;
use crate::service::Ingester;

/// Members without a link of our own that are answered where they ask; those beyond it ask in vain until one goes.
const WAYS_BACK_MAX: usize = 64;

/// The members that keep cells with this one, and the addresses of their internal ports.
pub type Neighbours = BTreeMap<MemberId, String>;

/// All links of this member. Made before the ingester, which is told to it later.
pub struct Links {
    local: Hello,
    tls: Option<Tls>,
    metrics: hearth_internode::Metrics,
    rng: Arc<dyn Fn() -> u128 + Send + Sync>,
    roster_version: AtomicU64,
    open: RwLock<BTreeMap<MemberId, Open>>,
    ingester: RwLock<Option<Arc<Ingester>>>,
    /// Who hears which roster others have.
    member: OnceLock<Arc<Member>>,
    /// Where members that this one has no link to are answered.
    ways_back: RwLock<BTreeMap<MemberId, Outbox>>,
    /// One change of the links at a time.
    changing: Mutex<()>,
}

#[derive(Debug)]
struct Open {
    address: String,
    link: Link,
    stop: CancellationToken,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("open", &self.open.read().keys()).finish_non_exhaustive()
    }
}

impl Links {
    /// No links yet. `local` is how this member says Hello.
    pub fn new(
        local: Hello,
        tls: Option<Tls>,
        metrics: hearth_internode::Metrics,
        rng: Arc<dyn Fn() -> u128 + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new(Self {
            local,
            tls,
            metrics,
            rng,
            roster_version: AtomicU64::new(0),
            open: RwLock::default(),
            ingester: RwLock::default(),
            member: OnceLock::new(),
            ways_back: RwLock::default(),
            changing: Mutex::new(()),
        })
    }

    /// Whose replicas get what comes in.
    pub fn serve(&self, ingester: &Arc<Ingester>) {
        *self.ingester.write() = Some(Arc::clone(ingester));
    }

    /// Who is to hear which roster others have. Once.
    pub fn tell(&self, member: &Arc<Member>) {
        self.member.get_or_init(|| Arc::clone(member));
    }

    /// The version of the roster that this member acts on.
    pub fn set_roster_version(&self, version: u64) {
        self.roster_version.fetch_max(version, Ordering::Relaxed);
    }

    /// Opens links to these members, closes those to others. Must be called inside a tokio runtime.
    pub fn meet(self: &Arc<Self>, neighbours: &Neighbours) {
        let _turn = self.changing.lock();
        let stays = |member: &MemberId, open: &Open| neighbours.get(member) == Some(&open.address);
        self.open.write().retain(|member, open| {
            let stays = stays(member, open);
            if !stays {
                open.stop.cancel();
            }
            stays
        });
        for (member, address) in neighbours {
            if self.open.read().contains_key(member) || *member == self.local.member {
                continue;
            }
            let sink: Arc<dyn LinkSink> = Arc::<Self>::clone(self);
            let (link, task) = Link::new(LinkOptions {
                address: address.clone(),
                local: self.local.clone(),
                peer: member.clone(),
                sink,
                tls: self.tls.clone(),
                random: Arc::clone(&self.rng),
                metrics: self.metrics.clone(),
            });
            let stop = CancellationToken::new();
            tokio::spawn(task.run(stop.clone()));
            self.open.write().insert(member.clone(), Open { address: address.clone(), link, stop });
        }
    }

    /// Closes all links.
    pub fn close(&self) {
        let _turn = self.changing.lock();
        std::mem::take(&mut *self.open.write()).into_values().for_each(|open| open.stop.cancel());
        *self.ingester.write() = None;
    }

    /// Streams of members to which there is no link of our own.
    fn remember_way_back(&self, from: &MemberId, back: &Outbox) {
        if self.open.read().contains_key(from)
            || self.ways_back.read().get(from).is_some_and(|known| known.is_same(back))
        {
            return;
        }
        let mut ways_back = self.ways_back.write();
        ways_back.retain(|_, back| !back.is_closed());
        if ways_back.len() < WAYS_BACK_MAX {
            ways_back.insert(from.clone(), back.clone());
        }
    }

    fn ingester(&self) -> Option<Arc<Ingester>> {
        self.ingester.read().clone()
    }
}

impl Post for Links {
    fn send(&self, to: &MemberId, cell: &CellId, log: LogId, message: Message) {
        let roster_version = self.roster_version.load(Ordering::Relaxed);
        let open = self.open.read();
        let Some(open) = open.get(to) else {
            // Nobody's neighbour any more: it asks, and is answered where it asked.
            if let Some(back) = self.ways_back.read().get(to) {
                _ = back.try_send(Frame { cell: cell.clone(), log, roster_version, message });
            }
            return;
        };
        // A full queue or a link that is down loses the message: the protocol sends it again, and the link counts it.
        _ = open.link.try_send(Frame { cell: cell.clone(), log, roster_version, message });
    }
}

#[async_trait]
impl LinkSink for Links {
    async fn frame(&self, from: &MemberId, frame: Frame, back: &Outbox) {
        self.remember_way_back(from, back);
        if let Some(member) = self.member.get() {
            // Before the message: with its votes a leader hears which roster is known.
            member.heard_roster(frame.roster_version);
        }
        let Some(host) = self.ingester().and_then(|ingester| ingester.host_now()) else { return };
        host.receive(from, &frame.cell, frame.log, frame.message);
    }

    fn link(&self, event: LinkEvent) {
        let gone = matches!(event.state, LinkState::Refused);
        let Some(host) = self.ingester().and_then(|ingester| ingester.host_now()).filter(|_| gone) else {
            return;
        };
        host.unreachable(&event.peer);
    }
}
