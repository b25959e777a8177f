//! Reading numbers and texts of a chunk, in both encodings of integers; nothing is read beyond the end that was set.

use super::{Broken, Fault};

type Result<T> = std::result::Result<T, Broken>;

/// How texts are encoded: the byte before each.
const TEXT_NULL: u8 = 0;
const TEXT_EMPTY: u8 = 1;
const TEXT_POOL: u8 = 2;
const TEXT_UTF8: u8 = 3;
const TEXT_UTF16: u8 = 4;
const TEXT_LATIN1: u8 = 5;
/// Most bytes of a compressed integer; the ninth holds eight bits.
const VARINT_BYTES_MAX: usize = 9;

/// The bit of each byte that is clear where a compressed integer ends.
const ENDS: u64 = 0x8080_8080_8080_8080;

/// A text where it stands.
#[derive(Clone, Copy)]
pub(super) enum Text<'a> {
    /// Null, or without characters.
    Empty,
    /// The key of a constant of `java.lang.String`.
    Pool(i64),
    /// UTF-8, not checked.
    Utf8(&'a [u8]),
    /// ISO 8859-1.
    Latin1(&'a [u8]),
    /// So many UTF-16 units from here.
    Utf16(Cursor<'a>, usize),
}

/// A place in a chunk. Offsets are those of the chunk.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    compressed: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize, compressed: bool) -> Self {
        Self { bytes, at: at.min(bytes.len()), compressed }
    }

    /// Where it stands.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Bytes up to the end.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Whether integers are compressed.
    pub(super) fn compressed(&self) -> bool {
        self.compressed
    }

    /// The same chunk from elsewhere, up to the same end.
    pub(super) fn from(&self, at: usize) -> Self {
        Self::new(self.bytes, at, self.compressed)
    }

    /// The same place with an earlier end.
    pub(super) fn up_to(&self, end: usize) -> Self {
        Self { bytes: &self.bytes[..end.clamp(self.at, self.bytes.len())], ..*self }
    }

    pub(super) fn broken(&self, fault: Fault) -> Broken {
        Broken { at: self.at, fault }
    }

    /// So many raw bytes.
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        if count > self.left() {
            return Err(self.broken(Fault::CutOff));
        }
        let bytes = &self.bytes[self.at..self.at + count];
        self.at += count;
        Ok(bytes)
    }

    /// Goes on by so many bytes.
    #[inline]
    pub(super) fn skip(&mut self, count: usize) -> Result<()> {
        self.take(count).map(drop)
    }

    /// One byte.
    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// An integer that has `width` bytes where integers are not compressed.
    #[inline]
    pub(super) fn number(&mut self, width: u8) -> Result<i64> {
        let value = if self.compressed { self.varint()? as i64 } else { self.plain(width)? };
        // A negative `int` is written as 32 bits, without its sign.
        Ok(if width == 4 { i64::from(value as i32) } else { value })
    }

    /// An integer of 8 bytes.
    #[inline]
    pub(super) fn long(&mut self) -> Result<i64> {
        self.number(8)
    }

    /// A count of things of at least `least_bytes` bytes each: never more than what is left can hold.
    #[inline]
    pub(super) fn count(&mut self, least_bytes: usize) -> Result<usize> {
        let before = *self;
        let count = self.number(4)?;
        match usize::try_from(count) {
            Ok(count) if count <= self.left() / least_bytes.max(1) => Ok(count),
            _ => Err(before.broken(Fault::Count { count, left: self.left() })),
        }
    }

    fn plain(&mut self, width: u8) -> Result<i64> {
        let bytes = self.take(usize::from(width))?;
        Ok(bytes.iter().fold(0i64, |value, byte| value << 8 | i64::from(*byte)))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64> {
        match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for (count, byte) in self.bytes[self.at..].iter().take(VARINT_BYTES_MAX).enumerate() {
            let last = count == VARINT_BYTES_MAX - 1;
            let bits = if last { *byte } else { byte & 0x7f };
            value |= u64::from(bits) << (7 * count);
            if last || *byte < 0x80 {
                self.at += count + 1;
                return Ok(value);
            }
        }
        Err(self.broken(Fault::CutOff))
    }

    /// Goes past so many integers of one width.
    #[inline]
    pub(super) fn skip_numbers(&mut self, width: u8, count: usize) -> Result<()> {
        if !self.compressed {
            return self.skip(count.saturating_mul(usize::from(width)));
        }
        let mut left = count;
        // Eight bytes at once: each byte below 0x80 ends a number. None that ends in these bytes began before them, so none
        // has the ninth byte, which ends a number whatever it is.
        while let Some(word) = self.bytes[self.at..].first_chunk::<8>() {
            let ends = !u64::from_le_bytes(*word) & ENDS;
            let numbers = ends.count_ones() as usize;
            if numbers == 0 || numbers > left {
                break;
            }
            left -= numbers;
            self.at += 8 - ends.leading_zeros() as usize / 8;
        }
        for _ in 0..left {
            self.varint()?;
        }
        Ok(())
    }

    /// A text with its encoding.
    pub(super) fn text(&mut self) -> Result<Text<'a>> {
        let before = *self;
        Ok(match self.byte()? {
            TEXT_NULL | TEXT_EMPTY => Text::Empty,
            TEXT_POOL => Text::Pool(self.long()?),
            TEXT_UTF8 => Text::Utf8(self.counted()?),
            TEXT_LATIN1 => Text::Latin1(self.counted()?),
            TEXT_UTF16 => {
                let count = self.count(if self.compressed { 1 } else { 2 })?;
                let units = *self;
                self.skip_numbers(2, count)?;
                Text::Utf16(units, count)
            }
            encoding => return Err(before.broken(Fault::TextEncoding(encoding))),
        })
    }

    fn counted(&mut self) -> Result<&'a [u8]> {
        let count = self.count(1)?;
        self.take(count)
    }
}

impl Text<'_> {
    /// Appends the characters; what is no valid text gets replacement characters. A reference to a pool is nothing here.
    pub(super) fn append(self, out: &mut String) -> Result<()> {
        match self {
            Self::Empty | Self::Pool(_) => {}
            Self::Utf8(bytes) => out.push_str(&String::from_utf8_lossy(bytes)),
            Self::Latin1(bytes) => out.extend(bytes.iter().map(|byte| char::from(*byte))),
            Self::Utf16(mut units, count) => {
                let mut wide = Vec::with_capacity(count);
                for _ in 0..count {
                    wide.push(units.number(2)? as u16);
                }
                out.extend(char::decode_utf16(wide).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_both_encodings() {
        let check = |bytes: &[u8], compressed, width, want: i64| {
            let mut cursor = Cursor::new(bytes, 0, compressed);
            assert_eq!(cursor.number(width).ok(), Some(want), "{bytes:x?}");
            assert_eq!(cursor.left(), 0, "{bytes:x?}");
        };
        check(&[0x7f], true, 8, 127);
        check(&[0x80, 0x01], true, 8, 128);
        check(&[0xff; 9], true, 8, -1);
        check(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80], true, 8, i64::MIN);
        check(&[0xff, 0xff, 0xff, 0xff, 0x0f], true, 4, -1);
        check(&[0xff, 0xff, 0xff, 0xfe], false, 4, -2);
        check(&[0, 0, 0, 0, 0, 0, 1, 2], false, 8, 258);
        check(&[1, 2], false, 2, 258);
        assert!(Cursor::new(&[0x80, 0x80], 0, true).long().is_err());
        assert!(Cursor::new(&[0, 0, 0], 0, false).number(4).is_err());
        assert!(Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0x07], 0, true).count(1).is_err());
    }

    #[test]
    fn integers_that_are_passed_by_are_those_that_would_be_read() {
        let numbers =
            [0, 127, 128, i64::MAX, -1, 5, 1 << 40, i64::MIN, 300, 1, 2, 3, 4, 5, 6, 7, 8, 9, -2, 1 << 56];
        for first in 0..numbers.len() {
            let mut bytes = Vec::new();
            for number in &numbers[first..] {
                let mut value = *number as u64;
                let more = (0..8).take_while(|_| {
                    let more = value >= 0x80;
                    if more {
                        bytes.push(value as u8 | 0x80);
                        value >>= 7;
                    }
                    more
                });
                more.for_each(drop);
                bytes.push(value as u8);
            }
            for count in 0..=numbers.len() - first {
                let (mut read, mut skipped) = (Cursor::new(&bytes, 0, true), Cursor::new(&bytes, 0, true));
                (0..count).for_each(|_| assert!(read.long().is_ok()));
                assert!(skipped.skip_numbers(8, count).is_ok());
                assert_eq!(read.at(), skipped.at(), "{count} from {first}");
            }
            assert!(Cursor::new(&bytes, 0, true).skip_numbers(8, numbers.len() - first + 1).is_err());
        }
    }

    #[test]
    fn texts_of_all_encodings() {
        let check = |bytes: &[u8], compressed, want: &str| {
            let mut cursor = Cursor::new(bytes, 0, compressed);
            let mut out = String::new();
            let text = cursor.text().unwrap_or_else(|_| panic!("{bytes:x?}"));
            text.append(&mut out).unwrap_or_else(|_| panic!("{bytes:x?}"));
            assert_eq!((out.as_str(), cursor.left()), (want, 0), "{bytes:x?}");
        };
        check(&[0], true, "");
        check(&[1], false, "");
        check(&[2, 9], true, "");
        check(b"\x03\x03a\xc3\xa9", true, "aé");
        check(b"\x05\x02a\xe9", true, "aé");
        check(&[4, 3, b'a', 0xe9, 0x01, 0xac, 0x41], true, "aé€");
        check(&[4, 0, 0, 0, 2, 0xd8, 0x3d, 0xde, 0x00], false, "😀");
        check(&[4, 0, 0, 0, 1, 0xd8, 0x3d], false, "\u{fffd}");
        check(b"\x03\x02\xff\xfe", true, "\u{fffd}\u{fffd}");
        assert!(Cursor::new(&[6], 0, true).text().is_err());
        assert!(Cursor::new(&[3, 5, b'a'], 0, true).text().is_err());
    }
}
