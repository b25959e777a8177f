//! What a block is made from: units with their symbols, series and profiles, as the head has them.

use hearth_common::{BlockId, JournalId, Position, Rid, TenantId, TimestampNs};
use hearth_model::Labels;
use hearth_model::spans::{SpanId, TraceId};

/// A run of journal positions whose rows a block holds (design: storage B4).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceRange {
    /// The journal.
    pub journal: JournalId,
    /// Positions after this one …
    pub after: Position,
    /// … up to and with this one.
    pub upto: Position,
}

/// Everything that determines a block's id and place.
#[derive(Debug, Clone)]
pub struct BlockSpec {
    /// The tenant.
    pub tenant: TenantId,
    /// UTC day of all its profiles, counted from the epoch.
    pub day: i32,
    /// 0 = from a head.
    pub level: u8,
    /// Sorted.
    pub sources: Vec<SourceRange>,
}

impl BlockSpec {
    /// The id: xxh3-128 over kind, tenant, day, level and sources; no clock, host or random number enters.
    pub fn id(&self) -> BlockId {
        self.id_of_part(0)
    }

    /// The id of one of several blocks into which a merge was cut; the first has the id of a whole block.
    pub fn id_of_part(&self, part: u32) -> BlockId {
        let mut text = format!("hearth block\n{}\n{}\n{}\n", self.tenant, self.day, self.level);
        for SourceRange { journal, after, upto } in &self.sources {
            text.push_str(&format!("{journal} {} {}\n", after.0, upto.0));
        }
        if part > 0 {
            text.push_str(&format!("part {part}\n"));
        }
        BlockId(xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
    }
}

/// A mapping of a unit; strings by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MappingRow {
    /// File name.
    pub file: u32,
    /// Build id.
    pub build_id: u32,
    /// Address range; zero when the mapping is symbolised.
    pub start: u64,
    /// End of the range.
    pub limit: u64,
    /// Offset in the file.
    pub offset: u64,
}

/// A function of a unit; strings by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FunctionRow {
    /// Name.
    pub name: u32,
    /// System name.
    pub system_name: u32,
    /// File name.
    pub file: u32,
    /// Line of its start.
    pub start_line: i64,
}

/// One line of a location. Lines stand leaf first, as in pprof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LineRow {
    /// Index of the function.
    pub function: u32,
    /// Line number.
    pub line: i64,
}

/// Symbols of a unit: arrays that only grow, borrowed from a snapshot of the head. Index 0 of strings is "".
pub trait UnitSymbols {
    /// How many strings there are.
    fn string_count(&self) -> u32;
    /// A string.
    fn string(&self, at: u32) -> &str;
    /// How many functions there are.
    fn function_count(&self) -> u32;
    /// A function.
    fn function(&self, at: u32) -> FunctionRow;
    /// How many mappings there are.
    fn mapping_count(&self) -> u32;
    /// A mapping.
    fn mapping(&self, at: u32) -> MappingRow;
    /// How many locations there are.
    fn location_count(&self) -> u32;
    /// Mapping (`None` = none), address (0 unless the location has no lines) and lines of a location.
    fn location(&self, at: u32) -> (Option<u32>, u64, &[LineRow]);
    /// How many tree nodes there are; node 0 is the root; a child's index is greater than its parent's.
    fn node_count(&self) -> u32;
    /// Parent and location of a node (not asked for the root).
    fn node(&self, at: u32) -> (u32, u32);
    /// How many stacks there are.
    fn stack_count(&self) -> u32;
    /// The node at which a stack ends (0 = the empty stack).
    fn stack_node(&self, at: u32) -> u32;
}

/// A sample that belongs to a span; its value is also part of the profile's samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanSample {
    /// Index of the stack.
    pub stack: u32,
    /// Span.
    pub span: SpanId,
    /// Trace, if known.
    pub trace: Option<TraceId>,
    /// Value of the row's sample type.
    pub value: i64,
}

/// One profile of one sample type. Lent to a visitor; nothing in it outlives the call.
#[derive(Debug)]
pub struct ProfileRow<'a> {
    /// Sample type, unit, period type, period unit.
    pub sample_type: [&'a str; 4],
    /// Time of the profile.
    pub time: TimestampNs,
    /// Identity of its record.
    pub rid: Rid,
    /// Duration in nanoseconds.
    pub duration_ns: i64,
    /// Period, in the period's unit.
    pub period: i64,
    /// (stack, value), ascending by stack, each stack once, values > 0.
    pub samples: &'a [(u32, i64)],
    /// Samples by span.
    pub spans: &'a [SpanSample],
    /// Annotations.
    pub annotations: &'a [(String, String)],
}

/// One unit (profile name, service): one stack tree, its series and their profiles.
pub trait UnitSource: Send + Sync {
    /// The profile's `__name__`.
    fn profile_name(&self) -> &str;
    /// The service.
    fn service(&self) -> &str;
    /// Symbols.
    fn symbols(&self) -> &dyn UnitSymbols;
    /// Label sets as sent (no derived labels), in any order.
    fn series(&self) -> Vec<Labels>;
    /// Visits the profiles of one series that lie in the UTC day, in any order. May be called more than once.
    fn profiles(&self, series: usize, day: i32, visit: &mut dyn FnMut(&ProfileRow<'_>));
    /// As [`UnitSource::profiles`], only rows of one sample type. The writer visits once for each type: a source that can
    /// skip the rows of other types without decoding them should.
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
