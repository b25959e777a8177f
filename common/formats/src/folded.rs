//! Text stacks of `/ingest`: `groups` (`a;b;c 12`) and `lines` (`a;b;c`), frames root first (api-semantics §3.12).

/// Longest line that is read, in bytes.
pub const LINE_BYTES_MAX: usize = 64 << 10;

/// Stacks with a value each; frames borrow from the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextStacks<'a> {
    /// Frames of all stacks, root first.
    pub frames: Vec<&'a str>,
    /// (end of the stack's frames, value).
    pub stacks: Vec<(u32, i64)>,
}

/// The text is not what it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldedError {
    /// Not UTF-8.
    #[error("line {0} is not UTF-8")]
    Utf8(usize),
    /// The count after the last space is no integer.
    #[error("line {line}: count {count:?} is not an integer")]
    Count {
        /// From 1.
        line: usize,
        /// What stands there.
        count: String,
    },
    /// A line that is too long.
    #[error("line {0} is longer than 65536 bytes")]
    LongLine(usize),
}

impl<'a> TextStacks<'a> {
    /// `stack count` lines: the last space splits; a line without a space is skipped; a line of more than 64 KiB ends the
    /// input without an error, as the reference does.
    pub fn parse_groups(bytes: &'a [u8]) -> Result<Self, FoldedError> {
        let mut out = Self::default();
        for (number, line) in lines(bytes) {
            if line.len() > LINE_BYTES_MAX {
                break;
            }
            let line = std::str::from_utf8(line).map_err(|_| FoldedError::Utf8(number))?;
            let Some((stack, count)) = line.rsplit_once(' ') else { continue };
            let value =
                count.parse().map_err(|_| FoldedError::Count { line: number, count: count.to_owned() })?;
            out.push(stack, value);
        }
        Ok(out)
    }

    /// One stack a line, each counts 1; blank lines are skipped.
    pub fn parse_lines(bytes: &'a [u8]) -> Result<Self, FoldedError> {
        let mut out = Self::default();
        for (number, line) in lines(bytes) {
            if line.len() > LINE_BYTES_MAX {
                return Err(FoldedError::LongLine(number));
            }
            let line = std::str::from_utf8(line).map_err(|_| FoldedError::Utf8(number))?;
            if !line.is_empty() {
                out.push(line, 1);
            }
        }
        Ok(out)
    }

    /// The stacks: frames root first, value.
    pub fn iter(&self) -> impl Iterator<Item = (&[&'a str], i64)> {
        let starts = std::iter::once(0).chain(self.stacks.iter().map(|(end, _)| *end));
        starts
            .zip(&self.stacks)
            .map(|(start, (end, value))| (&self.frames[start as usize..*end as usize], *value))
    }

    fn push(&mut self, stack: &'a str, value: i64) {
        self.frames.extend(stack.split(';'));
        self.stacks.push((self.frames.len() as u32, value));
    }
}

/// Lines without their ends (`\n` or `\r\n`), numbered from 1.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    (1..).zip(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parsed: Result<TextStacks<'_>, FoldedError>, want: &[(&[&str], i64)]) {
        let parsed = parsed.expect("valid");
        assert_eq!(parsed.iter().collect::<Vec<_>>(), want);
    }

    #[test]
    fn groups() {
        check(TextStacks::parse_groups(b"a;b 3\r\nc 4\n"), &[(&["a", "b"], 3), (&["c"], 4)]);
        check(TextStacks::parse_groups(b"justaname\nmain;x y 4"), &[(&["main", "x y"], 4)]);
        check(TextStacks::parse_groups(b""), &[]);
        let long = [b"a 1\n".as_slice(), &vec![b'x'; LINE_BYTES_MAX + 1], b"\nb 2\n"].concat();
        check(TextStacks::parse_groups(&long), &[(&["a"], 1)]);
        assert!(matches!(TextStacks::parse_groups(b"a;b x\n"), Err(FoldedError::Count { line: 1, .. })));
        assert_eq!(TextStacks::parse_groups(b"a 1\n\xff 2\n"), Err(FoldedError::Utf8(2)));
    }

    #[test]
    fn one_stack_a_line() {
        check(TextStacks::parse_lines(b"a;b\n\na;b\nc"), &[(&["a", "b"], 1), (&["a", "b"], 1), (&["c"], 1)]);
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        assert_eq!(TextStacks::parse_lines(&long), Err(FoldedError::LongLine(1)));
    }
}
