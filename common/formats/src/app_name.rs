//! The `name` of `/ingest`: `app{key=value,key2=value2}` (api-semantics §3.12).

/// A parsed name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppName<'a> {
    /// The application, with its type suffix if it has one.
    pub app: &'a str,
    /// Pairs in the order written; quotes are part of a value, as in the reference.
    pub labels: Vec<(&'a str, &'a str)>,
}

/// The text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppNameError {
    /// Nothing stands before the brace.
    #[error("service name is required")]
    Missing,
    /// A character that application names do not have.
    #[error("invalid service name: {name}: character is not allowed: '{character}'")]
    App {
        /// The name.
        name: String,
        /// The character.
        character: char,
    },
    /// A character that label names do not have.
    #[error("invalid label name: {name}: character is not allowed: '{character}'")]
    Key {
        /// The label.
        name: String,
        /// The character.
        character: char,
    },
}

/// Parses a name. Text after `}` and an unterminated last pair are ignored, as in the reference.
pub fn parse(text: &str) -> Result<AppName<'_>, AppNameError> {
    let (app, rest) = text.split_once('{').unwrap_or((text, ""));
    let app = app.trim();
    if app.is_empty() {
        return Err(AppNameError::Missing);
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-/".contains(c);
    if let Some(character) = app.chars().find(|c| !allowed(*c)) {
        return Err(AppNameError::App { name: app.to_owned(), character });
    }
    let mut labels = Vec::new();
    let mut rest = rest;
    // A pair counts once it is closed by `,` or `}`.
    while let Some(end) = rest.find([',', '}']) {
        let (pair, closed) = (&rest[..end], rest.as_bytes()[end] == b'}');
        rest = &rest[end + 1..];
        if let Some((key, value)) = pair.split_once('=') {
            let key = key.trim();
            let allowed = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
            if let Some(character) = key.chars().find(|c| !allowed(*c)) {
                return Err(AppNameError::Key { name: key.to_owned(), character });
            }
            labels.push((key, value.trim()));
        }
        if closed {
            break;
        }
    }
    Ok(AppName { app, labels })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, app: &str, labels: &[(&str, &str)]) {
        assert_eq!(parse(text), Ok(AppName { app, labels: labels.to_vec() }), "{text}");
    }

    #[test]
    fn names_as_clients_send_them() {
        check("plain", "plain", &[]);
        check("my.app{}", "my.app", &[]);
        check("a/b-c{env=prod, region = eu }rest", "a/b-c", &[("env", "prod"), ("region", "eu")]);
        check(r#"f{env="prod",a.b="c"}"#, "f", &[("env", "\"prod\""), ("a.b", "\"c\"")]);
        check("bad{", "bad", &[]);
        check("cut{a=b,c=d", "cut", &[("a", "b")]);
    }

    #[test]
    fn what_is_no_name() {
        assert_eq!(parse(""), Err(AppNameError::Missing));
        assert_eq!(parse("{a=b}"), Err(AppNameError::Missing));
        let text = parse("sp ace{}").map_err(|e| e.to_string());
        assert_eq!(text, Err("invalid service name: sp ace: character is not allowed: ' '".to_owned()));
        let text = parse("x{d-e=f}").map_err(|e| e.to_string());
        assert_eq!(text, Err("invalid label name: d-e: character is not allowed: '-'".to_owned()));
    }
}
