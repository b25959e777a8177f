//! Answers of stacks: values are added by stack in a flat array, then the stacks with a sum are walked once.

use hearth_block::input::UnitSymbols;
use hearth_model::name_tree::{NameId, NodeId};
use hearth_model::native::NativeFrame;
use hearth_model::pprof_merge::{FunctionKey, LineKey, MappingKey};
use hearth_model::{AnswerError, NameTree, PprofMerge, ProfileQuery, View};

use super::{columns, selected};
use crate::head::{Filter, Row, UnitView};

/// Stands in tables for "not looked up yet".
const UNKNOWN: u32 = u32::MAX;
/// Sums from this on are refused.
const SUM_LIMIT: u128 = i64::MAX as u128;

/// Values by stack of one unit; kept from unit to unit, with the sum of all.
#[derive(Debug, Default)]
struct Sums {
    by_stack: Vec<u64>,
    total: u128,
}

impl Sums {
    /// Adds what a query selects of a unit; stacks outside of the call site count nothing.
    fn fill(
        &mut self,
        query: &ProfileQuery,
        view: &UnitView,
        ty: u32,
        filter: &Filter,
    ) -> Result<(), AnswerError> {
        self.by_stack.clear();
        self.by_stack.resize(view.symbols.stack_count() as usize, 0);
        let own = &view.types[ty as usize];
        for series in &view.series {
            let hides = filter.hides(View { labels: &series.labels, ty: &own.ty, type_id: &own.id });
            for row in series.chunks.iter().flat_map(|chunk| selected(chunk, query, filter, &hides)) {
                for column in columns(view, &row, ty) {
                    self.total += self.add(query, &row, column);
                }
            }
        }
        if self.total >= SUM_LIMIT {
            return Err(AnswerError::Overflow);
        }
        if let Some(counts) = call_site_stacks(view, &query.call_site) {
            self.by_stack.iter_mut().zip(counts).filter(|(_, c)| !c).for_each(|(sum, _)| *sum = 0);
        }
        Ok(())
    }

    fn add(&mut self, query: &ProfileQuery, row: &Row<'_>, column: usize) -> u128 {
        let sums = &mut self.by_stack;
        let mut put = |stack: u32, value: i64| {
            if let Some(sum) = sums.get_mut(stack as usize) {
                *sum = sum.wrapping_add(value as u64);
            }
        };
        match &query.spans {
            None => {
                row.samples(column, put);
                row.total(column).0 as u128
            }
            Some(spans) => {
                let mut total = 0;
                row.spans(column, |span| {
                    if spans.selects(span.span, span.trace.as_ref()) {
                        put(span.stack, span.value);
                        total += span.value as u128;
                    }
                });
                total
            }
        }
    }
}

/// What a query selects of one row, summed; `counts` says which stacks count.
pub(crate) fn row_sum(query: &ProfileQuery, row: &Row<'_>, column: usize, counts: Option<&[bool]>) -> i128 {
    let mut sum = 0;
    let mut put = |stack: u32, value: i64| {
        if counts.is_none_or(|counts| counts.get(stack as usize).copied().unwrap_or_default()) {
            sum += i128::from(value);
        }
    };
    match &query.spans {
        None => row.samples(column, put),
        Some(spans) => row.spans(column, |span| {
            if spans.selects(span.span, span.trace.as_ref()) {
                put(span.stack, span.value);
            }
        }),
    }
    sum
}

/// Which stacks have a root side of these function names; `None` = all.
pub(crate) fn call_site_stacks(view: &UnitView, names: &[String]) -> Option<Vec<bool>> {
    if names.is_empty() {
        return None;
    }
    let symbols = &view.symbols;
    const FAILED: u32 = u32::MAX;
    // For each node how many of the names its path has matched; parents come before children.
    let mut matched = vec![0u32; symbols.node_count() as usize];
    for at in 1..symbols.node_count() {
        let (parent, location) = symbols.node(at);
        let mut state = matched[parent as usize];
        for line in symbols.location(location).2.iter().rev() {
            if state == FAILED || state as usize == names.len() {
                break;
            }
            let name = symbols.string(symbols.function(line.function).name);
            state = if names[state as usize] == name { state + 1 } else { FAILED };
        }
        matched[at as usize] = state;
    }
    let counts = |stack: u32| matched[symbols.stack_node(stack) as usize] as usize == names.len();
    Some((0..symbols.stack_count()).map(counts).collect())
}

/// Walks the stacks with a sum; calls `child` once for every node on their ways, parents first.
fn walk(
    symbols: &impl UnitSymbols,
    sums: &[u64],
    nodes: &mut Vec<u32>,
    mut child: impl FnMut(u32, u32) -> u32,
    mut add: impl FnMut(u32, i64),
) {
    nodes.clear();
    nodes.resize(symbols.node_count() as usize, UNKNOWN);
    // Both answers number their root 0.
    nodes[0] = 0;
    let mut climbed = Vec::new();
    for (stack, sum) in sums.iter().enumerate().filter(|(_, sum)| **sum > 0) {
        let mut node = symbols.stack_node(stack as u32);
        while nodes[node as usize] == UNKNOWN {
            let (parent, location) = symbols.node(node);
            climbed.push((node, location));
            node = parent;
        }
        let mut at = nodes[node as usize];
        while let Some((node, location)) = climbed.pop() {
            at = child(at, location);
            nodes[node as usize] = at;
        }
        add(at, *sum as i64);
    }
}

/// Builds the tree by names.
#[derive(Debug, Default)]
pub(crate) struct TreeBuilder {
    tree: NameTree,
    total: Sums,
    nodes: Vec<u32>,
    /// Name in the tree by string of the unit.
    names: Vec<u32>,
}

impl TreeBuilder {
    /// Adds what a query selects of a unit.
    pub(crate) fn add(
        &mut self,
        query: &ProfileQuery,
        view: &UnitView,
        ty: u32,
        filter: &Filter,
    ) -> Result<(), AnswerError> {
        self.total.fill(query, view, ty, filter)?;
        let symbols = &view.symbols;
        let Self { tree, nodes, names, total } = self;
        names.clear();
        names.resize(symbols.string_count() as usize, UNKNOWN);
        let tree = std::cell::RefCell::new(tree);
        let child = |parent, location| {
            let mut tree = tree.borrow_mut();
            let mut at = NodeId(parent);
            let (mapping, address, lines) = symbols.location(location);
            if lines.is_empty() && query.native {
                // Each node is met once; what is interned again is only looked up.
                let name = native_name(symbols, mapping, address).map(|name| tree.intern(&name));
                return name.map_or(at, |name| tree.child(at, name)).0;
            }
            // Lines stand leaf first.
            for line in lines.iter().rev() {
                let string = symbols.function(line.function).name;
                let name = &mut names[string as usize];
                if *name == UNKNOWN {
                    *name = tree.intern(symbols.string(string)).0;
                }
                at = tree.child(at, NameId(*name));
            }
            at.0
        };
        walk(symbols, &total.by_stack, nodes, child, |at, sum| tree.borrow_mut().add_self(NodeId(at), sum));
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<NameTree, AnswerError> {
        self.tree.checked_total()?;
        Ok(self.tree)
    }
}

/// The name that a location without lines stands under; `None`: nothing is known of it.
fn native_name(symbols: &impl UnitSymbols, mapping: Option<u32>, address: u64) -> Option<String> {
    let mut frame = NativeFrame { address, ..NativeFrame::default() };
    if let Some(at) = mapping {
        let mapping = symbols.mapping(at);
        frame.file = symbols.string(mapping.file);
        frame.build_id = symbols.string(mapping.build_id);
        (frame.start, frame.limit, frame.offset) = (mapping.start, mapping.limit, mapping.offset);
    }
    frame.is_known().then(|| frame.encode())
}

/// Builds the merge by whole locations.
#[derive(Debug, Default)]
pub(crate) struct PprofBuilder {
    merge: PprofMerge,
    total: Sums,
    nodes: Vec<u32>,
    locations: Vec<u32>,
}

impl PprofBuilder {
    /// Adds what a query selects of a unit.
    pub(crate) fn add(
        &mut self,
        query: &ProfileQuery,
        view: &UnitView,
        ty: u32,
        filter: &Filter,
    ) -> Result<(), AnswerError> {
        self.total.fill(query, view, ty, filter)?;
        let symbols = &view.symbols;
        let Self { merge, nodes, locations, total } = self;
        locations.clear();
        locations.resize(symbols.location_count() as usize, UNKNOWN);
        let merge = std::cell::RefCell::new(merge);
        let child = |parent, location: u32| {
            let mut merge = merge.borrow_mut();
            let known = &mut locations[location as usize];
            if *known == UNKNOWN {
                *known = intern_location(symbols, location, &mut merge);
            }
            merge.child(parent, *known)
        };
        walk(symbols, &total.by_stack, nodes, child, |at, sum| merge.borrow_mut().add(at, sum));
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<PprofMerge, AnswerError> {
        self.merge.checked_total()?;
        Ok(self.merge)
    }
}

fn intern_location(symbols: &impl UnitSymbols, location: u32, merge: &mut PprofMerge) -> u32 {
    let (mapping, address, lines) = symbols.location(location);
    let mapping = mapping.map(|at| {
        let mapping = symbols.mapping(at);
        let file = merge.string(symbols.string(mapping.file));
        let build_id = merge.string(symbols.string(mapping.build_id));
        let (start, limit, offset) = (mapping.start, mapping.limit, mapping.offset);
        merge.mapping(MappingKey { file, build_id, start, limit, offset })
    });
    let mut keys = Vec::with_capacity(lines.len());
    for line in lines {
        let function = symbols.function(line.function);
        let name = merge.string(symbols.string(function.name));
        let system_name = merge.string(symbols.string(function.system_name));
        let file = merge.string(symbols.string(function.file));
        let key = FunctionKey { name, system_name, file, start_line: function.start_line };
        keys.push(LineKey { function: merge.function(key), line: line.line });
    }
    merge.location(mapping, address, &keys)
}
