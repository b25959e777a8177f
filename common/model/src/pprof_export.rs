//! A merged pprof as a file's content: Go PGO trimming, truncation to a number of nodes, dense ids.

use hashbrown::HashMap;

use crate::layout::{OTHER, threshold};
use crate::name_tree::NameTree;
use crate::pprof_merge::{FunctionKey, LineKey, LocationKey, MappingKey, PprofMerge};
use crate::profile_type::ProfileType;
use crate::question::AnswerError;

/// What is done to the sum before it is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Trims stacks for Go's profile-guided optimisation.
    pub go_pgo: Option<GoPgo>,
    /// At most about this many nodes; ≤ 0: all.
    pub max_nodes: i64,
}

/// Trimming for Go's profile-guided optimisation (api-semantics §2.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoPgo {
    /// Keeps this many locations on the leaf side; 0 = all.
    pub keep_locations: u32,
    /// Drops the line number of the leaf, so that equal callees merge.
    pub aggregate_callees: bool,
}

/// A pprof ready to be written: string indices into `strings`, ids from 1 = index + 1.
#[derive(Debug, Clone, Default)]
pub struct PprofFile {
    /// Index 0 is "".
    pub strings: Vec<String>,
    /// Mappings.
    pub mappings: Vec<MappingKey>,
    /// Whether a mapping has functions, by index.
    pub symbolised: Vec<bool>,
    /// Functions.
    pub functions: Vec<FunctionKey>,
    /// Locations; function and mapping by index.
    pub locations: Vec<LocationKey>,
    /// (location indices, leaf first; value).
    pub samples: Vec<(Vec<u32>, i64)>,
}

/// The period that the reference writes for a profile of this name.
pub fn period_of(ty: &ProfileType) -> i64 {
    match &*ty.name {
        "process_cpu" => 1_000_000_000,
        "memory" => 524_288,
        _ => 1,
    }
}

/// Builds the file: stacks with value 0 and symbols that no stack uses are left out.
pub fn export(merge: &PprofMerge, options: ExportOptions) -> Result<PprofFile, AnswerError> {
    merge.checked_total()?;
    let trimmed = options.go_pgo.map(|pgo| trim(merge, pgo));
    let source = trimmed.as_ref().unwrap_or(merge);
    let samples = stacks(source);
    let samples = match options.max_nodes {
        ..=0 => samples,
        max_nodes => truncate(source, samples, max_nodes)?,
    };
    Ok(Builder::new(source).build(samples))
}

/// A frame of a stack that is to be written: a location, or the stand-in for what was cut off.
type Frame = Option<u32>;

/// Stacks with a value, leaf first.
fn stacks(merge: &PprofMerge) -> Vec<(Vec<Frame>, i64)> {
    let mut stacks = Vec::new();
    for (at, value) in merge.values.iter().enumerate().filter(|(_, value)| **value != 0) {
        let mut frames = Vec::new();
        let mut node = at;
        while node != 0 {
            let (parent, location) = merge.nodes[node];
            frames.push(Some(location));
            node = parent as usize;
        }
        stacks.push((frames, *value));
    }
    stacks
}

fn trim(merge: &PprofMerge, pgo: GoPgo) -> PprofMerge {
    let mut trimmed = merge.clone();
    let stacks = stacks(merge);
    // As the reference: a location that is some stack's leaf loses its line number wherever it stands.
    let mut place: Vec<u32> = (0..merge.locations.rows.len() as u32).collect();
    if pgo.aggregate_callees {
        for leaf in stacks.iter().filter_map(|(frames, _)| frames.first().copied().flatten()) {
            let mut location = merge.locations.rows[leaf as usize].clone();
            if let Some(line) = location.lines.first_mut() {
                line.line = 0;
            }
            place[leaf as usize] = trimmed.locations.intern(location);
        }
    }
    let mut sums: HashMap<Vec<u32>, i64> = HashMap::new();
    for (mut frames, value) in stacks {
        if pgo.keep_locations > 0 {
            frames.truncate(pgo.keep_locations as usize);
        }
        let stack = frames.into_iter().flatten().map(|location| place[location as usize]).collect();
        *sums.entry(stack).or_default() += value;
    }
    trimmed.values.fill(0);
    for (stack, value) in sums {
        let node = stack.iter().rev().fold(PprofMerge::ROOT, |node, location| trimmed.child(node, *location));
        trimmed.values[node as usize] += value;
    }
    trimmed
}

/// Cuts stacks where the tree of function names falls below the threshold. As the reference: the first frame below it stays,
/// what is behind becomes one frame `other`, and a stack that is below from its root on is `other` as a whole.
fn truncate(
    merge: &PprofMerge,
    stacks: Vec<(Vec<Frame>, i64)>,
    max_nodes: i64,
) -> Result<Vec<(Vec<Frame>, i64)>, AnswerError> {
    let mut tree = NameTree::new();
    let path = |frames: &[Frame], tree: &mut NameTree| {
        let mut node = NameTree::ROOT;
        // For each frame from the root the node of its innermost line.
        let mut nodes = Vec::with_capacity(frames.len());
        for location in frames.iter().rev().flatten() {
            for line in merge.locations.rows[*location as usize].lines.iter().rev() {
                let name = merge.functions.rows[line.function as usize].name;
                let name = tree.intern(merge.text(name));
                node = tree.child(node, name);
            }
            nodes.push(node);
        }
        nodes
    };
    let paths: Vec<_> = stacks.iter().map(|(frames, _)| path(frames, &mut tree)).collect();
    for (nodes, (_, value)) in paths.iter().zip(&stacks) {
        tree.add_self(nodes.last().copied().unwrap_or(NameTree::ROOT), *value);
    }
    tree.checked_total()?;
    let totals = tree.totals();
    let least = threshold(totals[1..].iter().copied(), max_nodes);
    let mut sums: HashMap<Vec<Frame>, i64> = HashMap::new();
    for ((mut frames, value), nodes) in stacks.into_iter().zip(paths) {
        let above = nodes.iter().take_while(|node| totals[node.0 as usize] >= least).count();
        let kept = if above == 0 { 0 } else { above + 1 };
        if kept < nodes.len() {
            frames.drain(..frames.len() - kept);
            frames.insert(0, None);
        }
        *sums.entry(frames).or_default() += value;
    }
    let mut cut: Vec<_> = sums.into_iter().collect();
    cut.sort_unstable();
    Ok(cut)
}

struct Builder<'a> {
    merge: &'a PprofMerge,
    file: PprofFile,
    strings: HashMap<String, u32>,
    mappings: HashMap<u32, u32>,
    functions: HashMap<u32, u32>,
    locations: HashMap<Frame, u32>,
}

impl<'a> Builder<'a> {
    fn new(merge: &'a PprofMerge) -> Self {
        let mut builder = Self {
            merge,
            file: PprofFile::default(),
            strings: HashMap::new(),
            mappings: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
        };
        builder.string("");
        builder
    }

    fn build(mut self, samples: Vec<(Vec<Frame>, i64)>) -> PprofFile {
        for (frames, value) in samples {
            let stack = frames.into_iter().map(|frame| self.location(frame)).collect();
            self.file.samples.push((stack, value));
        }
        for location in &self.file.locations {
            if let (Some(mapping), false) = (location.mapping, location.lines.is_empty()) {
                self.file.symbolised[mapping as usize] = true;
            }
        }
        self.file
    }

    fn string(&mut self, text: &str) -> u32 {
        if let Some(id) = self.strings.get(text) {
            return *id;
        }
        let id = self.file.strings.len() as u32;
        self.file.strings.push(text.to_owned());
        self.strings.insert(text.to_owned(), id);
        id
    }

    fn location(&mut self, frame: Frame) -> u32 {
        if let Some(id) = self.locations.get(&frame) {
            return *id;
        }
        let key = match frame {
            None => {
                let name = self.string(OTHER);
                let function = FunctionKey { name, ..FunctionKey::default() };
                self.file.functions.push(function);
                let function = self.file.functions.len() as u32 - 1;
                LocationKey { mapping: None, address: 0, lines: [LineKey { function, line: 0 }].into() }
            }
            Some(location) => {
                let merge = self.merge;
                let row = &merge.locations.rows[location as usize];
                let lines =
                    row.lines.iter().map(|l| LineKey { function: self.function(l.function), ..*l }).collect();
                LocationKey { mapping: row.mapping.map(|m| self.mapping(m)), address: row.address, lines }
            }
        };
        self.file.locations.push(key);
        let id = self.file.locations.len() as u32 - 1;
        self.locations.insert(frame, id);
        id
    }

    fn function(&mut self, function: u32) -> u32 {
        if let Some(id) = self.functions.get(&function) {
            return *id;
        }
        let merge = self.merge;
        let row = merge.functions.rows[function as usize];
        let key = FunctionKey {
            name: self.string(merge.text(row.name)),
            system_name: self.string(merge.text(row.system_name)),
            file: self.string(merge.text(row.file)),
            start_line: row.start_line,
        };
        self.file.functions.push(key);
        let id = self.file.functions.len() as u32 - 1;
        self.functions.insert(function, id);
        id
    }

    fn mapping(&mut self, mapping: u32) -> u32 {
        if let Some(id) = self.mappings.get(&mapping) {
            return *id;
        }
        let merge = self.merge;
        let row = merge.mappings.rows[mapping as usize];
        let key = MappingKey {
            file: self.string(merge.text(row.file)),
            build_id: self.string(merge.text(row.build_id)),
            ..row
        };
        self.file.mappings.push(key);
        self.file.symbolised.push(false);
        let id = self.file.mappings.len() as u32 - 1;
        self.mappings.insert(mapping, id);
        id
    }
}
