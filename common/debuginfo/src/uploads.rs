//! Uploads: begun, received, finished, listed, deleted (api-semantics §10.5).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use hearth_common::{Clock, TenantId, TimestampNs};
use hearth_objstore::Store;
use hearth_symbols::BuildId;

use crate::error::Error;
use crate::keys;
use crate::programs::Programs;
use crate::receiving::Receiving;
use crate::record::{FileInfo, Received, Record, State, UploadId};
use crate::states::{self, Fate, States};

/// How often a change begins again because others changed the same upload.
const CHANGES_MAX: u32 = 16;
/// States that a listing reads at once.
const READS_AT_ONCE: usize = 16;

/// Where nonces come from.
pub type Rng = Arc<dyn Fn() -> u128 + Send + Sync>;

/// The uploads of all tenants of one store. Clones share it.
#[derive(Clone)]
pub struct Uploads {
    pub(crate) store: Store,
    rng: Rng,
    clock: Arc<dyn Clock>,
    stale_after: Duration,
}

impl std::fmt::Debug for Uploads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uploads").field("stale_after", &self.stale_after).finish_non_exhaustive()
    }
}

/// Whether a client is to send its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Yes: the upload is pending now.
    Yes(String),
    /// No, and why not.
    No(String),
}

/// An upload that is pending or finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What the client said of it.
    pub file: FileInfo,
    /// When it was begun.
    pub started: TimestampNs,
    /// When it was finished; `None`: it is not.
    pub finished: Option<TimestampNs>,
    /// Length of the file; 0 until one has come.
    pub size_bytes: u64,
}

impl Uploads {
    /// Uploads in a store. One that was begun longer ago than `stale_after` does not keep others from beginning.
    pub fn new(store: Store, rng: Rng, clock: Arc<dyn Clock>, stale_after: Duration) -> Self {
        Self { store, rng, clock, stale_after }
    }

    fn states<'a>(&'a self, tenant: &'a TenantId, build_id: &'a BuildId) -> States<'a> {
        States { store: &self.store, tenant, build_id }
    }

    /// Whether a client is to send a file; if so, the upload is pending from now on.
    pub async fn begin(&self, tenant: &TenantId, file: &FileInfo) -> Result<Begun, Error> {
        file.check()?;
        let states = self.states(tenant, &file.build_id);
        for _ in 0..CHANGES_MAX {
            let newest = states.newest().await?;
            let now = self.clock.now();
            let yes = match newest.as_ref().map(|record| (record.state, record.started)) {
                None | Some((State::Deleted, _)) => "nobody has uploaded this build id",
                Some((State::Uploaded, _)) => {
                    return Ok(Begun::No("it has been uploaded before".to_owned()));
                }
                Some((State::Uploading, started)) if self.is_stale(started, now) => {
                    "an earlier upload was never finished"
                }
                Some((State::Uploading, _)) => {
                    return Ok(Begun::No("somebody is uploading it".to_owned()));
                }
            };
            let next = Record {
                state: State::Uploading,
                file: file.clone(),
                started: now,
                finished: None,
                received: None,
                ..self.after(newest.as_ref(), file)
            };
            if states.add(&next).await? == Fate::Committed {
                states.prune(now).await?;
                return Ok(Begun::Yes(yes.to_owned()));
            }
        }
        Err(states.contended(CHANGES_MAX))
    }

    fn is_stale(&self, started: TimestampNs, now: TimestampNs) -> bool {
        i128::from(now.0) - i128::from(started.0) > self.stale_after.as_nanos() as i128
    }

    /// The state behind another one, with a nonce of its own.
    fn after(&self, newest: Option<&Record>, file: &FileInfo) -> Record {
        Record {
            version: newest.map_or(0, |record| record.version) + 1,
            // 0 stands for "none".
            nonce: (self.rng)().max(1),
            parent: newest.map_or(0, |record| record.nonce),
            state: State::Uploading,
            file: file.clone(),
            started: self.clock.now(),
            finished: None,
            received: None,
        }
    }

    /// Begins to receive the file of a pending upload.
    pub async fn receive(&self, tenant: &TenantId, build_id: &BuildId) -> Result<Receiving, Error> {
        let newest = self.states(tenant, build_id).newest().await?;
        let Some(pending) = newest.filter(|record| record.state == State::Uploading) else {
            return Err(Error::NotPending(build_id.clone()));
        };
        let upload = UploadId((self.rng)().max(1));
        let key = keys::file(tenant, build_id, upload);
        Ok(Receiving::new(self.clone(), tenant.clone(), build_id.clone(), (upload, pending.started), key))
    }

    /// A file was received as a whole: the pending upload names it from now on, if it is the one that was begun at `started`.
    /// Another one may have been begun since, and the file may be among those that the end of the earlier one takes away.
    pub(crate) async fn received(
        &self,
        tenant: &TenantId,
        build_id: &BuildId,
        started: TimestampNs,
        received: Received,
    ) -> Result<(), Error> {
        let states = self.states(tenant, build_id);
        let pending = |record: &Record| record.state == State::Uploading && record.started == started;
        for _ in 0..CHANGES_MAX {
            let Some(newest) = states.newest().await?.filter(pending) else {
                return Err(Error::NotPending(build_id.clone()));
            };
            let next = Record {
                started: newest.started,
                received: Some(received),
                ..self.after(Some(&newest), &newest.file)
            };
            if states.add(&next).await? == Fate::Committed {
                // Nobody reads what is pending: another file that came before is not needed any more.
                if let Some(before) = newest.received {
                    self.store.delete(&[keys::file(tenant, build_id, before.upload)]).await?;
                }
                return Ok(());
            }
        }
        Err(states.contended(CHANGES_MAX))
    }

    /// Finishes a pending upload whose file was received. What was known of the program before is forgotten. Of an upload that
    /// is finished it says the same again, and does what an earlier call may have left undone.
    pub async fn finish(&self, tenant: &TenantId, build_id: &BuildId) -> Result<Entry, Error> {
        let states = self.states(tenant, build_id);
        for _ in 0..CHANGES_MAX {
            let files = self.files(tenant, build_id).await?;
            let newest = states.newest().await?.filter(|record| record.state != State::Deleted);
            let Some(newest) = newest else { return Err(Error::NotFound(build_id.clone())) };
            let Some(received) = newest.received else { return Err(Error::NoFile(build_id.clone())) };
            let key = keys::file(tenant, build_id, received.upload);
            let finished = if newest.state == State::Uploaded {
                newest
            } else {
                if !self.store.exists(&key).await? {
                    return Err(Error::NoFile(build_id.clone()));
                }
                // As a state keeps it, so that whoever asks again is told the same.
                let now = TimestampNs::from_ms(self.clock.now().as_ms());
                let next = Record {
                    state: State::Uploaded,
                    started: newest.started,
                    finished: Some(now),
                    received: Some(received),
                    ..self.after(Some(&newest), &newest.file)
                };
                if states.add(&next).await? != Fate::Committed {
                    continue;
                }
                next
            };
            self.clear(tenant, build_id, files, Some(&key)).await?;
            return Ok(entry(finished));
        }
        Err(states.contended(CHANGES_MAX))
    }

    /// All uploads that are pending or finished, by build id. Lists.
    pub async fn list(&self, tenant: &TenantId) -> Result<Vec<Entry>, Error> {
        let mut newest: BTreeMap<String, (u64, String)> = BTreeMap::new();
        for object in self.store.list(&keys::uploads(tenant)).await? {
            let Some((build_id, version)) = keys::parse_state(tenant, &object.key) else { continue };
            let known = newest.entry(build_id.as_str().to_owned()).or_default();
            if version > known.0 {
                *known = (version, object.key);
            }
        }
        let reads = newest.into_values().map(|(_, key)| async move { states::read(&self.store, &key).await });
        let records: Vec<Option<Record>> =
            futures::stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        let there = |record: &Record| record.state != State::Deleted;
        Ok(records.into_iter().flatten().filter(there).map(entry).collect())
    }

    /// Removes an upload, its file, and the line table of the program; what is not there is no error.
    pub async fn delete(&self, tenant: &TenantId, build_id: &BuildId) -> Result<(), Error> {
        let states = self.states(tenant, build_id);
        for _ in 0..CHANGES_MAX {
            let files = self.files(tenant, build_id).await?;
            let newest = states.newest().await?;
            let gone = match newest.filter(|record| record.state != State::Deleted) {
                None => true,
                Some(newest) => {
                    let file = &newest.file;
                    let next = Record {
                        state: State::Deleted,
                        started: newest.started,
                        ..self.after(Some(&newest), file)
                    };
                    states.add(&next).await? == Fate::Committed
                }
            };
            if gone {
                return self.clear(tenant, build_id, files, None).await;
            }
        }
        Err(states.contended(CHANGES_MAX))
    }

    /// Files that were received. Asked for before the state is looked at that ends an upload: what comes later may be of the next
    /// one, which must not lose it. It is named by a state, or removed by who sent it.
    async fn files(&self, tenant: &TenantId, build_id: &BuildId) -> Result<Vec<String>, Error> {
        let listed = self.store.list(&keys::files(tenant, build_id)).await?;
        Ok(listed.into_iter().map(|object| object.key).collect())
    }

    /// An upload has ended, and its state says so: removes the line table, and of these files all but one. The state comes
    /// first, as whoever makes a table looks at it after he has put it; the table comes before files, as names from an old one
    /// are wrong and files that stay are only in the way.
    async fn clear(
        &self,
        tenant: &TenantId,
        build_id: &BuildId,
        mut files: Vec<String>,
        keep: Option<&str>,
    ) -> Result<(), Error> {
        Programs::new(self.store.clone()).delete_table(tenant, build_id).await?;
        files.retain(|file| Some(file.as_str()) != keep);
        Ok(self.store.delete(&files).await?)
    }
}

fn entry(record: Record) -> Entry {
    Entry {
        file: record.file,
        started: record.started,
        finished: record.finished,
        size_bytes: record.received.map_or(0, |received| received.bytes),
    }
}
