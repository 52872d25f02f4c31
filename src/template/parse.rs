//! From tokens to trees.
//!
//! Nesting is bounded, so that neither reading nor walking nor dropping a tree can exhaust the
//! stack; chains of `else if` do not nest.
//!
//! COMPAT: grammar and error texts are those of Go's `text/template/parse`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lex::{Keyword, Kind, Lexer, Token};
use super::literal::{Number, Written, unquote};
use super::tree::{Branch, Call, Command, Node, Operand, Pipe, Range, Source, Term, Tree};
use crate::model::go_quote;

/// Blocks within blocks, and parentheses within parentheses, at most.
const NESTING_MAX: usize = 100;

/// Templates by name.
pub(super) type Trees = BTreeMap<String, Tree>;

/// Reads a text and adds the template of that name, and those that it defines, to `trees`.
/// `is_function` tells which functions there are. The error is Go's text.
pub(super) fn parse(
    name: &str,
    text: &str,
    is_function: &dyn Fn(&str) -> bool,
    trees: &mut Trees,
) -> Result<(), String> {
    let source = Arc::new(Source { name: name.to_owned(), text: text.to_owned() });
    let mut parser = Parser {
        lexer: Lexer::new(text),
        source: Arc::clone(&source),
        is_function,
        ahead: Vec::new(),
        line: 1,
        action_line: 0,
        scope: Scope::default(),
        nesting: 0,
        read: Trees::new(),
    };
    let root = parser.top()?;
    parser.add(name.to_owned(), root)?;
    for (name, tree) in parser.read {
        // What says nothing does not replace what does.
        if !tree.is_empty() || !trees.contains_key(&name) {
            trees.insert(name, tree);
        }
    }
    Ok(())
}

/// What belongs to the template being read, and not to one that surrounds it.
#[derive(Debug)]
struct Scope {
    variables: Vec<String>,
    ranges: usize,
}

impl Default for Scope {
    fn default() -> Self {
        Self { variables: vec!["$".to_owned()], ranges: 0 }
    }
}

/// What ended a list of nodes.
enum Ended {
    End,
    Else,
}

/// A node, or the end of the list that it would stand in.
enum Item {
    Node(Node),
    Ended(Ended),
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    source: Arc<Source>,
    is_function: &'t dyn Fn(&str) -> bool,
    /// Tokens that were put back; the last one is the next.
    ahead: Vec<Token<'t>>,
    /// Of the token read last.
    line: usize,
    /// Of the action being read; 0 outside.
    action_line: usize,
    scope: Scope,
    nesting: usize,
    read: Trees,
}

impl<'t> Parser<'t> {
    fn next(&mut self) -> Token<'t> {
        if let Some(token) = self.ahead.pop() {
            return token;
        }
        let token = self.lexer.next();
        self.line = token.line;
        token
    }

    fn next_word(&mut self) -> Token<'t> {
        loop {
            let token = self.next();
            if token.kind != Kind::Space {
                return token;
            }
        }
    }

    fn peek(&mut self) -> &Token<'t> {
        if self.ahead.is_empty() {
            let token = self.next();
            self.ahead.push(token);
        }
        self.ahead.last().expect("BUG: a token was put there")
    }

    fn peek_word(&mut self) -> &Token<'t> {
        let token = self.next_word();
        self.ahead.push(token);
        self.peek()
    }

    fn error(&self, message: impl std::fmt::Display) -> String {
        format!("template: {}:{}: {message}", self.source.name, self.line)
    }

    fn unexpected(&self, token: &Token<'t>, context: &str) -> String {
        if token.kind != Kind::Error {
            return self.error(format!("unexpected {token} in {context}"));
        }
        let mut extra = String::new();
        if self.action_line != 0 && self.action_line != token.line {
            let place = format!("{}:{}", self.source.name, self.action_line);
            let begin = if token.text.ends_with(" action") { "" } else { " in action" };
            extra = format!("{begin} started at {place}");
        }
        self.error(format!("{token}{extra}"))
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Result<Token<'t>, String> {
        let token = self.next_word();
        if token.kind == kind { Ok(token) } else { Err(self.unexpected(&token, context)) }
    }

    fn add(&mut self, name: String, root: Vec<Node>) -> Result<(), String> {
        let tree = Tree { name, source: Arc::clone(&self.source), root };
        match self.read.get(&tree.name) {
            Some(known) if !known.is_empty() => {
                if tree.is_empty() {
                    return Ok(());
                }
                let name = go_quote(&tree.name);
                Err(self.error(format!("template: multiple definition of template {name}")))
            }
            _ => {
                self.read.insert(tree.name.clone(), tree);
                Ok(())
            }
        }
    }

    fn top(&mut self) -> Result<Vec<Node>, String> {
        let mut nodes = Vec::new();
        loop {
            match self.peek().kind {
                Kind::End => return Ok(nodes),
                Kind::LeftDelim => {
                    let delim = self.next();
                    if self.peek_word().kind == Kind::Keyword(Keyword::Define) {
                        self.next();
                        self.definition()?;
                        continue;
                    }
                    self.ahead.push(delim);
                }
                _ => {}
            }
            match self.text_or_action()? {
                Item::Node(node) => nodes.push(node),
                Item::Ended(Ended::End) => return Err(self.error("unexpected {{end}}")),
                Item::Ended(Ended::Else) => return Err(self.error("unexpected {{else}}")),
            }
        }
    }

    fn definition(&mut self) -> Result<(), String> {
        const CONTEXT: &str = "define clause";
        let outside = std::mem::take(&mut self.scope);
        let token = self.next_word();
        let name = self.template_name(&token, CONTEXT)?;
        self.expect(Kind::RightDelim, CONTEXT)?;
        let root = self.whole_list(CONTEXT)?;
        self.add(name, root)?;
        self.scope = outside;
        Ok(())
    }

    /// A list that `end` must end.
    fn whole_list(&mut self, context: &str) -> Result<Vec<Node>, String> {
        match self.list()? {
            (nodes, Ended::End) => Ok(nodes),
            (_, Ended::Else) => Err(self.error(format!("unexpected {{{{else}}}} in {context}"))),
        }
    }

    fn list(&mut self) -> Result<(Vec<Node>, Ended), String> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            return Err(self.error(format!("more than {NESTING_MAX} blocks within each other")));
        }
        let mut nodes = Vec::new();
        while self.peek_word().kind != Kind::End {
            match self.text_or_action()? {
                Item::Node(node) => nodes.push(node),
                Item::Ended(ended) => {
                    self.nesting -= 1;
                    return Ok((nodes, ended));
                }
            }
        }
        Err(self.error("unexpected EOF"))
    }

    fn text_or_action(&mut self) -> Result<Item, String> {
        let token = self.next_word();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(token.text.into_owned()))),
            Kind::LeftDelim => {
                self.action_line = token.line;
                let item = self.action();
                self.action_line = 0;
                item
            }
            _ => Err(self.unexpected(&token, "input")),
        }
    }

    fn action(&mut self) -> Result<Item, String> {
        let token = self.next_word();
        let Kind::Keyword(keyword) = token.kind else {
            self.ahead.push(token);
            return Ok(Item::Node(Node::Action(self.pipeline("command", Kind::RightDelim)?)));
        };
        let node = match keyword {
            Keyword::Block => self.block()?,
            Keyword::Break => self.leave("{{break}}", Node::Break)?,
            Keyword::Continue => self.leave("{{continue}}", Node::Continue)?,
            Keyword::Else => {
                // What `else if` and `else with` begin is read by whom they belong to.
                let is_chain =
                    matches!(self.peek_word().kind, Kind::Keyword(Keyword::If | Keyword::With));
                if !is_chain {
                    self.expect(Kind::RightDelim, "else")?;
                }
                return Ok(Item::Ended(Ended::Else));
            }
            Keyword::End => {
                self.expect(Kind::RightDelim, "end")?;
                return Ok(Item::Ended(Ended::End));
            }
            Keyword::If => self.branch("if", Keyword::If)?,
            Keyword::With => self.branch("with", Keyword::With)?,
            Keyword::Range => self.range()?,
            Keyword::Template => self.template()?,
            Keyword::Dot | Keyword::Define | Keyword::Nil => {
                self.ahead.push(token);
                Node::Action(self.pipeline("command", Kind::RightDelim)?)
            }
        };
        Ok(Item::Node(node))
    }

    fn leave(&mut self, written: &str, node: Node) -> Result<Node, String> {
        let token = self.next_word();
        if token.kind != Kind::RightDelim {
            return Err(self.unexpected(&token, written));
        }
        if self.scope.ranges == 0 {
            return Err(self.error(format!("{written} outside {{{{range}}}}")));
        }
        Ok(node)
    }

    fn branch(&mut self, context: &str, keyword: Keyword) -> Result<Node, String> {
        let mark = self.scope.variables.len();
        let mut branch =
            Branch { is_with: keyword == Keyword::With, arms: Vec::new(), otherwise: Vec::new() };
        loop {
            let pipe = self.pipeline(context, Kind::RightDelim)?;
            let (body, ended) = self.list()?;
            branch.arms.push((pipe, body));
            match ended {
                Ended::End => break,
                Ended::Else if self.peek().kind == Kind::Keyword(keyword) => {
                    self.next();
                }
                Ended::Else => {
                    branch.otherwise = self.last_list()?;
                    break;
                }
            }
        }
        self.scope.variables.truncate(mark);
        Ok(Node::Branch(branch))
    }

    /// What stands behind `else`.
    fn last_list(&mut self) -> Result<Vec<Node>, String> {
        match self.list()? {
            (nodes, Ended::End) => Ok(nodes),
            (_, Ended::Else) => Err(self.error("expected end; found {{else}}")),
        }
    }

    fn range(&mut self) -> Result<Node, String> {
        let mark = self.scope.variables.len();
        let pipe = self.pipeline("range", Kind::RightDelim)?;
        self.scope.ranges += 1;
        let (body, ended) = self.list()?;
        self.scope.ranges -= 1;
        let otherwise = match ended {
            Ended::End => Vec::new(),
            Ended::Else => self.last_list()?,
        };
        self.scope.variables.truncate(mark);
        Ok(Node::Range(Range { pipe, body, otherwise }))
    }

    fn block(&mut self) -> Result<Node, String> {
        const CONTEXT: &str = "block clause";
        let token = self.next_word();
        let name = self.template_name(&token, CONTEXT)?;
        let pipe = self.pipeline(CONTEXT, Kind::RightDelim)?;
        let outside = std::mem::take(&mut self.scope);
        let root = self.whole_list(CONTEXT)?;
        self.add(name.clone(), root)?;
        self.scope = outside;
        Ok(Node::Template(Call { at: token.at, name, pipe: Some(pipe) }))
    }

    fn template(&mut self) -> Result<Node, String> {
        const CONTEXT: &str = "template clause";
        let token = self.next_word();
        let name = self.template_name(&token, CONTEXT)?;
        let next = self.next_word();
        let pipe = if next.kind == Kind::RightDelim {
            None
        } else {
            self.ahead.push(next);
            Some(self.pipeline(CONTEXT, Kind::RightDelim)?)
        };
        Ok(Node::Template(Call { at: token.at, name, pipe }))
    }

    fn template_name(&mut self, token: &Token<'t>, context: &str) -> Result<String, String> {
        match token.kind {
            Kind::Quoted | Kind::RawString => {
                unquote(&token.text).map_err(|message| self.error(message))
            }
            _ => Err(self.unexpected(token, context)),
        }
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipe, String> {
        let at = self.peek_word().at;
        let (variables, assigns) = self.declarations(context)?;
        let mut pipe = Pipe { at, variables, assigns, commands: Vec::new() };
        loop {
            let token = self.next_word();
            match token.kind {
                kind if kind == end => {
                    self.check_pipeline(&pipe, context)?;
                    return Ok(pipe);
                }
                Kind::Bool
                | Kind::CharConstant
                | Kind::Complex
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::RawString
                | Kind::Quoted
                | Kind::Variable
                | Kind::LeftParen
                | Kind::Keyword(Keyword::Dot | Keyword::Nil) => {
                    self.ahead.push(token);
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return Err(self.unexpected(&token, context)),
            }
        }
    }

    /// The variables that a pipeline sets, and whether they are there already.
    fn declarations(&mut self, context: &str) -> Result<(Vec<String>, bool), String> {
        let mut variables: Vec<String> = Vec::new();
        while self.peek_word().kind == Kind::Variable {
            let variable = self.next();
            let behind = self.next();
            let next = if behind.kind == Kind::Space { self.next_word() } else { behind.clone() };
            let name = variable.text.to_string();
            match next.kind {
                Kind::Assign | Kind::Declare => {
                    self.scope.variables.push(name.clone());
                    variables.push(name);
                    return Ok((variables, next.kind == Kind::Assign));
                }
                Kind::Char if next.text == "," => {
                    self.scope.variables.push(name.clone());
                    variables.push(name);
                    if context != "range" || variables.len() >= 2 {
                        return Err(self.error(format!("too many declarations in {context}")));
                    }
                    let is_variable = matches!(
                        self.peek_word().kind,
                        Kind::Variable | Kind::RightDelim | Kind::RightParen
                    );
                    if !is_variable {
                        return Err(self.error("range can only initialize variables"));
                    }
                }
                _ => {
                    // The variable is an operand.
                    self.ahead.push(next);
                    if behind.kind == Kind::Space {
                        self.ahead.push(behind);
                    }
                    self.ahead.push(variable);
                    return Ok((variables, false));
                }
            }
        }
        Ok((variables, false))
    }

    fn check_pipeline(&self, pipe: &Pipe, context: &str) -> Result<(), String> {
        if pipe.commands.is_empty() {
            return Err(self.error(format!("missing value for {context}")));
        }
        for (i, command) in pipe.commands.iter().enumerate().skip(1) {
            if matches!(
                command.words[0].term,
                Term::Bool(_) | Term::Dot | Term::Nil | Term::Number(_) | Term::Text(..)
            ) {
                let stage = i + 1;
                let message = format!("non executable command in pipeline stage {stage}");
                return Err(self.error(message));
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Result<Command, String> {
        let at = self.peek_word().at;
        let mut words = Vec::new();
        loop {
            self.peek_word();
            words.extend(self.operand()?);
            let token = self.next();
            match token.kind {
                Kind::Space => continue,
                Kind::RightDelim | Kind::RightParen => self.ahead.push(token),
                Kind::Pipe => {}
                _ => return Err(self.unexpected(&token, "operand")),
            }
            break;
        }
        if words.is_empty() {
            return Err(self.error("empty command"));
        }
        Ok(Command { at, words })
    }

    /// A term and the fields behind it; `None`: the next token begins no operand.
    fn operand(&mut self) -> Result<Option<Operand>, String> {
        let Some(term) = self.term()? else { return Ok(None) };
        if self.peek().kind != Kind::Field {
            return Ok(Some(term));
        }
        let at = self.peek().at;
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(self.next().text[1..].to_owned());
        }
        let term = match term.term {
            Term::Field(mut names) => {
                names.append(&mut fields);
                Term::Field(names)
            }
            Term::Variable(mut names) => {
                names.append(&mut fields);
                Term::Variable(names)
            }
            Term::Bool(_) | Term::Text(..) | Term::Number(_) | Term::Nil | Term::Dot => {
                let text = go_quote(&term.to_string());
                return Err(self.error(format!("unexpected . after term {text}")));
            }
            _ => Term::Chain(Box::new(term), fields),
        };
        Ok(Some(Operand { at, term }))
    }

    fn term(&mut self) -> Result<Option<Operand>, String> {
        let token = self.next_word();
        let at = token.at;
        let text = &*token.text;
        let term = match token.kind {
            Kind::Identifier => {
                if !(self.is_function)(text) {
                    let name = go_quote(text);
                    return Err(self.error(format!("function {name} not defined")));
                }
                Term::Function(text.to_owned())
            }
            Kind::Keyword(Keyword::Dot) => Term::Dot,
            Kind::Keyword(Keyword::Nil) => Term::Nil,
            Kind::Variable => {
                if !self.scope.variables.iter().any(|name| name == text) {
                    let name = go_quote(text);
                    return Err(self.error(format!("undefined variable {name}")));
                }
                Term::Variable(vec![text.to_owned()])
            }
            Kind::Field => Term::Field(vec![text[1..].to_owned()]),
            Kind::Bool => Term::Bool(text == "true"),
            Kind::CharConstant | Kind::Complex | Kind::Number => {
                let written = match token.kind {
                    Kind::CharConstant => Written::Character,
                    Kind::Complex => Written::Complex,
                    _ => Written::Plain,
                };
                Term::Number(Number::parse(text, written).map_err(|message| self.error(message))?)
            }
            Kind::LeftParen => {
                self.nesting += 1;
                if self.nesting > NESTING_MAX {
                    return Err(self.error("max expression depth exceeded"));
                }
                let pipe = self.pipeline("parenthesized pipeline", Kind::RightParen)?;
                self.nesting -= 1;
                Term::Parens(Box::new(pipe))
            }
            Kind::Quoted | Kind::RawString => {
                let value = unquote(text).map_err(|message| self.error(message))?;
                Term::Text(text.to_owned(), value.into())
            }
            _ => {
                self.ahead.push(token);
                return Ok(None);
            }
        };
        Ok(Some(Operand { at, term }))
    }
}
