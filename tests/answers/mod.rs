//! Answers of the API beside recorded ones, field by field. A recorded `"*"` stands for whatever
//! is there.

use serde_json::Value;

/// The same with lists of series in an order of their own: neither server promises one.
pub(crate) fn ordered(path: &str, mut answer: Value) -> Value {
    let list = match path.split('?').next() {
        Some("query") => answer.pointer_mut("/data/result"),
        Some("series") => answer.pointer_mut("/data"),
        _ => None,
    };
    if let Some(Value::Array(list)) = list
        && list.iter().all(Value::is_object)
    {
        list.sort_by_key(|series| series.get("metric").unwrap_or(series).to_string());
    }
    answer
}

/// Where two answers differ first.
pub(crate) fn difference(path: &str, ours: &Value, theirs: &Value) -> Option<String> {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let names = ours.keys().chain(theirs.keys());
            let null = Value::Null;
            let field = |of: &serde_json::Map<String, Value>, name: &String| {
                of.get(name).unwrap_or(&null).clone()
            };
            names.into_iter().find_map(|name| {
                let place = format!("{path}.{name}");
                difference(&place, &field(ours, name), &field(theirs, name))
            })
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            let pairs = ours.iter().zip(theirs).enumerate();
            pairs.into_iter().find_map(|(i, (a, b))| difference(&format!("{path}[{i}]"), a, b))
        }
        _ if ours == theirs || (theirs == "*" && !ours.is_null()) => None,
        _ => Some(format!("{path}: ours {ours}, Prometheus's {theirs}")),
    }
}
