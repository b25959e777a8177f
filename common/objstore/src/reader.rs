//! An object as the formats see it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use hearth_common::{BoxError, RangeRead};

use crate::store::Store;

#[derive(Debug)]
struct ObjectReader {
    store: Store,
    key: String,
    len: Option<u64>,
}

impl Store {
    /// An object whose ranges can be read; `len` is its length if the caller knows it. Nothing is asked of the store yet.
    pub fn range_reader(&self, key: impl Into<String>, len: Option<u64>) -> Arc<dyn RangeRead> {
        Arc::new(ObjectReader { store: self.clone(), key: key.into(), len })
    }
}

impl RangeRead for ObjectReader {
    fn len_hint(&self) -> Option<u64> {
        self.len
    }

    fn read<'a>(&'a self, ranges: &'a [Range<u64>]) -> BoxFuture<'a, Result<Vec<Bytes>, BoxError>> {
        Box::pin(async move { self.store.get_ranges(&self.key, ranges).await.map_err(BoxError::from) })
    }
}
