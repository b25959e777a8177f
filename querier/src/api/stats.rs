//! GetProfileStats and AnalyzeQuery (api-semantics §2.15).

use hearth_model::question::Estimate;
use hearth_model::selector::MatchOp;
use hearth_model::{Answer, Question, labels};
use hearth_proto::querier::v1 as wire;
use hearth_proto::types::v1 as types;
use hearth_query::ask::parse_selector;
use hearth_query::range::resolve;
use hearth_rpc::RpcError;

use super::{Call, range, wrong_kind};
use crate::QueryError;

pub(super) async fn get_profile_stats(
    call: Call,
    _request: types::GetProfileStatsRequest,
) -> Result<types::GetProfileStatsResponse, RpcError> {
    call.tenant()?;
    let Answer::Stats(stats) = call.ask(&Question::Stats).await? else { return Err(wrong_kind()) };
    Ok(match stats.oldest_newest {
        None => types::GetProfileStatsResponse::default(),
        Some((oldest, newest)) => types::GetProfileStatsResponse {
            data_ingested: true,
            oldest_profile_time: oldest.as_ms(),
            newest_profile_time: newest.as_ms(),
        },
    })
}

pub(super) async fn analyze_query(
    call: Call,
    request: wire::AnalyzeQueryRequest,
) -> Result<wire::AnalyzeQueryResponse, RpcError> {
    let tenant = call.tenant()?;
    if !call.limits.query_analysis_enabled {
        return Ok(wire::AnalyzeQueryResponse::default());
    }
    let asked =
        resolve(range(request.start, request.end), call.now, &call.limits).map_err(QueryError::from)?;
    let mut selector = parse_selector(&request.query).map_err(QueryError::from)?;
    for matcher in &mut selector.matchers {
        if matcher.name == labels::NAME && matches!(matcher.op, MatchOp::Equal) {
            matcher.name = labels::PROFILE_TYPE.to_owned();
        }
    }
    let Some(asked) = asked else { return Ok(wire::AnalyzeQueryResponse::default()) };
    let question = Question::Estimate { range: asked.into(), selector };
    let answered = call.querier.ask_one(tenant, &question, call.terms).await?;
    let (Answer::Estimate(heads), Answer::Estimate(blocks)) = (answered.heads, answered.blocks) else {
        return Err(wrong_kind());
    };
    let ingesters = call.querier.0.engine.heads.count() as u64;
    let mut all = heads;
    all.merge(blocks);
    let counts_series = call.limits.query_analysis_series_enabled;
    Ok(wire::AnalyzeQueryResponse {
        query_scopes: vec![
            scope("Short term storage", ingesters, heads),
            scope("Long term storage", 1, blocks),
        ],
        query_impact: Some(wire::QueryImpact {
            total_bytes_in_time_range: all.index_bytes + all.profile_bytes + all.symbol_bytes,
            total_queried_series: if counts_series { all.series } else { 0 },
            deduplication_needed: false,
        }),
    })
}

fn scope(component_type: &str, component_count: u64, estimate: Estimate) -> wire::QueryScope {
    wire::QueryScope {
        component_type: component_type.to_owned(),
        component_count,
        block_count: estimate.blocks,
        series_count: estimate.series,
        profile_count: estimate.profiles,
        sample_count: estimate.samples,
        index_bytes: estimate.index_bytes,
        profile_bytes: estimate.profile_bytes,
        symbol_bytes: estimate.symbol_bytes,
    }
}
