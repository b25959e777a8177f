//! How many parts a message has, before it is decoded: an entry of two bytes becomes one of fifty in memory, and a gzipped body
//! of some KB may have hundreds of millions. Knows the wire of protobuf, and no message.

use bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};

use crate::error::RpcError;

/// What a message may have of fields with a length: texts, bytes, messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntriesLimit {
    /// How far down they are counted: 1 is the message itself. Texts are looked into as if they were messages, which may find
    /// some in them that are none: `max` has to leave room for that. JSON is counted all the way down.
    pub depth: u32,
    /// How many, on all these levels together. In JSON: how many elements of arrays, and objects in other objects.
    pub max: usize,
    /// What they are, for a person.
    pub what: &'static str,
}

impl EntriesLimit {
    /// Refuses a message with more of them. What else is wrong with it is left to the decoder, which stops where this does.
    pub(crate) fn check(&self, message: &[u8], is_json: bool) -> Result<(), RpcError> {
        match is_json {
            true => self.json(message),
            false => self.fields(message, self.depth, &mut self.max.clone()),
        }
    }

    fn json(&self, text: &[u8]) -> Result<(), RpcError> {
        let mut left = self.max;
        // Of each bracket that is open: whether it is an array's. An open one in an array is counted, and so there are few.
        let mut open: Vec<bool> = Vec::new();
        let (mut awaits_element, mut is_in_text, mut is_escaped) = (false, false, false);
        for &byte in text {
            if is_in_text {
                is_in_text = is_escaped || byte != b'"';
                is_escaped = !is_escaped && byte == b'\\';
                continue;
            }
            let begins_element =
                awaits_element && !matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b']' | b',');
            if begins_element || (byte == b'{' && open.last() == Some(&false)) {
                left = left.checked_sub(1).ok_or_else(|| self.exceeded())?;
            }
            awaits_element &= !begins_element;
            match byte {
                b'"' => is_in_text = true,
                b'{' | b'[' => {
                    open.push(byte == b'[');
                    awaits_element = byte == b'[';
                }
                b'}' | b']' => {
                    open.pop();
                    awaits_element = false;
                }
                b',' => awaits_element = open.last() == Some(&true),
                _ => {}
            }
        }
        Ok(())
    }

    fn fields(&self, mut rest: &[u8], depth: u32, left: &mut usize) -> Result<(), RpcError> {
        while rest.has_remaining() {
            let Ok((_, wire)) = decode_key(&mut rest) else { return Ok(()) };
            let length = match wire {
                WireType::Varint => match decode_varint(&mut rest) {
                    Ok(_) => 0,
                    Err(_) => return Ok(()),
                },
                WireType::ThirtyTwoBit => 4,
                WireType::SixtyFourBit => 8,
                WireType::LengthDelimited => {
                    let length =
                        decode_varint(&mut rest).ok().and_then(|length| usize::try_from(length).ok());
                    let Some(inner) = length.and_then(|length| rest.get(..length)) else { return Ok(()) };
                    *left = left.checked_sub(1).ok_or_else(|| self.exceeded())?;
                    if depth > 1 {
                        self.fields(inner, depth - 1, left)?;
                    }
                    inner.len()
                }
                // What is in a group, and behind it, is counted like all else: the decoder passes over groups, and goes on.
                WireType::StartGroup | WireType::EndGroup => 0,
            };
            let Some(after) = rest.get(length..) else { return Ok(()) };
            rest = after;
        }
        Ok(())
    }

    fn exceeded(&self) -> RpcError {
        let Self { max, what, .. } = self;
        RpcError::invalid(format!("the request has more than {max} {what}: send it in several"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: EntriesLimit = EntriesLimit { depth: 2, max: 100, what: "things" };

    /// Messages with empty ones in them.
    fn message(outer: usize, inner: usize) -> Vec<u8> {
        let one = [&[0x0a, 2 * inner as u8][..], &[0x12, 0].repeat(inner)].concat();
        one.repeat(outer)
    }

    #[test]
    fn entries_are_counted_on_their_levels() {
        assert!(LIMIT.check(&message(2, 49), false).is_ok());
        for too_many in [message(2, 50), message(101, 0), message(25, 4)] {
            let refused = LIMIT.check(&too_many, false).expect_err("too many");
            assert_eq!(refused.message, "the request has more than 100 things: send it in several");
        }
        assert!(EntriesLimit { depth: 1, ..LIMIT }.check(&message(25, 4), false).is_ok());
    }

    #[test]
    fn elements_are_counted_in_json_whatever_they_are() {
        let arrays = |element: &str, count: usize| {
            let list = vec![element; count].join(" ,\n");
            [format!("[{list}]"), format!("{{\"a\": [ {list} ]}}")]
        };
        for element in ["{}", "\"\"", "7", "null", "[]", r#""a\"[{,,\\""#, r#"{"b":"c,d","e":[]}"#] {
            for (allowed, too_many) in arrays(element, 100).iter().zip(&arrays(element, 101)) {
                assert!(LIMIT.check(allowed.as_bytes(), true).is_ok(), "{allowed}");
                assert!(LIMIT.check(too_many.as_bytes(), true).is_err(), "{too_many}");
            }
        }
        let objects = |count: usize| format!("{{{}\"b\":[1]}}", "\"a\":{},".repeat(count));
        assert!(LIMIT.check(objects(99).as_bytes(), true).is_ok());
        assert!(LIMIT.check(objects(100).as_bytes(), true).is_err());
        let deep = |count: usize| ["[".repeat(count), "{\"a\":".repeat(count)];
        assert!(deep(101).iter().all(|text| LIMIT.check(text.as_bytes(), true).is_ok()));
        assert!(deep(102).iter().all(|text| LIMIT.check(text.as_bytes(), true).is_err()));
        // A long text is one, and what is no JSON is left to the decoder.
        for text in [format!("[\"{}\"]", "a,[{".repeat(1000)), "]]}},,\"".to_owned(), "[\"\\".to_owned()] {
            assert!(LIMIT.check(text.as_bytes(), true).is_ok(), "{text}");
        }
    }

    #[test]
    fn texts_and_groups_are_no_reason_to_refuse_and_no_place_to_hide() {
        let deep = EntriesLimit { depth: 4, ..LIMIT };
        let selector = br#"{service_name="api", namespace=~"a|b"}"#;
        let text = [&[0x12, selector.len() as u8][..], selector].concat();
        assert!(deep.check(&text.repeat(20), false).is_ok());
        // A group of another message's, with fields in it and behind it.
        let grouped = |inner: usize| [&[0x0b][..], &message(1, inner), &[0x0c], &message(1, inner)].concat();
        assert!(LIMIT.check(&grouped(49), false).is_ok());
        assert!(LIMIT.check(&grouped(50), false).is_err());
    }

    #[test]
    fn what_is_damaged_is_left_to_the_decoder_once_it_is_counted() {
        let whole =
            [message(3, 3), vec![0x18, 0xff, 0x01, 0x25, 0, 0, 0, 0, 0x29, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
        for at in 0..=whole.len() {
            assert!(LIMIT.check(&whole[..at], false).is_ok(), "cut at {at}");
        }
        let many = [message(3, 49), vec![0xff; 20]].concat();
        assert!(LIMIT.check(&many, false).is_err());
    }
}
