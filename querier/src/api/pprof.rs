//! SelectMergeProfile, and pprof as a format of stacks (api-semantics §2.9).

use hearth_model::pprof_export::{ExportOptions, GoPgo, PprofFile, export, period_of};
use hearth_model::pprof_merge::{FunctionKey, LineKey, LocationKey, MappingKey};
use hearth_model::{Answer, ProfileType, Question};
use hearth_proto::google::v1 as google;
use hearth_proto::querier::v1 as wire;
use hearth_proto::types::v1 as types;
use hearth_query::ask::{CheckedAsk, ProfileAsk};
use hearth_query::nodes;
use hearth_query::range::AskedRange;
use hearth_rpc::RpcError;

use super::{Call, answers, range, wrong_kind};
use crate::QueryError;

const NS_PER_MS: i64 = 1_000_000;

pub(super) async fn select_merge_profile(
    call: Call,
    request: wire::SelectMergeProfileRequest,
) -> Result<google::Profile, RpcError> {
    let ask = ProfileAsk {
        profile_type: request.profile_type_id,
        selector: request.label_selector,
        range: range(request.start, request.end),
        call_site: answers::call_site(request.stack_trace_selector.as_ref()),
        traces: request.trace_id_selector,
        profile_ids: request.profile_id_selector,
        ..ProfileAsk::default()
    };
    let checked = call.check(&ask)?;
    let go_pgo = request.stack_trace_selector.and_then(|selector| selector.go_pgo);
    profile(&call, checked, request.max_nodes, go_pgo).await
}

/// The merged profile of a request.
pub(super) async fn profile(
    call: &Call,
    checked: CheckedAsk,
    max_nodes: Option<i64>,
    go_pgo: Option<types::GoPgo>,
) -> Result<google::Profile, RpcError> {
    let max_nodes = nodes::resolve_pprof(max_nodes, &call.limits).map_err(QueryError::from)?;
    if checked.is_empty {
        return Ok(google::Profile::default());
    }
    let (ty, range) = (checked.query.profile_type.clone(), checked.range);
    let Answer::Pprof(merge) = call.ask(&Question::Pprof(checked.query)).await? else {
        return Err(wrong_kind());
    };
    let go_pgo = go_pgo
        .map(|pgo| GoPgo { keep_locations: pgo.keep_locations, aggregate_callees: pgo.aggregate_callees });
    let exported = export(&merge, ExportOptions { go_pgo, max_nodes }).map_err(QueryError::from)?;
    Ok(wire_profile(exported, &ty, range))
}

fn wire_profile(file: PprofFile, ty: &ProfileType, range: AskedRange) -> google::Profile {
    if file.samples.is_empty() {
        // As the reference answers: a type without a name.
        let nothing = google::ValueType::default();
        return google::Profile {
            sample_type: vec![nothing],
            period_type: Some(nothing),
            string_table: vec![String::new()],
            ..google::Profile::default()
        };
    }
    let PprofFile { mut strings, mappings, symbolised, functions, locations, samples } = file;
    let mut text = |text: &str| match strings.iter().position(|known| known == text) {
        Some(at) => at as i64,
        None => {
            strings.push(text.to_owned());
            strings.len() as i64 - 1
        }
    };
    let mut value_type = |of: &str, unit: &str| {
        let unit = text(unit);
        google::ValueType { r#type: text(of), unit }
    };
    let sample_type = value_type(&ty.sample_type, &ty.sample_unit);
    let period_type = value_type(&ty.period_type, &ty.period_unit);
    google::Profile {
        default_sample_type: sample_type.r#type,
        sample_type: vec![sample_type],
        period_type: Some(period_type),
        period: period_of(ty),
        time_nanos: range.end_ms.saturating_mul(NS_PER_MS),
        duration_nanos: range.end_ms.saturating_sub(range.start_ms).saturating_mul(NS_PER_MS),
        sample: samples
            .into_iter()
            .map(|(stack, value)| google::Sample {
                location_id: stack.into_iter().map(id).collect(),
                value: vec![value],
                label: Vec::new(),
            })
            .collect(),
        mapping: (1..).zip(mappings.iter().zip(symbolised)).map(wire_mapping).collect(),
        location: (1..).zip(&locations).map(wire_location).collect(),
        function: (1..).zip(&functions).map(wire_function).collect(),
        string_table: strings,
        ..google::Profile::default()
    }
}

fn wire_mapping((id, (mapping, has_functions)): (u64, (&MappingKey, bool))) -> google::Mapping {
    google::Mapping {
        id,
        memory_start: mapping.start,
        memory_limit: mapping.limit,
        file_offset: mapping.offset,
        filename: i64::from(mapping.file),
        build_id: i64::from(mapping.build_id),
        has_functions,
        ..google::Mapping::default()
    }
}

fn wire_location((at, location): (u64, &LocationKey)) -> google::Location {
    let line = |line: &LineKey| google::Line { function_id: id(line.function), line: line.line };
    google::Location {
        id: at,
        mapping_id: location.mapping.map(id).unwrap_or_default(),
        address: location.address,
        line: location.lines.iter().map(line).collect(),
        is_folded: false,
    }
}

fn wire_function((id, function): (u64, &FunctionKey)) -> google::Function {
    google::Function {
        id,
        name: i64::from(function.name),
        system_name: i64::from(function.system_name),
        filename: i64::from(function.file),
        start_line: function.start_line,
    }
}

/// Ids in the file start at 1.
fn id(index: u32) -> u64 {
    u64::from(index) + 1
}
