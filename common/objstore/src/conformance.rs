//! What every store must do, as one function: run against memory and a folder in tests, against real services in CI.

use bytes::Bytes;
use hearth_common::BoxError;

use crate::store::{PutOutcome, Store};

fn ensure(holds: bool, what: &str) -> Result<(), BoxError> {
    if holds { Ok(()) } else { Err(format!("the store breaks a rule: {what}").into()) }
}

/// Checks a store below the prefix `conformance/<unique>`; the error names the rule that it breaks.
pub async fn check(store: &Store, unique: u128) -> Result<(), BoxError> {
    let root = format!("conformance/{unique:032x}");
    whole_objects(store, &root).await?;
    ranges(store, &root).await?;
    listings(store, &root).await?;
    creation(store, &root).await?;
    large(store, &root).await?;
    pieces(store, &root).await?;
    store.probe(unique).await?;
    let left: Vec<String> = store.list(&root).await?.into_iter().map(|o| o.key).collect();
    store.delete(&left).await?;
    ensure(store.list(&root).await?.is_empty(), "deleted objects are gone from listings")
}

async fn whole_objects(store: &Store, root: &str) -> Result<(), BoxError> {
    // All characters that a tenant id may have.
    let key = format!("{root}/t/!-_.*'()aZ9/one");
    ensure(!store.exists(&key).await?, "an object that was never written does not exist")?;
    let missing = store.get(&key, 10).await;
    ensure(missing.is_err_and(|e| e.is_not_found()), "a missing object is reported as such")?;
    store.put(&key, vec![Bytes::from_static(b"hel"), Bytes::new(), Bytes::from_static(b"lo")]).await?;
    ensure(store.get(&key, 5).await? == "hello", "parts are written one after the other")?;
    ensure(store.get(&key, 4).await.is_err(), "the limit of a read holds")?;
    let first = store.head(&key).await?;
    ensure(first.bytes == 5, "head knows the length")?;
    ensure(store.head(&key).await? == first, "head says the same of an object that does not change")?;
    store.put(&key, Bytes::from_static(b"dolly")).await?;
    ensure(store.get(&key, 5).await? == "dolly", "a write replaces")?;
    ensure(store.head(&key).await? != first, "head tells an object from one of equal length in its place")?;
    store.put(&key, Bytes::new()).await?;
    ensure(store.get(&key, 5).await?.is_empty(), "an object may be empty")?;
    store.delete(&[key.clone(), key.clone()]).await?;
    ensure(!store.exists(&key).await?, "a deleted object is gone, and deleting twice is no error")
}

async fn ranges(store: &Store, root: &str) -> Result<(), BoxError> {
    let key = format!("{root}/ranges");
    let bytes: Vec<u8> = (0..100_000u32).map(|n| (n % 251) as u8).collect();
    store.put(&key, bytes.clone()).await?;
    let wanted = [99_999..100_000, 5..5, 0..10, 0..100_000, 7..9, 50_000..60_000];
    let got = store.range_reader(key.clone(), Some(100_000)).read(&wanted).await?;
    for (range, got) in wanted.iter().zip(&got) {
        ensure(got[..] == bytes[range.start as usize..range.end as usize], "ranges are exact and in order")?;
    }
    ensure(
        store.get_ranges(&key, std::slice::from_ref(&(99_999..100_001))).await.is_err(),
        "a range behind the end fails",
    )?;
    let missing = store.get_ranges(&format!("{root}/none"), std::slice::from_ref(&(0..1))).await;
    ensure(missing.is_err_and(|e| e.is_not_found()), "ranges of a missing object are reported as such")
}

async fn listings(store: &Store, root: &str) -> Result<(), BoxError> {
    for name in ["b/2", "a/1", "b/1", "bb/1"] {
        store.put(&format!("{root}/list/{name}"), Bytes::from_static(b"x")).await?;
    }
    let keys: Vec<String> = store.list(&format!("{root}/list/b")).await?.into_iter().map(|o| o.key).collect();
    ensure(
        keys == [format!("{root}/list/b/1"), format!("{root}/list/b/2")],
        "a listing has whole segments, sorted",
    )?;
    let folders = store.list_folders(&format!("{root}/list")).await?;
    ensure(folders == ["a", "b", "bb"], "folders are listed")?;
    ensure(store.list(&format!("{root}/nothing")).await?.is_empty(), "nothing is listed as nothing")?;
    ensure(store.list_folders(&format!("{root}/nothing")).await?.is_empty(), "no folders either")
}

async fn creation(store: &Store, root: &str) -> Result<(), BoxError> {
    let key = format!("{root}/created");
    let first = store.put_if_absent(&key, Bytes::from_static(b"1")).await?;
    ensure(first == PutOutcome::Created, "an absent object is created")?;
    let second = store.put_if_absent(&key, Bytes::from_static(b"2")).await?;
    ensure(second == PutOutcome::AlreadyExists, "an existing one is not")?;
    ensure(store.get(&key, 5).await? == "1", "and keeps its bytes")?;
    store.delete(std::slice::from_ref(&key)).await?;
    let third = store.put_if_absent(&key, Bytes::from_static(b"3")).await?;
    ensure(third == PutOutcome::Created, "after a delete it can be created again")
}

async fn large(store: &Store, root: &str) -> Result<(), BoxError> {
    let key = format!("{root}/large");
    let part = Bytes::from((0..7_000_001u32).map(|n| (n % 253) as u8).collect::<Vec<u8>>());
    store.put(&key, vec![part.clone(), part.clone(), part.clone()]).await?;
    let at = part.len() as u64 * 2;
    ensure(store.head(&key).await?.bytes == part.len() as u64 * 3, "a large object has its length")?;
    let got = store.get_ranges(&key, std::slice::from_ref(&(at - 1..at + 1))).await?;
    ensure(got[0][..] == [part[part.len() - 1], part[0]], "a large object has its bytes")
}

async fn pieces(store: &Store, root: &str) -> Result<(), BoxError> {
    // Nothing, one piece, a part and more than two parts.
    for (at, lengths) in [&[][..], &[5], &[0, 3, 9 << 20], &[5 << 20; 5]].iter().enumerate() {
        let key = format!("{root}/pieces/new/{at}");
        let (mut upload, mut all) = (store.upload(key.clone()), Vec::new());
        for (piece, &length) in lengths.iter().enumerate() {
            let bytes: Vec<u8> = (0..length).map(|n| (n * 7 + piece) as u8).collect();
            all.extend_from_slice(&bytes);
            upload.write(bytes.into()).await?;
        }
        let bytes = upload.finish().await?;
        ensure(bytes == all.len() as u64, "an upload counts its bytes")?;
        ensure(store.get(&key, 1 << 30).await? == all, "an upload in pieces is one object")?;
    }
    let key = format!("{root}/pieces/given-up");
    let mut upload = store.upload(key.clone());
    for _ in 0..3 {
        upload.write(vec![7; 6 << 20].into()).await?;
    }
    upload.abort().await;
    store.delete(&[key]).await?;
    Ok(())
}
