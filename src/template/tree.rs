//! What a template is once it is read.
//!
//! Nodes know where they stand in the text and print as Go prints them: error texts show both.

use std::fmt;
use std::sync::Arc;

use super::literal::Number;
use crate::model::go_quote;

/// A template of a set.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) name: String,
    /// The text it was read from, and that text's name.
    pub(super) source: Arc<Source>,
    pub(super) root: Vec<Node>,
}

/// A text that templates were read from.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

impl Source {
    /// `NAME:LINE:COLUMN`; lines count from 1, columns are bytes from 0.
    pub(super) fn location(&self, at: usize) -> String {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let line_at = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |i| i + 1);
        format!("{}:{line}:{}", self.name, at - line_at)
    }
}

impl Tree {
    /// Whether there is nothing but space in it.
    pub(super) fn is_empty(&self) -> bool {
        self.root.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
    }
}

/// A part of a template.
#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    Branch(Branch),
    Range(Range),
    Template(Call),
    Break,
    Continue,
}

/// `if` and `with`.
#[derive(Debug)]
pub(super) struct Branch {
    /// The value becomes the dot.
    pub(super) is_with: bool,
    /// The first one, and those behind `else if`.
    pub(super) arms: Vec<(Pipe, Vec<Node>)>,
    pub(super) otherwise: Vec<Node>,
}

#[derive(Debug)]
pub(super) struct Range {
    pub(super) pipe: Pipe,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// `template`, and what `block` leaves behind.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) at: usize,
    pub(super) name: String,
    pub(super) pipe: Option<Pipe>,
}

/// Commands, each of which is given the value of the one before; the last one's value is set.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) at: usize,
    /// Names of variables, with their `$`.
    pub(super) variables: Vec<String>,
    /// The variables are there already.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// A function, or something else that has a value, and its arguments.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) at: usize,
    /// Never empty.
    pub(super) words: Vec<Operand>,
}

/// A word of a command.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) at: usize,
    pub(super) term: Term,
}

#[derive(Debug)]
pub(super) enum Term {
    Function(String),
    /// `.a.b`
    Field(Vec<String>),
    /// `$x.a.b`: the name with its `$`, then fields.
    Variable(Vec<String>),
    /// Fields of something else.
    Chain(Box<Operand>, Vec<String>),
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    /// As written, and what it means.
    Text(String, Arc<str>),
    Parens(Box<Pipe>),
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{template {}", go_quote(&self.name))?;
        if let Some(pipe) = &self.pipe {
            write!(f, " {pipe}")?;
        }
        f.write_str("}}")
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let sign = if self.assigns { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.variables.join(", "))?;
        }
        for (i, command) in self.commands.iter().enumerate() {
            if i > 0 {
                f.write_str(" | ")?;
            }
            write!(f, "{command}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, word) in self.words.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            match &word.term {
                Term::Parens(pipe) => write!(f, "({pipe})")?,
                _ => write!(f, "{word}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.term {
            Term::Function(name) => f.write_str(name),
            Term::Field(names) => write!(f, ".{}", names.join(".")),
            Term::Variable(names) => f.write_str(&names.join(".")),
            Term::Chain(inner, names) => {
                match &inner.term {
                    Term::Parens(pipe) => write!(f, "({pipe})")?,
                    _ => write!(f, "{inner}")?,
                }
                write!(f, ".{}", names.join("."))
            }
            Term::Dot => f.write_str("."),
            Term::Nil => f.write_str("nil"),
            Term::Bool(value) => write!(f, "{value}"),
            Term::Number(number) => f.write_str(&number.text),
            Term::Text(written, _) => f.write_str(written),
            Term::Parens(pipe) => write!(f, "{pipe}"),
        }
    }
}
