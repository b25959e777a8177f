//! Addresses of one program and what they were found to be. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use hearth_model::native::{NamedFrame, NativeFrame};
use hearth_symbols::LineTable;

/// An address in a mapping of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Address {
    start: u64,
    limit: u64,
    offset: u64,
    address: u64,
}

impl Address {
    pub(crate) fn of(frame: &NativeFrame<'_>) -> Self {
        let NativeFrame { start, limit, offset, address, .. } = *frame;
        Self { start, limit, offset, address }
    }
}

/// Frames of each address that is known, innermost first.
pub(crate) type Names = HashMap<Address, Vec<NamedFrame>>;

/// What was found, by build id as it stands in frames.
#[derive(Debug, Default)]
pub(crate) struct Found(HashMap<Arc<str>, Names>);

impl Found {
    pub(crate) fn add(&mut self, build_id: Arc<str>, names: Names) {
        self.0.insert(build_id, names);
    }

    pub(crate) fn get(&self, frame: &NativeFrame<'_>) -> Option<&[NamedFrame]> {
        self.0.get(frame.build_id)?.get(&Address::of(frame)).map(Vec::as_slice)
    }
}

/// Looks addresses up; those that the table does not know are left out.
pub(crate) fn look_up(table: &LineTable, addresses: &[Address]) -> Names {
    let mut texts: HashMap<String, Arc<str>> = HashMap::new();
    let mut shared = |text: &str| match texts.get(text) {
        Some(known) => Arc::clone(known),
        None => {
            let new: Arc<str> = text.into();
            texts.insert(text.to_owned(), Arc::clone(&new));
            new
        }
    };
    let mut names = Names::new();
    for &of in addresses {
        let Address { start, limit, offset, address } = of;
        let at = table.virtual_address(address, start, limit, offset);
        let frames: Vec<NamedFrame> = table
            .find(at)
            .map(|frame| NamedFrame {
                function: shared(frame.function),
                system_name: shared(frame.system_name),
                file: shared(frame.file),
                line: i64::from(frame.line),
                start_line: i64::from(frame.start_line),
            })
            .collect();
        if !frames.is_empty() {
            names.insert(of, frames);
        }
    }
    names
}
