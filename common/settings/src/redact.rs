//! Hides secrets in what is printed.

use hearth_common::secrets::{HIDDEN, hide_url};
use serde_json::Value;

/// Parts of a key that make its value a secret.
const SECRET_WORDS: &[&str] = &["password", "secret", "token", "credential", "access_key", "private_key"];

/// Whether a key sounds like that of a secret.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// A value that somebody has given, for an error about it.
pub(crate) fn given(key: &str, value: &str) -> String {
    if is_secret(key) && !value.is_empty() {
        return HIDDEN.to_owned();
    }
    match value.rsplit_once('@') {
        // A URL whose scheme was forgotten.
        Some((_, rest)) if !value.contains("://") => format!("{HIDDEN}@{rest}"),
        _ => hide_url(value),
    }
}

/// Replaces secrets: values of keys that sound like one, and the user part and query of URLs.
pub(crate) fn redact(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let secret = is_secret(key);
                match value {
                    Value::String(text) if secret && !text.is_empty() => HIDDEN.clone_into(text),
                    value => redact(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(redact),
        Value::String(text) => *text = hide_url(text),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_the_rest_is_not() {
        let mut value = serde_json::json!({
            "object_store": "s3://key:pass@bucket/prefix?secret=x",
            "plain": "file:///data/store",
            "auth": {"password": "p", "empty_password": ""},
            "list": ["https://u@h/"],
        });
        redact(&mut value);
        let want = serde_json::json!({
            "object_store": "s3://<hidden>@bucket/prefix?<hidden>",
            "plain": "file:///data/store",
            "auth": {"password": "<hidden>", "empty_password": ""},
            "list": ["https://<hidden>@h/"],
        });
        assert_eq!(value, want);
        assert_eq!(given("object_store", "u:p@bucket"), "<hidden>@bucket");
        assert_eq!(given("tracing.otlp_endpoint", "ftp://u:p@h/x?y"), "ftp://<hidden>@h/x?<hidden>");
        assert_eq!(given("auth.token", "t"), HIDDEN);
        assert_eq!(given("listen", "nowhere"), "nowhere");
    }
}
