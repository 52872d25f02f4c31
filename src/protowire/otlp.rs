//! The metrics of an OTLP request, read from protobuf.
//!
//! Attributes are kept as texts, in the form that OpenTelemetry's own `AsString` gives; nothing
//! else of their types matters further on. INVARIANT: the number of items of a request is bounded,
//! so that few bytes cannot become much memory, and nesting of values is bounded too.
//!
//! Source: `opentelemetry/proto/metrics/v1/metrics.proto` and `common/v1/common.proto`.

use super::WireError;
use super::field::{Fields, Value};
use super::otlp_value::AnyValue;
use crate::encoding::cursor::Cursor;
use crate::encoding::varint::unzigzag;

/// Attributes, points, bounds and so on of one request.
const ITEMS_MAX: usize = 2_000_000;

/// Names and texts.
pub type Attributes = Vec<(String, String)>;

/// What one resource sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResourceMetrics {
    /// What it says of itself.
    pub attributes: Attributes,
    /// By instrumentation scope.
    pub scopes: Vec<ScopeMetrics>,
}

/// What one instrumentation scope measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScopeMetrics {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where the meaning of its names is told.
    pub schema_url: String,
    /// What it says of itself.
    pub attributes: Attributes,
    /// Its metrics.
    pub metrics: Vec<OtlpMetric>,
}

/// A metric.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OtlpMetric {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub description: String,
    /// What it is measured in.
    pub unit: String,
    /// Its points.
    pub data: OtlpData,
}

/// How points relate to those before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Temporality {
    /// It is not said.
    #[default]
    Unspecified,
    /// Each tells what has been since the one before.
    Delta,
    /// Each tells all that has been since the start.
    Cumulative,
}

impl Temporality {
    /// The one of that number.
    pub fn from_number(number: i64) -> Self {
        match number {
            1 => Self::Delta,
            2 => Self::Cumulative,
            _ => Self::Unspecified,
        }
    }
}

/// The points of a metric, by its kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum OtlpData {
    /// A kind that is not known.
    #[default]
    Unknown,
    /// Values.
    Gauge(Vec<OtlpPoint>),
    /// Sums.
    Sum {
        /// The sums.
        points: Vec<OtlpPoint>,
        /// How they relate.
        temporality: Temporality,
        /// Whether they never fall.
        is_monotonic: bool,
    },
    /// Histograms with bounds of their own.
    Histogram(Vec<OtlpPoint>, Temporality),
    /// Histograms whose bounds are powers.
    Exponential(Vec<OtlpPoint>, Temporality),
    /// Quantiles.
    Summary(Vec<OtlpPoint>),
}

impl OtlpData {
    /// The points, of whichever kind.
    pub fn points(&self) -> &[OtlpPoint] {
        match self {
            Self::Unknown => &[],
            Self::Gauge(points)
            | Self::Sum { points, .. }
            | Self::Histogram(points, _)
            | Self::Exponential(points, _)
            | Self::Summary(points) => points,
        }
    }
}

/// A point; what its kind does not have is empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OtlpPoint {
    /// What tells it from others of its metric.
    pub attributes: Attributes,
    /// Nanoseconds; 0: not known.
    pub start_ns: u64,
    /// Nanoseconds.
    pub t_ns: u64,
    /// Whether there is no value: the series ended.
    pub is_absent: bool,
    /// The value of a gauge or a sum.
    pub value: f64,
    /// Observations.
    pub count: u64,
    /// Their sum, if it is told.
    pub sum: Option<f64>,
    /// Upper bounds of a histogram's buckets but the last.
    pub bounds: Vec<f64>,
    /// Counts of these buckets.
    pub bucket_counts: Vec<u64>,
    /// The resolution of an exponential histogram.
    pub scale: i32,
    /// Observations next to zero.
    pub zero_count: u64,
    /// How far from zero those are.
    pub zero_threshold: f64,
    /// Index of the first of `positive`, and counts.
    pub positive: (i32, Vec<u64>),
    /// Index of the first of `negative`, and counts.
    pub negative: (i32, Vec<u64>),
    /// Quantiles of a summary with their values.
    pub quantiles: Vec<(f64, f64)>,
    /// Samples of observations.
    pub exemplars: Vec<OtlpExemplar>,
}

/// An exemplar.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OtlpExemplar {
    /// Nanoseconds.
    pub t_ns: u64,
    /// The value; `None`: it is of no known type.
    pub value: Option<f64>,
    /// Hexadecimal digits, or empty.
    pub trace_id: String,
    /// Hexadecimal digits, or empty.
    pub span_id: String,
    /// What the point does not say.
    pub attributes: Attributes,
}

/// Counts what a request makes of few bytes.
#[derive(Debug, Default)]
pub struct Items(usize);

impl Items {
    /// Counts more items.
    pub fn add(&mut self, count: usize) -> Result<(), WireError> {
        self.0 = self.0.saturating_add(count);
        if self.0 > ITEMS_MAX {
            return Err(WireError(format!("more than {ITEMS_MAX} items in one request")));
        }
        Ok(())
    }
}

/// Reads an `ExportMetricsServiceRequest`.
pub fn read_metrics(message: &[u8]) -> Result<Vec<ResourceMetrics>, WireError> {
    let mut reader = Reader { items: Items::default() };
    let mut resources = Vec::new();
    for field in Fields::new(message) {
        if let (1, value) = field? {
            resources.push(reader.resource(value.bytes()?)?);
        }
    }
    Ok(resources)
}

/// COMPAT: bytes that are no UTF-8 are taken, as Go takes them, and shown as such.
fn text(value: Value<'_>) -> Result<String, WireError> {
    Ok(String::from_utf8_lossy(value.bytes()?).into_owned())
}

fn fixed(value: Value<'_>) -> Result<u64, WireError> {
    match value {
        Value::Fixed64(bits) => Ok(bits),
        other => Err(WireError(format!("expected 64 bits, found {other:?}"))),
    }
}

/// Lower-case hexadecimal digits; empty for nothing but zeros.
pub fn hex(bytes: &[u8]) -> String {
    if bytes.iter().all(|byte| *byte == 0) {
        return String::new();
    }
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from_digit(u32::from(digit), 16).unwrap_or('0'))
        .collect()
}

struct Reader {
    items: Items,
}

impl Reader {
    fn attribute(&mut self, message: &[u8]) -> Result<(String, String), WireError> {
        self.items.add(1)?;
        let (mut name, mut found) = (String::new(), AnyValue::Empty);
        for field in Fields::new(message) {
            match field? {
                (1, value) => name = text(value)?,
                (2, value) => found = AnyValue::read(value.bytes()?, &mut self.items)?,
                _ => {}
            }
        }
        Ok((name, found.into_text()))
    }

    fn resource(&mut self, message: &[u8]) -> Result<ResourceMetrics, WireError> {
        self.items.add(1)?;
        let mut resource = ResourceMetrics::default();
        for field in Fields::new(message) {
            match field? {
                (1, value) => {
                    for field in Fields::new(value.bytes()?) {
                        if let (1, value) = field? {
                            resource.attributes.push(self.attribute(value.bytes()?)?);
                        }
                    }
                }
                (2, value) => resource.scopes.push(self.scope(value.bytes()?)?),
                _ => {}
            }
        }
        Ok(resource)
    }

    fn scope(&mut self, message: &[u8]) -> Result<ScopeMetrics, WireError> {
        self.items.add(1)?;
        let mut scope = ScopeMetrics::default();
        for field in Fields::new(message) {
            match field? {
                (1, value) => {
                    for field in Fields::new(value.bytes()?) {
                        match field? {
                            (1, value) => scope.name = text(value)?,
                            (2, value) => scope.version = text(value)?,
                            (3, value) => {
                                scope.attributes.push(self.attribute(value.bytes()?)?);
                            }
                            _ => {}
                        }
                    }
                }
                (2, value) => scope.metrics.push(self.metric(value.bytes()?)?),
                (3, value) => scope.schema_url = text(value)?,
                _ => {}
            }
        }
        Ok(scope)
    }

    fn metric(&mut self, message: &[u8]) -> Result<OtlpMetric, WireError> {
        self.items.add(1)?;
        let mut metric = OtlpMetric::default();
        for field in Fields::new(message) {
            match field? {
                (1, value) => metric.name = text(value)?,
                (2, value) => metric.description = text(value)?,
                (3, value) => metric.unit = text(value)?,
                (kind @ (5 | 7 | 9 | 10 | 11), value) => {
                    metric.data = self.data(kind, value.bytes()?)?;
                }
                _ => {}
            }
        }
        Ok(metric)
    }

    fn data(&mut self, kind: u32, message: &[u8]) -> Result<OtlpData, WireError> {
        let (mut points, mut temporality) = (Vec::new(), Temporality::Unspecified);
        let mut is_monotonic = false;
        for field in Fields::new(message) {
            match field? {
                (1, value) => {
                    self.items.add(1)?;
                    let bytes = value.bytes()?;
                    points.push(match kind {
                        9 => self.histogram_point(bytes)?,
                        10 => self.exponential_point(bytes)?,
                        11 => self.summary_point(bytes)?,
                        _ => self.number_point(bytes)?,
                    });
                }
                (2, value) => temporality = Temporality::from_number(value.int64()?),
                (3, value) => is_monotonic = value.int64()? != 0,
                _ => {}
            }
        }
        Ok(match kind {
            5 => OtlpData::Gauge(points),
            7 => OtlpData::Sum { points, temporality, is_monotonic },
            9 => OtlpData::Histogram(points, temporality),
            10 => OtlpData::Exponential(points, temporality),
            _ => OtlpData::Summary(points),
        })
    }

    fn number_point(&mut self, message: &[u8]) -> Result<OtlpPoint, WireError> {
        let mut point = OtlpPoint::default();
        for field in Fields::new(message) {
            match field? {
                (2, value) => point.start_ns = fixed(value)?,
                (3, value) => point.t_ns = fixed(value)?,
                (4, value) => point.value = value.double()?,
                (5, value) => point.exemplars.push(self.exemplar(value.bytes()?)?),
                (6, value) => point.value = fixed(value)? as i64 as f64,
                (7, value) => point.attributes.push(self.attribute(value.bytes()?)?),
                (8, value) => point.is_absent = value.int64()? & 1 != 0,
                _ => {}
            }
        }
        Ok(point)
    }

    fn histogram_point(&mut self, message: &[u8]) -> Result<OtlpPoint, WireError> {
        let mut point = OtlpPoint::default();
        for field in Fields::new(message) {
            match field? {
                (2, value) => point.start_ns = fixed(value)?,
                (3, value) => point.t_ns = fixed(value)?,
                (4, value) => point.count = fixed(value)?,
                (5, value) => point.sum = Some(value.double()?),
                (6, value) => self.eights(value, |bits| point.bucket_counts.push(bits))?,
                (7, value) => self.eights(value, |bits| point.bounds.push(f64::from_bits(bits)))?,
                (8, value) => point.exemplars.push(self.exemplar(value.bytes()?)?),
                (9, value) => point.attributes.push(self.attribute(value.bytes()?)?),
                (10, value) => point.is_absent = value.int64()? & 1 != 0,
                _ => {}
            }
        }
        Ok(point)
    }

    fn exponential_point(&mut self, message: &[u8]) -> Result<OtlpPoint, WireError> {
        let mut point = OtlpPoint::default();
        for field in Fields::new(message) {
            match field? {
                (1, value) => point.attributes.push(self.attribute(value.bytes()?)?),
                (2, value) => point.start_ns = fixed(value)?,
                (3, value) => point.t_ns = fixed(value)?,
                (4, value) => point.count = fixed(value)?,
                (5, value) => point.sum = Some(value.double()?),
                (6, value) => point.scale = unzigzag(value.int64()? as u64) as i32,
                (7, value) => point.zero_count = fixed(value)?,
                (8, value) => point.positive = self.buckets(value.bytes()?)?,
                (9, value) => point.negative = self.buckets(value.bytes()?)?,
                (10, value) => point.is_absent = value.int64()? & 1 != 0,
                (11, value) => point.exemplars.push(self.exemplar(value.bytes()?)?),
                (14, value) => point.zero_threshold = value.double()?,
                _ => {}
            }
        }
        Ok(point)
    }

    fn summary_point(&mut self, message: &[u8]) -> Result<OtlpPoint, WireError> {
        let mut point = OtlpPoint::default();
        for field in Fields::new(message) {
            match field? {
                (2, value) => point.start_ns = fixed(value)?,
                (3, value) => point.t_ns = fixed(value)?,
                (4, value) => point.count = fixed(value)?,
                (5, value) => point.sum = Some(value.double()?),
                (6, value) => {
                    self.items.add(1)?;
                    let mut pair = (0.0, 0.0);
                    for field in Fields::new(value.bytes()?) {
                        match field? {
                            (1, value) => pair.0 = value.double()?,
                            (2, value) => pair.1 = value.double()?,
                            _ => {}
                        }
                    }
                    point.quantiles.push(pair);
                }
                (7, value) => point.attributes.push(self.attribute(value.bytes()?)?),
                (8, value) => point.is_absent = value.int64()? & 1 != 0,
                _ => {}
            }
        }
        Ok(point)
    }

    fn exemplar(&mut self, message: &[u8]) -> Result<OtlpExemplar, WireError> {
        self.items.add(1)?;
        let mut exemplar = OtlpExemplar::default();
        for field in Fields::new(message) {
            match field? {
                (2, value) => exemplar.t_ns = fixed(value)?,
                (3, value) => exemplar.value = Some(value.double()?),
                (4, value) => exemplar.span_id = hex(value.bytes()?),
                (5, value) => exemplar.trace_id = hex(value.bytes()?),
                (6, value) => exemplar.value = Some(fixed(value)? as i64 as f64),
                (7, value) => exemplar.attributes.push(self.attribute(value.bytes()?)?),
                _ => {}
            }
        }
        Ok(exemplar)
    }

    /// Eight bytes each, packed or one by one.
    fn eights(&mut self, value: Value<'_>, mut take: impl FnMut(u64)) -> Result<(), WireError> {
        if let Value::Fixed64(bits) = value {
            self.items.add(1)?;
            take(bits);
            return Ok(());
        }
        let bytes = value.bytes()?;
        let (eights, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(WireError("packed values of 8 bytes break off".to_owned()));
        }
        self.items.add(eights.len())?;
        for eight in eights {
            take(u64::from_le_bytes(*eight));
        }
        Ok(())
    }

    fn buckets(&mut self, message: &[u8]) -> Result<(i32, Vec<u64>), WireError> {
        let (mut offset, mut counts) = (0, Vec::new());
        for field in Fields::new(message) {
            match field? {
                (1, value) => offset = unzigzag(value.int64()? as u64) as i32,
                (2, Value::Varint(count)) => {
                    self.items.add(1)?;
                    counts.push(count);
                }
                (2, value) => {
                    let mut packed = Cursor::new(value.bytes()?);
                    while !packed.is_empty() {
                        self.items.add(1)?;
                        counts.push(packed.uvarint()?);
                    }
                }
                _ => {}
            }
        }
        Ok((offset, counts))
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::{write_bytes, write_double, write_int64, write_varint};
    use super::*;

    fn message(number: u32, parts: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        write_bytes(number, &parts.concat(), &mut out);
        out
    }

    fn eight(number: u32, bits: u64) -> Vec<u8> {
        let mut out = Vec::new();
        write_double(number, f64::from_bits(bits), &mut out);
        out
    }

    fn whole(number: u32, value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        write_int64(number, value, &mut out);
        out
    }

    fn attribute(number: u32, name: &str, value: &[u8]) -> Vec<u8> {
        let name = message(1, &[name.as_bytes().to_vec()]);
        message(number, &[name, message(2, &[value.to_vec()])])
    }

    #[test]
    fn a_request_is_read() {
        let text = message(1, &[b"v".to_vec()]);
        let sum = message(
            7,
            &[
                message(1, &[eight(3, 5), eight(6, (-7_i64) as u64), attribute(7, "a", &text)]),
                whole(2, 2),
                whole(3, 1),
            ],
        );
        let mut packed = Vec::new();
        write_varint(3, &mut packed);
        write_varint(300, &mut packed);
        let exponential = message(
            10,
            &[message(1, &[whole(6, 3), message(8, &[whole(1, 4), message(2, &[packed])])])],
        );
        let metric = |data: Vec<u8>| message(2, &[message(1, &[b"m".to_vec()]), data]);
        let scope = message(2, &[metric(sum), metric(exponential)]);
        let resource = message(1, &[attribute(1, "service.name", &whole(3, 9))]);
        let request = message(1, &[resource, scope]);
        let found = read_metrics(&request).unwrap();
        assert_eq!(found[0].attributes, [("service.name".to_owned(), "9".to_owned())]);
        let metrics = &found[0].scopes[0].metrics;
        let OtlpData::Sum { points, temporality, is_monotonic } = &metrics[0].data else {
            panic!("a sum")
        };
        assert_eq!((points[0].value, points[0].t_ns), (-7.0, 5));
        assert_eq!(points[0].attributes, [("a".to_owned(), "v".to_owned())]);
        assert_eq!((*temporality, *is_monotonic), (Temporality::Cumulative, true));
        let OtlpData::Exponential(points, _) = &metrics[1].data else { panic!("exponential") };
        assert_eq!((points[0].scale, &points[0].positive), (-2, &(2, vec![3, 300])));
        for len in 0..request.len() {
            let _ = read_metrics(&request[..len]);
        }
    }

    #[test]
    fn what_few_bytes_become_is_bounded() {
        let points = [0x0a, 0].repeat(ITEMS_MAX + 1);
        let request = message(1, &[message(2, &[message(2, &[message(5, &[points])])])]);
        assert!(read_metrics(&request).unwrap_err().to_string().contains("items"));
        assert_eq!((hex(&[0, 0]), hex(&[1, 0xab])), (String::new(), "01ab".to_owned()));
    }
}
