//! Flame graphs as JSON, without one allocation a number: a graph has tens of thousands of them, each a string in this
//! mapping of 64-bit integers.

use bytes::{Buf, BufMut};
use hearth_proto::querier::v1 as wire;
use prost::encoding::{DecodeContext, WireType};
use prost::{DecodeError, Message};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

/// An answer whose only field, when it is set, is a graph.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct WithGraph<M>(pub(super) M);

/// Finds the graph in an answer.
pub(super) trait HasGraph {
    /// `None`: the answer has other fields, and is written field by field.
    fn graph(&self) -> Option<Graph<'_>>;
}

/// The parts of a graph of either kind.
pub(super) struct Graph<'a> {
    names: &'a [String],
    levels: &'a [wire::Level],
    numbers: [(&'static str, i64); 4],
}

impl<'a> From<&'a wire::FlameGraph> for Graph<'a> {
    fn from(graph: &'a wire::FlameGraph) -> Self {
        let numbers = [("total", graph.total), ("maxSelf", graph.max_self), ("", 0), ("", 0)];
        Self { names: &graph.names, levels: &graph.levels, numbers }
    }
}

impl<'a> From<&'a wire::FlameGraphDiff> for Graph<'a> {
    fn from(graph: &'a wire::FlameGraphDiff) -> Self {
        let numbers = [
            ("total", graph.total),
            ("maxSelf", graph.max_self),
            ("leftTicks", graph.left_ticks),
            ("rightTicks", graph.right_ticks),
        ];
        Self { names: &graph.names, levels: &graph.levels, numbers }
    }
}

impl HasGraph for wire::SelectMergeStacktracesResponse {
    fn graph(&self) -> Option<Graph<'_>> {
        self.flamegraph.as_ref().map(Graph::from)
    }
}

impl HasGraph for wire::SelectMergeSpanProfileResponse {
    fn graph(&self) -> Option<Graph<'_>> {
        self.flamegraph.as_ref().map(Graph::from)
    }
}

impl HasGraph for wire::DiffResponse {
    fn graph(&self) -> Option<Graph<'_>> {
        self.flamegraph.as_ref().map(Graph::from)
    }
}

impl<M: HasGraph + Serialize> Serialize for WithGraph<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.graph() {
            None => self.0.serialize(serializer),
            Some(graph) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("flamegraph", &graph)?;
                map.end()
            }
        }
    }
}

impl Serialize for Graph<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.names.is_empty() {
            map.serialize_entry("names", self.names)?;
        }
        if !self.levels.is_empty() {
            map.serialize_entry("levels", &Levels(self.levels))?;
        }
        // As everywhere in this mapping, a zero is left out.
        for (name, value) in self.numbers.iter().filter(|(_, value)| *value != 0) {
            map.serialize_entry(name, &Number(*value))?;
        }
        map.end()
    }
}

struct Levels<'a>(&'a [wire::Level]);

impl Serialize for Levels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for level in self.0 {
            seq.serialize_element(&LevelOf(&level.values))?;
        }
        seq.end()
    }
}

struct LevelOf<'a>(&'a [i64]);

impl Serialize for LevelOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.0.is_empty() {
            map.serialize_entry("values", &Values(self.0))?;
        }
        map.end()
    }
}

struct Values<'a>(&'a [i64]);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for value in self.0 {
            seq.serialize_element(&Number(*value))?;
        }
        seq.end()
    }
}

/// A 64-bit integer as a string.
struct Number(i64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Most numbers of a graph are offsets of 0.
        if self.0 == 0 {
            return serializer.serialize_str("0");
        }
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        let mut rest = self.0.unsigned_abs();
        while rest > 0 {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        if self.0 < 0 {
            at -= 1;
            digits[at] = b'-';
        }
        serializer.serialize_str(std::str::from_utf8(&digits[at..]).expect("digits are ASCII"))
    }
}

/// On the binary wire the answer is what it wraps.
impl<M: Message> Message for WithGraph<M> {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.0.encode_raw(buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        self.0.merge_field(tag, wire_type, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        self.0.encoded_len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(answer: wire::SelectMergeStacktracesResponse) {
        let want = serde_json::to_value(&answer).expect("encodes");
        assert_eq!(serde_json::to_value(WithGraph(answer)).expect("encodes"), want);
    }

    #[test]
    fn the_fast_writer_writes_what_the_generated_one_writes() {
        let level = |values: &[i64]| wire::Level { values: values.to_vec() };
        for graph in [
            wire::FlameGraph::default(),
            wire::FlameGraph {
                names: vec!["total".to_owned(), "a\"\n\u{1}é".to_owned()],
                levels: vec![level(&[0, 10, 0, 0]), level(&[]), level(&[i64::MIN, i64::MAX, -7, 100])],
                total: 10,
                max_self: 0,
            },
        ] {
            same(wire::SelectMergeStacktracesResponse { flamegraph: Some(graph), ..Default::default() });
        }
        same(wire::SelectMergeStacktracesResponse { tree: vec![1, 2, 255], ..Default::default() });
        same(wire::SelectMergeStacktracesResponse::default());
        let diff = wire::DiffResponse {
            flamegraph: Some(wire::FlameGraphDiff { left_ticks: 3, total: 3, ..Default::default() }),
        };
        let want = serde_json::to_value(&diff).expect("encodes");
        assert_eq!(serde_json::to_value(WithGraph(diff)).expect("encodes"), want);
    }

    #[test]
    fn the_binary_form_is_the_wrapped_messages() {
        let graph = wire::FlameGraph { names: vec!["total".to_owned()], total: 1, ..Default::default() };
        let answer = wire::SelectMergeStacktracesResponse { flamegraph: Some(graph), ..Default::default() };
        let wrapped = WithGraph(answer.clone());
        assert_eq!(wrapped.encode_to_vec(), answer.encode_to_vec());
        assert_eq!(WithGraph::decode(&answer.encode_to_vec()[..]), Ok(wrapped));
    }
}
