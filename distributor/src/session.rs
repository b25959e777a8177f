//! `__session_id__`: which run of a service a profile is from; kept only as far as the tenant's limit allows.

use hearth_model::spans::parse_span_id;

use crate::labels::{self, Label};

const SESSION_ID: &str = "__session_id__";

/// Removes the label, or folds its value into one of `sessions_max`; 16 hex digits, a little-endian number.
pub(crate) fn limit(series: &mut Vec<Label<'_>>, sessions_max: u32) {
    let Some(at) = series.iter().position(|(name, _)| name == SESSION_ID) else { return };
    let kept = parse_span_id(&series[at].1).filter(|_| sessions_max > 0);
    let value = kept.map(|session| {
        let folded = (session % u64::from(sessions_max)).to_le_bytes();
        folded.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    });
    labels::set(series, SESSION_ID.into(), value.unwrap_or_default().into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_dropped_or_folded() {
        let check = |value: &str, max: u32, want: Option<&str>| {
            let mut series = vec![(SESSION_ID.into(), value.into())];
            limit(&mut series, max);
            assert_eq!(labels::get(&series, SESSION_ID), want, "{value} {max}");
        };
        check("0500000000000000", 0, None);
        check("0500000000000000", 3, Some("0200000000000000"));
        check("0001000000000000", 1000, Some("0001000000000000"));
        check("nonsense", 3, None);
    }
}
