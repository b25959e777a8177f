//! Small pieces of the index's byte streams: varints, texts, little-endian columns; reading checks every length.

/// What is wrong with a stream; the caller knows where it lies.
pub(crate) type CodecResult<T> = Result<T, String>;

/// Appends an unsigned varint.
pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends an unsigned varint of up to 128 bits.
pub(crate) fn put_varint128(mut value: u128, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends length and bytes of a text.
pub(crate) fn put_text(text: &str, out: &mut Vec<u8>) {
    put_varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// Appends a column of numbers as four planes of bytes, lowest first: bytes of one weight resemble each other.
pub(crate) fn put_u32s(values: impl IntoIterator<Item = u32>, out: &mut Vec<u8>) {
    let values: Vec<u32> = values.into_iter().collect();
    for plane in 0..4 {
        out.extend(values.iter().map(|value| value.to_le_bytes()[plane]));
    }
}

/// Appends a column of numbers as two planes of bytes, lowest first.
pub(crate) fn put_u16s(values: impl Iterator<Item = u16> + Clone, out: &mut Vec<u8>) {
    out.extend(values.clone().map(|value| value as u8));
    out.extend(values.map(|value| (value >> 8) as u8));
}

/// Appends a column of bits, eight to a byte, lowest first.
pub(crate) fn put_bits(bits: impl Iterator<Item = bool>, out: &mut Vec<u8>) {
    for (filled, bit) in bits.enumerate() {
        if filled.is_multiple_of(8) {
            out.push(0);
        }
        if let Some(byte) = out.last_mut() {
            *byte |= u8::from(bit) << (filled % 8);
        }
    }
}

/// Zigzag: small magnitudes to small numbers.
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Reverse of [`zigzag`].
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Reads an unsigned varint at `*at`.
pub(crate) fn take_varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// A place in a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes not read yet: a bound for every count of elements, which take at least one byte each.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn take(&mut self, length: usize) -> CodecResult<&'a [u8]> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| format!("{length} bytes are read where {} are left", self.left()))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn varint(&mut self) -> CodecResult<u64> {
        take_varint(self.bytes, &mut self.at).ok_or_else(|| "a number ends early or is too long".to_owned())
    }

    pub(crate) fn varint128(&mut self) -> CodecResult<u128> {
        let mut value = 0u128;
        for shift in (0..128).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u128::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number is too long".to_owned())
    }

    pub(crate) fn varint_u32(&mut self) -> CodecResult<u32> {
        u32::try_from(self.varint()?).map_err(|_| "a number does not fit in 32 bits".to_owned())
    }

    /// A count of elements that follow, each at least one byte long.
    pub(crate) fn count(&mut self) -> CodecResult<usize> {
        let count = self.varint()?;
        match usize::try_from(count) {
            Ok(count) if count <= self.left() => Ok(count),
            _ => Err(format!("{count} elements cannot lie in {} bytes", self.left())),
        }
    }

    pub(crate) fn text(&mut self) -> CodecResult<&'a str> {
        let length = self.count()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| "a text is not UTF-8".to_owned())
    }

    /// A column of bits, as [`put_bits`] writes it.
    pub(crate) fn bits(&mut self, count: usize) -> CodecResult<impl Iterator<Item = bool> + use<'a>> {
        let bytes = self.take(count.div_ceil(8))?;
        Ok((0..count).map(move |at| bytes[at / 8] >> (at % 8) & 1 == 1))
    }

    pub(crate) fn u32(&mut self) -> CodecResult<u32> {
        Ok(self.u32s(1)?[0])
    }

    pub(crate) fn u64(&mut self) -> CodecResult<u64> {
        Ok(self.u64s(1)?[0])
    }

    /// A column of planes, as [`put_u16s`] writes it.
    pub(crate) fn u16s(&mut self, count: usize) -> CodecResult<Vec<u16>> {
        let (low, high) = (self.take(count)?, self.take(count)?);
        Ok(low.iter().zip(high).map(|(&low, &high)| u16::from_le_bytes([low, high])).collect())
    }

    /// A column of planes, as [`put_u32s`] writes it.
    pub(crate) fn u32s(&mut self, count: usize) -> CodecResult<Vec<u32>> {
        let planes = [self.take(count)?, self.take(count)?, self.take(count)?, self.take(count)?];
        let [a, b, c, d] = planes;
        let rows = a.iter().zip(b).zip(c.iter().zip(d));
        Ok(rows.map(|((&a, &b), (&c, &d))| u32::from_le_bytes([a, b, c, d])).collect())
    }

    pub(crate) fn u64s(&mut self, count: usize) -> CodecResult<Vec<u64>> {
        let (words, _) = self.take(count.saturating_mul(8))?.as_chunks::<8>();
        Ok(words.iter().map(|&b| u64::from_le_bytes(b)).collect())
    }

    /// A list of exceptions: (index, value).
    pub(crate) fn exceptions(&mut self) -> CodecResult<Vec<(u32, i64)>> {
        let count = self.u32()? as usize;
        if count > self.left() / 12 {
            return Err(format!("{count} exceptions cannot lie in {} bytes", self.left()));
        }
        (0..count).map(|_| Ok((self.u32()?, self.u64()? as i64))).collect()
    }

    pub(crate) fn end(&self) -> CodecResult<()> {
        if self.left() == 0 { Ok(()) } else { Err(format!("{} bytes are left over", self.left())) }
    }
}

/// Numbers of 64 bits as a u32 column and a list of those that do not fit.
pub(crate) fn put_with_exceptions(values: &[i64], out: &mut Vec<u8>) {
    put_u32s(values.iter().map(|&v| u32::try_from(v).unwrap_or(0)), out);
    let outside = || values.iter().enumerate().filter(|(_, v)| u32::try_from(**v).is_err());
    out.extend_from_slice(&(outside().count() as u32).to_le_bytes());
    for (at, value) in outside() {
        out.extend_from_slice(&(at as u32).to_le_bytes());
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Reads what [`put_with_exceptions`] wrote.
pub(crate) fn take_with_exceptions(cursor: &mut Cursor<'_>, count: usize) -> CodecResult<Vec<i64>> {
    let mut values: Vec<i64> = cursor.u32s(count)?.into_iter().map(i64::from).collect();
    for (at, value) in cursor.exceptions()? {
        *values.get_mut(at as usize).ok_or("an exception lies outside of its column")? = value;
    }
    Ok(values)
}
