//! What a gateway asks of its clients: whom they trust, and who they are.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::CertificateError;
use rustls::crypto::aws_lc_rs;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

use crate::cli::LoginArgs;

/// Largest file of certificates.
const CA_BYTES_MAX: u64 = 16 << 20;

/// The header `authorization`: RFC 7617 with a user, RFC 6750 with a token. Secrets come from the environment only, because
/// flags can be read by every user of a machine.
pub(super) fn authorization(login: &LoginArgs) -> Result<Option<String>> {
    let (password, token) = (std::env::var("HEARTH_PASSWORD").ok(), std::env::var("HEARTH_TOKEN").ok());
    header(login.user.as_deref(), password.as_deref(), token.as_deref())
}

fn header(user: Option<&str>, password: Option<&str>, token: Option<&str>) -> Result<Option<String>> {
    match (user, password, token) {
        (Some(_), _, Some(_)) => bail!("--user and HEARTH_TOKEN are both given: use one of them"),
        (Some(user), Some(password), None) => {
            Ok(Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))))
        }
        (Some(_), None, None) => {
            bail!("--user is given and HEARTH_PASSWORD is not: set it in the environment")
        }
        (None, _, Some(token)) => Ok(Some(format!("Bearer {token}"))),
        (None, _, None) => Ok(None),
    }
}

/// Trusts the authorities of a file, or else those of the system.
pub(super) fn tls(ca_file: Option<&Path>) -> Result<TlsConfig> {
    let roots = match ca_file {
        Some(file) => {
            let authorities = authorities(file).with_context(|| format!("--ca-file {}", file.display()))?;
            RootCerts::new_with_certs(&authorities)
        }
        None => RootCerts::PlatformVerifier,
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    Ok(TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build())
}

fn authorities(file: &Path) -> Result<Vec<Certificate<'static>>> {
    let bytes = std::fs::metadata(file).context("cannot be read")?.len();
    if bytes > CA_BYTES_MAX {
        bail!("has {bytes} bytes, more than the {CA_BYTES_MAX} that a file of certificates may have");
    }
    let pem = std::fs::read(file).context("cannot be read")?;
    let mut found = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.context("is no PEM file")? {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        bail!("has no certificate: it needs a block that begins with -----BEGIN CERTIFICATE-----");
    }
    Ok(found)
}

/// What a person can do about an error of TLS.
pub(super) fn hint(error: &ureq::Error) -> &'static str {
    let of_tls = match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref().and_then(|inner| inner.downcast_ref()),
        _ => None,
    };
    match of_tls {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            " (nobody whom this machine trusts signed its certificate: name the authority with --ca-file)"
        }
        Some(rustls::Error::InvalidMessage(_)) => " (it seems to speak no TLS: try http://)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn credentials_are_one_kind() {
        let of = |user, password, token| header(user, password, token).map_err(|error| error.to_string());
        assert_eq!(of(None, None, None), Ok(None));
        assert_eq!(of(None, Some("p"), None), Ok(None));
        // The example of RFC 7617.
        let basic = Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_owned());
        assert_eq!(of(Some("Aladdin"), Some("open sesame"), None), Ok(basic));
        assert_eq!(of(None, None, Some("t")), Ok(Some("Bearer t".to_owned())));
        assert!(of(Some("a"), None, None).unwrap_err().contains("HEARTH_PASSWORD"));
        assert!(of(Some("a"), Some("b"), Some("t")).unwrap_err().contains("use one of them"));
    }

    #[test]
    fn a_file_without_authorities_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.crt");
        let refused = || format!("{:#}", tls(Some(&file)).map(drop).unwrap_err());
        assert!(refused().contains("cannot be read"), "{}", refused());
        std::fs::write(&file, "no certificate\n").unwrap();
        assert!(refused().contains("has no certificate"), "{}", refused());
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----\n").unwrap();
        assert!(refused().contains("no PEM") || refused().contains("has no certificate"), "{}", refused());
        assert!(tls(None).is_ok());
    }
}
