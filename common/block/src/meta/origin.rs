//! Where a block comes from: what its entry in the root says and nothing else in its objects would.

use hearth_common::{JournalId, Position};

use crate::codec::{CodecResult, Cursor, put_text, put_varint, unzigzag, zigzag};
use crate::input::{BlockSpec, SourceRange};

/// What a block was made of. With it an entry that was lost can be written again from the objects alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// UTC day of all profiles.
    pub day: i32,
    /// 0 = from a head.
    pub level: u8,
    /// Which part of a merge that was cut into several blocks.
    pub part: u32,
    /// Records.
    pub records: u64,
    /// Journal positions that the block holds, or, if it is a part, that all parts together hold.
    pub sources: Vec<SourceRange>,
}

impl Origin {
    pub(crate) fn of(spec: &BlockSpec, part: u32, records: u64) -> Self {
        Self { day: spec.day, level: spec.level, part, records, sources: spec.sources.clone() }
    }
}

pub(crate) fn put_origin(origin: &Origin) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(zigzag(i64::from(origin.day)), &mut out);
    put_varint(u64::from(origin.level), &mut out);
    put_varint(u64::from(origin.part), &mut out);
    put_varint(origin.records, &mut out);
    put_varint(origin.sources.len() as u64, &mut out);
    for source in &origin.sources {
        put_text(&source.journal.to_string(), &mut out);
        put_varint(source.after.0, &mut out);
        put_varint(source.upto.0, &mut out);
    }
    out
}

/// `None` for blocks of writers that did not know this section.
pub(crate) fn take_origin(bytes: &[u8]) -> CodecResult<Option<Origin>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut cursor = Cursor::new(bytes);
    let day = i32::try_from(unzigzag(cursor.varint()?)).map_err(|_| "a day does not fit in 32 bits")?;
    let level = u8::try_from(cursor.varint()?).map_err(|_| "a level does not fit in 8 bits")?;
    let mut found =
        Origin { day, level, part: cursor.varint_u32()?, records: cursor.varint()?, sources: Vec::new() };
    for _ in 0..cursor.count()? {
        let text = cursor.text()?;
        let journal = JournalId::parse(text).ok_or_else(|| format!("{text:?} is no journal"))?;
        let (after, upto) = (Position(cursor.varint()?), Position(cursor.varint()?));
        if after > upto {
            return Err(format!("a source ends at {} and begins after {}", upto.0, after.0));
        }
        found.sources.push(SourceRange { journal, after, upto });
    }
    cursor.end()?;
    Ok(Some(found))
}
