//! Counts by service and type.

use hearth_common::TimestampNs;

use super::InvalidAnswer;
use super::codec::{Reader, Writer};
use crate::profile_type::ProfileType;
use crate::tally::{Counted, Tally};

/// Least bytes of an entry: six texts, three counts, whether there are times.
const ENTRY_BYTES_MIN: usize = 10;

pub(super) fn encode(tally: &Tally, out: &mut Writer) {
    out.uint(tally.blocks);
    out.len(tally.counted.len());
    for ((service, ty), counted) in &tally.counted {
        let ProfileType { name, sample_type, sample_unit, period_type, period_unit } = ty;
        out.text(service);
        [name, sample_type, sample_unit, period_type, period_unit]
            .into_iter()
            .for_each(|part| out.text(part));
        let Counted { profiles, samples, bytes, oldest_newest } = *counted;
        [profiles, samples, bytes].into_iter().for_each(|count| out.uint(count));
        out.byte(u8::from(oldest_newest.is_some()));
        if let Some((oldest, newest)) = oldest_newest {
            out.int(oldest.0);
            out.int(newest.0);
        }
    }
}

pub(super) fn decode(from: &mut Reader<'_>) -> Result<Tally, InvalidAnswer> {
    let mut tally = Tally { blocks: from.uint()?, ..Tally::default() };
    for _ in 0..from.count(ENTRY_BYTES_MIN)? {
        let service = from.text()?.to_owned();
        let mut part = || from.text();
        let ty = ProfileType::new(part()?, part()?, part()?, part()?, part()?);
        let (profiles, samples, bytes) = (from.uint()?, from.uint()?, from.uint()?);
        let some = from.byte()? != 0;
        let mut time = || from.int().map(TimestampNs);
        let oldest_newest = if some { Some((time()?, time()?)) } else { None };
        let counted = Counted { profiles, samples, bytes, oldest_newest };
        if tally.counted.insert((service, ty), counted).is_some() {
            return Err(from.error("a count comes twice"));
        }
    }
    Ok(tally)
}
