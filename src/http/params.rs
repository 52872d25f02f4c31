//! Parameters of a request: query string and form body together, keys repeatable; and the scope
//! of whoever asks.
//!
//! COMPAT: times, durations and limits are read as Prometheus's API reads them, with its texts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::reply::ApiError;
use crate::model::{Matcher, TimeRange, go_quote, parse_duration, parse_float};

/// COMPAT: the ends of time as Prometheus prints and takes them.
const MIN_TIME: (&str, i64) =
    ("-292273086-05-16T16:47:06Z", i64::MIN / 1000 * 1000 + 62_135_596_801_000);
const MAX_TIME: (&str, i64) = ("292277025-08-18T07:12:54.999999999Z", 9_223_309_901_257_974_999);

/// All times that the API can name; what `start` and `end` default to.
pub(super) const ALL_TIMES: TimeRange = TimeRange { min_ms: MIN_TIME.1, max_ms: MAX_TIME.1 };

/// Decoded parameters, in the order of the request; a form body stands before the query string.
#[derive(Debug, Default, Clone)]
pub(super) struct Params {
    pairs: Vec<(String, String)>,
    scope: Arc<[Matcher]>,
}

impl Params {
    /// Reads a query string and, for a form, the body.
    pub(super) fn parse(query: &str, form: Option<&[u8]>) -> Result<Self, ApiError> {
        let mut params = Self::default();
        if let Some(form) = form {
            let form = std::str::from_utf8(form)
                .map_err(|_| ApiError::bad_data("error parsing form values: not UTF-8"))?;
            params.push_all(form)?;
        }
        params.push_all(query)?;
        Ok(params)
    }

    /// Bounds what is answered to the series that satisfy `scope`.
    pub(super) fn bound(&mut self, scope: Arc<[Matcher]>) {
        self.scope = scope;
    }

    /// What every series in the answer satisfies; empty: no bound.
    pub(super) fn scope(&self) -> &[Matcher] {
        &self.scope
    }

    fn push_all(&mut self, encoded: &str) -> Result<(), ApiError> {
        for pair in encoded.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.pairs.push((decode(name)?, decode(value)?));
        }
        Ok(())
    }

    /// The first value of `name`; the empty string where it is missing.
    pub(super) fn text(&self, name: &str) -> &str {
        self.pairs.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// All values of `name`.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// All of them: names with their values, in the order of the request.
    pub(super) fn by_name(&self) -> BTreeMap<String, Vec<String>> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in &self.pairs {
            all.entry(name.clone()).or_default().push(value.clone());
        }
        all
    }

    /// A time that must be there.
    pub(super) fn time(&self, name: &str) -> Result<i64, ApiError> {
        parse_time(self.text(name)).map_err(|text| ApiError::invalid_parameter(name, &text))
    }

    /// A time that may be missing.
    pub(super) fn time_or(&self, name: &str, default_ms: i64) -> Result<i64, ApiError> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(default_ms);
        }
        parse_time(text).map_err(|error| {
            ApiError::invalid_parameter(name, &format!("invalid time value for '{name}': {error}"))
        })
    }

    /// `start` and `end`, each by default the end of time.
    pub(super) fn range(&self) -> Result<TimeRange, ApiError> {
        Ok(TimeRange {
            min_ms: self.time_or("start", ALL_TIMES.min_ms)?,
            max_ms: self.time_or("end", ALL_TIMES.max_ms)?,
        })
    }

    /// A duration in nanoseconds; `None` where the parameter is missing or empty.
    pub(super) fn duration_ns(&self, name: &str) -> Result<Option<i64>, ApiError> {
        match self.text(name) {
            "" => Ok(None),
            text => parse_duration_ns(text)
                .map(Some)
                .map_err(|text| ApiError::invalid_parameter(name, &text)),
        }
    }

    /// `limit`; 0 where there is none.
    pub(super) fn limit(&self, name: &str) -> Result<usize, ApiError> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(0);
        }
        let number: i64 = text.parse().map_err(|_| {
            // COMPAT: Go's words.
            let text = format!("strconv.Atoi: parsing {}: invalid syntax", go_quote(text));
            ApiError::invalid_parameter(name, &text)
        })?;
        usize::try_from(number)
            .map_err(|_| ApiError::invalid_parameter(name, "limit must be non-negative"))
    }
}

/// Undoes `%xx` and `+`.
fn decode(text: &str) -> Result<String, ApiError> {
    let text: Cow<'_, str> =
        if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    let decoded = percent_encoding::percent_decode_str(&text).decode_utf8();
    decoded
        .map(Cow::into_owned)
        .map_err(|_| ApiError::bad_data("error parsing form values: a parameter is not UTF-8"))
}

/// Reads a time as requests have them: seconds since the epoch as a number, or RFC 3339. Gives
/// milliseconds; the error says what is wrong with the text.
pub fn parse_time(text: &str) -> Result<i64, String> {
    if let Some(seconds) = parse_float(text) {
        // A time that no number of milliseconds tells is an error, where Prometheus goes on with
        // whatever comes of it.
        if seconds.is_nan() || seconds.abs() >= i64::MAX as f64 / 1000.0 {
            return Err(format!("cannot parse {} to a valid timestamp", go_quote(text)));
        }
        // COMPAT: the fraction is rounded to milliseconds.
        let whole = seconds.trunc();
        let fraction_ms = ((seconds - whole) * 1000.0).round();
        return Ok((whole as i64).saturating_mul(1000).saturating_add(fraction_ms as i64));
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp.as_nanosecond().div_euclid(1_000_000) as i64);
    }
    [MIN_TIME, MAX_TIME].iter().find(|(spelling, _)| *spelling == text).map_or_else(
        || Err(format!("cannot parse {} to a valid timestamp", go_quote(text))),
        |(_, t_ms)| Ok(*t_ms),
    )
}

/// Seconds as a number, or a Prometheus duration; nanoseconds.
fn parse_duration_ns(text: &str) -> Result<i64, String> {
    if let Some(seconds) = parse_float(text) {
        let ns = seconds * 1e9;
        if ns > i64::MAX as f64 || ns < i64::MIN as f64 {
            let quoted = go_quote(text);
            return Err(format!("cannot parse {quoted} to a valid duration. It overflows int64"));
        }
        return Ok(ns as i64);
    }
    parse_duration(text)
        .ok()
        .and_then(|ms| ms.checked_mul(1_000_000))
        .ok_or_else(|| format!("cannot parse {} to a valid duration", go_quote(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_repeat() {
        let params =
            Params::parse("match[]=a&match%5B%5D=b%20c&x=1+2", Some(b"query=up%2B1&x=0")).unwrap();
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["a", "b c"]);
        assert_eq!(params.text("query"), "up+1");
        assert_eq!(params.text("x"), "0", "the form stands first");
        assert!(Params::parse("a=%ff", None).is_err());
    }

    #[test]
    fn times() {
        for (text, ms) in [
            ("1.5", 1500),
            ("1435781430.781", 1_435_781_430_781),
            ("-1", -1000),
            ("2015-07-01T20:10:51.781Z", 1_435_781_451_781),
            ("2015-07-01T22:10:51.781+02:00", 1_435_781_451_781),
            (MIN_TIME.0, MIN_TIME.1),
            (MAX_TIME.0, MAX_TIME.1),
        ] {
            assert_eq!(parse_time(text), Ok(ms), "{text}");
        }
        assert_eq!(parse_time("x"), Err(r#"cannot parse "x" to a valid timestamp"#.to_owned()));
        for text in ["", "NaN", "+Inf", "-Inf", "1e300", "-1e17"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration_ns("0.5"), Ok(500_000_000));
        assert_eq!(parse_duration_ns("1m30s"), Ok(90_000_000_000));
        assert!(parse_duration_ns("1e10").is_err_and(|text| text.contains("overflows")));
        assert!(parse_duration_ns("x").is_err());
    }
}
