//! What a section of the file may hold: names, types and defaults of its fields, in the order in
//! which they are printed.
//!
//! Every section of the configuration is a table of these; one decoder and one printer serve
//! them all. COMPAT: names, types and defaults are those of Prometheus 3.14.

use super::record::Record;

/// A section: what is written as a mapping.
pub(super) struct Section {
    /// The name that error texts use.
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
    /// Run when the section is there, after its fields were read; says what is wrong.
    pub(super) check: Check,
}

/// A check of one section by itself. It may complete fields from others.
pub(super) type Check = fn(&mut Record) -> Result<(), String>;

/// The check of sections that have none.
#[expect(clippy::unnecessary_wraps, reason = "the type of every check")]
pub(super) fn no_check(_: &mut Record) -> Result<(), String> {
    Ok(())
}

/// One field of a section.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) key: &'static str,
    pub(super) kind: Kind,
    pub(super) default: Default,
    /// Printed although it holds nothing.
    pub(super) is_always_shown: bool,
}

/// The type of a field.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// Text that names a file; relative to the file that names it.
    Path,
    Secret,
    Bool,
    /// A boolean for which "not set" differs from false.
    OptionalBool,
    Int,
    Uint,
    Float,
    /// A Prometheus duration.
    Duration,
    /// Bytes with a unit, base 1024.
    Bytes,
    Url,
    Texts,
    Paths,
    /// Name to text.
    TextMap,
    /// Label name to value.
    Labels,
    /// Name to list of texts.
    TextLists,
    /// Name to list of secrets.
    SecretLists,
    Secrets,
    /// Text that a function accepts or refuses.
    Checked(fn(&str) -> Result<(), String>),
    /// A section that is always there; its fields are at their defaults unless written.
    Section(&'static Section),
    /// A section that may be missing.
    Optional(&'static Section),
    Sections(&'static Section),
    /// Name to section.
    SectionMap(&'static Section),
    /// Fields that stand in the mapping of their parent.
    Inline(&'static Section),
    /// Relabelling rules; the text names them where an entry is null.
    Rules(&'static str),
    /// Anything.
    Any,
}

/// What a field holds when nothing is written.
#[derive(Clone, Copy)]
pub(super) enum Default {
    /// Nothing: zero, false, the empty text or list.
    Zero,
    Text(&'static str),
    Bool(bool),
    Int(i64),
    Uint(u64),
    DurationMs(i64),
    /// The defaults of the section's own fields.
    Filled,
}

impl Field {
    const fn new(key: &'static str, kind: Kind) -> Self {
        Self { key, kind, default: Default::Zero, is_always_shown: false }
    }

    /// With a default other than nothing.
    pub(super) const fn or(mut self, default: Default) -> Self {
        self.default = default;
        self
    }

    /// Printed always.
    pub(super) const fn shown(mut self) -> Self {
        self.is_always_shown = true;
        self
    }
}

pub(super) const fn field(key: &'static str, kind: Kind) -> Field {
    Field::new(key, kind)
}

pub(super) const fn text(key: &'static str) -> Field {
    Field::new(key, Kind::Text)
}

pub(super) const fn text_or(key: &'static str, default: &'static str) -> Field {
    Field::new(key, Kind::Text).or(Default::Text(default))
}

pub(super) const fn path(key: &'static str) -> Field {
    Field::new(key, Kind::Path)
}

pub(super) const fn secret(key: &'static str) -> Field {
    Field::new(key, Kind::Secret)
}

pub(super) const fn flag(key: &'static str) -> Field {
    Field::new(key, Kind::Bool)
}

pub(super) const fn uint(key: &'static str) -> Field {
    Field::new(key, Kind::Uint)
}

pub(super) const fn int_or(key: &'static str, default: i64) -> Field {
    Field::new(key, Kind::Int).or(Default::Int(default))
}

pub(super) const fn duration(key: &'static str) -> Field {
    Field::new(key, Kind::Duration)
}

pub(super) const fn seconds(key: &'static str, seconds: i64) -> Field {
    Field::new(key, Kind::Duration).or(Default::DurationMs(seconds * 1000))
}

pub(super) const fn texts(key: &'static str) -> Field {
    Field::new(key, Kind::Texts)
}

pub(super) const fn inline(section: &'static Section) -> Field {
    Field::new("", Kind::Inline(section))
}
