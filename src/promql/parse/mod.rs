//! Text to a type-checked [`Ast`].
//!
//! COMPAT: accepts and refuses what Prometheus 3.14 accepts and refuses; of several faults the
//! one is reported that Prometheus reports first, in its words and at its place. That is why the
//! order in which the next token is looked at matters everywhere below: a token that cannot be
//! read is a fault at the moment it is looked at.
//!
//! Nothing here recurses over the text: nesting is an explicit stack of bounded height, and
//! chains of operators grow a flat arena of bounded length.

mod brackets;
mod check;
mod clause;
mod duration;
mod error;
mod expression;
mod selector;
mod signatures;
#[cfg(test)]
mod tests;

pub use error::{ParseError, Position};
pub use signatures::{function, functions};

use super::ast::{Ast, Expr, Node, NodeId, Span, ValueType};
use super::duration_expr::DurationNode;
use super::lex::{Kind, Lexer, Token};
use crate::model::Matcher;

/// What the language offers, and what a query may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseOptions {
    /// Functions and aggregations behind `promql-experimental-functions`.
    pub experimental_functions: bool,
    /// `anchored` and `smoothed`, behind `promql-extended-range-selectors`.
    pub extended_selectors: bool,
    /// `fill` and its kin, behind `promql-binop-fill-modifiers`.
    pub fill_modifiers: bool,
    /// Greatest length of a query's text.
    pub text_bytes_max: usize,
    /// Greatest number of parentheses, calls, aggregations, unary and right-associative
    /// operators that may be open at one place.
    pub nesting_max: usize,
    /// Greatest number of nodes of the tree.
    pub nodes_max: usize,
}

impl Default for ParseOptions {
    fn default() -> Self {
        Self {
            experimental_functions: false,
            extended_selectors: false,
            fill_modifiers: false,
            text_bytes_max: 1 << 20,
            nesting_max: 256,
            nodes_max: 100_000,
        }
    }
}

impl ParseOptions {
    /// The default limits with everything that is experimental.
    pub fn all_features() -> Self {
        Self {
            experimental_functions: true,
            extended_selectors: true,
            fill_modifiers: true,
            ..Self::default()
        }
    }
}

/// Parses and type-checks a query.
pub fn parse(text: &str, options: &ParseOptions) -> Result<Ast, ParseError> {
    parse_while(text, options, &|| true)
}

/// The same, for as long as `goes_on` says so, which is asked every few hundred nodes and before
/// each regular expression, since to compile one takes longer than to read it. Once it says no,
/// the result is an error.
pub fn parse_while(
    text: &str,
    options: &ParseOptions,
    goes_on: &dyn Fn() -> bool,
) -> Result<Ast, ParseError> {
    let mut parser = Parser { goes_on, ..Parser::limited(text, options)? };
    let root = parser.expression().map_err(|fault| fault.at(text))?;
    check::check(&mut parser.nodes, root, text).map_err(|fault| fault.at(text))?;
    Ok(Ast { nodes: parser.nodes, root, durations: parser.durations })
}

/// Parses a selector that stands alone, as `match[]` has it. The API, unlike a query, says
/// itself what it thinks of one that matches everything.
pub fn parse_selector(text: &str, options: &ParseOptions) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::limited(text, options)?;
    parser.lone_selector().map_err(|fault| fault.at(text))
}

/// A fault before its place is told as line and column.
#[derive(Debug)]
struct Fault {
    span: Span,
    message: String,
}

impl Fault {
    fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into() }
    }

    fn at(self, text: &str) -> ParseError {
        let position = Position::of(text, self.span.start);
        ParseError { span: self.span, position, message: self.message }
    }
}

type Parsed<T> = Result<T, Fault>;

struct Parser<'a> {
    lexer: Lexer<'a>,
    text: &'a str,
    options: ParseOptions,
    nodes: Vec<Node>,
    durations: Vec<DurationNode>,
    /// The token read last, taken or only looked at.
    last: Token<'a>,
    is_looked_at: bool,
    /// End of the last bracket, brace, parenthesis, number or duration that was read.
    ///
    /// COMPAT: what ends there ends here, even if that token was only looked at.
    last_closing: u32,
    /// Aggregations whose arguments are being read.
    aggregates_open: usize,
    /// Whether anybody waits for the result.
    goes_on: &'a dyn Fn() -> bool,
}

impl<'a> Parser<'a> {
    fn limited(text: &'a str, options: &ParseOptions) -> Result<Self, ParseError> {
        let text_bytes_max = options.text_bytes_max.min(u32::MAX as usize);
        if text.len() > text_bytes_max {
            let message = format!("query is {} bytes long, limit {text_bytes_max}", text.len());
            return Err(Fault::new(Span::default(), message).at(text));
        }
        Ok(Self {
            lexer: Lexer::new(text),
            text,
            options: *options,
            nodes: Vec::new(),
            durations: Vec::new(),
            last: Token { kind: Kind::Eof, start: 0, text: "" },
            is_looked_at: false,
            last_closing: 0,
            aggregates_open: 0,
            goes_on: &|| true,
        })
    }

    /// The kind of the next token, which stays where it is.
    fn peek(&mut self) -> Parsed<Kind> {
        if !self.is_looked_at {
            let end = self.text.len() as u32;
            self.last = self
                .lexer
                .next_token()
                .map_err(|e| Fault::new(Span { start: e.start, end }, e.message))?;
            self.is_looked_at = true;
            if matches!(
                self.last.kind,
                Kind::RightBrace
                    | Kind::RightParen
                    | Kind::RightBracket
                    | Kind::Number
                    | Kind::Duration
            ) {
                self.last_closing = self.last.end();
            }
        }
        Ok(self.last.kind)
    }

    /// Takes the token that was looked at.
    fn take(&mut self) -> Token<'a> {
        // The end is found again as often as it is looked for.
        self.is_looked_at = self.last.kind == Kind::Eof;
        self.last
    }

    /// Takes the next token if it is of this kind.
    fn take_if(&mut self, kind: Kind) -> Parsed<Option<Token<'a>>> {
        Ok((self.peek()? == kind).then(|| self.take()))
    }

    /// "unexpected …" about the token read last.
    fn unexpected(&self, context: &str, expected: &str) -> Fault {
        let mut message = format!("unexpected {}", self.last.description());
        for (link, part) in [(" in ", context), (", expected ", expected)] {
            if !part.is_empty() {
                message.push_str(link);
                message.push_str(part);
            }
        }
        Fault::new(self.last.span(), message)
    }

    /// A fault where nobody waits any more.
    fn look(&self) -> Parsed<()> {
        if (self.goes_on)() {
            return Ok(());
        }
        Err(Fault::new(self.last.span(), "reading the query was broken off"))
    }

    fn push(&mut self, expr: Expr, span: Span, value_type: ValueType) -> Parsed<NodeId> {
        const NODES_PER_LOOK: usize = 256;
        self.check_size(span)?;
        if self.nodes.len() % NODES_PER_LOOK == NODES_PER_LOOK - 1 {
            self.look()?;
        }
        self.nodes.push(Node { expr, span, value_type });
        Ok(NodeId(self.nodes.len() as u32 - 1))
    }

    fn check_size(&self, span: Span) -> Parsed<()> {
        if self.nodes.len() + self.durations.len() < self.options.nodes_max {
            return Ok(());
        }
        let message = format!("query has too many parts, limit {}", self.options.nodes_max);
        Err(Fault::new(span, message))
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    fn span(&self, id: NodeId) -> Span {
        self.node(id).span
    }

    fn value_type(&self, id: NodeId) -> ValueType {
        self.node(id).value_type
    }
}
