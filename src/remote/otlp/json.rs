//! The metrics of an OTLP request, read from JSON: protobuf's mapping, with hexadecimal digits for
//! the numbers of traces and spans.
//!
//! Whole numbers of 64 bits may be texts, fields that are not known are skipped, and null stands
//! for a field that is not there.

use serde_json::{Map, Value};

use crate::protowire::WireError;
use crate::protowire::otlp::{
    Attributes, Items, OtlpData, OtlpExemplar, OtlpMetric, OtlpPoint, ResourceMetrics,
    ScopeMetrics, Temporality,
};
use crate::protowire::otlp_value::AnyValue;

type Object = Map<String, Value>;

/// Reads a request.
pub(super) fn read_metrics(text: &[u8]) -> Result<Vec<ResourceMetrics>, WireError> {
    let root: Value =
        serde_json::from_slice(text).map_err(|error| WireError(format!("JSON: {error}")))?;
    let mut reader = Reader { items: Items::default() };
    let root = object(&root, "the request")?;
    reader.list(root, "resourceMetrics", Reader::resource)
}

fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Object, WireError> {
    value.as_object().ok_or_else(|| WireError(format!("JSON: {what} is no object")))
}

fn wrong(name: &str) -> WireError {
    WireError(format!("JSON: {name} is of another type"))
}

fn field<'a>(object: &'a Object, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

fn text(object: &Object, name: &str) -> Result<String, WireError> {
    match field(object, name) {
        None => Ok(String::new()),
        Some(value) => Ok(value.as_str().ok_or_else(|| wrong(name))?.to_owned()),
    }
}

fn flag(object: &Object, name: &str) -> Result<bool, WireError> {
    field(object, name).map_or(Ok(false), |value| value.as_bool().ok_or_else(|| wrong(name)))
}

/// A whole number, as such or as a text.
fn whole(value: &Value, name: &str) -> Result<i128, WireError> {
    let found = match value {
        Value::Number(number) => number
            .as_i128()
            .or_else(|| number.as_f64().filter(|v| v.fract() == 0.0).map(|v| v as i128)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    found.ok_or_else(|| wrong(name))
}

fn unsigned(object: &Object, name: &str) -> Result<u64, WireError> {
    let Some(value) = field(object, name) else { return Ok(0) };
    u64::try_from(whole(value, name)?).map_err(|_| wrong(name))
}

fn small(object: &Object, name: &str) -> Result<i32, WireError> {
    let Some(value) = field(object, name) else { return Ok(0) };
    i32::try_from(whole(value, name)?).map_err(|_| wrong(name))
}

/// A number, or a text that names one that JSON does not have.
fn double(value: &Value, name: &str) -> Result<f64, WireError> {
    let found = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text => text.parse().ok(),
        },
        _ => None,
    };
    found.ok_or_else(|| wrong(name))
}

fn optional_double(object: &Object, name: &str) -> Result<Option<f64>, WireError> {
    field(object, name).map(|value| double(value, name)).transpose()
}

fn number(object: &Object) -> Result<Option<f64>, WireError> {
    if let Some(value) = field(object, "asInt") {
        let value = i64::try_from(whole(value, "asInt")?).map_err(|_| wrong("asInt"))?;
        return Ok(Some(value as f64));
    }
    optional_double(object, "asDouble")
}

fn temporality(object: &Object) -> Result<Temporality, WireError> {
    let name = "aggregationTemporality";
    Ok(match field(object, name) {
        None => Temporality::Unspecified,
        Some(Value::String(text)) => match text.as_str() {
            "AGGREGATION_TEMPORALITY_DELTA" => Temporality::Delta,
            "AGGREGATION_TEMPORALITY_CUMULATIVE" => Temporality::Cumulative,
            _ => Temporality::Unspecified,
        },
        Some(value) => Temporality::from_number(whole(value, name)?.clamp(0, 9) as i64),
    })
}

struct Reader {
    items: Items,
}

impl Reader {
    fn list<T>(
        &mut self,
        object: &Object,
        name: &str,
        read: impl Fn(&mut Self, &Object) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let mut items = Vec::new();
        for value in self.values(object, name)? {
            items.push(read(self, self::object(value, name)?)?);
        }
        Ok(items)
    }

    fn values<'a>(&mut self, object: &'a Object, name: &str) -> Result<&'a [Value], WireError> {
        let Some(value) = field(object, name) else { return Ok(&[]) };
        let values = value.as_array().ok_or_else(|| wrong(name))?;
        self.items.add(values.len())?;
        Ok(values)
    }

    fn attributes(&mut self, object: &Object, name: &str) -> Result<Attributes, WireError> {
        self.list(object, name, |reader, pair| {
            let value = match field(pair, "value") {
                None => AnyValue::Empty,
                Some(value) => reader.any(self::object(value, "value")?)?,
            };
            Ok((text(pair, "key")?, value.into_text()))
        })
    }

    /// JSON's own bound on nesting bounds this.
    fn any(&mut self, object: &Object) -> Result<AnyValue, WireError> {
        let Some((name, value)) = object.iter().find(|(_, value)| !value.is_null()) else {
            return Ok(AnyValue::Empty);
        };
        let as_text = || value.as_str().ok_or_else(|| wrong(name));
        Ok(match name.as_str() {
            "stringValue" => AnyValue::Text(as_text()?.to_owned()),
            "boolValue" => AnyValue::Bool(value.as_bool().ok_or_else(|| wrong(name))?),
            "intValue" => {
                AnyValue::Int(i64::try_from(whole(value, name)?).map_err(|_| wrong(name))?)
            }
            "doubleValue" => AnyValue::Double(double(value, name)?),
            "bytesValue" => {
                use base64::Engine as _;
                let bytes = base64::engine::general_purpose::STANDARD.decode(as_text()?);
                AnyValue::Bytes(bytes.map_err(|_| wrong(name))?)
            }
            "arrayValue" => {
                let list = self::object(value, name)?;
                AnyValue::List(self.list(list, "values", Self::any)?)
            }
            "kvlistValue" => {
                let list = self::object(value, name)?;
                let pairs = self.list(list, "values", |reader, pair| {
                    let value = match field(pair, "value") {
                        None => AnyValue::Empty,
                        Some(value) => reader.any(self::object(value, "value")?)?,
                    };
                    Ok((text(pair, "key")?, value))
                })?;
                AnyValue::Map(pairs.into_iter().collect())
            }
            _ => AnyValue::Empty,
        })
    }

    fn resource(&mut self, object: &Object) -> Result<ResourceMetrics, WireError> {
        let attributes = match field(object, "resource") {
            None => Vec::new(),
            Some(resource) => self.attributes(self::object(resource, "resource")?, "attributes")?,
        };
        Ok(ResourceMetrics { attributes, scopes: self.list(object, "scopeMetrics", Self::scope)? })
    }

    fn scope(&mut self, object: &Object) -> Result<ScopeMetrics, WireError> {
        let mut scope = ScopeMetrics {
            schema_url: text(object, "schemaUrl")?,
            metrics: self.list(object, "metrics", Self::metric)?,
            ..ScopeMetrics::default()
        };
        if let Some(value) = field(object, "scope") {
            let own = self::object(value, "scope")?;
            (scope.name, scope.version) = (text(own, "name")?, text(own, "version")?);
            scope.attributes = self.attributes(own, "attributes")?;
        }
        Ok(scope)
    }

    fn metric(&mut self, object: &Object) -> Result<OtlpMetric, WireError> {
        let mut metric = OtlpMetric {
            name: text(object, "name")?,
            description: text(object, "description")?,
            unit: text(object, "unit")?,
            data: OtlpData::Unknown,
        };
        for kind in ["gauge", "sum", "histogram", "exponentialHistogram", "summary"] {
            let Some(data) = field(object, kind) else { continue };
            let data = self::object(data, kind)?;
            let points = self.list(data, "dataPoints", Self::point)?;
            metric.data = match kind {
                "gauge" => OtlpData::Gauge(points),
                "sum" => OtlpData::Sum {
                    points,
                    temporality: temporality(data)?,
                    is_monotonic: flag(data, "isMonotonic")?,
                },
                "histogram" => OtlpData::Histogram(points, temporality(data)?),
                "summary" => OtlpData::Summary(points),
                _ => OtlpData::Exponential(points, temporality(data)?),
            };
        }
        Ok(metric)
    }

    /// A point of any kind: no two kinds have fields of one name and different meaning.
    fn point(&mut self, object: &Object) -> Result<OtlpPoint, WireError> {
        let mut point = OtlpPoint {
            attributes: self.attributes(object, "attributes")?,
            start_ns: unsigned(object, "startTimeUnixNano")?,
            t_ns: unsigned(object, "timeUnixNano")?,
            is_absent: unsigned(object, "flags")? & 1 != 0,
            value: number(object)?.unwrap_or(0.0),
            count: unsigned(object, "count")?,
            sum: optional_double(object, "sum")?,
            scale: small(object, "scale")?,
            zero_count: unsigned(object, "zeroCount")?,
            zero_threshold: optional_double(object, "zeroThreshold")?.unwrap_or(0.0),
            positive: self.buckets(object, "positive")?,
            negative: self.buckets(object, "negative")?,
            bucket_counts: self.counts(object)?,
            exemplars: self.list(object, "exemplars", Self::exemplar)?,
            ..OtlpPoint::default()
        };
        for value in self.values(object, "explicitBounds")? {
            point.bounds.push(double(value, "explicitBounds")?);
        }
        point.quantiles = self.list(object, "quantileValues", |_, pair| {
            let quantile = optional_double(pair, "quantile")?.unwrap_or(0.0);
            Ok((quantile, optional_double(pair, "value")?.unwrap_or(0.0)))
        })?;
        Ok(point)
    }

    fn counts(&mut self, object: &Object) -> Result<Vec<u64>, WireError> {
        let name = "bucketCounts";
        let count = |value| u64::try_from(whole(value, name)?).map_err(|_| wrong(name));
        self.values(object, name)?.iter().map(count).collect()
    }

    fn buckets(&mut self, object: &Object, name: &str) -> Result<(i32, Vec<u64>), WireError> {
        let Some(value) = field(object, name) else { return Ok((0, Vec::new())) };
        let buckets = self::object(value, name)?;
        Ok((small(buckets, "offset")?, self.counts(buckets)?))
    }

    fn exemplar(&mut self, object: &Object) -> Result<OtlpExemplar, WireError> {
        let id = |name| {
            let digits = text(object, name)?.to_ascii_lowercase();
            if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(wrong(name));
            }
            let is_none = digits.bytes().all(|byte| byte == b'0');
            Ok(if is_none { String::new() } else { digits })
        };
        Ok(OtlpExemplar {
            t_ns: unsigned(object, "timeUnixNano")?,
            value: number(object)?,
            trace_id: id("traceId")?,
            span_id: id("spanId")?,
            attributes: self.attributes(object, "filteredAttributes")?,
        })
    }
}
