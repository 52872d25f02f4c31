//! Requests signed for AWS, by its Signature Version 4: a form posted to `/` with a hash over
//! the request and a key that holds for a day, a region and a service.

use std::fmt::Write as _;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, header};
use hyper::body::Bytes;
use ring::{digest, hmac};

use super::credentials::Credentials;
use crate::http_client::{Request, Url};

/// What a signature holds for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// A signed request that posts `form` at the time `now_s`.
pub(super) fn sign(
    url: Url,
    form: String,
    credentials: &Credentials,
    scope: Scope<'_>,
    now_s: i64,
) -> Result<Request, String> {
    let headers = signed_headers(&url, Some(FORM), form.as_bytes(), credentials, scope, now_s)?;
    Ok(Request {
        method: Method::POST,
        headers: Arc::from(headers),
        body: Bytes::from(form),
        ..Request::get(url)
    })
}

/// The headers that sign a `POST` of `body`, the type of content among them where it is given.
pub(super) fn signed_headers(
    url: &Url,
    content_type: Option<&str>,
    body: &[u8],
    credentials: &Credentials,
    scope: Scope<'_>,
    now_s: i64,
) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let at = jiff::Timestamp::from_second(now_s).map_err(|error| error.to_string())?;
    let time = at.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = &time[..8];
    let mut headers = Vec::with_capacity(5);
    headers.extend(content_type.map(|text| ("content-type", text.to_owned())));
    headers.push(("host", url.authority().to_owned()));
    headers.push(("x-amz-date", time.clone()));
    let token = credentials.session_token.reveal();
    if !token.is_empty() {
        headers.push(("x-amz-security-token", token.to_owned()));
    }
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let mut lines = String::new();
    for (name, value) in &headers {
        writeln!(lines, "{name}:{}", value.trim()).expect("BUG: a String takes all text");
    }
    let (path, query) = url.target().split_once('?').unwrap_or((url.target(), ""));
    let canonical = format!("POST\n{path}\n{query}\n{lines}\n{names}\n{}", hash(body));
    let Scope { region, service } = scope;
    let within = format!("{day}/{region}/{service}/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{within}\n{}", hash(canonical.as_bytes()));
    let mut key = format!("AWS4{}", credentials.secret_key.reveal()).into_bytes();
    for part in [day, region, service, "aws4_request"] {
        key = mac(&key, part);
    }
    let signature = hex(&mac(&key, &text));
    let id = &credentials.access_key;
    headers.push((
        "authorization",
        format!(
            "AWS4-HMAC-SHA256 Credential={id}/{within}, SignedHeaders={names}, \
             Signature={signature}"
        ),
    ));
    let header = |(name, value): &(&'static str, String)| {
        let mut value = HeaderValue::try_from(value.as_str()).map_err(|error| error.to_string())?;
        value.set_sensitive(matches!(*name, "authorization" | "x-amz-security-token"));
        Ok((HeaderName::from_static(name), value))
    };
    let sent = headers.iter().filter(|(name, _)| *name != header::HOST);
    sent.map(header).collect()
}

fn hash(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("BUG: a String takes all text");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    /// The signing key and the hash of the example in the specification of the signature.
    #[test]
    fn the_key_is_that_of_the_specification() {
        let mut key = b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec();
        for part in ["20150830", "us-east-1", "iam", "aws4_request"] {
            key = mac(&key, part);
        }
        let expected = "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9";
        assert_eq!(hex(&key), expected);
    }

    #[test]
    fn what_is_signed_is_sent() {
        let credentials = Credentials {
            access_key: "AK".to_owned(),
            secret_key: Secret::new("SK"),
            session_token: Secret::new("ST"),
            expires_s: None,
        };
        let url = Url::parse("https://ec2.x/").unwrap();
        let scope = Scope { region: "r", service: "ec2" };
        let request = sign(url, "Action=A".to_owned(), &credentials, scope, 1_440_938_160).unwrap();
        let header = |name: &str| {
            let found = request.headers.iter().find(|(known, _)| known.as_str() == name);
            found.map(|(_, value)| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        assert_eq!(header("x-amz-date"), "20150830T123600Z");
        assert_eq!(header("x-amz-security-token"), "ST");
        assert_eq!(header("host"), "");
        let expected = "AWS4-HMAC-SHA256 Credential=AK/20150830/r/ec2/aws4_request, \
                        SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, \
                        Signature=";
        assert!(header("authorization").starts_with(expected), "{}", header("authorization"));
        assert!(!format!("{request:?}").contains("Signature="));
    }
}
