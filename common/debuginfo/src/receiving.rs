//! A file on its way to the store, piece by piece.

use bytes::Bytes;
use hearth_common::{TenantId, TimestampNs};
use hearth_objstore::{StoreError, Upload};
use hearth_symbols::BuildId;

use crate::error::Error;
use crate::record::{Received, UploadId};
use crate::uploads::Uploads;

/// What every program begins with.
const ELF_MAGIC: &[u8] = b"\x7fELF";

/// The file of a pending upload. It has a key of its own until it is there as a whole, so that two who send at once do not
/// meet. Dropped, part of it may lie there until the upload is finished or deleted.
#[derive(Debug)]
pub struct Receiving {
    uploads: Uploads,
    tenant: TenantId,
    build_id: BuildId,
    id: UploadId,
    /// When the upload was begun that it is for.
    started: TimestampNs,
    key: String,
    upload: Upload,
    /// The first bytes, until there are enough to be looked at.
    head: Vec<u8>,
    checked: bool,
}

impl Receiving {
    pub(crate) fn new(
        uploads: Uploads,
        tenant: TenantId,
        build_id: BuildId,
        (id, started): (UploadId, TimestampNs),
        key: String,
    ) -> Self {
        let upload = uploads.store.upload(key.clone());
        Self { uploads, tenant, build_id, id, started, key, upload, head: Vec::new(), checked: false }
    }

    /// The next bytes. After an error call [`Self::abort`].
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        if !self.checked {
            let missing = ELF_MAGIC.len() - self.head.len();
            self.head.extend_from_slice(&bytes[..bytes.len().min(missing)]);
            if !ELF_MAGIC.starts_with(&self.head) {
                return Err(Error::NotElf(self.head.clone()));
            }
            self.checked = self.head.len() == ELF_MAGIC.len();
        }
        Ok(self.upload.write(bytes).await?)
    }

    /// All bytes were written: the file is there, and the pending upload names it. Returns its length.
    pub async fn finish(self) -> Result<u64, Error> {
        if !self.checked {
            let head = self.head.clone();
            self.abort().await;
            return Err(Error::NotElf(head));
        }
        let Self { uploads, tenant, build_id, id, started, key, upload, .. } = self;
        let done = async {
            // In a folder, whoever deletes the upload takes the file away from under this.
            let gone = |error: StoreError| match error.is_not_found() {
                true => Error::NotPending(build_id.clone()),
                false => Error::Store(error),
            };
            let bytes = upload.finish().await.map_err(gone)?;
            uploads.received(&tenant, &build_id, started, Received { upload: id, bytes }).await?;
            Ok(bytes)
        };
        let done = done.await;
        if let Err(error) = &done {
            // Unless it is unknown whether a state names it.
            if !matches!(error, Error::Store(error) if error.outcome_unknown()) {
                remove(&uploads, &key).await;
            }
        }
        done
    }

    /// Gives up, and removes what there is of the file.
    pub async fn abort(self) {
        self.upload.abort().await;
        remove(&self.uploads, &self.key).await;
    }
}

async fn remove(uploads: &Uploads, key: &str) {
    if let Err(error) = uploads.store.delete(&[key.to_owned()]).await {
        let error = hearth_common::error::chain(&error);
        tracing::warn!(
            key,
            error,
            "a file that was not received as a whole stays until its upload is deleted"
        );
    }
}
