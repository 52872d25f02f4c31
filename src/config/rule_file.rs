//! Files of rules as they are written, each part with its place.
//!
//! What the expressions and templates are worth is for the module that runs rules to say. Unlike
//! the configuration, a file of rules is told all that is wrong with it at once.
//!
//! COMPAT: fields and error texts are those of Prometheus 3.14, which reads rules with go-yaml
//! v3: an entry of a list that is null is skipped, a fraction of a limit is cut off.

use super::error::{Complaint, ConfigError};
use super::scalar;
use super::yaml::{self, Node, NodeValue};
use crate::model::parse_duration;

/// A place in a file, counted from 1; zeros where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// A text and where it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlacedText {
    /// The text; empty where the field is missing.
    pub text: String,
    /// Its place.
    pub place: Place,
}

/// A file of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleFileConfig {
    /// Its groups.
    pub groups: Vec<RuleGroupConfig>,
    /// Whether a second document follows, which is not looked at.
    pub has_more_documents: bool,
}

/// A group of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleGroupConfig {
    /// Where it begins.
    pub place: Place,
    /// Its name.
    pub name: String,
    /// How often it is evaluated; 0: as often as the configuration says.
    pub interval_ms: i64,
    /// How far in the past it is evaluated, where it says so.
    pub query_offset_ms: Option<i64>,
    /// Most series or alerts of one rule; 0 or less: any number.
    pub limit: i64,
    /// Labels of all its rules, ascending by name.
    pub labels: Vec<(String, String)>,
    /// Its rules.
    pub rules: Vec<RuleConfig>,
}

/// A rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleConfig {
    /// Where it begins.
    pub place: Place,
    /// The metric that it records.
    pub record: PlacedText,
    /// The alert that it raises.
    pub alert: PlacedText,
    /// What it evaluates.
    pub expr: PlacedText,
    /// How long an alert is pending.
    pub for_ms: i64,
    /// How long an alert goes on firing.
    pub keep_firing_for_ms: i64,
    /// Labels that it adds, ascending by name.
    pub labels: Vec<(String, String)>,
    /// What it says of its alerts, ascending by name.
    pub annotations: Vec<(String, String)>,
}

/// Reads the text of a file of rules. `ignores_unknown`: fields that nobody knows are no error.
pub fn parse_rule_file(
    text: &str,
    file: &str,
    ignores_unknown: bool,
) -> Result<RuleFileConfig, ConfigError> {
    let parsed = yaml::parse(text).map_err(|complaint| in_words(complaint).in_file(file))?;
    let mut reader = Reader { ignores_unknown, faults: Vec::new() };
    let mut read = RuleFileConfig {
        has_more_documents: yaml::has_more_documents(text),
        ..RuleFileConfig::default()
    };
    if let Some(node) = &parsed {
        reader.fields(node, "rulefmt.RuleGroups", &mut |reader, key, value| {
            if key != "groups" {
                return false;
            }
            read.groups = reader.list(value, "[]rulefmt.RuleGroup", Reader::group);
            true
        });
    }
    match reader.faults.first() {
        None => Ok(read),
        Some((place, _)) => {
            let Place { line, column } = *place;
            let lines: Vec<&str> = reader.faults.iter().map(|(_, what)| what.as_str()).collect();
            let message = format!("yaml: unmarshal errors:\n  {}", lines.join("\n  "));
            Err(Complaint::new(line, column, message).in_file(file))
        }
    }
}

/// Puts the line into the text, as Prometheus has it for files of rules.
fn in_words(complaint: Complaint) -> Complaint {
    let Complaint { line, column, message } = complaint;
    let message = match message.strip_prefix("yaml: ") {
        Some(what) => format!("yaml: line {line}: {what}"),
        None => format!("yaml: unmarshal errors:\n  line {line}: {message}"),
    };
    Complaint::new(line, column, message)
}

struct Reader {
    ignores_unknown: bool,
    faults: Vec<(Place, String)>,
}

impl Reader {
    fn fault(&mut self, node: &Node, what: &str) {
        self.faults.push((place(node), format!("line {}: {what}", node.line)));
    }

    fn mismatch(&mut self, node: &Node, wanted: &str) {
        self.fault(node, &format!("cannot unmarshal {} into {wanted}", node.describe()));
    }

    /// Gives each field of a mapping to `take`, which says whether it knows the name.
    fn fields(
        &mut self,
        node: &Node,
        type_name: &str,
        take: &mut dyn FnMut(&mut Self, &str, &Node) -> bool,
    ) {
        let NodeValue::Map(pairs) = &node.value else { return self.mismatch(node, type_name) };
        for (key, value) in pairs {
            let NodeValue::Scalar { text: name, .. } = &key.value else {
                self.mismatch(key, "string");
                continue;
            };
            if !take(self, name, value) && !self.ignores_unknown {
                self.fault(key, &format!("field {name} not found in type {type_name}"));
            }
        }
    }

    fn list<T>(
        &mut self,
        node: &Node,
        type_name: &str,
        item: impl Fn(&mut Self, &Node) -> T,
    ) -> Vec<T> {
        match &node.value {
            NodeValue::List(items) => {
                items.iter().filter(|node| !node.is_null()).map(|node| item(self, node)).collect()
            }
            _ if node.is_null() => Vec::new(),
            _ => {
                self.mismatch(node, type_name);
                Vec::new()
            }
        }
    }

    fn group(&mut self, node: &Node) -> RuleGroupConfig {
        let mut group = RuleGroupConfig { place: place(node), ..RuleGroupConfig::default() };
        self.fields(node, "rulefmt.RuleGroup", &mut |reader, key, value| {
            match key {
                "name" => group.name = reader.text(value),
                "interval" => group.interval_ms = reader.duration_ms(value),
                "query_offset" => {
                    group.query_offset_ms = (!value.is_null()).then(|| reader.duration_ms(value));
                }
                "limit" => group.limit = reader.integer(value),
                "labels" => group.labels = reader.map(value),
                "rules" => group.rules = reader.list(value, "[]rulefmt.Rule", Self::rule),
                _ => return false,
            }
            true
        });
        group
    }

    fn rule(&mut self, node: &Node) -> RuleConfig {
        let mut rule = RuleConfig { place: place(node), ..RuleConfig::default() };
        self.fields(node, "rulefmt.Rule", &mut |reader, key, value| {
            match key {
                "record" => rule.record = reader.placed(value),
                "alert" => rule.alert = reader.placed(value),
                "expr" => rule.expr = reader.placed(value),
                "for" => rule.for_ms = reader.duration_ms(value),
                "keep_firing_for" => rule.keep_firing_for_ms = reader.duration_ms(value),
                "labels" => rule.labels = reader.map(value),
                "annotations" => rule.annotations = reader.map(value),
                _ => return false,
            }
            true
        });
        rule
    }

    fn text(&mut self, node: &Node) -> String {
        match &node.value {
            NodeValue::Scalar { .. } if node.is_null() => String::new(),
            NodeValue::Scalar { text, .. } => text.clone(),
            _ => {
                self.mismatch(node, "string");
                String::new()
            }
        }
    }

    fn placed(&mut self, node: &Node) -> PlacedText {
        PlacedText { text: self.text(node), place: place(node) }
    }

    fn duration_ms(&mut self, node: &Node) -> i64 {
        if node.is_null() {
            return 0;
        }
        let faults = self.faults.len();
        let text = self.text(node);
        if self.faults.len() > faults {
            return 0;
        }
        parse_duration(&text).unwrap_or_else(|error| {
            self.fault(node, &error.to_string());
            0
        })
    }

    fn integer(&mut self, node: &Node) -> i64 {
        let value = match &node.value {
            _ if node.is_null() => Some(0),
            NodeValue::Scalar { text, plain: true } => scalar::integer(text)
                .or_else(|| scalar::float(text).filter(|v| v.abs() < 9e18).map(|v| v as i128)),
            _ => None,
        };
        value.and_then(|value| i64::try_from(value).ok()).unwrap_or_else(|| {
            self.mismatch(node, "int");
            0
        })
    }

    fn map(&mut self, node: &Node) -> Vec<(String, String)> {
        if node.is_null() {
            return Vec::new();
        }
        let NodeValue::Map(pairs) = &node.value else {
            self.mismatch(node, "map[string]string");
            return Vec::new();
        };
        let mut read: Vec<_> =
            pairs.iter().map(|(key, value)| (self.text(key), self.text(value))).collect();
        read.sort();
        read
    }
}

fn place(node: &Node) -> Place {
    Place { line: node.line, column: node.column }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_read() {
        let text = "groups:
  - name: a
    interval: 30s
    query_offset: 5s
    limit: 4.7
    labels: {team: x}
    rules:
      - record: x:y
        expr: 1
      -
      - alert: z
        expr: up == 0
        for: 5m
        keep_firing_for: 1m
        labels: {sev: yes, n: 1, e: }
        annotations: {s: \"{{ $value }}\"}
  -
";
        let read = parse_rule_file(text, "f", false).unwrap();
        assert_eq!(read.groups.len(), 1);
        let group = &read.groups[0];
        assert_eq!((group.name.as_str(), group.interval_ms, group.limit), ("a", 30_000, 4));
        assert_eq!(group.query_offset_ms, Some(5000));
        assert_eq!(group.rules.len(), 2);
        assert_eq!(group.rules[0].expr.text, "1");
        let alert = &group.rules[1];
        assert_eq!(alert.alert.place, Place { line: 11, column: 16 });
        assert_eq!((alert.for_ms, alert.keep_firing_for_ms), (300_000, 60_000));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(alert.labels, [pair("e", ""), pair("n", "1"), pair("sev", "yes")]);
        assert_eq!(alert.annotations, [pair("s", "{{ $value }}")]);
        assert_eq!(parse_rule_file("", "f", false).unwrap(), RuleFileConfig::default());
        assert!(parse_rule_file("groups:\n---\na: b\n", "f", false).unwrap().has_more_documents);
    }

    /// Texts of Prometheus 3.14.
    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let table = [
            (
                "groups:\n  - name: a\n    intervall: 5s\n    rules:\n      - record: x\n        \
                 foo: 2\n",
                "yaml: unmarshal errors:\n  line 3: field intervall not found in type \
                 rulefmt.RuleGroup\n  line 6: field foo not found in type rulefmt.Rule",
            ),
            (
                "groups:\n  - name: a\n    limit: abc\n    rules:\n      - record: x\n        \
                 expr: [1]\n        labels: 5\n      - 7\n",
                "yaml: unmarshal errors:\n  line 3: cannot unmarshal !!str `abc` into int\n  \
                 line 6: cannot unmarshal !!seq into string\n  line 7: cannot unmarshal !!int \
                 `5` into map[string]string\n  line 8: cannot unmarshal !!int `7` into \
                 rulefmt.Rule",
            ),
            (
                "groups: 5",
                "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!int `5` into \
                 []rulefmt.RuleGroup",
            ),
            (
                "[1]",
                "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into \
                 rulefmt.RuleGroups",
            ),
            (
                "groups:\n- name: 5\n  interval: 5x\n",
                "yaml: unmarshal errors:\n  line 3: unknown unit \"x\" in duration \"5x\"",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(parse_rule_file(text, "f", false).unwrap_err().message, expected);
        }
        let unknown = "groups: [{name: a, foo: 1}]\nbar: 2\n";
        assert!(parse_rule_file(unknown, "f", false).is_err());
        assert_eq!(parse_rule_file(unknown, "f", true).unwrap().groups[0].name, "a");
        let broken = parse_rule_file("groups:\n  - name: a\n   x: 1\n", "f", false).unwrap_err();
        assert!(broken.message.starts_with("yaml: line "), "{broken}");
    }
}
