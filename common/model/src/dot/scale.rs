//! Values and shares as pprof writes them: in the unit that fits, with as many digits as tell something.

/// A unit of a kind of values.
struct Unit {
    suffix: &'static str,
    /// What profiles call it, in lower case and without the s at its end.
    names: &'static [&'static str],
    /// In the smallest unit of its kind.
    size: f64,
}

/// Units of one kind, smallest first, and which of them a value takes that is too small for any.
type Kind = (&'static [Unit], usize);

const fn unit(suffix: &'static str, names: &'static [&'static str], size: f64) -> Unit {
    Unit { suffix, names, size }
}

const BYTES: Kind = (
    &[
        unit("B", &["b", "byte"], 1.0),
        unit("kB", &["kb", "kbyte", "kilobyte"], 1024.0),
        unit("MB", &["mb", "mbyte", "megabyte"], 1_048_576.0),
        unit("GB", &["gb", "gbyte", "gigabyte"], 1_073_741_824.0),
        unit("TB", &["tb", "tbyte", "terabyte"], 1_099_511_627_776.0),
        unit("PB", &["pb", "pbyte", "petabyte"], 1_125_899_906_842_624.0),
    ],
    0,
);
const TIMES: Kind = (
    &[
        unit("ns", &["ns", "nanosecond"], 1.0),
        unit("us", &["us", "μs", "microsecond"], 1e3),
        unit("ms", &["ms", "millisecond"], 1e6),
        unit("s", &["s", "sec", "second"], 1e9),
        unit("hrs", &["hr", "hour"], 3.6e12),
    ],
    3,
);
/// Units that say nothing beside the type.
const UNSAID: [&str; 5] = ["count", "sample", "unit", "minimum", "auto"];

/// The kind of a profile's unit, and the size of that unit.
fn kind_of(name: &str) -> Option<(Kind, f64)> {
    let name = name.to_lowercase();
    let name = name.as_str();
    let singular = if name.len() > 2 { name.strip_suffix('s').unwrap_or(name) } else { name };
    [BYTES, TIMES].into_iter().find_map(|kind| {
        let known = kind.0.iter().find(|unit| unit.names.contains(&singular))?;
        Some((kind, known.size))
    })
}

/// The largest unit of which a value has one.
fn fitting((units, for_less): Kind, value: f64) -> &'static Unit {
    units.iter().rev().find(|unit| value >= unit.size).unwrap_or(&units[for_less])
}

/// Writes values of one unit in another.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    /// Values that make one of it.
    per_unit: f64,
    suffix: String,
}

impl Scale {
    /// The unit that fits the least value, or, if others are much larger, two digits behind the point of it.
    pub(super) fn of(unit: &str, least: i64, largest: i64) -> Self {
        let Some((kind, size)) = kind_of(unit) else {
            let suffix = unit.to_lowercase();
            let suffix = if UNSAID.contains(&suffix.as_str()) { String::new() } else { suffix };
            return Self { per_unit: 1.0, suffix };
        };
        let fitting = |value: f64| fitting(kind, value * size);
        let (least, largest) = (least as f64, largest as f64);
        let chosen = match fitting(least).suffix != fitting(largest).suffix && least * 100.0 < largest {
            true => fitting(least * 100.0),
            false => fitting(least),
        };
        Self { per_unit: chosen.size / size, suffix: chosen.suffix.to_owned() }
    }

    pub(super) fn write(&self, value: i64) -> String {
        let text = format!("{:.2}", value as f64 / self.per_unit);
        match text.strip_suffix(".00").unwrap_or(&text) {
            "0" | "-0" => "0".to_owned(),
            text => format!("{text}{}", self.suffix),
        }
    }
}

/// A value of a time, in nanoseconds; none for other units.
pub(super) fn nanoseconds(value: i64, unit: &str) -> Option<f64> {
    let ((units, _), size) = kind_of(unit)?;
    (units[0].suffix == "ns").then_some(value as f64 * size)
}

/// `12.34%`; below one, two digits that are no zeros before others.
pub(super) fn percentage(value: f64, total: f64) -> String {
    let ratio = if total == 0.0 { 0.0 } else { (value / total).abs() * 100.0 };
    if (99.95..=100.05).contains(&ratio) {
        "100%".to_owned()
    } else if ratio >= 1.0 {
        format!("{ratio:.2}%")
    } else {
        format!("{}%", two_digits(ratio))
    }
}

/// As C's `%.2g` for numbers below 1.
fn two_digits(number: f64) -> String {
    let rounded = format!("{number:.1e}");
    let (digits, exponent) = rounded.split_once('e').unwrap_or((rounded.as_str(), "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 {
        return format!("{}e-{:02}", trimmed(digits), exponent.unsigned_abs());
    }
    let decimals = usize::try_from(1 - exponent).unwrap_or_default();
    trimmed(&format!("{number:.decimals$}"))
}

/// How many of `parts` a value takes, at most all of them.
pub(super) fn share_of(value: i64, total: i64, parts: i64) -> i64 {
    let share = i128::from(value) * i128::from(parts) / i128::from(total.max(1));
    i64::try_from(share).unwrap_or(parts).min(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_the_unit_that_fits() {
        for (unit, least, largest, value, want) in [
            ("nanoseconds", 10_000_000, 90_000_000, 15_000_000, "15ms"),
            ("nanoseconds", 10_000_000, 90_000_000_000, 1_560_000_000, "1.56s"),
            ("nanoseconds", 5_000_000_000, 9_000_000_000_000, 5_000_000_000, "5s"),
            ("milliseconds", 1500, 1500, 1500, "1.50s"),
            ("bytes", 524_288, 1 << 30, 524_288, "0.50MB"),
            ("Bytes", 512, 512, 512, "512B"),
            ("count", 3, 7, 5, "5"),
            ("goroutines", 3, 7, 5, "5goroutines"),
            ("", 3, 7, 5, "5"),
            ("nanoseconds", 0, 0, 0, "0"),
        ] {
            assert_eq!(Scale::of(unit, least, largest).write(value), want, "{unit} {value}");
        }
        assert_eq!(
            (nanoseconds(2, "ms"), nanoseconds(2, "bytes"), nanoseconds(2, "count")),
            (Some(2e6), None, None)
        );
    }

    #[test]
    fn shares() {
        for (value, want) in [
            (100.0, "100%"),
            (99.96, "100%"),
            (99.0, "99.00%"),
            (1.0, "1.00%"),
            (0.9, "0.9%"),
            (0.999, "1%"),
            (0.123, "0.12%"),
            (0.09, "0.09%"),
            (0.00912, "0.0091%"),
            (0.0001, "0.0001%"),
            (0.000_016_66, "1.7e-05%"),
            (0.000_01, "1e-05%"),
            (0.0, "0%"),
        ] {
            assert_eq!(percentage(value, 100.0), want);
        }
        assert_eq!(percentage(5.0, 0.0), "0%");
        assert_eq!((share_of(6, 10, 100), share_of(6, 10, 5), share_of(i64::MAX, 1, 5)), (60, 3, 5));
    }
}
