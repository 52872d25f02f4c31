//! A tree of nodes to records, by the tables of [`super::schema`].
//!
//! Strict: a field that the table does not have is an error with its place. A null stands for
//! the empty value of the field's type, not for its default, as go-yaml has it.

use super::discovery::STATIC;
use super::error::Complaint;
use super::record::{Record, Value};
use super::schema::{Kind, Section};
use super::secret::Secret;
use super::yaml::{Node, NodeValue};
use super::{bytes, scalar, url};
use crate::model::{go_quote, parse_duration};
use crate::regex::Regex;
use crate::relabel::{Action, Rule};

/// Reads a section that stands at `node`.
pub(super) fn section(node: &Node, section: &'static Section) -> Result<Record, Complaint> {
    let NodeValue::Map(pairs) = &node.value else {
        return Err(mismatch(node, section.name));
    };
    let mut record = Record::filled(section);
    record.line = node.line;
    record.column = node.column;
    for (key, value) in pairs {
        let name = key_text(key)?;
        let Some(field) = record.field(name) else {
            let message = format!("field {name} not found in {}", section.name);
            return Err(key.complain(message));
        };
        record.set(name, decode(value, field.kind)?);
    }
    (section.check)(&mut record).map_err(|message| node.complain(message))?;
    Ok(record)
}

/// Reads the list of target groups that a discovery file holds.
pub(super) fn target_groups(node: &Node) -> Result<Vec<Record>, Complaint> {
    list(node, |item| {
        if item.is_null() {
            return Err(item.complain("nil target group item found"));
        }
        section(item, &STATIC)
    })
}

pub(super) fn key_text(key: &Node) -> Result<&str, Complaint> {
    match &key.value {
        NodeValue::Scalar { text, .. } => Ok(text),
        _ => Err(key.complain("yaml: a key must be a single value")),
    }
}

pub(super) fn mismatch(node: &Node, wanted: &str) -> Complaint {
    node.complain(format!("cannot unmarshal {} into {wanted}", node.describe()))
}

fn decode(node: &Node, kind: Kind) -> Result<Value, Complaint> {
    if node.is_null() {
        return Ok(Value::zero(kind));
    }
    let refuse = |message: String| node.complain(message);
    Ok(match kind {
        Kind::Text | Kind::Path => Value::Text(text(node)?.to_owned()),
        Kind::Secret => Value::Secret(Secret::new(text(node)?)),
        Kind::Bool | Kind::OptionalBool => Value::Bool(boolean(node)?),
        Kind::Int => {
            Value::Int(i64::try_from(integer(node, "int")?).map_err(|_| mismatch(node, "int"))?)
        }
        Kind::Uint => {
            Value::Uint(u64::try_from(integer(node, "uint")?).map_err(|_| mismatch(node, "uint"))?)
        }
        Kind::Float => Value::Float(float(node)?),
        Kind::Duration => {
            let parsed = parse_duration(text(node)?);
            Value::DurationMs(parsed.map_err(|error| refuse(error.to_string()))?)
        }
        Kind::Bytes => Value::Bytes(bytes::parse(text(node)?).map_err(refuse)?),
        Kind::Url => {
            let address = text(node)?;
            url::check(address).map_err(refuse)?;
            Value::Text(address.to_owned())
        }
        Kind::Checked(check) => {
            check(text(node)?).map_err(refuse)?;
            Value::Text(text(node)?.to_owned())
        }
        Kind::Texts | Kind::Paths => Value::Texts(Some(list(node, owned_text)?)),
        Kind::Secrets => Value::Secrets(list(node, secret)?),
        Kind::TextMap | Kind::Labels => Value::TextMap(map(node, owned_text)?),
        Kind::TextLists => Value::TextLists(map(node, |item| list(item, owned_text))?),
        Kind::SecretLists => Value::SecretLists(map(node, |item| list(item, secret))?),
        Kind::Section(inner) | Kind::Optional(inner) => {
            Value::Record(Box::new(section(node, inner)?))
        }
        Kind::Sections(inner) => Value::Records(list(node, |item| {
            if item.is_null() {
                return Err(item.complain(null_section(inner.name)));
            }
            section(item, inner)
        })?),
        Kind::SectionMap(inner) => Value::RecordMap(map(node, |item| section(item, inner))?),
        Kind::Rules(what) => Value::Rules(list(node, |item| {
            if item.is_null() {
                return Err(item.complain(format!("empty or null {what}")));
            }
            rule(item)
        })?),
        Kind::Any => Value::Any(Box::new(node.clone())),
        Kind::Inline(_) => unreachable!("BUG: inlined sections have no field of their own"),
    })
}

fn null_section(name: &str) -> String {
    match name {
        "scrape_config" => "empty or null scrape config section".to_owned(),
        "remote_write" => "empty or null remote write config section".to_owned(),
        "remote_read" => "empty or null remote read config section".to_owned(),
        _ => format!("empty or null section in {name}"),
    }
}

/// Numbers and booleans may stand where text is wanted; their text counts.
pub(super) fn text(node: &Node) -> Result<&str, Complaint> {
    match &node.value {
        NodeValue::Scalar { text, .. } => Ok(text),
        _ => Err(mismatch(node, "string")),
    }
}

pub(super) fn owned_text(node: &Node) -> Result<String, Complaint> {
    if node.is_null() { Ok(String::new()) } else { text(node).map(str::to_owned) }
}

pub(super) fn secret(node: &Node) -> Result<Secret, Complaint> {
    owned_text(node).map(Secret::new)
}

pub(super) fn boolean(node: &Node) -> Result<bool, Complaint> {
    let value = match &node.value {
        NodeValue::Scalar { text, plain: true } => scalar::boolean(text),
        _ => None,
    };
    value.ok_or_else(|| mismatch(node, "bool"))
}

pub(super) fn integer(node: &Node, wanted: &str) -> Result<i128, Complaint> {
    let value = match &node.value {
        NodeValue::Scalar { text, plain: true } => scalar::integer(text).or_else(|| {
            // A float without a fraction is taken for a whole number.
            let value = scalar::float(text)?;
            (value.fract() == 0.0 && value.abs() < 9e18).then_some(value as i128)
        }),
        _ => None,
    };
    value.ok_or_else(|| mismatch(node, wanted))
}

fn float(node: &Node) -> Result<f64, Complaint> {
    let value = match &node.value {
        NodeValue::Scalar { text, plain: true } => {
            scalar::float(text).or_else(|| scalar::integer(text).map(|value| value as f64))
        }
        _ => None,
    };
    value.ok_or_else(|| mismatch(node, "float64"))
}

pub(super) fn list<T>(
    node: &Node,
    item: impl Fn(&Node) -> Result<T, Complaint>,
) -> Result<Vec<T>, Complaint> {
    match &node.value {
        NodeValue::List(items) => items.iter().map(item).collect(),
        _ => Err(mismatch(node, "list")),
    }
}

/// Pairs in ascending order of names, as they are printed.
pub(super) fn map<T>(
    node: &Node,
    item: impl Fn(&Node) -> Result<T, Complaint>,
) -> Result<Vec<(String, T)>, Complaint> {
    let NodeValue::Map(pairs) = &node.value else { return Err(mismatch(node, "map")) };
    let mut read = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        read.push((key_text(key)?.to_owned(), item(value)?));
    }
    read.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(read)
}

/// A relabelling rule; whether its fields fit together is checked when the scheme is known.
fn rule(node: &Node) -> Result<Rule, Complaint> {
    const NAME: &str = "relabel_config";
    let NodeValue::Map(pairs) = &node.value else { return Err(mismatch(node, NAME)) };
    let mut rule = Rule::default();
    for (key, value) in pairs {
        let is_null = value.is_null();
        let string = || owned_text(value);
        match key_text(key)? {
            "source_labels" if is_null => rule.source_labels = None,
            "source_labels" => rule.source_labels = Some(list(value, label_name)?),
            "separator" => rule.separator = string()?,
            "regex" => {
                let regex = Regex::new(&string()?);
                rule.regex = regex.map_err(|error| value.complain(error.to_string()))?;
            }
            "modulus" if is_null => rule.modulus = 0,
            "modulus" => {
                let modulus = u64::try_from(integer(value, "uint64")?);
                rule.modulus = modulus.map_err(|_| mismatch(value, "uint64"))?;
            }
            "target_label" => rule.target_label = string()?,
            "replacement" => rule.replacement = string()?,
            "action" if is_null => {
                return Err(value.complain("relabel action cannot be empty"));
            }
            "action" => {
                let action = Action::parse(&string()?);
                rule.action = action.map_err(|error| value.complain(error.to_string()))?;
            }
            name => return Err(key.complain(format!("field {name} not found in {NAME}"))),
        }
    }
    Ok(rule)
}

fn label_name(node: &Node) -> Result<String, Complaint> {
    let name = owned_text(node)?;
    if name.is_empty() {
        return Err(node.complain(format!("{} is not a valid label name", go_quote(&name))));
    }
    Ok(name)
}
