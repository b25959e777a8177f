//! Protobuf of one known layout into the flat arrays. A known field with another wire type is an error, never skipped.

use super::attributes::{attribute, own_attribute};
use super::{
    ABSENT, Function, Layout, Line, Link, Location, Mapping, Otlp, Profile, Result, Sample, Scope, Span,
    Tables, ValueType,
};
use crate::wire::{FIXED64, LEN, Reader, VARINT};

/// The entries of an array from `first` on.
fn since<T>(array: &[T], first: usize) -> Span {
    Span { first: first as u32, count: (array.len() - first) as u32 }
}

/// An index; what no table can have becomes an index that is in none.
pub(super) fn index(number: u64) -> i32 {
    i32::try_from(number as i64).unwrap_or(i32::MIN)
}

/// Numbers of the fields of a sample that names a stack.
struct SampleFields {
    values: u64,
    attributes: u64,
    link: u64,
}

impl<'a> Otlp<'a> {
    pub(super) fn request(&mut self, bytes: &'a [u8]) -> Result<()> {
        let mut reader = Reader::new(bytes);
        if self.layout != Layout::ProfileTables {
            self.tables.push(Tables::default());
        }
        while let Some((field, wire)) = reader.key()? {
            match (field, wire) {
                (1, LEN) => self.resource(reader.message()?)?,
                (2, LEN) => {
                    self.has_dictionary = true;
                    self.dictionary(reader.message()?)?;
                }
                (1..=2, wire) => return Err(reader.wire_type(field, wire).into()),
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        if self.layout != Layout::ProfileTables {
            self.tables[0] = self.tables_since(&Tables::default());
        }
        Ok(())
    }

    /// What the tables have got since they ended where `ends` begin.
    fn tables_since(&self, ends: &Tables) -> Tables {
        Tables {
            strings: since(&self.strings, ends.strings.first as usize),
            mappings: since(&self.mappings, ends.mappings.first as usize),
            locations: since(&self.locations, ends.locations.first as usize),
            functions: since(&self.functions, ends.functions.first as usize),
            links: since(&self.links, ends.links.first as usize),
            attributes: since(&self.table_attributes, ends.attributes.first as usize),
            stacks: since(&self.stacks, ends.stacks.first as usize),
        }
    }

    /// Empty tables that begin where the arrays end.
    fn table_ends(&self) -> Tables {
        Tables {
            strings: since(&self.strings, self.strings.len()),
            mappings: since(&self.mappings, self.mappings.len()),
            locations: since(&self.locations, self.locations.len()),
            functions: since(&self.functions, self.functions.len()),
            links: since(&self.links, self.links.len()),
            attributes: since(&self.table_attributes, self.table_attributes.len()),
            stacks: since(&self.stacks, self.stacks.len()),
        }
    }

    fn dictionary(&mut self, mut reader: Reader<'a>) -> Result<()> {
        while let Some((field, wire)) = reader.key()? {
            match (field, wire) {
                (1, LEN) => self.mapping(reader.message()?)?,
                (2, LEN) => self.location(reader.message()?)?,
                (3, LEN) => self.room.push(&mut self.functions, function(reader.message()?)?)?,
                (4, LEN) => self.room.push(&mut self.links, link(reader.message()?)?)?,
                (5, LEN) => self.room.push(&mut self.strings, reader.message()?.rest())?,
                (6, LEN) => self.room.push(&mut self.table_attributes, attribute(reader.message()?)?)?,
                (7, LEN) if self.layout.has_stacks() => self.stack(reader.message()?)?,
                (7, LEN) => drop(reader.message()?),
                (1..=7, wire) => return Err(reader.wire_type(field, wire).into()),
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        Ok(())
    }

    /// The resource first, wherever it stands: scopes name it.
    fn resource(&mut self, message: Reader<'a>) -> Result<()> {
        let first = self.attributes.len();
        self.attributes_of(message, 1)?;
        let attributes = since(&self.attributes, first);
        let resource = self.scopes.last().map_or(0, |last| last.resource + 1);
        let mut reader = message;
        while let Some((field, wire)) = reader.key()? {
            match (field, wire) {
                (2, LEN) => self.scope(reader.message()?, attributes, resource)?,
                (2, wire) => return Err(reader.wire_type(field, wire).into()),
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        Ok(())
    }

    fn scope(&mut self, message: Reader<'a>, resource_attributes: Span, resource: u32) -> Result<()> {
        let first = self.attributes.len();
        self.attributes_of(message, 3)?;
        let attributes = since(&self.attributes, first);
        let scope = self.scopes.len() as u32;
        self.room.push(&mut self.scopes, Scope { resource_attributes, attributes, resource })?;
        let mut reader = message;
        while let Some((field, wire)) = reader.key()? {
            match (field, wire) {
                (2, LEN) => {
                    let mut profile = Profile { scope, ..Profile::default() };
                    profile.sample_types.first = self.sample_types.len() as u32;
                    profile.samples.first = self.samples.len() as u32;
                    profile.location_indices.first = self.stack_locations.len() as u32;
                    let tables = self.table_ends();
                    self.profile(reader.message()?, &mut profile)?;
                    profile.sample_types = since(&self.sample_types, profile.sample_types.first as usize);
                    profile.samples = since(&self.samples, profile.samples.first as usize);
                    profile.location_indices =
                        since(&self.stack_locations, profile.location_indices.first as usize);
                    if self.layout == Layout::ProfileTables {
                        profile.tables = self.tables.len() as u32;
                        let tables = self.tables_since(&tables);
                        self.room.push(&mut self.tables, tables)?;
                    }
                    self.room.push(&mut self.profiles, profile)?;
                }
                (2, wire) => return Err(reader.wire_type(field, wire).into()),
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        Ok(())
    }

    /// The attributes of the resource or scope of a message, which is its field 1 and has them as `number`.
    fn attributes_of(&mut self, mut message: Reader<'a>, number: u64) -> Result<()> {
        while let Some((field, wire)) = message.key()? {
            match (field, wire) {
                (1, LEN) => {
                    let mut owner = message.message()?;
                    while let Some((field, wire)) = owner.key()? {
                        match (field, wire) {
                            (field, LEN) if field == number => {
                                self.room.push(&mut self.attributes, own_attribute(owner.message()?)?)?;
                            }
                            (field, wire) if field == number => {
                                return Err(owner.wire_type(field, wire).into());
                            }
                            (field, wire) => owner.skip(field, wire)?,
                        }
                    }
                }
                (1, wire) => return Err(message.wire_type(field, wire).into()),
                (field, wire) => message.skip(field, wire)?,
            }
        }
        Ok(())
    }

    fn profile(&mut self, reader: Reader<'a>, profile: &mut Profile) -> Result<()> {
        match self.layout {
            Layout::ProfileTables => self.profile_with_tables(reader, profile),
            Layout::Ranges => self.profile_of_ranges(reader, profile),
            Layout::StacksValuesSecond => {
                self.profile_of_stacks(reader, profile, &SampleFields { values: 2, attributes: 3, link: 4 })
            }
            Layout::Stacks => {
                self.profile_of_stacks(reader, profile, &SampleFields { values: 4, attributes: 2, link: 3 })
            }
        }
    }

    /// v1.8 and later; what follows field 6 is not used.
    fn profile_of_stacks(
        &mut self,
        mut reader: Reader<'a>,
        profile: &mut Profile,
        fields: &SampleFields,
    ) -> Result<()> {
        let mut sample_type = None;
        while let Some((field, wire)) = reader.key()? {
            match (field, wire) {
                (1, LEN) => sample_type = Some(value_type(reader.message()?, sample_type)?),
                (2, LEN) => self.sample_of_stack(reader.message()?, fields)?,
                (3, FIXED64) => profile.time_unix_ns = reader.fixed64()?,
                (4, VARINT) => profile.duration_ns = reader.varint()?,
                (5, LEN) => profile.period_type = Some(value_type(reader.message()?, profile.period_type)?),
                (6, VARINT) => profile.period = reader.varint()? as i64,
                (1..=6, wire) => return Err(reader.wire_type(field, wire).into()),
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        self.room.push(&mut self.sample_types, sample_type.unwrap_or_default())?;
        Ok(())
    }

    /// v1.7.
    fn profile_of_ranges(&mut self, mut reader: Reader<'a>, profile: &mut Profile) -> Result<()> {
        while let Some((field, wire)) = reader.key()? {
            match (field, wire) {
                (1, LEN) => self.room.push(&mut self.sample_types, value_type(reader.message()?, None)?)?,
                (2, LEN) => self.sample_of_range(reader.message()?)?,
                (3, LEN) => self.room.packed(&mut self.stack_locations, reader.message()?, index)?,
                (4, VARINT) => profile.time_unix_ns = reader.varint()?,
                (5, VARINT) => profile.duration_ns = reader.varint()?,
                (6, LEN) => profile.period_type = Some(value_type(reader.message()?, profile.period_type)?),
                (7, VARINT) => profile.period = reader.varint()? as i64,
                (1..=7, wire) => return Err(reader.wire_type(field, wire).into()),
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        Ok(())
    }

    /// v1.4 and v1.5.
    fn profile_with_tables(&mut self, mut reader: Reader<'a>, profile: &mut Profile) -> Result<()> {
        while let Some((field, wire)) = reader.key()? {
            match (field, wire) {
                (1, LEN) => self.room.push(&mut self.sample_types, value_type(reader.message()?, None)?)?,
                (2, LEN) => self.sample_of_range(reader.message()?)?,
                (3, LEN) => self.mapping(reader.message()?)?,
                (4, LEN) => self.location(reader.message()?)?,
                (5, LEN) => self.room.packed(&mut self.stack_locations, reader.message()?, index)?,
                (6, LEN) => self.room.push(&mut self.functions, function(reader.message()?)?)?,
                (7, LEN) => self.room.push(&mut self.table_attributes, attribute(reader.message()?)?)?,
                (9, LEN) => self.room.push(&mut self.links, link(reader.message()?)?)?,
                (10, LEN) => self.room.push(&mut self.strings, reader.message()?.rest())?,
                (11, VARINT) => profile.time_unix_ns = reader.varint()?,
                (12, VARINT) => profile.duration_ns = reader.varint()?,
                (13, LEN) => profile.period_type = Some(value_type(reader.message()?, profile.period_type)?),
                (14, VARINT) => profile.period = reader.varint()? as i64,
                (1..=7 | 9..=14, wire) => return Err(reader.wire_type(field, wire).into()),
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        Ok(())
    }

    fn sample_of_stack(&mut self, mut reader: Reader<'a>, fields: &SampleFields) -> Result<()> {
        let mut sample = Sample::default();
        let (values, attributes) = (self.values.len(), self.attribute_indices.len());
        while let Some((field, wire)) = reader.key()? {
            match (field, wire) {
                (1, VARINT) => sample.stack = index(reader.varint()?),
                (field, LEN) if field == fields.values => {
                    self.room.packed(&mut self.values, reader.message()?, |n| n as i64)?;
                }
                (field, LEN) if field == fields.attributes => {
                    self.room.packed(&mut self.attribute_indices, reader.message()?, index)?;
                }
                (field, VARINT) if field == fields.link => sample.link = index(reader.varint()?),
                (5, LEN) => {
                    let mut timestamps = reader.message()?;
                    while !timestamps.rest().is_empty() {
                        timestamps.fixed64()?;
                        sample.timestamps += 1;
                    }
                }
                (5, FIXED64) => {
                    reader.fixed64()?;
                    sample.timestamps += 1;
                }
                (1..=5, wire) => return Err(reader.wire_type(field, wire).into()),
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        sample.values = since(&self.values, values);
        sample.attributes = since(&self.attribute_indices, attributes);
        self.room.push(&mut self.samples, sample)?;
        Ok(())
    }

    fn sample_of_range(&mut self, mut reader: Reader<'a>) -> Result<()> {
        let mut sample = Sample { link: ABSENT, ..Sample::default() };
        let (values, attributes) = (self.values.len(), self.attribute_indices.len());
        while let Some((field, wire)) = reader.key()? {
            match (field, wire) {
                (1, VARINT) => sample.stack = index(reader.varint()?),
                (2, VARINT) => sample.length = index(reader.varint()?),
                (3, LEN) => self.room.packed(&mut self.values, reader.message()?, |n| n as i64)?,
                (4, LEN) => self.room.packed(&mut self.attribute_indices, reader.message()?, index)?,
                (5, VARINT) => sample.link = index(reader.varint()?),
                (6, LEN) => {
                    let mut timestamps = reader.message()?;
                    while !timestamps.rest().is_empty() {
                        timestamps.varint()?;
                        sample.timestamps += 1;
                    }
                }
                (1..=6, wire) => return Err(reader.wire_type(field, wire).into()),
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        sample.values = since(&self.values, values);
        sample.attributes = since(&self.attribute_indices, attributes);
        self.room.push(&mut self.samples, sample)?;
        Ok(())
    }

    fn stack(&mut self, mut reader: Reader<'a>) -> Result<()> {
        let first = self.stack_locations.len();
        while let Some((field, wire)) = reader.key()? {
            match (field, wire) {
                (1, LEN) => self.room.packed(&mut self.stack_locations, reader.message()?, index)?,
                (1, VARINT) => self.room.push(&mut self.stack_locations, index(reader.varint()?))?,
                (1, wire) => return Err(reader.wire_type(field, wire).into()),
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        self.room.push(&mut self.stacks, since(&self.stack_locations, first))?;
        Ok(())
    }

    /// Fields 6 to 9 said what is symbolised, before v1.8.
    fn mapping(&mut self, mut reader: Reader<'a>) -> Result<()> {
        let mut out = Mapping::default();
        let first = self.attribute_indices.len();
        while let Some((field, wire)) = reader.key()? {
            match (field, wire) {
                (1, VARINT) => out.memory_start = reader.varint()?,
                (2, VARINT) => out.memory_limit = reader.varint()?,
                (3, VARINT) => out.file_offset = reader.varint()?,
                (4, VARINT) => out.filename = index(reader.varint()?),
                (5, LEN) => self.room.packed(&mut self.attribute_indices, reader.message()?, index)?,
                (5, VARINT) => self.room.push(&mut self.attribute_indices, index(reader.varint()?))?,
                (1..=5, wire) => return Err(reader.wire_type(field, wire).into()),
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        out.attributes = since(&self.attribute_indices, first);
        self.room.push(&mut self.mappings, out)?;
        Ok(())
    }

    /// Field 4 was `is_folded` before v1.8, and attributes were 5.
    fn location(&mut self, mut reader: Reader<'a>) -> Result<()> {
        let stacks = self.layout.has_stacks();
        let attributes = if stacks { 4 } else { 5 };
        let mut out = Location { mapping: if stacks { 0 } else { ABSENT }, ..Location::default() };
        let (lines, first) = (self.lines.len(), self.attribute_indices.len());
        while let Some((field, wire)) = reader.key()? {
            match (field, wire) {
                (1, VARINT) => out.mapping = index(reader.varint()?),
                (2, VARINT) => out.address = reader.varint()?,
                (3, LEN) => self.room.push(&mut self.lines, line(reader.message()?)?)?,
                (field, LEN) if field == attributes => {
                    self.room.packed(&mut self.attribute_indices, reader.message()?, index)?;
                }
                (field, VARINT) if field == attributes => {
                    self.room.push(&mut self.attribute_indices, index(reader.varint()?))?;
                }
                (4, VARINT) => drop(reader.varint()?),
                (1..=4, wire) => return Err(reader.wire_type(field, wire).into()),
                (field, wire) => reader.skip(field, wire)?,
            }
        }
        out.lines = since(&self.lines, lines);
        out.attributes = since(&self.attribute_indices, first);
        self.room.push(&mut self.locations, out)?;
        Ok(())
    }
}

fn line(mut reader: Reader<'_>) -> Result<Line> {
    let mut out = Line::default();
    while let Some((field, wire)) = reader.key()? {
        match (field, wire) {
            (1, VARINT) => out.function = index(reader.varint()?),
            (2, VARINT) => out.line = reader.varint()? as i64,
            (1..=2, wire) => return Err(reader.wire_type(field, wire).into()),
            (field, wire) => reader.skip(field, wire)?,
        }
    }
    Ok(out)
}

fn function(mut reader: Reader<'_>) -> Result<Function> {
    let mut out = Function::default();
    while let Some((field, wire)) = reader.key()? {
        match (field, wire) {
            (1, VARINT) => out.name = index(reader.varint()?),
            (2, VARINT) => out.system_name = index(reader.varint()?),
            (3, VARINT) => out.filename = index(reader.varint()?),
            (4, VARINT) => out.start_line = reader.varint()? as i64,
            (1..=4, wire) => return Err(reader.wire_type(field, wire).into()),
            (field, wire) => reader.skip(field, wire)?,
        }
    }
    Ok(out)
}

fn link(mut reader: Reader<'_>) -> Result<Link<'_>> {
    let mut out = Link::default();
    while let Some((field, wire)) = reader.key()? {
        match (field, wire) {
            (1, LEN) => out.trace_id = reader.message()?.rest(),
            (2, LEN) => out.span_id = reader.message()?.rest(),
            (1..=2, wire) => return Err(reader.wire_type(field, wire).into()),
            (field, wire) => reader.skip(field, wire)?,
        }
    }
    Ok(out)
}

/// A message that comes twice is merged, says protobuf: `before` is what came before.
fn value_type(mut reader: Reader<'_>, before: Option<ValueType>) -> Result<ValueType> {
    let mut out = before.unwrap_or_default();
    while let Some((field, wire)) = reader.key()? {
        match (field, wire) {
            (1, VARINT) => out.ty = index(reader.varint()?),
            (2, VARINT) => out.unit = index(reader.varint()?),
            (1..=2, wire) => return Err(reader.wire_type(field, wire).into()),
            (field, wire) => reader.skip(field, wire)?,
        }
    }
    Ok(out)
}
