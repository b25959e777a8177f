//! Attributes: keys and values in any of their forms.

use super::decode::index;
use super::{Attribute, Result, Text, Value};
use crate::wire::{FIXED64, LEN, Reader, VARINT};

/// `KeyValueAndUnit`, or `KeyValue` before v1.8: field 1 is an index or a text.
pub(super) fn attribute(mut reader: Reader<'_>) -> Result<Attribute<'_>> {
    let mut out = Attribute::default();
    while let Some((field, wire)) = reader.key()? {
        match (field, wire) {
            (1, VARINT) => out.key = Text::Index(index(reader.varint()?)),
            (1, LEN) => out.key = Text::Bytes(reader.message()?.rest()),
            (2, LEN) => out.value = value(reader.message()?)?,
            (1..=2, wire) => return Err(reader.wire_type(field, wire).into()),
            (field, wire) => reader.skip(field, wire)?,
        }
    }
    Ok(out)
}

/// `KeyValue` of a resource or scope.
pub(super) fn own_attribute(mut reader: Reader<'_>) -> Result<Attribute<'_>> {
    let mut out = Attribute::default();
    while let Some((field, wire)) = reader.key()? {
        match (field, wire) {
            (1, LEN) => out.key = Text::Bytes(reader.message()?.rest()),
            (2, LEN) => out.value = value(reader.message()?)?,
            (3, VARINT) => out.key = Text::Index(index(reader.varint()?)),
            (1..=3, wire) => return Err(reader.wire_type(field, wire).into()),
            (field, wire) => reader.skip(field, wire)?,
        }
    }
    Ok(out)
}

/// `AnyValue`; lists are looked into one level deep.
fn value(mut reader: Reader<'_>) -> Result<Value<'_>> {
    let mut out = Value::Other;
    while let Some((field, wire)) = reader.key()? {
        out = match (field, wire) {
            (5, LEN) => only(reader.message()?)?,
            (field, wire) => plain(&mut reader, field, wire)?.unwrap_or(out),
        };
    }
    Ok(out)
}

/// The only value of a list.
fn only(mut list: Reader<'_>) -> Result<Value<'_>> {
    let (mut out, mut count) = (Value::Other, 0usize);
    while let Some((field, wire)) = list.key()? {
        match (field, wire) {
            (1, LEN) => {
                let mut entry = list.message()?;
                out = Value::Other;
                count += 1;
                while let Some((field, wire)) = entry.key()? {
                    out = plain(&mut entry, field, wire)?.unwrap_or(out);
                }
            }
            (1, wire) => return Err(list.wire_type(field, wire).into()),
            (field, wire) => list.skip(field, wire)?,
        }
    }
    Ok(if count == 1 { out } else { Value::Other })
}

/// A field of `AnyValue`; `None` for one that is not known.
fn plain<'a>(reader: &mut Reader<'a>, field: u64, wire: u8) -> Result<Option<Value<'a>>> {
    Ok(Some(match (field, wire) {
        (1, LEN) => Value::Text(Text::Bytes(reader.message()?.rest())),
        (3, VARINT) => Value::Int(reader.varint()? as i64),
        (8, VARINT) => Value::Text(Text::Index(index(reader.varint()?))),
        (2, VARINT) | (4, FIXED64) | (5..=7, LEN) => {
            reader.skip(field, wire)?;
            Value::Other
        }
        (1..=8, wire) => return Err(reader.wire_type(field, wire).into()),
        (field, wire) => {
            reader.skip(field, wire)?;
            return Ok(None);
        }
    }))
}
