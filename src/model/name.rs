//! Names of metrics and labels: what is valid, and how names are escaped for older clients.
//!
//! COMPAT: rules and texts of `model/metric.go` in Prometheus's common library.

use std::fmt::Write as _;

/// Which names are taken (`metric_name_validation_scheme`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NameScheme {
    /// Any text that is not empty.
    #[default]
    Utf8,
    /// `[a-zA-Z_:][a-zA-Z0-9_:]*`; for labels without the colon.
    Legacy,
}

impl NameScheme {
    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Legacy => "legacy",
        }
    }

    /// Whether a metric may be called so.
    pub fn is_metric_name(self, name: &str) -> bool {
        match self {
            Self::Utf8 => !name.is_empty(),
            Self::Legacy => is_legacy_metric_name(name),
        }
    }

    /// Whether a label may be called so.
    pub fn is_label_name(self, name: &str) -> bool {
        match self {
            Self::Utf8 => !name.is_empty(),
            Self::Legacy => is_legacy_label_name(name),
        }
    }
}

/// Whether `name` matches `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_legacy_metric_name(name: &str) -> bool {
    !name.is_empty() && name.char_indices().all(|(i, c)| is_legacy_char(c, i))
}

/// Whether `name` matches `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_legacy_label_name(name: &str) -> bool {
    is_legacy_metric_name(name) && !name.contains(':')
}

/// `at` is the character's byte offset in the name.
fn is_legacy_char(c: char, at: usize) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':' || (c.is_ascii_digit() && at > 0)
}

/// How names that are not legacy names are written for clients that take only those
/// (`metric_name_escaping_scheme`, and `escaping=` in a content type).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EscapingScheme {
    /// As they are.
    #[default]
    AllowUtf8,
    /// Each other character becomes `_`.
    Underscores,
    /// `.` becomes `_dot_`, `_` and each other character `__`.
    Dots,
    /// `U__` in front, `_` becomes `__`, each other character `_HEX_`.
    Values,
}

impl EscapingScheme {
    /// The name in configurations and content types.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    /// The scheme with that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values]
            .into_iter()
            .find(|scheme| scheme.as_str() == name)
    }

    /// `name` in this scheme. No check of the name.
    pub fn escape(self, name: &str) -> String {
        let is_kept = match self {
            Self::AllowUtf8 => true,
            Self::Underscores | Self::Values => is_legacy_metric_name(name),
            Self::Dots => name.is_empty(),
        };
        if is_kept || name.is_empty() {
            return name.to_owned();
        }
        let mut escaped = String::with_capacity(name.len() + 8);
        if self == Self::Values {
            escaped.push_str("U__");
        }
        for (at, c) in name.char_indices() {
            match (self, c) {
                (Self::Dots, '.') => escaped.push_str("_dot_"),
                (Self::Dots | Self::Values, '_') => escaped.push_str("__"),
                _ if is_legacy_char(c, at) => escaped.push(c),
                (Self::Underscores, _) => escaped.push('_'),
                (Self::Values, _) => {
                    write!(escaped, "_{:x}_", u32::from(c)).expect("BUG: a String takes all text");
                }
                _ => escaped.push_str("__"),
            }
        }
        escaped
    }

    /// The name that [`EscapingScheme::escape`] made `name` of, as far as the scheme can be
    /// undone; text that the scheme cannot have made is given back as it is.
    pub fn unescape(self, name: &str) -> String {
        match self {
            Self::AllowUtf8 | Self::Underscores => name.to_owned(),
            Self::Dots => name.replace("_dot_", ".").replace("__", "_"),
            Self::Values => unescape_values(name).unwrap_or_else(|| name.to_owned()),
        }
    }
}

fn unescape_values(name: &str) -> Option<String> {
    let mut rest = name.strip_prefix("U__")?;
    let mut plain = String::with_capacity(rest.len());
    while let Some(at) = rest.find('_') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let close = rest.find('_')?;
        if close == 0 {
            plain.push('_');
        } else {
            // Six digits hold the largest code point.
            let digits = &rest[..close];
            if digits.len() > 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            plain.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
        }
        rest = &rest[close + 1..];
    }
    plain.push_str(rest);
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validity() {
        let table = [
            ("up", true, true, true),
            ("a:b", true, true, false),
            ("_x9", true, true, true),
            ("9x", true, false, false),
            ("a.b", true, false, false),
            ("ünicode", true, false, false),
            ("a b", true, false, false),
            ("", false, false, false),
        ];
        for (name, utf8, legacy_metric, legacy_label) in table {
            assert_eq!(NameScheme::Utf8.is_metric_name(name), utf8, "{name}");
            assert_eq!(NameScheme::Utf8.is_label_name(name), utf8, "{name}");
            assert_eq!(NameScheme::Legacy.is_metric_name(name), legacy_metric, "{name}");
            assert_eq!(NameScheme::Legacy.is_label_name(name), legacy_label, "{name}");
        }
    }

    /// Name, then its underscores, dots and values form as Go prints them.
    const ESCAPED: [(&str, &str, &str, &str); 6] = [
        ("", "", "", ""),
        ("no_escape", "no_escape", "no__escape", "no_escape"),
        ("my.name", "my_name", "my_dot_name", "U__my_2e_name"),
        ("a.b_c d", "a_b_c_d", "a_dot_b__c__d", "U__a_2e_b__c_20_d"),
        ("9lives", "_lives", "__lives", "U___39_lives"),
        ("花火", "__", "____", "U___82b1__706b_"),
    ];

    #[test]
    fn escaping() {
        for (name, underscores, dots, values) in ESCAPED {
            assert_eq!(EscapingScheme::AllowUtf8.escape(name), name);
            assert_eq!(EscapingScheme::Underscores.escape(name), underscores);
            assert_eq!(EscapingScheme::Dots.escape(name), dots);
            assert_eq!(EscapingScheme::Values.escape(name), values);
            assert_eq!(EscapingScheme::Values.unescape(values), name);
        }
        assert_eq!(EscapingScheme::Dots.unescape("a_dot_b__c"), "a.b_c");
        assert_eq!(EscapingScheme::parse("dots"), Some(EscapingScheme::Dots));
        assert_eq!(EscapingScheme::parse("Dots"), None);
    }

    #[test]
    fn text_that_was_never_escaped_stays() {
        for name in ["U__a_", "U__a_zz_", "U__a_d800_", "U__a_1234567_", "plain_x", "U__a_2e"] {
            assert_eq!(EscapingScheme::Values.unescape(name), name);
        }
    }
}
