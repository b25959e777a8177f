//! The roster in the object store, and its copy in the data folder.

use std::sync::Arc;
use std::time::Duration;

use hearth_common::{Clock, Pulse, TimestampNs};
use hearth_objstore::Store;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::chain::{Chain, Fate, Known, Link, Rng, Version, expired_versions};
use super::disk::RosterCopy;
use super::error::RosterError;
use super::json::{decode_roster, encode_roster};
use super::types::{Roster, ScheduleEntry};

/// Where the chain lies.
const PREFIX: &str = "cluster/roster";
/// How long versions are kept at least, by the store's clock.
const KEEP_VERSIONS_FOR: Duration = Duration::from_secs(24 * 3600);
/// How many versions are kept at least.
const KEEP_VERSIONS: usize = 100;
/// The store is asked again so soon after it failed, as whoever hinted that there is a newer roster waits for it; and while a
/// newer one is sure to come.
const SOON: Duration = Duration::from_secs(1);

impl Link for Roster {
    fn version(&self) -> u64 {
        self.version
    }

    fn nonce(&self) -> u128 {
        self.nonce
    }

    fn parent(&self) -> u128 {
        self.parent
    }

    fn encode(&self) -> Vec<u8> {
        encode_roster(self)
    }

    fn decode(key: &str, object: &[u8]) -> Result<Self, RosterError> {
        decode_roster(key, object)
    }
}

/// What a roster's store is made of.
pub struct RosterParts {
    /// The object store.
    pub store: Store,
    /// Who keeps a copy; `None`: nobody.
    pub copy: Option<Arc<dyn RosterCopy>>,
    /// The cluster that this process belongs to.
    pub cluster_id: String,
    /// Where nonces come from.
    pub rng: Arc<dyn Fn() -> u128 + Send + Sync>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// A new schedule entry must hold no earlier than this after it is proposed: everybody has to learn of it before. Less
    /// than the planner's [`super::PlanOptions::entry_ahead`], as a plan takes a moment to get to the store.
    pub entry_ahead_min: Duration,
}

impl std::fmt::Debug for RosterParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RosterParts").field("cluster_id", &self.cluster_id).finish_non_exhaustive()
    }
}

/// What became of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proposed {
    /// It is the roster now.
    Committed(Arc<Roster>),
    /// Another one was first: plan again on this one, the newest.
    Lost(Arc<Roster>),
}

/// The roster of one cluster. Share one in a process.
pub struct RosterStore {
    chain: Chain,
    copy: Option<Arc<dyn RosterCopy>>,
    cluster_id: String,
    entry_ahead_min: Duration,
    /// What the store said last; the copy of the data folder is not here, but in `newest` only.
    known: Mutex<Option<Known<Roster>>>,
    newest: watch::Sender<Option<Arc<Roster>>>,
    /// One task looks or proposes for all of this process.
    turn: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for RosterStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RosterStore").field("cluster_id", &self.cluster_id).finish_non_exhaustive()
    }
}

impl RosterStore {
    /// Opens it: reads the copy in the data folder, which [`RosterStore::watch`] shows at once, and does not talk to the
    /// object store yet. A copy that is damaged is an error: it may be the only trace of what this process had promised.
    /// Blocks for a moment.
    pub fn open(parts: RosterParts) -> Result<Self, RosterError> {
        let RosterParts { store, copy: keeper, cluster_id, rng, clock, entry_ahead_min } = parts;
        let copy = keeper.as_deref().map(RosterCopy::read).transpose()?.flatten().map(Arc::new);
        let rng: Rng = rng;
        let this = Self {
            chain: Chain::new(store, PREFIX, rng, clock),
            copy: keeper,
            cluster_id,
            entry_ahead_min,
            known: Mutex::new(None),
            newest: watch::Sender::new(None),
            turn: tokio::sync::Mutex::new(()),
        };
        if let Some(copy) = copy {
            this.check_cluster("the data folder", &copy)?;
            this.newest.send_replace(Some(copy));
        }
        Ok(this)
    }

    /// The newest roster that this process knows and has persisted; changes as it learns of newer ones.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Roster>>> {
        self.newest.subscribe()
    }

    /// The newest roster that this process knows, without asking anybody. `None` if it knows of none.
    pub fn known(&self) -> Option<Arc<Roster>> {
        self.newest.borrow().clone()
    }

    /// The newest roster, as the store had it at most `max_age` ago; `None` if there is none yet. Two small requests when
    /// nothing changed. Fails when the store cannot be asked: [`RosterStore::known`] still says what was known before.
    pub async fn load(&self, max_age: Duration) -> Result<Option<Arc<Roster>>, RosterError> {
        let asked = self.chain.clock.monotonic();
        if let Some(known) = self.fresh(asked, max_age) {
            return Ok(known.newest);
        }
        let _turn = self.turn.lock().await;
        // Somebody else may have looked while this call waited; what began after it was asked is fresh enough.
        if let Some(known) = self.fresh(asked, max_age) {
            return Ok(known.newest);
        }
        self.look_again().await
    }

    fn fresh(&self, asked: Duration, max_age: Duration) -> Option<Known<Roster>> {
        self.known.lock().clone().filter(|known| known.at.0.saturating_add(max_age) > asked)
    }

    /// Writes `edited` as the version after `base` (`None`: the first), if no other is. The version, the nonce and the
    /// parent are set here.
    pub async fn propose(&self, base: Option<&Roster>, edited: &Roster) -> Result<Proposed, RosterError> {
        let _turn = self.turn.lock().await;
        let next = Roster {
            version: base.map_or(0, |base| base.version) + 1,
            nonce: (self.chain.rng)(),
            parent: base.map_or(0, |base| base.nonce),
            ..edited.clone()
        };
        self.check_proposal(base, &next)?;
        let at = self.chain.now();
        let fate = self.chain.put_next(&next).await?;
        if fate == Fate::Committed {
            let next = Arc::new(next);
            self.learn(Known { newest: Some(Arc::clone(&next)), at }).await?;
            return Ok(Proposed::Committed(next));
        }
        if fate == Fate::Void {
            // What is known is no start any more.
            *self.known.lock() = None;
        }
        match self.look_again().await? {
            Some(newest) => Ok(Proposed::Lost(newest)),
            None => Err(RosterError::WentBack { known: next.version, found: 0 }),
        }
    }

    fn check_proposal(&self, base: Option<&Roster>, next: &Roster) -> Result<(), RosterError> {
        let version = next.version;
        next.check().map_err(|source| RosterError::Invalid { version, source })?;
        self.check_cluster("the proposal", next)?;
        let Some(base) = base else { return Ok(()) };
        let soonest = i128::from(self.chain.clock.now().0) + self.entry_ahead_min.as_nanos() as i128;
        let was_announced =
            |entry: &ScheduleEntry| base.announced().is_some_and(|known| entry.effective >= known.effective);
        let new = |entry: &&ScheduleEntry| !base.schedule.contains(entry) && !was_announced(entry);
        for entry in next.schedule.iter().filter(new) {
            if i128::from(entry.effective.0) < soonest {
                return Err(RosterError::Refused(format!(
                    "a new schedule entry would hold from {} ns on, which is too soon or past",
                    entry.effective.0
                )));
            }
        }
        Ok(())
    }

    async fn look_again(&self) -> Result<Option<Arc<Roster>>, RosterError> {
        let known = self.known.lock().clone();
        let found = self.chain.look(known).await?;
        self.learn(found).await
    }

    /// Persists what is new, then shows it: a process acts on no version that it could forget.
    async fn learn(&self, found: Known<Roster>) -> Result<Option<Arc<Roster>>, RosterError> {
        let before = self.known();
        let went_back = |known: u64, found: u64| Err(RosterError::WentBack { known, found });
        match (&before, &found.newest) {
            (Some(before), None) => return went_back(before.version, 0),
            (Some(before), Some(newest)) if newest.version < before.version => {
                return went_back(before.version, newest.version);
            }
            (Some(before), Some(newest))
                if newest.version == before.version && newest.nonce != before.nonce =>
            {
                return went_back(before.version, newest.version);
            }
            _ => {}
        }
        if let Some(newest) = &found.newest
            && before.is_none_or(|before| before.version < newest.version)
        {
            self.check_cluster("the object store", newest)?;
            if let Some(copy) = &self.copy {
                copy.write(Arc::clone(newest)).await?;
            }
            tracing::info!(version = newest.version, cells = newest.cells.len(), "roster learned");
            self.newest.send_replace(Some(Arc::clone(newest)));
        }
        let newest = found.newest.clone();
        *self.known.lock() = Some(found);
        Ok(newest)
    }

    fn check_cluster(&self, place: &str, roster: &Roster) -> Result<(), RosterError> {
        if roster.cluster_id == self.cluster_id {
            return Ok(());
        }
        Err(RosterError::OtherCluster {
            place: place.to_owned(),
            found: roster.cluster_id.clone(),
            expected: self.cluster_id.clone(),
        })
    }

    /// Looks at the store every so often, and when `hint` names a version that is newer than what is known (gossip), until
    /// the hints' sender is dropped. Failures are logged when they begin.
    pub async fn follow(&self, every: Duration, mut hint: watch::Receiver<u64>, pulse: &Pulse) {
        let (mut failing, mut followed) = (false, 0);
        loop {
            let work = pulse.work();
            match self.load(Duration::ZERO).await {
                Ok(_) => failing = false,
                Err(error) => {
                    if !failing {
                        tracing::warn!(error = %hearth_common::error::chain(&error), "the roster cannot be loaded; going on with what is known");
                    }
                    failing = true;
                }
            }
            drop(work);
            let known = self.known();
            // Until an announced change of placement has its time, leaders hold back what it may move.
            let soon = failing || known.as_ref().is_some_and(|known| known.announced().is_some());
            let known = known.map_or(0, |roster| roster.version);
            tokio::select! {
                () = tokio::time::sleep(if soon { every.min(SOON) } else { every }) => {}
                // Each hint is followed once: a false one, or one while the store is away, makes no busy loop.
                hinted = hint.wait_for(|version| *version > known.max(followed)) => match hinted {
                    Ok(version) => followed = *version,
                    Err(_) => return,
                }
            }
        }
    }

    /// The versions that may be deleted now: older than 24 hours and not among the newest 100. Lists.
    pub async fn collectable(&self) -> Result<Vec<u64>, RosterError> {
        let versions: Vec<Version> = self.chain.versions().await?;
        let now: TimestampNs = self.chain.clock.now();
        Ok(expired_versions(&versions, now, KEEP_VERSIONS_FOR, KEEP_VERSIONS))
    }

    /// Deletes what [`RosterStore::collectable`] named, in ascending order. For whoever runs the compactor.
    pub async fn delete_versions(&self, versions: &[u64]) -> Result<(), RosterError> {
        self.chain.delete(versions).await
    }
}
