//! ELF files: their sections, what is mapped where, the build id, the symbol tables. Source: System V ABI, generic part.

use std::borrow::Cow;
use std::io::Read;

use object::{CompressionFormat, Object, ObjectSection, ObjectSegment, ObjectSymbol, SymbolKind};

use crate::builder::Builder;
use crate::error::BuildError;
use crate::table::{NO_OFFSET, Segment};
use crate::{BuildId, BuildLimits};

/// Segments of a file that are looked at; linkers write a handful.
const SEGMENTS_MAX: usize = 256;
/// How far a function without a size reaches at most, when no other begins before.
const UNSIZED_BYTES_MAX: u64 = 1 << 16;

/// A file.
pub(crate) struct Elf<'e> {
    file: object::File<'e>,
}

/// The sections of debug information, inflated.
pub(crate) type DebugSections<'e> = gimli::DwarfSections<Cow<'e, [u8]>>;

impl<'e> Elf<'e> {
    pub(crate) fn parse(bytes: &'e [u8]) -> Result<Self, BuildError> {
        if !bytes.starts_with(b"\x7fELF") {
            return Err(BuildError::NoElf("it does not begin with 7f 45 4c 46".to_owned()));
        }
        let file = object::File::parse(bytes).map_err(|error| BuildError::NoElf(error.to_string()))?;
        Ok(Self { file })
    }

    pub(crate) fn is_little_endian(&self) -> bool {
        self.file.is_little_endian()
    }

    pub(crate) fn build_id(&self) -> Result<Option<BuildId>, BuildError> {
        // Damaged notes are none.
        match self.file.build_id().unwrap_or(None) {
            Some(bytes) => Ok(Some(BuildId::of_note(bytes)?)),
            None => Ok(None),
        }
    }

    /// Where executable code is mapped.
    pub(crate) fn segments(&self) -> impl Iterator<Item = Segment> {
        // A file that has only the debug information does not say where code is in the program itself.
        let text = self.file.section_by_name(".text");
        let is_debug_file = text.is_some_and(|section| section.file_range().is_none());
        self.file.segments().take(SEGMENTS_MAX).filter(is_executable).map(move |segment| Segment {
            address: segment.address(),
            file_offset: if is_debug_file { NO_OFFSET } else { segment.file_range().0 },
            bytes: segment.size(),
        })
    }

    /// Where `.text` begins; 0 when there is none.
    pub(crate) fn text_address(&self) -> u64 {
        self.file.section_by_name(".text").map_or(0, |section| section.address())
    }

    /// Go's table of functions and lines.
    pub(crate) fn pclntab(&self) -> Option<&'e [u8]> {
        let section = |name: &str| self.file.section_by_name(name)?.data().ok();
        [".gopclntab", ".data.rel.ro.gopclntab"]
            .into_iter()
            .find_map(section)
            .filter(|bytes| !bytes.is_empty())
    }

    /// All sections that DWARF may have; those that are missing are empty.
    pub(crate) fn debug_sections(&self, inflated_max: u64) -> Result<DebugSections<'e>, BuildError> {
        let mut left = inflated_max;
        gimli::DwarfSections::load(|id| self.section(id.name(), inflated_max, &mut left))
    }

    fn section(&self, name: &str, limit: u64, left: &mut u64) -> Result<Cow<'e, [u8]>, BuildError> {
        let Some(section) = self.file.section_by_name(name) else { return Ok(Cow::Borrowed(&[])) };
        // A section that lies outside of the file, or has no bytes in it, as in a stripped one.
        let Ok(data) = section.compressed_data() else { return Ok(Cow::Borrowed(&[])) };
        let wrong = |what: String| BuildError::Compression { section: name.to_owned(), what };
        if data.format == CompressionFormat::None {
            return Ok(Cow::Borrowed(data.data));
        }
        let size = data.uncompressed_size;
        if size > *left {
            return Err(BuildError::TooMuch { what: "inflated sections", limit });
        }
        *left -= size;
        let mut out = Vec::new();
        // One byte more than it says shows that it says too little.
        let read = match data.format {
            CompressionFormat::Zlib => {
                flate2::read::ZlibDecoder::new(data.data).take(size + 1).read_to_end(&mut out)
            }
            CompressionFormat::Zstandard => zstd::stream::read::Decoder::new(data.data)
                .and_then(|decoder| decoder.take(size + 1).read_to_end(&mut out)),
            _ => return Err(wrong("its compression is neither zlib nor zstd".to_owned())),
        };
        read.map_err(|error| wrong(error.to_string()))?;
        if out.len() as u64 != size {
            return Err(wrong(format!("it says that it has {size} bytes and has not")));
        }
        Ok(Cow::Owned(out))
    }

    /// Functions of the symbol tables: those that only name an address reach to the next.
    pub(crate) fn functions(&self, limits: &BuildLimits, builder: &mut Builder) -> Result<(), BuildError> {
        let mut found = Vec::new();
        for symbol in self.file.symbols().chain(self.file.dynamic_symbols()) {
            let name = symbol.name().unwrap_or_default();
            if symbol.kind() != SymbolKind::Text || symbol.address() == 0 || name.is_empty() {
                continue;
            }
            if found.len() >= limits.max_ranges {
                return Err(BuildError::TooMuch { what: "symbols", limit: limits.max_ranges as u64 });
            }
            found.push((symbol.address(), symbol.is_local(), symbol.size(), name));
        }
        // Of several names of an address the global one, then the first.
        found.sort_by_key(|(address, is_local, ..)| (*address, *is_local));
        found.dedup_by_key(|(address, ..)| *address);
        for at in 0..found.len() {
            let (address, _, size, name) = found[at];
            let next = found.get(at + 1).map(|(next, ..)| *next);
            let end = match size {
                0 => {
                    let reach = address.saturating_add(UNSIZED_BYTES_MAX);
                    next.map_or(reach, |next| next.min(reach))
                }
                size => address.saturating_add(size),
            };
            let function = builder.function(name, "", 0)?;
            builder.range(address, end, &[(function, 0)])?;
        }
        Ok(())
    }
}

fn is_executable<'e>(segment: &impl ObjectSegment<'e>) -> bool {
    match segment.flags() {
        object::SegmentFlags::Elf { p_flags, .. } => p_flags.contains(object::elf::PF_X),
        _ => true,
    }
}
