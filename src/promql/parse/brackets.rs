//! What binds closer than any operator: `[…]`, `[…:…]`, `offset`, `@`.

use super::duration::{Duration, Place};
use super::expression::number_value;
use super::{Fault, Parsed, Parser};
use crate::promql::ast::{
    AtModifier, BinaryOp, Expr, Extension, NodeId, Selector, Span, TimeModifiers, ValueType,
};
use crate::promql::lex::{Keyword, Kind, Preprocessor};

impl Parser<'_> {
    /// Applies the suffix that begins with the token looked at, which is of kind `kind`.
    /// `None` where it begins none.
    pub(super) fn suffix(&mut self, operand: NodeId, kind: Kind) -> Parsed<Option<NodeId>> {
        match kind {
            Kind::LeftBracket => self.bracket(operand).map(Some),
            Kind::At => {
                self.take();
                self.at(operand)?;
                Ok(Some(operand))
            }
            Kind::Keyword(Keyword::Offset) => {
                self.take();
                self.offset(operand)?;
                Ok(Some(operand))
            }
            Kind::Keyword(Keyword::Anchored) => {
                self.take();
                self.extend(operand, Extension::Anchored)?;
                Ok(Some(operand))
            }
            Kind::Keyword(Keyword::Smoothed) => {
                self.take();
                self.extend(operand, Extension::Smoothed)?;
                Ok(Some(operand))
            }
            _ => Ok(None),
        }
    }

    fn bracket(&mut self, operand: NodeId) -> Parsed<NodeId> {
        let open = self.take();
        let range = self.positive_duration(Place::Range)?;
        match self.peek()? {
            Kind::RightBracket => {
                let close = self.take();
                self.window(operand, range, Span { start: open.start, end: close.end() })
            }
            Kind::Colon => {
                self.take();
                self.subquery(operand, range)
            }
            _ => Err(self.unexpected("subquery or range", "\":\" or \"]\"")),
        }
    }

    fn window(&mut self, selector: NodeId, range: Duration, brackets: Span) -> Parsed<NodeId> {
        let node = self.node(selector);
        let why_not = match &node.expr {
            Expr::Selector(selector) if selector.modifiers.has_offset() => {
                "no offset modifiers allowed before range"
            }
            Expr::Selector(selector) if selector.modifiers.at.is_some() => {
                "no @ modifiers allowed before range"
            }
            Expr::Selector(_) => "",
            _ => "ranges only allowed for vector selectors",
        };
        if !why_not.is_empty() {
            return Err(Fault::new(brackets, why_not));
        }
        let span = Span { start: node.span.start, end: self.last_closing };
        let (range_ms, range_expr) = range.parts();
        self.push(Expr::Window { selector, range_ms, range_expr }, span, ValueType::Matrix)
    }

    fn subquery(&mut self, expr: NodeId, range: Duration) -> Parsed<NodeId> {
        let (step_ms, step_expr) = if self.peek()? == Kind::RightBracket {
            (0, None)
        } else {
            let step = self.positive_duration(Place::Step)?;
            if self.peek()? != Kind::RightBracket {
                return Err(self.unexpected("subquery selector", "\"]\""));
            }
            step.parts()
        };
        let end = self.take().end();
        let span = Span { start: self.span(expr).start, end };
        let modifiers = TimeModifiers::default();
        let (range_ms, range_expr) = range.parts();
        let step_ms = Some(step_ms).filter(|&ms| ms != 0);
        let subquery = Expr::Subquery { expr, range_ms, range_expr, step_ms, step_expr, modifiers };
        self.push(subquery, span, ValueType::Matrix)
    }

    fn offset(&mut self, operand: NodeId) -> Parsed<()> {
        let offset = self.offset_duration()?;
        let end = self.last_closing;
        let operand_span = self.span(operand);
        let Some(modifiers) = self.modifiers(operand) else {
            let message = "offset modifier must be preceded by an instant vector selector or \
                           range vector selector or a subquery";
            return Err(Fault::new(operand_span, message));
        };
        if modifiers.has_offset() {
            return Err(Fault::new(operand_span, "offset may not be set multiple times"));
        }
        (modifiers.offset_ms, modifiers.offset_expr) = offset.parts();
        self.node_mut(operand).span.end = end;
        Ok(())
    }

    /// `anchored` or `smoothed` behind an operand.
    fn extend(&mut self, operand: NodeId, extension: Extension) -> Parsed<()> {
        let span = self.span(operand);
        let word = extension.as_str();
        if !self.options.extended_selectors {
            let message = format!("{word} modifier is experimental and not enabled");
            return Err(Fault::new(span, message));
        }
        let id = match &self.node(operand).expr {
            Expr::Window { selector, .. } => *selector,
            _ => operand,
        };
        let message = match &mut self.node_mut(id).expr {
            Expr::Selector(Selector { extension: Some(other), .. }) if *other != extension => {
                "anchored and smoothed modifiers cannot be used together".to_owned()
            }
            Expr::Selector(selector) => {
                selector.extension = Some(extension);
                return Ok(());
            }
            Expr::Subquery { .. } => format!("{word} modifier is not supported for subqueries"),
            _ => format!("{word} modifier not implemented"),
        };
        Err(Fault::new(span, message))
    }

    fn at(&mut self, operand: NodeId) -> Parsed<()> {
        let (at, seconds) = self.at_time()?;
        let end = self.last_closing;
        let operand_span = self.span(operand);
        if let Some(seconds) = seconds
            && !(seconds < i64::MAX as f64 && seconds > i64::MIN as f64)
        {
            let seconds = match seconds {
                f64::INFINITY => "+Inf".to_owned(),
                f64::NEG_INFINITY => "-Inf".to_owned(),
                _ if seconds.is_nan() => "NaN".to_owned(),
                _ => format!("{seconds:.6}"),
            };
            let message = format!("timestamp out of bounds for @ modifier: {seconds}");
            return Err(Fault::new(operand_span, message));
        }
        let Some(modifiers) = self.modifiers(operand) else {
            let message = "@ modifier must be preceded by an instant vector selector or range \
                           vector selector or a subquery";
            return Err(Fault::new(operand_span, message));
        };
        if modifiers.at.is_some() {
            return Err(Fault::new(operand_span, "@ <timestamp> may not be set multiple times"));
        }
        modifiers.at = Some(at);
        self.node_mut(operand).span.end = end;
        Ok(())
    }

    /// What stands behind `@`, and its seconds where it is a number.
    fn at_time(&mut self) -> Parsed<(AtModifier, Option<f64>)> {
        const CONTEXT: &str = "@";
        const EXPECTED: &str = "timestamp";
        let mut sign = 1.0;
        match self.peek()? {
            Kind::Preprocessor(which @ (Preprocessor::Start | Preprocessor::End)) => {
                self.take();
                for paren in [Kind::LeftParen, Kind::RightParen] {
                    if self.take_if(paren)?.is_none() {
                        return Err(self.unexpected(CONTEXT, EXPECTED));
                    }
                }
                let is_start = which == Preprocessor::Start;
                return Ok((if is_start { AtModifier::Start } else { AtModifier::End }, None));
            }
            Kind::Binary(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                if op == BinaryOp::Sub {
                    sign = -1.0;
                }
                self.take();
            }
            _ => {}
        }
        let (Kind::Number | Kind::Duration) = self.peek()? else {
            return Err(self.unexpected(CONTEXT, EXPECTED));
        };
        let token = self.take();
        let seconds = sign * number_value(token)?;
        Ok((AtModifier::Time((seconds * 1000.0).round() as i64), Some(seconds)))
    }

    /// Where `offset` and `@` of this operand are kept, if it may have them.
    fn modifiers(&mut self, operand: NodeId) -> Option<&mut TimeModifiers> {
        let id = match &self.node(operand).expr {
            Expr::Window { selector, .. } => *selector,
            _ => operand,
        };
        match &mut self.node_mut(id).expr {
            Expr::Selector(selector) => Some(&mut selector.modifiers),
            Expr::Subquery { modifiers, .. } => Some(modifiers),
            _ => None,
        }
    }
}
