//! Whether a profile can be taken at all: the checks of api-semantics §3.4, in their order and with their texts.
//!
//! Truncates deep stacks and long strings, which is not an error. Must not know: repair, splitting, storage.

use hearth_common::limits::raise;
use hearth_common::{TenantLimits, TimestampNs};
use hearth_formats::pprof::Pprof;
use hearth_formats::record::SAMPLE_TYPES_MAX;

use crate::labels::{self, Label};
use crate::reject::{Reason, Rejected};

/// What can be written to a block, whatever the limits of a tenant say: one element of its index has at most 1 MiB
/// (docs/formats/block.md), and a depth has 16 bits, of which repairs of Go's stacks may need some. Frames of a stack …
const FRAMES_MAX: u32 = 1 << 15;
/// … bytes of a text …
pub(crate) const TEXT_BYTES_MAX: usize = 512 << 10;
/// … and lines of a location, which functions that were inlined make.
const LINES_MAX: u32 = 1 << 14;

/// Checks a profile of `size_bytes` and truncates what is too long; returns its time, `now` when it has none.
pub(crate) fn profile(
    pprof: &mut Pprof<'_>,
    size_bytes: usize,
    series: &[Label<'_>],
    limits: &TenantLimits,
    now: TimestampNs,
) -> Result<TimestampNs, Rejected> {
    if pprof.sample_types.is_empty() {
        return Err(Rejected::malformed("empty profile"));
    }
    sample_types(pprof)?;
    let time = window(pprof.time_ns, series, limits, now)?;
    sizes(pprof, size_bytes, series, limits)?;
    truncate(pprof, limits);
    ids(pprof)?;
    strings(pprof)?;
    Ok(time)
}

/// What is done for each sample type may take as long as its name, which many may share.
pub(crate) fn sample_types(pprof: &Pprof<'_>) -> Result<(), Rejected> {
    match pprof.sample_types.len() {
        count if count > SAMPLE_TYPES_MAX => Err(Rejected::malformed(format!(
            "the profile has {count} sample types, more than the {SAMPLE_TYPES_MAX} that a profile may have: send several"
        ))),
        _ => Ok(()),
    }
}

/// Both bounds are strict and compared in milliseconds; 0 switches a bound off.
fn window(
    time_ns: i64,
    series: &[Label<'_>],
    limits: &TenantLimits,
    now: TimestampNs,
) -> Result<TimestampNs, Rejected> {
    if time_ns <= 0 {
        return Ok(now);
    }
    let time = TimestampNs(time_ns);
    let (older, newer) = (limits.reject_older_than, limits.reject_newer_than);
    let start = (!older.is_zero()).then(|| TimestampNs(now.0.saturating_sub(older.as_ns())));
    let end = (!newer.is_zero()).then(|| TimestampNs(now.0.saturating_add(newer.as_ns())));
    let inside = start.is_none_or(|start| time.as_ms() > start.as_ms())
        && end.is_none_or(|end| time.as_ms() < end.as_ms());
    if inside {
        return Ok(time);
    }
    let bounds = match (start, end) {
        (Some(start), Some(end)) => format!("starts at {} and ends at {}", date(start), date(end)),
        (Some(start), None) => format!("starts at {}", date(start)),
        (_, end) => format!("ends at {}", date(end.unwrap_or(now))),
    };
    let too_old = start.is_some_and(|start| time.as_ms() <= start.as_ms());
    let message = format!(
        "profile with labels '{}' is outside of ingestion window (profile timestamp: {}, the ingestion window {bounds}){}",
        labels::text(series),
        date(time),
        raise(if too_old { "reject_older_than" } else { "reject_newer_than" })
    );
    Err(Rejected::invalid(Reason::NotInIngestionWindow, message))
}

fn sizes(
    pprof: &Pprof<'_>,
    size_bytes: usize,
    series: &[Label<'_>],
    limits: &TenantLimits,
) -> Result<(), Rejected> {
    let refuse = |reason, what: &str, (which, key): (&str, &str), actual: usize, limit: usize| {
        Err(Rejected::invalid(
            reason,
            format!(
                "the profile with labels '{}' exceeds the {what} ({which}, actual: {actual}, limit: {limit}){}",
                labels::text(series),
                raise(key)
            ),
        ))
    };
    let limit = limits.max_profile_size_bytes;
    if limit != 0 && size_bytes > limit {
        // Without the s, as the reference writes it.
        let which = ("max_profile_size_byte", "max_profile_size_bytes");
        return refuse(Reason::ProfileSizeLimit, "size limit", which, size_bytes, limit);
    }
    let (samples, limit) = (pprof.samples.len(), limits.max_profile_stacktrace_samples);
    if limit != 0 && samples > limit {
        let which = ("max_profile_stacktrace_samples", "max_profile_stacktrace_samples");
        return refuse(Reason::SamplesLimit, "samples count limit", which, samples, limit);
    }
    let limit = limits.max_profile_stacktrace_sample_labels;
    let most = pprof.samples.iter().map(|sample| sample.label_count as usize).max().unwrap_or(0);
    if limit != 0 && most > limit {
        let which = ("max_profile_stacktrace_sample_labels", "max_profile_stacktrace_sample_labels");
        return refuse(Reason::SampleLabelsLimit, "sample labels limit", which, most, limit);
    }
    Ok(())
}

/// Deep stacks lose their leaf side, long strings their head.
fn truncate(pprof: &mut Pprof<'_>, limits: &TenantLimits) {
    let depth = match limits.max_profile_stacktrace_depth {
        0 => FRAMES_MAX,
        depth => u32::try_from(depth).unwrap_or(u32::MAX).min(FRAMES_MAX),
    };
    for sample in &mut pprof.samples {
        if sample.location_count > depth {
            sample.first_location += sample.location_count - depth;
            sample.location_count = depth;
        }
    }
    let length = match limits.max_profile_symbol_value_length {
        0 => TEXT_BYTES_MAX,
        length => length.min(TEXT_BYTES_MAX),
    };
    for text in &mut pprof.strings {
        if text.len() > length {
            *text = &text[text.len() - length..];
        }
    }
}

fn ids(pprof: &Pprof<'_>) -> Result<(), Rejected> {
    if pprof.locations.iter().any(|location| location.id == 0) {
        return Err(Rejected::malformed("location id is 0"));
    }
    if pprof.functions.iter().any(|function| function.id == 0) {
        return Err(Rejected::malformed("function id is 0"));
    }
    if let Some(location) = pprof.locations.iter().find(|location| location.line_count > LINES_MAX) {
        return Err(Rejected::malformed(format!(
            "location {} has {} lines, more than the {LINES_MAX} that one may have",
            location.id, location.line_count
        )));
    }
    let types = pprof.sample_types.len();
    if pprof.samples.iter().any(|sample| sample.value_count as usize != types) {
        return Err(Rejected::malformed("sample value length mismatch"));
    }
    Ok(())
}

/// Indices of the string table, then the texts. Negative indices are mended later, as in the reference.
fn strings(pprof: &Pprof<'_>) -> Result<(), Rejected> {
    if pprof.strings.first().is_none_or(|first| !first.is_empty()) {
        return Err(Rejected::malformed("string 0 should be empty string"));
    }
    let count = pprof.strings.len() as i64;
    let outside = |index: i64| index >= count;
    let refuse = |what: &str| Err(Rejected::malformed(format!("{what} string index out of range")));
    if pprof.sample_types.iter().any(|ty| outside(ty.ty)) {
        return refuse("sample type type");
    }
    if pprof.labels.iter().any(|label| outside(label.str)) {
        return refuse("sample label string");
    }
    if pprof.labels.iter().any(|label| outside(label.key)) {
        return refuse("sample label key");
    }
    if pprof.functions.iter().any(|function| outside(function.name)) {
        return refuse("function name");
    }
    if pprof.functions.iter().any(|function| outside(function.system_name)) {
        return refuse("function system name");
    }
    if pprof.functions.iter().any(|function| outside(function.filename)) {
        return refuse("function file name");
    }
    if pprof.mappings.iter().any(|mapping| outside(mapping.filename)) {
        return refuse("mapping file name");
    }
    if pprof.mappings.iter().any(|mapping| outside(mapping.build_id)) {
        return refuse("mapping build id");
    }
    let text = |index: i64| usize::try_from(index).ok().and_then(|at| pprof.strings.get(at)).copied();
    if pprof.sample_types.iter().any(|ty| text(ty.ty).is_some_and(|name| name.contains(&b'-'))) {
        return Err(Rejected::malformed("sample type contains -"));
    }
    Ok(())
}

/// Bytes of a text that an error shows.
const SHOWN_BYTES_MAX: usize = 128;

/// The texts of a profile, or the error for the first that is not UTF-8.
pub(crate) fn utf8<'a>(strings: &[&'a [u8]], out: &mut Vec<&'a str>) -> Result<(), Rejected> {
    out.clear();
    out.reserve(strings.len());
    for bytes in strings {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
            let hex: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            let rest = match bytes.len() - shown.len() {
                0 => String::new(),
                rest => format!("... and {rest} bytes more; wrong is byte {}", error.valid_up_to()),
            };
            Rejected::malformed(format!("invalid utf8 string hex: {hex}{rest}"))
        })?;
        out.push(text);
    }
    Ok(())
}

/// As Go prints an instant: `2023-11-14 22:13:20.5 +0000 UTC`.
fn date(time: TimestampNs) -> String {
    let (days, of_day) = (time.0.div_euclid(86_400_000_000_000), time.0.rem_euclid(86_400_000_000_000));
    // Civil calendar from days: years counted from March, in eras of 400 years.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let years = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * years + years / 4 - years / 100);
    let months = (5 * of_year + 2) / 153;
    let day = of_year - (153 * months + 2) / 5 + 1;
    let month = if months < 10 { months + 3 } else { months - 9 };
    let year = years + era * 400 + i64::from(month <= 2);
    let (seconds, ns) = (of_day / 1_000_000_000, of_day % 1_000_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
    if ns > 0 {
        text.push_str(format!(".{ns:09}").trim_end_matches('0'));
    }
    text.push_str(" +0000 UTC");
    text
}

#[cfg(test)]
mod tests;
