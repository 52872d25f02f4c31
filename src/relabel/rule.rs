//! One rule: its fields, their defaults, and which combinations are refused.

use std::fmt;

use crate::model::{NameScheme, go_quote};
use crate::regex::Regex;

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Sets the target label to the expanded replacement where the expression matches.
    Replace,
    /// Drops the set unless the expression matches.
    Keep,
    /// Drops the set if the expression matches.
    Drop,
    /// Drops the set unless the joined values equal the target label.
    KeepEqual,
    /// Drops the set if the joined values equal the target label.
    DropEqual,
    /// Sets the target label to a hash of the joined values, modulo `modulus`.
    HashMod,
    /// Copies labels whose name matches to the expanded replacement as name.
    LabelMap,
    /// Removes labels whose name matches.
    LabelDrop,
    /// Removes labels whose name does not match.
    LabelKeep,
    /// Sets the target label to the joined values in lower case.
    Lowercase,
    /// Sets the target label to the joined values in upper case.
    Uppercase,
}

impl Action {
    const ALL: [Self; 11] = [
        Self::Replace,
        Self::Keep,
        Self::Drop,
        Self::KeepEqual,
        Self::DropEqual,
        Self::HashMod,
        Self::LabelMap,
        Self::LabelDrop,
        Self::LabelKeep,
        Self::Lowercase,
        Self::Uppercase,
    ];

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }

    /// Reads the name in any case.
    pub fn parse(name: &str) -> Result<Self, RuleError> {
        let lower = name.to_lowercase();
        let found = Self::ALL.into_iter().find(|action| action.as_str() == lower);
        found.ok_or_else(|| RuleError(format!("unknown relabel action {}", go_quote(name))))
    }
}

/// Why a rule is refused; the text is Prometheus's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError(pub String);

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RuleError {}

/// A relabelling rule with its compiled expression. `default()` is the rule that an empty
/// configuration entry stands for.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Labels whose values are joined; `None` is told from an empty list where a rule takes none.
    pub source_labels: Option<Vec<String>>,
    /// Stands between the values.
    pub separator: String,
    /// Matched against the joined values, or against label names.
    pub regex: Regex,
    /// For `hashmod`; 0 is "not set".
    pub modulus: u64,
    /// Where the result goes; may hold `$1` for `replace`.
    pub target_label: String,
    /// The result; may hold `$1`.
    pub replacement: String,
    /// What is done.
    pub action: Action,
    /// Which label names a `replace` may produce.
    pub name_scheme: NameScheme,
}

/// The defaults of the fields that have one.
const SEPARATOR: &str = ";";
const PATTERN: &str = "(.*)";
const REPLACEMENT: &str = "$1";

impl Default for Rule {
    fn default() -> Self {
        Self {
            source_labels: None,
            separator: SEPARATOR.to_owned(),
            regex: Regex::new(PATTERN).expect("BUG: the default expression compiles"),
            modulus: 0,
            target_label: String::new(),
            replacement: REPLACEMENT.to_owned(),
            action: Action::Replace,
            name_scheme: NameScheme::Utf8,
        }
    }
}

/// Two rules with the same text are the same rule.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.source_labels == other.source_labels
            && self.separator == other.separator
            && self.regex.pattern() == other.regex.pattern()
            && self.modulus == other.modulus
            && self.target_label == other.target_label
            && self.replacement == other.replacement
            && self.action == other.action
            && self.name_scheme == other.name_scheme
    }
}

impl Eq for Rule {}

impl Rule {
    /// Checks the combination of fields under the rule's name scheme.
    pub fn validate(&self) -> Result<(), RuleError> {
        let action = self.action;
        if self.modulus == 0 && action == Action::HashMod {
            return refuse("relabel configuration for hashmod requires non-zero modulus");
        }
        if self.target_label.is_empty() && action.has_target() {
            return refuse(format!(
                "relabel configuration for {} action requires 'target_label' value",
                action.as_str()
            ));
        }
        if action.has_target() && !self.is_target_valid() {
            let label = go_quote(&self.target_label);
            return refuse(format!(
                "{label} is invalid 'target_label' for {} action",
                action.as_str()
            ));
        }
        let takes_no_replacement = matches!(
            action,
            Action::Lowercase | Action::Uppercase | Action::KeepEqual | Action::DropEqual
        );
        if takes_no_replacement && self.replacement != REPLACEMENT {
            return refuse(format!("'replacement' can not be set for {} action", action.as_str()));
        }
        if action == Action::LabelMap && !self.is_template_valid(&self.replacement) {
            let replacement = go_quote(&self.replacement);
            return refuse(format!("{replacement} is invalid 'replacement' for labelmap action"));
        }
        self.validate_exclusive_fields()
    }

    /// Some actions take so few fields that a further one is surely a mistake.
    fn validate_exclusive_fields(&self) -> Result<(), RuleError> {
        let name = self.action.as_str();
        let is_rest_default =
            self.modulus == 0 && self.separator == SEPARATOR && self.replacement == REPLACEMENT;
        match self.action {
            Action::KeepEqual | Action::DropEqual
                if !is_rest_default || self.regex.pattern() != PATTERN =>
            {
                refuse(format!(
                    "{name} action requires only 'source_labels' and `target_label`, and no other \
                     fields"
                ))
            }
            Action::LabelDrop | Action::LabelKeep
                if !is_rest_default
                    || self.source_labels.is_some()
                    || !self.target_label.is_empty() =>
            {
                refuse(format!("{name} action requires only 'regex', and no other fields"))
            }
            _ => Ok(()),
        }
    }

    fn is_target_valid(&self) -> bool {
        if self.action == Action::Replace && self.target_label.contains('$') {
            self.is_template_valid(&self.target_label)
        } else {
            self.name_scheme.is_label_name(&self.target_label)
        }
    }

    /// Whether a label name with `$1` in it can become a valid name.
    fn is_template_valid(&self, template: &str) -> bool {
        match self.name_scheme {
            NameScheme::Utf8 => self.name_scheme.is_label_name(template),
            NameScheme::Legacy => is_legacy_template(template),
        }
    }
}

impl Action {
    fn has_target(self) -> bool {
        matches!(
            self,
            Self::Replace
                | Self::HashMod
                | Self::Lowercase
                | Self::Uppercase
                | Self::KeepEqual
                | Self::DropEqual
        )
    }
}

fn refuse(text: impl Into<String>) -> Result<(), RuleError> {
    Err(RuleError(text.into()))
}

/// `^(?:(?:[a-zA-Z_]|\$(?:\{\w+\}|\w+))+\w*)+$`: letters and variables, digits not in front.
fn is_legacy_template(template: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = template;
    let mut at_start = true;
    while let Some(c) = rest.chars().next() {
        if c == '$' {
            rest = &rest[1..];
            let braced = rest.strip_prefix('{');
            let name = braced.unwrap_or(rest);
            let length = name.find(|c| !is_word(c)).unwrap_or(name.len());
            if length == 0 {
                return false;
            }
            rest = &name[length..];
            if braced.is_some() {
                let Some(tail) = rest.strip_prefix('}') else { return false };
                rest = tail;
            }
        } else if is_word(c) && !(at_start && c.is_ascii_digit()) {
            rest = &rest[1..];
        } else {
            return false;
        }
        at_start = false;
    }
    !at_start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(action: Action) -> Rule {
        Rule { action, ..Rule::default() }
    }

    fn refusal(rule: &Rule) -> String {
        rule.validate().expect_err("the rule is refused").0
    }

    #[test]
    fn incomplete_rules_are_refused() {
        assert_eq!(
            refusal(&rule(Action::HashMod)),
            "relabel configuration for hashmod requires non-zero modulus"
        );
        assert_eq!(
            refusal(&Rule { modulus: 1, ..rule(Action::HashMod) }),
            "relabel configuration for hashmod action requires 'target_label' value"
        );
        for action in [Action::Replace, Action::Lowercase, Action::KeepEqual] {
            assert_eq!(
                refusal(&rule(action)),
                format!(
                    "relabel configuration for {} action requires 'target_label' value",
                    action.as_str()
                )
            );
        }
    }

    #[test]
    fn names_follow_the_scheme() {
        let legacy = |action, target: &str| Rule {
            target_label: target.to_owned(),
            name_scheme: NameScheme::Legacy,
            ..rule(action)
        };
        for target in ["a", "_a1", "${1}_x", "$1", "a${b}c9", "$a$b"] {
            assert_eq!(legacy(Action::Replace, target).validate(), Ok(()), "{target}");
        }
        for target in ["9a", "a-b", "${}", "${1", "$", "a$-", "a.b"] {
            assert_eq!(
                refusal(&legacy(Action::Replace, target)),
                format!("{target:?} is invalid 'target_label' for replace action")
            );
        }
        assert_eq!(
            refusal(&legacy(Action::Lowercase, "${3}")),
            r#""${3}" is invalid 'target_label' for lowercase action"#
        );
        let map = Rule {
            replacement: "a-$1".to_owned(),
            name_scheme: NameScheme::Legacy,
            ..rule(Action::LabelMap)
        };
        assert_eq!(refusal(&map), r#""a-$1" is invalid 'replacement' for labelmap action"#);
        assert_eq!(Rule { name_scheme: NameScheme::Utf8, ..map }.validate(), Ok(()));
    }

    #[test]
    fn fields_that_an_action_ignores_are_refused() {
        let target = "t".to_owned();
        let upper = Rule {
            target_label: target.clone(),
            replacement: "x".to_owned(),
            ..rule(Action::Uppercase)
        };
        assert_eq!(refusal(&upper), "'replacement' can not be set for uppercase action");
        let equal = Rule {
            target_label: target.clone(),
            separator: ",".to_owned(),
            ..rule(Action::DropEqual)
        };
        assert_eq!(
            refusal(&equal),
            "dropequal action requires only 'source_labels' and `target_label`, and no other fields"
        );
        let keep = Rule { source_labels: Some(Vec::new()), ..rule(Action::LabelKeep) };
        assert_eq!(refusal(&keep), "labelkeep action requires only 'regex', and no other fields");
        assert_eq!(rule(Action::LabelDrop).validate(), Ok(()));
    }

    #[test]
    fn actions_are_read_in_any_case() {
        assert_eq!(Action::parse("LabelMap"), Ok(Action::LabelMap));
        let error = Action::parse("Nope").expect_err("unknown");
        assert_eq!(error.to_string(), "unknown relabel action \"Nope\"");
    }
}
