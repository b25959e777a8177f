//! Mutual TLS on the internal port: who calls and who answers both show a certificate of the cluster's own authority.
//!
//! One name stands for the whole cluster: each certificate carries it, and each side looks for it. Addresses of processes
//! come and go, so they are not in certificates; and an authority that signs for others too, as one of a company does, lets
//! nobody in whose certificate lacks the name. TLS 1.3 (RFC 8446) and nothing older: both ends are of our own.
//!
//! Knows files and handshakes; must not know what is said over the connection.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hearth_common::{Clock, TimestampNs};
use parking_lot::RwLock;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::metrics::Metrics;

/// Files of certificates are longer than a few KB only by mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Certificates of one file.
const CERTIFICATES_MAX: usize = 64;
/// HTTP/2, as both ends are our own.
const ALPN_H2: &[u8] = b"h2";
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// How often files should be looked at: see [`Tls::refresh`].
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(10);

/// Where certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the certificate of this process, then those between it and the authority.
    pub cert: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// PEM: the authorities that sign certificates of this cluster.
    pub ca: PathBuf,
    /// The name that each certificate of the cluster carries (subject alternative name, DNS).
    pub name: String,
}

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} holds {problem}", file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The name is none.
    #[error("'{0}' is no name that a certificate can carry: write one such as hearth-cluster")]
    Name(String),
    /// Key and certificate are not a pair.
    #[error("the key in {} does not fit the certificate in {}", key.display(), cert.display())]
    Pair {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        cert: PathBuf,
    },
    /// The other processes would refuse the certificate.
    #[error(
        "the certificate in {} cannot serve as {side} of a cluster named '{}' under the authorities in {}",
        files.cert.display(), files.name, files.ca.display()
    )]
    Refused {
        /// Where all of it is.
        files: Box<TlsFiles>,
        /// `server` or `client`.
        side: &'static str,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The library refuses the settings.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// What [`Tls::refresh`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// The files are as they were.
    Same,
    /// New handshakes use what is in the files now.
    Renewed,
}

/// Certificates in use, for both sides of connections. Cheap to clone; clones are renewed together.
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    files: TlsFiles,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    current: RwLock<Current>,
}

struct Current {
    bytes: [Vec<u8>; 3],
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    name: ServerName<'static>,
    expires: TimestampNs,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.shared.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files and proves that the certificate would be taken by a peer with the same authorities.
    pub fn open(files: TlsFiles, clock: Arc<dyn Clock>, metrics: Metrics) -> Result<Self, TlsError> {
        let current = build(&files, read_all(&files)?, clock.now())?;
        metrics.certificate_expires(current.expires);
        Ok(Self { shared: Arc::new(Shared { files, clock, metrics, current: RwLock::new(current) }) })
    }

    /// Looks at the files again; call it each [`REFRESH_INTERVAL`]. Files that cannot be used leave what is in use as it
    /// is, and are counted. Reads small files: not for a thread that must not block.
    pub fn refresh(&self) -> Result<Refreshed, TlsError> {
        let Shared { files, clock, metrics, current } = &*self.shared;
        let renewed = read_all(files).and_then(|bytes| {
            if bytes == current.read().bytes {
                return Ok(None);
            }
            build(files, bytes, clock.now()).map(Some)
        });
        match renewed {
            Ok(None) => Ok(Refreshed::Same),
            Ok(Some(renewed)) => {
                metrics.certificate_expires(renewed.expires);
                *current.write() = renewed;
                Ok(Refreshed::Renewed)
            }
            Err(error) => {
                metrics.certificate_refused();
                Err(error)
            }
        }
    }

    /// When the certificate in use ends.
    pub fn expires(&self) -> TimestampNs {
        self.shared.current.read().expires
    }

    /// The connecting side of a handshake.
    pub(crate) async fn connect(&self, stream: TcpStream) -> io::Result<client::TlsStream<TcpStream>> {
        let (config, name) = {
            let current = self.shared.current.read();
            (Arc::clone(&current.client), current.name.clone())
        };
        TlsConnector::from(config).connect(name, stream).await
    }

    /// The accepting side of a handshake. An error of kind `PermissionDenied` is a certificate without the cluster's name.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<server::TlsStream<TcpStream>> {
        let (config, name) = {
            let current = self.shared.current.read();
            (Arc::clone(&current.server), current.name.clone())
        };
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let named = shown.is_some_and(|shown| {
            ParsedCertificate::try_from(shown)
                .is_ok_and(|shown| rustls::client::verify_server_name(&shown, &name).is_ok())
        });
        if !named {
            let why = format!("its certificate does not carry the name '{}'", name.to_str());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        Ok(stream)
    }
}

fn read_all(files: &TlsFiles) -> Result<[Vec<u8>; 3], TlsError> {
    Ok([read(&files.cert)?, read(&files.key)?, read(&files.ca)?])
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let fail = |source| TlsError::Read { file: file.to_owned(), source };
    let size = std::fs::metadata(file).map_err(fail)?.len();
    if size > FILE_BYTES_MAX {
        let problem = format!("{size} bytes, limit {FILE_BYTES_MAX}: is it a file of certificates?");
        return Err(TlsError::Content { file: file.to_owned(), problem });
    }
    std::fs::read(file).map_err(fail)
}

fn build(files: &TlsFiles, bytes: [Vec<u8>; 3], now: TimestampNs) -> Result<Current, TlsError> {
    let [cert_pem, key_pem, ca_pem] = &bytes;
    let chain = certificates(&files.cert, cert_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| TlsError::Content {
        file: files.key.clone(),
        problem: format!("no private key in PEM: {error}"),
    })?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(&files.ca, ca_pem)? {
        roots.add(authority).map_err(|error| TlsError::Content {
            file: files.ca.clone(),
            problem: format!("a certificate that is no authority: {error}"),
        })?;
    }
    let name = ServerName::try_from(files.name.clone()).map_err(|_| TlsError::Name(files.name.clone()))?;
    let (provider, roots) = (Arc::new(rustls::crypto::aws_lc_rs::default_provider()), Arc::new(roots));
    let expires = expiry(&files.cert, &chain[0])?;
    let servers = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
        .build()
        .map_err(|error| TlsError::Setup(rustls::Error::General(error.to_string())))?;
    let clients = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .build()
        .map_err(|error| TlsError::Setup(rustls::Error::General(error.to_string())))?;
    prove(files, &chain, (&*servers, &*clients), &name, now)?;
    let server = server_config(files, &provider, clients, (chain.clone(), key.clone_key()))?;
    let client = client_config(files, &provider, servers, (chain, key))?;
    Ok(Current { server: Arc::new(server), client: Arc::new(client), name, expires, bytes })
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn server_config(
    files: &TlsFiles,
    provider: &Arc<CryptoProvider>,
    clients: Arc<dyn ClientCertVerifier>,
    (chain, key): Pair,
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(VERSIONS)
        .map_err(TlsError::Setup)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(|error| unusable(files, error))?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    Ok(config)
}

fn client_config(
    files: &TlsFiles,
    provider: &Arc<CryptoProvider>,
    servers: Arc<WebPkiServerVerifier>,
    (chain, key): Pair,
) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(VERSIONS)
        .map_err(TlsError::Setup)?
        .with_webpki_verifier(servers)
        .with_client_auth_cert(chain, key)
        .map_err(|error| unusable(files, error))?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    Ok(config)
}

fn unusable(files: &TlsFiles, error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::Pair { key: files.key.clone(), cert: files.cert.clone() }
        }
        other => TlsError::Setup(other),
    }
}

fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = |problem: String| TlsError::Content { file: file.to_owned(), problem };
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).take(CERTIFICATES_MAX).collect();
    let read = read.map_err(|error| content(format!("a broken certificate: {error}")))?;
    if read.is_empty() {
        return Err(content("no certificate in PEM".to_owned()));
    }
    Ok(read)
}

/// That peers with the same files would take this certificate, on both sides.
fn prove(
    files: &TlsFiles,
    chain: &[CertificateDer<'static>],
    (servers, clients): (&WebPkiServerVerifier, &dyn ClientCertVerifier),
    name: &ServerName<'static>,
    now: TimestampNs,
) -> Result<(), TlsError> {
    let seconds = u64::try_from(now.0 / 1_000_000_000).unwrap_or(0);
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let refused =
        |side: &'static str| move |source| TlsError::Refused { files: Box::new(files.clone()), side, source };
    let (own, between) = chain.split_first().expect("certificates() gives at least one");
    servers.verify_server_cert(own, between, name, &[], now).map_err(refused("server"))?;
    clients.verify_client_cert(own, between, now).map_err(refused("client"))?;
    Ok(())
}

fn expiry(file: &Path, certificate: &CertificateDer<'_>) -> Result<TimestampNs, TlsError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| TlsError::Content {
        file: file.to_owned(),
        problem: format!("a broken certificate: {error}"),
    })?;
    Ok(TimestampNs(parsed.validity().not_after.timestamp().saturating_mul(1_000_000_000)))
}
