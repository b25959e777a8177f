//! Hides secrets in what is said to people: in logs, in answers, in errors. URLs may hold some (`https://user:password@host`,
//! `?sig=…`), and stores repeat in their answers what they were sent.

/// What stands in place of a secret.
pub const HIDDEN: &str = "<hidden>";

/// Elements of an answer of a store whose content is what a request was signed with, or its signature; as names end.
const SECRET_ELEMENTS: &[&str] =
    &["accesskeyid", "authenticationerrordetail", "canonicalrequest", "signatureprovided", "stringtosign"];

/// A URL without its user and its query.
pub fn hide_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    // A secret may have slashes in it, which ought to be escaped and are not always.
    let end = rest.find('?').unwrap_or(rest.len());
    let rest = match rest[..end].rfind('@') {
        Some(at) => format!("{HIDDEN}{}", &rest[at..]),
        None => rest.to_owned(),
    };
    match rest.split_once('?') {
        Some((before, query)) if !query.is_empty() => format!("{scheme}://{before}?{HIDDEN}"),
        _ => format!("{scheme}://{rest}"),
    }
}

/// A text of somebody else, such as an error, without what is secret in its URLs, its bearer tokens and its elements.
pub fn hide_in(text: &str) -> String {
    hide_elements(&hide_bearers(&hide_urls(text)))
}

fn hide_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        // The scheme is kept as it is: what comes before it belongs to nobody's secret.
        out.push_str(&rest[..at]);
        let end = rest[at + 3..].find(is_end).map_or(rest.len(), |end| at + 3 + end);
        out.push_str(&hide_url(&rest[at..end]));
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// What ends a URL in a text.
fn is_end(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | ')' | ',' | ';')
}

fn hide_bearers(text: &str) -> String {
    let (lower, word) = (text.to_ascii_lowercase(), "bearer ");
    let (mut out, mut done) = (String::with_capacity(text.len()), 0);
    while let Some(at) = lower[done..].find(word).map(|at| done + at + word.len()) {
        out.push_str(&text[done..at]);
        out.push_str(HIDDEN);
        done = text[at..].find(is_end).map_or(text.len(), |end| at + end);
    }
    out.push_str(&text[done..]);
    out
}

/// `<Token-0>…</Token-0>` and the like.
fn hide_elements(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        let Some(close) = rest[open..].find('>').map(|at| open + at + 1) else { break };
        let name = rest[open + 1..close - 1].to_ascii_lowercase();
        let secret = name.starts_with("token") || SECRET_ELEMENTS.iter().any(|end| name.ends_with(end));
        out.push_str(&rest[..close]);
        rest = &rest[close..];
        if secret && !name.starts_with('/') {
            out.push_str(HIDDEN);
            rest = &rest[rest.find("</").unwrap_or(rest.len())..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_their_user_and_their_query() {
        for (url, want) in [
            ("s3://key:pass@bucket/prefix?secret=x", "s3://<hidden>@bucket/prefix?<hidden>"),
            ("https://u@h?a=b/c@d", "https://<hidden>@h?<hidden>"),
            ("s3://KEY:SEC/RET@bucket/prefix", "s3://<hidden>@bucket/prefix"),
            ("https://u:p@ss@h/x", "https://<hidden>@h/x"),
            ("file:///data/store", "file:///data/store"),
            ("no url", "no url"),
        ] {
            assert_eq!(hide_url(url), want);
        }
    }

    #[test]
    fn texts_of_others_lose_what_they_repeat() {
        for (text, want) in [
            (
                "GET https://a.b/c?sv=1&sig=x%3D: refused (https://u:p@h/)",
                "GET https://a.b/c?<hidden> refused (https://<hidden>@h/)",
            ),
            ("Authorization: Bearer abc.def, x", "Authorization: Bearer <hidden>, x"),
            (
                "<Code>InvalidToken</Code><Token-0>abc</Token-0><AWSAccessKeyId>k</AWSAccessKeyId> a < b",
                "<Code>InvalidToken</Code><Token-0><hidden></Token-0><AWSAccessKeyId><hidden></AWSAccessKeyId> a < b",
            ),
            ("<StringToSign>a\nb", "<StringToSign><hidden>"),
            ("grün: x < y", "grün: x < y"),
        ] {
            assert_eq!(hide_in(text), want);
        }
    }
}
