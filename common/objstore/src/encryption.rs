//! How a bucket encrypts what is written to it, as far as we ask it to.

use crate::error::{StoreError, StoreErrorKind};
use crate::metrics::Operation;

/// What a write asks S3 to encrypt with. Reads need no word: the server knows, and looks whether the reader may.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Encryption {
    /// As the bucket is set up.
    #[default]
    Bucket,
    /// Keys that S3 manages (SSE-S3).
    S3,
    /// A key of KMS; empty: the account's own for S3.
    Kms(String),
    /// Twice, with a key of KMS.
    KmsTwice(String),
}

impl Encryption {
    /// From the settings `s3_sse_type` and `s3_sse_kms_key_id`.
    pub fn from_settings(kind: &str, key_id: &str) -> Result<Self, StoreError> {
        let wrong = |why: String| {
            Err(StoreError::new(Operation::Upload, "s3_sse_type", StoreErrorKind::Configuration(why)))
        };
        match kind {
            "" | "SSE-S3" if !key_id.is_empty() => {
                wrong(format!("s3_sse_kms_key_id '{key_id}' needs s3_sse_type SSE-KMS or DSSE-KMS"))
            }
            "" => Ok(Self::Bucket),
            "SSE-S3" => Ok(Self::S3),
            "SSE-KMS" => Ok(Self::Kms(key_id.to_owned())),
            "DSSE-KMS" => Ok(Self::KmsTwice(key_id.to_owned())),
            other => wrong(format!("s3_sse_type '{other}' is none of SSE-S3, SSE-KMS and DSSE-KMS")),
        }
    }

    /// The values of S3's header and of its key, if they are sent.
    #[cfg(feature = "cloud")]
    pub(crate) fn header(&self) -> Option<(&'static str, Option<&str>)> {
        let named = |key: &'_ str| (!key.is_empty()).then_some(()).is_some();
        match self {
            Self::Bucket => None,
            Self::S3 => Some(("AES256", None)),
            Self::Kms(key) => Some(("aws:kms", named(key).then_some(key.as_str()))),
            Self::KmsTwice(key) => Some(("aws:kms:dsse", named(key).then_some(key.as_str()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked() {
        let of = |kind, key| Encryption::from_settings(kind, key).map_err(|error| error.to_string());
        assert_eq!(of("", ""), Ok(Encryption::Bucket));
        assert_eq!(of("SSE-S3", ""), Ok(Encryption::S3));
        assert_eq!(of("SSE-KMS", "k"), Ok(Encryption::Kms("k".to_owned())));
        assert_eq!(of("DSSE-KMS", ""), Ok(Encryption::KmsTwice(String::new())));
        assert!(of("AES", "").is_err_and(|why| why.contains("'AES'")));
        assert!(of("SSE-S3", "k").is_err_and(|why| why.contains("'k'")));
    }
}
