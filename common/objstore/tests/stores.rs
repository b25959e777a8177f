//! The conformance suite on every store at hand.

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

/// `HEARTH_TEST_S3=s3://bucket/prefix` with credentials in AWS' variables; CI starts a server for it.
#[cfg(feature = "cloud")]
#[tokio::test]
async fn s3_conforms() {
    let Ok(url) = std::env::var("HEARTH_TEST_S3") else { return };
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
