//! The metadata of a chunk: the classes of its events and constants, with their fields in the order in which they are written.

use hashbrown::HashMap;

use super::chunk::{Chunk, event};
use super::cursor::{Cursor, Text};
use super::{Broken, Fault};

/// Type of the event that holds metadata.
const METADATA: i64 = 0;
/// Longest string of the table that is looked at, in bytes: names are shorter, descriptions do not matter. As any element may
/// name any string, this also bounds how often a byte is read.
const STRING_BYTES_MAX: usize = 256;
/// Stands for a string that is longer.
const TOO_LONG: u32 = u32::MAX;

/// A field as declared.
#[derive(Clone, Copy)]
pub(super) struct Field {
    /// Index of its name in the table of strings.
    name: u32,
    /// Id of its class.
    pub(super) class: i64,
    /// Whether a key of a constant is written instead of the value.
    pub(super) pooled: bool,
    /// Whether it is an array.
    pub(super) array: bool,
}

/// A class: its fields are `first_field .. first_field + field_count`.
struct Class {
    name: u32,
    first_field: u32,
    field_count: u32,
}

/// All classes of a chunk.
pub(super) struct Metadata<'a> {
    /// Where each string stands.
    strings: Vec<u32>,
    place: Cursor<'a>,
    classes: Vec<Class>,
    fields: Vec<Field>,
    by_id: HashMap<i64, u32>,
}

/// What an element of the tree is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    Class,
    Field,
    Other,
}

impl<'a> Metadata<'a> {
    /// Reads the metadata of a chunk. Memory is at most some ten times the bytes of the metadata.
    pub(super) fn new(chunk: &Chunk<'a>) -> Result<Self, Broken> {
        let mut cursor = chunk.cursor(chunk.metadata);
        let at = cursor.at();
        let mut found = None;
        event(&mut cursor, &mut |ty, body| {
            if ty != METADATA {
                return Err(Broken { at, fault: Fault::NoMetadata { ty } });
            }
            found = Some(body);
            Ok(())
        })?;
        let mut body = found.ok_or(Broken { at, fault: Fault::CutOff })?;
        // Begin, duration and number of the metadata.
        body.skip_numbers(8, 3)?;
        let count = body.count(1)?;
        let mut strings = Vec::with_capacity(count);
        for _ in 0..count {
            let at = body.at();
            body.text()?;
            strings.push(if body.at() - at > STRING_BYTES_MAX { TOO_LONG } else { at as u32 });
        }
        let mut metadata =
            Self { strings, place: body, classes: Vec::new(), fields: Vec::new(), by_id: HashMap::new() };
        metadata.elements(body)?;
        Ok(metadata)
    }

    /// Walks the tree of elements with a stack of its own, so that no depth of the input is one of the machine's stack.
    fn elements(&mut self, mut cursor: Cursor<'a>) -> Result<(), Broken> {
        // (what the element is, how many children it still has)
        let mut open = vec![(Element::Other, 1usize)];
        while let Some((parent, children)) = open.last_mut() {
            let parent = *parent;
            let Some(left) = children.checked_sub(1) else {
                open.pop();
                continue;
            };
            *children = left;
            let element = self.element(&mut cursor, parent)?;
            let children = cursor.count(3)?;
            open.push((element, children));
        }
        Ok(())
    }

    fn element(&mut self, cursor: &mut Cursor<'a>, parent: Element) -> Result<Element, Broken> {
        let name = cursor.number(4)?;
        let element = match self.string(name)?.as_str() {
            "class" => Element::Class,
            "field" if parent == Element::Class => Element::Field,
            _ => Element::Other,
        };
        let attributes = cursor.count(2)?;
        if element == Element::Other {
            cursor.skip_numbers(4, attributes.saturating_mul(2))?;
            return Ok(element);
        }
        let mut field = Field { name: u32::MAX, class: -1, pooled: false, array: false };
        let mut id = None;
        for _ in 0..attributes {
            let (key, value) = (cursor.number(4)?, cursor.number(4)?);
            match self.string(key)?.as_str() {
                "name" => field.name = u32::try_from(value).unwrap_or(u32::MAX),
                "id" => id = self.string(value)?.parse().ok(),
                "class" => field.class = self.string(value)?.parse().unwrap_or(-1),
                "constantPool" => field.pooled = self.string(value)? == "true",
                "dimension" => field.array = !matches!(self.string(value)?.as_str(), "" | "0"),
                _ => {}
            }
        }
        match (element, self.classes.last_mut()) {
            (Element::Class, _) => {
                let index = self.classes.len() as u32;
                let first_field = self.fields.len() as u32;
                self.classes.push(Class { name: field.name, first_field, field_count: 0 });
                if let Some(id) = id {
                    self.by_id.entry(id).or_insert(index);
                }
            }
            (_, Some(class)) => {
                self.fields.push(field);
                class.field_count += 1;
            }
            _ => {}
        }
        Ok(element)
    }

    /// A string of the table; one that is not there is empty.
    fn string(&self, index: i64) -> Result<String, Broken> {
        let mut out = String::new();
        let place = usize::try_from(index).ok().and_then(|index| self.strings.get(index));
        if let Some(place) = place.filter(|place| **place != TOO_LONG) {
            self.place.from(*place as usize).text()?.append(&mut out)?;
        }
        Ok(out)
    }

    /// Whether a string of the table is this one.
    fn is(&self, index: u32, text: &str) -> bool {
        let place = self.strings.get(index as usize).filter(|place| **place != TOO_LONG);
        match place.map(|place| self.place.from(*place as usize).text()) {
            Some(Ok(Text::Utf8(bytes))) => bytes == text.as_bytes(),
            _ => self.string(i64::from(index)).is_ok_and(|string| string == text),
        }
    }

    /// How many classes there are; they are numbered from 0.
    pub(super) fn class_count(&self) -> usize {
        self.classes.len()
    }

    /// The class of an id.
    pub(super) fn class(&self, id: i64) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// The id of the class with this name. The first, if there are several.
    pub(super) fn id_of(&self, name: &str) -> Option<i64> {
        let mut ids =
            self.by_id.iter().filter(|(_, class)| self.is(self.classes[**class as usize].name, name));
        ids.by_ref().min_by_key(|(_, class)| **class).map(|(id, _)| *id)
    }

    /// The name of a class, for people.
    pub(super) fn class_name(&self, class: u32) -> String {
        self.string(i64::from(self.classes[class as usize].name)).unwrap_or_default()
    }

    /// The name of a field, for people.
    pub(super) fn field_name(&self, field: Field) -> String {
        self.string(i64::from(field.name)).unwrap_or_default()
    }

    /// Whether a field has this name.
    pub(super) fn is_named(&self, field: Field, name: &str) -> bool {
        self.is(field.name, name)
    }

    /// The fields of a class.
    pub(super) fn fields(&self, class: u32) -> &[Field] {
        let class = &self.classes[class as usize];
        let first = class.first_field as usize;
        &self.fields[first..first + class.field_count as usize]
    }
}
