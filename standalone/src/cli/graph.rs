//! A flame graph as the server answers it, unpacked into boxes.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// One box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// Where the box begins, in the graph's unit.
    pub(super) start: i64,
    pub(crate) total: i64,
    pub(crate) self_value: i64,
    /// Boxes above it, by their place in `Graph::nodes`.
    pub(super) children: Vec<usize>,
}

/// All boxes; the first is the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    /// Boxes of each level, from the root up, from left to right.
    pub(super) levels: Vec<Vec<usize>>,
}

impl Graph {
    /// Reads the `flamegraph` of an answer; an error if it is empty.
    pub(super) fn read(json: &Value) -> Result<Self> {
        Self::read_any(json)?.context("no profiles of this type are selected in this range")
    }

    /// Reads the `flamegraph` of an answer: levels of (gap to the box before, total, self, name). `None`: it is empty.
    pub(crate) fn read_any(json: &Value) -> Result<Option<Self>> {
        let names = json["names"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut graph = Self { nodes: Vec::new(), levels: Vec::new() };
        for level in json["levels"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let values = level["values"].as_array().map(Vec::as_slice).unwrap_or_default();
            graph.read_level(values, names)?;
        }
        Ok((graph.total() != 0).then_some(graph))
    }

    fn read_level(&mut self, values: &[Value], names: &[Value]) -> Result<()> {
        let mut level = Vec::new();
        let mut at = 0i64;
        let mut parent = 0;
        for bar in values.chunks(4) {
            let [gap, total, self_value, name] = bar else {
                bail!("a level of the flame graph is cut short")
            };
            let start = at + number(gap)?;
            let total = number(total)?;
            let name = names.get(usize::try_from(number(name)?)?).and_then(Value::as_str);
            let name = name.context("the flame graph names a function that it does not list")?.to_owned();
            at = start + total;
            let index = self.nodes.len();
            if let Some(below) = self.levels.last() {
                while below.get(parent + 1).is_some_and(|next| self.nodes[*next].start <= start) {
                    parent += 1;
                }
                let below = *below.get(parent).context("a box of the flame graph stands on nothing")?;
                self.nodes[below].children.push(index);
            }
            self.nodes.push(Node {
                name,
                start,
                total,
                self_value: number(self_value)?,
                children: Vec::new(),
            });
            level.push(index);
        }
        self.levels.push(level);
        Ok(())
    }

    /// The root's total.
    pub(super) fn total(&self) -> i64 {
        self.nodes.first().map_or(0, |root| root.total)
    }

    /// A node's share of the whole, in percent.
    pub(super) fn percent(&self, node: &Node) -> f64 {
        node.total as f64 * 100.0 / self.total().max(1) as f64
    }
}

/// protojson writes 64-bit numbers as strings.
fn number(value: &Value) -> Result<i64> {
    match value {
        Value::String(text) => text.parse().with_context(|| format!("'{text}' is no number")),
        Value::Number(number) => number.as_i64().context("a number is no integer"),
        _ => bail!("a number is missing"),
    }
}

#[cfg(test)]
pub(super) fn sample() -> Graph {
    let json = serde_json::json!({
        "names": ["total", "main", "work", "idle", "inner"],
        "levels": [
            {"values": ["0", "100", "0", "0"]},
            {"values": ["0", "90", "10", "1", "0", "10", "10", "3"]},
            {"values": ["0", "60", "20", "2", "0", "20", "20", "3"]},
            {"values": ["20", "40", "40", "4"]},
        ],
    });
    Graph::read(&json).expect("valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_find_what_they_stand_on() {
        let graph = sample();
        let children = |index: usize| -> Vec<&str> {
            graph.nodes[index].children.iter().map(|child| graph.nodes[*child].name.as_str()).collect()
        };
        assert_eq!(children(0), ["main", "idle"]);
        assert_eq!(children(1), ["work", "idle"]);
        assert_eq!(children(3), ["inner"]);
        assert_eq!(graph.nodes[5].start, 20);
        assert!(Graph::read(&serde_json::json!({})).is_err());
        assert!(Graph::read(&serde_json::json!({"names": [], "levels": [{"values": ["0", "1"]}]})).is_err());
    }
}
