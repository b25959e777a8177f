//! Profiles by hand, as the writer of blocks takes them.

use std::collections::BTreeMap;

use hearth_block::input::{FunctionRow, LineRow, MappingRow, ProfileRow, UnitSource, UnitSymbols};
use hearth_common::{Rid, TimestampNs};
use hearth_model::Labels;

/// A CPU profile of one service.
#[derive(Debug, Clone)]
pub struct Profile {
    pub service: &'static str,
    pub more: Vec<(&'static str, &'static str)>,
    pub time_ms: i64,
    /// (`root;…;leaf`, value)
    pub stacks: Vec<(&'static str, i64)>,
}

impl Profile {
    pub fn new(service: &'static str, time_ms: i64, stacks: &[(&'static str, i64)]) -> Self {
        Self { service, more: Vec::new(), time_ms, stacks: stacks.to_vec() }
    }

    #[must_use]
    pub fn label(mut self, name: &'static str, value: &'static str) -> Self {
        self.more.push((name, value));
        self
    }

    pub fn time(&self) -> TimestampNs {
        TimestampNs::from_ms(self.time_ms)
    }

    pub fn labels(&self) -> Labels {
        super::labels(self.service, &self.more)
    }
}

/// Series, profile, its samples by stack.
type Row = (usize, Profile, Vec<(u32, i64)>);

/// All profiles of one service: every name is one function with one location.
pub struct Unit {
    service: &'static str,
    profiles: Vec<Row>,
    series: Vec<Labels>,
    /// Index 0 is "".
    names: Vec<&'static str>,
    nodes: Vec<(u32, u32)>,
    stacks: Vec<u32>,
    lines: Vec<[LineRow; 1]>,
}

pub fn units(rows: &[Profile]) -> Vec<Unit> {
    let mut by_service: BTreeMap<&str, Unit> = BTreeMap::new();
    for row in rows {
        by_service
            .entry(row.service)
            .or_insert_with(|| Unit {
                service: row.service,
                profiles: Vec::new(),
                series: Vec::new(),
                names: vec![""],
                nodes: vec![(0, 0)],
                stacks: Vec::new(),
                lines: Vec::new(),
            })
            .push(row);
    }
    by_service.into_values().collect()
}

fn place<T: PartialEq>(all: &mut Vec<T>, one: T) -> usize {
    all.iter().position(|known| *known == one).unwrap_or_else(|| {
        all.push(one);
        all.len() - 1
    })
}

impl Unit {
    fn push(&mut self, row: &Profile) {
        let mut samples: BTreeMap<u32, i64> = BTreeMap::new();
        for (stack, value) in &row.stacks {
            let mut node = 0;
            for name in stack.split(';') {
                let location = place(&mut self.names, name) as u32 - 1;
                node = match self.nodes.iter().skip(1).position(|n| *n == (node, location)) {
                    Some(at) => at as u32 + 1,
                    None => {
                        self.nodes.push((node, location));
                        self.nodes.len() as u32 - 1
                    }
                };
            }
            *samples.entry(place(&mut self.stacks, node) as u32).or_default() += value;
        }
        self.lines = (1..self.names.len() as u32).map(|f| [LineRow { function: f - 1, line: 1 }]).collect();
        let series = place(&mut self.series, row.labels());
        self.profiles.push((series, row.clone(), samples.into_iter().collect()));
    }
}

impl UnitSymbols for Unit {
    fn string_count(&self) -> u32 {
        self.names.len() as u32
    }
    fn string(&self, at: u32) -> &str {
        self.names[at as usize]
    }
    fn function_count(&self) -> u32 {
        self.names.len() as u32 - 1
    }
    fn function(&self, at: u32) -> FunctionRow {
        FunctionRow { name: at + 1, ..FunctionRow::default() }
    }
    fn mapping_count(&self) -> u32 {
        0
    }
    fn mapping(&self, _at: u32) -> MappingRow {
        MappingRow::default()
    }
    fn location_count(&self) -> u32 {
        self.lines.len() as u32
    }
    fn location(&self, at: u32) -> (Option<u32>, u64, &[LineRow]) {
        (None, 0, &self.lines[at as usize])
    }
    fn node_count(&self) -> u32 {
        self.nodes.len() as u32
    }
    fn node(&self, at: u32) -> (u32, u32) {
        self.nodes[at as usize]
    }
    fn stack_count(&self) -> u32 {
        self.stacks.len() as u32
    }
    fn stack_node(&self, at: u32) -> u32 {
        self.stacks[at as usize]
    }
}

impl UnitSource for Unit {
    fn profile_name(&self) -> &str {
        "process_cpu"
    }
    fn service(&self) -> &str {
        self.service
    }
    fn symbols(&self) -> &dyn UnitSymbols {
        self
    }
    fn series(&self) -> Vec<Labels> {
        self.series.clone()
    }
    fn profiles(&self, series: usize, day: i32, visit: &mut dyn FnMut(&ProfileRow<'_>)) {
        for (at, (_, row, samples)) in self.profiles.iter().enumerate().filter(|(_, p)| p.0 == series) {
            if row.time().day() == day {
                visit(&ProfileRow {
                    sample_type: ["cpu", "nanoseconds", "cpu", "nanoseconds"],
                    time: row.time(),
                    rid: Rid(at as u128 + 1),
                    duration_ns: 0,
                    period: 10_000_000,
                    samples,
                    spans: &[],
                    annotations: &[],
                });
            }
        }
    }
}
