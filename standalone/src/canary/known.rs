//! Profiles whose stacks and values follow from their time, so that whoever reads one knows what must stand in it.

use std::collections::BTreeMap;

use anyhow::Result;
use hearth_proto::google::v1 as pprof;
use prost::Message;
use serde_json::Value;

use super::figures::Read;
use crate::cli::Graph;

/// Stacks, from the root: enough to be merged and cut, few enough to be read by a person.
const STACKS: [&[&str]; 5] = [
    &["main", "serve", "decode"],
    &["main", "serve", "encode"],
    &["main", "serve", "decode", "inflate"],
    &["main", "idle"],
    &["gc"],
];

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) time_ns: i64,
}

impl Known {
    pub(super) fn of(time_ns: i64) -> Self {
        Self { time_ns }
    }

    /// Nanoseconds of each stack; none is zero.
    fn values(self) -> [i64; STACKS.len()] {
        let seed = self.time_ns / 1_000_000;
        std::array::from_fn(|at| 1 + (seed.wrapping_mul(31 + 2 * at as i64)).rem_euclid(9_999_991))
    }

    /// As pprof, not compressed.
    pub(super) fn pprof(self) -> Vec<u8> {
        let mut strings = vec![String::new(), "cpu".to_owned(), "nanoseconds".to_owned()];
        let mut profile = pprof::Profile {
            sample_type: vec![pprof::ValueType { r#type: 1, unit: 2 }],
            period_type: Some(pprof::ValueType { r#type: 1, unit: 2 }),
            period: 10_000_000,
            time_nanos: self.time_ns,
            duration_nanos: 1_000_000_000,
            ..Default::default()
        };
        let mut ids: BTreeMap<&str, u64> = BTreeMap::new();
        for name in STACKS.iter().flat_map(|stack| stack.iter().copied()) {
            let next = ids.len() as u64 + 1;
            ids.entry(name).or_insert(next);
        }
        for (name, id) in &ids {
            let function = pprof::Function { id: *id, name: strings.len() as i64, ..Default::default() };
            strings.push((*name).to_owned());
            profile.function.push(function);
            let line = vec![pprof::Line { function_id: *id, ..Default::default() }];
            profile.location.push(pprof::Location { id: *id, line, ..Default::default() });
        }
        for (stack, value) in STACKS.iter().zip(self.values()) {
            let location_id = stack.iter().rev().map(|name| ids[name]).collect();
            profile.sample.push(pprof::Sample { location_id, value: vec![value], ..Default::default() });
        }
        profile.string_table = strings;
        profile.encode_to_vec()
    }

    /// What a flame graph in JSON, as the querier answers it, says of this profile.
    pub(super) fn compare(self, answer: &Value) -> Result<Read> {
        let Some(graph) = Graph::read_any(&answer["flamegraph"])? else { return Ok(Read::Missing) };
        Ok(if totals(&graph) == self.totals() { Read::Exact } else { Read::Wrong })
    }

    /// Total and own value of each function.
    fn totals(self) -> BTreeMap<String, (i64, i64)> {
        let mut totals: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        for (stack, value) in STACKS.iter().zip(self.values()) {
            for (at, name) in stack.iter().enumerate() {
                let (total, own) = totals.entry((*name).to_owned()).or_default();
                *total += value;
                *own += if at + 1 == stack.len() { value } else { 0 };
            }
        }
        totals
    }
}

/// Total and own value of each function of a flame graph.
fn totals(graph: &Graph) -> BTreeMap<String, (i64, i64)> {
    let mut found: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    // The first is the whole.
    for node in graph.nodes.iter().skip(1) {
        let (total, own) = found.entry(node.name.clone()).or_default();
        *total += node.total;
        *own += node.self_value;
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_compared_is_every_total() {
        let known = Known::of(1_700_000_000_123_000_000);
        assert!(known.values().iter().all(|value| *value > 0));
        assert_ne!(known.values(), Known::of(known.time_ns + 1_000_000).values());
        let profile = pprof::Profile::decode(&known.pprof()[..]).expect("pprof");
        assert_eq!((profile.sample.len(), profile.function.len()), (5, 7));
        assert_eq!(known.compare(&json!({})).expect("empty"), Read::Missing);
        let [decode, encode, inflate, idle, gc] = known.values();
        let text = |value: i64| value.to_string();
        let (serve, all) = (decode + encode + inflate, decode + encode + inflate + idle + gc);
        let bar =
            |total: i64, own: i64, name: usize| [json!("0"), json!(text(total)), json!(own), json!(name)];
        let rows = [
            vec![bar(all, 0, 0)],
            vec![bar(serve + idle, 0, 1), bar(gc, gc, 2)],
            vec![bar(serve, 0, 3), bar(idle, idle, 4)],
            vec![bar(decode + inflate, decode, 5), bar(encode, encode, 6)],
            vec![bar(inflate, inflate, 7)],
        ];
        let levels: Vec<Value> = rows.iter().map(|row| json!({"values": row.concat()})).collect();
        let names = ["total", "main", "gc", "serve", "idle", "decode", "encode", "inflate"];
        let mut graph = json!({"flamegraph": {"names": names, "levels": levels}});
        assert_eq!(known.compare(&graph).expect("a graph"), Read::Exact);
        assert_eq!(Known::of(0).compare(&graph).expect("a graph"), Read::Wrong);
        graph["flamegraph"]["names"] = json!([]);
        assert!(known.compare(&graph).is_err());
    }
}
