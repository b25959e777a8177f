//! Buckets: from a URL and the environment to a client.

use std::sync::Arc;
use std::time::Duration;

use hearth_common::secrets::hide_url;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};

use crate::credentials;
use crate::encryption::Encryption;
use crate::error::{StoreError, StoreErrorKind};
use crate::metrics::Operation;
use crate::open::{RemoteOptions, StoreOptions, bad_url};
use crate::store::Store;
use crate::transport::Counting;

/// What URLs may look like.
const KNOWN: &str = "is no object store: write file:///dir, memory:, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix";

/// What a URL may not hold: it would be taken for a part of names.
const CREDENTIALS: &str = "holds more than a bucket and a prefix: credentials stand in the environment (docs/operations/object-stores.md)";

/// Ways to encrypt in one bucket: each has connections of its own.
const ENCRYPTIONS_MAX: usize = 256;
/// The longest pause between two tries of a request.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// A URL, taken apart.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    url: &'a str,
    scheme: &'a str,
    bucket: &'a str,
    prefix: &'a str,
}

impl Place<'_> {
    fn failed(&self, error: object_store::Error) -> StoreError {
        let url = hide_url(self.url);
        let kind = StoreErrorKind::Configuration(format!("'{url}' cannot be opened"));
        StoreError::caused(Operation::Attributes, &url, kind, error)
    }

    fn bare(&self) -> String {
        format!("{}://{}", self.scheme, self.bucket)
    }
}

pub(crate) fn open(url: &str, options: StoreOptions) -> Result<Store, StoreError> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| bad_url(url, KNOWN))?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(bad_url(url, "names no bucket"));
    }
    // No bucket has a colon in its name: it is in front of a secret that has a slash in it.
    if bucket.contains(['@', ':']) || rest.contains('?') {
        return Err(bad_url(url, CREDENTIALS));
    }
    let place = Place { url, scheme, bucket, prefix: prefix.trim_matches('/') };
    let remote = &options.remote;
    let backend = client(&place, remote, &remote.encryption)?;
    // One client for each way to encrypt, however many prefixes have it.
    let mut clients = vec![(&remote.encryption, Arc::clone(&backend))];
    let mut writers = Vec::new();
    for (below, encryption) in &remote.encryption_below {
        if !clients.iter().any(|(known, _)| *known == encryption) {
            if clients.len() == ENCRYPTIONS_MAX {
                return Err(bad_url(url, "is to be encrypted in more than 256 different ways"));
            }
            clients.push((encryption, client(&place, remote, encryption)?));
        }
        let known = clients.iter().find(|(known, _)| *known == encryption);
        writers.extend(known.map(|(_, client)| (below.clone(), Arc::clone(client))));
    }
    Ok(Store::remote(backend, writers, bucket, options))
}

fn client(
    place: &Place<'_>,
    remote: &RemoteOptions,
    encryption: &Encryption,
) -> Result<Arc<dyn ObjectStore>, StoreError> {
    if place.scheme != "s3" && *encryption != Encryption::Bucket {
        return Err(bad_url(
            place.url,
            "is no s3://: s3_sse_type is for S3 only, others encrypt as the bucket says",
        ));
    }
    let failed = |error| place.failed(error);
    let backend: Arc<dyn ObjectStore> = match place.scheme {
        "s3" => Arc::new(s3(place, remote, encryption)?.build().map_err(failed)?),
        "gs" => {
            let mut gcs = match &remote.environment {
                None => GoogleCloudStorageBuilder::from_env(),
                Some(variables) => named(variables, "GOOGLE_")
                    .fold(GoogleCloudStorageBuilder::new(), |gcs, (key, value)| gcs.with_config(key, value)),
            };
            gcs = gcs.with_url(place.bare());
            for (key, value) in client_settings(remote) {
                gcs = gcs.with_config(GoogleConfigKey::Client(key), value);
            }
            Arc::new(gcs.with_retry(retry(remote)).with_http_connector(Counting).build().map_err(failed)?)
        }
        "az" => {
            let mut azure = match &remote.environment {
                None => MicrosoftAzureBuilder::from_env(),
                Some(variables) => named(variables, "AZURE_")
                    .fold(MicrosoftAzureBuilder::new(), |azure, (key, value)| azure.with_config(key, value)),
            };
            azure = azure.with_url(place.bare());
            for (key, value) in client_settings(remote) {
                azure = azure.with_config(AzureConfigKey::Client(key), value);
            }
            Arc::new(azure.with_retry(retry(remote)).with_http_connector(Counting).build().map_err(failed)?)
        }
        _ => return Err(bad_url(place.url, KNOWN)),
    };
    if place.prefix.is_empty() {
        return Ok(backend);
    }
    let path = object_store::path::Path::parse(place.prefix).map_err(|e| place.failed(e.into()))?;
    Ok(Arc::new(PrefixStore::new(backend, path)))
}

fn s3(
    place: &Place<'_>,
    remote: &RemoteOptions,
    encryption: &Encryption,
) -> Result<AmazonS3Builder, StoreError> {
    let s3 = match &remote.environment {
        None => AmazonS3Builder::from_env(),
        Some(variables) => named(variables, "AWS_")
            .fold(AmazonS3Builder::new(), |s3, (key, value)| s3.with_config(key, value)),
    };
    let mut s3 = s3
        .with_url(place.bare())
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(retry(remote))
        .with_http_connector(Counting);
    for (key, value) in client_settings(remote) {
        s3 = s3.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    if let Some((kind, key_id)) = encryption.header() {
        let key = |name: &str| name.parse::<AmazonS3ConfigKey>().map_err(|e| place.failed(e));
        s3 = s3.with_config(key("aws_server_side_encryption")?, kind);
        if let Some(key_id) = key_id {
            s3 = s3.with_config(key("aws_sse_kms_key_id")?, key_id);
        }
    }
    Ok(match credentials::from_file(&s3) {
        Some(file) => s3.with_credentials(Arc::new(file)),
        None => s3,
    })
}

/// The variables of a client, as its own reading of the environment takes them.
fn named<'a, K: std::str::FromStr + 'a>(
    variables: &'a [(String, String)],
    prefix: &'a str,
) -> impl Iterator<Item = (K, &'a str)> {
    let of_client = variables.iter().filter(move |(name, _)| name.starts_with(prefix));
    of_client.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value.as_str())))
}

fn retry(remote: &RemoteOptions) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig { max_backoff: BACKOFF_MAX, ..BackoffConfig::default() },
        max_retries: remote.retries_max as usize,
        retry_timeout: remote.retry_for,
    }
}

/// What is set for every kind of bucket; other settings of the client may come from the environment.
fn client_settings(remote: &RemoteOptions) -> [(ClientConfigKey, String); 2] {
    let text = |time: Duration| format!("{}ms", time.as_millis());
    [
        (ClientConfigKey::Timeout, text(remote.request_timeout)),
        (ClientConfigKey::ConnectTimeout, text(remote.connect_timeout)),
    ]
}
