//! What binds closer than any operator: `[…]`, `[…:…]`, `offset`, `@`.

use super::expression::number_value;
use super::{Fault, Parsed, Parser};
use crate::promql::ast::{AtModifier, BinaryOp, Expr, NodeId, Span, TimeModifiers, ValueType};
use crate::promql::lex::{Keyword, Kind, Preprocessor};

const OFFSET: &str = "offset";

/// A literal duration in seconds and where it stands.
struct Literal {
    seconds: f64,
    span: Span,
}

impl Literal {
    /// COMPAT: through whole nanoseconds; what is below a millisecond is lost then.
    fn as_ms(&self) -> i64 {
        let nanos = (self.seconds * 1e9).round();
        let nanos = if nanos.is_nan() { i64::MIN } else { nanos as i64 };
        nanos / 1_000_000
    }
}

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
            Kind::Keyword(keyword @ (Keyword::Anchored | Keyword::Smoothed)) => {
                self.take();
                let name = if keyword == Keyword::Anchored { "anchored" } else { "smoothed" };
                let message = format!("{name} modifier is experimental and not enabled");
                Err(Fault::new(self.span(operand), message))
            }
            _ => Ok(None),
        }
    }

    fn bracket(&mut self, operand: NodeId) -> Parsed<NodeId> {
        let open = self.take();
        let expected = "number, duration, step(), or range()";
        let range = self.positive("subquery or range selector", expected)?;
        match self.peek()? {
            Kind::RightBracket => {
                let close = self.take();
                self.window(operand, &range, Span { start: open.start, end: close.end() })
            }
            Kind::Colon => {
                self.take();
                self.subquery(operand, &range)
            }
            _ => Err(self.unexpected("subquery or range", "\":\" or \"]\"")),
        }
    }

    fn window(&mut self, selector: NodeId, range: &Literal, brackets: Span) -> Parsed<NodeId> {
        let node = self.node(selector);
        let why_not = match &node.expr {
            Expr::Selector(selector) if selector.modifiers.offset_ms != 0 => {
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
        let range_ms = range.as_ms();
        self.push(Expr::Window { selector, range_ms }, span, ValueType::Matrix)
    }

    fn subquery(&mut self, expr: NodeId, range: &Literal) -> Parsed<NodeId> {
        const CONTEXT: &str = "subquery selector";
        let step_ms = if self.peek()? == Kind::RightBracket {
            None
        } else {
            let expected = "number, duration, step(), range(), or \"]\"";
            let step = self.positive(CONTEXT, expected)?;
            if self.peek()? != Kind::RightBracket {
                return Err(self.unexpected(CONTEXT, "\"]\""));
            }
            Some(step.as_ms()).filter(|&ms| ms != 0)
        };
        let end = self.take().end();
        let span = Span { start: self.span(expr).start, end };
        let modifiers = TimeModifiers::default();
        let range_ms = range.as_ms();
        self.push(Expr::Subquery { expr, range_ms, step_ms, modifiers }, span, ValueType::Matrix)
    }

    /// A duration above zero within brackets.
    fn positive(&mut self, context: &str, expected: &str) -> Parsed<Literal> {
        let literal = self.duration(context, expected)?;
        // What follows is looked at before the duration is judged.
        if let Kind::Binary(op) = self.peek()? {
            use BinaryOp::{Add, Div, Mod, Mul, Pow, Sub};
            if matches!(op, Add | Sub | Mul | Div | Mod | Pow) {
                return Err(self.unsupported_duration());
            }
        }
        if literal.seconds <= 0.0 {
            return Err(Fault::new(literal.span, "duration must be greater than 0"));
        }
        Ok(literal)
    }

    fn unsupported_duration(&self) -> Fault {
        Fault::new(self.last.span(), "duration expressions are not supported yet")
    }

    /// Signs and a number.
    fn duration(&mut self, context: &str, expected: &str) -> Parsed<Literal> {
        let mut negate = false;
        let mut start = None;
        let mut signs = 0;
        loop {
            match self.peek()? {
                Kind::Binary(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                    negate ^= op == BinaryOp::Sub;
                    let sign = self.take();
                    start = start.or(Some(sign.start));
                    signs += 1;
                }
                Kind::Number | Kind::Duration => break,
                Kind::LeftParen => return Err(self.unsupported_duration()),
                Kind::Preprocessor(preprocessor)
                    if !matches!(preprocessor, Preprocessor::Start | Preprocessor::End) =>
                {
                    return Err(self.unsupported_duration());
                }
                _ => return Err(self.unexpected(context, expected)),
            }
        }
        let token = self.take();
        let seconds = number_value(token)?;
        let span = Span { start: start.unwrap_or(token.start), end: token.end() };
        // Nanoseconds in 64 bits.
        if seconds.abs() > 9_223_372_036.854_776 {
            let place = if context == OFFSET && signs == 1 { span } else { token.span() };
            return Err(Fault::new(place, "duration out of range"));
        }
        Ok(Literal { seconds: if negate { -seconds } else { seconds }, span })
    }

    fn offset(&mut self, operand: NodeId) -> Parsed<()> {
        let literal = self.duration(OFFSET, "number, duration, step(), or range()")?;
        let end = self.last_closing;
        let operand_span = self.span(operand);
        let Some(modifiers) = self.modifiers(operand) else {
            let message = "offset modifier must be preceded by an instant vector selector or \
                           range vector selector or a subquery";
            return Err(Fault::new(operand_span, message));
        };
        if modifiers.offset_ms != 0 {
            return Err(Fault::new(operand_span, "offset may not be set multiple times"));
        }
        modifiers.offset_ms = literal.as_ms();
        self.node_mut(operand).span.end = end;
        Ok(())
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
