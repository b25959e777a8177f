//! Which program: the id that the linker gives it.

use std::fmt::{Display, Formatter};

/// The GNU build id of a program: 2 to 40 hexadecimal digits, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BuildId(String);

/// A text is no build id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no GNU build id: it has 2 to 40 hexadecimal digits (readelf -n shows it)")]
pub struct InvalidBuildId(String);

/// Characters of a wrong id that its error shows.
const SHOWN_MAX: usize = 64;

impl BuildId {
    /// Reads an id; upper case becomes lower case.
    pub fn parse(text: &str) -> Result<Self, InvalidBuildId> {
        let fits = (2..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match fits {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(InvalidBuildId(text.chars().take(SHOWN_MAX).collect())),
        }
    }

    /// The id of a note of a program.
    pub(crate) fn of_note(bytes: &[u8]) -> Result<Self, InvalidBuildId> {
        let shown = &bytes[..bytes.len().min(SHOWN_MAX)];
        Self::parse(&shown.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for BuildId {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_lower_case_digits() {
        assert_eq!(BuildId::parse("AbcD01").expect("valid").as_str(), "abcd01");
        assert_eq!(BuildId::of_note(&[0xab, 0x01]).expect("valid").to_string(), "ab01");
        for wrong in ["", "a", "xy", "../../etc", &"a".repeat(41)] {
            assert!(BuildId::parse(wrong).is_err(), "{wrong}");
        }
        assert!(BuildId::of_note(&[]).is_err() && BuildId::of_note(&[1; 21]).is_err());
    }
}
