//! What there is of a program: the file of its finished upload, and the line table that somebody made. Made once by whoever
//! first needs it, read by all.

use bytes::Bytes;
use hearth_common::TenantId;
use hearth_objstore::{ObjectInfo, Store, StoreError};
use hearth_symbols::BuildId;

use crate::error::Error;
use crate::keys;
use crate::record::{Received, State, UploadId};
use crate::states::States;

/// A finished upload: its file is there and does not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    key: String,
    upload: UploadId,
    /// Length of the file.
    pub bytes: u64,
}

/// What a line table was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A finished upload.
    Upload(Uploaded),
    /// What another server has.
    Elsewhere,
}

/// Which line table of a program it is: one that takes its place has another tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableTag(ObjectInfo);

/// The programs of all tenants of one store.
#[derive(Debug, Clone)]
pub struct Programs {
    store: Store,
}

impl Programs {
    /// Programs in a store.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// The finished upload of a program, if there is one.
    pub async fn uploaded(&self, tenant: &TenantId, build_id: &BuildId) -> Result<Option<Uploaded>, Error> {
        let states = States { store: &self.store, tenant, build_id };
        let newest = states.newest().await?.filter(|record| record.state == State::Uploaded);
        Ok(newest.and_then(|record| {
            let Received { upload, bytes } = record.received?;
            Some(Uploaded { key: keys::file(tenant, build_id, upload), upload, bytes })
        }))
    }

    /// Reads an uploaded file of at most `bytes_max`.
    pub async fn read(&self, uploaded: &Uploaded, bytes_max: u64) -> Result<Bytes, Error> {
        Ok(self.store.get(&uploaded.key, bytes_max).await?)
    }

    /// The line table of a program of at most `bytes_max`; `None`: nobody made one.
    pub async fn table(
        &self,
        tenant: &TenantId,
        build_id: &BuildId,
        bytes_max: u64,
    ) -> Result<Option<(TableTag, Bytes)>, Error> {
        // In this order: of a table that takes its place between the two the tag is not known, and it is read again.
        let Some(tag) = self.table_tag(tenant, build_id).await? else { return Ok(None) };
        let table = found(self.store.get(&keys::table(tenant, build_id), bytes_max).await)?;
        Ok(table.map(|table| (tag, table)))
    }

    /// Which one there is; `None`: nobody made one.
    pub async fn table_tag(&self, tenant: &TenantId, build_id: &BuildId) -> Result<Option<TableTag>, Error> {
        Ok(found(self.store.head(&keys::table(tenant, build_id)).await)?.map(TableTag))
    }

    /// Keeps a line table, unless what it was made of is not the program's source any more, or somebody removes it at the same
    /// time: then it returns `None`, and there is none. Equal sources give equal tables, so that it makes no difference who is
    /// last.
    pub async fn put_table(
        &self,
        tenant: &TenantId,
        build_id: &BuildId,
        source: &Source,
        table: Bytes,
    ) -> Result<Option<TableTag>, Error> {
        self.store.put(&keys::table(tenant, build_id), table).await?;
        // Before the look at the state: a table of another source that comes behind it has another tag.
        let tag = self.table_tag(tenant, build_id).await;
        // An upload that was finished or deleted meanwhile removes the table after it has said so. Either it removes this
        // one, or it has said so by now.
        let now = self.uploaded(tenant, build_id).await?;
        let holds = match source {
            Source::Upload(uploaded) => now.as_ref() == Some(uploaded),
            Source::Elsewhere => now.is_none(),
        };
        if holds {
            return tag;
        }
        self.delete_table(tenant, build_id).await?;
        Ok(None)
    }

    /// Removes a line table; one that is not there is no error.
    pub async fn delete_table(&self, tenant: &TenantId, build_id: &BuildId) -> Result<(), Error> {
        Ok(self.store.delete(&[keys::table(tenant, build_id)]).await?)
    }
}

fn found<T>(asked: Result<T, StoreError>) -> Result<Option<T>, Error> {
    match asked {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
