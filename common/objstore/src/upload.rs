//! An object that is written piece by piece, by whoever does not have it in memory as a whole.
//!
//! Nothing is atomic here: a process that dies leaves part of a file in a folder store, or an unfinished upload in a remote
//! one. That is why it is only for keys that nobody reads before something else names them.

use std::fs::File;
use std::io::Write;
use std::path::{Path as FilePath, PathBuf};

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::task::JoinHandle;

use crate::error::{StoreError, StoreErrorKind};
use crate::folder::{self, LocalError};
use crate::metrics::Operation;
use crate::store::{PART_BYTES, Store, local, parse};

/// Most parts that stores take of one object.
const PARTS_MAX: u32 = 10_000;
/// How often a file is created anew whose folder somebody else removed as empty.
const CREATE_MAX: u32 = 8;
const OP: Operation = Operation::Upload;

/// Memory that one open upload takes at most: a part that fills, and one on its way.
pub const UPLOAD_MEMORY_BYTES: u64 = 2 * PART_BYTES as u64;

/// An object on its way; see [`Store::upload`].
#[derive(Debug)]
pub struct Upload {
    store: Store,
    key: String,
    bytes: u64,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing was sent yet.
    New,
    /// A file of a folder store; `None` while a write is under way.
    File(Option<File>),
    Parts {
        upload: Box<dyn MultipartUpload>,
        sent: u32,
        on_its_way: Option<JoinHandle<Result<(), StoreError>>>,
    },
}

impl Store {
    /// Begins an object of unknown length. Asks the store for nothing before there are enough bytes for a part: a small
    /// object is one put. It is there, and durable, when [`Upload::finish`] says so; before that, and when the upload is
    /// dropped, part of it may lie there.
    pub fn upload(&self, key: impl Into<String>) -> Upload {
        let (store, key) = (self.clone(), key.into());
        Upload { store, key, bytes: 0, waiting: Vec::new(), waiting_bytes: 0, state: State::New }
    }
}

impl Upload {
    /// The next bytes. After an error the object is lost: call [`Upload::abort`].
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.bytes += bytes.len() as u64;
        self.waiting_bytes += bytes.len();
        self.waiting.push(bytes);
        let enough = if self.store.inner.folder.is_some() { 1 } else { PART_BYTES };
        if self.waiting_bytes < enough {
            return Ok(());
        }
        self.send().await
    }

    /// Everything was written. Returns the object's length.
    pub async fn finish(mut self) -> Result<u64, StoreError> {
        if matches!(self.state, State::New) && self.store.inner.folder.is_none() {
            let body = std::mem::take(&mut self.waiting);
            self.store.patiently(|| self.store.put(&self.key, body.clone())).await?;
            return Ok(self.bytes);
        }
        if self.waiting_bytes > 0 || matches!(self.state, State::New) {
            self.send().await?;
        }
        match std::mem::replace(&mut self.state, State::New) {
            State::File(Some(file)) => sync(&self.store, &self.key, file).await?,
            State::Parts { mut upload, on_its_way, .. } => {
                if let Err(error) = arrived(on_its_way, &self.key).await {
                    give_up(&self.store, &mut upload).await;
                    return Err(error);
                }
                let (store, key, path, bytes) =
                    (self.store.clone(), self.key.clone(), parse(OP, &self.key)?, self.bytes);
                let complete = async move { store.complete(&path, &key, &mut upload, bytes).await };
                self.store.observed_write(OP, &self.key, 0, complete).await?;
            }
            State::File(None) | State::New => return Err(lost(&self.key)),
        }
        Ok(self.bytes)
    }

    /// Gives the object up, and tells a remote store so. What a folder has of it stays: nobody names it, and the collector
    /// takes it.
    pub async fn abort(mut self) {
        if let State::Parts { upload, on_its_way, .. } = &mut self.state {
            if let Some(on_its_way) = on_its_way.take() {
                on_its_way.abort();
            }
            give_up(&self.store, upload).await;
        }
    }

    async fn send(&mut self) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut self.waiting);
        let bytes = std::mem::take(&mut self.waiting_bytes);
        if self.store.inner.folder.is_some() {
            return self.send_to_file(waiting, bytes).await;
        }
        if matches!(self.state, State::New) {
            let upload = self.store.patiently(|| begin(&self.store, &self.key)).await?;
            self.state = State::Parts { upload, sent: 0, on_its_way: None };
        }
        let State::Parts { upload, sent, on_its_way } = &mut self.state else { return Err(lost(&self.key)) };
        arrived(on_its_way.take(), &self.key).await?;
        if *sent == PARTS_MAX {
            let limit = u64::from(PARTS_MAX) * PART_BYTES as u64;
            return Err(StoreError::new(
                OP,
                &self.key,
                StoreErrorKind::TooLarge { bytes: self.bytes, limit },
            ));
        }
        *sent += 1;
        let part = upload.put_part(PutPayload::from_iter(waiting));
        let (store, key) = (self.store.clone(), self.key.clone());
        *on_its_way = Some(tokio::spawn(async move {
            let owned = key.clone();
            let of = store.clone();
            let put = async move {
                of.exchange(OP, part).await.map_err(|e| StoreError::from_backend(OP, &owned, e))
            };
            store.observed_write(OP, &key, bytes as u64, put).await
        }));
        Ok(())
    }

    async fn send_to_file(&mut self, waiting: Vec<Bytes>, bytes: usize) -> Result<(), StoreError> {
        let open = match &mut self.state {
            State::New => None,
            State::File(file) => Some(file.take().ok_or_else(|| lost(&self.key))?),
            State::Parts { .. } => return Err(lost(&self.key)),
        };
        let (path, key) = (file_path(&self.store, &self.key)?, self.key.clone());
        let write = async move {
            let written = folder::blocking(move || {
                let mut file = match open {
                    Some(file) => file,
                    None => create(&path)?,
                };
                for part in &waiting {
                    file.write_all(part)?;
                }
                Ok(file)
            });
            written.await.map_err(|e| local(OP, &key, e))
        };
        let file = self.store.observed_write(OP, &self.key, bytes as u64, write).await?;
        self.state = State::File(Some(file));
        Ok(())
    }
}

async fn begin(store: &Store, key: &str) -> Result<Box<dyn MultipartUpload>, StoreError> {
    let (of, owned, path) = (store.clone(), key.to_owned(), parse(OP, key)?);
    let begin = async move {
        let options = of.multipart_options();
        let begun = of.inner.writer(&owned).put_multipart_opts(&path, options);
        of.exchange(OP, begun).await.map_err(|e| StoreError::from_backend(OP, &owned, e))
    };
    store.observed_write(OP, key, 0, begin).await
}

impl Store {
    /// Makes an object out of the parts that were sent, and looks at it. A repeated request may be told that there is no such
    /// upload because the first one was carried out, and an answer may be lost: what lies there then decides. So this is for
    /// keys that are written with one content only.
    pub(crate) async fn complete(
        &self,
        path: &Path,
        key: &str,
        upload: &mut Box<dyn MultipartUpload>,
        bytes: u64,
    ) -> Result<(), StoreError> {
        let completed = self.exchange(OP, upload.complete()).await;
        let found = self.exchange(Operation::Attributes, self.inner.backend.head(path)).await;
        let why = match (completed, found) {
            (_, Ok(found)) if found.size == bytes => return Ok(()),
            (Ok(_), Ok(found)) => format!("{} bytes are there of {bytes}", found.size).into(),
            (Ok(_), Err(error)) => return Err(StoreError::from_backend(OP, key, error)),
            (Err(error), _) => hearth_common::BoxError::from(error),
        };
        Err(StoreError::caused(OP, key, StoreErrorKind::Unavailable, why))
    }
}

/// The store's own clean-up of unfinished uploads is the fallback.
async fn give_up(store: &Store, upload: &mut Box<dyn MultipartUpload>) {
    let _ = store.exchange(OP, upload.abort()).await;
}

/// Makes a file durable, and the folders that lead to it: any of them may be new, and each is an entry in the one above.
async fn sync(store: &Store, key: &str, file: File) -> Result<(), StoreError> {
    let (path, owned) = (file_path(store, key)?, key.to_owned());
    let folders = key.matches('/').count();
    let sync = async move {
        let synced = folder::blocking(move || {
            file.sync_all()?;
            for folder in path.ancestors().skip(1).take(folders + 1) {
                File::open(folder)?.sync_all()?;
            }
            Ok(())
        });
        synced.await.map_err(|e| local(OP, &owned, e))
    };
    store.observed_write(OP, key, 0, sync).await
}

fn file_path(store: &Store, key: &str) -> Result<PathBuf, StoreError> {
    let path: Path = parse(OP, key)?;
    let folder = store.inner.folder.as_ref().ok_or_else(|| lost(key))?;
    folder.path_to_filesystem(&path).map_err(|e| StoreError::from_backend(OP, key, e))
}

fn create(path: &FilePath) -> Result<File, LocalError> {
    let mut tries = 0;
    loop {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        match File::create(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && tries < CREATE_MAX => tries += 1,
            created => return Ok(created?),
        }
    }
}

/// Waits for a part that was sent.
async fn arrived(
    on_its_way: Option<JoinHandle<Result<(), StoreError>>>,
    key: &str,
) -> Result<(), StoreError> {
    match on_its_way {
        None => Ok(()),
        Some(sent) => sent.await.unwrap_or_else(|_| Err(lost(key))),
    }
}

/// A write failed, or was cut off, and another one came.
fn lost(key: &str) -> StoreError {
    StoreError::caused(OP, key, StoreErrorKind::Unavailable, "an earlier part of the upload was lost")
}
