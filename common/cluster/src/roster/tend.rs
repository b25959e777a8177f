//! Brings the roster to where it should be: plans and proposes, step by step. Any number of processes may do so at once:
//! put-if-absent picks one, the others plan again.

use std::sync::Arc;
use std::time::Duration;

use super::change::{Change, InvalidChange, apply};
use super::error::RosterError;
use super::plan::{Plan, plan};
use super::sight::{Note, PlanOptions, Sight};
use super::store::{Proposed, RosterStore};
use super::types::Roster;

/// Most steps of one call; the next call goes on.
const STEPS_MAX: usize = 100;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tended {
    /// The newest roster; `None`: the cluster has not begun.
    pub roster: Option<Arc<Roster>>,
    /// For people, of the last plan.
    pub notes: Vec<Note>,
    /// How many steps were committed by this call.
    pub steps: usize,
}

/// Plans and proposes until nothing is left to do now. For a task that calls it every second or so; what `sight` says must
/// be fresh. The first plan is made on the newest version in the store, not on an older one that is known.
pub async fn tend(
    store: &RosterStore,
    sight: &Sight<'_>,
    options: &PlanOptions,
    random: &(dyn Fn() -> u128 + Send + Sync),
) -> Result<Tended, RosterError> {
    let mut roster = store.load(Duration::ZERO).await?;
    let mut steps = 0;
    for _ in 0..STEPS_MAX {
        let Plan { changes, notes } = plan(roster.as_deref(), sight, options, &mut || random());
        if changes.is_empty() {
            return Ok(Tended { roster, notes, steps });
        }
        let next = apply(roster.as_deref(), &changes).map_err(|error| refused(&error))?;
        roster = match store.propose(roster.as_deref(), &next).await? {
            Proposed::Committed(now) => {
                let changes: Vec<String> = changes.iter().map(Change::to_string).collect();
                tracing::info!(version = now.version, change = changes.join("; "), "roster changed");
                steps += 1;
                Some(now)
            }
            Proposed::Lost(newest) => Some(newest),
        };
    }
    Ok(Tended { roster, notes: Vec::new(), steps })
}

fn refused(error: &InvalidChange) -> RosterError {
    RosterError::Refused(hearth_common::error::chain(error))
}
