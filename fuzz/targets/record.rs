#![no_main]

use hearth_formats::record::{Record, decode, encode, peek};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = peek(bytes);
    // The checksum is made right, or nothing behind it would ever be reached.
    let mut bytes = bytes.to_vec();
    if let Some((head, rest)) = bytes.split_at_mut_checked(16) {
        head[8..12].copy_from_slice(&(16 + rest.len() as u32).to_le_bytes());
        head[12..16].copy_from_slice(&crc32c::crc32c(rest).to_le_bytes());
    }
    let mut record = Record::default();
    if let Ok(header) = decode(&bytes, &mut record) {
        let mut again = Vec::new();
        encode(&header, &record, &mut again).expect("what was read can be written");
        let mut back = Record::default();
        assert_eq!(decode(&again, &mut back), Ok(header));
        assert_eq!((back.frames, back.values), (record.frames, record.values));
    }
});
