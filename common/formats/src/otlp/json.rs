//! JSON of an export to protobuf of the layout that its names mean, in one pass: nothing is built in between, so memory is
//! bounded by a few times the input.
//!
//! Source: the JSON mapping of proto3. Names are lowerCamelCase or those of the .proto file; numbers are numbers or texts;
//! null is a field that is not there; unknown and repeated names are errors. Ids are base64 as protobuf writes bytes, or hex
//! as OTLP/HTTP does: an id in hex has a length that no id in base64 has, so either is taken. What is deeper than 128 values
//! is refused by the parser.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::names::{Field, Kind, LAYOUTS, Message};
use super::{Layout, Otlp, OtlpError};

/// Largest JSON; its protobuf may be four times as large.
const JSON_BYTES_MAX: usize = 512 << 20;
/// A length that is not known yet takes as many bytes as any may need.
const LENGTH_BYTES: usize = 5;

/// The text is no JSON of an export.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// By its syntax or its names; says at which line and column.
    #[error("the export cannot be read as JSON: {0}")]
    Json(serde_json::Error),
    /// Too long.
    #[error("the export has more than {JSON_BYTES_MAX} bytes of JSON: send protobuf")]
    TooLarge,
}

/// The protobuf of an export, and its layout. The layouts are tried, newest first; when none fits, the error is that of the
/// one which came furthest.
pub fn to_protobuf(json: &[u8]) -> Result<(Vec<u8>, Layout), JsonError> {
    if json.len() > JSON_BYTES_MAX {
        return Err(JsonError::TooLarge);
    }
    let mut furthest: Option<serde_json::Error> = None;
    for (layout, message) in LAYOUTS {
        let mut out = Vec::with_capacity(json.len() / 2);
        let mut parser = serde_json::Deserializer::from_slice(json);
        let error = match (MessageSeed { message, out: &mut out }).deserialize(&mut parser) {
            Ok(()) => match parser.end() {
                Ok(()) => return Ok((out, layout)),
                Err(error) => error,
            },
            Err(error) => error,
        };
        let place = |error: &serde_json::Error| (error.line(), error.column());
        if furthest.as_ref().is_none_or(|other| place(&error) > place(other)) {
            furthest = Some(error);
        }
    }
    Err(JsonError::Json(furthest.unwrap_or_else(|| serde_json::Error::custom("no layout"))))
}

/// Parses what [`to_protobuf`] has made; JSON without a dictionary that its layout needs is refused as protobuf is.
pub fn parse(protobuf: &[u8], layout: Layout) -> Result<Otlp<'_>, OtlpError> {
    let otlp = Otlp::parse_as(protobuf, layout)?;
    let has_tables = layout == Layout::ProfileTables || otlp.has_dictionary;
    if has_tables { Ok(otlp) } else { Err(OtlpError::NoDictionary) }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn key(out: &mut Vec<u8>, number: u8, wire: u8) {
    varint(out, u64::from(number) << 3 | u64::from(wire));
}

/// Writes a field whose length is known afterwards.
fn nested<E>(
    out: &mut Vec<u8>,
    number: u8,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    key(out, number, crate::wire::LEN);
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    fill(out)?;
    let mut length = out.len() - start - LENGTH_BYTES;
    for (at, byte) in out[start..start + LENGTH_BYTES].iter_mut().enumerate() {
        *byte = length as u8 & 0x7f | if at + 1 < LENGTH_BYTES { 0x80 } else { 0 };
        length >>= 7;
    }
    Ok(())
}

/// An object as a message.
struct MessageSeed<'o> {
    message: &'static Message,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as an object", self.message.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = 0u32;
        while let Some(at) = map.next_key_seed(NameSeed(self.message))? {
            let field = &self.message.fields[at];
            if seen & 1 << at != 0 {
                let (field, message) = (field.name, self.message.name);
                return Err(A::Error::custom(format_args!("field `{field}` of {message} twice")));
            }
            seen |= 1 << at;
            map.next_value_seed(ValueSeed { field, out: &mut *self.out })?;
        }
        Ok(())
    }
}

/// The position of a field by its name.
struct NameSeed(&'static Message);

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = usize;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name of a field of {}", self.0.name)
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<usize, E> {
        let found = self.0.fields.iter().position(|field| field.is(name));
        found.ok_or_else(|| {
            let known: Vec<&str> = self.0.fields.iter().map(|field| field.name).collect();
            let known = known.join(", ");
            E::custom(format_args!("unknown field `{name}` of {}, which has {known}", self.0.name))
        })
    }
}

/// The value of a field.
struct ValueSeed<'o> {
    field: &'static Field,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { field, out } = self;
        if let Kind::Ignored = field.kind {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(drop);
        }
        if field.repeated {
            return deserializer.deserialize_any(ListVisitor { field, out });
        }
        deserializer.deserialize_any(Single { field, out, in_list: false })
    }
}

/// A list, or null for none.
struct ListVisitor<'o> {
    field: &'static Field,
    out: &'o mut Vec<u8>,
}

impl<'de> Visitor<'de> for ListVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list as `{}`", self.field.name)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { field, out } = self;
        if matches!(field.kind, Kind::Message(_) | Kind::Text | Kind::Id(_)) {
            while list.next_element_seed(Single { field, out: &mut *out, in_list: true })?.is_some() {}
            return Ok(());
        }
        let start = out.len();
        nested(out, field.number, |out| {
            while list.next_element_seed(Single { field, out: &mut *out, in_list: true })?.is_some() {}
            Ok(())
        })?;
        // An empty list is a field that is not there.
        if out.len() == start + 1 + LENGTH_BYTES {
            out.truncate(start);
        }
        Ok(())
    }
}

/// One value, with its key unless it is a number of a list.
struct Single<'o> {
    field: &'static Field,
    out: &'o mut Vec<u8>,
    in_list: bool,
}

impl Single<'_> {
    fn number<E: serde::de::Error>(self, number: i128) -> Result<(), E> {
        let Self { field, out, in_list } = self;
        let outside = || {
            let name = field.name;
            Err(E::custom(format_args!("{number} as `{name}` is outside of the range of its type")))
        };
        let (wire, fits) = match field.kind {
            Kind::I32 => (crate::wire::VARINT, i32::try_from(number).is_ok()),
            Kind::I64 => (crate::wire::VARINT, i64::try_from(number).is_ok()),
            Kind::U64 => (crate::wire::VARINT, u64::try_from(number).is_ok()),
            Kind::Fixed64 => (crate::wire::FIXED64, u64::try_from(number).is_ok()),
            _ => return Err(E::custom(format_args!("a number as `{}`", field.name))),
        };
        if !fits {
            return outside();
        }
        if !in_list {
            key(out, field.number, wire);
        }
        // Negative numbers are sent in two's complement.
        let bits = number as u64;
        if wire == crate::wire::FIXED64 {
            out.extend_from_slice(&bits.to_le_bytes());
        } else {
            varint(out, bits);
        }
        Ok(())
    }

    fn bytes(self, bytes: &[u8]) {
        key(self.out, self.field.number, crate::wire::LEN);
        varint(self.out, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }
}

impl<'de> DeserializeSeed<'de> for Single<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Single<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.field.kind {
            Kind::Text => "a text",
            Kind::Id(_) => "an id in base64 or hex",
            Kind::Message(message) => message.name,
            _ => "a whole number",
        };
        write!(f, "{what} as `{}`", self.field.name)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        match self.in_list {
            true => Err(E::custom(format_args!("null in the list `{}`", self.field.name))),
            false => Ok(()),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        self.number(i128::from(number))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        self.number(i128::from(number))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<(), E> {
        if number.fract() != 0.0 {
            return Err(E::custom(format_args!("{number} as `{}` is no whole number", self.field.name)));
        }
        self.number(number as i128)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        match self.field.kind {
            Kind::Text => self.bytes(text.as_bytes()),
            Kind::Id(size) => match id(text, size) {
                Some(bytes) => self.bytes(&bytes),
                None => {
                    let name = self.field.name;
                    return Err(E::custom(format_args!("`{text}` as `{name}` is neither base64 nor hex")));
                }
            },
            Kind::Message(message) => {
                return Err(E::custom(format_args!("a text as `{}`, a {}", self.field.name, message.name)));
            }
            _ => match text.parse() {
                Ok(number) => return self.number(number),
                Err(_) => {
                    let name = self.field.name;
                    return Err(E::custom(format_args!("`{text}` as `{name}` is no whole number")));
                }
            },
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Kind::Message(message) = self.field.kind else {
            return Err(A::Error::custom(format_args!("an object as `{}`", self.field.name)));
        };
        nested(self.out, self.field.number, |out| MessageSeed { message, out }.visit_map(map))
    }
}

/// The bytes of an id: hex when it has the digits of `size` bytes, else base64.
fn id(text: &str, size: usize) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    if text.len() == 2 * size {
        let pairs = text.as_bytes().chunks_exact(2);
        let bytes: Option<Vec<u8>> = pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
        if bytes.is_some() {
            return bytes;
        }
    }
    base64(text)
}

/// Base64 of either alphabet, padded or not, as the JSON mapping takes it.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0u32, 0u32);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    // Five bits or more left would be a character that stands for no byte.
    (count < 6).then_some(out)
}
