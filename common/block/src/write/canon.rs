//! Canonical form of one unit: only what the profiles of the day use, in the order of contents (design: storage B1).
//!
//! The head numbers strings, functions, locations, nodes and stacks in order of arrival; a block must not depend on that.

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};
use hearth_model::{Labels, ProfileType};

use super::tree::{self, CanonTree};
use crate::error::BlockError;
use crate::input::{ProfileRow, UnitSource, UnitSymbols};

/// Stands in maps from the head's numbers for "not used".
pub(crate) const UNUSED: u32 = u32::MAX;

/// A function by ranks of its strings in the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CanonFunction {
    pub(crate) name: u32,
    pub(crate) system_name: u32,
    pub(crate) file: u32,
    pub(crate) start_line: i64,
}

/// A mapping by ranks of its strings in the unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CanonMapping {
    pub(crate) file: u32,
    pub(crate) build_id: u32,
    pub(crate) start: u64,
    pub(crate) limit: u64,
    pub(crate) offset: u64,
}

/// A location; compares as the format orders locations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CanonLocation {
    /// (function, line), outermost first.
    pub(crate) lines: Vec<(u32, i64)>,
    /// 0 = none, else rank of the mapping + 1.
    pub(crate) mapping_plus_1: u32,
    /// 0 unless there are no lines.
    pub(crate) address: u64,
}

/// A unit in canonical form. Everything is sorted; indices are ranks.
pub(crate) struct CanonUnit<'a> {
    pub(crate) source: &'a dyn UnitSource,
    pub(crate) strings: Vec<&'a str>,
    pub(crate) functions: Vec<CanonFunction>,
    pub(crate) mappings: Vec<CanonMapping>,
    pub(crate) locations: Vec<CanonLocation>,
    pub(crate) tree: CanonTree,
    /// The head's number of a stack → its rank; several may share one.
    pub(crate) stack_ranks: Vec<u32>,
    /// Whether two of the head's stacks have the same content.
    pub(crate) stacks_merge: bool,
    /// Label sets with profiles on this day, sorted, each with its places in the source.
    pub(crate) series: Vec<(Labels, Vec<usize>)>,
    /// Types with profiles on this day, sorted.
    pub(crate) types: Vec<ProfileType>,
    /// Records with values on this day.
    pub(crate) records: u64,
}

/// What one visit of all profiles finds.
struct Used {
    stacks: Vec<bool>,
    series: Vec<usize>,
    types: Vec<ProfileType>,
    records: u64,
}

impl<'a> CanonUnit<'a> {
    /// `None` when the unit has no values on the day.
    pub(crate) fn new(source: &'a dyn UnitSource, day: i32) -> Result<Option<Self>, BlockError> {
        let symbols = source.symbols();
        let labels = source.series();
        let used = find_used(source, labels.len(), day)?;
        if used.types.is_empty() {
            return Ok(None);
        }
        let mut nodes = tree::used_nodes(symbols, &used.stacks)?;
        let (strings, functions, mappings, locations, location_ranks) = tables(symbols, &nodes)?;
        nodes.rename_locations(&location_ranks);
        let (tree, node_stack_ranks) = nodes.into_canonical()?;
        let mut stack_ranks = vec![UNUSED; used.stacks.len()];
        let mut distinct = HashSet::new();
        let mut stacks_merge = false;
        for (at, rank) in stack_ranks.iter_mut().enumerate().filter(|(at, _)| used.stacks[*at]) {
            *rank = node_stack_ranks[symbols.stack_node(at as u32) as usize];
            stacks_merge |= !distinct.insert(*rank);
        }
        let mut series: BTreeMap<Labels, Vec<usize>> = BTreeMap::new();
        for at in used.series {
            series.entry(labels[at].clone()).or_default().push(at);
        }
        Ok(Some(Self {
            source,
            strings,
            functions,
            mappings,
            locations,
            tree,
            stack_ranks,
            stacks_merge,
            series: series.into_iter().collect(),
            types: used.types,
            records: used.records,
        }))
    }

    /// (name, service): what units are sorted by.
    pub(crate) fn key(&self) -> (&'a str, &'a str) {
        (self.source.profile_name(), self.source.service())
    }
}

fn find_used(source: &dyn UnitSource, series_count: usize, day: i32) -> Result<Used, BlockError> {
    let mut stacks = vec![false; source.symbols().stack_count() as usize];
    let mut types: Vec<ProfileType> = Vec::new();
    let mut series = Vec::new();
    let mut records = HashSet::new();
    let mut wrong = None;
    for at in 0..series_count {
        let mut has_values = false;
        source.profiles(at, day, &mut |row| {
            let found = mark(row, day, &mut stacks);
            match found {
                Ok(false) => return,
                Ok(true) => {
                    has_values = true;
                    records.insert(row.rid.0);
                }
                Err(error) => {
                    wrong.get_or_insert(error);
                }
            }
            if !types.iter().any(|ty| is_type(ty, row.sample_type)) {
                let [sample_type, sample_unit, period_type, period_unit] = row.sample_type;
                let name = source.profile_name();
                types.push(ProfileType::new(name, sample_type, sample_unit, period_type, period_unit));
            }
        });
        if has_values {
            series.push(at);
        }
    }
    types.sort();
    match wrong {
        Some(error) => Err(error),
        None => Ok(Used { stacks, series, types, records: records.len() as u64 }),
    }
}

/// Marks the stacks of a row; whether it has values.
fn mark(row: &ProfileRow<'_>, day: i32, stacks: &mut [bool]) -> Result<bool, BlockError> {
    if row.time.day() != day {
        return Err(BlockError::Input(format!("a profile at {} ns does not lie in day {day}", row.time.0)));
    }
    let mut has_values = false;
    for &(stack, value) in row.samples {
        if value < 0 {
            return Err(BlockError::Input(format!("a value is negative: {value}")));
        }
        let count = stacks.len();
        let Some(used) = stacks.get_mut(stack as usize) else {
            return Err(BlockError::Input(format!("a sample has stack {stack} of {count}")));
        };
        *used |= value > 0;
        has_values |= value > 0;
    }
    for span in row.spans {
        if span.value > 0 && !stacks.get(span.stack as usize).copied().unwrap_or_default() {
            return Err(BlockError::Input(format!("a span's stack {} has no sample", span.stack)));
        }
    }
    Ok(has_values)
}

/// Whether a type has these four parts.
pub(crate) fn is_type(ty: &ProfileType, parts: [&str; 4]) -> bool {
    [&*ty.sample_type, &*ty.sample_unit, &*ty.period_type, &*ty.period_unit] == parts
}

type Tables<'a> = (Vec<&'a str>, Vec<CanonFunction>, Vec<CanonMapping>, Vec<CanonLocation>, Vec<u32>);

/// Sorts what the used nodes refer to; the last part maps the head's locations to ranks.
fn tables<'a>(symbols: &'a dyn UnitSymbols, nodes: &tree::UsedNodes) -> Result<Tables<'a>, BlockError> {
    let outside = |what: &str, at: u32| BlockError::Input(format!("{what} {at} does not exist"));
    let used_locations = marked(symbols.location_count(), nodes.locations());
    let used_locations = used_locations.ok_or_else(|| outside("a location", symbols.location_count()))?;
    let each_location = || (0..symbols.location_count()).filter(|&at| used_locations[at as usize]);
    let functions = each_location().flat_map(|at| symbols.location(at).2.iter().map(|line| line.function));
    let used_functions = marked(symbols.function_count(), functions);
    let used_functions = used_functions.ok_or_else(|| outside("a function", symbols.function_count()))?;
    let mappings = each_location().filter_map(|at| symbols.location(at).0);
    let used_mappings = marked(symbols.mapping_count(), mappings);
    let used_mappings = used_mappings.ok_or_else(|| outside("a mapping", symbols.mapping_count()))?;
    let each = |used: &[bool]| (0..used.len() as u32).filter(|&at| used[at as usize]).collect::<Vec<u32>>();
    let (each_function, each_mapping) = (each(&used_functions), each(&used_mappings));

    let of_functions =
        each_function.iter().map(|&at| symbols.function(at)).flat_map(|f| [f.name, f.system_name, f.file]);
    let of_mappings = each_mapping.iter().map(|&at| symbols.mapping(at)).flat_map(|m| [m.file, m.build_id]);
    let used_strings = marked(symbols.string_count(), of_functions.chain(of_mappings));
    let used_strings = used_strings.ok_or_else(|| outside("a string", symbols.string_count()))?;

    let (strings, string_ranks) = ranked(used_strings.len(), each(&used_strings), |at| symbols.string(at));
    let rank = |string: u32| string_ranks[string as usize];
    let (functions, function_ranks) = ranked(used_functions.len(), each_function, |at| {
        let f = symbols.function(at);
        let (name, system_name, file) = (rank(f.name), rank(f.system_name), rank(f.file));
        CanonFunction { name, system_name, file, start_line: f.start_line }
    });
    let (mappings, mapping_ranks) = ranked(used_mappings.len(), each_mapping, |at| {
        let m = symbols.mapping(at);
        let (file, build_id) = (rank(m.file), rank(m.build_id));
        CanonMapping { file, build_id, start: m.start, limit: m.limit, offset: m.offset }
    });
    let (locations, location_ranks) = ranked(used_locations.len(), each_location().collect(), |at| {
        let (mapping, address, lines) = symbols.location(at);
        CanonLocation {
            lines: lines
                .iter()
                .rev()
                .map(|line| (function_ranks[line.function as usize], line.line))
                .collect(),
            mapping_plus_1: mapping.map_or(0, |at| mapping_ranks[at as usize] + 1),
            address: if lines.is_empty() { address } else { 0 },
        }
    });
    Ok((strings, functions, mappings, locations, location_ranks))
}

/// Which of `count` things are named; `None` when one is outside.
fn marked(count: u32, named: impl Iterator<Item = u32>) -> Option<Vec<bool>> {
    let mut used = vec![false; count as usize];
    for at in named {
        *used.get_mut(at as usize)? = true;
    }
    Some(used)
}

/// Sorts contents, each once, and maps old numbers to ranks.
fn ranked<T: Ord + Clone>(count: usize, used: Vec<u32>, content: impl Fn(u32) -> T) -> (Vec<T>, Vec<u32>) {
    let mut contents: Vec<(T, u32)> = used.into_iter().map(|at| (content(at), at)).collect();
    contents.sort_unstable();
    let mut ranks = vec![UNUSED; count];
    let mut sorted: Vec<T> = Vec::with_capacity(contents.len());
    for (content, at) in contents {
        if sorted.last() != Some(&content) {
            sorted.push(content);
        }
        ranks[at as usize] = sorted.len() as u32 - 1;
    }
    (sorted, ranks)
}

/// Strings and functions that at least two units use, in their order, and how each unit's ranks map to block-wide ids.
#[derive(Default)]
pub(crate) struct Shared<'a> {
    pub(crate) strings: Vec<&'a str>,
    /// By block-wide ids of their strings, all of which are shared.
    pub(crate) functions: Vec<CanonFunction>,
    pub(crate) units: Vec<UnitIds>,
}

/// Block-wide ids of a unit's strings and functions, by rank; the unit's own ones follow each other from `first_*`.
#[derive(Default)]
pub(crate) struct UnitIds {
    pub(crate) strings: Vec<u32>,
    pub(crate) functions: Vec<u32>,
    pub(crate) first_string: u32,
    pub(crate) first_function: u32,
}

impl UnitIds {
    /// Whether a string of the unit is its own, by rank.
    pub(crate) fn owns_string(&self, rank: usize) -> bool {
        self.strings[rank] >= self.first_string
    }

    /// Whether a function of the unit is its own, by rank.
    pub(crate) fn owns_function(&self, rank: usize) -> bool {
        self.functions[rank] >= self.first_function
    }
}

/// Gives block-wide ids: first what is shared, then what is private unit after unit, each group sorted by content.
pub(crate) fn share<'a>(units: &[CanonUnit<'a>]) -> Result<Shared<'a>, BlockError> {
    let strings = units.iter().map(|unit| unit.strings.as_slice()).collect::<Vec<_>>();
    let (shared_strings, string_ids, first_strings) = number(&strings)?;
    let functions: Vec<Vec<CanonFunction>> = units
        .iter()
        .zip(&string_ids)
        .map(|(unit, ids)| {
            let id = |rank: u32| ids[rank as usize];
            let rename = |f: &CanonFunction| CanonFunction {
                name: id(f.name),
                system_name: id(f.system_name),
                file: id(f.file),
                start_line: f.start_line,
            };
            unit.functions.iter().map(rename).collect()
        })
        .collect();
    let functions = functions.iter().map(Vec::as_slice).collect::<Vec<_>>();
    let (shared_functions, function_ids, first_functions) = number(&functions)?;
    let firsts = first_strings.into_iter().zip(first_functions);
    let units = string_ids.into_iter().zip(function_ids).zip(firsts);
    let units = units.map(|((strings, functions), (first_string, first_function))| UnitIds {
        strings,
        functions,
        first_string,
        first_function,
    });
    Ok(Shared { strings: shared_strings, functions: shared_functions, units: units.collect() })
}

type Numbered<T> = (Vec<T>, Vec<Vec<u32>>, Vec<u32>);

fn number<T: Copy + Ord + std::hash::Hash>(units: &[&[T]]) -> Result<Numbered<T>, BlockError> {
    // The value is the id, once known; a thing that one unit uses has none.
    let mut uses: HashMap<T, Option<u32>> = HashMap::new();
    for &thing in units.iter().copied().flatten() {
        uses.entry(thing).and_modify(|id| *id = Some(0)).or_insert(None);
    }
    let mut shared: Vec<T> = uses.iter().filter(|(_, id)| id.is_some()).map(|(thing, _)| *thing).collect();
    shared.sort_unstable();
    for (at, thing) in shared.iter().enumerate() {
        uses.insert(*thing, Some(at as u32));
    }
    let mut next = shared.len() as u64;
    let mut ids = Vec::with_capacity(units.len());
    let mut firsts = Vec::with_capacity(units.len());
    for unit in units {
        firsts.push(next as u32);
        let mut id = |thing: &T| {
            uses.get(thing).copied().flatten().unwrap_or_else(|| {
                next += 1;
                (next - 1) as u32
            })
        };
        ids.push(unit.iter().map(&mut id).collect());
        let limit = u64::from(UNUSED);
        if next > limit {
            return Err(BlockError::Limit { what: "strings or functions of a block", value: next, limit });
        }
    }
    Ok((shared, ids, firsts))
}
