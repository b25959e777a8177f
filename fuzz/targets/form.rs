#![no_main]

use bytes::Bytes;
use futures::executor::block_on;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // The first line is the content type, or the boundary that the seeds have.
    let (first, rest) = bytes.iter().position(|byte| *byte == b'\n').map_or((&b""[..], bytes), |at| {
        let (first, rest) = bytes.split_at(at);
        (first, &rest[1..])
    });
    for content_type in [std::str::from_utf8(first).unwrap_or_default(), "multipart/form-data; boundary=x"] {
        let files = block_on(hearth_distributor::form_files(content_type, Bytes::copy_from_slice(rest)));
        if let Ok(files) = files {
            assert!(files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() <= rest.len());
        }
    }
});
