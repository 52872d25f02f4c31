//! Files of rules: read, parsed, checked.
//!
//! COMPAT: what is refused, and the texts, are Prometheus 3.14's; where it shows the place 0:0
//! because a field is missing, the place of the rule or group is shown.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::sync::Arc;

use crate::config::{Place, RuleConfig, RuleFileConfig, RuleGroupConfig, glob, parse_rule_file};
use crate::model::{METRIC_NAME, NameScheme, go_quote};
use crate::promql::ast::Ast;
use crate::promql::print::print;
use crate::promql::{ParseOptions, parse};
use crate::template::check_alert_text;

/// Something that is wrong with a file of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFileError {
    /// The file; empty where the text came from elsewhere.
    pub file: String,
    /// What is wrong, the place in front where there is one.
    pub message: String,
}

impl fmt::Display for RuleFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.file, self.message)
    }
}

impl std::error::Error for RuleFileError {}

/// How files are read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Source {
    /// Which names are taken.
    pub scheme: NameScheme,
    /// What the language offers.
    pub parse: ParseOptions,
    /// Fields that nobody knows are no error.
    pub ignores_unknown: bool,
}

/// A group of rules that is in order.
#[derive(Debug, Clone)]
pub struct GroupSpec {
    /// The file that it stands in.
    pub file: String,
    /// Its name.
    pub name: String,
    /// How often it is evaluated; 0: as often as the configuration says.
    pub interval_ms: i64,
    /// How far in the past, where it says so.
    pub query_offset_ms: Option<i64>,
    /// Most series or alerts of one rule; 0 or less: any number.
    pub limit: i64,
    /// Labels of all its rules, ascending by name.
    pub labels: Vec<(String, String)>,
    /// Its rules in their order.
    pub rules: Vec<Arc<RuleSpec>>,
}

/// What a rule does with what its expression gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleKind {
    /// Records it.
    Recording,
    /// Raises alerts.
    Alerting {
        /// How long an alert is pending, in milliseconds.
        for_ms: i64,
        /// How long it goes on firing, in milliseconds.
        keep_firing_for_ms: i64,
        /// What is said of its alerts, ascending by name.
        annotations: Vec<(String, String)>,
    },
}

/// A rule that is in order.
#[derive(Debug, Clone)]
pub struct RuleSpec {
    /// Name of the metric or of the alert.
    pub name: String,
    /// The expression as it is written.
    pub text: String,
    /// The expression as it is printed.
    pub expr: String,
    /// The expression.
    pub ast: Ast,
    /// Its labels over those of its group, ascending by name; values may be empty.
    pub labels: Vec<(String, String)>,
    /// What it does.
    pub kind: RuleKind,
}

impl PartialEq for RuleSpec {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.expr == other.expr
            && self.labels == other.labels
            && self.kind == other.kind
    }
}

/// Reads the files that patterns name, each once, and gives all groups in their order; or all
/// that is wrong.
pub fn load(patterns: &[String], source: &Source) -> Result<Vec<GroupSpec>, Vec<RuleFileError>> {
    let (mut groups, mut errors, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for pattern in patterns {
        let files = match glob(pattern) {
            Ok(files) => files,
            Err(error) => {
                let message =
                    format!("failed retrieving rule files for {}: {error}", go_quote(pattern));
                errors.push(RuleFileError { file: String::new(), message });
                continue;
            }
        };
        for path in files {
            let file = path.display().to_string();
            if !seen.insert(file.clone()) {
                continue;
            }
            match load_file(&file, source) {
                Ok(found) => groups.extend(found),
                Err(found) => errors.extend(found),
            }
        }
    }
    if errors.is_empty() { Ok(groups) } else { Err(errors) }
}

/// Reads one file.
pub fn load_file(file: &str, source: &Source) -> Result<Vec<GroupSpec>, Vec<RuleFileError>> {
    let refuse = |message: String| vec![RuleFileError { file: file.to_owned(), message }];
    let bytes = fs::read(file).map_err(|error| refuse(format!("open: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        refuse(format!("not UTF-8 text at byte {at}"))
    })?;
    load_text(&text, file, source)
}

/// Reads rules as if they stood in `file`.
pub fn load_text(
    text: &str,
    file: &str,
    source: &Source,
) -> Result<Vec<GroupSpec>, Vec<RuleFileError>> {
    let error = |message: String| RuleFileError { file: file.to_owned(), message };
    let read = parse_rule_file(text, file, source.ignores_unknown)
        .map_err(|refused| vec![error(refused.message)])?;
    if read.has_more_documents {
        tracing::warn!(file, "Only the first document of a file of rules counts; others follow");
    }
    let mut faults = Vec::new();
    let groups = check(&read, file, source, &mut faults);
    if faults.is_empty() { Ok(groups) } else { Err(faults.into_iter().map(error).collect()) }
}

fn check(
    read: &RuleFileConfig,
    file: &str,
    source: &Source,
    faults: &mut Vec<String>,
) -> Vec<GroupSpec> {
    let mut names = HashSet::new();
    let mut groups = Vec::new();
    for group in &read.groups {
        let Place { line, column } = group.place;
        if group.name.is_empty() {
            faults.push(format!("{line}:{column}: Groupname must not be empty"));
        }
        if !names.insert(group.name.as_str()) {
            let name = &group.name;
            faults.push(format!(
                "{line}:{column}: groupname: \"{name}\" is repeated in the same file"
            ));
        }
        check_labels(&group.labels, source.scheme, &mut |fault| faults.push(fault));
        let rules = group.rules.iter().enumerate().filter_map(|(i, rule)| {
            let name = if rule.alert.text.is_empty() { &rule.record } else { &rule.alert };
            let rule_name = go_quote(&name.text);
            let group_name = go_quote(&group.name);
            check_rule(rule, group, source, &mut |place, fault| {
                let number = i + 1;
                faults.push(format!(
                    "{place}group {group_name}, rule {number}, {rule_name}: {fault}"
                ));
            })
        });
        let rules = rules.map(Arc::new).collect();
        groups.push(GroupSpec {
            file: file.to_owned(),
            name: group.name.clone(),
            interval_ms: group.interval_ms,
            query_offset_ms: group.query_offset_ms,
            limit: group.limit,
            labels: group.labels.clone(),
            rules,
        });
    }
    groups
}

fn check_labels(labels: &[(String, String)], scheme: NameScheme, fault: &mut dyn FnMut(String)) {
    for (name, _) in labels {
        if !scheme.is_label_name(name) || name == METRIC_NAME {
            fault(format!("invalid label name: {name}"));
        }
    }
}

fn at(place: Place) -> String {
    format!("{}:{}: ", place.line, place.column)
}

/// Checks a rule; `None`: it cannot be run, and a fault was told.
fn check_rule(
    rule: &RuleConfig,
    group: &RuleGroupConfig,
    source: &Source,
    fault: &mut dyn FnMut(String, String),
) -> Option<RuleSpec> {
    let RuleConfig { record, alert, expr, .. } = rule;
    if !record.text.is_empty() && !alert.text.is_empty() {
        let places = at(record.place) + &at(alert.place);
        fault(places, "only one of 'record' and 'alert' must be set".to_owned());
    }
    if record.text.is_empty() && alert.text.is_empty() {
        fault(at(rule.place), "one of 'record' or 'alert' must be set".to_owned());
    }
    let parsed = if expr.text.is_empty() {
        fault(at(rule.place), "field 'expr' must be set in rule".to_owned());
        None
    } else {
        let parsed = parse(&expr.text, &source.parse);
        parsed
            .map_err(|error| {
                fault(at(expr.place), format!("could not parse expression: {error}"));
            })
            .ok()
    };
    if !record.text.is_empty() {
        check_recording(rule, source.scheme, fault);
    }
    check_labels(&rule.labels, source.scheme, &mut |what| fault(String::new(), what));
    for (name, _) in &rule.annotations {
        if !source.scheme.is_label_name(name) {
            fault(String::new(), format!("invalid annotation name: {name}"));
        }
    }
    if !alert.text.is_empty() {
        check_templates(rule, fault);
    }
    parsed.map(|ast| spec(rule, group, ast))
}

fn check_recording(rule: &RuleConfig, scheme: NameScheme, fault: &mut dyn FnMut(String, String)) {
    let name = &rule.record.text;
    let fields = [
        ("annotations", !rule.annotations.is_empty()),
        ("for", rule.for_ms != 0),
        ("keep_firing_for", rule.keep_firing_for_ms != 0),
    ];
    for (field, is_set) in fields {
        if is_set {
            let what = format!("invalid field '{field}' in recording rule");
            fault(at(rule.record.place), what);
        }
    }
    if !scheme.is_metric_name(name) {
        fault(at(rule.record.place), format!("invalid recording rule name: {name}"));
    }
    if name.contains(['{', '}']) {
        let what = "braces present in the recording rule name; should it be in expr?";
        fault(at(rule.record.place), format!("{what}: {name}"));
    }
}

fn check_templates(rule: &RuleConfig, fault: &mut dyn FnMut(String, String)) {
    for (what, pairs) in [("label", &rule.labels), ("annotation", &rule.annotations)] {
        for (name, text) in pairs {
            if let Err(error) = check_alert_text(&rule.alert.text, text) {
                fault(String::new(), format!("{what} {}: {error}", go_quote(name)));
            }
        }
    }
}

fn spec(rule: &RuleConfig, group: &RuleGroupConfig, ast: Ast) -> RuleSpec {
    let mut labels = group.labels.clone();
    for (name, value) in &rule.labels {
        match labels.iter_mut().find(|(known, _)| known == name) {
            Some(pair) => pair.1.clone_from(value),
            None => labels.push((name.clone(), value.clone())),
        }
    }
    labels.sort();
    let (name, kind) = if rule.alert.text.is_empty() {
        (rule.record.text.clone(), RuleKind::Recording)
    } else {
        let kind = RuleKind::Alerting {
            for_ms: rule.for_ms,
            keep_firing_for_ms: rule.keep_firing_for_ms,
            annotations: rule.annotations.clone(),
        };
        (rule.alert.text.clone(), kind)
    };
    let expr = print(&ast, ast.root);
    RuleSpec { name, text: rule.expr.text.clone(), expr, ast, labels, kind }
}
