//! The chain of states of one upload: each is put if absent behind the one before, so that of two who change it at once one
//! sees what the other did (as roots and rosters: design replication B8).

use bytes::Bytes;
use hearth_common::{TenantId, TimestampNs};
use hearth_objstore::{ObjectInfo, PutOutcome, Store, StoreError};
use hearth_symbols::BuildId;

use crate::error::Error;
use crate::keys;
use crate::record::{RECORD_BYTES_MAX, Record};

/// How often the newest state is looked for while states go away.
const LOOKS_MAX: u32 = 8;
/// How often the same state is put, or asked for, when the store does not say what became of it.
const PUTS_MAX: u32 = 6;
/// So many of the newest states are kept in any case, …
const STATES_KEPT: u64 = 4;
/// … and the others for so long: nobody tries for longer to add one.
const STATES_KEPT_FOR_NS: i64 = 24 * 3600 * 1_000_000_000;

/// What became of a state that was put.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It counts.
    Committed,
    /// Another is there, or it came where nobody looks any more: begin again from the newest.
    Lost,
}

/// The states of one upload.
pub(crate) struct States<'a> {
    pub(crate) store: &'a Store,
    pub(crate) tenant: &'a TenantId,
    pub(crate) build_id: &'a BuildId,
}

impl States<'_> {
    /// The newest; `None`: it was never begun.
    pub(crate) async fn newest(&self) -> Result<Option<Record>, Error> {
        for _ in 0..LOOKS_MAX {
            let listed = self.store.list(&keys::states(self.tenant, self.build_id)).await?;
            let Some(version) = listed.iter().filter_map(|object| self.version(object)).max() else {
                return Ok(None);
            };
            if let Some(record) = self.read(version).await? {
                return Ok(Some(record));
            }
        }
        Err(self.contended(LOOKS_MAX))
    }

    /// Tries to make `next` the newest; it names the version before as its parent.
    pub(crate) async fn add(&self, next: &Record) -> Result<Fate, Error> {
        let key = keys::state(self.tenant, self.build_id, next.version);
        let object = Bytes::from(next.encode());
        let mut last_error: Option<StoreError> = None;
        for _ in 0..PUTS_MAX {
            match self.store.put_if_absent(&key, object.clone()).await {
                Ok(PutOutcome::Created) => return self.confirm(next).await,
                Ok(PutOutcome::AlreadyExists) => {}
                Err(error) if error.outcome_unknown() => last_error = Some(error),
                Err(error) => return Err(error.into()),
            }
            match self.read(next.version).await {
                Ok(Some(found)) if found.nonce == next.nonce => return self.confirm(next).await,
                Ok(Some(_)) => return Ok(Fate::Lost),
                // Absent: the same bytes again.
                Ok(None) => {}
                Err(Error::Store(error)) => last_error = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last_error.map_or_else(|| self.contended(PUTS_MAX), Error::Store))
    }

    /// It exists; it counts only if the one before does: else states up to it were removed, and nobody looks for it there.
    async fn confirm(&self, next: &Record) -> Result<Fate, Error> {
        let follows = match next.version - 1 {
            0 => {
                let listed = self.store.list(&keys::states(self.tenant, self.build_id)).await?;
                let newer = listed.iter().filter_map(|object| self.version(object)).any(|v| v > next.version);
                match newer {
                    false => true,
                    true => self.read(next.version + 1).await?.is_some_and(|it| it.parent == next.nonce),
                }
            }
            base => self.read(base).await?.is_some_and(|it| it.nonce == next.parent),
        };
        Ok(if follows { Fate::Committed } else { Fate::Lost })
    }

    /// Removes old states, the oldest first.
    pub(crate) async fn prune(&self, now: TimestampNs) -> Result<(), Error> {
        let mut listed = self.store.list(&keys::states(self.tenant, self.build_id)).await?;
        let Some(newest) = listed.iter().filter_map(|object| self.version(object)).max() else {
            return Ok(());
        };
        let old = |object: &ObjectInfo| {
            let version = self.version(object);
            version.is_some_and(|version| version + STATES_KEPT <= newest)
                && now.0.saturating_sub(object.modified.0) > STATES_KEPT_FOR_NS
        };
        // Keys sort as their versions do.
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        let gone: Vec<String> =
            listed.into_iter().take_while(|object| old(object)).map(|object| object.key).collect();
        Ok(self.store.delete(&gone).await?)
    }

    async fn read(&self, version: u64) -> Result<Option<Record>, Error> {
        let key = keys::state(self.tenant, self.build_id, version);
        read(self.store, &key).await
    }

    fn version(&self, object: &ObjectInfo) -> Option<u64> {
        keys::parse_state(self.tenant, &object.key).map(|(_, version)| version)
    }

    pub(crate) fn contended(&self, attempts: u32) -> Error {
        Error::Contended { build_id: self.build_id.clone(), attempts }
    }
}

/// A state by its key; `None`: there is none.
pub(crate) async fn read(store: &Store, key: &str) -> Result<Option<Record>, Error> {
    match store.get(key, RECORD_BYTES_MAX).await {
        Ok(object) => Record::decode(key, &object).map(Some),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
