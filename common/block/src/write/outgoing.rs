//! Bytes of an object on their way out: counted and checksummed as they are written, taken away in parts.

use bytes::Bytes;

use crate::entry::ObjectEntry;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    waiting: Vec<u8>,
    bytes: u64,
    crc32c: u32,
}

impl Outgoing {
    /// Bytes that were ever written.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that nobody has taken yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
        self.bytes += bytes.len() as u64;
        self.waiting.extend_from_slice(bytes);
    }

    /// What waits; the next part begins behind it.
    pub(crate) fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.waiting).into()
    }

    /// What the block's entry says of the object when nothing more is written.
    pub(crate) fn entry(&self, name: &str) -> ObjectEntry {
        ObjectEntry { name: name.to_owned(), bytes: self.bytes, crc32c: self.crc32c }
    }
}

impl std::io::Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_object() {
        let mut out = Outgoing::default();
        out.append(b"one");
        let first = out.take();
        out.append(b"two");
        assert_eq!((&first[..], out.waiting(), out.bytes()), (&b"one"[..], 3, 6));
        assert_eq!(out.entry("x").crc32c, crc32c::crc32c(b"onetwo"));
        assert_eq!(&out.take()[..], b"two");
    }
}
