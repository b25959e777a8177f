//! Times as the older HTTP endpoints take them (api-semantics §2.16): digits are instants, all else is relative to now.

use hearth_common::TimestampNs;

const MS_PER_SECOND: i64 = 1000;
const MS_PER_DAY: i64 = 86_400_000;

/// Reads a time, in milliseconds. Never fails: what is not understood is now, as the reference has it.
pub fn parse_ms(text: &str, now: TimestampNs) -> i64 {
    let text: String = text.trim().chars().filter(|c| !matches!(c, '_' | ',' | ' ')).collect();
    let now_ms = now.as_ms();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return digits_ms(&text).unwrap_or(now_ms);
    }
    let Some(at) = text.find('+').or_else(|| text.find('-')) else { return now_ms };
    let sign = if text.as_bytes()[at] == b'+' { 1 } else { -1 };
    now_ms.saturating_add(offset_ms(&text[at + 1..]).saturating_mul(sign))
}

fn digits_ms(text: &str) -> Option<i64> {
    if text.len() == 8
        && let Some(ms) = date_ms(text)
    {
        return Some(ms);
    }
    let number: i64 = text.parse().ok()?;
    Some(match text.len() {
        13 => number,
        16 => number / 1000,
        19 => number / 1_000_000,
        _ => number.saturating_mul(MS_PER_SECOND),
    })
}

/// `YYYYMMDD`, midnight UTC, after 1900.
fn date_ms(text: &str) -> Option<i64> {
    let part = |range: std::ops::Range<usize>| text[range].parse::<i64>().ok();
    let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of = |month: i64| match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if year <= 1900 || !(1..=12).contains(&month) || day < 1 || day > days_of(month) {
        return None;
    }
    // Days since 1970 by the civil calendar.
    let before = |year: i64| year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = before(year - 1) - before(1969) + (1..month).map(days_of).sum::<i64>() + day - 1;
    Some(days * MS_PER_DAY)
}

/// A list of `<number><unit>`.
fn offset_ms(text: &str) -> i64 {
    let mut total: i64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let Ok(number) = rest[..digits].parse::<i64>() else { return total };
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total = total.saturating_add(number.saturating_mul(unit_ms(&rest[..unit])));
        rest = &rest[unit..];
    }
    total
}

fn unit_ms(unit: &str) -> i64 {
    match unit {
        u if u.starts_with('s') => MS_PER_SECOND,
        u if u.starts_with("mon") || u.starts_with('M') => 30 * MS_PER_DAY,
        u if u.starts_with('m') => 60 * MS_PER_SECOND,
        u if u.starts_with('h') => 3600 * MS_PER_SECOND,
        u if u.starts_with('d') => MS_PER_DAY,
        u if u.starts_with('w') => 7 * MS_PER_DAY,
        u if u.starts_with('y') => 365 * MS_PER_DAY,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_dates_and_offsets() {
        let now = TimestampNs::from_ms(1_700_000_000_123);
        for (text, want) in [
            ("1700000000", 1_700_000_000_000),
            ("1700000000456", 1_700_000_000_456),
            ("1700000000456789", 1_700_000_000_456),
            ("1700000000456789012", 1_700_000_000_456),
            ("20231115", 1_700_006_400_000),
            ("20240229", 1_709_164_800_000),
            ("20230229", 20_230_229_000),
            ("now", now.as_ms()),
            ("", now.as_ms()),
            ("now-1h", now.as_ms() - 3_600_000),
            ("now-1h30m", now.as_ms() - 5_400_000),
            (" now - 2_0 s ", now.as_ms() - 20_000),
            ("+1mon", now.as_ms() + 30 * MS_PER_DAY),
            ("midnight-1d", now.as_ms() - MS_PER_DAY),
            ("1h", now.as_ms()),
            ("now-5x", now.as_ms()),
            ("99999999999999999999999", now.as_ms()),
        ] {
            assert_eq!(parse_ms(text, now), want, "{text}");
        }
    }
}
