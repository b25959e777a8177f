//! How values of a class are written: steps made from its fields, to go past a value or to pick some fields of it.
//!
//! Every step takes at least one byte of the input: fields of classes without content are left out. Together with the cap on
//! nesting this makes reading linear.

use super::cursor::Cursor;
use super::metadata::{Field, Metadata};
use super::{Broken, Fault};

/// How deep classes may stand in classes as values. Flight recordings need two levels.
pub const NESTING_MAX: u32 = 16;

/// How one value of a field is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// So many bytes.
    Raw(u8),
    /// An integer, with its width where integers are not compressed.
    Number(u8),
    /// A text with its encoding.
    Text,
    /// A value of a class, in place.
    Class(u32),
}

#[derive(Clone, Copy)]
struct Step {
    kind: Kind,
    array: bool,
    /// The field; `u32::MAX` in classes that are values themselves.
    field: u32,
}

struct Layout {
    steps: Vec<Step>,
    /// Levels of classes in it, itself included.
    height: u32,
    /// Number of steps, when each is one integer.
    numbers: Option<usize>,
}

/// The layouts that were needed so far.
pub(super) struct Layouts<'m, 'a> {
    pub(super) metadata: &'m Metadata<'a>,
    layouts: Vec<Option<Layout>>,
}

/// What a picked field holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The class has no such field, or none that could be picked.
    Absent,
    /// A number.
    Number,
    /// The offset of a text.
    Text,
    /// The key of a constant of the class with this id.
    Key(i64),
    /// The offset of an array of values of this class.
    Array(u32),
}

/// `N` fields of a class by name, in one walk over its value.
pub(super) struct Picks<const N: usize> {
    steps: Vec<(Step, Option<u8>)>,
    pub(super) forms: [Form; N],
}

impl<'m, 'a> Layouts<'m, 'a> {
    pub(super) fn new(metadata: &'m Metadata<'a>) -> Self {
        Self { metadata, layouts: std::iter::repeat_with(|| None).take(metadata.class_count()).collect() }
    }

    /// Makes the layout of a class and of what it holds.
    pub(super) fn ensure(&mut self, class: u32) -> Result<(), Fault> {
        self.height(class, NESTING_MAX).map(drop)
    }

    /// Levels of a class, when there are at most `room`. Each class is looked into once.
    fn height(&mut self, class: u32, room: u32) -> Result<u32, Fault> {
        let nested = Fault::Nesting { limit: NESTING_MAX };
        if let Some(Some(layout)) = self.layouts.get(class as usize) {
            return if layout.height <= room { Ok(layout.height) } else { Err(nested) };
        }
        let room = room.checked_sub(1).ok_or(nested)?;
        let metadata = self.metadata;
        let (mut steps, mut height) = (Vec::new(), 1);
        if let Some(kind) = primitive(&metadata.class_name(class)) {
            steps.push(Step { kind, array: false, field: u32::MAX });
        } else {
            for (at, field) in (0..).zip(metadata.fields(class)) {
                let (kind, below) = self.kind(class, *field, room)?;
                height = height.max(below + 1);
                match kind {
                    Some(kind) => steps.push(Step { kind, array: field.array, field: at }),
                    // Of an array of nothing the count remains.
                    None if field.array => {
                        steps.push(Step { kind: Kind::Number(4), array: false, field: at })
                    }
                    None => {}
                }
            }
        }
        let all = steps.iter().all(|step| matches!(step.kind, Kind::Number(_)) && !step.array);
        let numbers = all.then_some(steps.len());
        self.layouts[class as usize] = Some(Layout { steps, height, numbers });
        Ok(height)
    }

    /// How a field is written (`None` = not at all), and the levels of its class.
    fn kind(&mut self, class: u32, field: Field, room: u32) -> Result<(Option<Kind>, u32), Fault> {
        if field.pooled {
            return Ok((Some(Kind::Number(8)), 0));
        }
        let Some(of) = self.metadata.class(field.class) else {
            return Err(Fault::FieldClass {
                class: self.metadata.class_name(class),
                field: self.metadata.field_name(field),
                id: field.class,
            });
        };
        if let Some(kind) = primitive(&self.metadata.class_name(of)) {
            return Ok((Some(kind), 0));
        }
        let height = self.height(of, room)?;
        let empty = matches!(self.layouts.get(of as usize), Some(Some(layout)) if layout.steps.is_empty());
        Ok((if empty { None } else { Some(Kind::Class(of)) }, height))
    }

    /// Goes past a value of a class; its layout must have been made.
    pub(super) fn skip(&self, cursor: &mut Cursor<'a>, class: u32) -> Result<(), Broken> {
        for step in self.steps(class) {
            self.skip_step(cursor, step)?;
        }
        Ok(())
    }

    fn steps(&self, class: u32) -> &[Step] {
        match self.layouts.get(class as usize) {
            Some(Some(layout)) => &layout.steps,
            _ => &[],
        }
    }

    fn skip_step(&self, cursor: &mut Cursor<'a>, step: &Step) -> Result<(), Broken> {
        let count = if step.array { cursor.count(1)? } else { 1 };
        match step.kind {
            Kind::Raw(bytes) => cursor.skip(count.saturating_mul(usize::from(bytes))),
            Kind::Number(width) => cursor.skip_numbers(width, count),
            Kind::Text => {
                for _ in 0..count {
                    cursor.text()?;
                }
                Ok(())
            }
            Kind::Class(class) => {
                // Compressed, the widths of integers do not matter.
                if let Some(Some(Layout { numbers: Some(each), .. })) = self.layouts.get(class as usize)
                    && cursor.compressed()
                {
                    return cursor.skip_numbers(8, count.saturating_mul(*each));
                }
                for _ in 0..count {
                    self.skip(cursor, class)?;
                }
                Ok(())
            }
        }
    }

    /// Where these fields stand in values of a class. Nothing is read beyond the last of them.
    pub(super) fn picks<const N: usize>(&mut self, class: u32, names: [&str; N]) -> Result<Picks<N>, Fault> {
        self.ensure(class)?;
        let fields = self.metadata.fields(class);
        let mut picks = Picks { steps: Vec::new(), forms: [Form::Absent; N] };
        let mut last = 0;
        for step in self.steps(class) {
            let field = fields.get(step.field as usize);
            let slot =
                field.and_then(|field| names.iter().position(|name| self.metadata.is_named(*field, name)));
            let form = match (field, step.kind, step.array) {
                (Some(field), Kind::Number(_), false) if field.pooled => Form::Key(field.class),
                (_, Kind::Number(_), false) => Form::Number,
                (_, Kind::Text, false) => Form::Text,
                (_, Kind::Class(class), true) => Form::Array(class),
                _ => Form::Absent,
            };
            let slot = slot.filter(|slot| form != Form::Absent && picks.forms[*slot] == Form::Absent);
            if let Some(slot) = slot {
                picks.forms[slot] = form;
                last = picks.steps.len() + 1;
            }
            picks.steps.push((*step, slot.map(|slot| slot as u8)));
        }
        picks.steps.truncate(last);
        Ok(picks)
    }

    /// The same for values that stand after one another: each is read to its end.
    pub(super) fn picks_whole<const N: usize>(
        &mut self,
        class: u32,
        names: [&str; N],
    ) -> Result<Picks<N>, Fault> {
        let mut picks = self.picks(class, names)?;
        let rest = self.steps(class).iter().skip(picks.steps.len()).map(|step| (*step, None));
        picks.steps.extend(rest);
        Ok(picks)
    }

    /// Reads the picked fields of a value: numbers as they are, of others the offset; 0 where there is none.
    pub(super) fn pick<const N: usize>(
        &self,
        cursor: &mut Cursor<'a>,
        picks: &Picks<N>,
    ) -> Result<[i64; N], Broken> {
        let mut out = [0; N];
        for (step, slot) in &picks.steps {
            match (slot, step.kind) {
                (None, _) => self.skip_step(cursor, step)?,
                (Some(slot), Kind::Number(width)) => out[usize::from(*slot)] = cursor.number(width)?,
                (Some(slot), _) => {
                    out[usize::from(*slot)] = cursor.at() as i64;
                    self.skip_step(cursor, step)?;
                }
            }
        }
        Ok(out)
    }
}

/// How the classes that have no fields are written.
fn primitive(name: &str) -> Option<Kind> {
    Some(match name {
        "boolean" | "byte" => Kind::Raw(1),
        "float" => Kind::Raw(4),
        "double" => Kind::Raw(8),
        "char" | "short" => Kind::Number(2),
        "int" => Kind::Number(4),
        "long" => Kind::Number(8),
        "java.lang.String" => Kind::Text,
        _ => return None,
    })
}
