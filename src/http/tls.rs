//! TLS as the web configuration file says: certificate, versions, suites, clients' certificates.
//!
//! A configuration is built whole from the contents of the files at one time; when a file changes,
//! another is built, with tickets of its own, so that no session outlives the rules under which it
//! began. COMPAT: what the fields mean is what Prometheus makes of them; suites and curves that are
//! not built in are left out with a warning, and it is an error where none is left.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, CipherSuite, DigitallySignedStruct, DistinguishedName, Error, NamedGroup,
    RootCertStore, ServerConfig, SignatureScheme, version,
};

use super::subject_names::subject_names;
use crate::config::{ClientAuth, ConfigError, SecretSource, WebTls};
use crate::http_client::{crypto_provider, system_roots};

/// What the files held.
pub(super) struct Material {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// Reads the files that `tls` names; `file` is the web configuration file.
pub(super) fn read_material(tls: &WebTls, file: &str) -> Result<Material, ConfigError> {
    let read = |field: &str, source: &SecretSource| match source {
        SecretSource::File(path) => std::fs::read(path).map(Some).map_err(|error| {
            tls.complain(file, &format!("{field}_file"), format!("reading {path}: {error}"))
        }),
        SecretSource::Inline(text) => Ok(Some(text.reveal().as_bytes().to_vec())),
        SecretSource::Unset | SecretSource::Reference(_) => Ok(None),
    };
    Ok(Material {
        cert: read("cert", &tls.cert)?.unwrap_or_default(),
        key: read("key", &tls.key)?.unwrap_or_default(),
        client_ca: read("client_ca", &tls.client_ca)?,
    })
}

/// Paths of the files that `tls` names.
pub(super) fn paths(tls: &WebTls) -> impl Iterator<Item = &Path> {
    [&tls.cert, &tls.key, &tls.client_ca].into_iter().filter_map(|source| match source {
        SecretSource::File(path) => Some(Path::new(path)),
        _ => None,
    })
}

/// Builds the server's side, and says what of the options is left out.
pub(super) fn build(
    tls: &WebTls,
    material: &Material,
    http2: bool,
    file: &str,
) -> Result<(ServerConfig, Vec<String>), ConfigError> {
    let mut warnings = tls.warnings.clone();
    let provider = Arc::new(provider(tls, file, &mut warnings)?);
    let versions: Vec<_> = [(12, &version::TLS12), (13, &version::TLS13)]
        .into_iter()
        .filter(|(number, _)| (tls.min_version..=tls.max_version).contains(number))
        .map(|(_, version)| version)
        .collect();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|error| tls.complain(file, "cipher_suites", error))?;
    let builder = match client_verifier(tls, material, &provider, file)? {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(Arc::new(verifier)),
    };
    let field = |name: &str, source: &SecretSource| match source {
        SecretSource::File(_) => format!("{name}_file"),
        _ => name.to_owned(),
    };
    let (cert, key) = (field("cert", &tls.cert), field("key", &tls.key));
    let chain = certificates(&material.cert);
    if chain.is_empty() {
        return Err(tls.complain(file, &cert, "no certificate in PEM form is in it"));
    }
    let private = PrivateKeyDer::from_pem_slice(&material.key)
        .map_err(|_| tls.complain(file, &key, "no private key in PEM form is in it"))?;
    let mut config = builder.with_single_cert(chain, private).map_err(|error| {
        tls.complain(file, &key, format!("unable to use key and cert: {error}"))
    })?;
    config.ignore_client_order = tls.prefer_server_cipher_suites;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if http2 {
        config.alpn_protocols.insert(0, b"h2".to_vec());
    }
    Ok((config, warnings))
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
}

/// The suites and curves that the options leave, in their order.
fn provider(
    tls: &WebTls,
    file: &str,
    warnings: &mut Vec<String>,
) -> Result<CryptoProvider, ConfigError> {
    let mut provider = crypto_provider();
    let mut without = |field: &str, name: &str| {
        warnings.push(format!("tls_server_config.{field}: {name} is not built in and left out"));
    };
    if !tls.cipher_suites.is_empty() {
        let all = provider.cipher_suites.clone();
        // COMPAT: the suites of TLS 1.3 are not chosen.
        provider.cipher_suites.retain(|suite| suite.tls13().is_some());
        for name in &tls.cipher_suites {
            match all.iter().find(|suite| suite_name(suite.suite()) == name.as_str()) {
                Some(suite) if provider.cipher_suites.contains(suite) => {}
                Some(suite) => provider.cipher_suites.push(*suite),
                None => without("cipher_suites", name),
            }
        }
        let only_12 = tls.max_version < 13;
        if only_12 && !provider.cipher_suites.iter().any(|suite| suite.tls13().is_none()) {
            let message = "none of these is built in, and TLS 1.3 is switched off";
            return Err(tls.complain(file, "cipher_suites", message));
        }
    }
    if !tls.curve_preferences.is_empty() {
        let all = std::mem::take(&mut provider.kx_groups);
        for name in &tls.curve_preferences {
            match all.iter().find(|group| curve_name(group.name()) == name.as_str()) {
                Some(group) => provider.kx_groups.push(*group),
                None => without("curve_preferences", name),
            }
        }
        if provider.kx_groups.is_empty() {
            return Err(tls.complain(file, "curve_preferences", "none of these is built in"));
        }
    }
    Ok(provider)
}

/// COMPAT: Go's names of suites.
fn suite_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => {
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
        }
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => {
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => {
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => {
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => {
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
        }
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
        }
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        _ => "",
    }
}

/// COMPAT: Go's names of curves.
fn curve_name(group: NamedGroup) -> &'static str {
    match group {
        NamedGroup::X25519 => "X25519",
        NamedGroup::secp256r1 => "CurveP256",
        NamedGroup::secp384r1 => "CurveP384",
        NamedGroup::secp521r1 => "CurveP521",
        _ => "",
    }
}

fn client_verifier(
    tls: &WebTls,
    material: &Material,
    provider: &Arc<CryptoProvider>,
    file: &str,
) -> Result<Option<ClientVerifier>, ConfigError> {
    if tls.client_auth == ClientAuth::None {
        return Ok(None);
    }
    let verifies =
        matches!(tls.client_auth, ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify);
    let own = material.client_ca.as_deref().map(certificates).unwrap_or_default();
    let inner = if verifies {
        let field = match tls.client_ca {
            SecretSource::Inline(_) => "client_ca",
            _ => "client_ca_file",
        };
        let roots = if material.client_ca.is_some() {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(own.iter().cloned());
            Arc::new(roots)
        } else {
            system_roots()
        };
        let built =
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
        Some(built.map_err(|error| tls.complain(file, field, error))?)
    } else {
        None
    };
    let requires = matches!(tls.client_auth, ClientAuth::RequireAny | ClientAuth::RequireAndVerify);
    Ok(Some(ClientVerifier {
        inner,
        own,
        is_required: requires || tls.client_allowed_sans.is_some(),
        names: tls.client_allowed_sans.clone(),
        algorithms: provider.signature_verification_algorithms,
    }))
}

/// Judges clients' certificates.
#[derive(Debug)]
struct ClientVerifier {
    /// `None`: whoever signed it.
    inner: Option<Arc<dyn ClientCertVerifier>>,
    /// The configured authorities; as in Go, one of them may be the client's own certificate.
    own: Vec<CertificateDer<'static>>,
    is_required: bool,
    names: Option<Vec<String>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.as_ref().map_or(&[], |inner| inner.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(inner) = &self.inner {
            let verified = inner.verify_client_cert(end_entity, intermediates, now);
            // Whether the certificate is within its time has been checked before this is found.
            let is_authority = matches!(
                &verified,
                Err(Error::InvalidCertificate(CertificateError::Other(other)))
                    if format!("{other:?}").contains("CaUsedAsEndEntity")
            );
            if !(is_authority && self.own.contains(end_entity)) {
                verified?;
            }
        }
        if let Some(allowed) = &self.names {
            let names = subject_names(end_entity).unwrap_or_default();
            if !names.iter().any(|name| allowed.contains(name)) {
                let error = CertificateError::ApplicationVerificationFailure;
                return Err(Error::InvalidCertificate(error));
            }
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
