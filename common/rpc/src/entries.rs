//! How many parts a message has, before it is decoded: an entry of two bytes becomes one of fifty in memory, and a gzipped body
//! of some KB may have hundreds of millions. Knows the wire of protobuf, and no message.

use bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};

use crate::error::RpcError;

/// What a message may have of fields with a length: texts, bytes, messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntriesLimit {
    /// How far down they are counted: 1 is the message itself.
    pub depth: u32,
    /// How many, on all these levels together. In JSON: how many objects.
    pub max: usize,
    /// What they are, for a person.
    pub what: &'static str,
}

impl EntriesLimit {
    /// Refuses a message with more of them. What else is wrong with it is left to the decoder, which stops where this does.
    pub(crate) fn check(&self, message: &[u8], is_json: bool) -> Result<(), RpcError> {
        if is_json {
            let objects = message.iter().filter(|byte| **byte == b'{').count();
            return if objects > self.max { Err(self.exceeded()) } else { Ok(()) };
        }
        self.fields(message, self.depth, &mut self.max.clone())
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
                    *left = left.checked_sub(1).ok_or_else(|| self.exceeded())?;
                    let length =
                        decode_varint(&mut rest).ok().and_then(|length| usize::try_from(length).ok());
                    let Some(inner) = length.and_then(|length| rest.get(..length)) else { return Ok(()) };
                    if depth > 1 {
                        self.fields(inner, depth - 1, left)?;
                    }
                    inner.len()
                }
                // Behind one nothing would be counted, and no message of ours has any.
                WireType::StartGroup | WireType::EndGroup => {
                    return Err(RpcError::invalid("unmarshal message: groups are not known here"));
                }
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
        let json = |count: usize| format!("[{}]", "{},".repeat(count)).into_bytes();
        assert!(LIMIT.check(&json(100), true).is_ok() && LIMIT.check(&json(101), true).is_err());
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
        assert!(LIMIT.check(&[0x0b, 0x0c], false).is_err(), "a group");
    }
}
