//! Conversions that several methods share.

use hearth_model::{Labels, diff, flamegraph};
use hearth_proto::querier::v1 as wire;
use hearth_proto::types::v1::{LabelPair, StackTraceSelector};

pub(super) fn graph(graph: flamegraph::FlameGraph) -> wire::FlameGraph {
    let flamegraph::FlameGraph { names, levels, total, max_self } = graph;
    wire::FlameGraph { names, levels: wire_levels(levels), total, max_self }
}

pub(super) fn graph_diff(graph: diff::FlameGraphDiff) -> wire::FlameGraphDiff {
    let diff::FlameGraphDiff { names, levels, total, max_self, left_ticks, right_ticks } = graph;
    wire::FlameGraphDiff { names, levels: wire_levels(levels), total, max_self, left_ticks, right_ticks }
}

fn wire_levels(levels: Vec<Vec<i64>>) -> Vec<wire::Level> {
    levels.into_iter().map(|values| wire::Level { values }).collect()
}

pub(super) fn label_pairs(labels: &Labels) -> Vec<LabelPair> {
    labels.iter().map(|(name, value)| LabelPair { name: name.to_owned(), value: value.to_owned() }).collect()
}

/// The function names of a call site, outermost first.
pub(super) fn call_site(selector: Option<&StackTraceSelector>) -> Vec<String> {
    selector.map(|s| s.call_site.iter().map(|l| l.name.clone()).collect()).unwrap_or_default()
}
