//! Durations and sizes as people write them: `1h30m`, `4.2 MB`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration in Go's and Prometheus' notation (`1h30m`, `500ms`, `7d`); `0` needs no unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GoDuration(pub Duration);

impl GoDuration {
    /// A whole number of seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// Nanoseconds, saturating.
    pub fn as_ns(self) -> i64 {
        i64::try_from(self.0.as_nanos()).unwrap_or(i64::MAX)
    }

    /// Whether the duration is zero, which switches most limits off.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// Parses `1h30m`, `1.5h`, `7d`, `2w`, `1y`, `0`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad =
            || format!("'{text}' is not a duration: write a number and a unit, such as 90s, 1h30m or 7d");
        if text == "0" {
            return Ok(Self::default());
        }
        let mut rest = text;
        let mut total_ns = 0f64;
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(bad)?;
            let number: f64 = rest[..digits].parse().map_err(|_| bad())?;
            rest = &rest[digits..];
            let unit_len = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
            let unit_ns = match &rest[..unit_len] {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                "d" => 86_400e9,
                "w" => 7.0 * 86_400e9,
                "y" => 365.0 * 86_400e9,
                _ => return Err(bad()),
            };
            total_ns += number * unit_ns;
            rest = &rest[unit_len..];
        }
        if !(0.0..=i64::MAX as f64).contains(&total_ns) {
            return Err(bad());
        }
        Ok(Self(Duration::from_nanos(total_ns as u64)))
    }

    /// Go's `time.Duration.String()`: `24h0m0s`, `1.5s`, `20ms`.
    pub fn to_go_string(self) -> String {
        let ns = self.0.as_nanos();
        if ns == 0 {
            return "0s".to_owned();
        }
        let trim = |value: f64, unit: &str| {
            let mut text = format!("{value:.9}");
            while text.ends_with('0') {
                text.pop();
            }
            format!("{}{unit}", text.trim_end_matches('.'))
        };
        match ns {
            0..1_000 => format!("{ns}ns"),
            1_000..1_000_000 => trim(ns as f64 / 1e3, "µs"),
            1_000_000..1_000_000_000 => trim(ns as f64 / 1e6, "ms"),
            _ => {
                let secs = ns / 1_000_000_000;
                let (hours, minutes) = (secs / 3600, secs / 60 % 60);
                let seconds = trim((secs % 60) as f64 + (ns % 1_000_000_000) as f64 / 1e9, "s");
                match (hours, minutes) {
                    (0, 0) => seconds,
                    (0, m) => format!("{m}m{seconds}"),
                    (h, m) => format!("{h}h{m}m{seconds}"),
                }
            }
        }
    }
}

/// Prometheus' notation: the largest units that divide, `1d`, `1h30m`.
impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ms = self.0.as_millis();
        if ms == 0 {
            return f.write_str("0s");
        }
        let units: [(&str, u128, bool); 7] = [
            ("y", 365 * 86_400_000, true),
            ("w", 7 * 86_400_000, true),
            ("d", 86_400_000, false),
            ("h", 3_600_000, false),
            ("m", 60_000, false),
            ("s", 1000, false),
            ("ms", 1, false),
        ];
        for (unit, unit_ms, only_exact) in units {
            if only_exact && !ms.is_multiple_of(unit_ms) {
                continue;
            }
            let count = ms / unit_ms;
            if count > 0 {
                write!(f, "{count}{unit}")?;
                ms -= count * unit_ms;
            }
        }
        Ok(())
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = GoDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 90s, 1h30m, 7d or 0")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<GoDuration, E> {
                GoDuration::parse(text).map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<GoDuration, E> {
                GoDuration::parse(&value.to_string()).map_err(E::custom)
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<GoDuration, E> {
                GoDuration::parse(&value.to_string()).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// `4.2 MB`: powers of 1000, one decimal below 10, as the reference prints sizes in error texts.
pub fn si_bytes(bytes: u64) -> String {
    humanise(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"])
}

/// `4.0 MiB`: powers of 1024, one decimal below 10.
pub fn iec_bytes(bytes: u64) -> String {
    humanise(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

fn humanise(bytes: u64, base: f64, units: &[&str]) -> String {
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let rounded = (value * 10.0 + 0.5).floor() / 10.0;
    if rounded < 10.0 {
        format!("{rounded:.1} {}", units[unit])
    } else {
        format!("{rounded:.0} {}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print_as_go_and_prometheus_do() {
        let d = GoDuration::parse("1h30m").expect("valid");
        assert_eq!((d.to_string().as_str(), d.to_go_string().as_str()), ("1h30m", "1h30m0s"));
        assert_eq!(GoDuration::parse("24h").expect("valid").to_string(), "1d");
        assert_eq!(GoDuration::parse("1.5s").expect("valid").to_go_string(), "1.5s");
        assert_eq!(GoDuration::parse("0").expect("valid").to_string(), "0s");
        for bad in ["", "5", "h", "1x", "-1s", "1h5"] {
            assert!(GoDuration::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_print_as_the_reference_prints_them() {
        assert_eq!(si_bytes(4_194_304), "4.2 MB");
        assert_eq!(si_bytes(268_435_456), "268 MB");
        assert_eq!(iec_bytes(4 << 20), "4.0 MiB");
    }
}
