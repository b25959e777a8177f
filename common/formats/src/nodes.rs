//! What [`tree`](crate::tree) and [`trie`](crate::trie) share: nodes of (name, value, number of children), depth first, all
//! numbers unsigned varints (api-semantics §3.12).

use crate::stacks::{StackLimits, StacksError};

/// Bytes of the longest varint of 64 bits.
const VARINT_BYTES_MAX: usize = 10;

/// The bytes are no such nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NodesError {
    /// The bytes end within a node, or before one that was announced.
    #[error("the data ends at byte {at}, within the {part} of a node: it was cut off")]
    Truncated {
        /// How many bytes there are.
        at: usize,
        /// What of the node is missing.
        part: &'static str,
    },
    /// A number that is longer than 64 bits.
    #[error("the number at byte {at} is longer than 64 bits")]
    Number {
        /// Where.
        at: usize,
    },
    /// A value that is larger than 2⁶³ − 1.
    #[error("the value at byte {at} is {value}, larger than {}", i64::MAX)]
    Value {
        /// Where.
        at: usize,
        /// What stands there.
        value: u64,
    },
    /// A name that is too long.
    #[error(
        "the name at byte {at} is {length} bytes long, more than {limit} (max_profile_symbol_value_length)"
    )]
    LongName {
        /// Where.
        at: usize,
        /// Its length, in bytes.
        length: u64,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A node with too many children.
    #[error("the node at byte {at} has {count} children, more than {limit} (max_profile_stacktrace_samples)")]
    Children {
        /// Where.
        at: usize,
        /// Their number.
        count: u64,
        /// The limit.
        limit: usize,
    },
    /// A name that is not UTF-8.
    #[error("the name of the node at byte {at} is not UTF-8")]
    Utf8 {
        /// Where the node begins.
        at: usize,
    },
    /// More than may be kept.
    #[error("the node at byte {at}: {error}")]
    Stacks {
        /// Where the node begins.
        at: usize,
        /// What is too much.
        error: StacksError,
    },
}

/// One node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node<'a> {
    /// Where it begins.
    pub(crate) at: usize,
    pub(crate) name: &'a [u8],
    pub(crate) value: i64,
    pub(crate) children: u64,
}

/// Reads node after node.
#[derive(Debug)]
pub(crate) struct Nodes<'a> {
    bytes: &'a [u8],
    at: usize,
    name_bytes_max: usize,
    children_max: usize,
}

impl<'a> Nodes<'a> {
    pub(crate) fn new(bytes: &'a [u8], limits: StackLimits) -> Self {
        let any = |limit| if limit == 0 { usize::MAX } else { limit };
        Self {
            bytes,
            at: 0,
            name_bytes_max: any(limits.name_bytes_max),
            children_max: any(limits.children_max),
        }
    }

    pub(crate) fn next(&mut self) -> Result<Node<'a>, NodesError> {
        let at = self.at;
        let length = self.varint("name")?;
        if length > self.name_bytes_max as u64 {
            return Err(NodesError::LongName { at, length, limit: self.name_bytes_max });
        }
        let rest = &self.bytes[self.at..];
        let cut = NodesError::Truncated { at: self.bytes.len(), part: "name" };
        let name = usize::try_from(length).ok().and_then(|length| rest.get(..length)).ok_or(cut)?;
        self.at += name.len();
        let value_at = self.at;
        let value = self.varint("value")?;
        let value = i64::try_from(value).map_err(|_| NodesError::Value { at: value_at, value })?;
        let children = self.varint("number of children")?;
        if children > self.children_max as u64 {
            return Err(NodesError::Children { at, count: children, limit: self.children_max });
        }
        Ok(Node { at, name, value, children })
    }

    fn varint(&mut self, part: &'static str) -> Result<u64, NodesError> {
        let rest = &self.bytes[self.at..];
        let mut value = 0u64;
        for (count, byte) in rest.iter().take(VARINT_BYTES_MAX).enumerate() {
            let bits = u64::from(byte & 0x7f);
            // The tenth byte holds the last bit of 64.
            if count == VARINT_BYTES_MAX - 1 && bits > 1 {
                break;
            }
            value |= bits << (7 * count);
            if *byte < 0x80 {
                self.at += count + 1;
                return Ok(value);
            }
        }
        if rest.len() < VARINT_BYTES_MAX {
            Err(NodesError::Truncated { at: self.bytes.len(), part })
        } else {
            Err(NodesError::Number { at: self.at })
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::stacks::tests::LIMITS;

    /// A node as bytes.
    pub(crate) fn node(name: &str, value: u64, children: u64) -> Vec<u8> {
        let mut out = Vec::new();
        varint(&mut out, name.len() as u64);
        out.extend_from_slice(name.as_bytes());
        varint(&mut out, value);
        varint(&mut out, children);
        out
    }

    fn varint(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    #[test]
    fn nodes_and_what_is_none() {
        let bytes = node("main", 300, 2);
        let got = Nodes::new(&bytes, LIMITS).next();
        assert_eq!(got, Ok(Node { at: 0, name: b"main", value: 300, children: 2 }));
        for at in 0..bytes.len() {
            let got = Nodes::new(&bytes[..at], LIMITS).next();
            assert!(matches!(got, Err(NodesError::Truncated { at: end, .. }) if end == at), "{at}: {got:?}");
        }
        let error = |bytes: &[u8]| Nodes::new(bytes, LIMITS).next().expect_err("no node").to_string();
        assert_eq!(
            error(&node(&"x".repeat(101), 1, 0)),
            "the name at byte 0 is 101 bytes long, more than 100 (max_profile_symbol_value_length)"
        );
        assert_eq!(
            error(&node("a", 1, 17)),
            "the node at byte 0 has 17 children, more than 16 (max_profile_stacktrace_samples)"
        );
        let largest = node("", u64::MAX, 0);
        assert_eq!(
            error(&largest),
            "the value at byte 1 is 18446744073709551615, larger than 9223372036854775807"
        );
        assert_eq!(error(&[0xff; 11]), "the number at byte 0 is longer than 64 bits");
        let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        let any = StackLimits { name_bytes_max: 0, ..LIMITS };
        let got = Nodes::new(&huge, any).next();
        assert_eq!(got, Err(NodesError::Truncated { at: 10, part: "name" }));
    }
}
