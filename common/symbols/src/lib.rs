//! Symbols of native programs: from the bytes of an ELF file to a compact table of address ranges, and frames found in it.
//!
//! [`build`] reads DWARF (functions, inlined calls, lines), Go's `.gopclntab` and symbol tables; each address range is described
//! by the best of them. [`LineTable`] answers from the bytes of a table in place. The format is `docs/formats/linetable.md`. Pure:
//! must not know files, stores, HTTP, tenants, profiles.

mod build_id;
mod builder;
mod dwarf;
mod elf;
mod error;
mod names;
mod pclntab;
mod table;

pub use build_id::{BuildId, InvalidBuildId};
pub use error::{BuildError, TableError};
pub use table::{Frame, LineTable, Sources};

use builder::Builder;

/// What a table may cost to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildLimits {
    /// Bytes of the file.
    pub max_file_bytes: u64,
    /// Bytes of all its compressed sections together, inflated.
    pub max_inflated_bytes: u64,
    /// Address ranges, and places where one may begin.
    pub max_ranges: usize,
    /// Bytes of the table.
    pub max_table_bytes: usize,
}

impl Default for BuildLimits {
    fn default() -> Self {
        Self {
            max_file_bytes: 512 << 20,
            max_inflated_bytes: 1 << 30,
            max_ranges: 1 << 24,
            max_table_bytes: 512 << 20,
        }
    }
}

/// The GNU build id of an ELF file, if it has one.
pub fn build_id_of(elf: &[u8]) -> Result<Option<BuildId>, BuildError> {
    elf::Elf::parse(elf)?.build_id()
}

/// The bytes of a line table: of an executable, a shared library, or a file that holds only what was stripped of one.
///
/// Takes time about linear in the file. Memory: the inflated sections, what is kept of DWARF (up to three times its bytes), and
/// the table. Inlined frames come from DWARF only; of a Go program without it, lines are those of the innermost call and names
/// those of the function that it was inlined into. Split DWARF (`.dwo`) and supplementary files are not read.
pub fn build(elf: &[u8], limits: &BuildLimits) -> Result<Vec<u8>, BuildError> {
    // The reader of DWARF adds what files say without looking, which is a panic where overflows are checked.
    match std::panic::catch_unwind(|| read(elf, limits)) {
        Ok(outcome) => outcome,
        Err(_) => Err(BuildError::Damaged),
    }
}

fn read(elf: &[u8], limits: &BuildLimits) -> Result<Vec<u8>, BuildError> {
    let length = elf.len() as u64;
    if length > limits.max_file_bytes {
        return Err(BuildError::FileTooLarge { bytes: length, limit_bytes: limits.max_file_bytes });
    }
    let elf = elf::Elf::parse(elf)?;
    let mut builder = Builder::new(limits);
    elf.segments().for_each(|segment| builder.segment(segment));
    let sections = elf.debug_sections(limits.max_inflated_bytes)?;
    dwarf::read(&sections, elf.is_little_endian(), limits, &mut builder)?;
    builder.next_source();
    if let Some(bytes) = elf.pclntab() {
        pclntab::read(bytes, elf.text_address(), limits, &mut builder)?;
    }
    builder.next_source();
    elf.functions(limits, &mut builder)?;
    builder.finish()
}
