//! Losses that the roster records, for a command that works on the store from outside: who has looked at them says that answers
//! need no mark any more.

use std::sync::Arc;
use std::time::Duration;

use hearth_cluster::roster::{Change, Proposed, Roster, RosterError, RosterParts, RosterStore, apply};
use hearth_common::{CellId, Clock, SystemClock, TimestampNs};
use hearth_objstore::{Store, StoreOptions};
use hearth_settings::Settings;

use crate::error::NodeError;
use crate::open::random;

/// A planner of the cluster may be first so often.
const TRIES_MAX: u32 = 20;

/// A log that is gone, with records that may not have been published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenLoss {
    /// Whose log.
    pub cell: CellId,
    /// When it was recorded.
    pub since: TimestampNs,
    /// What happened, for people.
    pub text: String,
}

/// The losses of the cluster whose roster is in the store, but for those that were accepted before; with `accept` all of them are
/// accepted that it chooses.
pub async fn losses(
    settings: &Settings,
    accept: Option<&(dyn Fn(&OpenLoss) -> bool + Sync)>,
) -> Result<Vec<OpenLoss>, NodeError> {
    let store =
        Store::open(&settings.object_store_url(), StoreOptions::default()).map_err(NodeError::Store)?;
    accept_in(store, settings.cluster.id.clone(), accept).await.map_err(NodeError::Roster)
}

async fn accept_in(
    store: Store,
    cluster_id: String,
    accept: Option<&(dyn Fn(&OpenLoss) -> bool + Sync)>,
) -> Result<Vec<OpenLoss>, RosterError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let parts = RosterParts {
        store,
        copy: None,
        cluster_id,
        rng: Arc::new(random),
        clock,
        entry_ahead_min: Duration::ZERO,
    };
    let rosters = RosterStore::open(parts)?;
    let mut base = rosters.load(Duration::ZERO).await?;
    let mut tries = 0;
    loop {
        let Some(roster) = &base else { return Ok(Vec::new()) };
        let open = open(roster);
        let chosen = |loss: &OpenLoss| accept.is_some_and(|accept| accept(loss));
        let changes: Vec<Change> = roster
            .open_losses()
            .zip(&open)
            .filter(|(_, shown)| chosen(shown))
            .map(|(loss, _)| Change::AcceptLoss(loss.log))
            .collect();
        if changes.is_empty() {
            return Ok(open);
        }
        let edited =
            apply(Some(roster), &changes).map_err(|error| RosterError::Refused(error.to_string()))?;
        tries += 1;
        match rosters.propose(Some(roster), &edited).await? {
            Proposed::Committed(_) => return Ok(open),
            Proposed::Lost(_) if tries == TRIES_MAX => return Err(contended(tries)),
            Proposed::Lost(newer) => base = Some(newer),
        }
    }
}

fn contended(attempts: u32) -> RosterError {
    RosterError::Contended { chain: "cluster/roster".to_owned(), attempts }
}

fn open(roster: &Roster) -> Vec<OpenLoss> {
    let about = |loss: &hearth_cluster::roster::Loss| OpenLoss {
        cell: loss.cell.clone(),
        since: loss.since,
        text: loss.text.clone(),
    };
    roster.open_losses().map(about).collect()
}

#[cfg(test)]
mod tests {
    use hearth_cluster::roster::ScheduleEntry;
    use hearth_common::{InstanceId, LogId};

    use super::*;

    fn loss(log: u128, cell: &str) -> hearth_cluster::roster::Loss {
        let cell = CellId(InstanceId(Arc::from(cell)));
        let text = format!("the disk of {} is gone", cell.0);
        let (log, since) = (LogId(log), TimestampNs(7));
        hearth_cluster::roster::Loss { cell, log, since, text, accepted: false }
    }

    async fn with_roster(losses: Vec<hearth_cluster::roster::Loss>) -> (Store, Roster) {
        let store = Store::open("memory:", StoreOptions::default()).expect("opens");
        let member =
            hearth_common::MemberId { instance: InstanceId(Arc::from("a")), disk: hearth_common::DiskId(1) };
        let cell = hearth_cluster::roster::Cell {
            id: CellId(InstanceId(Arc::from("a"))),
            log: LogId(5),
            founders: vec![member.clone()],
            wanted: vec![member.clone()],
            state: hearth_cluster::roster::CellState::Open,
        };
        let first = Roster {
            version: 1,
            nonce: 0,
            parent: 0,
            cluster_id: "test".to_owned(),
            factor: 1,
            members: vec![hearth_cluster::roster::Member {
                id: member,
                zone: String::new(),
                state: hearth_cluster::roster::MemberState::Active,
                joined: TimestampNs(1),
            }],
            cells: vec![cell.clone()],
            schedule: vec![ScheduleEntry::new(TimestampNs(i64::MIN), vec![cell.id])],
            losses,
        };
        let parts = RosterParts {
            store: store.clone(),
            copy: None,
            cluster_id: "test".to_owned(),
            rng: Arc::new(random),
            clock: Arc::new(SystemClock::default()),
            entry_ahead_min: Duration::ZERO,
        };
        let rosters = RosterStore::open(parts).expect("opens");
        assert!(matches!(rosters.propose(None, &first).await, Ok(Proposed::Committed(_))));
        (store, first)
    }

    #[tokio::test]
    async fn losses_are_shown_until_they_are_accepted() {
        let (store, _) = with_roster(vec![loss(1, "a"), loss(2, "b")]).await;
        let cells = |open: Vec<OpenLoss>| open.iter().map(|loss| loss.cell.0.to_string()).collect::<Vec<_>>();
        let ask = |accept: Option<&'static (dyn Fn(&OpenLoss) -> bool + Sync)>| {
            let store = store.clone();
            async move { cells(accept_in(store, "test".to_owned(), accept).await.expect("answers")) }
        };
        assert_eq!(ask(None).await, ["a", "b"]);
        assert_eq!(ask(None).await, ["a", "b"], "looking changes nothing");
        assert_eq!(ask(Some(&|loss| &*loss.cell.0.0 == "a")).await, ["a", "b"]);
        assert_eq!(ask(None).await, ["b"]);
        assert_eq!(ask(Some(&|_| true)).await, ["b"]);
        assert_eq!(ask(None).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn the_roster_of_another_cluster_is_left_alone() {
        let (store, _) = with_roster(vec![loss(1, "a")]).await;
        let error = accept_in(store, "other".to_owned(), Some(&|_| true)).await.expect_err("refused");
        assert!(error.to_string().contains("'test'"), "{error}");
    }
}
