//! The loop that keeps the roster as it should be. Any ingester may change it, put-if-absent picks one; they take turns
//! only to spare the store.

use std::sync::Arc;
use std::time::Duration;

use hearth_cluster::gossip::Role;
use hearth_cluster::roster::{CellState, Knowledge, LogId, Roster, RosterError, Volume, tend};
use hearth_common::error::chain;
use hearth_common::{InstanceId, MemberId, TimestampNs};
use hearth_internode::api::MemberStatus;

use super::{Asked, Membership};

/// How long the next in line waits for the one before it.
const TURN: Duration = Duration::from_secs(3);
/// Those further behind all wait as long as this one.
const RANK_MAX: u32 = 5;
/// How often leaders of cells that are on their way out are asked whether all is published.
const DRAINED_EVERY: Duration = Duration::from_secs(10);
/// How often leaders are asked what is pushed of services.
const VOLUMES_EVERY: Duration = Duration::from_secs(20);

/// Since when a version of the roster is to be changed.
#[derive(Debug, Default)]
struct Turn(Option<(u64, Duration)>);

impl Turn {
    /// Whether the member with `rank` others before it may change `version` now.
    fn come(&mut self, version: u64, rank: u32, now: Duration) -> bool {
        let since = match self.0 {
            Some((known, since)) if known == version => since,
            _ => self.0.insert((version, now)).1,
        };
        now.saturating_sub(since) >= TURN * rank.min(RANK_MAX)
    }

    /// Nothing is to be changed.
    fn idle(&mut self) {
        self.0 = None;
    }
}

impl Membership {
    pub(super) async fn plan_on(self: Arc<Self>) {
        let (mut turn, mut asked, mut listened, mut failing) = (Turn::default(), None, None, false);
        loop {
            tokio::time::sleep(self.options.plan_every).await;
            let _work = self.pulses.planner.work();
            let roster = self.store.known();
            self.look_for_drained(roster.as_deref(), &mut asked).await;
            self.listen_for_volumes(roster.as_deref(), &mut listened).await;
            self.ask_what_is_known(roster.as_deref()).await;
            let plan = self.plan_now(roster.as_deref());
            self.metrics.noted(plan.notes);
            if plan.changes.is_empty() {
                turn.idle();
                continue;
            }
            let version = roster.map_or(0, |roster| roster.version);
            if !turn.come(version, self.rank(), self.clock.monotonic()) {
                continue;
            }
            match self.change().await {
                Ok(()) => failing = false,
                Err(error) => {
                    self.metrics.failed();
                    if !failing {
                        tracing::warn!(error = %chain(&error), "the roster should change and cannot be changed");
                    }
                    failing = true;
                }
            }
        }
    }

    /// Takes the steps that are due, on the newest roster.
    async fn change(&self) -> Result<(), RosterError> {
        let rng = Arc::clone(&self.rng);
        let sighting = self.sighting();
        let tended = tend(&self.store, &sighting.sight(), &self.options.plan, &*rng).await?;
        self.metrics.changed(tended.steps);
        Ok(())
    }

    /// How many ingesters that are alive come before this one, by name.
    fn rank(&self) -> u32 {
        let peers = Arc::clone(&self.peers.borrow());
        let names = peers.role(Role::Ingester).map(|peer| &peer.said.instance);
        rank_of(&self.options.instance, names)
    }

    /// Remembers which logs of cells on their way out are published to their ends.
    async fn look_for_drained(&self, roster: Option<&Roster>, asked: &mut Option<Duration>) {
        let leaves =
            roster.is_some_and(|roster| roster.cells.iter().any(|cell| cell.state == CellState::Lingering));
        let now = self.clock.monotonic();
        if !leaves {
            self.drained.lock().clear();
            return;
        }
        if asked.is_some_and(|asked| now.saturating_sub(asked) < DRAINED_EVERY) {
            return;
        }
        *asked = Some(now);
        let statuses = self.ask_all().await;
        let cells = statuses.values().flatten().flat_map(|status| &status.cells);
        let drained = cells.filter(|cell| {
            cell.role == "leader" && cell.durable_end == cell.committed && cell.released >= cell.committed
        });
        *self.drained.lock() = drained.map(|cell| cell.log).collect();
    }

    /// Remembers whether all cells know of a change of placement that is announced. Only those ask whose turn comes first.
    async fn ask_what_is_known(&self, roster: Option<&Roster>) {
        let known = match roster.filter(|roster| roster.announced().is_some() && self.rank() <= 1) {
            Some(roster) => Some(knowledge(roster, &self.ask_all().await, self.clock.now())),
            None => None,
        };
        *self.knowledge.lock() = known;
    }

    /// Remembers what is pushed of services. Only those do so whose turn comes first: everybody asks everybody.
    async fn listen_for_volumes(&self, roster: Option<&Roster>, listened: &mut Option<Duration>) {
        let now = self.clock.monotonic();
        let Some(roster) = roster.filter(|_| self.options.plan.shard_bytes_per_second > 0) else { return };
        if self.rank() > 1 || listened.is_some_and(|at| now.saturating_sub(at) < VOLUMES_EVERY) {
            return;
        }
        *listened = Some(now);
        let statuses = self.ask_all().await;
        *self.volumes.lock() = volumes(roster, &statuses);
    }
}

/// What is pushed of services, if each open cell has a leader among those that answered: a part of it would take shards
/// from services that need them.
fn volumes(roster: &Roster, statuses: &Asked) -> Option<Vec<Volume>> {
    let said = || statuses.values().flatten();
    let leads =
        |log| said().any(|status| status.cells.iter().any(|cell| cell.log == log && cell.role == "leader"));
    let mut open = roster.cells.iter().filter(|cell| cell.state == CellState::Open);
    open.all(|cell| leads(cell.log)).then(|| said().flat_map(|status| status.volumes.clone()).collect())
}

/// The version that all cells know, whoever leads them now or later, as far as those say so that answered.
fn knowledge(roster: &Roster, statuses: &Asked, wall: TimestampNs) -> Knowledge {
    let said: Vec<&MemberStatus> = statuses.values().flatten().collect();
    let wall = said.iter().map(|status| TimestampNs(status.wall_ns)).fold(wall, TimestampNs::max);
    let mut version = Ok(roster.version);
    for cell in roster.cells_to_ask() {
        let known = known_to(cell.log, &said).ok_or_else(|| cell.id.clone());
        version = version.and_then(|version| Ok(known?.min(version)));
    }
    Knowledge { version, wall }
}

/// What the leader of a log knows, and enough members that whoever is elected after it gets the vote of one who knows. `None`
/// if nobody says that it leads in the newest term that anybody is in.
fn known_to(log: LogId, said: &[&MemberStatus]) -> Option<u64> {
    let copies = said.iter().flat_map(|status| status.cells.iter().map(move |cell| (status, cell)));
    let copies: Vec<_> = copies.filter(|(_, cell)| cell.log == log).collect();
    let term = copies.iter().map(|(_, cell)| cell.term).max()?;
    let (leader, state) = copies.iter().find(|(_, cell)| cell.role == "leader" && cell.term == term)?;
    let mut voters: Vec<&MemberId> =
        state.peers.iter().filter(|peer| peer.voter).map(|peer| &peer.member).collect();
    if state.standing == "voter" {
        voters.push(&leader.member);
    }
    let version = |voter: &&MemberId| {
        said.iter().find(|status| status.member == **voter).map_or(0, |status| status.roster_version)
    };
    let mut versions: Vec<u64> = voters.iter().map(version).collect();
    versions.sort_unstable();
    // The least of the greatest that are a majority.
    let majority = versions.len() / 2 + 1;
    let of_majority = *versions.get(versions.len().checked_sub(majority)?)?;
    Some(of_majority.min(leader.roster_version))
}

fn rank_of<'a>(me: &InstanceId, ingesters: impl Iterator<Item = &'a InstanceId>) -> u32 {
    u32::try_from(ingesters.filter(|other| *other < me).count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use hearth_common::{CellId, DiskId, Position};
    use hearth_internode::api::{CellStatus, PeerStatus};

    use super::*;

    #[test]
    fn the_first_goes_at_once_and_the_others_wait_their_turn() {
        let s = Duration::from_secs;
        let mut turn = Turn::default();
        assert!(turn.come(1, 0, s(10)));
        assert!(!turn.come(1, 1, s(12)) && turn.come(1, 1, s(13)));
        assert!(!turn.come(2, 1, s(14)), "another version is another wait");
        assert!(!turn.come(2, 2, s(18)) && turn.come(2, 2, s(20)));
        turn.idle();
        assert!(!turn.come(2, 1, s(30)), "so is a wish after a pause");
        assert!(turn.come(2, 9_999, s(45)), "nobody waits for ever");
    }

    fn id(name: char) -> MemberId {
        MemberId { instance: InstanceId(Arc::from(name.to_string())), disk: DiskId(1) }
    }

    /// Members of the log 7: `a5L2` is a with version 5 of the roster, in term 2, the leader. All of `abc` vote.
    fn known(members: &str) -> Option<u64> {
        let number = |c: Option<char>| c.and_then(|c| c.to_digit(10)).map_or(0, u64::from);
        let status = |text: &str| {
            let mut chars = text.chars();
            let (name, version) = (chars.next().unwrap_or_default(), number(chars.next()));
            let role = if chars.next() == Some('L') { "leader" } else { "follower" };
            let peer = |name| PeerStatus {
                member: id(name),
                voter: true,
                matched: Position(0),
                last_heard_ms: None,
            };
            let cell = CellStatus {
                cell: CellId(id('a').instance),
                log: LogId(7),
                role: role.to_owned(),
                term: number(chars.next()),
                leader: None,
                durable_end: Position(0),
                committed: Position(0),
                covered: Position(0),
                released: Position(0),
                base: Position(0),
                peers: "abc".chars().filter(|other| *other != name).map(peer).collect(),
                waits_for: String::new(),
                standing: "voter".to_owned(),
                damaged: false,
            };
            MemberStatus {
                cluster_id: "test".to_owned(),
                member: id(name),
                roster_version: version,
                state: "active".to_owned(),
                cells: vec![cell],
                volumes: Vec::new(),
                wall_ns: 0,
            }
        };
        let said: Vec<MemberStatus> = members.split_whitespace().map(status).collect();
        known_to(LogId(7), &said.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_cell_knows_what_its_leader_and_a_majority_know() {
        assert_eq!(known("a5L2 b5F2 c5F2"), Some(5));
        assert_eq!(
            known("a5L2 b4F2"),
            Some(4),
            "of two that answer the lesser, as the third may vote with it"
        );
        assert_eq!(known("a5L2 b4F2 c5F2"), Some(5));
        assert_eq!(known("a3L2 b5F2 c5F2"), Some(3), "the leader takes records");
        assert_eq!(known("a5L2"), Some(0), "the others may elect one of them");
        assert_eq!(known("a5L2 b5F3 c5F2"), None, "somebody else may lead in term 3");
        assert_eq!(known("a5L2 b3L3 c5F3"), Some(3));
        assert_eq!((known("a5F2 b5F2"), known("")), (None, None));
    }

    #[test]
    fn ranks_follow_names() {
        let names: Vec<InstanceId> = ["a", "b", "c"].map(|name| InstanceId(Arc::from(name))).to_vec();
        let ranks: Vec<u32> = names.iter().map(|name| rank_of(name, names.iter())).collect();
        assert_eq!(ranks, [0, 1, 2]);
    }
}
