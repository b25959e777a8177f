//! The `Accept` header as a carrier of capabilities (api-semantics §1.2).

use http::HeaderMap;

/// What a client says it can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Capabilities {
    /// `allow-utf8-labelnames=true`
    pub(crate) utf8_label_names: bool,
}

/// Reads every `Accept` header; an error names the part that is no media range.
pub(crate) fn capabilities(headers: &HeaderMap) -> Result<Capabilities, String> {
    let mut found = Capabilities::default();
    for value in headers.get_all(http::header::ACCEPT) {
        let text = value.to_str().map_err(|_| "not ASCII".to_owned())?;
        for range in split(text, ',') {
            media_range(range.trim(), &mut found)?;
        }
    }
    Ok(found)
}

fn media_range(range: &str, found: &mut Capabilities) -> Result<(), String> {
    if range.is_empty() {
        return Ok(());
    }
    let mut parts = split(range, ';');
    let media = parts.next().unwrap_or_default().trim();
    let token = |text: &str| !text.is_empty() && text.bytes().all(is_token);
    let valid = match media.split_once('/') {
        Some((kind, subtype)) => token(kind) && token(subtype),
        None => token(media),
    };
    if !valid {
        return Err(range.to_owned());
    }
    for parameter in parts {
        let parameter = parameter.trim();
        if parameter.is_empty() {
            continue;
        }
        let (name, value) = parameter.split_once('=').ok_or_else(|| range.to_owned())?;
        let quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
        if !token(name) || !(quoted || token(value)) {
            return Err(range.to_owned());
        }
        let value = value.trim_matches('"');
        if name.eq_ignore_ascii_case("allow-utf8-labelnames") && value == "true" {
            found.utf8_label_names = true;
        }
    }
    Ok(())
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Splits outside of quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &'static str) -> Result<bool, String> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::ACCEPT, http::HeaderValue::from_static(accept));
        capabilities(&headers).map(|found| found.utf8_label_names)
    }

    #[test]
    fn media_ranges_with_and_without_the_capability() {
        assert_eq!(check("*/*"), Ok(false));
        assert_eq!(check("text/html, application/xml;q=0.9, */*;q=0.8"), Ok(false));
        assert_eq!(check("*/*;allow-utf8-labelnames=true"), Ok(true));
        assert_eq!(check("application/json; allow-utf8-labelnames=true"), Ok(true));
        assert_eq!(check("*/*; allow-utf8-labelnames=false"), Ok(false));
        assert_eq!(check("a/b;c=\"x,y;z\""), Ok(false));
        for bad in ["a/b/c d", "/", "a/b;c", "a/b;=d", "(x)"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
