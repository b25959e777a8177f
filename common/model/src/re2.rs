//! Patterns of Go's RE2, which selectors are written in, in the syntax of the `regex` crate. Pure.
//!
//! The two agree but for what is translated here: RE2 takes a brace that begins no repetition, and most of what stands in a
//! class, for what it is; its `\d`, `\s`, `\w` and `\b` know ASCII only; it quotes with `\Q…\E` and has octal numbers. What is
//! no RE2 and would mean something in the other syntax is refused. Whether groups are closed and names exist is left to the
//! parser behind this.

use regex_syntax::is_meta_character;

/// How much of a pattern an error shows.
const SHOWN_CHARS_MAX: usize = 64;
/// Names of `[[:name:]]`; all are of ASCII.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// The text is no pattern of RE2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidPattern {
    /// A backslash before what it says nothing of.
    #[error("invalid escape sequence: `{0}`")]
    Escape(String),
    /// A backslash before nothing.
    #[error("trailing backslash at end of expression")]
    TrailingBackslash,
    /// A class without an end.
    #[error("missing closing ]: `{0}`")]
    ClassUnclosed(String),
    /// A range that runs backwards, or a class whose name cannot be one.
    #[error("invalid character class range: `{0}`")]
    ClassRange(String),
    /// A group or flags that RE2 does not have.
    #[error(
        "invalid or unsupported Perl syntax: `{0}`: RE2 has (?P<name>…), (?:…) and the flags i, m, s and U"
    )]
    Perl(String),
}

/// The pattern in the other syntax.
pub(crate) fn to_rust(pattern: &str) -> Result<String, InvalidPattern> {
    let mut translator = Translator { rest: pattern, out: String::with_capacity(pattern.len() + 16) };
    while let Some(c) = translator.next() {
        match c {
            '\\' => translator.escape()?,
            '[' => translator.class()?,
            '(' => translator.group()?,
            '{' => translator.brace(),
            c => translator.out.push(c),
        }
    }
    Ok(translator.out)
}

struct Translator<'p> {
    /// What is not read yet.
    rest: &'p str,
    out: String,
}

impl Translator<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// A character that means itself.
    fn literal(&mut self, c: char) {
        if is_meta_character(c) {
            self.out.push('\\');
        }
        self.out.push(c);
    }

    /// Behind an opening brace.
    fn brace(&mut self) {
        match repetition(self.rest) {
            Some(length) => {
                self.out.push('{');
                self.out.push_str(&self.rest[..length]);
                self.rest = &self.rest[length..];
            }
            None => self.literal('{'),
        }
    }

    /// Behind an opening parenthesis.
    fn group(&mut self) -> Result<(), InvalidPattern> {
        self.out.push('(');
        let Some(rest) = self.rest.strip_prefix('?') else { return Ok(()) };
        let behind = match rest.strip_prefix("P<").or_else(|| rest.strip_prefix('<')) {
            Some(name) => name.trim_start_matches(is_word).strip_prefix('>'),
            None => rest.trim_start_matches(['i', 'm', 's', 'U', '-']).strip_prefix([':', ')']),
        };
        let Some(behind) = behind else { return Err(InvalidPattern::Perl(shown("(", self.rest))) };
        self.out.push_str(&self.rest[..self.rest.len() - behind.len()]);
        self.rest = behind;
        Ok(())
    }

    /// Behind a backslash that is not in a class.
    fn escape(&mut self) -> Result<(), InvalidPattern> {
        match self.next().ok_or(InvalidPattern::TrailingBackslash)? {
            c @ ('A' | 'z') => self.out.extend(['\\', c]),
            'b' => self.out.push_str(r"(?-u:\b)"),
            'B' => self.out.push_str(r"(?-u:\B)"),
            'Q' => {
                let (text, rest) = self.rest.split_once(r"\E").unwrap_or((self.rest, ""));
                self.rest = rest;
                text.chars().for_each(|c| self.literal(c));
            }
            c @ ('p' | 'P') => self.property(c)?,
            c => match shorthand(c) {
                Some(class) => self.out.push_str(class),
                None => {
                    let literal = self.escaped(c)?;
                    self.literal(literal);
                }
            },
        }
        Ok(())
    }

    /// The character that a backslash and `c` stand for, wherever they stand.
    fn escaped(&mut self, c: char) -> Result<char, InvalidPattern> {
        let literal = match c {
            'a' => Some('\u{7}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\u{b}'),
            'x' => self.hexadecimal(),
            '0'..='7' => self.octal(c),
            c => (c.is_ascii() && !c.is_ascii_alphanumeric()).then_some(c),
        };
        literal.ok_or_else(|| InvalidPattern::Escape(format!("\\{c}")))
    }

    /// Behind `\x`: two digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Option<char> {
        let braced = self.rest.strip_prefix('{');
        let digits = braced.unwrap_or(self.rest);
        let (mut code, mut length) = (0u32, 0);
        while let Some(digit) = digits[length..].chars().next().and_then(|c| c.to_digit(16)) {
            if braced.is_none() && length == 2 {
                break;
            }
            code = code.checked_mul(16)?.checked_add(digit)?;
            length += 1;
        }
        let rest = &digits[length..];
        self.rest = match braced {
            Some(_) => rest.strip_prefix('}').filter(|_| length > 0)?,
            None => Some(rest).filter(|_| length == 2)?,
        };
        char::from_u32(code)
    }

    /// Up to three digits. One alone, unless it is 0, would be a reference to a group, which there are none of.
    fn octal(&mut self, first: char) -> Option<char> {
        let next = |rest: &str| rest.chars().next().and_then(|c| c.to_digit(8));
        if first != '0' && next(self.rest).is_none() {
            return None;
        }
        let mut code = first.to_digit(8)?;
        for _ in 0..2 {
            let Some(digit) = next(self.rest) else { break };
            code = code * 8 + digit;
            self.rest = &self.rest[1..];
        }
        char::from_u32(code)
    }

    /// Behind `\p` or `\P`: a letter, or a name in braces.
    fn property(&mut self, p: char) -> Result<(), InvalidPattern> {
        let whole = self.rest;
        let invalid = || InvalidPattern::ClassRange(shown(&format!("\\{p}"), whole));
        if let Some(braced) = whole.strip_prefix('{') {
            let (name, rest) = braced.split_once('}').ok_or_else(invalid)?;
            let (p, name) = match name.strip_prefix('^') {
                Some(name) => (if p == 'p' { 'P' } else { 'p' }, name),
                None => (p, name),
            };
            if name.is_empty() || !name.chars().all(is_word) {
                return Err(invalid());
            }
            self.rest = rest;
            self.out.extend(['\\', p, '{']);
            self.out.push_str(name);
            self.out.push('}');
            return Ok(());
        }
        let letter = self.next().filter(char::is_ascii_alphabetic).ok_or_else(invalid)?;
        self.out.extend(['\\', p, letter]);
        Ok(())
    }

    /// Behind the bracket that opens a class.
    fn class(&mut self) -> Result<(), InvalidPattern> {
        let whole = self.rest;
        self.out.push('[');
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.out.push('^');
            self.rest = rest;
        }
        let mut is_first = true;
        loop {
            let Some(c) = self.next() else { return Err(InvalidPattern::ClassUnclosed(shown("[", whole))) };
            if c == ']' && !is_first {
                break;
            }
            is_first = false;
            let is_class = (c == '[' && self.posix()?) || (c == '\\' && self.class_within()?);
            if !is_class {
                self.range(c)?;
            }
        }
        self.out.push(']');
        Ok(())
    }

    /// Behind a bracket in a class: `:name:]`; `false`: there is none, and the bracket means itself.
    fn posix(&mut self) -> Result<bool, InvalidPattern> {
        let Some(behind) = self.rest.strip_prefix(':') else { return Ok(false) };
        let name = behind.strip_prefix('^').unwrap_or(behind);
        let rest = name.trim_start_matches(|c: char| c.is_ascii_lowercase());
        let name = &name[..name.len() - rest.len()];
        let Some(rest) = rest.strip_prefix(":]") else { return Ok(false) };
        if !POSIX.contains(&name) {
            return Err(InvalidPattern::ClassRange(shown("[", self.rest)));
        }
        self.out.push('[');
        self.out.push_str(&self.rest[..self.rest.len() - rest.len()]);
        self.rest = rest;
        Ok(true)
    }

    /// Behind a backslash in a class: one of the classes that have a letter; `false`: what comes is one character.
    fn class_within(&mut self) -> Result<bool, InvalidPattern> {
        let Some(c) = self.rest.chars().next() else { return Ok(false) };
        if let Some(class) = shorthand(c) {
            self.out.push_str(class);
            self.rest = &self.rest[1..];
            return Ok(true);
        }
        if !matches!(c, 'p' | 'P') {
            return Ok(false);
        }
        self.rest = &self.rest[1..];
        self.property(c)?;
        Ok(true)
    }

    /// A character of a class, `c` being the first one read, or a range that begins with it.
    fn range(&mut self, c: char) -> Result<(), InvalidPattern> {
        let first = self.class_char(c)?;
        self.literal(first);
        // A dash before the end of the class means itself.
        let is_end = |behind: &str| behind.is_empty() || behind.starts_with(']');
        let Some(behind) = self.rest.strip_prefix('-').filter(|behind| !is_end(behind)) else {
            return Ok(());
        };
        self.rest = behind;
        let Some(c) = self.next() else { return Ok(()) };
        let last = self.class_char(c)?;
        if last < first {
            return Err(InvalidPattern::ClassRange(format!("{first}-{last}")));
        }
        self.out.push('-');
        self.literal(last);
        Ok(())
    }

    fn class_char(&mut self, c: char) -> Result<char, InvalidPattern> {
        if c != '\\' {
            return Ok(c);
        }
        let c = self.next().ok_or(InvalidPattern::TrailingBackslash)?;
        self.escaped(c)
    }
}

/// What a letter behind a backslash stands for, as a class that may stand in another one, too.
fn shorthand(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => r"[\t\n\f\r ]",
        'S' => r"[^\t\n\f\r ]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

/// How long a repetition is, from behind its opening brace; none: the brace begins none.
fn repetition(rest: &str) -> Option<usize> {
    // Where the number that begins at a place ends; it has no zeros before it.
    let number = |at: usize| {
        let digits = rest[at..].bytes().take_while(u8::is_ascii_digit).count();
        (digits == 1 || (digits > 1 && !rest[at..].starts_with('0'))).then_some(at + digits)
    };
    let mut end = number(0)?;
    if rest[end..].starts_with(',') {
        end += 1;
        if !rest[end..].starts_with('}') {
            end = number(end)?;
        }
    }
    rest[end..].starts_with('}').then_some(end + 1)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// As much of what was read and comes as an error needs.
fn shown(read: &str, rest: &str) -> String {
    read.chars().chain(rest.chars()).take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
