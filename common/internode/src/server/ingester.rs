//! The service `Ingester`: wire to [`IngesterApi`] and back.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hearth_proto::hearth::internal::v1 as pb;
use hearth_telemetry::trace;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, async_trait};
use tracing::Instrument;

use crate::api::IngesterApi;
use crate::metrics::Metrics;
use crate::status::status_of;
use crate::traced;
use crate::wire;

/// A call without a deadline gets this one.
pub(super) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Service {
    pub(super) api: Arc<dyn IngesterApi>,
    pub(super) metrics: Metrics,
}

#[async_trait]
impl pb::ingester_server::Ingester for Service {
    async fn push(&self, request: Request<pb::PushRequest>) -> Result<Response<pb::PushResponse>, Status> {
        self.call("push", request, |request| async {
            let push = wire::ingester::push(request).map_err(|error| status_of(&error))?;
            let pushed = self.api.push(push).await.map_err(|error| status_of(&error))?;
            Ok(wire::ingester::pushed_to(pushed))
        })
        .await
    }

    async fn fetch(&self, request: Request<pb::FetchRequest>) -> Result<Response<pb::FetchResponse>, Status> {
        self.call("fetch", request, |request| async {
            let fetch = wire::ingester::fetch(request).map_err(|error| status_of(&error))?;
            let fetched = self.api.fetch(fetch).await.map_err(|error| status_of(&error))?;
            // A large answer takes milliseconds to encode and to compress.
            let response = tokio::task::spawn_blocking(move || {
                let answer = wire::ingester::encode_answer(&fetched.outcome)?;
                Ok(wire::ingester::fetched_to(fetched, answer))
            });
            match response.await {
                Ok(response) => {
                    response.map_err(|error: wire::ingester::AnswerEncodeError| status_of(&error))
                }
                Err(error) => Err(Status::internal(format!("the answer was not encoded: {error}"))),
            }
        })
        .await
    }

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        self.call("status", request, |_| async {
            let status = self.api.status().await.map_err(|error| status_of(&error))?;
            Ok(wire::status::encode(&status))
        })
        .await
    }

    async fn flush(&self, request: Request<pb::FlushRequest>) -> Result<Response<pb::FlushResponse>, Status> {
        self.call("flush", request, |_| async {
            self.api.flush().await.map_err(|error| status_of(&error))?;
            Ok(pb::FlushResponse {})
        })
        .await
    }

    async fn leave(&self, request: Request<pb::LeaveRequest>) -> Result<Response<pb::LeaveResponse>, Status> {
        self.call("leave", request, |_| async {
            self.api.leave().await.map_err(|error| status_of(&error))?;
            Ok(pb::LeaveResponse {})
        })
        .await
    }
}

impl Service {
    /// One call within its deadline, counted.
    async fn call<Q, A, F>(
        &self,
        name: &'static str,
        request: Request<Q>,
        answer: impl FnOnce(Q) -> F,
    ) -> Result<Response<A>, Status>
    where
        F: Future<Output = Result<A, Status>>,
    {
        let timeout = timeout(request.metadata()).unwrap_or(TIMEOUT_DEFAULT);
        let span = traced::asked(name, request.metadata());
        let answered =
            tokio::time::timeout(timeout, answer(request.into_inner())).instrument(span.clone()).await;
        let answered = answered.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
        let outcome = match &answered {
            Ok(_) => "ok",
            Err(status) if status.code() == Code::DeadlineExceeded => "timed_out",
            Err(status) if status.code() == Code::Unavailable => "unavailable",
            Err(_) => "error",
        };
        self.metrics.served(name, outcome);
        trace::set_outcome(&span, outcome);
        answered.map(Response::new)
    }
}

/// The deadline that the caller gave: digits and a unit (gRPC over HTTP/2, "Requests").
pub(super) fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<Duration>) {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", text.parse().expect("ASCII"));
        assert_eq!(timeout(&metadata), expect, "{text}");
    }

    #[test]
    fn deadlines() {
        check("5S", Some(Duration::from_secs(5)));
        check("250m", Some(Duration::from_millis(250)));
        check("99999999H", Some(Duration::from_secs(99_999_999 * 3600)));
        check("12345678u", Some(Duration::from_micros(12_345_678)));
        for bad in ["", "S", "5", "5s", "-5S", "123456789S", "5 S"] {
            check(bad, None);
        }
        assert_eq!(timeout(&MetadataMap::new()), None);
    }
}
