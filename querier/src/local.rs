//! The ingesters of this process, asked directly.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use hearth_query::heads::{Beyond, Heads, HeadsError, judge};
use hearth_query::{FetchRequest, HeadSource};

/// Ingesters that each answer for all that they have.
#[derive(Debug)]
pub struct LocalHeads(Vec<Arc<dyn HeadSource>>);

impl LocalHeads {
    /// All ingesters there are: whatever they do not hold is taken to be published.
    pub fn new(sources: Vec<Arc<dyn HeadSource>>) -> Self {
        Self(sources)
    }
}

#[async_trait]
impl Heads for LocalHeads {
    async fn ask(&self, request: FetchRequest, _allow_partial: bool) -> Result<Beyond, HeadsError> {
        let answers = join_all(self.0.iter().map(|head| head.fetch(request.clone()))).await;
        judge(&request, answers)
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}
