//! Hides secrets in what is printed.

use serde_json::Value;

/// What stands in place of a secret.
pub const REDACTED: &str = "<hidden>";

/// Parts of a key that make its value a secret.
const SECRET_WORDS: &[&str] = &["password", "secret", "token", "credential", "access_key", "private_key"];

/// Whether a key sounds like that of a secret.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// Replaces secrets: values of keys that sound like one, and the user part and query of URLs.
pub(crate) fn redact(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let secret = is_secret(key);
                match value {
                    Value::String(text) if secret && !text.is_empty() => REDACTED.clone_into(text),
                    value => redact(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(redact),
        Value::String(text) => *text = redact_url(text),
        _ => {}
    }
}

fn redact_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let rest = match rest[..end].rfind('@') {
        Some(at) => format!("{REDACTED}{}", &rest[at..]),
        None => rest.to_owned(),
    };
    match rest.split_once('?') {
        Some((before, query)) if !query.is_empty() => format!("{scheme}://{before}?{REDACTED}"),
        _ => format!("{scheme}://{rest}"),
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
    }
}
