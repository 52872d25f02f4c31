//! Instant selectors: a name, conditions in braces.

use super::expression::is_metric_name;
use super::{Fault, Parsed, Parser};
use crate::model::{METRIC_NAME, MatchOp, Matcher};
use crate::promql::ast::{BinaryOp, Expr, NodeId, Selector, Span, TimeModifiers, ValueType};
use crate::promql::lex::{self, Kind, Token};

const CONTEXT: &str = "label matching";

impl<'a> Parser<'a> {
    /// The rest of a selector whose name, if it has one in front, was taken.
    pub(super) fn selector(&mut self, name: Option<Token<'a>>) -> Parsed<NodeId> {
        let mut span = name.map(|token| token.span());
        let mut matchers = Vec::new();
        if let Some(brace) = self.take_if(Kind::LeftBrace)? {
            matchers = self.matchers()?;
            let start = span.map_or(brace.start, |span| span.start);
            span = Some(Span { start, end: self.last.end() });
        }
        let name = name.map(|token| token.text.to_owned());
        // The name's condition stands last; the type check relies on it.
        matchers.extend(name.as_deref().map(|name| Matcher::equal(METRIC_NAME, name)));
        let modifiers = TimeModifiers::default();
        let selector = Selector { name, matchers, modifiers, extension: None };
        let span = span.expect("BUG: a selector has a name or braces");
        self.push(Expr::Selector(selector), span, ValueType::Vector)
    }

    /// The whole text as one selector.
    pub(super) fn lone_selector(&mut self) -> Parsed<Vec<Matcher>> {
        let kind = self.peek()?;
        let name = if kind == Kind::LeftBrace {
            None
        } else if is_metric_name(kind) {
            Some(self.take())
        } else {
            return Err(self.unexpected("", ""));
        };
        let id = self.selector(name)?;
        if self.peek()? != Kind::Eof {
            return Err(self.unexpected("", ""));
        }
        match &self.node(id).expr {
            Expr::Selector(selector) => Ok(selector.matchers.clone()),
            _ => unreachable!("BUG: the node was made as a selector"),
        }
    }

    /// Conditions up to and with the closing brace.
    fn matchers(&mut self) -> Parsed<Vec<Matcher>> {
        let mut matchers = Vec::new();
        loop {
            match self.peek()? {
                Kind::RightBrace => break,
                Kind::Identifier | Kind::String => matchers.push(self.matcher()?),
                _ => return Err(self.unexpected(CONTEXT, "identifier or \"}\"")),
            }
            match self.peek()? {
                Kind::RightBrace => break,
                Kind::Comma => self.take(),
                _ => return Err(self.unexpected(CONTEXT, "\",\" or \"}\"")),
            };
        }
        self.take();
        Ok(matchers)
    }

    fn matcher(&mut self) -> Parsed<Matcher> {
        let label = self.take();
        let is_quoted = label.kind == Kind::String;
        let name = if is_quoted { lex::unquote(label.text) } else { label.text.to_owned() };
        let op = match self.peek()? {
            Kind::Equal => MatchOp::Equal,
            Kind::Binary(BinaryOp::Neq) => MatchOp::NotEqual,
            Kind::EqualRegex => MatchOp::Regex,
            Kind::NotEqualRegex => MatchOp::NotRegex,
            _ if is_quoted => return Ok(Matcher::equal(METRIC_NAME, name)),
            _ => return Err(self.unexpected(CONTEXT, "label matching operator")),
        };
        self.take();
        let Some(value) = self.take_if(Kind::String)? else {
            return Err(self.unexpected(CONTEXT, "string"));
        };
        if matches!(op, MatchOp::Regex | MatchOp::NotRegex) {
            self.look()?;
        }
        Matcher::new(name, op, lex::unquote(value.text)).map_err(|error| {
            Fault::new(Span { start: label.start, end: value.end() }, error.to_string())
        })
    }
}
