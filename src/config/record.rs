//! A section as it was read: values by field, defaults filled in.

use super::schema::{Default, Field, Kind, Section};
use super::secret::Secret;
use super::yaml::Node;
use crate::relabel::Rule;

/// A section's values, in the order of its fields; inlined fields are among them.
#[derive(Clone)]
pub(super) struct Record {
    pub(super) section: &'static Section,
    pub(super) line: usize,
    pub(super) column: usize,
    values: Vec<(Field, Value)>,
}

/// A field's value.
#[derive(Clone, PartialEq)]
pub(super) enum Value {
    /// An optional thing that is not there.
    Nothing,
    Text(String),
    Secret(Secret),
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    DurationMs(i64),
    Bytes(i64),
    /// A list; `None` is told from the empty list where that matters.
    Texts(Option<Vec<String>>),
    Secrets(Vec<Secret>),
    TextMap(Vec<(String, String)>),
    TextLists(Vec<(String, Vec<String>)>),
    SecretLists(Vec<(String, Vec<Secret>)>),
    Record(Box<Record>),
    Records(Vec<Record>),
    RecordMap(Vec<(String, Record)>),
    Rules(Vec<Rule>),
    Any(Box<Node>),
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.section, other.section)
            && self.values.len() == other.values.len()
            && self.values.iter().zip(&other.values).all(|((_, a), (_, b))| a == b)
    }
}

impl Value {
    /// Whether it holds nothing, as Go's zero values do.
    pub(super) fn is_zero(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Text(text) => text.is_empty(),
            Self::Secret(secret) => secret.is_empty(),
            Self::Bool(value) => !value,
            Self::Int(value) | Self::DurationMs(value) | Self::Bytes(value) => *value == 0,
            Self::Uint(value) => *value == 0,
            Self::Float(value) => *value == 0.0,
            Self::Texts(list) => list.as_ref().is_none_or(Vec::is_empty),
            Self::Secrets(list) => list.is_empty(),
            Self::TextMap(pairs) => pairs.is_empty(),
            Self::TextLists(pairs) => pairs.is_empty(),
            Self::SecretLists(pairs) => pairs.is_empty(),
            Self::Record(record) => record.is_zero(),
            Self::Records(records) => records.is_empty(),
            Self::RecordMap(pairs) => pairs.is_empty(),
            Self::Rules(rules) => rules.is_empty(),
            Self::Any(_) => false,
        }
    }

    /// The value of a field that holds nothing.
    pub(super) fn zero(kind: Kind) -> Self {
        match kind {
            Kind::Text | Kind::Path | Kind::Url | Kind::Checked(_) => Self::Text(String::new()),
            Kind::Secret => Self::Secret(Secret::default()),
            Kind::Bool => Self::Bool(false),
            Kind::OptionalBool | Kind::Optional(_) | Kind::Any | Kind::Inline(_) => Self::Nothing,
            Kind::Int => Self::Int(0),
            Kind::Uint => Self::Uint(0),
            Kind::Float => Self::Float(0.0),
            Kind::Duration => Self::DurationMs(0),
            Kind::Bytes => Self::Bytes(0),
            Kind::Texts | Kind::Paths => Self::Texts(None),
            Kind::Secrets => Self::Secrets(Vec::new()),
            Kind::TextMap | Kind::Labels => Self::TextMap(Vec::new()),
            Kind::TextLists => Self::TextLists(Vec::new()),
            Kind::SecretLists => Self::SecretLists(Vec::new()),
            Kind::Section(section) => Self::Record(Box::new(Record::zero(section))),
            Kind::Sections(_) => Self::Records(Vec::new()),
            Kind::SectionMap(_) => Self::RecordMap(Vec::new()),
            Kind::Rules(_) => Self::Rules(Vec::new()),
        }
    }

    fn default_of(field: &Field) -> Self {
        match (field.default, field.kind) {
            (Default::Text(text), _) => Self::Text(text.to_owned()),
            (Default::Bool(value), _) => Self::Bool(value),
            (Default::Int(value), _) => Self::Int(value),
            (Default::Uint(value), _) => Self::Uint(value),
            (Default::DurationMs(value), _) => Self::DurationMs(value),
            (Default::Filled, Kind::Section(section) | Kind::Optional(section)) => {
                Self::Record(Box::new(Record::filled(section)))
            }
            (Default::Filled | Default::Zero, kind) => Self::zero(kind),
        }
    }
}

impl Record {
    /// Every field at its default.
    pub(super) fn filled(section: &'static Section) -> Self {
        Self::with(section, Value::default_of)
    }

    /// Every field empty.
    pub(super) fn zero(section: &'static Section) -> Self {
        Self::with(section, |field| Value::zero(field.kind))
    }

    fn with(section: &'static Section, value: impl Fn(&Field) -> Value + Copy) -> Self {
        let mut values = Vec::new();
        push_fields(section, value, &mut values);
        Self { section, line: 0, column: 0, values }
    }

    fn is_zero(&self) -> bool {
        self.values.iter().all(|(_, value)| value.is_zero())
    }

    /// Fields with their values, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Field, &Value)> {
        self.values.iter().map(|(field, value)| (field, value))
    }

    pub(super) fn field(&self, key: &str) -> Option<Field> {
        self.values.iter().find(|(field, _)| field.key == key).map(|(field, _)| *field)
    }

    /// The value of a field that the section has.
    pub(super) fn value(&self, key: &str) -> &Value {
        match self.values.iter().find(|(field, _)| field.key == key) {
            Some((_, value)) => value,
            None => unreachable!("BUG: section {} has no field {key}", self.section.name),
        }
    }

    /// As [`Record::value`], to change it.
    pub(super) fn value_mut(&mut self, key: &str) -> &mut Value {
        match self.values.iter_mut().find(|(field, _)| field.key == key) {
            Some((_, value)) => value,
            None => unreachable!("BUG: section {} has no field {key}", self.section.name),
        }
    }

    pub(super) fn set(&mut self, key: &str, value: Value) {
        *self.value_mut(key) = value;
    }

    /// Values that may be changed, with their fields.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&Field, &mut Value)> {
        self.values.iter_mut().map(|(field, value)| (&*field, value))
    }

    pub(super) fn is_set(&self, key: &str) -> bool {
        !self.value(key).is_zero()
    }

    /// Whether an optional section was written, be it empty.
    pub(super) fn is_set_at_all(&self, key: &str) -> bool {
        !matches!(self.value(key), Value::Nothing)
    }

    /// How many of these fields hold something.
    pub(super) fn count_set(&self, keys: &[&str]) -> usize {
        keys.iter().filter(|key| self.is_set(key)).count()
    }

    pub(super) fn text(&self, key: &str) -> &str {
        match self.value(key) {
            Value::Text(text) => text,
            _ => "",
        }
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        matches!(self.value(key), Value::Bool(true))
    }

    pub(super) fn uint(&self, key: &str) -> u64 {
        match self.value(key) {
            Value::Uint(value) => *value,
            Value::Bytes(value) => u64::try_from(*value).unwrap_or(0),
            _ => 0,
        }
    }

    pub(super) fn int(&self, key: &str) -> i64 {
        match self.value(key) {
            Value::Int(value) => *value,
            _ => 0,
        }
    }

    pub(super) fn float(&self, key: &str) -> f64 {
        match self.value(key) {
            Value::Float(value) => *value,
            _ => 0.0,
        }
    }

    pub(super) fn duration_ms(&self, key: &str) -> i64 {
        match self.value(key) {
            Value::DurationMs(value) => *value,
            _ => 0,
        }
    }

    pub(super) fn texts(&self, key: &str) -> &[String] {
        match self.value(key) {
            Value::Texts(Some(list)) => list,
            _ => &[],
        }
    }

    pub(super) fn text_map(&self, key: &str) -> &[(String, String)] {
        match self.value(key) {
            Value::TextMap(pairs) => pairs,
            _ => &[],
        }
    }

    pub(super) fn record(&self, key: &str) -> Option<&Record> {
        match self.value(key) {
            Value::Record(record) => Some(record),
            _ => None,
        }
    }

    pub(super) fn records(&self, key: &str) -> &[Record] {
        match self.value(key) {
            Value::Records(records) => records,
            _ => &[],
        }
    }

    pub(super) fn records_mut(&mut self, key: &str) -> &mut [Record] {
        match self.value_mut(key) {
            Value::Records(records) => records,
            _ => &mut [],
        }
    }

    pub(super) fn rules(&self, key: &str) -> &[Rule] {
        match self.value(key) {
            Value::Rules(rules) => rules,
            _ => &[],
        }
    }

    pub(super) fn rules_mut(&mut self, key: &str) -> &mut [Rule] {
        match self.value_mut(key) {
            Value::Rules(rules) => rules,
            _ => &mut [],
        }
    }
}

fn push_fields(
    section: &'static Section,
    value: impl Fn(&Field) -> Value + Copy,
    values: &mut Vec<(Field, Value)>,
) {
    for field in section.fields {
        if let Kind::Inline(inner) = field.kind {
            push_fields(inner, value, values);
        } else {
            values.push((*field, value(field)));
        }
    }
}
