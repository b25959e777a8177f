//! An OTLP export with a known sum, encoded by hand: the tests must not share the code that they test.

use crate::profile::{field, message};

/// An `ExportProfilesServiceRequest` with one CPU profile of a service: `samples` samples of 10 ms in `main`.
pub fn export(service: &str, time_ns: u64, samples: u64) -> Vec<u8> {
    let texts = ["", "samples", "count", "cpu", "nanoseconds", "main"];
    let mut dictionary = Vec::new();
    // Entry 0 of each table is empty: "none".
    message(&mut dictionary, 1, &[]);
    message(&mut dictionary, 2, &[]);
    message(&mut dictionary, 2, &nested(3, &field(1, 1)));
    message(&mut dictionary, 3, &[]);
    message(&mut dictionary, 3, &field(1, 5));
    message(&mut dictionary, 4, &[]);
    texts.iter().for_each(|text| message(&mut dictionary, 5, text.as_bytes()));
    message(&mut dictionary, 6, &[]);
    message(&mut dictionary, 7, &[]);
    message(&mut dictionary, 7, &nested(1, &[1]));

    let mut profile = nested(1, &[field(1, 1), field(2, 2)].concat());
    // Repeated numbers stand packed, without a key each.
    let values = &field(1, samples)[1..];
    message(&mut profile, 2, &[field(1, 1), nested(4, values)].concat());
    // time_unix_nano is a fixed64.
    profile.push(3 << 3 | 1);
    profile.extend(time_ns.to_le_bytes());
    profile.extend(field(4, samples * 10_000_000));
    message(&mut profile, 5, &[field(1, 3), field(2, 4)].concat());
    profile.extend(field(6, 10_000_000));

    let attribute = [nested(1, b"service.name"), nested(2, &nested(1, service.as_bytes()))].concat();
    let mut of_resource = nested(1, &nested(1, &attribute));
    message(&mut of_resource, 2, &nested(2, &profile));
    [nested(1, &of_resource), nested(2, &dictionary)].concat()
}

/// A message as gRPC sends it: not compressed, and its length.
pub fn grpc_frame(bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend((bytes.len() as u32).to_be_bytes());
    frame.extend(bytes);
    frame
}

fn nested(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, number, bytes);
    out
}
