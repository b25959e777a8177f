//! Questions. Selectors travel as their matchers, so that no text is parsed twice.

use hearth_common::{TimeRange, TimestampNs};
use hearth_model::spans::SpanFilter;
use hearth_model::{MatchKind, ProfileQuery, ProfileType, Question, Selector, StepGrid};

use super::{LIST_MAX, Malformed, ids, ids_bytes, malformed, must, pb, short};
use pb::matcher::Op;
use pb::question::Question as Kind;
use pb::span_filter::Filter;

/// Most selectors of one question.
pub(crate) const SELECTORS_MAX: usize = 1024;
/// Most bytes of all regular expressions of one question: each of them is compiled.
pub(crate) const PATTERNS_BYTES_MAX: usize = 256 << 10;

pub(crate) fn encode(question: &Question) -> pb::Question {
    let kind = match question {
        Question::Tree(query) => Kind::Tree(query_to(query)),
        Question::Pprof(query) => Kind::Pprof(query_to(query)),
        Question::Points { query, group_by, grid } => Kind::Points(pb::PointsQuestion {
            query: Some(query_to(query)),
            group_by: group_by.clone(),
            grid: Some(pb::StepGrid {
                first_ms: grid.first_ms,
                last_ms: grid.last_ms,
                step_ms: grid.step_ms,
            }),
        }),
        Question::ProfileTypes { range } => {
            Kind::ProfileTypes(pb::ProfileTypesQuestion { range: range.map(range_to) })
        }
        Question::LabelNames { range, matchers } => Kind::LabelNames(pb::LabelNamesQuestion {
            range: range.map(range_to),
            matchers: matchers.iter().map(selector_to).collect(),
        }),
        Question::LabelValues { name, range, matchers } => Kind::LabelValues(pb::LabelValuesQuestion {
            name: name.clone(),
            range: range.map(range_to),
            matchers: matchers.iter().map(selector_to).collect(),
        }),
        Question::Series { range, matchers, label_names } => Kind::Series(pb::SeriesQuestion {
            range: range.map(range_to),
            matchers: matchers.iter().map(selector_to).collect(),
            label_names: label_names.clone(),
        }),
        Question::Stats => Kind::Stats(pb::StatsQuestion {}),
        Question::Estimate { range, selector } => Kind::Estimate(pb::EstimateQuestion {
            range: Some(range_to(*range)),
            selector: Some(selector_to(selector)),
        }),
        Question::Tally { range, selector } => Kind::Tally(pb::TallyQuestion {
            range: Some(range_to(*range)),
            selector: Some(selector_to(selector)),
        }),
    };
    pb::Question { question: Some(kind) }
}

pub(crate) fn decode(question: pb::Question) -> Result<Question, Malformed> {
    Ok(match must(question.question, "question")? {
        Kind::Tree(query) => Question::Tree(profile_query(query)?),
        Kind::Pprof(query) => Question::Pprof(profile_query(query)?),
        Kind::Points(points) => {
            short(points.group_by.len(), "labels to group by")?;
            Question::Points {
                query: profile_query(must(points.query, "query")?)?,
                group_by: points.group_by,
                grid: grid(must(points.grid, "grid")?)?,
            }
        }
        Kind::ProfileTypes(types) => Question::ProfileTypes { range: types.range.map(range) },
        Kind::LabelNames(names) => {
            Question::LabelNames { range: names.range.map(range), matchers: selectors(names.matchers)? }
        }
        Kind::LabelValues(values) => Question::LabelValues {
            name: values.name,
            range: values.range.map(range),
            matchers: selectors(values.matchers)?,
        },
        Kind::Series(series) => {
            short(series.label_names.len(), "label names")?;
            Question::Series {
                range: series.range.map(range),
                matchers: selectors(series.matchers)?,
                label_names: series.label_names,
            }
        }
        Kind::Stats(_) => Question::Stats,
        Kind::Estimate(estimate) => Question::Estimate {
            range: range(must(estimate.range, "range")?),
            selector: one_selector(must(estimate.selector, "selector")?)?,
        },
        Kind::Tally(tally) => Question::Tally {
            range: range(must(tally.range, "range")?),
            selector: one_selector(must(tally.selector, "selector")?)?,
        },
    })
}

fn query_to(query: &ProfileQuery) -> pb::ProfileQuery {
    let ty = &query.profile_type;
    pb::ProfileQuery {
        profile_type: Some(pb::ProfileType {
            name: ty.name.to_string(),
            sample_type: ty.sample_type.to_string(),
            sample_unit: ty.sample_unit.to_string(),
            period_type: ty.period_type.to_string(),
            period_unit: ty.period_unit.to_string(),
        }),
        selector: Some(selector_to(&query.selector)),
        range: Some(range_to(query.range)),
        call_site: query.call_site.clone(),
        spans: query.spans.as_ref().map(spans_to),
        profile_ids: ids_bytes(query.profile_ids.iter().copied()),
        native: query.native,
    }
}

fn profile_query(query: pb::ProfileQuery) -> Result<ProfileQuery, Malformed> {
    let ty = must(query.profile_type, "profile type")?;
    short(query.call_site.len(), "functions of a call site")?;
    Ok(ProfileQuery {
        profile_type: ProfileType::new(
            &ty.name,
            &ty.sample_type,
            &ty.sample_unit,
            &ty.period_type,
            &ty.period_unit,
        ),
        selector: one_selector(must(query.selector, "selector")?)?,
        range: range(must(query.range, "range")?),
        call_site: query.call_site,
        spans: query.spans.map(spans).transpose()?,
        profile_ids: ids(&query.profile_ids)?,
        native: query.native,
    })
}

fn spans_to(filter: &SpanFilter) -> pb::SpanFilter {
    let filter = match filter {
        SpanFilter::Spans(ids) => Filter::Spans(pb::span_filter::Spans { ids: ids.clone() }),
        SpanFilter::Traces(ids) => Filter::Traces(pb::span_filter::Traces { ids: ids.concat().into() }),
    };
    pb::SpanFilter { filter: Some(filter) }
}

fn spans(filter: pb::SpanFilter) -> Result<SpanFilter, Malformed> {
    Ok(match must(filter.filter, "filter of spans")? {
        Filter::Spans(mut spans) => {
            spans.ids.sort_unstable();
            SpanFilter::Spans(spans.ids)
        }
        Filter::Traces(traces) => {
            let (chunks, rest) = traces.ids.as_chunks::<16>();
            if !rest.is_empty() {
                return malformed("trace ids are not of 16 bytes each");
            }
            let mut ids = chunks.to_vec();
            ids.sort_unstable();
            SpanFilter::Traces(ids)
        }
    })
}

pub(super) fn range_to(range: TimeRange) -> pb::TimeRange {
    pb::TimeRange { start_ns: range.start.0, end_ns: range.end.0 }
}

pub(super) fn range(range: pb::TimeRange) -> TimeRange {
    TimeRange { start: TimestampNs(range.start_ns), end: TimestampNs(range.end_ns) }
}

fn grid(grid: pb::StepGrid) -> Result<StepGrid, Malformed> {
    if grid.step_ms < 1 || grid.last_ms < grid.first_ms {
        return malformed("steps do not go forward");
    }
    Ok(StepGrid { first_ms: grid.first_ms, last_ms: grid.last_ms, step_ms: grid.step_ms })
}

pub(super) fn selector_to(selector: &Selector) -> pb::Selector {
    let matcher = |matcher: &hearth_model::Matcher| {
        let op = match matcher.op.kind() {
            MatchKind::Equal => Op::Equal,
            MatchKind::NotEqual => Op::NotEqual,
            MatchKind::Regex => Op::Regex,
            MatchKind::NotRegex => Op::NotRegex,
        };
        pb::Matcher { op: op.into(), name: matcher.name.clone(), value: matcher.value.clone() }
    };
    pb::Selector { matchers: selector.matchers.iter().map(matcher).collect() }
}

pub(super) fn one_selector(selector: pb::Selector) -> Result<Selector, Malformed> {
    let mut selectors = selectors(vec![selector])?;
    must(selectors.pop(), "selector")
}

fn selectors(selectors: Vec<pb::Selector>) -> Result<Vec<Selector>, Malformed> {
    if selectors.len() > SELECTORS_MAX {
        return malformed(format!("{} selectors, limit {SELECTORS_MAX}", selectors.len()));
    }
    let matchers = || selectors.iter().flat_map(|selector| &selector.matchers);
    let expression = |m: &&pb::Matcher| matches!(m.op(), Op::Regex | Op::NotRegex);
    let patterns_bytes: usize = matchers().filter(expression).map(|m| m.value.len()).sum();
    if patterns_bytes > PATTERNS_BYTES_MAX {
        return malformed(format!("{patterns_bytes} bytes of patterns, limit {PATTERNS_BYTES_MAX}"));
    }
    if matchers().count() > LIST_MAX {
        return malformed("too many matchers");
    }
    selectors.into_iter().map(selector).collect()
}

fn selector(selector: pb::Selector) -> Result<Selector, Malformed> {
    let mut parts = Vec::with_capacity(selector.matchers.len());
    for matcher in selector.matchers {
        let kind = match matcher.op() {
            Op::Equal => MatchKind::Equal,
            Op::NotEqual => MatchKind::NotEqual,
            Op::Regex => MatchKind::Regex,
            Op::NotRegex => MatchKind::NotRegex,
            Op::Unspecified => return malformed("a matcher without an operator"),
        };
        parts.push((matcher.name, kind, matcher.value));
    }
    Selector::from_parts(parts).map_err(|error| Malformed(error.to_string()))
}
