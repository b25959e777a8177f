//! Names of frames: `class.method`, without the parts that differ from run to run, so that flame graphs of several runs meet.
//! The forms are those of the reference's answers.

const LAMBDA: &str = "$$Lambda";
const ACCESSORS: [&str; 3] =
    ["GeneratedMethodAccessor", "GeneratedConstructorAccessor", "GeneratedSerializationConstructorAccessor"];
const LIBRARY: &str = ".so";
/// Hexadecimal digits of the parts of a UUID.
const UUID: [usize; 5] = [8, 4, 4, 4, 12];
/// So many digits before `.so` are the number of a temporary file, not a version.
const TEMPORARY_DIGITS_MIN: usize = 15;

/// Writes the name of a frame to `out`; what that held is gone.
pub(super) fn name(class: &str, method: &str, out: &mut String) {
    out.clear();
    match class.find(LAMBDA) {
        Some(at) => {
            let (head, tail) = class.split_at(at + LAMBDA.len());
            out.push_str(head);
            push_without(out, tail, lambda_number(tail));
        }
        None => match ACCESSORS.iter().find_map(|name| class.find(name).map(|at| at + name.len())) {
            Some(at) => {
                let (head, tail) = class.split_at(at);
                out.push_str(head);
                push_without(out, tail, digits(tail));
            }
            None => out.push_str(class),
        },
    }
    out.push('.');
    out.push_str(method);
    if out.contains(LIBRARY) {
        library(out);
    }
}

/// `tail` with its first `length` bytes as one `_`.
fn push_without(out: &mut String, tail: &str, length: usize) {
    if length > 0 {
        out.push('_');
    }
    out.push_str(&tail[length..]);
}

/// Decimal digits at the begin.
fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

fn hex_digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_hexdigit).count()
}

/// Length of what numbers a hidden class: `$75.0x00007ff44c0c4208`, `$1/1330278544`, `/0x000078e1c0003000`.
fn lambda_number(tail: &str) -> usize {
    let mut length = 0;
    if let Some(rest) = tail.strip_prefix('$') {
        match digits(rest) {
            0 => return 0,
            count => length = 1 + count,
        }
    }
    let Some(rest) = tail[length..].strip_prefix(['.', '/', '+']) else { return length };
    let number = match rest.strip_prefix("0x").map(hex_digits) {
        Some(count) if count > 0 => 2 + count,
        _ => digits(rest),
    };
    if number > 0 { length + 1 + number } else { length }
}

/// Libraries that are unpacked to a temporary file are known by the name without its random part.
fn library(name: &mut String) {
    if let Some(at) = uuid(name) {
        name.replace_range(at..at + UUID.iter().sum::<usize>() + UUID.len() - 1, "@uuid");
    }
    let Some(end) = name.find(LIBRARY) else { return };
    let count = name[..end].bytes().rev().take_while(u8::is_ascii_digit).count();
    if count >= TEMPORARY_DIGITS_MIN {
        name.replace_range(end - count..end, "_");
    }
}

/// Where the first UUID begins.
fn uuid(text: &str) -> Option<usize> {
    let is_uuid = |text: &str| {
        let mut parts = text.splitn(UUID.len(), '-');
        UUID.iter().enumerate().all(|(at, length)| {
            parts.next().is_some_and(|part| {
                let digits = hex_digits(part);
                digits == *length && (digits == part.len() || at == UUID.len() - 1)
            })
        })
    };
    let dashes = text.match_indices('-').map(|(at, _)| at);
    let mut starts =
        dashes.filter_map(|at| at.checked_sub(UUID[0]).filter(|start| text.is_char_boundary(*start)));
    starts.find(|start| is_uuid(&text[*start..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_left_out() {
        let check = |class: &str, method: &str, want: &str| {
            let mut out = "before".to_owned();
            name(class, method, &mut out);
            assert_eq!(out, want);
        };
        check("java/lang/Thread", "run", "java/lang/Thread.run");
        check("", "no_Java_frame", ".no_Java_frame");
        check("libjvm.so", "Thread::call_run", "libjvm.so.Thread::call_run");
        check("App$$Lambda$75.0x00007ff44c0c4208", "call", "App$$Lambda_.call");
        check("a/B$$$Lambda$1377+0x000000080156f840", "accept", "a/B$$$Lambda_.accept");
        check("a/B$$Lambda$14/1330278544", "run", "a/B$$Lambda_.run");
        check("a/B$$Lambda/0x000078e1c0003000", "run", "a/B$$Lambda_.run");
        check("a/B$$Lambda$9", "run", "a/B$$Lambda_.run");
        check("a/B$$Lambda$x", "run", "a/B$$Lambda$x.run");
        check("a/B$$Lambda", "run", "a/B$$Lambda.run");
        check(
            "jdk/internal/reflect/GeneratedMethodAccessor102",
            "invoke",
            "jdk/internal/reflect/GeneratedMethodAccessor_.invoke",
        );
        check(
            "sun/reflect/GeneratedConstructorAccessor7",
            "newInstance",
            "sun/reflect/GeneratedConstructorAccessor_.newInstance",
        );
        check(
            "java/lang/invoke/LambdaForm$MH.0x000000080157a000",
            "x",
            "java/lang/invoke/LambdaForm$MH.0x000000080157a000.x",
        );
        check(
            "",
            "/tmp/snappy-1.1.8-d1f9bd24-4cc8-4571-b71c-1698b83f1af1-libsnappyjava.so",
            "./tmp/snappy-1.1.8-@uuid-libsnappyjava.so",
        );
        check("libnetty_epoll_x86_6412345678901234567.so", "poll", "libnetty_epoll_x86__.so.poll");
        check(
            "libasyncProfiler-505cc169188276c9f8e236295.so",
            "x",
            "libasyncProfiler-505cc169188276c9f8e236295.so.x",
        );
        check("é-12345678-libü.so", "x", "é-12345678-libü.so.x");
    }
}
