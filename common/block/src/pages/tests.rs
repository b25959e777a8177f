//! Round trips of pages, and damaged pages.

use std::sync::Arc;

use parquet::basic::{Encoding, Type as PhysicalType};
use parquet::schema::types::{ColumnDescPtr, ColumnDescriptor, ColumnPath, Type};
use proptest::prelude::*;

use super::Word;
use super::chunk::{ChunkEncoder, EncodedChunk};
use super::decode::PageDecoder;

fn desc(physical: PhysicalType) -> ColumnDescPtr {
    let ty = Type::primitive_type_builder("c", physical)
        .with_repetition(parquet::basic::Repetition::REQUIRED)
        .build()
        .expect("valid");
    Arc::new(ColumnDescriptor::new(Arc::new(ty), 0, 0, ColumnPath::new(vec!["c".to_owned()])))
}

fn read<T: Word>(chunk: &EncodedChunk) -> Result<Vec<T>, String> {
    let mut decoder = PageDecoder::new()?;
    let mut at = chunk.pages.dict_bytes as usize;
    let dict = if at > 0 { decoder.dictionary(&chunk.bytes[..at])? } else { Vec::new() };
    let mut out = Vec::new();
    for &(rows, bytes) in &chunk.pages.pages {
        decoder.values(&chunk.bytes[at..at + bytes as usize], rows as usize, &dict, &mut out)?;
        at += bytes as usize;
    }
    Ok(out)
}

proptest! {
    #[test]
    fn numbers_come_back(
        values in prop::collection::vec(prop_oneof![0i64..4, any::<i64>(), 1_000i64..1_100], 1..700),
        repeat in 1usize..50,
    ) {
        let values: Vec<i64> = values.iter().flat_map(|&v| std::iter::repeat_n(v, repeat)).collect();
        let small: Vec<u32> = values.iter().map(|&v| v as u32).collect();
        let mut encoder = ChunkEncoder::new(1).expect("valid level");
        let (long, int) = (desc(PhysicalType::INT64), desc(PhysicalType::INT32));
        for chunk in [encoder.delta(&long, &values), encoder.smallest(&long, &values)] {
            prop_assert_eq!(&read::<i64>(&chunk.expect("encodes")).expect("decodes"), &values);
        }
        for chunk in [encoder.delta(&int, &small), encoder.smallest(&int, &small)] {
            prop_assert_eq!(&read::<u32>(&chunk.expect("encodes")).expect("decodes"), &small);
        }
    }

    #[test]
    fn values_of_one_magnitude_are_split(
        values in prop::collection::vec(5i64 << 16..6 << 16, 1_000..3_000),
        high in prop_oneof![Just(0i64), Just(3i64 << 40), Just(-1i64 << 33)],
    ) {
        let values: Vec<i64> = values.iter().map(|v| v | high).collect();
        let mut encoder = ChunkEncoder::new(1).expect("valid level");
        let chunk = encoder.smallest(&desc(PhysicalType::INT64), &values).expect("encodes");
        prop_assert!(chunk.close.metadata.encodings().any(|e| e == Encoding::BYTE_STREAM_SPLIT));
        prop_assert_eq!(&read::<i64>(&chunk).expect("decodes"), &values);
    }

    #[test]
    fn damage_never_panics(
        values in prop_oneof![
            prop::collection::vec(0i64..40, 1..300),
            prop::collection::vec(1i64 << 20..1 << 21, 100..300),
        ],
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
    ) {
        let chunk = ChunkEncoder::new(1).expect("valid level").smallest(&desc(PhysicalType::INT64), &values);
        let mut chunk = chunk.expect("encodes");
        let mut bytes = chunk.bytes.to_vec();
        for (at, flip) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        chunk.bytes = bytes.into();
        let _ = read::<i64>(&chunk);
    }
}
