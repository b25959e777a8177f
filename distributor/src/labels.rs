//! Label sets on their way through a push: defaults, text form, and the rules of api-semantics §3.5.
//!
//! Must not know: profiles, relabelling, the wire.

use std::borrow::Cow;

use hearth_common::TenantLimits;
use hearth_common::limits::raise;
use hearth_model::labels::{NAME, SERVICE_NAME};

use crate::reject::{Reason, Rejected};

/// A name and a value; borrowed from the request unless a rule wrote it.
pub type Label<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The service of profiles that name none.
pub const UNKNOWN_SERVICE: &str = "unknown_service";

/// The labels of a series as sent, with `service_name` and sorted by name; equal names keep their order.
pub fn with_defaults<'a>(sent: &[(&'a str, &'a str)]) -> Vec<Label<'a>> {
    let mut labels: Vec<Label<'a>> = sent
        .iter()
        // An empty service name would stand beside the default as a duplicate.
        .filter(|(name, value)| !(*name == SERVICE_NAME && value.is_empty()))
        .map(|(name, value)| (Cow::Borrowed(*name), Cow::Borrowed(*value)))
        .collect();
    if get(&labels, SERVICE_NAME).is_none() {
        labels.push((Cow::Borrowed(SERVICE_NAME), Cow::Borrowed(UNKNOWN_SERVICE)));
    }
    sort(&mut labels);
    labels
}

/// Sorts by name; equal names keep their order.
pub fn sort(labels: &mut [Label<'_>]) {
    labels.sort_by(|a, b| a.0.cmp(&b.0));
}

/// The value of a label, in any order of labels.
pub fn get<'s>(labels: &'s [Label<'_>], name: &str) -> Option<&'s str> {
    labels.iter().find(|(n, _)| n == name).map(|(_, value)| &**value)
}

/// Sets a label; an empty value removes it. Keeps the order by name.
pub fn set<'a>(labels: &mut Vec<Label<'a>>, name: Cow<'a, str>, value: Cow<'a, str>) {
    let found = labels.iter().position(|(n, _)| *n == name);
    match (found, value.is_empty()) {
        (Some(at), true) => drop(labels.remove(at)),
        (Some(at), false) => labels[at].1 = value,
        (None, true) => {}
        (None, false) => {
            let at = labels.partition_point(|(n, _)| *n < name);
            labels.insert(at, (name, value));
        }
    }
}

/// `{a="b", c="d"}`: the form that messages show, values quoted as Go quotes them.
pub fn text(labels: &[Label<'_>]) -> String {
    let mut out = String::from("{");
    for (at, (name, value)) in labels.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        out.push_str(name);
        out.push('=');
        quote(value, &mut out);
    }
    out.push('}');
    out
}

fn quote(value: &str, out: &mut String) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Checks a final label set, sorted by name; rewrites names when the tenant's limits want them sanitised.
pub fn validate(labels: &mut Vec<Label<'_>>, limits: &TenantLimits) -> Result<(), Rejected> {
    if labels.is_empty() {
        let message = "error at least one label pair is required per profile";
        return Err(Rejected::invalid(Reason::MissingLabels, message));
    }
    if labels.len() > limits.max_label_names_per_series {
        let message = format!(
            "profile series '{}' has {} label names; limit {}{}",
            text(labels),
            labels.len(),
            limits.max_label_names_per_series,
            raise("max_label_names_per_series")
        );
        return Err(Rejected::invalid(Reason::MaxLabelNamesPerSeries, message));
    }
    let with_error = |reason, labels: &[Label<'_>], error: &str| {
        Rejected::invalid(reason, format!("invalid labels '{}' with error: {error}", text(labels)))
    };
    if get(labels, NAME).unwrap_or_default().is_empty() {
        return Err(with_error(Reason::InvalidLabels, labels, "invalid metric name"));
    }
    if get(labels, SERVICE_NAME).unwrap_or_default().is_empty() {
        return Err(with_error(Reason::MissingLabels, labels, "service name is not provided"));
    }
    each(labels, limits, with_error)
}

fn each(
    labels: &mut Vec<Label<'_>>,
    limits: &TenantLimits,
    with_error: impl Fn(Reason, &[Label<'_>], &str) -> Rejected,
) -> Result<(), Rejected> {
    let with_labels = |reason, labels: &[Label<'_>], what: &str, which: &str| {
        Rejected::invalid(reason, format!("profile with labels '{}' has {what}: '{which}'", text(labels)))
    };
    let mut at = 0;
    while at < labels.len() {
        let (name, value) = &labels[at];
        if name.len() > limits.max_label_name_length {
            let limit = (limits.max_label_name_length, "max_label_name_length");
            let error = with_labels(Reason::LabelNameTooLong, labels, "label name too long", name);
            return Err(too_long(error, name, limit));
        }
        if value.len() > limits.max_label_value_length {
            let limit = (limits.max_label_value_length, "max_label_value_length");
            let error = with_labels(Reason::LabelValueTooLong, labels, "label value too long", value);
            return Err(too_long(error, value, limit));
        }
        if name.is_empty() {
            return Err(with_error(Reason::InvalidLabels, labels, "invalid label name ''"));
        }
        if !limits.disable_label_sanitization
            && let Cow::Owned(sanitised) = sanitise(name).ok_or_else(|| {
                with_error(Reason::InvalidLabels, labels, &format!("invalid label name '{name}'"))
            })?
        {
            let twin = labels.iter().position(|(other, _)| *other == sanitised);
            match twin {
                Some(twin) if labels[twin].1 == labels[at].1 => drop(labels.remove(at)),
                Some(_) => {
                    let what = "duplicate label name";
                    return Err(with_labels(Reason::DuplicateLabelNames, labels, what, &labels[at].0));
                }
                None => {
                    labels[at].0 = Cow::Owned(sanitised);
                    // The new name may belong further back; it is looked at again there, harmlessly.
                    sort(labels);
                }
            }
            continue;
        }
        if at > 0 && labels[at - 1].0 == labels[at].0 {
            let what = "duplicate label name";
            return Err(with_labels(Reason::DuplicateLabelNames, labels, what, &labels[at].0));
        }
        at += 1;
    }
    Ok(())
}

/// The error about a text, with its length and its limit.
fn too_long(error: Rejected, text: &str, (limit, key): (usize, &str)) -> Rejected {
    let message = format!("{} ({} bytes, limit {limit}){}", error.message, text.len(), raise(key));
    Rejected { message, ..error }
}

/// The name in the older set of characters, `[a-zA-Z_][a-zA-Z0-9_]*`, where dots become underscores; `None` when another
/// character is outside of it.
fn sanitise(name: &str) -> Option<Cow<'_, str>> {
    let legacy = |at: usize, b: u8| b == b'_' || b.is_ascii_alphabetic() || (at > 0 && b.is_ascii_digit());
    if name.bytes().enumerate().all(|(at, b)| legacy(at, b)) {
        return Some(Cow::Borrowed(name));
    }
    let replaced = name.replace('.', "_");
    let valid = replaced.bytes().enumerate().all(|(at, b)| legacy(at, b));
    valid.then_some(Cow::Owned(replaced))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sent: &[(&str, &str)], limits: &TenantLimits) -> Result<String, (Reason, String)> {
        let mut labels = with_defaults(sent);
        validate(&mut labels, limits).map(|()| text(&labels)).map_err(|e| (e.reason, e.message))
    }

    #[test]
    fn defaults_and_order() {
        let limits = TenantLimits::default();
        let sent = [("pod", "a\"b"), (NAME, "memory")];
        let want = r#"{__name__="memory", pod="a\"b", service_name="unknown_service"}"#;
        assert_eq!(check(&sent, &limits), Ok(want.to_owned()));
        let sent = [(SERVICE_NAME, ""), (NAME, "memory")];
        assert_eq!(
            check(&sent, &limits),
            Ok(r#"{__name__="memory", service_name="unknown_service"}"#.to_owned())
        );
        assert!(check(&[(NAME, "m"), ("a-b.c", "x")], &limits).is_ok());
    }

    #[test]
    fn refusals_have_the_texts_of_the_reference() {
        let limits = TenantLimits::default();
        let name = (NAME, "process_cpu");
        let service = (SERVICE_NAME, "x");
        type Case<'a> = (&'a [(&'a str, &'a str)], Reason, &'a str);
        let cases: [Case<'_>; 5] = [
            (
                &[],
                Reason::InvalidLabels,
                "invalid labels '{service_name=\"unknown_service\"}' with error: invalid metric name",
            ),
            (
                &[service],
                Reason::InvalidLabels,
                "invalid labels '{service_name=\"x\"}' with error: invalid metric name",
            ),
            (
                &[name, service, ("", "c")],
                Reason::InvalidLabels,
                "invalid labels '{=\"c\", __name__=\"process_cpu\", service_name=\"x\"}' with error: invalid label name ''",
            ),
            (
                &[name, service, ("k", "1"), ("k", "2")],
                Reason::DuplicateLabelNames,
                "profile with labels '{__name__=\"process_cpu\", k=\"1\", k=\"2\", service_name=\"x\"}' has duplicate label name: 'k'",
            ),
            (
                &[name, service, ("k", "0123456789ab")],
                Reason::LabelValueTooLong,
                "profile with labels '{__name__=\"process_cpu\", k=\"0123456789ab\", service_name=\"x\"}' has label value too long: '0123456789ab'",
            ),
        ];
        for (sent, reason, message) in cases {
            let limits = TenantLimits {
                max_label_value_length: if reason == Reason::LabelValueTooLong { 11 } else { 2048 },
                ..limits.clone()
            };
            let (found, text) = check(sent, &limits).expect_err("refused");
            assert!(found == reason && text.starts_with(message), "{text}");
        }
        let narrow = TenantLimits { max_label_name_length: 11, ..limits.clone() };
        let message = check(&[name], &narrow).expect_err("service_name is longer").1;
        assert!(
            message.contains("has label name too long: 'service_name' (12 bytes, limit 11); max_"),
            "{message}"
        );
        let few = TenantLimits { max_label_names_per_series: 2, ..limits };
        let want = "profile series '{__name__=\"process_cpu\", a=\"b\", service_name=\"x\"}' has 3 label names; limit 2";
        let (reason, got) = check(&[name, service, ("a", "b")], &few).expect_err("too many");
        assert!(reason == Reason::MaxLabelNamesPerSeries && got.starts_with(want), "{got}");
    }

    #[test]
    fn sanitising() {
        let limits = TenantLimits { disable_label_sanitization: false, ..TenantLimits::default() };
        let name = (NAME, "m");
        let service = (SERVICE_NAME, "x");
        let got = check(&[name, service, ("z.a", "1")], &limits);
        assert_eq!(got, Ok(r#"{__name__="m", service_name="x", z_a="1"}"#.to_owned()));
        let got = check(&[name, service, ("z.a", "1"), ("z_a", "1")], &limits);
        assert_eq!(got, Ok(r#"{__name__="m", service_name="x", z_a="1"}"#.to_owned()));
        let got = check(&[name, service, ("z.a", "1"), ("z_a", "2")], &limits);
        assert_eq!(got.expect_err("two values").0, Reason::DuplicateLabelNames);
        let got = check(&[name, service, ("a-b", "1")], &limits);
        assert!(got.expect_err("a dash").1.ends_with("with error: invalid label name 'a-b'"));
    }
}
