//! Instants as people write them on a command line.

use anyhow::{Context, Result, bail};
use hearth_common::units::GoDuration;

/// Unix seconds below this are seconds, above milliseconds: 1e11 s is the year 5138, 1e11 ms is 1973.
const SECONDS_MAX: i64 = 100_000_000_000;

/// A range in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
}

impl Range {
    /// Parses both ends against the present.
    pub(crate) fn parse(from: &str, to: &str, now_ms: i64) -> Result<Self> {
        let start_ms = instant_ms(from, now_ms).with_context(|| format!("--from {from}"))?;
        let end_ms = instant_ms(to, now_ms).with_context(|| format!("--to {to}"))?;
        if start_ms >= end_ms {
            bail!("--from {from} is not before --to {to}");
        }
        Ok(Self { start_ms, end_ms })
    }
}

/// An instant, in milliseconds since the epoch.
pub(crate) fn instant_ms(text: &str, now_ms: i64) -> Result<i64> {
    if text == "now" {
        return Ok(now_ms);
    }
    if let Ok(number) = text.parse::<i64>() {
        return Ok(if number.abs() < SECONDS_MAX { number * 1000 } else { number });
    }
    let age = text.strip_prefix("now-").unwrap_or(text);
    if let Ok(age) = GoDuration::parse(age) {
        return Ok(now_ms - age.as_ns() / 1_000_000);
    }
    date_ms(text)
        .context("write an age (1h, 30m), now-1h, 2026-01-31T12:00:00Z, or Unix seconds or milliseconds")
}

/// `2026-01-31`, `2026-01-31T12:00`, `2026-01-31T12:00:00Z`, all UTC.
fn date_ms(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute) = (time.next()??, time.next()??);
    let second = time.next().unwrap_or(Some(0))?;
    let fits = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !fits || !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..60).contains(&second) {
        return None;
    }
    Some(((days_from_epoch(year, month, day) * 24 + hour) * 60 + minute) * 60_000 + second * 1000)
}

/// Days between 1970-01-01 and a date of the Gregorian calendar; March is taken as the year's first month, so that the
/// leap day is its last.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

/// A day, counted from 1970-01-01, as `2026-01-31`.
pub(crate) fn date(day: i32) -> String {
    let days = i64::from(day) + 719_468;
    // Eras of 400 years, which all have equally many days.
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{:02}", of_year - (153 * march_month + 2) / 5 + 1)
}

/// An instant as `2026-01-31T12:00:00Z`.
pub(crate) fn moment(ms: i64) -> String {
    let secs = ms.div_euclid(1000);
    let (day, of_day) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", date(i32::try_from(day).unwrap_or(i32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_printed_as_they_are_read() {
        for day in (-1000..60_000).chain([365 * 8000]) {
            let text = date(day);
            if day >= 0 {
                assert_eq!(date_ms(&text), Some(i64::from(day) * 86_400_000), "{text}");
            }
        }
        assert_eq!((date(0), date(-1)), ("1970-01-01".to_owned(), "1969-12-31".to_owned()));
    }

    #[test]
    fn instants_are_read_in_all_notations() {
        let now_ms = 1_767_225_600_123;
        for (text, want) in [
            ("now", now_ms),
            ("1h", now_ms - 3_600_000),
            ("now-1h30m", now_ms - 5_400_000),
            ("1767225600", 1_767_225_600_000),
            ("1767225600123", now_ms),
            ("2026-01-01", 1_767_225_600_000),
            ("2024-02-29T12:30", 1_709_209_800_000),
            ("2024-03-01T00:00:01Z", 1_709_251_201_000),
            ("1970-01-01", 0),
        ] {
            assert_eq!(instant_ms(text, now_ms).expect(text), want, "{text}");
        }
        for bad in ["", "yesterday", "2026-13-01", "2026-01-01T25:00", "1x"] {
            assert!(instant_ms(bad, now_ms).is_err(), "{bad}");
        }
        assert!(Range::parse("now", "1h", now_ms).is_err());
    }
}
