#![no_main]

use bytes::Bytes;
use hearth_symbols::LineTable;
use xxhash_rust::xxh3::Xxh3Default;

// The checksum is made right: what is behind it is what is of interest.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= 64 {
        let mut hash = Xxh3Default::new();
        hash.update(&bytes[..56]);
        hash.update(&bytes[64..]);
        bytes[56..64].copy_from_slice(&hash.digest().to_le_bytes());
    }
    if let Ok(table) = LineTable::open(Bytes::from(bytes)) {
        let (first, last) = table.addresses();
        for address in (first..last.min(first + 500)).chain([0, last, u64::MAX]) {
            assert!(table.find(address).count() <= table.size_bytes());
        }
        table.virtual_address(last, first, last, 1);
    }
});
