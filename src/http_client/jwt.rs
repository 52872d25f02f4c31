//! The signed assertion of the grant `jwt-bearer` (RFC 7523), signed with RSA.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use crate::config::{JwtAssertion, OAuth2, Secret};

/// How long an assertion holds.
const VALID_SECONDS: u64 = 3600;

/// The assertion that `config`'s client makes, signed with `key`.
pub(super) fn assertion(config: &OAuth2, key: &Secret) -> Result<String, String> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    signed(&config.assertion, &claims(config, since_epoch.as_secs()), key)
}

/// A text of these claims, signed with an RSA key as PEM and SHA-256. `key_id` names the key;
/// empty where it has no name.
pub fn sign_claims(
    claims: &serde_json::Value,
    key_id: &str,
    key: &Secret,
) -> Result<String, String> {
    signed(&JwtAssertion { key_id: key_id.to_owned(), ..JwtAssertion::default() }, claims, key)
}

fn claims(config: &OAuth2, now_s: u64) -> serde_json::Value {
    let written = &config.assertion;
    let or = |text: &str, default: &str| if text.is_empty() { default } else { text }.to_owned();
    let mut claims = serde_json::json!({
        "iss": or(&written.issuer, &config.client_id),
        "sub": config.client_id,
        "aud": or(&written.audience, &config.token_url),
        "iat": now_s,
        "exp": now_s + VALID_SECONDS,
    });
    if !config.scopes.is_empty() {
        claims["scope"] = config.scopes.join(" ").into();
    }
    let more = written.claims.as_deref().and_then(|text| serde_json::from_str(text).ok());
    if let (Some(serde_json::Value::Object(more)), Some(claims)) = (more, claims.as_object_mut()) {
        claims.extend(more);
    }
    claims
}

fn signed(
    config: &JwtAssertion,
    claims: &serde_json::Value,
    key: &Secret,
) -> Result<String, String> {
    let (name, encoding): (&str, &'static dyn RsaEncoding) = match config.algorithm.as_str() {
        "RS384" => ("RS384", &RSA_PKCS1_SHA384),
        "RS512" => ("RS512", &RSA_PKCS1_SHA512),
        _ => ("RS256", &RSA_PKCS1_SHA256),
    };
    let mut head = serde_json::json!({"alg": name, "typ": "JWT"});
    if !config.key_id.is_empty() {
        head["kid"] = config.key_id.as_str().into();
    }
    let encoded = |value: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encoded(&head), encoded(claims));
    let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes())
        .map_err(|_| "oauth2: the client's key is no private key as PEM".to_owned())?;
    let pair = match &key {
        PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
        _ => return Err("oauth2: the client's key is no RSA key".to_owned()),
    };
    let pair = pair.map_err(|error| format!("oauth2: the client's key cannot be used: {error}"))?;
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), message.as_bytes(), &mut signature)
        .map_err(|_| "oauth2: signing the assertion failed".to_owned())?;
    Ok(format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
}
