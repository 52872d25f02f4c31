//! Durations that are computed: `[step() * 2]`, `offset -(1h / 3)`.
//!
//! They stand in an arena of their own beside the tree, children before parents, and are resolved
//! to milliseconds before a query is planned: what comes after the parser and the printer never
//! meets one.

use std::borrow::Cow;

use super::ast::{Ast, Expr, Span, TimeModifiers};
use super::engine::QueryRange;

/// Index of a part in [`Ast::durations`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DurationId(pub u32);

/// One part of a computed duration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DurationNode {
    /// What it is.
    pub expr: DurationExpr,
    /// Where it stands in the text.
    pub span: Span,
    /// Whether it stands in parentheses.
    pub wrapped: bool,
}

/// The kinds of part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DurationExpr {
    /// A number of seconds.
    Number {
        /// Its value.
        seconds: f64,
        /// Written as a duration; printing keeps the spelling.
        is_duration: bool,
    },
    /// `step()`: the query's step; 0 in a query of one time.
    Step,
    /// `range()`: the span of the query's times.
    Range,
    /// A sign, or nothing but parentheses around a number, which count as a plus.
    Unary {
        /// Minus rather than plus.
        negate: bool,
        /// The operand.
        operand: DurationId,
    },
    /// An operation on two parts.
    Binary {
        /// The operation.
        op: DurationOp,
        /// Left operand.
        lhs: DurationId,
        /// Right operand.
        rhs: DurationId,
    },
}

/// Operations on durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurationOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `min_of(…, …)`
    MinOf,
    /// `max_of(…, …)`
    MaxOf,
}

impl DurationOp {
    /// The operation as PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::MinOf => "min_of",
            Self::MaxOf => "max_of",
        }
    }

    /// Whether it is written as a call.
    pub fn is_call(self) -> bool {
        matches!(self, Self::MinOf | Self::MaxOf)
    }
}

impl Ast {
    /// The part of a computed duration with this id.
    pub fn duration(&self, id: DurationId) -> &DurationNode {
        &self.durations[id.0 as usize]
    }

    /// The tree with all durations in milliseconds, for a query over `range`; `step()` is
    /// `step_ms`. The error is a text for the client.
    ///
    /// COMPAT: cut to whole milliseconds, where a written duration is rounded to nanoseconds
    /// first; errors give the first and last byte of the part instead of line and column.
    pub fn resolve(&self, range: QueryRange, step_ms: i64) -> Result<Cow<'_, Self>, String> {
        if self.durations.is_empty() {
            return Ok(Cow::Borrowed(self));
        }
        let span_ms = range.end_ms.saturating_sub(range.start_ms);
        let resolver = Resolver {
            ast: self,
            results: self.compute(step_ms as f64 / 1000.0, span_ms as f64 / 1000.0),
        };
        let mut resolved = self.clone();
        // COMPAT: of several faults the first is told, parents before children.
        let mut ahead = vec![self.root];
        while let Some(id) = ahead.pop() {
            let first = ahead.len();
            ahead.extend(self.expr(id).children());
            ahead[first..].reverse();
            match &mut resolved.nodes[id.0 as usize].expr {
                Expr::Selector(selector) => resolver.offset(&mut selector.modifiers)?,
                Expr::Window { range_ms, range_expr, .. } => {
                    resolver.length(range_ms, range_expr)?;
                }
                Expr::Subquery { range_ms, range_expr, step_ms, step_expr, modifiers, .. } => {
                    resolver.offset(modifiers)?;
                    if step_expr.is_some() {
                        let mut ms = 0;
                        resolver.length(&mut ms, step_expr)?;
                        *step_ms = Some(ms).filter(|&ms| ms != 0);
                    }
                    resolver.length(range_ms, range_expr)?;
                }
                _ => {}
            }
        }
        resolved.durations.clear();
        Ok(Cow::Owned(resolved))
    }

    /// Each part's value in seconds, or which part divides by zero and how that is called.
    fn compute(&self, step_s: f64, range_s: f64) -> Vec<Computed> {
        let mut results: Vec<Computed> = Vec::with_capacity(self.durations.len());
        for (index, node) in self.durations.iter().enumerate() {
            let of = |id: DurationId| results[id.0 as usize];
            let result = match node.expr {
                DurationExpr::Number { seconds, .. } => Ok(seconds),
                DurationExpr::Step => Ok(step_s),
                DurationExpr::Range => Ok(range_s),
                DurationExpr::Unary { negate, operand } => {
                    of(operand).map(|value| if negate { -value } else { value })
                }
                DurationExpr::Binary { op, lhs, rhs } => match (of(lhs), of(rhs)) {
                    (Err(fault), _) | (_, Err(fault)) => Err(fault),
                    (Ok(_), Ok(0.0)) if op == DurationOp::Div => {
                        Err((DurationId(index as u32), "division by zero"))
                    }
                    (Ok(_), Ok(0.0)) if op == DurationOp::Mod => {
                        Err((DurationId(index as u32), "modulo by zero"))
                    }
                    (Ok(lhs), Ok(rhs)) => Ok(apply(op, lhs, rhs)),
                },
            };
            results.push(result);
        }
        results
    }
}

type Computed = Result<f64, (DurationId, &'static str)>;

fn apply(op: DurationOp, lhs: f64, rhs: f64) -> f64 {
    match op {
        DurationOp::Add => lhs + rhs,
        DurationOp::Sub => lhs - rhs,
        DurationOp::Mul => lhs * rhs,
        DurationOp::Div => lhs / rhs,
        DurationOp::Mod => lhs % rhs,
        DurationOp::Pow => super::functions::power::pow(lhs, rhs),
        // Where one of them is no number, so is the result.
        DurationOp::MinOf | DurationOp::MaxOf if lhs.is_nan() || rhs.is_nan() => f64::NAN,
        DurationOp::MinOf => lhs.min(rhs),
        DurationOp::MaxOf => lhs.max(rhs),
    }
}

struct Resolver<'a> {
    ast: &'a Ast,
    results: Vec<Computed>,
}

impl Resolver<'_> {
    fn offset(&self, modifiers: &mut TimeModifiers) -> Result<(), String> {
        if let Some(id) = modifiers.offset_expr.take() {
            modifiers.offset_ms = self.milliseconds(id, true)?;
        }
        Ok(())
    }

    fn length(&self, ms: &mut i64, expr: &mut Option<DurationId>) -> Result<(), String> {
        if let Some(id) = expr.take() {
            *ms = self.milliseconds(id, false)?;
        }
        Ok(())
    }

    fn milliseconds(&self, id: DurationId, may_be_negative: bool) -> Result<i64, String> {
        let refused = |id: DurationId, what: &str| {
            let Span { start, end } = self.ast.duration(id).span;
            Err(format!("{start}:{end}: {what}"))
        };
        match self.results[id.0 as usize] {
            Err((place, what)) => refused(place, what),
            Ok(seconds) if !seconds.is_finite() => refused(id, "duration is NaN or infinite"),
            Ok(seconds) if seconds <= 0.0 && !may_be_negative => {
                refused(id, "duration must be greater than 0")
            }
            // Nanoseconds in 64 bits.
            Ok(seconds) if seconds.abs() > 9_223_372_036.854_776 => {
                refused(id, "duration is out of range")
            }
            Ok(seconds) => Ok((seconds * 1000.0) as i64),
        }
    }
}
