//! YAML text to a tree of nodes with their places. The only file that knows the YAML crate.
//!
//! The first document counts, as in Prometheus. Aliases are filled in and `<<` is merged (what a
//! mapping says itself wins); a key that stands twice in a mapping is an error. The text of a
//! scalar is kept as it was written, since what it means depends on the field it is for.
//! INVARIANT: depth and number of nodes are bounded, so neither nesting nor aliases can exhaust
//! stack or memory.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::error::Complaint;
use crate::model::go_quote;

/// Deepest nesting; a configuration needs about ten.
const DEPTH_MAX: usize = 100;
/// Nodes in all after aliases are filled in.
const NODES_MAX: usize = 1_000_000;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) value: NodeValue,
}

/// The three kinds of node.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum NodeValue {
    Scalar {
        text: String,
        /// Written without quotes and without a tag, so that its text decides its type.
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// How go-yaml names the kind of value in its messages.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            NodeValue::Scalar { text, plain } => {
                let tag = if *plain { super::scalar::tag(text) } else { "!!str" };
                let short: String = text.chars().take(10).collect();
                let shown = if short == *text { short } else { format!("{}...", &short) };
                format!("{tag} `{shown}`")
            }
            NodeValue::List(_) => "!!seq".to_owned(),
            NodeValue::Map(_) => "!!map".to_owned(),
        }
    }

    /// A null stands for "nothing", whatever the field's type.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, NodeValue::Scalar { text, plain: true }
            if super::scalar::is_null(text))
    }

    pub(super) fn complain(&self, message: impl Into<String>) -> Complaint {
        Complaint::new(self.line, self.column, message)
    }
}

/// The first document of `text`; `None` where there is none or it is empty.
pub(super) fn parse(text: &str) -> Result<Option<Node>, Complaint> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder =
        Builder { events: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    loop {
        match builder.next()? {
            Some((Event::DocumentStart(..), _)) => {
                let (event, span) = builder.expect_next()?;
                let node = builder.node(event, &span, 0)?;
                return Ok((!node.is_null()).then_some(node));
            }
            Some(_) => {}
            None => return Ok(None),
        }
    }
}

/// Whether a second document follows the first. Text that does not parse has none.
pub(super) fn has_more_documents(text: &str) -> bool {
    let events = Parser::new_from_str(text).map_while(Result::ok);
    events.filter(|(event, _)| matches!(event, Event::DocumentStart(..))).nth(1).is_some()
}

struct Builder<'a, I: Iterator<Item = Result<(Event<'a>, Span), ScanError>>> {
    events: I,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'a, I: Iterator<Item = Result<(Event<'a>, Span), ScanError>>> Builder<'a, I> {
    /// The next event that is not a remark on an anchor.
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Complaint> {
        loop {
            match self.events.next() {
                None => return Ok(None),
                Some(Ok((Event::Anchor(..), _))) => {}
                Some(Ok(pair)) => return Ok(Some(pair)),
                Some(Err(error)) => {
                    let mark = error.marker();
                    let message = format!("yaml: {}", error.info());
                    return Err(Complaint::new(mark.line(), mark.col() + 1, message));
                }
            }
        }
    }

    fn expect_next(&mut self) -> Result<(Event<'a>, Span), Complaint> {
        self.next()?.ok_or_else(|| Complaint::new(0, 0, "yaml: the document breaks off"))
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Node, Complaint> {
        let (line, column) = (span.start.line(), span.start.col() + 1);
        let complain = |message: String| Complaint::new(line, column, message);
        if depth > DEPTH_MAX {
            return Err(complain(format!("yaml: nested deeper than {DEPTH_MAX}")));
        }
        let nodes_before = self.nodes;
        self.count(1).map_err(complain)?;
        let (value, anchor) = match event {
            Event::Alias(id) => {
                let Some((node, count)) = self.anchors.get(&id).cloned() else {
                    return Err(complain("yaml: an anchor contains itself".to_owned()));
                };
                self.count(count).map_err(complain)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let is_untagged = tag.is_none_or(|tag| tag.suffix() != "str");
                let plain = style == ScalarStyle::Plain && is_untagged;
                (NodeValue::Scalar { text: text.into_owned(), plain }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => (NodeValue::List(self.items(depth)?), anchor),
            Event::MappingStart(_, anchor, _) => (NodeValue::Map(self.pairs(depth)?), anchor),
            _ => return Err(complain("yaml: a value is missing here".to_owned())),
        };
        let node = Node { line, column, value };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - nodes_before));
        }
        Ok(node)
    }

    fn count(&mut self, nodes: usize) -> Result<(), String> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            return Err(format!("yaml: more than {NODES_MAX} values"));
        }
        Ok(())
    }

    fn items(&mut self, depth: usize) -> Result<Vec<Node>, Complaint> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.expect_next()?;
            if event == Event::SequenceEnd {
                return Ok(items);
            }
            items.push(self.node(event, &span, depth + 1)?);
        }
    }

    fn pairs(&mut self, depth: usize) -> Result<Vec<(Node, Node)>, Complaint> {
        let mut pairs: Vec<(Node, Node)> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.expect_next()?;
            if event == Event::MappingEnd {
                break;
            }
            let key = self.node(event, &span, depth + 1)?;
            let (event, span) = self.expect_next()?;
            let value = self.node(event, &span, depth + 1)?;
            if is_merge(&key) {
                merge(value, &mut merged)?;
            } else {
                pairs.push((key, value));
            }
        }
        refuse_twins(&pairs)?;
        for (key, value) in merged {
            if !pairs.iter().any(|(own, _)| own.value == key.value) {
                pairs.push((key, value));
            }
        }
        Ok(pairs)
    }
}

fn is_merge(key: &Node) -> bool {
    matches!(&key.value, NodeValue::Scalar { text, plain: true } if text == "<<")
}

fn merge(value: Node, into: &mut Vec<(Node, Node)>) -> Result<(), Complaint> {
    let problem = value.complain("yaml: map merge requires map or sequence of maps as the value");
    match value.value {
        NodeValue::Map(pairs) => into.extend(pairs),
        NodeValue::List(items) => {
            for item in items {
                let NodeValue::Map(pairs) = item.value else { return Err(problem) };
                into.extend(pairs);
            }
        }
        NodeValue::Scalar { .. } => return Err(problem),
    }
    Ok(())
}

fn refuse_twins(pairs: &[(Node, Node)]) -> Result<(), Complaint> {
    let mut seen = HashMap::new();
    for (key, _) in pairs {
        let NodeValue::Scalar { text, .. } = &key.value else {
            return Err(key.complain("yaml: a key must be a single value"));
        };
        if let Some(line) = seen.insert(text.as_str(), key.line) {
            let name = go_quote(text);
            return Err(key.complain(format!("key {name} already set in line {line}")));
        }
    }
    Ok(())
}
