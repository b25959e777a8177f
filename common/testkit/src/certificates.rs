//! Certificates of a cluster for tests: an authority, and files as operators mount them.

use std::path::{Path, PathBuf};

pub use rcgen;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// Signs certificates.
#[derive(Debug)]
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Files of one process.
#[derive(Debug, Clone)]
pub struct Files {
    /// Its certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority.
    pub ca: PathBuf,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new authority, trusted by nobody yet.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("the system has random numbers");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Writes a new certificate for `name`, its key, and the authority into a folder, over those that are there.
    pub fn issue(&self, dir: &Path, name: &str) -> Files {
        self.issue_with(dir, name, |_| {})
    }

    /// The same, with a certificate that differs.
    pub fn issue_with(&self, dir: &Path, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Files {
        let key = KeyPair::generate().expect("the system has random numbers");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let cert = params.signed_by(&key, &self.issuer).expect("signed");
        std::fs::create_dir_all(dir).expect("a folder");
        let files = Files { cert: dir.join("tls.crt"), key: dir.join("tls.key"), ca: dir.join("ca.crt") };
        // One after the other, as a mount that is renewed does not: whoever reads between them sees a pair that does not fit.
        std::fs::write(&files.cert, cert.pem()).expect("written");
        std::fs::write(&files.key, key.serialize_pem()).expect("written");
        std::fs::write(&files.ca, &self.pem).expect("written");
        files
    }
}
