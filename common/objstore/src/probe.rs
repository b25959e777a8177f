//! The look at start-up whether the store keeps the one promise that everything rests on (design: replication A28).

use bytes::Bytes;
use futures::future::join_all;

use crate::error::{StoreError, StoreErrorKind};
use crate::metrics::Operation;
use crate::store::{PutOutcome, Store};

/// Creates of one key at once.
const RIVALS: u8 = 8;

impl Store {
    /// Creates one key several times at once and once more afterwards: at most one create may win, the object must hold
    /// the winner's bytes, and the late one must lose. `unique` is a random number. Leaves nothing behind if the store
    /// lets it delete.
    pub async fn probe(&self, unique: u128) -> Result<(), StoreError> {
        let key = format!("probe/{unique:032x}");
        let body = |n: u8| Bytes::from(format!("{unique:032x} {n}"));
        let outcomes = join_all((0..RIVALS).map(|n| self.put_if_absent(&key, body(n)))).await;
        let mut winners = Vec::new();
        for (n, outcome) in (0..RIVALS).zip(outcomes) {
            if outcome? == PutOutcome::Created {
                winners.push(n);
            }
        }
        let late = self.put_if_absent(&key, body(RIVALS)).await?;
        let held = self.get(&key, 1024).await?;
        self.delete(std::slice::from_ref(&key)).await?;
        let broken = if winners.len() > 1 {
            Some("two creates of one key succeeded: it ignores If-None-Match")
        } else if late == PutOutcome::Created {
            Some("it created an object that existed: it ignores If-None-Match")
        } else if winners.first().is_some_and(|n| held != body(*n)) {
            Some("an object does not hold the bytes of the create that succeeded")
        } else {
            None
        };
        match broken {
            Some(why) => Err(StoreError::new(
                Operation::Create,
                &key,
                StoreErrorKind::Unusable(format!("{why}; use a store with conditional writes")),
            )),
            None => Ok(()),
        }
    }
}
