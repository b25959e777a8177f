//! ProfileTypes, LabelNames, LabelValues, Series (api-semantics §2.4–2.6).

use std::collections::BTreeSet;

use hearth_common::TimeRange;
use hearth_model::{Answer, Labels, Question};
use hearth_proto::querier::v1 as wire;
use hearth_proto::types::v1 as types;
use hearth_query::ask::{self, AskError, parse_matchers};
use hearth_query::range::resolve_labels;
use hearth_rpc::RpcError;

use super::{Call, answers, range, wrong_kind};
use crate::QueryError;

impl Call {
    /// `None`: the answer is empty.
    fn label_range(&self, start_ms: i64, end_ms: i64) -> Result<Option<Option<TimeRange>>, RpcError> {
        Ok(resolve_labels(range(start_ms, end_ms), self.now, &self.limits).map_err(QueryError::from)?)
    }

    pub(super) async fn names(&self, question: &Question) -> Result<BTreeSet<String>, RpcError> {
        match self.ask(question).await? {
            Answer::Names(names) => Ok(names),
            _ => Err(wrong_kind()),
        }
    }

    /// The ids of the types in a range, sorted; `None` = whatever there is.
    pub(super) async fn type_ids(
        &self,
        range: Option<TimeRange>,
    ) -> Result<Vec<(String, hearth_model::ProfileType)>, RpcError> {
        let Answer::ProfileTypes(types) = self.ask(&Question::ProfileTypes { range }).await? else {
            return Err(wrong_kind());
        };
        let mut types: Vec<_> = types.into_iter().map(|ty| (ty.id(), ty)).collect();
        types.sort();
        Ok(types)
    }

    /// Label names of this form only, unless the client can read others.
    fn is_readable(&self, name: &str) -> bool {
        self.context.allow_utf8_label_names || is_legacy(name)
    }
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`
fn is_legacy(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn matchers(texts: &[String]) -> Result<Vec<hearth_model::Selector>, RpcError> {
    Ok(parse_matchers(texts).map_err(QueryError::from)?)
}

pub(super) async fn profile_types(
    call: Call,
    request: wire::ProfileTypesRequest,
) -> Result<wire::ProfileTypesResponse, RpcError> {
    let Some(range) = call.label_range(request.start, request.end)? else {
        return Ok(wire::ProfileTypesResponse::default());
    };
    let wire_type = |(id, ty): (String, hearth_model::ProfileType)| types::ProfileType {
        id,
        name: ty.name.to_string(),
        sample_type: ty.sample_type.to_string(),
        sample_unit: ty.sample_unit.to_string(),
        period_type: ty.period_type.to_string(),
        period_unit: ty.period_unit.to_string(),
    };
    let profile_types = call.type_ids(range).await?.into_iter().map(wire_type).collect();
    Ok(wire::ProfileTypesResponse { profile_types })
}

pub(super) async fn label_names(
    call: Call,
    request: types::LabelNamesRequest,
) -> Result<types::LabelNamesResponse, RpcError> {
    let matchers = matchers(&request.matchers)?;
    let Some(range) = call.label_range(request.start, request.end)? else {
        return Ok(types::LabelNamesResponse::default());
    };
    let names = call.names(&Question::LabelNames { range, matchers }).await?;
    Ok(types::LabelNamesResponse { names: names.into_iter().filter(|name| call.is_readable(name)).collect() })
}

pub(super) async fn label_values(
    call: Call,
    request: types::LabelValuesRequest,
) -> Result<types::LabelValuesResponse, RpcError> {
    if request.name.is_empty() {
        return Err(QueryError::from(AskError::NoName).into());
    }
    let matchers = matchers(&request.matchers)?;
    let Some(range) = call.label_range(request.start, request.end)? else {
        return Ok(types::LabelValuesResponse::default());
    };
    let names = call.names(&Question::LabelValues { name: request.name, range, matchers }).await?;
    Ok(types::LabelValuesResponse { names: names.into_iter().collect() })
}

pub(super) async fn series(
    call: Call,
    request: wire::SeriesRequest,
) -> Result<wire::SeriesResponse, RpcError> {
    let matchers = matchers(&request.matchers)?;
    let mut label_names = ask::label_names(request.label_names).map_err(QueryError::from)?;
    let Some(range) = call.label_range(request.start, request.end)? else {
        return Ok(wire::SeriesResponse::default());
    };
    label_names.retain(|name| call.is_readable(name));
    let all = label_names.is_empty();
    let Answer::Series(mut sets) = call.ask(&Question::Series { range, matchers, label_names }).await? else {
        return Err(wrong_kind());
    };
    if all && !call.context.allow_utf8_label_names {
        sets = sets.iter().map(legacy_only).collect();
    }
    let labels_set =
        sets.iter().map(|labels| types::Labels { labels: answers::label_pairs(labels) }).collect();
    Ok(wire::SeriesResponse { labels_set })
}

fn legacy_only(labels: &Labels) -> Labels {
    match labels.iter().all(|(name, _)| is_legacy(name)) {
        true => labels.clone(),
        false => Labels::from_pairs(labels.iter().filter(|(name, _)| is_legacy(name))),
    }
}
