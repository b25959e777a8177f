//! Varints as rows use them: LEB128 and zigzag. Total on any bytes: a cut-off number ends the walk.

/// Appends a number.
#[inline]
pub(crate) fn put(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed number.
#[inline]
pub(crate) fn put_signed(value: i64, out: &mut Vec<u8>) {
    put((value << 1 ^ value >> 63) as u64, out);
}

/// Appends a text with its length.
pub(crate) fn put_text(text: &str, out: &mut Vec<u8>) {
    put(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// A walk over bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk<'a>(pub(crate) &'a [u8]);

impl<'a> Walk<'a> {
    /// The next number.
    #[inline(always)]
    pub(crate) fn number(&mut self) -> Option<u64> {
        match self.0 {
            [a, rest @ ..] if *a < 0x80 => {
                self.0 = rest;
                Some(u64::from(*a))
            }
            [a, b, rest @ ..] if *b < 0x80 => {
                self.0 = rest;
                Some(u64::from(*a & 0x7f) | u64::from(*b) << 7)
            }
            _ => self.long(),
        }
    }

    fn long(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for (count, byte) in self.0.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * count);
            if *byte < 0x80 {
                self.0 = &self.0[count + 1..];
                return Some(value);
            }
        }
        None
    }

    /// The next signed number.
    #[inline]
    pub(crate) fn signed(&mut self) -> Option<i64> {
        let raw = self.number()?;
        Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// The next `len` bytes.
    #[inline]
    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    /// Bytes with their length before them.
    #[inline]
    pub(crate) fn part(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        self.bytes(len)
    }

    /// A text with its length before it.
    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.part()?).ok()
    }

    /// The next `N` bytes.
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back() {
        let mut out = Vec::new();
        let numbers = [0, 1, 127, 128, 16_383, 16_384, u64::MAX];
        let signed = [0, -1, 1, i64::MIN, i64::MAX];
        numbers.iter().for_each(|n| put(*n, &mut out));
        signed.iter().for_each(|n| put_signed(*n, &mut out));
        let mut walk = Walk(&out);
        assert!(numbers.iter().all(|n| walk.number() == Some(*n)));
        assert!(signed.iter().all(|n| walk.signed() == Some(*n)));
        assert_eq!(walk.number(), None);
        assert_eq!(Walk(&[0x80; 11]).number(), None);
    }
}
