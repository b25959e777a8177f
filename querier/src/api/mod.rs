//! The wire: every method and path that a querier serves. Wire types stop here.

mod answers;
mod deletions;
mod graph_json;
mod labels;
mod legacy;
mod pprof;
mod series;
mod settings;
mod stacks;
mod stats;

use std::future::Future;
use std::sync::Arc;

use hearth_common::{TenantId, TenantLimits, TimestampNs};
use hearth_model::{Answer, NameTree, Question};
use hearth_query::ask::{CheckedAsk, ProfileAsk};
use hearth_query::range::AskedRange;
use hearth_query::tenants;
use hearth_rpc::{Auth, EntriesLimit, RequestContext, Routes, RpcError};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Querier, QueryError, Terms};

/// The header by which a client takes an answer that lacks what cannot be asked at the moment.
const ALLOW_PARTIAL: &str = "x-hearth-allow-partial";

/// Longest request, inflated: some ten thousand ids and all the selectors that anybody sends are shorter.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// What all lists of a request may hold, down to the call sites of a Diff's sides; each list has a limit of its own, too.
const REQUEST_ENTRIES: EntriesLimit =
    EntriesLimit { depth: 4, max: 1 << 17, what: "selectors, names and ids" };
/// Why, and which methods of the reference are answered by nothing but that.
const NOT_BUILT: [(&str, &[&str]); 2] = [
    (
        "ad hoc profiles are not supported: push the profile, and query it",
        &[
            "/adhocprofiles.v1.AdHocProfileService/Upload",
            "/adhocprofiles.v1.AdHocProfileService/Get",
            "/adhocprofiles.v1.AdHocProfileService/List",
            "/adhocprofiles.v1.AdHocProfileService/Diff",
        ],
    ),
    (
        "the integration of GitHub is not supported",
        &[
            "/vcs.v1.VCSService/GithubApp",
            "/vcs.v1.VCSService/GithubLogin",
            "/vcs.v1.VCSService/GithubRefresh",
            "/vcs.v1.VCSService/GetFile",
            "/vcs.v1.VCSService/GetCommit",
            "/vcs.v1.VCSService/GetCommits",
        ],
    ),
];

/// Everything.
pub(crate) fn routes(querier: &Querier) -> Routes {
    let api = Api { querier: querier.clone() };
    Routes::new()
        .merge(api.method("/querier.v1.QuerierService/ProfileTypes", "ProfileTypes", labels::profile_types))
        .merge(api.method("/querier.v1.QuerierService/LabelNames", "LabelNames", labels::label_names))
        .merge(api.method("/querier.v1.QuerierService/LabelValues", "LabelValues", labels::label_values))
        .merge(api.method("/querier.v1.QuerierService/Series", "Series", labels::series))
        .merge(api.method(
            "/querier.v1.QuerierService/SelectMergeStacktraces",
            "SelectMergeStacktraces",
            stacks::select_merge_stacktraces,
        ))
        .merge(api.method(
            "/querier.v1.QuerierService/SelectMergeSpanProfile",
            "SelectMergeSpanProfile",
            stacks::select_merge_span_profile,
        ))
        .merge(api.method("/querier.v1.QuerierService/Diff", "Diff", stacks::diff))
        .merge(api.method(
            "/querier.v1.QuerierService/SelectMergeProfile",
            "SelectMergeProfile",
            pprof::select_merge_profile,
        ))
        .merge(api.method("/querier.v1.QuerierService/SelectSeries", "SelectSeries", series::select_series))
        .merge(api.method(
            "/querier.v1.QuerierService/SelectHeatmap",
            "SelectHeatmap",
            series::select_heatmap,
        ))
        .merge(api.method(
            "/querier.v1.QuerierService/GetProfileStats",
            "GetProfileStats",
            stats::get_profile_stats,
        ))
        .merge(api.method("/querier.v1.QuerierService/AnalyzeQuery", "AnalyzeQuery", stats::analyze_query))
        .merge(api.method("/settings.v1.SettingsService/Get", "GetSettings", settings::get))
        .merge(api.method("/settings.v1.SettingsService/Set", "SetSetting", settings::set))
        .merge(api.method("/settings.v1.SettingsService/Delete", "DeleteSetting", settings::delete))
        .merge(not_built())
        .http(legacy::router(api.clone()))
        .http(deletions::router(api))
}

fn not_built() -> Routes {
    let methods = NOT_BUILT.iter().flat_map(|(why, paths)| paths.iter().map(move |path| (*path, *why)));
    methods.fold(Routes::new(), |routes, (path, why)| routes.unimplemented(path, Auth::Tenant, why))
}

/// What all handlers share.
#[derive(Debug, Clone)]
struct Api {
    querier: Querier,
}

impl Api {
    fn method<Req, Resp, F, Fut>(&self, path: &'static str, rpc: &'static str, handler: F) -> Routes
    where
        Req: Message + Default + DeserializeOwned + 'static,
        Resp: Message + Serialize + 'static,
        F: Fn(Call, Req) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Resp, RpcError>> + Send + 'static,
    {
        let api = self.clone();
        let routes = Routes::new().bounded(path, Auth::Tenant, REQUEST_ENTRIES, move |context, request| {
            let (api, handler) = (api.clone(), handler.clone());
            async move {
                let call = api.call(context);
                api.counted(rpc, handler(call, request)).await
            }
        });
        routes.capped(REQUEST_BYTES_MAX)
    }

    fn call(&self, context: RequestContext) -> Call {
        let inner = &self.querier.0;
        let all: Vec<Arc<TenantLimits>> =
            context.tenants.all().iter().map(|tenant| inner.limits.limits(tenant)).collect();
        let timeout = context.timeout.map_or(inner.timeout, |asked| asked.min(inner.timeout));
        Call {
            querier: self.querier.clone(),
            limits: tenants::strictest(&all),
            now: inner.clock.now(),
            terms: Terms { timeout, allow_partial: allows_partial(&context) },
            context,
        }
    }

    async fn counted<T>(
        &self,
        rpc: &'static str,
        work: impl Future<Output = Result<T, RpcError>>,
    ) -> Result<T, RpcError> {
        let inner = &self.querier.0;
        let started = inner.clock.monotonic();
        let result = work.await;
        let outcome = result.as_ref().map_or_else(RpcError::code, |_| "ok");
        inner.engine.metrics.count(rpc, outcome, inner.clock.monotonic().saturating_sub(started));
        result
    }
}

/// One request.
#[derive(Debug, Clone)]
struct Call {
    querier: Querier,
    context: RequestContext,
    limits: Arc<TenantLimits>,
    now: TimestampNs,
    terms: Terms,
}

impl Call {
    async fn ask(&self, question: &Question) -> Result<Answer, RpcError> {
        let (answer, marks) = self.querier.ask(self.context.tenants.all(), question, self.terms).await?;
        if !marks.inexact.is_empty() {
            self.context.set_response_header("x-hearth-inexact", &marks.inexact.join("; "));
        }
        if marks.partial {
            self.context.set_response_header("x-hearth-partial", "true");
        }
        Ok(answer)
    }

    /// The tree of a checked request.
    async fn tree(&self, checked: CheckedAsk) -> Result<NameTree, RpcError> {
        if checked.is_empty {
            return Ok(NameTree::new());
        }
        match self.ask(&Question::Tree(checked.query)).await? {
            Answer::Tree(tree) => Ok(tree),
            _ => Err(wrong_kind()),
        }
    }

    fn check(&self, ask: &ProfileAsk) -> Result<CheckedAsk, RpcError> {
        Ok(ask.check(self.now, &self.limits).map_err(QueryError::from)?)
    }

    /// Puts the headers of the answer on a plain response.
    fn with_headers(&self, mut response: axum::response::Response) -> axum::response::Response {
        response.headers_mut().extend(self.context.response_headers());
        response
    }

    fn tenant(&self) -> Result<&TenantId, RpcError> {
        self.context.tenants.single()
    }
}

/// Whether the client takes an answer that lacks what cannot be asked at the moment.
fn allows_partial(context: &RequestContext) -> bool {
    let said = context.headers.get(ALLOW_PARTIAL).and_then(|value| value.to_str().ok());
    said.is_some_and(|said| matches!(said.trim(), "true" | "1"))
}

/// An answer to another question than was asked: a defect.
fn wrong_kind() -> RpcError {
    QueryError::from(hearth_model::AnswerError::Kind).into()
}

fn range(start_ms: i64, end_ms: i64) -> AskedRange {
    AskedRange { start_ms, end_ms }
}
