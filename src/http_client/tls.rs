//! TLS: what is trusted, who the client is, which versions. The provider of cryptography is named
//! here and nowhere else.
//!
//! Files are read again once what was read is a second old. Where one has changed, a new
//! configuration with the next generation number is built; connections of an older generation
//! are not used again.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedProtocolVersion, version,
};
use tokio_rustls::TlsConnector;

use super::error::{ClientError, Reason};
use super::secret_reader::SecretReader;
use super::stream::Stream;
use crate::config::{Secret, SecretSource, TlsOptions};

/// The authorities that the system trusts.
static SYSTEM_ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "Reading the system's certificate authorities failed");
    }
    roots.add_parsable_certificates(found.certs);
    Arc::new(roots)
});

/// The cryptography that all of the server uses.
pub fn crypto_provider() -> CryptoProvider {
    ring::default_provider()
}

/// The authorities that the system trusts.
pub fn system_roots() -> Arc<RootCertStore> {
    Arc::clone(&SYSTEM_ROOTS)
}

/// The TLS side of a client.
#[derive(Debug)]
pub(super) struct Tls {
    ca: SecretReader,
    cert: SecretReader,
    key: SecretReader,
    has_own_authorities: bool,
    server_name: Option<ServerName<'static>>,
    verifies: bool,
    versions: Vec<&'static SupportedProtocolVersion>,
    offers_http2: bool,
    built: Mutex<Option<Built>>,
}

#[derive(Debug)]
struct Built {
    material: [Secret; 3],
    config: Arc<ClientConfig>,
    generation: u32,
}

impl Tls {
    /// Checks the options; files are not read yet.
    pub(super) fn new(options: &TlsOptions, offers_http2: bool) -> Result<Self, ClientError> {
        let named = |what: &str, source: &SecretSource| {
            SecretReader::new(source)
                .map_err(|error| ClientError(format!("unable to use {what}: {error}")))
        };
        let server_name = match options.server_name.as_str() {
            "" => None,
            name => Some(ServerName::try_from(name.to_owned()).map_err(|_| {
                ClientError(format!("tls_config.server_name: {name:?} is no name of a server"))
            })?),
        };
        let tls = Self {
            ca: named("CA cert", &options.ca)?,
            cert: named("client cert", &options.cert)?,
            key: named("client key", &options.key)?,
            has_own_authorities: !options.ca.is_unset(),
            server_name,
            verifies: !options.insecure_skip_verify,
            versions: versions(&options.min_version, &options.max_version)?,
            offers_http2,
            built: Mutex::default(),
        };
        let sources = [&options.ca, &options.cert, &options.key];
        if !sources.iter().any(|source| matches!(source, SecretSource::File(_)))
            && sources.iter().any(|source| !source.is_unset())
        {
            // What stands in the configuration can be checked now.
            tls.current().map_err(ClientError)?;
        }
        Ok(tls)
    }

    /// The number of the configuration that holds now; 0 before the first.
    pub(super) fn generation(&self) -> Result<u32, Reason> {
        self.current().map(|(_, generation)| generation).map_err(Reason::Tls)
    }

    fn current(&self) -> Result<(Arc<ClientConfig>, u32), String> {
        let read = |what: &str, reader: &SecretReader| {
            reader.read().map_err(|error| format!("unable to read {what}: {error}"))
        };
        let material = [
            read("CA cert", &self.ca)?,
            read("client cert", &self.cert)?,
            read("client key", &self.key)?,
        ];
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(built) = &*built
            && built.material == material
        {
            return Ok((Arc::clone(&built.config), built.generation));
        }
        let config = Arc::new(self.build(&material)?);
        let generation = built.as_ref().map_or(1, |built| built.generation.wrapping_add(1));
        *built = Some(Built { material, config: Arc::clone(&config), generation });
        Ok((config, generation))
    }

    fn build(&self, [ca, cert, key]: &[Secret; 3]) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let versions = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions)
            .map_err(|error| error.to_string())?;
        let verifier: Arc<dyn ServerCertVerifier> = if self.verifies {
            let roots = self.roots(ca)?;
            let own = if self.has_own_authorities { certificates(ca) } else { Vec::new() };
            let inner =
                WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
            let inner = inner.map_err(|error| format!("unable to use the CA certs: {error}"))?;
            Arc::new(Verifier { inner, own })
        } else {
            Arc::new(TrustAll(provider))
        };
        let builder = versions.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = if cert.is_empty() {
            builder.with_no_client_auth()
        } else {
            let refuse = |why: String| {
                let (cert, key) = (self.cert.describe(), self.key.describe());
                format!("unable to use specified client cert ({cert}) & key ({key}): {why}")
            };
            let chain = certificates(cert);
            if chain.is_empty() {
                return Err(refuse("failed to find any PEM data in certificate input".to_owned()));
            }
            let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes())
                .map_err(|_| refuse("failed to find any PEM data in key input".to_owned()))?;
            let with_key = builder.with_client_auth_cert(chain, key);
            with_key.map_err(|error| refuse(error.to_string()))?
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if self.offers_http2 {
            config.alpn_protocols.insert(0, b"h2".to_vec());
        }
        Ok(config)
    }

    fn roots(&self, ca: &Secret) -> Result<Arc<RootCertStore>, String> {
        if !self.has_own_authorities {
            return Ok(Arc::clone(&SYSTEM_ROOTS));
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(ca));
        if roots.is_empty() {
            return Err(format!("unable to use specified CA cert {}", self.ca.describe()));
        }
        Ok(Arc::new(roots))
    }

    /// Shakes hands over `stream` with the server of that host name or address.
    pub(super) async fn connect(&self, stream: Stream, host: &str) -> Result<Stream, Reason> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => name_of(host)?,
        };
        self.connect_to(stream, name).await
    }

    /// As [`Tls::connect`], to a server that `server_name` does not speak of.
    pub(super) async fn connect_proxy(&self, stream: Stream, host: &str) -> Result<Stream, Reason> {
        self.connect_to(stream, name_of(host)?).await
    }

    async fn connect_to(
        &self,
        stream: Stream,
        name: ServerName<'static>,
    ) -> Result<Stream, Reason> {
        let (config, _) = self.current().map_err(Reason::Tls)?;
        let shown = name.to_str().into_owned();
        match TlsConnector::from(config).connect(name, stream).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
            Err(error) => Err(Reason::Tls(handshake_text(&error, &shown))),
        }
    }
}

fn name_of(host: &str) -> Result<ServerName<'static>, Reason> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| Reason::Tls(format!("tls: {host:?} is no name that a certificate can have")))
}

fn certificates(pem: &Secret) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.reveal().as_bytes()).filter_map(Result::ok).collect()
}

/// The versions that the options leave. Those before 1.2 are not spoken.
fn versions(min: &str, max: &str) -> Result<Vec<&'static SupportedProtocolVersion>, ClientError> {
    let number = |text: &str, default: u32| match text {
        "TLS10" => 10,
        "TLS11" => 11,
        "TLS12" => 12,
        "TLS13" => 13,
        _ => default,
    };
    let (min, max) = (number(min, 12), number(max, 13));
    if max < 12 {
        let message = format!("tls_config.max_version: TLS{max} is insecure and not built in");
        return Err(ClientError(message));
    }
    if min > max {
        return Err(ClientError(
            "tls_config.max_version must be greater than or equal to tls_config.min_version if \
             both are specified"
                .to_owned(),
        ));
    }
    let all = [(12, &version::TLS12), (13, &version::TLS13)];
    Ok(all.into_iter().filter(|(n, _)| (min..=max).contains(n)).map(|(_, v)| v).collect())
}

/// `presented` are the certificate's names, each with its kind: `DnsName("a")`.
fn not_valid_for(name: &str, presented: &[String]) -> String {
    let kind = if name.parse::<std::net::IpAddr>().is_ok() { "IpAddress(" } else { "DnsName(" };
    let names: Vec<&str> = presented
        .iter()
        .filter_map(|written| written.strip_prefix(kind)?.strip_suffix(')'))
        .map(|written| written.trim_matches('"'))
        .collect();
    match names.as_slice() {
        [] if kind == "DnsName(" => {
            format!("certificate is not valid for any names, but wanted to match {name}")
        }
        [] => {
            format!("cannot validate certificate for {name} because it doesn't contain any IP SANs")
        }
        names => format!("certificate is valid for {}, not {name}", names.join(", ")),
    }
}

fn handshake_text(error: &std::io::Error, name: &str) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidCertificate(why)) => {
            let why = match why {
                CertificateError::UnknownIssuer => {
                    "certificate signed by unknown authority".to_owned()
                }
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => {
                    "certificate has expired or is not yet valid".to_owned()
                }
                CertificateError::NotValidForName => {
                    format!("certificate is not valid for {name}")
                }
                CertificateError::NotValidForNameContext { presented, .. } => {
                    not_valid_for(name, presented)
                }
                other => other.to_string(),
            };
            format!("tls: failed to verify certificate: x509: {why}")
        }
        Some(Error::InvalidMessage(_)) => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        Some(Error::AlertReceived(alert)) => super::alert::received(*alert),
        Some(other) => format!("tls: {other}"),
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
        None => super::error::system_text(error),
    }
}

/// Verifies as the web does, and takes besides, as Go does, a server whose certificate is itself
/// one of the configured authorities, which is what `openssl req -x509` makes.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        // Whether the certificate is within its time has been checked before this is found.
        let is_authority = matches!(
            &verified,
            Err(Error::InvalidCertificate(CertificateError::Other(other)))
                if format!("{other:?}").contains("CaUsedAsEndEntity")
        );
        if is_authority && self.own.contains(end_entity) {
            let parsed = ParsedCertificate::try_from(end_entity)?;
            rustls::client::verify_server_name(&parsed, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Takes any certificate: `insecure_skip_verify`. The handshake's own signature is checked.
#[derive(Debug)]
struct TrustAll(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
