//! PromQL instant-vector selectors: `{a="b", c!="d", e=~"f.*"}`, `name{…}`, `{"quoted.name"="x"}`.

use crate::labels::Labels;
use crate::re2;

/// What a matcher does with its value.
#[derive(Debug, Clone)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends
    Regex(regex::Regex),
    /// `!~`, anchored at both ends
    NotRegex(regex::Regex),
}

/// [`MatchOp`] without the compiled expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchKind {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// Which operator it is.
    pub fn kind(&self) -> MatchKind {
        match self {
            Self::Equal => MatchKind::Equal,
            Self::NotEqual => MatchKind::NotEqual,
            Self::Regex(_) => MatchKind::Regex,
            Self::NotRegex(_) => MatchKind::NotRegex,
        }
    }
}

/// One matcher. An absent label counts as the empty string.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// The label.
    pub name: String,
    /// How it is compared.
    pub op: MatchOp,
    /// The text as written.
    pub value: String,
}

/// A selector: all matchers must hold. An empty selector selects everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selector {
    /// Joined by "and".
    pub matchers: Vec<Matcher>,
}

/// The text is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("1:{column}: parse error: {what}")]
pub struct InvalidSelector {
    /// Column of the first character that does not fit, from 1.
    pub column: usize,
    /// What was wrong there.
    pub what: String,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.value == other.value
            && std::mem::discriminant(&self.op) == std::mem::discriminant(&other.op)
    }
}

impl Selector {
    /// Parses PromQL's selector grammar (prometheus 3, UTF-8 names in quotes; patterns are Go's RE2).
    pub fn parse(text: &str) -> Result<Self, InvalidSelector> {
        Parser::new(text).selector()
    }

    /// A selector from the parts of its matchers (name, operator, value), held to the limits of those that are parsed.
    pub fn from_parts(
        parts: impl IntoIterator<Item = (String, MatchKind, String)>,
    ) -> Result<Self, InvalidSelector> {
        let mut parser = Parser::new("");
        let mut selector = Self::default();
        for (name, kind, value) in parts {
            let op = match kind {
                MatchKind::Equal => MatchOp::Equal,
                MatchKind::NotEqual => MatchOp::NotEqual,
                MatchKind::Regex => MatchOp::Regex(parser.regex(&value)?),
                MatchKind::NotRegex => MatchOp::NotRegex(parser.regex(&value)?),
            };
            selector.matchers.push(Matcher { name, op, value });
            if selector.matchers.len() > MATCHERS_MAX + OWN_MATCHERS_MAX {
                return Err(parser.error(&format!("more than {MATCHERS_MAX} matchers in one selector")));
            }
        }
        Ok(selector)
    }

    /// Whether a label set (derived labels included) is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|m| m.matches(labels.get(&m.name).unwrap_or_default()))
    }

    /// The value that a label must be equal to, if an `=` matcher says so: lets a reader skip services unread.
    pub fn equal_to(&self, name: &str) -> Option<&str> {
        self.matchers
            .iter()
            .find(|m| m.name == name && matches!(m.op, MatchOp::Equal) && !m.value.is_empty())
            .map(|m| m.value.as_str())
    }

    /// Whether the value of one label can satisfy all matchers that name it.
    pub fn admits(&self, name: &str, value: &str) -> bool {
        self.matchers.iter().filter(|m| m.name == name).all(|m| m.matches(value))
    }
}

impl Matcher {
    /// Whether a value (empty = absent) satisfies the matcher.
    pub fn matches(&self, value: &str) -> bool {
        match &self.op {
            MatchOp::Equal => value == self.value,
            MatchOp::NotEqual => value != self.value,
            MatchOp::Regex(regex) => regex.is_match(value),
            MatchOp::NotRegex(regex) => !regex.is_match(value),
        }
    }
}

/// Longest selector that is read, in bytes.
const SELECTOR_BYTES_MAX: usize = 1 << 20;
/// Most regular expressions of one selector.
const REGEXES_MAX: usize = 32;
/// Largest compiled regular expression, in bytes, beside what its text takes as it stands …
const REGEX_BYTES_MAX: usize = 256 << 10;
/// … which is so much a byte: a list of names is long and says little, a repetition of classes the other way round.
const REGEX_BYTES_PER_PATTERN_BYTE: usize = 80;
/// Most bytes of all regular expressions of one selector.
const PATTERN_BYTES_MAX: usize = 64 << 10;
/// Most matchers of one selector.
const MATCHERS_MAX: usize = 1000;
/// Matchers that a querier adds to those of its client.
const OWN_MATCHERS_MAX: usize = 1;

struct Parser<'a> {
    text: &'a str,
    at: usize,
    regexes: usize,
    pattern_bytes: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, regexes: 0, pattern_bytes: 0 }
    }

    fn selector(mut self) -> Result<Selector, InvalidSelector> {
        if self.text.len() > SELECTOR_BYTES_MAX {
            return Err(self.error("selector is longer than 1 MiB"));
        }
        let mut selector = Selector::default();
        self.skip_space();
        if let Some(name) = self.word(true) {
            selector.matchers.push(Matcher { name: "__name__".to_owned(), op: MatchOp::Equal, value: name });
            self.skip_space();
        } else if self.peek() != Some('{') {
            return Err(self.unexpected("expected a selector such as {service_name=\"x\"}"));
        }
        if self.eat("{") {
            self.matchers(&mut selector)?;
            self.skip_space();
        }
        if self.at < self.text.len() {
            return Err(self.unexpected("expected the end of the selector"));
        }
        Ok(selector)
    }

    fn matchers(&mut self, selector: &mut Selector) -> Result<(), InvalidSelector> {
        loop {
            self.skip_space();
            if self.eat("}") {
                return Ok(());
            }
            let matcher = self.matcher()?;
            let named_twice =
                matcher.name == "__name__" && selector.matchers.first().is_some_and(|m| m.name == "__name__");
            if named_twice && self.text.trim_start().chars().next().is_some_and(|c| c != '{') {
                return Err(self.error("metric name must not be set twice"));
            }
            selector.matchers.push(matcher);
            if selector.matchers.len() > MATCHERS_MAX {
                return Err(self.error(&format!("more than {MATCHERS_MAX} matchers in one selector")));
            }
            self.skip_space();
            if !self.eat(",") && self.peek() != Some('}') {
                return Err(self.unexpected("expected \",\" or \"}\""));
            }
        }
    }

    fn matcher(&mut self) -> Result<Matcher, InvalidSelector> {
        let quoted = matches!(self.peek(), Some('"' | '\'' | '`'));
        let name = match quoted {
            true => self.quoted()?,
            false => self.word(false).ok_or_else(|| self.unexpected("expected a label name or \"}\""))?,
        };
        self.skip_space();
        let operator = ["=~", "!~", "!=", "="].into_iter().find(|operator| self.eat(operator));
        let Some(operator) = operator else {
            // A quoted name alone is the metric's name: `{"name"}`.
            if quoted && matches!(self.peek(), Some(',' | '}')) {
                return Ok(Matcher { name: "__name__".to_owned(), op: MatchOp::Equal, value: name });
            }
            return Err(self.unexpected("expected label matching operator"));
        };
        self.skip_space();
        if !matches!(self.peek(), Some('"' | '\'' | '`')) {
            return Err(self.unexpected("expected a quoted string"));
        }
        let value = self.quoted()?;
        let op = match operator {
            "=" => MatchOp::Equal,
            "!=" => MatchOp::NotEqual,
            "=~" => MatchOp::Regex(self.regex(&value)?),
            _ => MatchOp::NotRegex(self.regex(&value)?),
        };
        Ok(Matcher { name, op, value })
    }

    fn regex(&mut self, pattern: &str) -> Result<regex::Regex, InvalidSelector> {
        self.regexes += 1;
        if self.regexes > REGEXES_MAX {
            let text = format!("more than {REGEXES_MAX} regular expressions in one selector: leave some out");
            return Err(self.error(&text));
        }
        self.pattern_bytes += pattern.len();
        if self.pattern_bytes > PATTERN_BYTES_MAX {
            let text =
                format!("regular expressions of one selector are longer than {PATTERN_BYTES_MAX} bytes");
            return Err(self.error(&text));
        }
        let bad = |error: &dyn std::fmt::Display| self.error(&format!("error parsing regexp: {error}"));
        let translated = re2::to_rust(pattern).map_err(|error| bad(&error))?;
        // Alone first: `a)|(b` is no expression, though it would be one between the anchors' parentheses.
        regex_syntax::Parser::new().parse(&translated).map_err(|error| bad(&error))?;
        // As Prometheus: anchored, and a dot matches a newline too.
        let anchored = format!("^(?s:{translated})$");
        let bytes_max = REGEX_BYTES_MAX + REGEX_BYTES_PER_PATTERN_BYTE * pattern.len();
        let built = regex::RegexBuilder::new(&anchored).size_limit(bytes_max).build();
        built.map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => bad(&format_args!(
                "it takes more than {limit} bytes compiled: repeat less, or smaller classes"
            )),
            error => bad(&error),
        })
    }

    fn word(&mut self, colons: bool) -> Option<String> {
        let rest = &self.text[self.at..];
        let first = rest.chars().next()?;
        if !(first.is_ascii_alphabetic() || first == '_' || (colons && first == ':')) {
            return None;
        }
        let inside = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
        let end = rest.find(|c| !inside(c)).unwrap_or(rest.len());
        self.at += end;
        Some(rest[..end].to_owned())
    }

    /// A string in any of PromQL's three quotes; Go's escapes in the first two.
    fn quoted(&mut self) -> Result<String, InvalidSelector> {
        let quote = self.next().ok_or_else(|| self.unexpected("expected a string"))?;
        let mut bytes = Vec::new();
        loop {
            match self.next() {
                None => return Err(self.error("unterminated quoted string")),
                Some('\n') if quote != '`' => return Err(self.error("unterminated quoted string")),
                Some(c) if c == quote => break,
                Some('\\') if quote != '`' => self.escape(quote, &mut bytes)?,
                Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        String::from_utf8(bytes).map_err(|_| self.error("string is not valid UTF-8"))
    }

    fn escape(&mut self, quote: char, bytes: &mut Vec<u8>) -> Result<(), InvalidSelector> {
        let unknown = |parser: &Self| parser.error("unknown escape sequence in a quoted string");
        let c = self.next().ok_or_else(|| self.error("unterminated quoted string"))?;
        let simple = match c {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' => b'\\',
            c if c == quote => c as u8,
            'x' => self.digits(2, 16).and_then(|n| u8::try_from(n).ok()).ok_or_else(|| unknown(self))?,
            '0'..='7' => {
                self.at -= 1;
                self.digits(3, 8).and_then(|n| u8::try_from(n).ok()).ok_or_else(|| unknown(self))?
            }
            'u' | 'U' => {
                let length = if c == 'u' { 4 } else { 8 };
                let code = self.digits(length, 16).and_then(char::from_u32).ok_or_else(|| unknown(self))?;
                bytes.extend_from_slice(code.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(unknown(self)),
        };
        bytes.push(simple);
        Ok(())
    }

    fn digits(&mut self, count: usize, radix: u32) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + count)?;
        if !digits.chars().all(|c| c.is_digit(radix)) {
            return None;
        }
        self.at += count;
        u32::from_str_radix(digits, radix).ok()
    }

    fn skip_space(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
            if self.peek() != Some('#') {
                return;
            }
            let comment = &self.text[self.at..];
            self.at += comment.find('\n').unwrap_or(comment.len());
        }
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.text[self.at..].starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn unexpected(&self, expected: &str) -> InvalidSelector {
        match self.peek() {
            Some(c) => self.error(&format!("unexpected character: {c:?}, {expected}")),
            None if self.text.contains('{') => self.error("unexpected end of input inside braces"),
            None => self.error(&format!("unexpected end of input, {expected}")),
        }
    }

    fn error(&self, what: &str) -> InvalidSelector {
        InvalidSelector { column: self.text[..self.at].chars().count() + 1, what: what.to_owned() }
    }
}

impl hearth_common::Classify for InvalidSelector {
    fn kind(&self) -> hearth_common::ErrorKind {
        hearth_common::ErrorKind::InvalidArgument
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &[(&str, &str, &str)]) {
        let selector = Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let operator = |m: &Matcher| match m.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex(_) => "=~",
            MatchOp::NotRegex(_) => "!~",
        };
        let got: Vec<_> = selector.matchers.iter().map(|m| (&*m.name, operator(m), &*m.value)).collect();
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn selectors_of_promql() {
        check("{}", &[]);
        check(" { } # all", &[]);
        check("up", &[("__name__", "=", "up")]);
        check("a:b:c{}", &[("__name__", "=", "a:b:c")]);
        check(
            r#"{a="b", c!='d',e=~`f\.g`,h!~"i|j",}"#,
            &[("a", "=", "b"), ("c", "!=", "d"), ("e", "=~", r"f\.g"), ("h", "!~", "i|j")],
        );
        check(r#"{"größe.x"="v"}"#, &[("größe.x", "=", "v")]);
        check(r#"{"name", a="\x41\u00e9\n"}"#, &[("__name__", "=", "name"), ("a", "=", "Aé\n")]);
    }

    #[test]
    fn a_selector_from_its_parts_is_the_parsed_one() {
        let parsed = Selector::parse(r#"{a="b",c!='d',e=~`f\.g`,h!~"i|j",}"#).expect("valid");
        let parts = parsed.matchers.iter().map(|m| (m.name.clone(), m.op.kind(), m.value.clone()));
        assert_eq!(Selector::from_parts(parts), Ok(parsed.clone()));
        let bad = ("a".to_owned(), MatchKind::Regex, "b)|(c".to_owned());
        assert!(Selector::from_parts([bad]).is_err());
        let many =
            (0..=MATCHERS_MAX + OWN_MATCHERS_MAX).map(|_| ("a".to_owned(), MatchKind::Equal, String::new()));
        assert!(Selector::from_parts(many).is_err());
    }

    #[test]
    fn what_is_no_selector() {
        for bad in [
            "",
            "{",
            "}",
            "{a}",
            "{a=}",
            "{a=b}",
            "{a=\"b}",
            "{a=~\"(\"}",
            "nope{",
            "{a=\"b\"} x",
            "{a=\"b\" c=\"d\"}",
            "{a==\"b\"}",
            "x{__name__=\"y\"}",
            "{\"a\":1}",
            "{a=~\"b)|(c\"}",
        ] {
            assert!(Selector::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn regexes_of_a_selector_have_bounds() {
        let many = |count: usize| format!("{{{}}}", r#"a=~"b.*","#.repeat(count));
        assert_eq!(Selector::parse(&many(REGEXES_MAX)).expect("valid").matchers.len(), REGEXES_MAX);
        let error = Selector::parse(&many(REGEXES_MAX + 1)).expect_err("too many").to_string();
        assert!(
            error.ends_with("more than 32 regular expressions in one selector: leave some out"),
            "{error}"
        );
        let parts = (0..=REGEXES_MAX).map(|_| ("a".to_owned(), MatchKind::NotRegex, "b".to_owned()));
        assert!(Selector::from_parts(parts).is_err());
        for large in ["(a{1000}){100}", r"\\pL{1000}"] {
            let error = Selector::parse(&format!("{{a=~\"{large}\"}}")).expect_err(large).to_string();
            assert!(error.contains("bytes compiled: repeat less"), "{error}");
        }
        // What a dashboard makes of a variable with thousands of values.
        let names: Vec<String> = (0..2500).map(|at| format!("{at}-namespace/service")).collect();
        let list = format!("{{a=~\"{}\"}}", names.join("|"));
        let selector = Selector::parse(&list).expect("as long as a selector's expressions may be");
        assert!(selector.matches(&Labels::from_pairs([("a", "2499-namespace/service")])));
        assert!(!selector.matches(&Labels::from_pairs([("a", "2500-namespace/service")])));
    }

    #[test]
    fn regexes_are_those_of_re2() {
        for (text, value, want) in [
            (r#"{a=~"/users/{id}"}"#, "/users/{id}", true),
            (r"{a=~`\Qa.b\E`}", "axb", false),
            (r#"{a=~"[[]x"}"#, "[x", true),
            (r"{a=~`\w+`}", "größe", false),
            (r"{a!~`\d`}", "\u{663}", true),
        ] {
            let selector = Selector::parse(text).expect("valid");
            assert_eq!(selector.matches(&Labels::from_pairs([("a", value)])), want, "{text}");
        }
        let error = Selector::parse("{a=~\"(?x)a\"}").expect_err("not RE2").to_string();
        assert!(
            error.contains("error parsing regexp: invalid or unsupported Perl syntax: `(?x)a`"),
            "{error}"
        );
    }

    #[test]
    fn an_absent_label_is_the_empty_string_and_regexes_are_anchored() {
        let labels = Labels::from_pairs([("service_name", "shop"), ("pod", "shop-a")]);
        for (text, want) in [
            (r#"{pod=~"shop"}"#, false),
            (r#"{pod=~"shop.*"}"#, true),
            (r#"{zone=""}"#, true),
            (r#"{zone!="x"}"#, true),
            (r#"{zone=~".+"}"#, false),
            (r#"{pod!~"a|b", service_name="shop"}"#, true),
        ] {
            assert_eq!(Selector::parse(text).expect("valid").matches(&labels), want, "{text}");
        }
    }
}
