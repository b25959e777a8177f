//! The protobuf wire format by hand: whatever a test wants to say, also what is wrong.

/// Appends a varint.
pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a field's key.
pub fn key(out: &mut Vec<u8>, field: u64, wire_type: u8) {
    varint(out, field << 3 | u64::from(wire_type));
}

/// Appends a varint field, zero too.
pub fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    key(out, field, 0);
    varint(out, value);
}

/// Appends a varint field unless it is zero, as proto3 does.
pub fn number_unless_zero(out: &mut Vec<u8>, field: u64, value: u64) {
    if value != 0 {
        number(out, field, value);
    }
}

/// Appends a field of bytes: a string, a message, packed numbers.
pub fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    key(out, field, 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends a repeated number: packed, or one field each.
pub fn numbers(out: &mut Vec<u8>, field: u64, values: &[u64], packed: bool) {
    if packed && !values.is_empty() {
        let mut inner = Vec::new();
        values.iter().for_each(|value| varint(&mut inner, *value));
        bytes(out, field, &inner);
    } else {
        values.iter().for_each(|value| number(out, field, *value));
    }
}
