//! Frames of native programs without names: how name trees carry them until somebody knows what they are called, and how the
//! names are put in.
//!
//! A location without lines has an address in a mapping of a program. Heads and blocks cannot name it; where a query says so
//! ([`crate::ProfileQuery::native`]) they put it into name trees under a name that holds all of it. After all partial answers
//! are merged these names are replaced: pure, by what the caller has found out.

use std::sync::Arc;

use crate::name_tree::{NameId, NameTree};
use crate::pprof_merge::{FunctionKey, LineKey, LocationKey, PprofMerge};
use crate::question::AnswerError;

/// No function is called like this: names with control characters do not come out of compilers. Should a client send one all
/// the same, it is looked up, and is a native frame of that client's own.
const PREFIX: &str = "\u{1}native:";
/// The file name of a frame of which nothing is known but its address.
const UNKNOWN_FILE: &str = "unknown";

/// A location without lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct NativeFrame<'a> {
    /// Build id of the mapping, as it was pushed; empty: not known.
    pub build_id: &'a str,
    /// File name of the mapping.
    pub file: &'a str,
    /// Start of the mapping's range of addresses.
    pub start: u64,
    /// End of that range.
    pub limit: u64,
    /// Offset of the range in the file.
    pub offset: u64,
    /// Address of the location.
    pub address: u64,
}

/// What a frame was found to be: one function, perhaps inlined into the next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamedFrame {
    /// As people know it.
    pub function: Arc<str>,
    /// As the linker knows it.
    pub system_name: Arc<str>,
    /// Source file; may be empty.
    pub file: Arc<str>,
    /// Line in it; 0: not known.
    pub line: i64,
    /// Line at which the function begins; 0: not known.
    pub start_line: i64,
}

impl<'a> NativeFrame<'a> {
    /// Whether there is anything to say of it.
    pub fn is_known(&self) -> bool {
        self.address != 0 || !self.file.is_empty() || !self.build_id.is_empty()
    }

    /// The name under which it stands in name trees. [`Self::decode`] is the inverse.
    pub fn encode(&self) -> String {
        let Self { build_id, file, start, limit, offset, address } = self;
        let bytes = build_id.len();
        format!("{PREFIX}{start:x}:{limit:x}:{offset:x}:{address:x}:{bytes:x}:{build_id}{file}")
    }

    /// The frame that a name of a name tree stands for; `None`: it is a function's.
    pub fn decode(name: &'a str) -> Option<Self> {
        let mut rest = name.strip_prefix(PREFIX)?;
        let mut number = || {
            let (digits, behind) = rest.split_once(':')?;
            rest = behind;
            // No sign, which the parser would take.
            let valid = digits.bytes().all(|b| b.is_ascii_hexdigit());
            valid.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        let [start, limit, offset, address, bytes] = [number()?, number()?, number()?, number()?, number()?];
        let (build_id, file) = rest.split_at_checked(usize::try_from(bytes).ok()?)?;
        Some(Self { build_id, file, start, limit, offset, address })
    }

    /// What it is called as long as nobody knows better: `libc.so.6!0x29d90`.
    pub fn stand_in(&self) -> String {
        let base = self.file.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or(UNKNOWN_FILE);
        format!("{base}!0x{:x}", self.address)
    }
}

/// The distinct native frames of a tree.
pub fn frames_of_tree(tree: &NameTree) -> impl Iterator<Item = NativeFrame<'_>> {
    (0..tree.name_count() as u32).filter_map(|id| NativeFrame::decode(tree.name_text(id)))
}

/// The native frames of a merge; those of equal content come once for each location of them.
pub fn frames_of_pprof(merge: &PprofMerge) -> impl Iterator<Item = NativeFrame<'_>> {
    merge.locations.rows.iter().filter_map(|location| frame_of_location(merge, location))
}

fn frame_of_location<'m>(merge: &'m PprofMerge, location: &LocationKey) -> Option<NativeFrame<'m>> {
    if !location.lines.is_empty() {
        return None;
    }
    let mapping = location.mapping.map(|at| merge.mappings.rows[at as usize]).unwrap_or_default();
    let frame = NativeFrame {
        build_id: merge.text(mapping.build_id),
        file: merge.text(mapping.file),
        start: mapping.start,
        limit: mapping.limit,
        offset: mapping.offset,
        address: location.address,
    };
    frame.is_known().then_some(frame)
}

/// The tree with names in place of native frames: `find` gives what a frame stands for, innermost first, or nothing. Equal
/// siblings become one; every value stays what it was.
pub fn name_tree<'f>(
    tree: &NameTree,
    find: impl Fn(&NativeFrame<'_>) -> Option<&'f [NamedFrame]>,
) -> NameTree {
    let mut named = NameTree::new();
    // For each name what stands in its place, outermost first.
    let places: Vec<Vec<NameId>> = (0..tree.name_count() as u32)
        .map(|id| {
            let text = tree.name_text(id);
            let Some(frame) = NativeFrame::decode(text) else { return vec![named.intern(text)] };
            match find(&frame) {
                None | Some([]) => vec![named.intern(&frame.stand_in())],
                Some(found) => found.iter().rev().map(|frame| named.intern(&frame.function)).collect(),
            }
        })
        .collect();
    let mut nodes = vec![NameTree::ROOT; tree.len()];
    for (at, (parent, name)) in tree.parents().iter().zip(tree.name_ids()).enumerate().skip(1) {
        let parent = nodes[*parent as usize];
        nodes[at] = places[*name as usize].iter().fold(parent, |node, name| named.child(node, *name));
        named.add_self(nodes[at], tree.selfs()[at]);
    }
    named
}

/// The merge with lines for locations without them, as [`name_tree`]. A location that nobody knows has one line with its
/// stand-in's name. Of stacks only those stay whose root side equals `call_site` (outermost name first).
pub fn name_pprof<'f>(
    merge: &PprofMerge,
    call_site: &[String],
    find: impl Fn(&NativeFrame<'_>) -> Option<&'f [NamedFrame]>,
) -> Result<PprofMerge, AnswerError> {
    let mut named = PprofMerge::new();
    let locations: Vec<u32> = merge
        .locations
        .rows
        .iter()
        .map(|location| place_location(merge, location, &mut named, &find))
        .collect();
    let mut nodes = vec![PprofMerge::ROOT; merge.len()];
    // How many names of the call site the way to a node has matched; none: it has left it.
    let mut matched = vec![Some(0usize); merge.len()];
    for (at, (parent, location)) in merge.nodes.iter().enumerate() {
        if at > 0 {
            nodes[at] = named.child(nodes[*parent as usize], locations[*location as usize]);
            matched[at] = match call_site.is_empty() {
                true => Some(0),
                false => step(&named, locations[*location as usize], matched[*parent as usize], call_site),
            };
        }
        if matched[at] == Some(call_site.len()) && merge.values[at] != 0 {
            named.add(nodes[at], merge.values[at]);
        }
    }
    named.checked_total()?;
    Ok(named)
}

fn step(merge: &PprofMerge, location: u32, matched: Option<usize>, call_site: &[String]) -> Option<usize> {
    let mut matched = matched?;
    for line in merge.locations.rows[location as usize].lines.iter().rev() {
        let Some(name) = call_site.get(matched) else { break };
        if merge.text(merge.functions.rows[line.function as usize].name) != name {
            return None;
        }
        matched += 1;
    }
    Some(matched)
}

/// Interns a location of one merge in another, with lines.
fn place_location<'f>(
    merge: &PprofMerge,
    location: &LocationKey,
    named: &mut PprofMerge,
    find: &impl Fn(&NativeFrame<'_>) -> Option<&'f [NamedFrame]>,
) -> u32 {
    let mapping = location.mapping.map(|at| {
        let mut mapping = merge.mappings.rows[at as usize];
        mapping.file = named.string(merge.text(mapping.file));
        mapping.build_id = named.string(merge.text(mapping.build_id));
        named.mapping(mapping)
    });
    let lines: Vec<LineKey> = match frame_of_location(merge, location) {
        None => location.lines.iter().map(|line| copy_line(merge, line, named)).collect(),
        Some(frame) => match find(&frame) {
            None | Some([]) => {
                let name = named.string(&frame.stand_in());
                let function =
                    named.function(FunctionKey { name, system_name: name, ..FunctionKey::default() });
                vec![LineKey { function, line: 0 }]
            }
            Some(found) => found.iter().map(|frame| named_line(frame, named)).collect(),
        },
    };
    named.location(mapping, location.address, &lines)
}

fn copy_line(merge: &PprofMerge, line: &LineKey, named: &mut PprofMerge) -> LineKey {
    let function = merge.functions.rows[line.function as usize];
    let key = FunctionKey {
        name: named.string(merge.text(function.name)),
        system_name: named.string(merge.text(function.system_name)),
        file: named.string(merge.text(function.file)),
        start_line: function.start_line,
    };
    LineKey { function: named.function(key), line: line.line }
}

fn named_line(frame: &NamedFrame, named: &mut PprofMerge) -> LineKey {
    let key = FunctionKey {
        name: named.string(&frame.function),
        system_name: named.string(&frame.system_name),
        file: named.string(&frame.file),
        start_line: frame.start_line,
    };
    LineKey { function: named.function(key), line: frame.line }
}

#[cfg(test)]
mod tests;
