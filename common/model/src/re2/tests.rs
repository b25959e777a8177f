use super::*;

/// Matches as selectors do: the whole value, a dot being any character.
fn matches(pattern: &str, value: &str) -> bool {
    let translated = to_rust(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let regex = regex::Regex::new(&format!("^(?s:{translated})$"));
    regex.unwrap_or_else(|error| panic!("{pattern} became {translated}: {error}")).is_match(value)
}

#[test]
fn patterns_in_the_other_syntax() {
    for (pattern, want) in [
        ("", ""),
        ("a.*b|^c+?$", "a.*b|^c+?$"),
        ("größe.{2}", "größe.{2}"),
        ("a{2,}b{0,3}?", "a{2,}b{0,3}?"),
        ("/users/{id}", r"/users/\{id}"),
        ("{", r"\{"),
        ("a{,3}b{01}c{1,02}d{1", r"a\{,3}b\{01}c\{1,02}d\{1"),
        (r"\Qa.b*\E+c", r"a\.b\*+c"),
        (r"\Q(", r"\("),
        (r"\Q\E", ""),
        (r"\d\D\s\S\w\W", r"[0-9][^0-9][\t\n\f\r ][^\t\n\f\r ][0-9A-Za-z_][^0-9A-Za-z_]"),
        (r"\bx\B", r"(?-u:\b)x(?-u:\B)"),
        (r"\b{start}", r"(?-u:\b)\{start}"),
        (r"\A\z", r"\A\z"),
        (r"\.\/\_\<\>\ \-", r"\./_<> \-"),
        (r"\x41\x{e9}\101\0\12\a\t", "A\u{e9}A\u{0}\n\u{7}\t"),
        (r"\pN\PL\p{Greek}\p{^Greek}\P{^Lu}", r"\pN\PL\p{Greek}\P{Greek}\p{Lu}"),
        ("(a)(?:b)(?P<n>c)(?<m_1>d)(?i)(?s-i:e)(?mU)", "(a)(?:b)(?P<n>c)(?<m_1>d)(?i)(?s-i:e)(?mU)"),
        ("[a-z^0-9_]", r"[a-z\^0-9_]"),
        ("[[]", r"[\[]"),
        ("[]a][^]a]", r"[\]a][^\]a]"),
        ("[--d&&b~~]", r"[\--d\&\&b\~\~]"),
        ("[a-]", r"[a\-]"),
        ("[-a]", r"[\-a]"),
        ("[+--]", r"[\+-\-]"),
        (r"[\w-.]", r"[[0-9A-Za-z_]\-\.]"),
        (r"[\D\pL\x41-\x{5a}\]\n]", "[[^0-9]\\pLA-Z\\]\n]"),
        ("[[:alpha:][:^digit:]]", "[[:alpha:][:^digit:]]"),
        ("[[:alpha]", r"[\[:alpha]"),
        ("[:alpha:]", "[:alpha:]"),
        ("a]b}c#d&e~f-g", "a]b}c#d&e~f-g"),
    ] {
        assert_eq!(to_rust(pattern), Ok(want.to_owned()), "{pattern}");
        assert!(regex::Regex::new(want).is_ok(), "{pattern} became {want}");
    }
}

#[test]
fn they_match_what_they_match_in_re2() {
    for (pattern, yes, no) in [
        ("/users/{id}", "/users/{id}", "/users/id"),
        ("a{2}", "aa", "a{2}"),
        ("a{,2}", "a{,2}", "aa"),
        (r"\Qa.b\E", "a.b", "axb"),
        ("[[]", "[", "]"),
        ("[a&&b]+", "a&b", "c"),
        ("[--a]x", "Ax", "bx"),
        ("[[a]x]", "ax]", "a"),
        (r"\d", "7", "\u{663}"),
        (r"\w+", "az_09", "größe"),
        (r"\W", "é", "e"),
        (r"\s", "\u{c}", "\u{a0}"),
        (r"\s", " ", "\u{b}"),
        (r"[^\s]", "\u{b}", "\n"),
        (r"[\S]", "\u{a0}", " "),
        (r".\bx", "éx", "ex"),
        (r".\Bx", "ex", "éx"),
        (r"(?i)grün", "GRÜN", "gran"),
        (r"(?i)[^a-c]", "D", "B"),
        ("a.b", "a\nb", "a\nc"),
        ("(?-s:a.b)", "axb", "a\nb"),
        ("(?i:a)b", "Ab", "AB"),
        (r"\p{^L}", "1", "é"),
        (r"[^\pL]", "1", "é"),
        (r"\<a\>", "<a>", "a"),
        (r"\101", "A", "\u{1}01"),
        ("[[:word:]]+", "a_1", "é"),
        ("[[:^alpha:]]", "é", "e"),
    ] {
        assert!(matches(pattern, yes), "{pattern} and {yes:?}");
        assert!(!matches(pattern, no), "{pattern} and {no:?}");
    }
}

#[test]
fn what_is_no_pattern_of_re2() {
    for (pattern, want) in [
        (r"\C", r"invalid escape sequence: `\C`"),
        (r"\Z", r"invalid escape sequence: `\Z`"),
        (r"a\Eb", r"invalid escape sequence: `\E`"),
        (r"\u0041", r"invalid escape sequence: `\u`"),
        (r"(a)\1", r"invalid escape sequence: `\1`"),
        (r"\8", r"invalid escape sequence: `\8`"),
        (r"\é", r"invalid escape sequence: `\é`"),
        (r"\x4", r"invalid escape sequence: `\x`"),
        (r"\x{}", r"invalid escape sequence: `\x`"),
        (r"\x{110000}", r"invalid escape sequence: `\x`"),
        (r"\x{ffffffffff}", r"invalid escape sequence: `\x`"),
        (r"[\b]", r"invalid escape sequence: `\b`"),
        (r"[\Qa\E]", r"invalid escape sequence: `\Q`"),
        (r"[a-\d]", r"invalid escape sequence: `\d`"),
        ("a\\", "trailing backslash at end of expression"),
        ("[\\", "trailing backslash at end of expression"),
        ("[a", "missing closing ]: `[a`"),
        ("[]", "missing closing ]: `[]`"),
        ("[^]", "missing closing ]: `[^]`"),
        ("[a-", "missing closing ]: `[a-`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("[[:nothing:]]", "invalid character class range: `[:nothing:]]`"),
        (r"\p{Greek", r"invalid character class range: `\p{Greek`"),
        (r"\p{sc!=Greek}", r"invalid character class range: `\p{sc!=Greek}`"),
        (r"\p", r"invalid character class range: `\p`"),
    ] {
        let error = to_rust(pattern).expect_err(pattern).to_string();
        assert_eq!(error, want, "{pattern}");
    }
    for pattern in [
        "(?x)a b", "(?u)a", "(?-u:a)", "(?R)a", "(?ix:a)", "(?=a)", "(?<=a)", "(?P=n)", "(?P>n)", "(?#a)",
        "(?",
    ] {
        let error = to_rust(pattern).expect_err(pattern);
        assert!(matches!(error, InvalidPattern::Perl(_)), "{pattern}: {error}");
    }
    let long = to_rust(&format!("[{}", "a".repeat(10_000))).expect_err("no end").to_string();
    assert!(long.len() < 100, "{long}");
}

#[test]
fn long_patterns_take_linear_time() {
    for part in ["{", "[:", "{1", r"\p{L}", r"\Q", "(?i"] {
        // Whether it is a pattern makes no difference here.
        drop(to_rust(&part.repeat(100_000)));
        drop(to_rust(&format!("[{}", part.repeat(100_000))));
    }
}
