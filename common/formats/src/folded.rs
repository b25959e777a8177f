//! Text stacks of `/ingest`: `groups` (`a;b;c 12`) and `lines` (`a;b;c`), frames root first (api-semantics §3.12).

use crate::stacks::{StackLimits, StackTree, StacksError};

/// Longest line that is read, in bytes.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// How much of a count that is none is shown.
const SHOWN_CHARS_MAX: usize = 40;

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
    /// More than may be kept.
    #[error("line {line}: {error}")]
    Stacks {
        /// From 1.
        line: usize,
        /// What is too much.
        error: StacksError,
    },
}

/// `stack count` lines: the last space splits; a line without a space is skipped; a line of more than 64 KiB ends the
/// input without an error, as the reference does.
pub fn parse_groups(bytes: &[u8], limits: StackLimits) -> Result<StackTree, FoldedError> {
    let mut out = StackTree::new(limits);
    for (number, line) in lines(bytes) {
        if line.len() > LINE_BYTES_MAX {
            break;
        }
        let line = std::str::from_utf8(line).map_err(|_| FoldedError::Utf8(number))?;
        let Some((stack, count)) = line.rsplit_once(' ') else { continue };
        let value = count.parse().map_err(|_| FoldedError::Count {
            line: number,
            count: count.chars().take(SHOWN_CHARS_MAX).collect(),
        })?;
        push(&mut out, number, stack, value)?;
    }
    Ok(out)
}

/// One stack a line, each counts 1; blank lines are skipped.
pub fn parse_lines(bytes: &[u8], limits: StackLimits) -> Result<StackTree, FoldedError> {
    let mut out = StackTree::new(limits);
    for (number, line) in lines(bytes) {
        if line.len() > LINE_BYTES_MAX {
            return Err(FoldedError::LongLine(number));
        }
        let line = std::str::from_utf8(line).map_err(|_| FoldedError::Utf8(number))?;
        if !line.is_empty() {
            push(&mut out, number, line, 1)?;
        }
    }
    Ok(out)
}

fn push(out: &mut StackTree, line: usize, stack: &str, value: i64) -> Result<(), FoldedError> {
    let stack = out.stack(stack).map_err(|error| FoldedError::Stacks { line, error })?;
    out.add(stack, value);
    Ok(())
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
    use crate::stacks::tests::LIMITS;

    fn check(parsed: Result<StackTree, FoldedError>, want: &[(&str, i64)]) {
        let folded = parsed.expect("valid").folded();
        let got: Vec<(&str, i64)> = folded.iter().map(|(stack, value)| (stack.as_str(), *value)).collect();
        assert_eq!(got, want);
    }

    fn groups(bytes: &[u8]) -> Result<StackTree, FoldedError> {
        parse_groups(bytes, LIMITS)
    }

    #[test]
    fn stacks_with_counts() {
        check(groups(b"a;b 3\r\nc 4\n"), &[("a;b", 3), ("c", 4)]);
        check(groups(b"justaname\nmain;x y 4\nmain;x y +1"), &[("main;x y", 5)]);
        check(groups(b""), &[]);
        let long = [b"a 1\n".as_slice(), &vec![b'x'; LINE_BYTES_MAX + 1], b"\nb 2\n"].concat();
        check(groups(&long), &[("a", 1)]);
    }

    #[test]
    fn what_is_no_stack_says_where() {
        let text = |parsed: Result<StackTree, FoldedError>| parsed.map(drop).map_err(|e| e.to_string());
        let check = |bytes: &[u8], want: &str| assert_eq!(text(groups(bytes)), Err(want.to_owned()));
        check(b"a 1\na;b x\n", "line 2: count \"x\" is not an integer");
        check(b"a 99999999999999999999", "line 1: count \"99999999999999999999\" is not an integer");
        check(b"a 1\n\xff 2\n", "line 2 is not UTF-8");
        let narrow = StackLimits { size_bytes_max: 3, ..LIMITS };
        let want = "line 2: the stacks have more than 3 different frames (max_profile_size_bytes)";
        assert_eq!(text(parse_groups(b"a;b;a 1\na;a 1\n", narrow)), Err(want.to_owned()));
    }

    #[test]
    fn one_stack_a_line() {
        check(parse_lines(b"a;b\n\na;b\nc", LIMITS), &[("a;b", 2), ("c", 1)]);
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        assert_eq!(parse_lines(&long, LIMITS).map(drop), Err(FoldedError::LongLine(1)));
    }
}
