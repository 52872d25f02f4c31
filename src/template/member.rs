//! Fields and methods of values.
//!
//! COMPAT: those of the Go types; of times and durations the methods that give one value.

use super::call::Param;
use super::functions::{Body, Function};
use super::time::Time;
use super::value::{Integer, Value};
use super::{AlertData, ConsoleData, Sample};
use crate::model::{FloatHistogram, format_go_duration};

/// What a name is to a value.
pub(super) enum Found {
    /// The receiver is nothing.
    Nothing,
    Method(&'static Function),
    /// A field, and whether it can hold anything.
    Field(Value, bool),
    /// An entry of a map, likewise.
    Entry(Value, bool),
    /// The receiver is a pointer to nothing.
    OfNil,
    Unknown,
}

pub(super) fn find(receiver: &Value, name: &str) -> Found {
    match receiver {
        Value::Missing => Found::Nothing,
        Value::Nil => Found::OfNil,
        Value::Alert(alert) => alert_field(alert, name),
        Value::Console(console) => console_field(console, name),
        Value::Labels(labels) => {
            Found::Entry(Value::text(labels.get(name).unwrap_or_default()), false)
        }
        Value::Map(map) => Found::Entry(map.entries.get(name).cloned().unwrap_or(Value::Nil), true),
        Value::TextLists(lists) => {
            let texts = lists.get(name).cloned().unwrap_or_else(|| [].into());
            Found::Entry(Value::Texts(texts), false)
        }
        Value::Sample(sample) => sample_field(sample.as_deref(), name),
        Value::Histogram(histogram) => histogram_field(histogram, name),
        Value::Time(_) | Value::TimePointer(_) => method(TIME, name),
        Value::DurationPointer(_) | Value::Int(_, Integer::Duration) => method(DURATION, name),
        Value::Int(_, Integer::Month | Integer::Weekday) => method(NAMED, name),
        _ => Found::Unknown,
    }
}

fn method(table: &'static [Function], name: &str) -> Found {
    table.iter().find(|method| method.name == name).map_or(Found::Unknown, Found::Method)
}

fn alert_field(alert: &AlertData, name: &str) -> Found {
    Found::Field(
        match name {
            "Labels" => Value::Labels(alert.labels.clone()),
            "ExternalLabels" => Value::Labels(alert.external_labels.clone()),
            "ExternalURL" => Value::text(alert.external_url.as_str()),
            "Value" => return Found::Field(Value::of_sample(&alert.value), true),
            _ => return Found::Unknown,
        },
        false,
    )
}

fn console_field(console: &ConsoleData, name: &str) -> Found {
    Found::Field(
        match name {
            "RawParams" => Value::raw_params_of(console),
            "Params" => Value::params_of(console),
            "Path" => Value::text(console.path.as_str()),
            "ExternalLabels" => Value::Labels(console.external_labels.clone()),
            _ => return Found::Unknown,
        },
        false,
    )
}

fn sample_field(sample: Option<&Sample>, name: &str) -> Found {
    match (name, sample) {
        ("Labels", Some(sample)) => Found::Field(Value::Labels(sample.labels.clone()), false),
        ("Value", Some(sample)) => Found::Field(Value::of_sample(&sample.value), true),
        ("Labels" | "Value", None) => Found::OfNil,
        _ => Found::Unknown,
    }
}

fn histogram_field(histogram: &FloatHistogram, name: &str) -> Found {
    let floats = |values: &[f64]| Value::Floats(values.into());
    Found::Field(
        match name {
            "Schema" => Value::Int(i64::from(histogram.schema), Integer::Int32),
            "ZeroThreshold" => Value::Float(histogram.zero_threshold),
            "ZeroCount" => Value::Float(histogram.zero_count),
            "Count" => Value::Float(histogram.count),
            "Sum" => Value::Float(histogram.sum),
            "PositiveBuckets" => floats(&histogram.positive_buckets),
            "NegativeBuckets" => floats(&histogram.negative_buckets),
            "CustomValues" => floats(&histogram.custom_bounds),
            "String" | "TestExpression" => return method(DESCRIBED, name),
            _ => return Found::Unknown,
        },
        false,
    )
}

const fn plain(name: &'static str, body: Body) -> Function {
    Function { name, fixed: &[], rest: None, body }
}

const fn with(name: &'static str, fixed: &'static [Param], body: Body) -> Function {
    Function { name, fixed, rest: None, body }
}

static DESCRIBED: &[Function] =
    &[plain("String", |_, room, values| Ok(Value::text(super::print::sprint(&values[..1], room))))];

static NAMED: &[Function] =
    &[plain("String", |_, room, values| Ok(Value::text(super::print::sprint(&values[..1], room))))];

static DURATION: &[Function] = &[
    plain("Hours", |_, _, v| Ok(Value::Float(in_units(duration(&v[0]), 3_600_000_000_000)))),
    plain("Minutes", |_, _, v| Ok(Value::Float(in_units(duration(&v[0]), 60_000_000_000)))),
    plain("Seconds", |_, _, v| Ok(Value::Float(in_units(duration(&v[0]), 1_000_000_000)))),
    plain("Milliseconds", |_, _, v| Ok(int64(duration(&v[0]) / 1_000_000))),
    plain("Microseconds", |_, _, v| Ok(int64(duration(&v[0]) / 1_000))),
    plain("Nanoseconds", |_, _, v| Ok(int64(duration(&v[0])))),
    plain("String", |_, _, v| Ok(Value::text(format_go_duration(duration(&v[0]))))),
    plain("Abs", |_, _, v| Ok(Value::Int(duration(&v[0]).saturating_abs(), Integer::Duration))),
    with("Truncate", &[Param::Duration], |_, _, v| {
        let (whole, unit) = (duration(&v[0]), duration(&v[1]));
        let kept = if unit <= 0 { whole } else { whole - whole % unit };
        Ok(Value::Int(kept, Integer::Duration))
    }),
    with("Round", &[Param::Duration], |_, _, v| {
        let (whole, unit) = (duration(&v[0]), duration(&v[1]));
        Ok(Value::Int(rounded(whole, unit), Integer::Duration))
    }),
];

fn int64(value: i64) -> Value {
    Value::Int(value, Integer::Int64)
}

fn duration(value: &Value) -> i64 {
    match value {
        Value::DurationPointer(ns) | Value::Int(ns, _) => *ns,
        _ => 0,
    }
}

fn in_units(ns: i64, unit_ns: i64) -> f64 {
    (ns / unit_ns) as f64 + (ns % unit_ns) as f64 / unit_ns as f64
}

fn rounded(whole: i64, unit: i64) -> i64 {
    if unit <= 0 {
        return whole;
    }
    let (wide, rest) = (i128::from(whole), i128::from(whole % unit));
    let unit = i128::from(unit);
    let result =
        if rest.abs() * 2 < unit { wide - rest } else { wide - rest + unit * rest.signum() };
    result.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

fn time(value: &Value) -> Time {
    match value {
        Value::Time(time) | Value::TimePointer(time) => *time,
        _ => Time::from_ms(0),
    }
}

fn int_of(value: &Value) -> i64 {
    match value {
        Value::Int(value, _) => *value,
        _ => 0,
    }
}

static TIME: &[Function] = &[
    with("Format", &[Param::Text], |_, _, v| {
        let layout = v[1].as_text().cloned().unwrap_or_default();
        Ok(Value::text(time(&v[0]).format(&layout)))
    }),
    plain("String", |_, _, v| Ok(Value::text(time(&v[0]).text()))),
    plain("Year", |_, _, v| Ok(Value::int(time(&v[0]).parts().year))),
    plain("Month", |_, _, v| Ok(Value::Int(time(&v[0]).parts().month, Integer::Month))),
    plain("Day", |_, _, v| Ok(Value::int(time(&v[0]).parts().day))),
    plain("Hour", |_, _, v| Ok(Value::int(time(&v[0]).parts().hour))),
    plain("Minute", |_, _, v| Ok(Value::int(time(&v[0]).parts().minute))),
    plain("Second", |_, _, v| Ok(Value::int(time(&v[0]).parts().second))),
    plain("Nanosecond", |_, _, v| Ok(Value::int(time(&v[0]).parts().nanosecond))),
    plain("Weekday", |_, _, v| Ok(Value::Int(time(&v[0]).parts().weekday, Integer::Weekday))),
    plain("YearDay", |_, _, v| Ok(Value::int(time(&v[0]).parts().day_of_year))),
    plain("Unix", |_, _, v| Ok(int64(time(&v[0]).seconds()))),
    plain("UnixMilli", |_, _, v| Ok(int64(time(&v[0]).since_epoch(1_000_000)))),
    plain("UnixMicro", |_, _, v| Ok(int64(time(&v[0]).since_epoch(1_000)))),
    plain("UnixNano", |_, _, v| Ok(int64(time(&v[0]).since_epoch(1)))),
    plain("UTC", |_, _, v| Ok(Value::Time(time(&v[0])))),
    plain("IsZero", |_, _, v| Ok(Value::Bool(time(&v[0]).is_zero()))),
    plain("IsDST", |_, _, _| Ok(Value::Bool(false))),
    with("Add", &[Param::Duration], |_, _, v| Ok(Value::Time(time(&v[0]).add(duration(&v[1]))))),
    with("AddDate", &[Param::Int, Param::Int, Param::Int], |_, _, v| {
        Ok(Value::Time(time(&v[0]).add_date(int_of(&v[1]), int_of(&v[2]), int_of(&v[3]))))
    }),
    with("Sub", &[Param::Time], |_, _, v| {
        Ok(Value::Int(time(&v[0]).since(time(&v[1])), Integer::Duration))
    }),
    with("Before", &[Param::Time], |_, _, v| Ok(Value::Bool(time(&v[0]) < time(&v[1])))),
    with("After", &[Param::Time], |_, _, v| Ok(Value::Bool(time(&v[0]) > time(&v[1])))),
    with("Equal", &[Param::Time], |_, _, v| Ok(Value::Bool(time(&v[0]) == time(&v[1])))),
    with("Truncate", &[Param::Duration], |_, _, v| {
        Ok(Value::Time(time(&v[0]).truncate(duration(&v[1]))))
    }),
    with("Round", &[Param::Duration], |_, _, v| {
        Ok(Value::Time(time(&v[0]).round(duration(&v[1]))))
    }),
];
