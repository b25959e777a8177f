//! Whole numbers as files have them: what makes YAML of other formats, such as Helm, writes a million as `1e+06`. Must not know:
//! keys, files.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// The largest whole number up to which floats have all of them.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Reads a whole number, be it written as a float or within quotes. What has a fraction or does not fit its type is an error.
pub(super) fn read<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: TryFrom<i128>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(Whole(PhantomData))
}

struct Whole<T>(PhantomData<T>);

impl<T: TryFrom<i128>> Visitor<'_> for Whole<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        fitting(i128::from(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        fitting(i128::from(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        // What is no number at all has no fraction of 0 either.
        if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
            return fitting(number as i128);
        }
        Err(E::custom(format_args!("{number} is no whole number: write one without a fraction, below 2^53")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        match text.trim().parse() {
            Ok(number) => fitting(number),
            Err(_) => Err(E::custom(format_args!("'{text}' is no whole number: write digits alone"))),
        }
    }
}

fn fitting<T: TryFrom<i128>, E: Error>(number: i128) -> Result<T, E> {
    T::try_from(number).map_err(|_| match number < 0 {
        true => E::custom(format_args!("{number} is below 0: write a whole number, 0 or more")),
        false => E::custom(format_args!("{number} is more than this key can hold: write a smaller number")),
    })
}

#[cfg(test)]
mod tests {
    use crate::TenantLimits;

    #[test]
    fn floats_and_texts_that_are_whole_are_taken() {
        let read = |value: &str| {
            let text = format!(r#"{{"max_profile_size_bytes": {value}}}"#);
            let limits: Result<TenantLimits, serde_json::Error> = serde_json::from_str(&text);
            limits.map(|limits| limits.max_profile_size_bytes).map_err(|error| error.to_string())
        };
        for (value, want) in
            [("7", 7), ("1e+06", 1_000_000), ("4.194304e+06", 4_194_304), ("5.0", 5), ("\"8\"", 8)]
        {
            assert_eq!(read(value), Ok(want), "{value}");
        }
        for (value, said) in [
            ("1.5", "1.5 is no whole number"),
            ("1e300", "is no whole number"),
            ("-1", "-1 is below 0: write a whole number, 0 or more"),
            ("\"many\"", "'many' is no whole number"),
            ("true", "expected a whole number"),
        ] {
            let error = read(value).expect_err(value);
            assert!(error.contains(said), "{value}: {error}");
        }
        let signed: TenantLimits =
            serde_json::from_str(r#"{"max_flamegraph_nodes_max": -1, "max_sessions_per_series": 3e0}"#)
                .expect("whole");
        assert_eq!((signed.max_flamegraph_nodes_max, signed.max_sessions_per_series), (-1, 3));
        let large = serde_json::from_str::<TenantLimits>(r#"{"max_sessions_per_series": 4294967296}"#);
        assert!(large.expect_err("32 bits").to_string().contains("more than this key can hold"));
    }
}
