//! Which language a profile comes from: by the label of its spy, else by its strings (api-semantics §3.7).

/// A language that some rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the languages' own")]
pub(crate) enum Language {
    Go,
    Java,
    Ruby,
    NodeJs,
    DotNet,
    Python,
    Rust,
    Php,
    Unknown,
}

/// In the order in which they are tried on each string, as its beginning or its end.
const FRAGMENTS: [(&[u8], Language); 13] = [
    (b".go", Language::Go),
    (b"/usr/local/go/", Language::Go),
    (b"java/", Language::Java),
    (b"sun/", Language::Java),
    (b".rb", Language::Ruby),
    (b"gems/", Language::Ruby),
    (b"./node_modules/", Language::NodeJs),
    (b".js", Language::NodeJs),
    (b"System.", Language::DotNet),
    (b"Microsoft.", Language::DotNet),
    (b".py", Language::Python),
    (b"main.rs", Language::Rust),
    (b"core.rs", Language::Rust),
];

/// The language by the value of the label `pyroscope_spy`; `None` when it says nothing.
pub(crate) fn of_spy(spy: &str) -> Option<Language> {
    Some(match spy {
        "gospy" => Language::Go,
        "javaspy" | "grafana-agent.java" => Language::Java,
        "pyspy" => Language::Python,
        "rbspy" => Language::Ruby,
        "dotnetspy" => Language::DotNet,
        "phpspy" => Language::Php,
        "nodespy" => Language::NodeJs,
        "pyroscope-rs" => Language::Rust,
        _ => return None,
    })
}

/// The language by the first string that begins or ends like one.
pub(crate) fn of_strings(strings: &[&[u8]]) -> Language {
    strings.iter().find_map(|text| of_string(text)).unwrap_or(Language::Unknown)
}

fn of_string(text: &[u8]) -> Option<Language> {
    let (first, last) = (text.first()?, text.last()?);
    // Nearly all strings are ruled out by their first and last byte.
    if !matches!(last, b'o' | b'/' | b'b' | b's' | b'.' | b'y')
        && !matches!(first, b'.' | b'/' | b'j' | b's' | b'g' | b'S' | b'M' | b'm' | b'c')
    {
        return None;
    }
    FRAGMENTS
        .iter()
        .find(|(fragment, _)| text.starts_with(fragment) || text.ends_with(fragment))
        .map(|(_, language)| *language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_spy_and_by_strings() {
        assert_eq!(of_spy("gospy"), Some(Language::Go));
        assert_eq!(of_spy("unknown"), None);
        let check = |strings: &[&str], want| {
            let bytes: Vec<&[u8]> = strings.iter().map(|s| s.as_bytes()).collect();
            assert_eq!(of_strings(&bytes), want, "{strings:?}");
        };
        check(&["", "cpu", "/home/x/main.go", "a.py"], Language::Go);
        check(&["", "cpu", "/usr/local/go/src/x"], Language::Go);
        check(&["", "sun/misc/Unsafe", "x.go"], Language::Java);
        check(&["gems/foo", "x.go"], Language::Ruby);
        check(&["./node_modules/a"], Language::NodeJs);
        check(&["System.Threading"], Language::DotNet);
        check(&["x.py"], Language::Python);
        check(&["src/main.rs"], Language::Rust);
        check(&["", "cpu", "samples"], Language::Unknown);
    }
}
