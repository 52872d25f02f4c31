//! Cross-origin requests: browsers of other pages may ask where `--web.cors.origin` matches.

use http::HeaderMap;
use http::header::HeaderValue;

use crate::regex::Regex;

/// Adds the headers where the request's origin, if it has one, is allowed.
pub(super) fn allow(
    origins: Option<&Regex>,
    origin: Option<&HeaderValue>,
    response: &mut HeaderMap,
) {
    let Some(origin) = origin else { return };
    let allowed =
        origins.zip(origin.to_str().ok()).is_some_and(|(origins, origin)| origins.is_match(origin));
    if !allowed {
        return;
    }
    response.insert("access-control-allow-origin", origin.clone());
    for (name, value) in [
        ("access-control-allow-headers", "Accept, Authorization, Content-Type, Origin"),
        ("access-control-allow-methods", "GET, POST, PUT, DELETE, OPTIONS"),
        ("access-control-expose-headers", "Date"),
        ("vary", "Origin"),
    ] {
        response.append(name, HeaderValue::from_static(value));
    }
}
