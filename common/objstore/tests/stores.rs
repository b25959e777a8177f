//! The conformance suite on every store at hand.

use hearth_common::TimestampNs;
use hearth_objstore::{Store, StoreOptions, conformance};

#[tokio::test]
async fn memory_conforms() {
    let store = Store::open("memory:", StoreOptions::default()).expect("opens");
    conformance::check(&store, 1).await.expect("conforms");
}

#[tokio::test]
async fn a_folder_conforms_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let url = format!("file://{}/store", dir.path().display());
    let store = Store::open(&url, StoreOptions::default()).expect("opens");
    conformance::check(&store, 2).await.expect("conforms");
    assert!(store.list("conformance").await.expect("lists").is_empty());
    let mut registry = prometheus_client::registry::Registry::default();
    store.register_metrics(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
    assert!(
        text.contains(r#"objstore_bucket_operations_total{operation="create",bucket="store"}"#),
        "{text}"
    );
}

/// What a process that died in the middle of a put leaves in a folder: no listing shows it, and it is found nevertheless.
#[tokio::test]
async fn files_that_never_became_objects_are_removed() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let store = Store::open_folder(dir.path(), StoreOptions::default()).expect("opens");
    store.put("t/a/blocks/1/rows", vec![1]).await.expect("writes");
    let file = |name: &str| dir.path().join(name);
    for name in ["t/a/blocks/1/rows#1", "t/a/blocks/2/deep/rows#12", "t/b/rows#1", "t/a/no#number"] {
        std::fs::create_dir_all(file(name).parent().expect("a folder")).expect("creates");
        std::fs::write(file(name), b"part").expect("writes");
    }
    assert_eq!(store.list("t/a/blocks").await.expect("lists").len(), 1);
    let remove = async |prefix: &str, before_ns| {
        store.remove_unfinished(prefix, TimestampNs(before_ns)).await.expect("removes")
    };
    assert_eq!(remove("t/a", 1).await, 0, "young ones may be on their way");
    assert_eq!(remove("t/none", i64::MAX).await, 0);
    assert_eq!(remove("t/a", i64::MAX).await, 2);
    assert!(!file("t/a/blocks/1/rows#1").exists() && file("t/a/blocks/1/rows").exists());
    assert!(!file("t/a/blocks/2").exists(), "empty folders go too");
    assert!(file("t/b/rows#1").exists() && file("t/a/no#number").exists());
    assert_eq!(remove("t/b", i64::MAX).await, 1);
    assert!(dir.path().exists());
}

/// `HEARTH_TEST_BUCKET`: the URL of a bucket, `s3://bucket/prefix`, `gs://…` or `az://…`, with credentials in the environment. For
/// a look at a service by hand; `remote.rs` brings a server of its own.
#[cfg(feature = "cloud")]
#[tokio::test]
async fn a_bucket_conforms() {
    let Ok(url) = std::env::var("HEARTH_TEST_BUCKET") else { return };
    let store = Store::open(&url, StoreOptions::default()).expect("opens");
    conformance::check(&store, 3).await.expect("conforms");
}

#[test]
fn a_wrong_url_is_named() {
    for url in ["ftp://x", "relative/dir", "", "s3:bucket"] {
        let error = Store::open(url, StoreOptions::default()).expect_err("refused");
        assert!(error.to_string().contains(&format!("'{url}'")), "{error}");
    }
}
