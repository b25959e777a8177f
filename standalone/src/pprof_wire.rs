//! pprof bytes at the level of protobuf fields: what the command line needs to name, retime and vary a profile without
//! understanding it. Total: bytes that are no protobuf give `None`.

/// One field of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) number: u64,
    pub(crate) value: Value<'a>,
    /// Key and value as they stand in the message.
    pub(crate) raw: &'a [u8],
}

/// A field's value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

const TIME_NANOS: u64 = 9;
const SAMPLE: u64 = 2;
const SAMPLE_VALUE: u64 = 2;
const SAMPLE_TYPE: u64 = 1;
const STRING: u64 = 6;

/// The fields of a message, in order; `None` if the bytes are no message.
pub(crate) fn fields(bytes: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut rest = bytes;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let begin = rest;
        let key = read_varint(&mut rest)?;
        let value = match key & 7 {
            0 => Value::Varint(read_varint(&mut rest)?),
            1 => take(&mut rest, 8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(read_varint(&mut rest)?).ok()?;
                Value::Bytes(take(&mut rest, length)?)
            }
            5 => take(&mut rest, 4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        found.push(Field { number: key >> 3, value, raw: &begin[..begin.len() - rest.len()] });
    }
    Some(found)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(head)
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a field of bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The profile at another time.
pub(crate) fn retime(raw: &[u8], time_ns: i64) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(raw.len() + 12);
    for field in fields(raw)?.iter().filter(|field| field.number != TIME_NANOS) {
        out.extend_from_slice(field.raw);
    }
    put_varint(&mut out, TIME_NANOS << 3);
    put_varint(&mut out, time_ns as u64);
    Some(out)
}

/// The profile with some samples missing and the values of the others changed; the same for the same seed.
pub(crate) fn vary(raw: &[u8], seed: u64) -> Option<Vec<u8>> {
    let mut random = Random(seed);
    let mut out = Vec::with_capacity(raw.len());
    for field in fields(raw)? {
        match field.value {
            Value::Bytes(sample) if field.number == SAMPLE => {
                if random.unit() >= 0.15 {
                    put_bytes(&mut out, SAMPLE, &vary_sample(sample, &mut random)?);
                }
            }
            _ => out.extend_from_slice(field.raw),
        }
    }
    Some(out)
}

fn vary_sample(sample: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let factor = 0.8 + 0.4 * random.unit();
    // Zeros, ones and negative values mean something by themselves; a changed value never becomes zero.
    let change = |value: u64| {
        if value <= 1 || value > i64::MAX as u64 { value } else { (value as f64 * factor) as u64 + 1 }
    };
    let mut out = Vec::with_capacity(sample.len() + 8);
    for field in fields(sample)? {
        match field.value {
            Value::Varint(value) if field.number == SAMPLE_VALUE => {
                put_varint(&mut out, SAMPLE_VALUE << 3);
                put_varint(&mut out, change(value));
            }
            Value::Bytes(mut packed) if field.number == SAMPLE_VALUE => {
                let mut values = Vec::with_capacity(packed.len() + 4);
                while !packed.is_empty() {
                    put_varint(&mut values, change(read_varint(&mut packed)?));
                }
                put_bytes(&mut out, SAMPLE_VALUE, &values);
            }
            _ => out.extend_from_slice(field.raw),
        }
    }
    Some(out)
}

/// The kind of profile (`__name__`) that its first sample types look like; `None` if the bytes are no pprof.
pub(crate) fn guess_name(raw: &[u8]) -> Option<&'static str> {
    let fields = fields(raw)?;
    let bytes = |number: u64| {
        fields.iter().filter(move |field| field.number == number).filter_map(|field| match field.value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        })
    };
    let strings: Vec<&[u8]> = bytes(STRING).collect();
    let mut types = bytes(SAMPLE_TYPE).peekable();
    types.peek()?;
    for sample_type in types {
        let name = fields_of(sample_type)?;
        let name = strings.get(name).copied().unwrap_or_default();
        let known = match std::str::from_utf8(name).unwrap_or_default() {
            "cpu" => "process_cpu",
            "inuse_space" | "inuse_objects" | "alloc_space" | "alloc_objects" | "space" | "objects" => {
                "memory"
            }
            "contentions" | "delay" => "mutex",
            "goroutine" => "goroutines",
            "wall" => "wall",
            _ => continue,
        };
        return Some(known);
    }
    Some("process_cpu")
}

/// The place of a sample type's name in the strings.
fn fields_of(sample_type: &[u8]) -> Option<usize> {
    let fields = fields(sample_type)?;
    let name = fields.iter().find(|field| field.number == 1);
    match name.map(|field| field.value) {
        Some(Value::Varint(at)) => usize::try_from(at).ok(),
        _ => Some(0),
    }
}

/// A `push.v1.PushRequest` with one series of one profile.
pub(crate) fn push_request(labels: &[(&str, &str)], profile: &[u8], id: &str) -> Vec<u8> {
    let mut series = Vec::with_capacity(profile.len() + 256);
    for (name, value) in labels {
        let mut label = Vec::with_capacity(name.len() + value.len() + 8);
        put_bytes(&mut label, 1, name.as_bytes());
        put_bytes(&mut label, 2, value.as_bytes());
        put_bytes(&mut series, 1, &label);
    }
    let mut sample = Vec::with_capacity(profile.len() + 64);
    put_bytes(&mut sample, 1, profile);
    if !id.is_empty() {
        put_bytes(&mut sample, 2, id.as_bytes());
    }
    put_bytes(&mut series, 2, &sample);
    let mut request = Vec::with_capacity(series.len() + 8);
    put_bytes(&mut request, 1, &series);
    request
}

/// SplitMix64: a stream of numbers from a seed.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Vec<u8> {
        let mut raw = Vec::new();
        put_bytes(&mut raw, SAMPLE_TYPE, &[8, 1]);
        for value in [0u8, 1, 100] {
            put_bytes(&mut raw, SAMPLE, &[8, 1, 16, value]);
        }
        for text in ["", "cpu"] {
            put_bytes(&mut raw, STRING, text.as_bytes());
        }
        put_varint(&mut raw, TIME_NANOS << 3);
        put_varint(&mut raw, 5);
        raw
    }

    #[test]
    fn retiming_changes_the_time_only() {
        let raw = profile();
        let back = retime(&retime(&raw, 1 << 40).expect("pprof"), 5).expect("pprof");
        assert_eq!(back, raw);
        assert_eq!(guess_name(&raw), Some("process_cpu"));
    }

    #[test]
    fn varying_is_the_same_for_the_same_seed_and_keeps_zeros() {
        let raw = profile();
        assert_eq!(vary(&raw, 7), vary(&raw, 7));
        let varied: Vec<_> = (0..50).filter_map(|seed| vary(&raw, seed)).collect();
        assert!(varied.iter().any(|other| *other != raw));
        for other in varied {
            for sample in fields(&other).expect("pprof").iter().filter(|field| field.number == SAMPLE) {
                let Value::Bytes(bytes) = sample.value else { panic!("a message") };
                let value = bytes[3];
                assert!(value <= 1 || (80..=121).contains(&value), "{value}");
            }
        }
    }

    #[test]
    fn what_is_no_protobuf_is_refused() {
        for bad in [&b"hello;world 5\n"[..], &[0x0a], &[0x0a, 5, 1], &[0xff; 11]] {
            assert!(fields(bad).is_none(), "{bad:?}");
        }
        assert_eq!(guess_name(b""), None);
    }
}
