//! Which formats a scrape asks for, and which answer it takes. Header values and error texts are
//! Prometheus's.

use std::fmt;

use crate::config::ScrapeProtocol;
use crate::exposition::{Format, quote_bytes};
use crate::model::EscapingScheme;

/// The `Accept` header: `protocols` in their order, each a little less wanted than the one before,
/// then anything. Versions 1.0.0 of the text formats are asked for with names in the form
/// `escaping`.
pub fn accept_header(protocols: &[ScrapeProtocol], escaping: EscapingScheme) -> String {
    let mut weight = ScrapeProtocol::ALL.len() + 1;
    let mut entries = Vec::new();
    for protocol in protocols {
        let escaping = match protocol {
            ScrapeProtocol::PrometheusText1_0_0 | ScrapeProtocol::OpenMetricsText1_0_0 => {
                format!(";escaping={}", escaping.as_str())
            }
            _ => String::new(),
        };
        entries.push(format!("{}{escaping};q=0.{weight}", protocol.media_type()));
        weight -= 1;
    }
    entries.push(format!("*/*;q=0.{weight}"));
    entries.join(",")
}

/// Why the answer of a target cannot be read. The content type is quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentTypeError {
    /// The header is missing or empty.
    Blank,
    /// The header is no media type, and why.
    Malformed(String, &'static str),
    /// A media type that is not read.
    Unsupported(String),
}

impl fmt::Display for ContentTypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str(
                "non-compliant scrape target sending blank Content-Type and no \
                 fallback_scrape_protocol specified for target",
            ),
            Self::Malformed(value, why) => write!(
                f,
                "cannot parse Content-Type {value} and no \
                    fallback_scrape_protocol for target\n{why}"
            ),
            Self::Unsupported(value) => write!(
                f,
                "received unsupported Content-Type {value} and no fallback_scrape_protocol \
                 specified for target"
            ),
        }
    }
}

impl std::error::Error for ContentTypeError {}

/// What most targets say.
const USUAL: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The format of an answer with this `Content-Type` header (empty where there is none).
pub fn check_content_type(
    content_type: &str,
    fallback: Option<ScrapeProtocol>,
) -> Result<Format, ContentTypeError> {
    if content_type == USUAL {
        return Ok(Format::Text);
    }
    let error = if content_type.is_empty() {
        ContentTypeError::Blank
    } else {
        let quoted = || quote_bytes(content_type.as_bytes());
        match media_type(content_type) {
            Ok(media_type) => match media_type.as_str() {
                "text/plain" => return Ok(Format::Text),
                "application/openmetrics-text" => return Ok(Format::OpenMetrics),
                "application/vnd.google.protobuf" => return Ok(Format::Protobuf),
                _ => ContentTypeError::Unsupported(quoted()),
            },
            Err(why) => ContentTypeError::Malformed(quoted(), why),
        }
    };
    match fallback {
        None => Err(error),
        Some(ScrapeProtocol::PrometheusText0_0_4 | ScrapeProtocol::PrometheusText1_0_0) => {
            Ok(Format::Text)
        }
        Some(ScrapeProtocol::OpenMetricsText0_0_1 | ScrapeProtocol::OpenMetricsText1_0_0) => {
            Ok(Format::OpenMetrics)
        }
        Some(ScrapeProtocol::PrometheusProto) => Ok(Format::Protobuf),
    }
}

/// The media type of a header value, in lower case; parameters are checked and left out.
fn media_type(value: &str) -> Result<String, &'static str> {
    let (media_type, mut rest) = value.split_at(value.find(';').unwrap_or(value.len()));
    let media_type = media_type.trim().to_ascii_lowercase();
    let (kind, subtype) = media_type.split_once('/').unwrap_or((&media_type, "-"));
    if kind.is_empty() {
        return Err("mime: no media type");
    }
    if !is_token(kind) {
        return Err("mime: expected slash after first token");
    }
    if !is_token(subtype) {
        let has_more = subtype.chars().next().is_some_and(|c| is_token(c.encode_utf8(&mut [0; 4])));
        return Err(if has_more {
            "mime: unexpected content after media subtype"
        } else {
            "mime: expected token after slash"
        });
    }
    let mut names = Vec::new();
    while let Some(parameter) = rest.strip_prefix(';') {
        let parameter = parameter.trim_start();
        if parameter.is_empty() {
            break;
        }
        let invalid = "mime: invalid media parameter";
        let (name, tail) = parameter.split_once('=').ok_or(invalid)?;
        let name = name.trim_end().to_ascii_lowercase();
        let tail = tail.trim_start();
        let used = parameter_value_len(tail).ok_or(invalid)?;
        if !is_token(&name) {
            return Err(invalid);
        }
        if names.contains(&name) {
            return Err("mime: duplicate parameter name");
        }
        names.push(name);
        rest = tail[used..].trim_start();
    }
    if rest.is_empty() || rest.trim_start_matches([';', ' ']).is_empty() {
        Ok(media_type)
    } else {
        Err("mime: invalid media parameter")
    }
}

fn parameter_value_len(text: &str) -> Option<usize> {
    let Some(quoted) = text.strip_prefix('"') else {
        let len = text.find([';', ' ', '\t']).unwrap_or(text.len());
        return is_token(&text[..len]).then_some(len);
    };
    let mut is_escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return Some(at + 2),
            _ => {}
        }
    }
    None
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_graphic() && !br#"()<>@,;:\"/[]?="#.contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_for_what_the_job_wants_in_its_order() {
        // The header that Prometheus 3.14 sends by default.
        let all = [
            ScrapeProtocol::OpenMetricsText1_0_0,
            ScrapeProtocol::OpenMetricsText0_0_1,
            ScrapeProtocol::PrometheusText1_0_0,
            ScrapeProtocol::PrometheusText0_0_4,
        ];
        let expected = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                        application/openmetrics-text;version=0.0.1;q=0.5,\
                        text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                        text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(accept_header(&all, EscapingScheme::AllowUtf8), expected);
        let binary = [ScrapeProtocol::PrometheusProto, ScrapeProtocol::OpenMetricsText1_0_0];
        assert_eq!(
            accept_header(&binary, EscapingScheme::Underscores),
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
             encoding=delimited;q=0.6,\
             application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.5,*/*;q=0.4"
        );
    }

    #[test]
    fn every_format_has_its_media_type() {
        for (value, format) in [
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", Format::OpenMetrics),
            (
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                 encoding=delimited; escaping=underscores",
                Format::Protobuf,
            ),
            ("Application/Vnd.Google.Protobuf", Format::Protobuf),
            ("text/plain;version=1.0.0", Format::Text),
        ] {
            assert_eq!(check_content_type(value, None), Ok(format), "{value}");
        }
    }

    #[test]
    fn takes_plain_text_with_any_parameters() {
        for value in [
            "text/plain",
            "text/plain; version=0.0.4; charset=utf-8",
            "Text/PLAIN;version=\"a;\\\"b\"",
            " text/plain ;",
            "text/plain; ; version=1",
        ] {
            let expected = if value.contains("; ;") { None } else { Some(Format::Text) };
            assert_eq!(check_content_type(value, None).ok(), expected, "{value}");
        }
    }

    #[test]
    fn other_types_are_errors_unless_there_is_a_fallback() {
        for (value, text) in [
            (
                "",
                "non-compliant scrape target sending blank Content-Type and no \
                 fallback_scrape_protocol specified for target",
            ),
            (
                "text/html",
                "received unsupported Content-Type \"text/html\" and no \
                 fallback_scrape_protocol specified for target",
            ),
            (
                "text/plain; version",
                "cannot parse Content-Type \"text/plain; version\" and no \
                 fallback_scrape_protocol for target\nmime: invalid media parameter",
            ),
        ] {
            assert_eq!(check_content_type(value, None).unwrap_err().to_string(), text);
            let fallback = Some(ScrapeProtocol::PrometheusText0_0_4);
            assert_eq!(check_content_type(value, fallback), Ok(Format::Text));
        }
        for (fallback, format) in [
            (ScrapeProtocol::PrometheusProto, Format::Protobuf),
            (ScrapeProtocol::OpenMetricsText0_0_1, Format::OpenMetrics),
        ] {
            assert_eq!(check_content_type("text/html", Some(fallback)), Ok(format));
        }
    }
}
