//! Walks the trees: control flow, variables, pipelines.
//!
//! Depth, steps, time and output are bounded; what reaches a bound ends with an error that names
//! it. [`super::call`] evaluates what stands within a command.

use std::time::Instant;

use super::expander::World;
use super::parse::Trees;
use super::print::Room;
use super::tree::{Branch, Call, Command, Node, Operand, Pipe, Range, Tree};
use super::value::Value;
use super::writer::Writer;
use crate::model::go_quote;

/// Lists of nodes and parentheses within each other, over all templates that call one another.
const DEPTH_MAX: usize = 250;

/// How many steps go by between two looks at the clock.
const STEPS_UNSEEN: u64 = 256;

/// Where the walk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Break,
    Continue,
}

/// What is being evaluated; error texts show it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'t> {
    Nowhere,
    Operand(&'t Operand),
    Pipe(&'t Pipe),
    Command(&'t Command),
    Call(&'t Call),
}

/// One expansion. Errors are whole texts, as Go gives them.
pub(super) struct Machine<'t> {
    pub(super) world: &'t World<'t>,
    trees: &'t Trees,
    tree: &'t Tree,
    pub(super) place: Place<'t>,
    variables: Vec<(&'t str, Value)>,
    depth: usize,
    steps: u64,
    deadline: Instant,
    writer: Writer,
}

impl<'t> Machine<'t> {
    pub(super) fn new(
        world: &'t World<'t>,
        trees: &'t Trees,
        tree: &'t Tree,
        writer: Writer,
    ) -> Self {
        Self {
            world,
            trees,
            tree,
            place: Place::Nowhere,
            variables: Vec::new(),
            depth: 0,
            steps: 0,
            deadline: Instant::now() + world.limits.timeout,
            writer,
        }
    }

    /// Expands the template with `dot` and gives what was written.
    pub(super) fn run(mut self, dot: &Value) -> Result<String, String> {
        self.variables.push(("$", dot.clone()));
        let tree = self.tree;
        self.walk(dot, &tree.root)?;
        Ok(self.writer.finish())
    }

    pub(super) fn error(&self, message: impl std::fmt::Display) -> String {
        let (at, context) = match self.place {
            Place::Nowhere => {
                return format!("template: {}: {message}", self.tree.name);
            }
            Place::Operand(operand) => (operand.at, operand.to_string()),
            Place::Pipe(pipe) => (pipe.at, pipe.to_string()),
            Place::Command(command) => (command.at, command.to_string()),
            Place::Call(call) => (call.at, call.to_string()),
        };
        let location = self.tree.source.location(at);
        let name = go_quote(&self.tree.name);
        format!("template: {location}: executing {name} at <{context}>: {message}")
    }

    pub(super) fn room(&self) -> Room {
        Room { bytes_max: self.world.limits.output_bytes_max }
    }

    /// Counts a step and looks whether the expansion may go on.
    pub(super) fn step(&mut self) -> Result<(), String> {
        self.steps += 1;
        let steps_max = self.world.limits.steps_max;
        if self.steps > steps_max {
            return Err(self.error(format!("more than {steps_max} steps")));
        }
        if self.steps.is_multiple_of(STEPS_UNSEEN) {
            self.look_at_clock()?;
        }
        Ok(())
    }

    /// Fails when the time is up or the expansion is cancelled.
    pub(super) fn look_at_clock(&self) -> Result<(), String> {
        if self.world.queries.is_cancelled() {
            return Err(self.error("the expansion was cancelled"));
        }
        if Instant::now() > self.deadline {
            let timeout = self.world.limits.timeout.as_secs_f64();
            return Err(self.error(format!("took longer than {timeout} s")));
        }
        Ok(())
    }

    pub(super) fn descend(&mut self) -> Result<(), String> {
        if self.depth == DEPTH_MAX {
            return Err(self.error(format!("exceeded maximum template depth ({DEPTH_MAX})")));
        }
        self.depth += 1;
        Ok(())
    }

    pub(super) fn ascend(&mut self) {
        self.depth -= 1;
    }

    fn walk(&mut self, dot: &Value, nodes: &'t [Node]) -> Result<Flow, String> {
        self.descend()?;
        for node in nodes {
            self.step()?;
            let flow = match node {
                Node::Text(text) => {
                    self.writer.text(text);
                    self.check_output()?;
                    Flow::Next
                }
                Node::Action(pipe) => {
                    let value = self.pipeline(dot, pipe)?;
                    if pipe.variables.is_empty() {
                        let room = self.room();
                        self.writer.value(&value, pipe, room);
                        self.check_output()?;
                    }
                    Flow::Next
                }
                Node::Branch(branch) => self.branch(dot, branch)?,
                Node::Range(range) => self.range(dot, range)?,
                Node::Template(call) => {
                    self.call(dot, call)?;
                    Flow::Next
                }
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::Next {
                self.ascend();
                return Ok(flow);
            }
        }
        self.ascend();
        Ok(Flow::Next)
    }

    fn check_output(&self) -> Result<(), String> {
        let bytes_max = self.world.limits.output_bytes_max;
        if self.writer.length() > bytes_max {
            return Err(self.error(format!("output is longer than {bytes_max} bytes")));
        }
        Ok(())
    }

    fn branch(&mut self, dot: &Value, branch: &'t Branch) -> Result<Flow, String> {
        let mark = self.variables.len();
        for (pipe, body) in &branch.arms {
            let value = self.pipeline(dot, pipe)?;
            if value.is_true() {
                let dot = if branch.is_with { &value } else { dot };
                let flow = self.walk(dot, body)?;
                self.variables.truncate(mark);
                return Ok(flow);
            }
        }
        let flow = self.walk(dot, &branch.otherwise)?;
        self.variables.truncate(mark);
        Ok(flow)
    }

    fn range(&mut self, dot: &Value, range: &'t Range) -> Result<Flow, String> {
        let outer = self.variables.len();
        let value = self.pipeline(dot, &range.pipe)?;
        let mark = self.variables.len();
        let mut is_empty = true;
        for (key, element) in self.turns(&value, range)? {
            is_empty = false;
            self.step()?;
            self.set_range_variables(range, key, &element, mark)?;
            let flow = self.walk(&element, &range.body)?;
            self.variables.truncate(mark);
            if flow == Flow::Break {
                break;
            }
        }
        let flow = if is_empty { self.walk(dot, &range.otherwise)? } else { Flow::Next };
        self.variables.truncate(outer);
        Ok(flow)
    }

    /// Keys and elements that a range goes through.
    fn turns(&self, value: &Value, range: &Range) -> Result<Turns, String> {
        Ok(match value {
            Value::Missing | Value::Nil | Value::Sample(None) => Box::new(std::iter::empty()),
            Value::Int(_, _) | Value::Byte(_) | Value::DurationPointer(_) => {
                let (count, of): (i64, fn(i64, &Value) -> Value) = match value {
                    Value::Byte(count) => (i64::from(*count), |i, _| Value::Byte(i as u8)),
                    Value::Int(count, _) => (*count, |i, whole| match whole {
                        Value::Int(_, kind) => Value::Int(i, *kind),
                        _ => Value::int(i),
                    }),
                    Value::DurationPointer(count) => {
                        (*count, |i, _| Value::Int(i, super::value::Integer::Duration))
                    }
                    _ => (0, |i, _| Value::int(i)),
                };
                if range.pipe.variables.len() > 1 {
                    let shown = super::print::shown(value, self.room());
                    return Err(self.error(format!(
                        "can't use {shown} to iterate over more than one variable"
                    )));
                }
                let whole = value.clone();
                Box::new((0..count).map(move |i| (Value::Missing, of(i, &whole))))
            }
            Value::Labels(labels) => {
                let pairs: Vec<_> = labels
                    .iter()
                    .map(|(name, text)| (Value::text(name), Value::text(text)))
                    .collect();
                Box::new(pairs.into_iter())
            }
            Value::Map(map) => {
                let pair =
                    |(name, value): (&String, &Value)| (Value::text(name.as_str()), value.clone());
                Box::new(map.entries.iter().map(pair).collect::<Vec<_>>().into_iter())
            }
            Value::TextLists(lists) => {
                let pair = |(name, texts): (&String, &std::sync::Arc<[_]>)| {
                    (Value::text(name.as_str()), Value::Texts(std::sync::Arc::clone(texts)))
                };
                Box::new(lists.iter().map(pair).collect::<Vec<_>>().into_iter())
            }
            Value::Samples(_) | Value::Floats(_) | Value::Texts(_) => {
                let list = value.clone();
                let count = list.length().unwrap_or(0);
                let element = move |at| (Value::int(at as i64), list.element(at));
                Box::new(
                    (0..count)
                        .map(element)
                        .map(|(at, element)| (at, element.unwrap_or(Value::Missing))),
                )
            }
            _ => {
                let shown = super::print::shown(value, self.room());
                return Err(self.error(format!("range can't iterate over {shown}")));
            }
        })
    }

    fn set_range_variables(
        &mut self,
        range: &'t Range,
        key: Value,
        element: &Value,
        mark: usize,
    ) -> Result<(), String> {
        let pipe = &range.pipe;
        match pipe.variables.as_slice() {
            [] => {}
            [only] if pipe.assigns => self.set(only, element.clone())?,
            [first, second, ..] if pipe.assigns => {
                self.set(first, key)?;
                self.set(second, element.clone())?;
            }
            // The pipeline has put the variables on top.
            [_] => self.variables[mark - 1].1 = element.clone(),
            [_, _, ..] => {
                self.variables[mark - 1].1 = element.clone();
                self.variables[mark - 2].1 = key;
            }
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: Value) -> Result<(), String> {
        match self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            Some(variable) => {
                variable.1 = value;
                Ok(())
            }
            None => Err(self.error(format!("undefined variable: {name}"))),
        }
    }

    pub(super) fn variable(&self, name: &str) -> Result<Value, String> {
        match self.variables.iter().rev().find(|(known, _)| *known == name) {
            Some((_, value)) => Ok(value.clone()),
            None => Err(self.error(format!("undefined variable: {name}"))),
        }
    }

    fn call(&mut self, dot: &Value, call: &'t Call) -> Result<(), String> {
        self.place = Place::Call(call);
        let trees = self.trees;
        let Some(tree) = trees.get(&call.name) else {
            return Err(self.error(format!("template {} not defined", go_quote(&call.name))));
        };
        let dot = match &call.pipe {
            Some(pipe) => self.pipeline(dot, pipe)?,
            None => Value::Missing,
        };
        self.expand_tree(tree, &dot)
    }

    /// Expands another template of the set; it sees none of the variables here.
    fn expand_tree(&mut self, tree: &'t Tree, dot: &Value) -> Result<(), String> {
        let outer_tree = std::mem::replace(&mut self.tree, tree);
        let outer_place = self.place;
        let outer = std::mem::replace(&mut self.variables, vec![("$", dot.clone())]);
        self.walk(dot, &tree.root)?;
        self.variables = outer;
        self.place = outer_place;
        self.tree = outer_tree;
        Ok(())
    }

    /// What the template of that name makes of `dot`, as a page of its own.
    pub(super) fn expand_apart(&mut self, name: &str, dot: &Value) -> Result<String, String> {
        let trees = self.trees;
        let Some(tree) = trees.get(name) else {
            let (name, root) = (go_quote(name), go_quote(&self.world.name));
            return Err(format!("html/template: {name} is undefined in {root}"));
        };
        let apart = self.writer.another();
        let outer = std::mem::replace(&mut self.writer, apart);
        self.expand_tree(tree, dot)?;
        Ok(std::mem::replace(&mut self.writer, outer).finish())
    }

    pub(super) fn pipeline(&mut self, dot: &Value, pipe: &'t Pipe) -> Result<Value, String> {
        self.place = Place::Pipe(pipe);
        let mut value = None;
        for command in &pipe.commands {
            let result = self.command(dot, command, value)?;
            // An interface is what it holds.
            value = Some(if matches!(result, Value::Nil) { Value::Missing } else { result });
        }
        let value = value.unwrap_or(Value::Missing);
        for name in &pipe.variables {
            if pipe.assigns {
                self.set(name, value.clone())?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }
}

/// What a range goes through.
type Turns = Box<dyn Iterator<Item = (Value, Value)>>;
