//! What the other side of a TLS connection complains of, in the words of Go's TLS, which users of
//! Prometheus know from the targets page.

use std::error::Error;
use std::io;

use rustls::AlertDescription as Alert;

/// Alerts, and how Go tells them.
const TEXTS: [(Alert, &str); 26] = [
    (Alert::CloseNotify, "close notify"),
    (Alert::UnexpectedMessage, "unexpected message"),
    (Alert::BadRecordMac, "bad record MAC"),
    (Alert::RecordOverflow, "record overflow"),
    (Alert::HandshakeFailure, "handshake failure"),
    (Alert::BadCertificate, "bad certificate"),
    (Alert::UnsupportedCertificate, "unsupported certificate"),
    (Alert::CertificateRevoked, "revoked certificate"),
    (Alert::CertificateExpired, "expired certificate"),
    (Alert::CertificateUnknown, "unknown certificate"),
    (Alert::IllegalParameter, "illegal parameter"),
    (Alert::UnknownCA, "unknown certificate authority"),
    (Alert::AccessDenied, "access denied"),
    (Alert::DecodeError, "error decoding message"),
    (Alert::DecryptError, "error decrypting message"),
    (Alert::ProtocolVersion, "protocol version not supported"),
    (Alert::InsufficientSecurity, "insufficient security level"),
    (Alert::InternalError, "internal error"),
    (Alert::InappropriateFallback, "inappropriate fallback"),
    (Alert::UserCanceled, "user canceled"),
    (Alert::NoRenegotiation, "no renegotiation"),
    (Alert::MissingExtension, "missing extension"),
    (Alert::UnsupportedExtension, "unsupported extension"),
    (Alert::UnrecognisedName, "unrecognized name"),
    (Alert::CertificateRequired, "certificate required"),
    (Alert::NoApplicationProtocol, "no application protocol"),
];

/// What stands before the alert in the text of an error of HTTP/2, which is all that it tells.
const BEFORE_NAME: &str = "received fatal alert: ";

/// The text of a failure where it, or what caused it, is an alert that the server sent.
pub(super) fn alert_text(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = match inner {
            Some(inner) => inner.downcast_ref::<rustls::Error>(),
            None => error.downcast_ref::<rustls::Error>(),
        };
        if let Some(rustls::Error::AlertReceived(alert)) = tls {
            return Some(received(*alert));
        }
        if error.source().is_none()
            && let Some((_, name)) = error.to_string().split_once(BEFORE_NAME)
        {
            let known = TEXTS.iter().find(|(alert, _)| format!("{alert:?}") == name);
            return known.map(|(alert, _)| received(*alert));
        }
        cause = error.source();
    }
    None
}

/// The text of an alert that the server sent.
pub(super) fn received(alert: Alert) -> String {
    match TEXTS.iter().find(|(known, _)| *known == alert) {
        Some((_, text)) => format!("remote error: tls: {text}"),
        None => format!("remote error: tls: alert({})", u8::from(alert)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_found_among_causes() {
        let alert = rustls::Error::AlertReceived(Alert::BadCertificate);
        let error = io::Error::new(io::ErrorKind::InvalidData, alert);
        assert_eq!(alert_text(&error).as_deref(), Some("remote error: tls: bad certificate"));
        assert_eq!(alert_text(&io::Error::other("no")), None);
        let told = io::Error::other("connection error: received fatal alert: UnknownCA");
        let expected = "remote error: tls: unknown certificate authority";
        assert_eq!(alert_text(&told).as_deref(), Some(expected));
        assert_eq!(received(Alert::Unknown(200)), "remote error: tls: alert(200)");
    }
}
