//! Times as `/ingest` and `/pyroscope/render` take them (api-semantics §2.16). Never an error: what is odd is now.

use hearth_common::TimestampNs;

const NS_PER_SECOND: i64 = 1_000_000_000;

/// Parses a time. Only digits: a day `YYYYMMDD`, else Unix time whose unit follows from the number of digits. Otherwise
/// now, moved by what stands after the first `+` or `-`, such as `now-1h30m`.
pub fn parse(text: &str, now: TimestampNs) -> TimestampNs {
    let text: String = text.trim().chars().filter(|c| !matches!(c, '_' | ',' | ' ')).collect();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return day(&text).unwrap_or_else(|| unix(&text));
    }
    let moved =
        ['+', '-'].into_iter().find_map(|sign| text.split_once(sign).map(|(_, offset)| (sign, offset)));
    let Some((sign, offset)) = moved else { return now };
    let offset_ns = offset_ns(offset);
    TimestampNs(if sign == '+' { now.0.saturating_add(offset_ns) } else { now.0.saturating_sub(offset_ns) })
}

fn unix(digits: &str) -> TimestampNs {
    let unit_ns = match digits.len() {
        13 => 1_000_000,
        16 => 1000,
        19 => 1,
        _ => NS_PER_SECOND,
    };
    TimestampNs(digits.parse::<i64>().unwrap_or(i64::MAX).saturating_mul(unit_ns))
}

/// UTC midnight of `YYYYMMDD`, if the digits are a date after 1900.
fn day(digits: &str) -> Option<TimestampNs> {
    if digits.len() != 8 {
        return None;
    }
    let (year, month, day): (i64, i64, i64) =
        (digits[..4].parse().ok()?, digits[4..6].parse().ok()?, digits[6..].parse().ok()?);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let longest = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if year <= 1900 || !(1..=longest).contains(&day) {
        return None;
    }
    // Days from the civil calendar: years counted from March, eras of 400 years (Hinnant, "chrono-compatible dates").
    let years = year - i64::from(month <= 2);
    let era = years.div_euclid(400);
    let of_era = years.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    days.checked_mul(86_400 * NS_PER_SECOND).map(TimestampNs)
}

fn offset_ns(text: &str) -> i64 {
    let mut total = 0i64;
    let mut rest = text.trim_start_matches(['+', '-']);
    while let Some(digits) = rest.find(|c: char| !c.is_ascii_digit()) {
        let number: i64 = rest[..digits].parse().unwrap_or(0);
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match rest[..unit_end].trim_end_matches(['+', '-']) {
            unit if unit.starts_with('s') => 1,
            unit if unit.starts_with("mon") || unit.starts_with('M') => 30 * 86_400,
            unit if unit.starts_with('m') => 60,
            unit if unit.starts_with('h') => 3600,
            unit if unit.starts_with('d') => 86_400,
            unit if unit.starts_with('w') => 7 * 86_400,
            unit if unit.starts_with('y') => 365 * 86_400,
            _ => 0,
        };
        total = total.saturating_add(number.saturating_mul(seconds).saturating_mul(NS_PER_SECOND));
        rest = &rest[unit_end..];
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_of_the_reference() {
        let now = TimestampNs(1_700_000_000 * NS_PER_SECOND);
        let second = |s: i64| TimestampNs(s * NS_PER_SECOND);
        for (text, want) in [
            ("now", now),
            ("now-1h", second(1_700_000_000 - 3600)),
            ("now+1m30s", second(1_700_000_000 + 90)),
            ("now-2d", second(1_700_000_000 - 2 * 86_400)),
            ("now-1mon", second(1_700_000_000 - 30 * 86_400)),
            ("midnight-1h", second(1_700_000_000 - 3600)),
            ("1h", now),
            ("", now),
            ("20231114", second(1_699_920_000)),
            ("20240229", second(1_709_164_800)),
            ("20230229", second(20_230_229)),
            ("1700000000", now),
            ("1700000000000", now),
            ("1700000000000000", now),
            ("1700000000000000000", now),
            ("1_700_000_000", now),
        ] {
            assert_eq!(parse(text, now), want, "{text}");
        }
    }
}
