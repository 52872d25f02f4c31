//! Clauses of operators: `by`, `without`, `bool`, `on`, `ignoring`, `group_left` …, `fill`.

use super::expression::{begins_expression, number_value};
use super::{Fault, Parsed, Parser};
use crate::promql::ast::{BinaryOp, Cardinality, Fill, VectorMatching};
use crate::promql::lex::{self, Keyword, Kind};
use crate::promql::quote::quote_bytes;

const CONTEXT: &str = "grouping opts";

/// `by (…)` or `without (…)`.
#[derive(Default)]
pub(super) struct Grouping {
    pub(super) labels: Vec<String>,
    pub(super) without: bool,
}

/// What stands between a binary operator and its right operand.
pub(super) struct Modifier {
    pub(super) return_bool: bool,
    pub(super) matching: VectorMatching,
}

impl Parser<'_> {
    /// The clause of an aggregation whose keyword was looked at.
    pub(super) fn grouping(&mut self) -> Parsed<Grouping> {
        let without = self.take().kind == Kind::Keyword(Keyword::Without);
        Ok(Grouping { labels: self.labels()?, without })
    }

    /// The clauses behind a binary operator.
    pub(super) fn modifier(&mut self) -> Parsed<Modifier> {
        let return_bool = self.take_if(Kind::Keyword(Keyword::Bool))?.is_some();
        let mut matching = VectorMatching {
            cardinality: Cardinality::OneToOne,
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill: Fill::default(),
        };
        if let Kind::Keyword(keyword @ (Keyword::On | Keyword::Ignoring)) = self.peek()? {
            self.take();
            matching.on = keyword == Keyword::On;
            matching.labels = self.labels()?;
            if let Kind::Keyword(side @ (Keyword::GroupLeft | Keyword::GroupRight)) = self.peek()? {
                self.take();
                matching.cardinality = if side == Keyword::GroupLeft {
                    Cardinality::ManyToOne
                } else {
                    Cardinality::OneToMany
                };
                // A parenthesis here is the clause's, never the right operand's.
                let kind = self.peek()?;
                if kind == Kind::LeftParen || !begins_expression(kind) {
                    matching.include = self.labels()?;
                }
            }
        }
        matching.fill = self.fill()?;
        Ok(Modifier { return_bool, matching })
    }

    /// `fill(…)`, `fill_left(…)`, `fill_right(…)`, if there is one.
    fn fill(&mut self) -> Parsed<Fill> {
        let mut fill = Fill::default();
        let other_side = match self.peek()? {
            Kind::Keyword(Keyword::Fill) => {
                let value = self.fill_value()?;
                return Ok(Fill { left: Some(value), right: Some(value) });
            }
            Kind::Keyword(Keyword::FillLeft) => {
                fill.left = Some(self.fill_value()?);
                Keyword::FillRight
            }
            Kind::Keyword(Keyword::FillRight) => {
                fill.right = Some(self.fill_value()?);
                Keyword::FillLeft
            }
            _ => return Ok(fill),
        };
        if self.peek()? == Kind::Keyword(other_side) {
            let side =
                if other_side == Keyword::FillLeft { &mut fill.left } else { &mut fill.right };
            *side = Some(self.fill_value()?);
        }
        Ok(fill)
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        self.take();
        if self.take_if(Kind::LeftParen)?.is_none() {
            return Err(self.unexpected(self.context(), ""));
        }
        let mut negate = false;
        if let Kind::Binary(op @ (BinaryOp::Add | BinaryOp::Sub)) = self.peek()? {
            negate = op == BinaryOp::Sub;
            self.take();
        }
        let (Kind::Number | Kind::Duration) = self.peek()? else {
            return Err(self.unexpected(self.context(), ""));
        };
        let token = self.take();
        let value = number_value(token)?;
        match self.take_if(Kind::RightParen)? {
            Some(_) => Ok(if negate { -value } else { value }),
            None => Err(self.unexpected(self.context(), "")),
        }
    }

    /// A list of label names in parentheses.
    fn labels(&mut self) -> Parsed<Vec<String>> {
        let mut labels = Vec::new();
        if self.take_if(Kind::LeftParen)?.is_none() {
            return Err(self.unexpected(CONTEXT, "\"(\""));
        }
        loop {
            match self.peek()? {
                Kind::RightParen => break,
                kind if is_label(kind) => labels.push(self.take().text.to_owned()),
                Kind::String => {
                    let token = self.take();
                    match String::from_utf8(lex::unquote_bytes(token.text)) {
                        Ok(label) if !label.is_empty() => labels.push(label),
                        other => {
                            let label = other.map_or_else(
                                std::string::FromUtf8Error::into_bytes,
                                String::into_bytes,
                            );
                            let label = quote_bytes(&label);
                            let message = format!("invalid label name for grouping: {label}");
                            return Err(Fault::new(token.span(), message));
                        }
                    }
                }
                _ => return Err(self.unexpected(CONTEXT, "label")),
            }
            match self.peek()? {
                Kind::RightParen => break,
                Kind::Comma => self.take(),
                _ => return Err(self.unexpected(CONTEXT, "\",\" or \")\"")),
            };
        }
        self.take();
        Ok(labels)
    }
}

/// Words that may be a label in a clause. COMPAT: `without` alone may not.
fn is_label(kind: Kind) -> bool {
    match kind {
        Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregate(_) | Kind::Preprocessor(_) => {
            true
        }
        Kind::Binary(op) => op.is_set() || op == BinaryOp::Atan2,
        Kind::Keyword(keyword) => keyword != Keyword::Without,
        _ => false,
    }
}
