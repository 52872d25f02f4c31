//! Commands: operands, fields, and functions with their arguments.
//!
//! COMPAT: which values a parameter takes, and what is said where it takes none, is what Go's
//! reflection makes of it.

use std::fmt;

use super::functions::{Function, function_of};
use super::member::{self, Found};
use super::tree::{Command, Operand, Term};
use super::value::{Integer, Value};
use super::walk::{Machine, Place};

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Param {
    Text,
    /// Anything, nothing included.
    Any,
    /// Anything, as reflection has it: nothing stays nothing.
    Reflected,
    Sample,
    Samples,
    Int,
    Duration,
    Time,
}

impl fmt::Display for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "string",
            Self::Any => "interface {}",
            Self::Reflected => "reflect.Value",
            Self::Sample => "*template.sample",
            Self::Samples => "template.queryResult",
            Self::Int => "int",
            Self::Duration => "time.Duration",
            Self::Time => "time.Time",
        })
    }
}

impl<'t> Machine<'t> {
    /// A command's value; `last` is that of the command before it.
    pub(super) fn command(
        &mut self,
        dot: &Value,
        command: &'t Command,
        last: Option<Value>,
    ) -> Result<Value, String> {
        self.step()?;
        let words = command.words.as_slice();
        let first = &words[0];
        match &first.term {
            Term::Field(names) => {
                self.place = Place::Operand(first);
                self.fields(dot, dot.clone(), false, first, names, words, last)
            }
            Term::Chain(inner, names) => {
                let value = self.chain_base(dot, first, inner)?;
                self.fields(dot, value, false, first, names, words, last)
            }
            Term::Function(name) => {
                self.place = Place::Operand(first);
                self.function(dot, name, Place::Command(command), words, last)
            }
            Term::Parens(pipe) => {
                self.refuse_arguments(words, last.as_ref())?;
                self.parens(dot, pipe)
            }
            Term::Variable(names) => {
                self.place = Place::Operand(first);
                let value = self.variable(&names[0])?;
                if names.len() == 1 {
                    self.refuse_arguments(words, last.as_ref())?;
                    return Ok(value);
                }
                self.fields(dot, value, false, first, &names[1..], words, last)
            }
            _ => {
                self.place = Place::Operand(first);
                self.refuse_arguments(words, last.as_ref())?;
                match &first.term {
                    Term::Nil => Err(self.error("nil is not a command")),
                    _ => self.literal(dot, first),
                }
            }
        }
    }

    fn parens(&mut self, dot: &Value, pipe: &'t super::tree::Pipe) -> Result<Value, String> {
        self.descend()?;
        let value = self.pipeline(dot, pipe)?;
        self.ascend();
        Ok(value)
    }

    fn refuse_arguments(&self, words: &[Operand], last: Option<&Value>) -> Result<(), String> {
        if words.len() > 1 || last.is_some() {
            return Err(self.error(format!("can't give argument to non-function {}", words[0])));
        }
        Ok(())
    }

    /// The value whose fields a chain names.
    fn chain_base(
        &mut self,
        dot: &Value,
        chain: &'t Operand,
        inner: &'t Operand,
    ) -> Result<Value, String> {
        self.place = Place::Operand(chain);
        match &inner.term {
            Term::Parens(pipe) => {
                self.place = Place::Operand(inner);
                self.parens(dot, pipe)
            }
            Term::Function(name) => {
                self.place = Place::Operand(inner);
                self.function(dot, name, Place::Operand(inner), &[], None)
            }
            _ => self.literal(dot, inner),
        }
    }

    /// A constant, or the dot.
    fn literal(&mut self, dot: &Value, word: &'t Operand) -> Result<Value, String> {
        self.place = Place::Operand(word);
        Ok(match &word.term {
            Term::Bool(value) => Value::Bool(*value),
            Term::Dot => dot.clone(),
            Term::Text(_, value) => Value::Text(value.clone()),
            Term::Number(number) => {
                if let Some((real, imaginary)) = number.complex {
                    Value::Complex(real, imaginary)
                } else if let (Some(float), true) = (number.float, number.looks_like_float()) {
                    Value::Float(float)
                } else if let Some(integer) = number.integer {
                    Value::int(integer)
                } else {
                    return Err(self.error(format!("{} overflows int", number.text)));
                }
            }
            _ => return Err(self.error(format!("can't evaluate command \"{word}\""))),
        })
    }

    /// Follows `names` from `receiver`; the last one is given the arguments. `is_interface`: what
    /// holds the receiver can hold anything.
    #[expect(clippy::too_many_arguments, reason = "a command in its parts")]
    fn fields(
        &mut self,
        dot: &Value,
        mut receiver: Value,
        mut is_interface: bool,
        node: &'t Operand,
        names: &'t [String],
        words: &'t [Operand],
        last: Option<Value>,
    ) -> Result<Value, String> {
        let (last_name, before) = names.split_last().expect("BUG: a chain names a field");
        for name in before {
            (receiver, is_interface) =
                self.field(dot, &receiver, is_interface, node, name, &[], None)?;
        }
        let found = self.field(dot, &receiver, is_interface, node, last_name, words, last)?;
        Ok(found.0)
    }

    #[expect(clippy::too_many_arguments, reason = "a command in its parts")]
    fn field(
        &mut self,
        dot: &Value,
        receiver: &Value,
        is_interface: bool,
        node: &'t Operand,
        name: &'t str,
        words: &'t [Operand],
        last: Option<Value>,
    ) -> Result<(Value, bool), String> {
        self.step()?;
        let type_name = if is_interface { "interface {}" } else { receiver.type_name() };
        let has_arguments = words.len() > 1 || last.is_some();
        match member::find(receiver, name) {
            Found::Nothing => Ok((Value::Missing, false)),
            Found::Method(method) => {
                let value =
                    self.apply(dot, method, Some(receiver), Place::Operand(node), words, last)?;
                Ok((value, false))
            }
            Found::Field(value, holds_anything) => {
                if has_arguments {
                    return Err(self
                        .error(format!("{name} has arguments but cannot be invoked as function")));
                }
                Ok((value, holds_anything))
            }
            Found::Entry(value, holds_anything) => {
                if has_arguments {
                    return Err(self.error(format!("{name} is not a method but has arguments")));
                }
                Ok((value, holds_anything))
            }
            Found::OfNil => Err(self.error(format!("nil pointer evaluating {type_name}.{name}"))),
            Found::Unknown => {
                Err(self.error(format!("can't evaluate field {name} in type {type_name}")))
            }
        }
    }

    fn function(
        &mut self,
        dot: &Value,
        name: &str,
        node: Place<'t>,
        words: &'t [Operand],
        last: Option<Value>,
    ) -> Result<Value, String> {
        match function_of(name, self.world.is_html) {
            Some(function) => self.apply(dot, function, None, node, words, last),
            None => Err(self.error(format!("\"{name}\" is not a defined function"))),
        }
    }

    /// Evaluates the arguments and calls the function; the first word is its name.
    fn apply(
        &mut self,
        dot: &Value,
        function: &'static Function,
        receiver: Option<&Value>,
        node: Place<'t>,
        words: &'t [Operand],
        last: Option<Value>,
    ) -> Result<Value, String> {
        let name = function.name;
        let written = words.get(1..).unwrap_or_default();
        let count = written.len() + usize::from(last.is_some());
        let fixed = function.fixed.len();
        if function.rest.is_some() {
            if count < fixed {
                let got = written.len();
                return Err(self.error(format!(
                    "wrong number of args for {name}: want at least {fixed} got {got}"
                )));
            }
        } else if count != fixed {
            return Err(
                self.error(format!("wrong number of args for {name}: want {fixed} got {count}"))
            );
        }
        if receiver.is_none() && matches!(name, "and" | "or") {
            return self.decide(dot, name == "or", written, last);
        }
        let param = |at: usize| {
            function.fixed.get(at).copied().or(function.rest).expect("BUG: arguments were counted")
        };
        let mut values = Vec::with_capacity(count + 1);
        values.extend(receiver.cloned());
        for (at, word) in written.iter().enumerate() {
            values.push(self.argument(dot, param(at), word)?);
        }
        if let Some(last) = last {
            values.push(self.fit(last, param(written.len()))?);
        }
        let result = if receiver.is_none() && name == "call" {
            let callee = written.first().map_or_else(
                || values[0].as_text().map_or_else(String::new, ToString::to_string),
                ToString::to_string,
            );
            Err(not_callable(&values[0], &callee))
        } else if receiver.is_none() && name == "tmpl" {
            let template = values[0].as_text().cloned().unwrap_or_default();
            self.expand_apart(&template, &values[1]).map(|text| Value::Html(text.into()))
        } else {
            (function.body)(self.world, self.room(), &values)
        };
        self.place_result(node, name, result)
    }

    /// A function's result, unless it failed or is too long.
    fn place_result(
        &mut self,
        node: Place<'t>,
        name: &str,
        result: Result<Value, String>,
    ) -> Result<Value, String> {
        if name == "query" {
            self.look_at_clock()?;
        }
        let bytes_max = self.world.limits.output_bytes_max;
        let result = match result {
            Ok(value) if value.as_text().is_some_and(|text| text.len() > bytes_max) => {
                Err(format!("the result is longer than {bytes_max} bytes"))
            }
            other => other,
        };
        result.map_err(|message| {
            self.place = node;
            self.error(format!("error calling {name}: {message}"))
        })
    }

    /// `and` and `or`: the first argument that decides, or the last.
    fn decide(
        &mut self,
        dot: &Value,
        decides: bool,
        written: &'t [Operand],
        last: Option<Value>,
    ) -> Result<Value, String> {
        let mut value = Value::Missing;
        for word in written {
            value = self.argument(dot, Param::Reflected, word)?;
            if value.is_true() == decides {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    /// The value of a word as an argument.
    fn argument(&mut self, dot: &Value, param: Param, word: &'t Operand) -> Result<Value, String> {
        self.place = Place::Operand(word);
        let value = match &word.term {
            Term::Dot => dot.clone(),
            Term::Nil => {
                return match param {
                    Param::Any => Ok(Value::Nil),
                    Param::Reflected => Ok(Value::Missing),
                    Param::Sample => Ok(Value::Sample(None)),
                    Param::Samples => Ok(Value::Samples([].into())),
                    _ => Err(self.error(format!("cannot assign nil to {param}"))),
                };
            }
            Term::Field(names) => self.fields(dot, dot.clone(), false, word, names, &[], None)?,
            Term::Variable(names) => {
                let value = self.variable(&names[0])?;
                if names.len() == 1 {
                    value
                } else {
                    self.fields(dot, value, false, word, &names[1..], &[], None)?
                }
            }
            Term::Parens(pipe) => self.parens(dot, pipe)?,
            Term::Function(name) => self.function(dot, name, Place::Operand(word), &[], None)?,
            Term::Chain(inner, names) => {
                let value = self.chain_base(dot, word, inner)?;
                self.fields(dot, value, false, word, names, &[], None)?
            }
            _ => return self.constant(dot, param, word),
        };
        self.fit(value, param)
    }

    /// A constant as an argument.
    fn constant(&mut self, dot: &Value, param: Param, word: &'t Operand) -> Result<Value, String> {
        match (param, &word.term) {
            (Param::Any | Param::Reflected, _) => self.literal(dot, word),
            (Param::Text, Term::Text(_, value)) => Ok(Value::Text(value.clone())),
            (Param::Text, _) => Err(self.error(format!("expected string; found {word}"))),
            (Param::Int | Param::Duration, term) => {
                let integer = match term {
                    Term::Number(number) => number.integer,
                    _ => None,
                };
                let kind = if param == Param::Int { Integer::Int } else { Integer::Duration };
                integer
                    .map(|integer| Value::Int(integer, kind))
                    .ok_or_else(|| self.error(format!("expected integer; found {word}")))
            }
            _ => Err(self.error(format!("can't handle {word} for arg of type {param}"))),
        }
    }

    /// The value as the parameter's type, where it can be had.
    fn fit(&self, value: Value, param: Param) -> Result<Value, String> {
        let fits = match (param, &value) {
            (Param::Any, Value::Missing) => return Ok(Value::Nil),
            (Param::Sample, Value::Missing) => return Ok(Value::Sample(None)),
            (Param::Samples, Value::Missing) => return Ok(Value::Samples([].into())),
            (Param::Text | Param::Int | Param::Duration | Param::Time, Value::Missing) => {
                return Err(self.error(format!("invalid value; expected {param}")));
            }
            (Param::Time, Value::TimePointer(time)) => return Ok(Value::Time(*time)),
            (Param::Duration, Value::DurationPointer(ns)) => {
                return Ok(Value::Int(*ns, Integer::Duration));
            }
            (Param::Reflected | Param::Any, _)
            | (Param::Text, Value::Text(_))
            | (Param::Sample, Value::Sample(_))
            | (Param::Samples, Value::Samples(_))
            | (Param::Int, Value::Int(_, Integer::Int))
            | (Param::Duration, Value::Int(_, Integer::Duration))
            | (Param::Time, Value::Time(_)) => true,
            _ => false,
        };
        if fits {
            return Ok(value);
        }
        let got = value.type_name();
        Err(self.error(format!("wrong type for value; expected {param}; got {got}")))
    }
}

/// Nothing that templates are given can be called.
fn not_callable(value: &Value, callee: &str) -> String {
    if matches!(value, Value::Missing | Value::Nil) {
        return "call of nil".to_owned();
    }
    format!("non-function {callee} of type {}", value.type_name())
}
