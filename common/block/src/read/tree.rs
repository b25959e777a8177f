//! Answers of stacks: flame graph trees and pprof merges, unit after unit.

use std::sync::Arc;

use hashbrown::HashMap;
use hearth_model::name_tree::NameId;
use hearth_model::native::NativeFrame;
use hearth_model::pprof_merge::{FunctionKey, LineKey, MappingKey};
use hearth_model::{Answer, NameTree, PprofMerge, ProfileQuery};

use super::fetch::Fetched;
use super::meta::Meta;
use super::plan::DatasetPlan;
use super::stacks::{SampleReader, call_site_stacks};
use super::symbols::{Mapping, SharedSymbols, UnitSymbols};
use crate::error::BlockError;

/// Stands in tables for "not looked up yet".
const UNKNOWN: u32 = u32::MAX;

/// A dataset with the symbols of its unit.
pub(crate) type Task<'p> = (&'p DatasetPlan, Arc<UnitSymbols>);

/// What the answers of one thread share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) meta: &'a Meta,
    pub(crate) shared: &'a SharedSymbols,
    pub(crate) query: &'a ProfileQuery,
    pub(crate) fetched: &'a Fetched,
}

impl Context<'_> {
    /// Sums each dataset by stack and calls `walk` with the sums.
    fn each(self, tasks: &[Task<'_>], mut walk: impl FnMut(&UnitSymbols, &[u64])) -> Result<(), BlockError> {
        let mut samples = SampleReader::new(self.meta, self.query, self.fetched)?;
        let mut sums: Vec<u64> = Vec::new();
        for (dataset, unit) in tasks {
            sums.clear();
            sums.resize(unit.stacks(), 0);
            samples.add(dataset, &mut sums)?;
            if let Some(counts) = call_site_stacks(unit, self.shared, &self.query.call_site) {
                sums.iter_mut().zip(counts).filter(|(_, counts)| !counts).for_each(|(sum, _)| *sum = 0);
            }
            walk(unit, &sums);
        }
        Ok(())
    }

    /// Adds some datasets to a flame graph tree.
    pub(crate) fn tree(self, tasks: &[Task<'_>], mut tree: NameTree) -> Result<Answer, BlockError> {
        let shared = vec![UNKNOWN; self.meta.shared_strings as usize];
        let mut names = Names { shared, own: Vec::new(), native: HashMap::new() };
        let mut path = Path::new();
        self.each(tasks, |unit, sums| {
            names.own.clear();
            names.own.resize(unit.place.strings.len(), UNKNOWN);
            names.native.clear();
            path.start(NameTree::ROOT);
            for (&end, &sum) in unit.stack_nodes.iter().zip(sums).filter(|(_, sum)| **sum > 0) {
                let node = path.walk(unit, end, |parent, location| {
                    let lines = unit.lines(location);
                    if lines.is_empty() && self.query.native {
                        let name = names.native(location, unit, self.shared, &mut tree);
                        return name.map_or(parent, |name| tree.child(parent, name));
                    }
                    lines.fold(parent, |parent, line| {
                        let name = names.get(unit.line_names[line], unit, self.shared, &mut tree);
                        tree.child(parent, name)
                    })
                });
                tree.add_self(node, sum as i64);
            }
        })?;
        tree.checked_total()?;
        Ok(Answer::Tree(tree))
    }

    /// Adds some datasets to a pprof merge.
    pub(crate) fn pprof(self, tasks: &[Task<'_>], mut merge: PprofMerge) -> Result<Answer, BlockError> {
        let mut path = Path::new();
        let mut locations = Vec::new();
        self.each(tasks, |unit, sums| {
            locations.clear();
            locations.resize(unit.mapping_plus_1.len(), UNKNOWN);
            path.start(PprofMerge::ROOT);
            for (&end, &sum) in unit.stack_nodes.iter().zip(sums).filter(|(_, sum)| **sum > 0) {
                let node = path.walk(unit, end, |parent, location| {
                    let known = &mut locations[location as usize];
                    if *known == UNKNOWN {
                        *known = intern_location(unit, self.shared, location, &mut merge);
                    }
                    merge.child(parent, *known)
                });
                merge.add(node, sum as i64);
            }
        })?;
        merge.checked_total()?;
        Ok(Answer::Pprof(merge))
    }
}

/// Names of the tree that is built, by string of the block; looked up when first met.
struct Names {
    shared: Vec<u32>,
    own: Vec<u32>,
    /// By location of the unit; `None`: nothing is known of it.
    native: HashMap<u32, Option<NameId>>,
}

impl Names {
    #[inline]
    fn get(
        &mut self,
        string: u32,
        unit: &UnitSymbols,
        shared: &SharedSymbols,
        tree: &mut NameTree,
    ) -> NameId {
        let known = match string.checked_sub(unit.place.strings.start) {
            Some(own) => &mut self.own[own as usize],
            None => &mut self.shared[string as usize],
        };
        if *known == UNKNOWN {
            *known = tree.intern(unit.string(shared, string)).0;
        }
        NameId(*known)
    }

    /// The name that a location without lines stands under.
    fn native(
        &mut self,
        location: u32,
        unit: &UnitSymbols,
        shared: &SharedSymbols,
        tree: &mut NameTree,
    ) -> Option<NameId> {
        *self.native.entry(location).or_insert_with(|| {
            let at = unit.mapping_plus_1[location as usize].checked_sub(1);
            let mapping = at.map(|at| unit.mappings[at as usize]);
            let mut frame = NativeFrame {
                address: unit.addresses.get(&location).copied().unwrap_or_default(),
                ..NativeFrame::default()
            };
            if let Some(Mapping { file, build_id, start, limit, offset }) = mapping {
                frame.file = unit.string(shared, file);
                frame.build_id = unit.string(shared, build_id);
                (frame.start, frame.limit, frame.offset) = (start, limit, offset);
            }
            frame.is_known().then(|| tree.intern(&frame.encode()))
        })
    }
}

/// The ancestors of the stack that was walked last, with their nodes in the answer: the next stack shares some.
#[derive(Debug)]
struct Path<N> {
    nodes: Vec<u32>,
    answer: Vec<N>,
    climbed: Vec<u32>,
}

impl<N: Copy> Path<N> {
    fn new() -> Self {
        Self { nodes: Vec::new(), answer: Vec::new(), climbed: Vec::new() }
    }

    /// Starts a unit at the root.
    fn start(&mut self, root: N) {
        self.nodes.clear();
        self.answer.clear();
        self.nodes.push(0);
        self.answer.push(root);
    }

    /// Goes to a node; `child` is called once for every node that is met for the first time. Stacks come in order of
    /// their ranks, so each live node is met exactly once.
    #[inline]
    fn walk(&mut self, unit: &UnitSymbols, end: u32, mut child: impl FnMut(N, u32) -> N) -> N {
        let mut node = end;
        let mut depth = usize::from(unit.depths[node as usize]);
        while self.nodes.get(depth) != Some(&node) {
            self.climbed.push(node);
            node = unit.parents[node as usize];
            depth -= 1;
        }
        self.nodes.truncate(depth + 1);
        self.answer.truncate(depth + 1);
        let mut at = self.answer[depth];
        while let Some(node) = self.climbed.pop() {
            at = child(at, unit.locations[node as usize]);
            self.nodes.push(node);
            self.answer.push(at);
        }
        at
    }
}

fn intern_location(unit: &UnitSymbols, shared: &SharedSymbols, location: u32, merge: &mut PprofMerge) -> u32 {
    let mapping = unit.mapping_plus_1[location as usize].checked_sub(1).map(|at| {
        let mapping = unit.mappings[at as usize];
        let file = merge.string(unit.string(shared, mapping.file));
        let build_id = merge.string(unit.string(shared, mapping.build_id));
        let (start, limit, offset) = (mapping.start, mapping.limit, mapping.offset);
        merge.mapping(MappingKey { file, build_id, start, limit, offset })
    });
    let mut lines: Vec<LineKey> = Vec::new();
    // Stored outermost first; pprof has the leaf first.
    for line in unit.lines(location).rev() {
        let function = unit.function(shared, unit.line_functions[line]);
        let name = merge.string(unit.string(shared, function.name));
        let system_name = merge.string(unit.string(shared, function.system_name));
        let file = merge.string(unit.string(shared, function.file));
        let key = FunctionKey { name, system_name, file, start_line: function.start_line };
        lines.push(LineKey { function: merge.function(key), line: unit.line_numbers[line] });
    }
    let address = unit.addresses.get(&location).copied().unwrap_or_default();
    merge.location(mapping, address, &lines)
}
