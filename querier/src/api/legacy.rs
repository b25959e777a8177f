//! The older HTTP endpoints: `/pyroscope/render`, `/pyroscope/render-diff`, `/pyroscope/label-values` (api-semantics §2.16).

use std::collections::BTreeMap;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hearth_model::selector::MatchOp;
use hearth_model::{ProfileType, Question, Selector, flamegraph, labels};
use hearth_query::ask::{CheckedAsk, ProfileAsk};
use hearth_query::range::RangeError;
use hearth_query::series::{Aggregation, SeriesResult};
use hearth_rpc::{HttpError, RequestContext, RpcError};
use serde::Serialize;

use super::series::SeriesAsk;
use super::{Api, Call, range, stacks};
use crate::QueryError;
use crate::attime;
use crate::timeline::{Timeline, step_secs};

/// How far label values look back when the request does not say.
const LAST_HOUR_MS: i64 = 3_600_000;

pub(super) fn router(api: Api) -> Router {
    Router::new()
        .route("/pyroscope/render", get(render))
        .route("/pyroscope/render-diff", get(render_diff))
        .route("/pyroscope/label-values", get(label_values))
        .with_state(api)
}

type Pairs = Query<Vec<(String, String)>>;

/// The parameters of a request.
struct Params(Vec<(String, String)>);

impl Params {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Of the two spellings the second wins; what is no number is ignored.
    fn max_nodes(&self) -> Option<i64> {
        let number = |name| self.get(name).and_then(|text| text.parse::<i64>().ok()).filter(|n| *n != 0);
        number("maxNodes").or_else(|| number("max-nodes"))
    }

    fn time_ms(&self, name: &str, call: &Call) -> i64 {
        self.get(name).map_or(call.now.as_ms(), |text| attime::parse_ms(text, call.now))
    }

    /// The query of one side, whose metric name is a profile type.
    fn ask(&self, query: &str, from: &str, until: &str, call: &Call) -> Result<CheckedAsk, RpcError> {
        let text = self.get(query).ok_or_else(|| RpcError::invalid(format!("\"{query}\" is required")))?;
        let mut selector = Selector::parse(text)
            .map_err(|error| RpcError::invalid(format!("failed to parse \"{query}\": {error}")))?;
        let name = selector
            .equal_to(labels::NAME)
            .map(str::to_owned)
            .ok_or_else(|| RpcError::invalid(format!("\"{query}\" must contain a profile-type selection")))?;
        let is_name = |op: &MatchOp| matches!(op, MatchOp::Equal);
        selector.matchers.retain(|m| m.name != labels::NAME || !is_name(&m.op));
        let ask = ProfileAsk {
            profile_type: name,
            range: range(self.time_ms(from, call), self.time_ms(until, call)),
            ..ProfileAsk::default()
        };
        Ok(ask.check_with(Some(selector), call.now, &call.limits).map_err(QueryError::from)?)
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rendered {
    version: u32,
    flamebearer: Flamebearer,
    metadata: Metadata,
    timeline: Option<WireTimeline>,
    groups: Option<BTreeMap<String, WireTimeline>>,
    heatmap: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_ticks: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    right_ticks: Option<i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Flamebearer {
    names: Vec<String>,
    levels: Vec<Vec<i64>>,
    num_ticks: i64,
    max_self: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    format: &'static str,
    spy_name: &'static str,
    sample_rate: i64,
    units: String,
    name: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WireTimeline {
    start_time: i64,
    samples: Vec<u64>,
    duration_delta: i64,
    watermarks: Option<()>,
}

impl From<Timeline> for WireTimeline {
    fn from(line: Timeline) -> Self {
        Self {
            start_time: line.start_secs,
            samples: line.values,
            duration_delta: line.step_secs,
            watermarks: None,
        }
    }
}

fn metadata(format: &'static str, ty: &ProfileType) -> Metadata {
    let (units, sample_rate) = match &*ty.sample_type {
        "inuse_objects" | "alloc_objects" | "goroutine" | "samples" => ("objects", 100),
        "cpu" => ("samples", 1_000_000_000),
        _ => (&*ty.sample_unit, 100),
    };
    let (units, name) = (units.to_owned(), ty.sample_type.to_string());
    Metadata { format, spy_name: "", sample_rate, units, name }
}

async fn render(
    State(api): State<Api>,
    context: RequestContext,
    Query(pairs): Pairs,
) -> Result<Response, HttpError> {
    let call = api.call(context);
    Ok(api.counted("render", rendered(&call, &Params(pairs))).await?)
}

async fn rendered(call: &Call, params: &Params) -> Result<Response, RpcError> {
    let checked = params.ask("query", "from", "until", call)?;
    if params.get("format") == Some("dot") {
        let text = stacks::drawn(call, checked, params.max_nodes()).await?;
        return Ok(call.with_headers(text.into_response()));
    }
    let max_nodes = call.nodes(params.max_nodes())?;
    let group_by: Vec<String> = params.all("groupBy").map(str::to_owned).collect();
    let (start_ms, end_ms) = (checked.range.start_ms, checked.range.end_ms);
    let step = step_secs(start_ms, end_ms);
    let ask = SeriesAsk {
        step_secs: step as f64,
        group_by: group_by.clone(),
        aggregation: match params.get("aggregation") {
            Some("avg") => Aggregation::Average,
            _ => Aggregation::Sum,
        },
        limit: 0,
    };
    let metadata = metadata("single", &checked.query.profile_type);
    let (tree, series) =
        futures::future::try_join(call.tree(checked.clone()), call.series(checked, ask)).await?;
    let graph = flamegraph::render(&tree, max_nodes).map_err(QueryError::from)?;
    let mut timeline = Timeline::empty(start_ms, end_ms, step);
    let groups = group_by.first().map(|first| groups(&series, first, &timeline));
    if let [one] = &series[..] {
        timeline.add(&one.points);
    }
    let rendered = Rendered {
        version: 1,
        flamebearer: Flamebearer {
            names: graph.names,
            levels: graph.levels,
            num_ticks: graph.total,
            max_self: graph.max_self,
        },
        metadata,
        timeline: Some(timeline.into()),
        groups,
        heatmap: None,
        left_ticks: None,
        right_ticks: None,
    };
    Ok(call.with_headers(Json(rendered).into_response()))
}

fn groups(series: &[SeriesResult], first: &str, empty: &Timeline) -> BTreeMap<String, WireTimeline> {
    let mut lines: BTreeMap<String, Timeline> = BTreeMap::new();
    for one in series {
        let key = one.labels.get(first).unwrap_or("*").to_owned();
        lines.entry(key).or_insert_with(|| empty.clone()).add(&one.points);
    }
    lines.into_iter().map(|(key, line)| (key, line.into())).collect()
}

async fn render_diff(
    State(api): State<Api>,
    context: RequestContext,
    Query(pairs): Pairs,
) -> Result<Response, HttpError> {
    let call = api.call(context);
    Ok(api.counted("render-diff", rendered_diff(&call, &Params(pairs))).await?)
}

async fn rendered_diff(call: &Call, params: &Params) -> Result<Response, RpcError> {
    let left = params.ask("leftQuery", "leftFrom", "leftUntil", call)?;
    let right = params.ask("rightQuery", "rightFrom", "rightUntil", call)?;
    if left.query.profile_type != right.query.profile_type {
        return Err(RpcError::invalid("profile types must match"));
    }
    let max_nodes = call.nodes(params.max_nodes())?;
    let metadata = metadata("double", &left.query.profile_type);
    let graph = stacks::diff_of(call, [left, right], max_nodes).await?;
    let rendered = Rendered {
        version: 1,
        flamebearer: Flamebearer {
            names: graph.names,
            levels: graph.levels,
            num_ticks: graph.total,
            max_self: graph.max_self,
        },
        metadata,
        timeline: None,
        groups: None,
        heatmap: None,
        left_ticks: Some(graph.left_ticks),
        right_ticks: Some(graph.right_ticks),
    };
    Ok(call.with_headers(Json(rendered).into_response()))
}

async fn label_values(
    State(api): State<Api>,
    context: RequestContext,
    Query(pairs): Pairs,
) -> Result<Response, HttpError> {
    let call = api.call(context);
    let values = api.counted("label-values", values(&call, &Params(pairs))).await?;
    Ok(call.with_headers(Json(values).into_response()))
}

/// Profile types for `__name__`; for every other label its values, for which the reference has no answer at all. Like the
/// reference's error says, a range is needed for that: `from` and `until`.
async fn values(call: &Call, params: &Params) -> Result<Vec<String>, RpcError> {
    let label = params.get("label").ok_or_else(|| RpcError::invalid("label parameter is required"))?;
    let times = params.get("from").is_some() || params.get("until").is_some();
    let asked = match times {
        true => range(params.time_ms("from", call), params.time_ms("until", call)),
        false => range(call.now.as_ms() - LAST_HOUR_MS, call.now.as_ms()),
    };
    let resolved = hearth_query::range::resolve(asked, call.now, &call.limits).map_err(QueryError::from)?;
    let Some(resolved) = resolved else { return Ok(Vec::new()) };
    if label == labels::NAME {
        let types = call.type_ids(Some(resolved.into())).await?;
        return Ok(types.into_iter().map(|(id, _)| id).collect());
    }
    if !times {
        return Err(QueryError::from(RangeError::Missing).into());
    }
    let question =
        Question::LabelValues { name: label.to_owned(), range: Some(resolved.into()), matchers: Vec::new() };
    Ok(call.names(&question).await?.into_iter().collect())
}
