//! Made-up services: a code base each that changes a little every day, and sparse CPU profiles of some pods.

use std::collections::HashSet;

use hearth_block::input::{FunctionRow, LineRow, MappingRow, ProfileRow, UnitSource, UnitSymbols};
use hearth_common::{Rid, TimestampNs};
use hearth_model::Labels;

/// Pods of a service.
pub(crate) const PODS: u64 = 4;
/// Functions that all services use, and those of one.
const COMMON_FUNCTIONS: u64 = 1_500;
const OWN_FUNCTIONS: u64 = 1_200;
/// Distinct stacks of a service in a day; of these, those that only this day has.
const STACKS: u64 = 1_500;
const NEW_STACKS: u64 = 40;
/// Samples that the profiler took for a profile; many fall on one stack.
const DRAWS: u64 = 130;
const PERIOD_NS: i64 = 10_000_000;
pub(crate) const DAY_MS: i64 = 86_400_000;

/// A small generator of numbers that look random.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Few numbers are frequent, most are rare.
    fn skewed(&mut self, limit: u64) -> u64 {
        let part = self.below(1 << 20) as f64 / f64::from(1 << 20);
        ((part * part * part) * limit as f64) as u64
    }
}

/// All that one service does on one day.
pub(crate) struct Service {
    name: String,
    number: u64,
    day: i32,
    rounds: u64,
    strings: Vec<String>,
    functions: Vec<FunctionRow>,
    lines: Vec<[LineRow; 1]>,
    nodes: Vec<(u32, u32)>,
    stacks: Vec<u32>,
}

impl Service {
    pub(crate) fn new(number: u64, day: i32, rounds: u64) -> Self {
        let name = format!("svc-{number:03}");
        let mut service = Self {
            strings: vec![String::new()],
            functions: Vec::new(),
            lines: Vec::new(),
            nodes: vec![(0, 0)],
            stacks: Vec::new(),
            name,
            number,
            day,
            rounds,
        };
        for at in 0..COMMON_FUNCTIONS + OWN_FUNCTIONS {
            let package = match at < COMMON_FUNCTIONS {
                true => format!("example.com/platform/package{}", at % 60),
                false => format!("example.com/{}/package{}", service.name, at % 40),
            };
            service
                .add_function(&format!("{package}.(*Type{}).Method{at}", at % 90), &format!("{package}.go"));
        }
        let mut seen = HashSet::new();
        service.grow(&mut Random(number), STACKS - NEW_STACKS, &mut seen);
        service.grow(&mut Random(number << 32 | day as u64), NEW_STACKS, &mut seen);
        service
    }

    fn add_function(&mut self, name: &str, file: &str) {
        let at = self.strings.len() as u32;
        self.strings.extend([name.to_owned(), file.to_owned()]);
        let function = self.functions.len() as u32;
        self.functions.push(FunctionRow { name: at, system_name: at, file: at + 1, start_line: 10 });
        self.lines.push([LineRow { function, line: 17 + i64::from(function % 50) }]);
    }

    /// Adds stacks, most of which branch off from others.
    fn grow(&mut self, random: &mut Random, stacks: u64, seen: &mut HashSet<u32>) {
        for _ in 0..stacks {
            let mut node = match self.stacks.len() as u64 {
                0 => 0,
                known => self.stacks[random.skewed(known) as usize],
            };
            for _ in 0..random.below(12) {
                node = self.nodes[node as usize].0;
            }
            for _ in 0..1 + random.below(10) {
                let common = random.below(3) > 0;
                let location = match common {
                    true => random.below(COMMON_FUNCTIONS),
                    false => COMMON_FUNCTIONS + random.below(OWN_FUNCTIONS),
                };
                self.nodes.push((node, location as u32));
                node = self.nodes.len() as u32 - 1;
            }
            if seen.insert(node) {
                self.stacks.push(node);
            }
        }
    }

    /// Stack and number of samples of one profile, ascending.
    fn draw(&self, random: &mut Random, out: &mut Vec<(u32, i64)>) {
        out.clear();
        out.extend((0..DRAWS).map(|_| (random.skewed(self.stacks.len() as u64) as u32, 1)));
        out.sort_unstable();
        out.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 += if same { next.1 } else { 0 };
            same
        });
    }

    fn visit_some(&self, pod: u64, wanted: impl Fn(&str) -> bool, visit: &mut dyn FnMut(&ProfileRow<'_>)) {
        let (mut counts, mut times) = (Vec::new(), Vec::new());
        let start_ms = i64::from(self.day) * DAY_MS;
        for round in 0..self.rounds {
            let mut random = Random((self.number << 44) ^ (pod << 36) ^ (round << 20) ^ self.day as u64);
            let rid = u128::from(random.next()) << 64 | u128::from(random.next());
            self.draw(&mut random, &mut counts);
            times.clear();
            times.extend(counts.iter().map(|&(stack, count)| (stack, count * PERIOD_NS)));
            let step_ms = DAY_MS / self.rounds as i64;
            let at_ms = start_ms + round as i64 * step_ms + random.below(step_ms as u64) as i64;
            let types = [
                (["cpu", "nanoseconds", "cpu", "nanoseconds"], &times),
                (["samples", "count", "cpu", "nanoseconds"], &counts),
            ];
            for (sample_type, samples) in types {
                if wanted(sample_type[0]) {
                    visit(&ProfileRow {
                        sample_type,
                        time: TimestampNs(at_ms * 1_000_000 + random.below(1_000_000) as i64),
                        rid: Rid(rid),
                        duration_ns: 15_000_000_000,
                        period: PERIOD_NS,
                        samples,
                        spans: &[],
                        annotations: &[],
                    });
                }
            }
        }
    }
}

impl UnitSymbols for Service {
    fn string_count(&self) -> u32 {
        self.strings.len() as u32
    }
    fn string(&self, at: u32) -> &str {
        &self.strings[at as usize]
    }
    fn function_count(&self) -> u32 {
        self.functions.len() as u32
    }
    fn function(&self, at: u32) -> FunctionRow {
        self.functions[at as usize]
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

impl UnitSource for Service {
    fn profile_name(&self) -> &str {
        "process_cpu"
    }
    fn service(&self) -> &str {
        &self.name
    }
    fn symbols(&self) -> &dyn UnitSymbols {
        self
    }
    fn series(&self) -> Vec<Labels> {
        let of_pod = |pod: u64| {
            let pod = format!("{}-{:x}-{pod}", self.name, self.day / 7);
            let namespace = format!("team-{}", self.number % 9);
            let own = [("__name__", "process_cpu"), ("service_name", &*self.name)];
            Labels::from_pairs(own.into_iter().chain([("pod", &*pod), ("namespace", &*namespace)]))
        };
        (0..PODS).map(of_pod).collect()
    }
    fn profiles(&self, series: usize, _day: i32, visit: &mut dyn FnMut(&ProfileRow<'_>)) {
        self.visit_some(series as u64, |_| true, visit);
    }
    fn profiles_of_type(
        &self,
        series: usize,
        _day: i32,
        sample_type: [&str; 4],
        visit: &mut dyn FnMut(&ProfileRow<'_>),
    ) {
        self.visit_some(series as u64, |ty| ty == sample_type[0], visit);
    }
}
