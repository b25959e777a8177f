//! SelectMergeStacktraces, SelectMergeSpanProfile, Diff (api-semantics §2.8, §2.10, §2.13).

use hearth_model::spans::SpanFilter;
use hearth_model::{NameTree, diff as model_diff, dot, flamegraph, tree_bytes};
use hearth_proto::querier::v1 as wire;
use hearth_query::ask::{CheckedAsk, ProfileAsk};
use hearth_query::nodes;
use hearth_rpc::RpcError;

use super::graph_json::WithGraph;
use super::{Call, answers, pprof, range};
use crate::QueryError;

type Stacktraces = WithGraph<wire::SelectMergeStacktracesResponse>;

pub(super) fn ask_of(request: &wire::SelectMergeStacktracesRequest) -> ProfileAsk {
    ProfileAsk {
        profile_type: request.profile_type_id.clone(),
        selector: request.label_selector.clone(),
        range: range(request.start, request.end),
        call_site: answers::call_site(request.stack_trace_selector.as_ref()),
        spans: request.span_selector.clone(),
        traces: request.trace_id_selector.clone(),
        profile_ids: request.profile_id_selector.clone(),
    }
}

impl Call {
    pub(super) fn nodes(&self, asked: Option<i64>) -> Result<i64, RpcError> {
        Ok(nodes::resolve(asked, &self.limits).map_err(QueryError::from)?)
    }
}

pub(super) async fn select_merge_stacktraces(
    call: Call,
    request: wire::SelectMergeStacktracesRequest,
) -> Result<Stacktraces, RpcError> {
    let mut answer = wire::SelectMergeStacktracesResponse::default();
    let format = wire::ProfileFormat::try_from(request.format).unwrap_or_default();
    let checked = call.check(&ask_of(&request))?;
    if format == wire::ProfileFormat::Pprof {
        let go_pgo = request.stack_trace_selector.and_then(|selector| selector.go_pgo);
        let profile = pprof::profile(&call, checked, request.max_nodes, go_pgo).await?;
        answer.pprof = Some(wire::PprofResult { profile: Some(profile) });
        return Ok(WithGraph(answer));
    }
    if format == wire::ProfileFormat::Dot {
        answer.dot = drawn(&call, checked, request.max_nodes).await?;
        return Ok(WithGraph(answer));
    }
    let max_nodes = call.nodes(request.max_nodes)?;
    let tree = call.tree(checked).await?;
    match format {
        wire::ProfileFormat::Tree => answer.tree = bytes_of(&tree, max_nodes)?,
        _ => answer.flamegraph = Some(graph_of(&tree, max_nodes)?),
    }
    Ok(WithGraph(answer))
}

pub(super) async fn select_merge_span_profile(
    call: Call,
    request: wire::SelectMergeSpanProfileRequest,
) -> Result<WithGraph<wire::SelectMergeSpanProfileResponse>, RpcError> {
    let mut answer = wire::SelectMergeSpanProfileResponse::default();
    let ask = ProfileAsk {
        profile_type: request.profile_type_id,
        selector: request.label_selector,
        range: range(request.start, request.end),
        spans: request.span_selector,
        ..ProfileAsk::default()
    };
    let CheckedAsk { mut query, range, is_empty } = call.check(&ask)?;
    // No span selects no sample here.
    query.spans.get_or_insert(SpanFilter::Spans(Vec::new()));
    let max_nodes = call.nodes(request.max_nodes)?;
    let tree = call.tree(CheckedAsk { query, range, is_empty }).await?;
    match wire::ProfileFormat::try_from(request.format).unwrap_or_default() {
        wire::ProfileFormat::Tree => answer.tree = bytes_of(&tree, max_nodes)?,
        _ => answer.flamegraph = Some(graph_of(&tree, max_nodes)?),
    }
    Ok(WithGraph(answer))
}

pub(super) async fn diff(
    call: Call,
    request: wire::DiffRequest,
) -> Result<WithGraph<wire::DiffResponse>, RpcError> {
    let (left, right) = (request.left.unwrap_or_default(), request.right.unwrap_or_default());
    let sides = [call.check(&ask_of(&left))?, call.check(&ask_of(&right))?];
    let max_nodes = call.nodes(left.max_nodes.max(right.max_nodes))?;
    let graph = diff_of(&call, sides, max_nodes).await?;
    Ok(WithGraph(wire::DiffResponse { flamegraph: Some(answers::graph_diff(graph)) }))
}

pub(super) async fn diff_of(
    call: &Call,
    [left, right]: [CheckedAsk; 2],
    max_nodes: i64,
) -> Result<model_diff::FlameGraphDiff, RpcError> {
    let (left, right) = futures::future::try_join(call.tree(left), call.tree(right)).await?;
    Ok(model_diff::render(&left, &right, max_nodes).map_err(QueryError::from)?)
}

/// The call graph of a request as Graphviz text; empty if there is nothing to draw. As the reference has it, the number of
/// nodes is that of merged pprof, but for its default.
pub(super) async fn drawn(
    call: &Call,
    checked: CheckedAsk,
    max_nodes: Option<i64>,
) -> Result<String, RpcError> {
    let max_nodes = match max_nodes.filter(|asked| *asked != 0) {
        None => dot::NODES_DEFAULT,
        asked => nodes::resolve_pprof(asked, &call.limits).map_err(QueryError::from)?,
    };
    let profile_type = checked.query.profile_type.clone();
    let duration_ms = checked.range.end_ms.saturating_sub(checked.range.start_ms);
    let tree = call.tree(checked).await?;
    let options = dot::DotOptions { profile_type: &profile_type, duration_ms, max_nodes };
    Ok(dot::render(&tree, options).map_err(QueryError::from)?)
}

fn graph_of(tree: &NameTree, max_nodes: i64) -> Result<wire::FlameGraph, RpcError> {
    Ok(answers::graph(flamegraph::render(tree, max_nodes).map_err(QueryError::from)?))
}

fn bytes_of(tree: &NameTree, max_nodes: i64) -> Result<Vec<u8>, RpcError> {
    Ok(tree_bytes::encode(tree, max_nodes).map_err(QueryError::from)?)
}
