//! What can be wrong with a file or a table.

use hearth_common::{Classify, ErrorKind};

/// Why a file has no line table.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The bytes are no ELF file.
    #[error("the file is no ELF file that can be read ({0}): upload an executable or its debug file")]
    NoElf(String),
    /// The build id of the file is none.
    #[error("the build id of the file cannot be used")]
    BuildId(#[from] crate::InvalidBuildId),
    /// The file exceeds the limit.
    #[error(
        "the file has {bytes} bytes, the limit is {limit_bytes}: raise symbolizer.max_symbol_size_bytes, or upload a file \
         that has only the debug sections"
    )]
    FileTooLarge {
        /// Its bytes.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// A part of the file exceeds a limit.
    #[error("the {what} of the file exceed the limit of {limit}: upload a file with less debug information")]
    TooMuch {
        /// Of what there is too much.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A compressed section cannot be inflated.
    #[error("section {section} cannot be inflated: {what}")]
    Compression {
        /// Its name.
        section: String,
        /// What is wrong.
        what: String,
    },
    /// The debug information contradicts itself.
    #[error("the debug information of the file is damaged: upload the file that the linker wrote")]
    Damaged,
    /// Nothing in the file says what functions it has.
    #[error("the file has neither debug information nor symbols: upload the one from before it was stripped")]
    NoSymbols,
}

impl Classify for BuildError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// Why bytes are no line table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Not the bytes of a table.
    #[error("the line table is damaged: {0}")]
    Damaged(&'static str),
    /// A version that this reader does not know.
    #[error(
        "the line table has version {found}, this process reads {known}: upgrade it, or delete the table to have it made again"
    )]
    Version {
        /// Of the table.
        found: u32,
        /// The version known here.
        known: u32,
    },
}

impl Classify for TableError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::DataLoss
    }
}
