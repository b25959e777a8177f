//! Sizes in bytes as people write them: `65536`, `64MiB`, `1.5GB`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes. `KiB`, `MiB`, `GiB` are powers of 1024; `kB`, `KB`, `MB`, `GB` are powers of 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

const UNITS: &[(&str, u64)] = &[
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1000),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl ByteSize {
    /// A whole number of MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// Parses `65536`, `64MiB`, `64 MiB`, `1.5GB`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad =
            || format!("'{text}' is not a size: write a number of bytes or one with a unit, such as 64MiB");
        let unit = UNITS.iter().find(|(name, _)| text.ends_with(name));
        let (number, factor) = match unit {
            Some((name, factor)) => (text[..text.len() - name.len()].trim_end(), *factor),
            None => (text, 1),
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(factor).map(Self).ok_or_else(bad);
        }
        let number: f64 = number.parse().map_err(|_| bad())?;
        let bytes = number * factor as f64;
        if !(0.0..u64::MAX as f64).contains(&bytes) {
            return Err(bad());
        }
        Ok(Self(bytes as u64))
    }

    /// As `usize`; what does not fit is more than any memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// The largest binary unit that divides: `64MiB`, `65537`.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = UNITS[..4].iter().rev().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor));
        match binary {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes or a size such as 64MiB")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteSize, E> {
                ByteSize::parse(text).map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(value))
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<ByteSize, E> {
                u64::try_from(value).map(ByteSize).map_err(|_| E::custom(format!("a size cannot be {value}")))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print() {
        for (text, bytes, printed) in [
            ("65536", 65536, "64KiB"),
            ("64MiB", 64 << 20, "64MiB"),
            ("64 MiB", 64 << 20, "64MiB"),
            ("1.5GB", 1_500_000_000, "1500000000"),
            ("0", 0, "0"),
            ("7B", 7, "7"),
        ] {
            let size = ByteSize::parse(text).expect(text);
            assert_eq!((size.0, size.to_string().as_str()), (bytes, printed), "{text}");
        }
        for bad in ["", "MiB", "-1", "1 XB", "1e400", "99999999999GiB"] {
            assert!(ByteSize::parse(bad).is_err(), "{bad}");
        }
    }
}
