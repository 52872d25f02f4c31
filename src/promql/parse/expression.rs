//! Operands and operators: an operator-precedence parser over an explicit stack.

use super::clause::{Grouping, Modifier};
use super::{Fault, Parsed, Parser, function};
use crate::promql::ast::{AggregateOp, BinaryOp, Expr, NodeId, Span, ValueType};
use crate::promql::lex::{self, Keyword, Kind, Token};
use crate::promql::quote::quote;

/// What was begun and waits for an operand.
enum Frame<'a> {
    Binary { op: BinaryOp, lhs: NodeId, modifier: Modifier },
    Unary { negate: bool, start: u32 },
    Paren { start: u32 },
    Call { name: Token<'a>, list: List },
    Aggregate { op: AggregateOp, start: u32, grouping: Option<Grouping>, list: List },
}

/// A list of arguments as far as it was read.
#[derive(Default)]
struct List {
    args: Vec<NodeId>,
    comma: Option<Span>,
}

const UNARY_PRECEDENCE: u8 = 5;

fn precedence(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        _ if op.is_comparison() || op.is_trim() => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Pow => 6,
        _ => UNARY_PRECEDENCE,
    }
}

fn is_right_associative(op: BinaryOp) -> bool {
    op == BinaryOp::Pow
}

impl<'a> Parser<'a> {
    /// The whole text as one expression.
    pub(super) fn expression(&mut self) -> Parsed<NodeId> {
        if self.peek()? == Kind::Eof {
            return Err(Fault::new(Span::default(), "no expression found in input"));
        }
        let mut stack = Vec::new();
        loop {
            let Some(mut operand) = self.operand(&mut stack)? else { continue };
            // Behind an operand: what binds closer than any operator, then an operator, or the
            // end of what the operand stands in.
            loop {
                let kind = self.peek()?;
                if self.suffix(operand, kind)?.is_some_and(|id| {
                    operand = id;
                    true
                }) {
                    continue;
                }
                if let Kind::Binary(op) = kind {
                    operand = self.reduce(&mut stack, operand, Some(op))?;
                    self.take();
                    let modifier = self.modifier()?;
                    self.open(&mut stack, Frame::Binary { op, lhs: operand, modifier })?;
                    break;
                }
                operand = self.reduce(&mut stack, operand, None)?;
                match kind {
                    Kind::Comma => {
                        self.comma(&mut stack, operand)?;
                        break;
                    }
                    Kind::RightParen => operand = self.close(&mut stack, Some(operand))?,
                    Kind::Eof if stack.is_empty() => return Ok(operand),
                    _ => return Err(self.unexpected(self.context(), "")),
                }
            }
        }
    }

    /// Reads an operand; or opens a frame that waits for one, then `None`.
    fn operand(&mut self, stack: &mut Vec<Frame<'a>>) -> Parsed<Option<NodeId>> {
        let kind = self.peek()?;
        let open = match kind {
            Kind::Number | Kind::Duration => return self.number().map(Some),
            Kind::String => {
                let token = self.take();
                let string = match String::from_utf8(lex::unquote_bytes(token.text)) {
                    Ok(text) => Expr::String(text),
                    Err(error) => Expr::Bytes(error.into_bytes()),
                };
                return self.push(string, token.span(), ValueType::String).map(Some);
            }
            Kind::LeftBrace => return self.selector(None).map(Some),
            Kind::LeftParen => Frame::Paren { start: self.take().start },
            Kind::Binary(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                Frame::Unary { negate: op == BinaryOp::Sub, start: self.take().start }
            }
            Kind::Identifier | Kind::Preprocessor(_) => {
                let name = self.take();
                if self.take_if(Kind::LeftParen)?.is_none() {
                    return self.selector(Some(name)).map(Some);
                }
                return self.open_list(stack, Frame::Call { name, list: List::default() });
            }
            Kind::Aggregate(op) => {
                let name = self.take();
                return self.aggregate_or_selector(stack, op, name);
            }
            _ if is_metric_name(kind) => {
                let name = self.take();
                return self.selector(Some(name)).map(Some);
            }
            // COMPAT: a comma at the end is what Prometheus complains of, whatever follows.
            _ => {
                return Err(match stack.last() {
                    Some(
                        Frame::Call { list: List { comma: Some(comma), .. }, .. }
                        | Frame::Aggregate { list: List { comma: Some(comma), .. }, .. },
                    ) => Fault::new(*comma, "trailing commas not allowed in function call args"),
                    _ => self.unexpected(self.context(), ""),
                });
            }
        };
        self.open(stack, open)?;
        Ok(None)
    }

    fn number(&mut self) -> Parsed<NodeId> {
        let token = self.take();
        let value = number_value(token)?;
        let is_duration = token.kind == Kind::Duration;
        self.push(Expr::Number { value, is_duration }, token.span(), ValueType::Scalar)
    }

    fn aggregate_or_selector(
        &mut self,
        stack: &mut Vec<Frame<'a>>,
        op: AggregateOp,
        name: Token<'a>,
    ) -> Parsed<Option<NodeId>> {
        let grouping = match self.peek()? {
            Kind::LeftParen => None,
            Kind::Keyword(Keyword::By | Keyword::Without) => Some(self.grouping()?),
            _ => return self.selector(Some(name)).map(Some),
        };
        if self.take_if(Kind::LeftParen)?.is_none() {
            return Err(self.unexpected("aggregation", ""));
        }
        let (start, list) = (name.start, List::default());
        self.open_list(stack, Frame::Aggregate { op, start, grouping, list })
    }

    /// Opens a list of arguments behind its `(`; an empty one is closed at once.
    fn open_list(
        &mut self,
        stack: &mut Vec<Frame<'a>>,
        frame: Frame<'a>,
    ) -> Parsed<Option<NodeId>> {
        self.open(stack, frame)?;
        if self.peek()? == Kind::RightParen {
            return self.close(stack, None).map(Some);
        }
        Ok(None)
    }

    fn open(&mut self, stack: &mut Vec<Frame<'a>>, frame: Frame<'a>) -> Parsed<()> {
        self.aggregates_open += usize::from(matches!(frame, Frame::Aggregate { .. }));
        stack.push(frame);
        // Left-associative operators wait at most once for each precedence, so that the height
        // of the stack is bounded by this count.
        let nesting_max = self.options.nesting_max;
        if stack.len() > nesting_max {
            let depth = stack.iter().filter(|frame| frame.nests()).count();
            if depth > nesting_max {
                return Err(self.nested_too_deeply());
            }
        }
        Ok(())
    }

    /// What a message says the fault stands in: the innermost aggregation's arguments.
    pub(super) fn context(&self) -> &'static str {
        if self.aggregates_open > 0 { "aggregation" } else { "" }
    }

    pub(super) fn nested_too_deeply(&self) -> Fault {
        let message = format!("query is nested too deeply, limit {}", self.options.nesting_max);
        Fault::new(self.last.span(), message)
    }

    /// Ends the operators that bind closer than `next`; all up to the enclosing parenthesis
    /// where no operator follows.
    fn reduce(
        &mut self,
        stack: &mut Vec<Frame<'a>>,
        mut operand: NodeId,
        next: Option<BinaryOp>,
    ) -> Parsed<NodeId> {
        while let Some(frame) = stack.last() {
            let precedence = match frame {
                Frame::Binary { op, .. } => self::precedence(*op),
                Frame::Unary { .. } => UNARY_PRECEDENCE,
                _ => break,
            };
            if next.is_some_and(|next| {
                let next_precedence = self::precedence(next);
                next_precedence > precedence
                    || (next_precedence == precedence && is_right_associative(next))
            }) {
                break;
            }
            operand = match stack.pop() {
                Some(Frame::Binary { op, lhs, modifier }) => {
                    self.binary(op, lhs, operand, modifier)?
                }
                Some(Frame::Unary { negate, start }) => self.unary(negate, start, operand)?,
                _ => unreachable!("BUG: the frame was looked at above"),
            };
        }
        Ok(operand)
    }

    fn binary(
        &mut self,
        op: BinaryOp,
        lhs: NodeId,
        rhs: NodeId,
        modifier: Modifier,
    ) -> Parsed<NodeId> {
        let span = Span { start: self.span(lhs).start, end: self.span(rhs).end };
        if !modifier.matching.fill.is_none() && !self.options.fill_modifiers {
            return Err(Fault::new(span, "binop fill modifiers are experimental and not enabled"));
        }
        let scalars = [lhs, rhs].iter().all(|&id| self.value_type(id) == ValueType::Scalar);
        let value_type = if scalars { ValueType::Scalar } else { ValueType::Vector };
        let Modifier { return_bool, matching } = modifier;
        let expr = Expr::Binary { op, lhs, rhs, return_bool, matching: Some(matching) };
        self.push(expr, span, value_type)
    }

    fn unary(&mut self, negate: bool, start: u32, operand: NodeId) -> Parsed<NodeId> {
        let node = self.node_mut(operand);
        // A sign in front of a number is part of the number.
        if let Expr::Number { value, .. } = &mut node.expr {
            if negate {
                *value *= -1.0;
            }
            node.span.start = start;
            return Ok(operand);
        }
        let (end, value_type) = (node.span.end, node.value_type);
        self.push(Expr::Unary { negate, expr: operand }, Span { start, end }, value_type)
    }

    fn comma(&mut self, stack: &mut [Frame<'a>], operand: NodeId) -> Parsed<()> {
        if let Some(Frame::Call { list, .. } | Frame::Aggregate { list, .. }) = stack.last_mut() {
            list.args.push(operand);
            list.comma = Some(self.take().span());
            return Ok(());
        }
        Err(self.unexpected(self.context(), ""))
    }

    /// Ends what the `)` that was looked at closes.
    fn close(&mut self, stack: &mut Vec<Frame<'a>>, last: Option<NodeId>) -> Parsed<NodeId> {
        match stack.pop() {
            Some(Frame::Paren { start }) => {
                let span = Span { start, end: self.take().end() };
                let expr = last.expect("BUG: empty parentheses are refused where they open");
                self.push(Expr::Paren(expr), span, self.value_type(expr))
            }
            Some(Frame::Call { name, mut list }) => {
                self.take();
                list.args.extend(last);
                self.call(name, list.args)
            }
            Some(Frame::Aggregate { op, start, grouping, mut list }) => {
                self.take();
                self.aggregates_open -= 1;
                list.args.extend(last);
                self.aggregate(op, start, grouping, &list.args)
            }
            _ => Err(self.unexpected("", "")),
        }
    }

    fn call(&mut self, name: Token<'a>, args: Vec<NodeId>) -> Parsed<NodeId> {
        let Some(function) = function(name.text) else {
            let message = format!("unknown function with name {}", quote(name.text));
            return Err(Fault::new(name.span(), message));
        };
        if function.experimental && !self.options.experimental_functions {
            let message = format!("function {} is not enabled", quote(name.text));
            return Err(Fault::new(name.span(), message));
        }
        let span = Span { start: name.start, end: self.last_closing };
        self.push(Expr::Call { function, args }, span, function.result)
    }

    fn aggregate(
        &mut self,
        op: AggregateOp,
        start: u32,
        grouping: Option<Grouping>,
        args: &[NodeId],
    ) -> Parsed<NodeId> {
        let (grouping, end) = if let Some(grouping) = grouping {
            (grouping, self.last_closing)
        } else if let Kind::Keyword(Keyword::By | Keyword::Without) = self.peek()? {
            (self.grouping()?, self.last_closing)
        } else {
            (Grouping::default(), self.end_before_look_ahead())
        };
        let span = Span { start, end };
        if args.is_empty() {
            return Err(Fault::new(span, "no arguments for aggregate expression provided"));
        }
        if op.is_experimental() && !self.options.experimental_functions {
            let message = format!(
                "{}() is experimental and must be enabled with \
                 --enable-feature=promql-experimental-functions",
                op.as_str()
            );
            return Err(Fault::new(span, message));
        }
        let (param, expr) = match (op.has_param(), args) {
            (true, &[param, expr]) => (Some(param), expr),
            (false, &[expr]) => (None, expr),
            (has_param, args) => {
                let message = format!(
                    "wrong number of arguments for aggregate expression provided, \
                     expected {}, got {}",
                    1 + u8::from(has_param),
                    args.len()
                );
                return Err(Fault::new(span, message));
            }
        };
        let Grouping { labels, without } = grouping;
        let expr = Expr::Aggregate { op, expr, param, grouping: labels, without };
        self.push(expr, span, ValueType::Vector)
    }

    /// Where an aggregation ends whose `)` is not the token read last.
    ///
    /// COMPAT: a `)` that was only looked at counts as its end, unless nothing but blanks
    /// stands between the two.
    fn end_before_look_ahead(&self) -> u32 {
        let ends_here = self.last_closing;
        let at = self.last.start as usize;
        if self.text.as_bytes().get(at) != Some(&b')') || at == 0 {
            return ends_here;
        }
        let before = self.text[..at].trim_end_matches([' ', '\t', '\n', '\r']);
        // The first byte of the text is not looked at.
        if before.len() > 1 && before.ends_with(')') { before.len() as u32 } else { ends_here }
    }
}

/// What a number or duration token is worth.
pub(super) fn number_value(token: Token<'_>) -> Parsed<f64> {
    let value = if token.kind == Kind::Duration {
        lex::duration(token.text)
    } else {
        lex::number(token.text).map_err(|e| format!("error parsing number: {e}"))
    };
    value.map_err(|message| Fault::new(token.span(), message))
}

impl Frame<'_> {
    fn nests(&self) -> bool {
        match self {
            Self::Binary { op, .. } => is_right_associative(*op),
            _ => true,
        }
    }
}

/// Words that may stand where a metric name does.
pub(super) fn is_metric_name(kind: Kind) -> bool {
    match kind {
        Kind::MetricIdentifier | Kind::Identifier | Kind::Aggregate(_) | Kind::Preprocessor(_) => {
            true
        }
        Kind::Binary(op) => op.is_set(),
        Kind::Keyword(keyword) => !matches!(
            keyword,
            Keyword::On
                | Keyword::Ignoring
                | Keyword::GroupLeft
                | Keyword::GroupRight
                | Keyword::Bool
        ),
        _ => false,
    }
}

/// Whether an expression may begin with a token of this kind.
pub(super) fn begins_expression(kind: Kind) -> bool {
    is_metric_name(kind)
        || matches!(
            kind,
            Kind::Number
                | Kind::Duration
                | Kind::String
                | Kind::LeftParen
                | Kind::LeftBrace
                | Kind::Binary(BinaryOp::Add | BinaryOp::Sub)
        )
}
