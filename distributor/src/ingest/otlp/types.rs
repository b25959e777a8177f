//! What the values of a profile are: its name, its sample types, and what values are multiplied by.

use hearth_formats::otlp::{Otlp, Tables, Text, ValueType};

use super::{Siblings, WrongTypes, text, utf8};
use crate::reject::Reason;

/// A sample type as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column<'o> {
    /// Type.
    pub(super) ty: &'o str,
    /// Unit.
    pub(super) unit: &'o str,
    /// What values are multiplied by.
    pub(super) scale: i64,
    /// Whether a value counts samples as sent, so that it is at least the number of its timestamps.
    pub(super) counts: bool,
}

/// The types of a profile, or of siblings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Types<'o> {
    /// The profile's `__name__`.
    pub(super) name: &'o str,
    /// Its sample types.
    pub(super) columns: Vec<Column<'o>>,
    /// Its period type and unit.
    pub(super) period: Option<(&'o str, &'o str)>,
}

/// Longest type or unit.
pub(super) const TYPE_BYTES_MAX: usize = 4 << 10;

/// CPU time.
pub(super) const CPU: (&str, &str) = ("cpu", "nanoseconds");
const OFF_CPU: (&str, &str) = ("off_cpu", "nanoseconds");
const SAMPLES: (&str, &str) = ("samples", "count");

impl<'o> Types<'o> {
    /// Counts of samples with a period of CPU time become CPU time; a profile is otherwise named by its period type. Without one
    /// its series would have no name, and is refused for the reason that such a series is.
    pub(super) fn new(otlp: &'o Otlp<'o>, siblings: Siblings) -> Result<Self, WrongTypes> {
        let profile = &otlp.profiles[siblings.first as usize];
        let tables = &otlp.tables[profile.tables as usize];
        let mut types = Vec::new();
        for sibling in &otlp.profiles[siblings.range()] {
            for ty in &otlp.sample_types[sibling.sample_types.range()] {
                types.push(pair(otlp, tables, *ty, "sample type")?);
            }
        }
        let Some(first) = types.first().copied() else {
            return Err("it has no sample type".to_owned().into());
        };
        let period = match profile.period_type {
            Some(ty) => Some(pair(otlp, tables, ty, "period type")?).filter(|(ty, _)| !ty.is_empty()),
            None => None,
        };
        let name = match period {
            Some(CPU) if types.contains(&SAMPLES) || types.contains(&CPU) => "process_cpu",
            Some((name, _)) => name,
            None if first == OFF_CPU => OFF_CPU.0,
            None => {
                let (ty, unit) = first;
                let what = format!(
                    "its sample type is '{ty}:{unit}' and it has no period type, which gives a profile its name: set \
                     period_type (only 'off_cpu:nanoseconds' needs none)"
                );
                return Err(WrongTypes { reason: Reason::InvalidLabels, what });
            }
        };
        // Where CPU time is there already, or nobody knows how much a sample is worth, counts stay counts.
        let timed = period == Some(CPU) && profile.period > 0 && !siblings.has_cpu && !types.contains(&CPU);
        let column = |(ty, unit)| {
            let counts = (ty, unit) == SAMPLES;
            match counts && timed {
                true => Column { ty: CPU.0, unit: CPU.1, scale: profile.period, counts },
                false => Column { ty, unit, scale: 1, counts },
            }
        };
        Ok(Self { name, columns: types.into_iter().map(column).collect(), period })
    }
}

fn pair<'o>(
    otlp: &Otlp<'o>,
    tables: &Tables,
    value_type: ValueType,
    what: &str,
) -> Result<(&'o str, &'o str), String> {
    let ty = text(otlp, tables, Text::Index(value_type.ty), format_args!("string index of the {what}"))?;
    let unit =
        text(otlp, tables, Text::Index(value_type.unit), format_args!("string index of the {what}'s unit"))?;
    for text in [ty, unit] {
        // Each profile names its types anew, and all of them may name one long text.
        if text.len() > TYPE_BYTES_MAX {
            let length = text.len();
            return Err(format!("the {what} has {length} bytes, more than {TYPE_BYTES_MAX}: shorten it"));
        }
    }
    Ok((utf8(ty, what)?, utf8(unit, what)?))
}
