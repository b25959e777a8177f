//! Small pprof files with known sums, encoded by hand: the tests must not share the code that they test.

use std::io::Write;

/// Stacks (root first) with a value each.
pub type Stacks<'a> = &'a [(&'a [&'a str], i64)];

/// A stack (root first), its value, and the labels of its sample.
pub type Labelled<'a> = (&'a [&'a str], i64, &'a [(&'a str, &'a str)]);

/// A CPU profile (`cpu`/`nanoseconds`) at a time.
pub fn cpu(time_ns: i64, stacks: Stacks<'_>) -> Vec<u8> {
    let samples: Vec<Labelled<'_>> = stacks.iter().map(|(stack, value)| (*stack, *value, &[][..])).collect();
    labelled_cpu(time_ns, &samples)
}

/// The same, of samples with labels.
pub fn labelled_cpu(time_ns: i64, samples: &[Labelled<'_>]) -> Vec<u8> {
    let mut strings = vec![String::new(), "cpu".to_owned(), "nanoseconds".to_owned()];
    let mut out = Vec::new();
    let mut functions: Vec<String> = Vec::new();
    message(&mut out, 1, &[field(1, 1), field(2, 2)].concat());
    for (stack, value, labels) in samples {
        let mut sample = Vec::new();
        for frame in stack.iter().rev() {
            let known = functions.iter().position(|f| f == frame);
            let id = known.unwrap_or_else(|| {
                functions.push((*frame).to_owned());
                functions.len() - 1
            });
            sample.extend(field(1, id as u64 + 1));
        }
        sample.extend(field(2, *value as u64));
        for (key, text) in *labels {
            let at = strings.len() as u64;
            strings.extend([(*key).to_owned(), (*text).to_owned()]);
            message(&mut sample, 3, &[field(1, at), field(2, at + 1)].concat());
        }
        message(&mut out, 2, &sample);
    }
    for (id, name) in (1u64..).zip(&functions) {
        strings.push(name.clone());
        let line = field(1, id);
        let mut location = field(1, id);
        message(&mut location, 4, &line);
        message(&mut out, 4, &location);
        message(&mut out, 5, &[field(1, id), field(2, strings.len() as u64 - 1)].concat());
    }
    for text in &strings {
        message(&mut out, 6, text.as_bytes());
    }
    out.extend(field(9, time_ns as u64));
    message(&mut out, 11, &[field(1, 1), field(2, 2)].concat());
    out.extend(field(12, 10_000_000));
    out
}

/// Gzips.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// A gzip member that inflates to `length` zero bytes (rounded up to a MiB): one MiB deflated with a full flush, so that
/// its bytes can be repeated. About a thousandth of the length, and itself highly compressible.
pub fn bomb(length: u64) -> Vec<u8> {
    let zeros = vec![0u8; 1 << 20];
    let mut deflate = flate2::Compress::new(flate2::Compression::best(), false);
    let mut flushed = |flush| {
        let mut block = Vec::with_capacity(1 << 16);
        deflate.compress_vec(&zeros, &mut block, flush).expect("fits");
        block
    };
    let (first, again) = (flushed(flate2::FlushCompress::Full), flushed(flate2::FlushCompress::Full));
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    out.extend(first);
    for _ in 1..length.div_ceil(1 << 20) {
        out.extend(&again);
    }
    out.extend([3, 0]);
    out.extend([0; 4]);
    out.extend((length as u32).to_le_bytes());
    out
}

/// A `push.v1.PushRequest` with one series and one profile.
pub fn push_request(labels: &[(&str, &str)], pprof: &[u8]) -> Vec<u8> {
    let mut series = Vec::new();
    for (name, value) in labels {
        let mut pair = Vec::new();
        message(&mut pair, 1, name.as_bytes());
        message(&mut pair, 2, value.as_bytes());
        message(&mut series, 1, &pair);
    }
    let mut sample = Vec::new();
    message(&mut sample, 1, pprof);
    message(&mut series, 2, &sample);
    let mut request = Vec::new();
    message(&mut request, 1, &series);
    request
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn field(number: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, number << 3);
    varint(&mut out, value);
    out
}

pub(crate) fn message(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
