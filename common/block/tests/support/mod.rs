//! Profiles made up for tests and measurements: a small head that takes them in any order, and the naive answers.
#![allow(dead_code, unreachable_pub, reason = "shared by several test files, each of which uses a part")]

pub mod naive;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::executor::block_on;
use hearth_block::input::{
    BlockSpec, FunctionRow, LineRow, MappingRow, ProfileRow, SpanSample, UnitSource, UnitSymbols,
};
use hearth_block::{BlockEntry, BlockError, BlockReader, EncodedBlock, Hidden, WriteOptions, write_block};
use hearth_common::range_read::InMemory;
use hearth_common::{RangeRead, Rid, TenantId, TimestampNs};
use hearth_model::spans::TraceId;
use hearth_model::{Answer, Labels, Question};

pub const DAY: i32 = 20_000;
pub const DAY_START_NS: i64 = DAY as i64 * 86_400_000_000_000;

/// Name, system name, file, start line, line.
pub type Line = (String, String, String, i64, i64);

/// A location with its contents; lines leaf first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    pub mapping: Option<(String, String, u64)>,
    pub address: u64,
    pub lines: Vec<Line>,
}

/// A span, its trace, stack and value.
pub type Span = (u64, Option<TraceId>, Vec<Location>, i64);

/// One record's values of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub name: String,
    pub service: String,
    pub labels: Labels,
    pub sample_type: [String; 4],
    pub time_ns: i64,
    pub rid: u128,
    pub duration_ns: i64,
    pub period: i64,
    /// Stacks (root first), each once, with values ≥ 0.
    pub samples: Vec<(Vec<Location>, i64)>,
    pub spans: Vec<Span>,
    pub annotations: Vec<(String, String)>,
}

pub type Row = ([String; 4], i64, u128, i64, i64, Vec<(u32, i64)>, Vec<SpanSample>, Vec<(String, String)>);

/// A unit that numbers things as they arrive.
#[derive(Debug, Default)]
pub struct Unit {
    name: String,
    service: String,
    strings: Table<String>,
    functions: Table<FunctionRow>,
    mappings: Table<MappingRow>,
    locations: Table<(Option<u32>, u64, Vec<LineRow>)>,
    nodes: Table<(u32, u32)>,
    stacks: Table<u32>,
    series: Vec<(Labels, Vec<Row>)>,
}

#[derive(Debug)]
struct Table<T> {
    rows: Vec<T>,
    known: std::collections::HashMap<T, u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), known: Default::default() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Table<T> {
    fn intern(&mut self, row: T) -> u32 {
        let next = self.rows.len() as u32;
        let at = *self.known.entry(row.clone()).or_insert(next);
        if at == next {
            self.rows.push(row);
        }
        at
    }
}

impl Unit {
    pub fn new(name: &str, service: &str) -> Self {
        let mut unit = Self { name: name.to_owned(), service: service.to_owned(), ..Self::default() };
        unit.strings.intern(String::new());
        unit.nodes.intern((u32::MAX, u32::MAX));
        unit
    }

    pub fn location(&mut self, location: &Location) -> u32 {
        let mapping = location.mapping.as_ref().map(|(file, build_id, start)| {
            let (file, build_id) = (self.strings.intern(file.clone()), self.strings.intern(build_id.clone()));
            self.mappings.intern(MappingRow {
                file,
                build_id,
                start: *start,
                limit: start + 10,
                offset: start / 2,
            })
        });
        let mut lines = Vec::new();
        for (name, system_name, file, start_line, line) in &location.lines {
            let function = FunctionRow {
                name: self.strings.intern(name.clone()),
                system_name: self.strings.intern(system_name.clone()),
                file: self.strings.intern(file.clone()),
                start_line: *start_line,
            };
            lines.push(LineRow { function: self.functions.intern(function), line: *line });
        }
        self.locations.intern((mapping, location.address, lines))
    }

    /// A stack of locations that are known.
    pub fn stack_of(&mut self, locations: &[u32]) -> u32 {
        let node = locations.iter().fold(0, |node, &location| self.nodes.intern((node, location)));
        self.stacks.intern(node)
    }

    pub fn stack(&mut self, stack: &[Location]) -> u32 {
        let mut node = 0;
        for location in stack {
            let location = self.location(location);
            node = self.nodes.intern((node, location));
        }
        self.stacks.intern(node)
    }

    pub fn push(&mut self, profile: &Profile) {
        let mut samples: Vec<(u32, i64)> = profile.samples.iter().map(|(s, v)| (self.stack(s), *v)).collect();
        samples.sort_unstable();
        let span = |unit: &mut Self, (span, trace, stack, value): &Span| SpanSample {
            stack: unit.stack(stack),
            span: *span,
            trace: *trace,
            value: *value,
        };
        let spans = profile.spans.iter().map(|s| span(self, s)).collect();
        self.push_row(
            &profile.labels,
            (
                profile.sample_type.clone(),
                profile.time_ns,
                profile.rid,
                profile.duration_ns,
                profile.period,
                samples,
                spans,
                profile.annotations.clone(),
            ),
        );
    }

    pub fn push_row(&mut self, labels: &Labels, row: Row) {
        match self.series.iter_mut().find(|(known, _)| known == labels) {
            Some((_, rows)) => rows.push(row),
            None => self.series.push((labels.clone(), vec![row])),
        }
    }
}

impl UnitSymbols for Unit {
    fn string_count(&self) -> u32 {
        self.strings.rows.len() as u32
    }
    fn string(&self, at: u32) -> &str {
        &self.strings.rows[at as usize]
    }
    fn function_count(&self) -> u32 {
        self.functions.rows.len() as u32
    }
    fn function(&self, at: u32) -> FunctionRow {
        self.functions.rows[at as usize]
    }
    fn mapping_count(&self) -> u32 {
        self.mappings.rows.len() as u32
    }
    fn mapping(&self, at: u32) -> MappingRow {
        self.mappings.rows[at as usize]
    }
    fn location_count(&self) -> u32 {
        self.locations.rows.len() as u32
    }
    fn location(&self, at: u32) -> (Option<u32>, u64, &[LineRow]) {
        let (mapping, address, lines) = &self.locations.rows[at as usize];
        (*mapping, *address, lines)
    }
    fn node_count(&self) -> u32 {
        self.nodes.rows.len() as u32
    }
    fn node(&self, at: u32) -> (u32, u32) {
        self.nodes.rows[at as usize]
    }
    fn stack_count(&self) -> u32 {
        self.stacks.rows.len() as u32
    }
    fn stack_node(&self, at: u32) -> u32 {
        self.stacks.rows[at as usize]
    }
}

impl UnitSource for Unit {
    fn profile_name(&self) -> &str {
        &self.name
    }
    fn service(&self) -> &str {
        &self.service
    }
    fn symbols(&self) -> &dyn UnitSymbols {
        self
    }
    fn series(&self) -> Vec<Labels> {
        self.series.iter().map(|(labels, _)| labels.clone()).collect()
    }
    fn profiles(&self, series: usize, day: i32, visit: &mut dyn FnMut(&ProfileRow<'_>)) {
        for (ty, time, rid, duration_ns, period, samples, spans, annotations) in &self.series[series].1 {
            if TimestampNs(*time).day() == day {
                visit(&ProfileRow {
                    sample_type: [&ty[0], &ty[1], &ty[2], &ty[3]],
                    time: TimestampNs(*time),
                    rid: Rid(*rid),
                    duration_ns: *duration_ns,
                    period: *period,
                    samples,
                    spans,
                    annotations,
                });
            }
        }
    }
    fn profiles_of_type(
        &self,
        series: usize,
        day: i32,
        sample_type: [&str; 4],
        visit: &mut dyn FnMut(&ProfileRow<'_>),
    ) {
        self.profiles(series, day, &mut |row| {
            if row.sample_type == sample_type {
                visit(row);
            }
        });
    }
}

/// A head: units by key.
#[derive(Debug, Default)]
pub struct Head(pub BTreeMap<(String, String), Unit>);

impl Head {
    pub fn of<'p>(profiles: impl IntoIterator<Item = &'p Profile>) -> Self {
        let mut head = Self::default();
        for profile in profiles {
            head.unit(&profile.name, &profile.service).push(profile);
        }
        head
    }

    pub fn unit(&mut self, name: &str, service: &str) -> &mut Unit {
        self.0.entry((name.to_owned(), service.to_owned())).or_insert_with(|| Unit::new(name, service))
    }

    pub fn write(&self) -> Result<EncodedBlock, BlockError> {
        self.write_as(&spec())
    }

    pub fn write_as(&self, spec: &BlockSpec) -> Result<EncodedBlock, BlockError> {
        let units: Vec<&dyn UnitSource> = self.0.values().map(|unit| unit as &dyn UnitSource).collect();
        write_block(spec, &units, &WriteOptions { attempt: "0".to_owned() })
    }
}

pub fn spec() -> BlockSpec {
    BlockSpec { tenant: TenantId::anonymous(), day: DAY, level: 0, sources: Vec::new() }
}

/// Opens a block in memory.
pub fn open(block: &EncodedBlock) -> Result<BlockReader, BlockError> {
    open_parts(Arc::new(block.entry.clone()), &block.objects)
}

pub fn open_parts(
    entry: Arc<BlockEntry>,
    objects: &[(String, bytes::Bytes)],
) -> Result<BlockReader, BlockError> {
    let object = |name: &str| -> Arc<dyn RangeRead> {
        let found = objects.iter().find(|(object, _)| object == name);
        Arc::new(InMemory(found.map(|(_, bytes)| bytes.clone()).unwrap_or_default()))
    };
    block_on(BlockReader::open(entry, object))
}

pub fn ask(reader: &BlockReader, question: &Question) -> Result<Answer, BlockError> {
    block_on(reader.prepare(question))?.run()
}

/// As [`ask`], as if hidden rows were not there.
pub fn ask_without(
    reader: &BlockReader,
    question: &Question,
    hidden: &[Arc<Hidden>],
) -> Result<Answer, BlockError> {
    block_on(reader.prepare_without(question, hidden))?.run()
}

/// A small generator of numbers that look random.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn pick<'t, T>(&mut self, things: &'t [T]) -> &'t T {
        &things[self.below(things.len() as u64) as usize]
    }
}

/// `count` profiles over a few services, types, series and stacks; small domains so that everything meets everything.
pub fn made_up(seed: u64, count: usize) -> Vec<Profile> {
    let mut random = Random(seed);
    let mut locations = Vec::new();
    for at in 0..12u64 {
        let lines = (0..random.below(3)).map(|_| made_up_line(&mut random)).collect::<Vec<Line>>();
        let mapping = (random.below(2) == 0).then(|| (format!("lib{}", at % 3), String::new(), at % 2));
        let address = if lines.is_empty() { random.below(5) } else { 0 };
        locations.push(Location { mapping, address, lines });
    }
    locations.sort();
    locations.dedup();
    (0..count).map(|at| made_up_profile(&mut random, &locations, at as u128)).collect()
}

fn made_up_line(random: &mut Random) -> Line {
    let name = *random.pick(&["main", "run", "alloc", "", "zélé", "f"]);
    let line = *random.pick(&[0, 1, 7, -3, i64::MAX]);
    let start = *random.pick(&[0, 5, -1]);
    (name.to_owned(), (*random.pick(&["", "main", "_Z1f"])).to_owned(), "a.rs".to_owned(), start, line)
}

fn made_up_stack(random: &mut Random, locations: &[Location]) -> Vec<Location> {
    (0..random.below(5)).map(|_| random.pick(locations).clone()).collect()
}

fn made_up_profile(random: &mut Random, locations: &[Location], at: u128) -> Profile {
    let name = *random.pick(&["cpu", "memory", "cpu-x"]);
    let service = *random.pick(&["a", "b", "web"]);
    let mut labels =
        vec![("__name__".to_owned(), name.to_owned()), ("service_name".to_owned(), service.to_owned())];
    labels.push(("pod".to_owned(), format!("p{}", random.below(3))));
    if random.below(3) == 0 {
        labels.push(("__delta__".to_owned(), "false".to_owned()));
        labels.push(("Zone".to_owned(), String::new()));
    }
    let ty = *random.pick(&[
        ["cpu", "nanoseconds", "cpu", "nanoseconds"],
        ["space", "bytes", "", ""],
        ["n", "count", "", ""],
    ]);
    let mut samples: BTreeMap<Vec<Location>, i64> = BTreeMap::new();
    for _ in 0..random.below(8) {
        samples.insert(made_up_stack(random, locations), random.below(1000) as i64);
    }
    let mut spans = Vec::new();
    for (stack, value) in samples.iter().filter(|(_, value)| **value > 1) {
        if random.below(4) == 0 {
            let trace = (random.below(2) == 0).then(|| [1 + random.below(3) as u8; 16]);
            spans.push((random.below(4), trace, stack.clone(), value / 2));
        }
    }
    let annotations =
        (0..random.below(12).saturating_sub(9)).map(|n| (format!("k{n}"), "v".to_owned())).collect();
    Profile {
        name: name.to_owned(),
        service: service.to_owned(),
        labels: Labels::from_pairs(labels),
        sample_type: ty.map(str::to_owned),
        time_ns: DAY_START_NS + random.below(20) as i64 * 500_000_000,
        rid: at << 64 | u128::from(random.next()),
        duration_ns: 10_000_000_000,
        period: random.below(3) as i64,
        samples: samples.into_iter().collect(),
        spans,
        annotations,
    }
}
