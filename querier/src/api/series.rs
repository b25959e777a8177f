//! SelectSeries (api-semantics §2.11), SelectHeatmap.

use hearth_model::{Answer, Question};
use hearth_proto::querier::v1 as wire;
use hearth_proto::types::v1 as types;
use hearth_query::ask::{CheckedAsk, ProfileAsk, group_by, steps};
use hearth_query::series::{Aggregation, SeriesResult, finish};
use hearth_rpc::RpcError;

use super::{Call, answers, range, wrong_kind};
use crate::QueryError;

/// How series are asked for, beside what is summed.
pub(super) struct SeriesAsk {
    pub(super) step_secs: f64,
    pub(super) group_by: Vec<String>,
    pub(super) aggregation: Aggregation,
    pub(super) limit: i64,
}

impl Call {
    pub(super) async fn series(
        &self,
        mut checked: CheckedAsk,
        ask: SeriesAsk,
    ) -> Result<Vec<SeriesResult>, RpcError> {
        let grid = steps(&mut checked, ask.step_secs).map_err(QueryError::from)?;
        let group_by = group_by(ask.group_by).map_err(QueryError::from)?;
        if checked.is_empty {
            return Ok(Vec::new());
        }
        let question = Question::Points { query: checked.query, group_by, grid };
        match self.ask(&question).await? {
            Answer::Points(points) => Ok(finish(points, grid, ask.aggregation, ask.limit)),
            _ => Err(wrong_kind()),
        }
    }
}

pub(super) async fn select_series(
    call: Call,
    request: wire::SelectSeriesRequest,
) -> Result<wire::SelectSeriesResponse, RpcError> {
    let ask = ProfileAsk {
        profile_type: request.profile_type_id,
        selector: request.label_selector,
        range: range(request.start, request.end),
        call_site: answers::call_site(request.stack_trace_selector.as_ref()),
        ..ProfileAsk::default()
    };
    let checked = call.check(&ask)?;
    let average = types::TimeSeriesAggregationType::Average as i32;
    let is_average = request.aggregation == Some(average);
    let ask = SeriesAsk {
        step_secs: request.step,
        group_by: request.group_by,
        aggregation: if is_average { Aggregation::Average } else { Aggregation::Sum },
        limit: request.limit.unwrap_or_default(),
    };
    let series = call.series(checked, ask).await?.into_iter().map(wire_series).collect();
    Ok(wire::SelectSeriesResponse { series })
}

fn wire_series(series: SeriesResult) -> types::Series {
    let annotation = |(key, value)| types::ProfileAnnotation { key, value };
    types::Series {
        labels: answers::label_pairs(&series.labels),
        points: series
            .points
            .into_iter()
            .map(|point| types::Point {
                value: point.value,
                timestamp: point.timestamp_ms,
                annotations: point.annotations.into_iter().map(annotation).collect(),
                exemplars: Vec::new(),
            })
            .collect(),
    }
}

pub(super) async fn select_heatmap(
    _call: Call,
    _request: wire::SelectHeatmapRequest,
) -> Result<wire::SelectHeatmapResponse, RpcError> {
    Err(RpcError::unimplemented("heatmaps are not supported: ask for series instead"))
}
