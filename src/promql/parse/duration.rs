//! Durations in brackets and behind `offset`: numbers, and expressions of them.
//!
//! COMPAT: behind `offset` a number, a call or a signed one of them is the whole offset, so that
//! `a offset 1m + b` adds `b`; only what begins with a parenthesis or with two signs goes on to
//! the next operator.

use super::expression::number_value;
use super::{Fault, Parsed, Parser};
use crate::promql::ast::{BinaryOp, Span};
use crate::promql::duration_expr::{DurationExpr, DurationId, DurationNode, DurationOp};
use crate::promql::lex::{Kind, Preprocessor, Token};

/// What the duration is for.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Range,
    Step,
    Offset,
}

impl Place {
    /// What messages say it stands in, and what was expected there.
    fn described(self) -> (&'static str, &'static str) {
        match self {
            Self::Range => ("subquery or range selector", "number, duration, step(), or range()"),
            Self::Step => ("subquery selector", "number, duration, step(), range(), or \"]\""),
            Self::Offset => ("offset", "number, duration, step(), or range()"),
        }
    }
}

/// A duration: known, or computed later.
#[derive(Clone, Copy)]
pub(super) enum Duration {
    Literal(Literal),
    Computed(DurationId),
}

/// A number with its signs.
#[derive(Clone, Copy)]
pub(super) struct Literal {
    seconds: f64,
    is_duration: bool,
    span: Span,
}

impl Duration {
    /// Milliseconds, or 0 and what computes them.
    ///
    /// COMPAT: through whole nanoseconds; what is below a millisecond is lost then.
    pub(super) fn parts(self) -> (i64, Option<DurationId>) {
        match self {
            Self::Literal(literal) => {
                let nanos = (literal.seconds * 1e9).round();
                let nanos = if nanos.is_nan() { i64::MIN } else { nanos as i64 };
                (nanos / 1_000_000, None)
            }
            Self::Computed(id) => (0, Some(id)),
        }
    }
}

/// What was begun and waits for an operand.
enum Frame {
    Binary { op: DurationOp, lhs: Duration, place: Span },
    Unary { negate: bool, start: u32 },
    Paren { start: u32 },
    Call { op: DurationOp, first: Option<Duration> },
}

const UNARY_PRECEDENCE: u8 = 2;

fn signed_literal(mut literal: Literal, negate: bool, sign: Span) -> Parsed<Literal> {
    if negate {
        literal.seconds = -literal.seconds;
    }
    check_range(literal.seconds, sign)?;
    literal.span.start = sign.start;
    Ok(literal)
}

fn unchecked_literal(token: Token<'_>) -> Parsed<Literal> {
    let is_duration = token.kind == Kind::Duration;
    Ok(Literal { seconds: number_value(token)?, is_duration, span: token.span() })
}

fn operator(kind: Kind) -> Option<DurationOp> {
    let Kind::Binary(op) = kind else { return None };
    Some(match op {
        BinaryOp::Add => DurationOp::Add,
        BinaryOp::Sub => DurationOp::Sub,
        BinaryOp::Mul => DurationOp::Mul,
        BinaryOp::Div => DurationOp::Div,
        BinaryOp::Mod => DurationOp::Mod,
        BinaryOp::Pow => DurationOp::Pow,
        _ => return None,
    })
}

fn precedence(op: DurationOp) -> u8 {
    match op {
        DurationOp::Add | DurationOp::Sub => 1,
        DurationOp::Pow => 3,
        _ => UNARY_PRECEDENCE,
    }
}

fn call(preprocessor: Preprocessor) -> Option<DurationOp> {
    match preprocessor {
        Preprocessor::MinOf => Some(DurationOp::MinOf),
        Preprocessor::MaxOf => Some(DurationOp::MaxOf),
        _ => None,
    }
}

impl Frame {
    fn precedence(&self) -> Option<u8> {
        match self {
            Self::Binary { op, .. } => Some(precedence(*op)),
            Self::Unary { .. } => Some(UNARY_PRECEDENCE),
            Self::Paren { .. } | Self::Call { .. } => None,
        }
    }

    fn nests(&self) -> bool {
        !matches!(self, Self::Binary { op, .. } if *op != DurationOp::Pow)
    }
}

impl Parser<'_> {
    /// A duration above zero within brackets.
    pub(super) fn positive_duration(&mut self, place: Place) -> Parsed<Duration> {
        let duration = self.duration(place, Vec::new(), false)?;
        if let Duration::Literal(Literal { seconds, span, .. }) = duration
            && seconds <= 0.0
        {
            return Err(Fault::new(span, "duration must be greater than 0"));
        }
        Ok(duration)
    }

    /// What stands behind `offset`.
    pub(super) fn offset_duration(&mut self) -> Parsed<Duration> {
        let sign = match self.peek()? {
            Kind::Binary(BinaryOp::Add | BinaryOp::Sub) => self.take(),
            Kind::LeftParen => return self.duration(Place::Offset, Vec::new(), false),
            _ => return self.offset_operand(),
        };
        let negate = sign.kind == Kind::Binary(BinaryOp::Sub);
        let start = sign.start;
        match self.peek()? {
            Kind::Number | Kind::Duration => {
                let token = self.take();
                let literal = unchecked_literal(token)?;
                signed_literal(literal, negate, sign.span()).map(Duration::Literal)
            }
            Kind::Binary(BinaryOp::Add | BinaryOp::Sub) => {
                self.duration(Place::Offset, vec![Frame::Unary { negate, start }], false)
            }
            Kind::LeftParen => {
                let inner = self.offset_operand()?;
                self.signed(inner, negate, sign.span())
            }
            // COMPAT: unlike elsewhere, a plus stays.
            _ => {
                let operand = self.offset_operand()?;
                let operand = self.intern(operand)?;
                let span = Span { start, end: self.duration_span(operand).end };
                self.push_duration(DurationExpr::Unary { negate, operand }, span)
            }
        }
    }

    /// A number, a call, or an expression in parentheses, and nothing that follows.
    fn offset_operand(&mut self) -> Parsed<Duration> {
        let mut stack = Vec::new();
        match self.duration_operand(Place::Offset, &mut stack)? {
            Some(operand) => Ok(operand),
            None => self.duration(Place::Offset, stack, true),
        }
    }

    /// The rest of a duration of which `stack` is open; ends with that where `alone`, else
    /// before the first token that cannot go on.
    fn duration(&mut self, place: Place, mut stack: Vec<Frame>, alone: bool) -> Parsed<Duration> {
        loop {
            let Some(mut operand) = self.duration_operand(place, &mut stack)? else { continue };
            loop {
                let kind = self.peek()?;
                let next = operator(kind);
                operand = self.reduce_duration(&mut stack, operand, next)?;
                if let Some(op) = next {
                    let place = self.take().span();
                    self.open_duration(&mut stack, Frame::Binary { op, lhs: operand, place })?;
                    break;
                }
                match (kind, stack.last_mut()) {
                    (Kind::Comma, Some(Frame::Call { first: first @ None, .. })) => {
                        *first = Some(operand);
                        self.take();
                        break;
                    }
                    (Kind::RightParen, Some(Frame::Paren { .. })) => {
                        let Some(Frame::Paren { start }) = stack.pop() else {
                            unreachable!("BUG: the frame was looked at")
                        };
                        self.take();
                        operand = self.wrapped(operand, start)?;
                    }
                    (Kind::RightParen, Some(&mut Frame::Call { op, first: Some(first) })) => {
                        stack.pop();
                        self.take();
                        operand = self.binary_duration(op, first, operand)?;
                    }
                    (_, None) => return Ok(operand),
                    (_, Some(_)) => return Err(self.unexpected_in(place)),
                }
                if alone && stack.is_empty() {
                    return Ok(operand);
                }
            }
        }
    }

    fn unexpected_in(&self, place: Place) -> Fault {
        let (context, expected) = place.described();
        self.unexpected(context, expected)
    }

    /// Reads an operand; or opens a frame that waits for one, then `None`.
    fn duration_operand(
        &mut self,
        place: Place,
        stack: &mut Vec<Frame>,
    ) -> Parsed<Option<Duration>> {
        let frame = match self.peek()? {
            Kind::Number | Kind::Duration => {
                let token = self.take();
                let literal = unchecked_literal(token)?;
                check_range(literal.seconds, literal.span)?;
                return Ok(Some(Duration::Literal(literal)));
            }
            Kind::Binary(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                Frame::Unary { negate: op == BinaryOp::Sub, start: self.take().start }
            }
            Kind::LeftParen => Frame::Paren { start: self.take().start },
            Kind::Preprocessor(preprocessor @ (Preprocessor::Step | Preprocessor::Range)) => {
                let start = self.take().start;
                let mut end = start;
                for paren in [Kind::LeftParen, Kind::RightParen] {
                    match self.take_if(paren)? {
                        Some(paren) => end = paren.end(),
                        None => return Err(self.unexpected_in(place)),
                    }
                }
                let expr = match preprocessor {
                    Preprocessor::Step => DurationExpr::Step,
                    _ => DurationExpr::Range,
                };
                return self.push_duration(expr, Span { start, end }).map(Some);
            }
            Kind::Preprocessor(preprocessor) => match call(preprocessor) {
                Some(op) => {
                    self.take();
                    if self.take_if(Kind::LeftParen)?.is_none() {
                        return Err(self.unexpected_in(place));
                    }
                    Frame::Call { op, first: None }
                }
                None => return Err(self.unexpected_in(place)),
            },
            _ => return Err(self.unexpected_in(place)),
        };
        self.open_duration(stack, frame)?;
        Ok(None)
    }

    fn open_duration(&mut self, stack: &mut Vec<Frame>, frame: Frame) -> Parsed<()> {
        stack.push(frame);
        let nesting_max = self.options.nesting_max;
        if stack.len() > nesting_max
            && stack.iter().filter(|frame| frame.nests()).count() > nesting_max
        {
            return Err(self.nested_too_deeply());
        }
        Ok(())
    }

    /// Ends the operators that bind closer than `next`; all up to the enclosing parenthesis
    /// where no operator follows.
    fn reduce_duration(
        &mut self,
        stack: &mut Vec<Frame>,
        mut operand: Duration,
        next: Option<DurationOp>,
    ) -> Parsed<Duration> {
        while let Some(precedence) = stack.last().and_then(Frame::precedence) {
            let waits = next.is_some_and(|next| {
                let next_precedence = self::precedence(next);
                next_precedence > precedence
                    || (next_precedence == precedence && next == DurationOp::Pow)
            });
            if waits {
                break;
            }
            operand = match stack.pop() {
                Some(Frame::Binary { op, lhs, place }) => {
                    if let Duration::Literal(Literal { seconds: 0.0, .. }) = operand {
                        match op {
                            DurationOp::Div => return Err(Fault::new(place, "division by zero")),
                            DurationOp::Mod => return Err(Fault::new(place, "modulo by zero")),
                            _ => {}
                        }
                    }
                    self.binary_duration(op, lhs, operand)?
                }
                Some(Frame::Unary { negate, start }) => {
                    self.signed(operand, negate, Span { start, end: start + 1 })?
                }
                _ => unreachable!("BUG: the frame was looked at"),
            };
        }
        Ok(operand)
    }

    fn binary_duration(
        &mut self,
        op: DurationOp,
        lhs: Duration,
        rhs: Duration,
    ) -> Parsed<Duration> {
        let (lhs, rhs) = (self.intern(lhs)?, self.intern(rhs)?);
        // COMPAT: a call's place is that of its arguments.
        let span = Span { start: self.duration_span(lhs).start, end: self.duration_span(rhs).end };
        self.push_duration(DurationExpr::Binary { op, lhs, rhs }, span)
    }

    /// The operand with a sign in front; a number takes the sign into itself.
    fn signed(&mut self, operand: Duration, negate: bool, sign: Span) -> Parsed<Duration> {
        match operand {
            Duration::Literal(literal) => {
                signed_literal(literal, negate, sign).map(Duration::Literal)
            }
            Duration::Computed(operand) if negate => {
                let span = Span { start: sign.start, end: self.duration_span(operand).end };
                self.push_duration(DurationExpr::Unary { negate, operand }, span)
            }
            Duration::Computed(_) => Ok(operand),
        }
    }

    /// The operand in parentheses. A number becomes an operand of its own, so that they stay.
    fn wrapped(&mut self, operand: Duration, start: u32) -> Parsed<Duration> {
        let id = match operand {
            Duration::Computed(id) => id,
            Duration::Literal(literal) => {
                let operand = self.intern(operand)?;
                let span = Span { start, end: literal.span.end };
                let plus = DurationExpr::Unary { negate: false, operand };
                let plus = self.push_duration(plus, span)?;
                self.intern(plus)?
            }
        };
        self.durations[id.0 as usize].wrapped = true;
        Ok(Duration::Computed(id))
    }

    fn intern(&mut self, duration: Duration) -> Parsed<DurationId> {
        let literal = match duration {
            Duration::Computed(id) => return Ok(id),
            Duration::Literal(literal) => literal,
        };
        let Literal { seconds, is_duration, span } = literal;
        self.check_size(span)?;
        let expr = DurationExpr::Number { seconds, is_duration };
        self.durations.push(DurationNode { expr, span, wrapped: false });
        Ok(DurationId(self.durations.len() as u32 - 1))
    }

    fn push_duration(&mut self, expr: DurationExpr, span: Span) -> Parsed<Duration> {
        self.check_size(span)?;
        self.durations.push(DurationNode { expr, span, wrapped: false });
        Ok(Duration::Computed(DurationId(self.durations.len() as u32 - 1)))
    }

    fn duration_span(&self, id: DurationId) -> Span {
        self.durations[id.0 as usize].span
    }
}

/// Refuses what does not fit into nanoseconds of 64 bits.
fn check_range(seconds: f64, place: Span) -> Parsed<()> {
    if seconds.abs() > 9_223_372_036.854_776 {
        return Err(Fault::new(place, "duration out of range"));
    }
    Ok(())
}
