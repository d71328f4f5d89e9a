//! Expressions: CEL source, checked once, then evaluated with the values of its series.

use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, SourceInfo};
use cel::common::types::{CelBool, CelDouble, CelString};
use cel::common::value::CowVal;
use cel::context::VariableResolver;
use cel::objects::Key;
use cel::parser::Parser;
use cel::{Context, Env, ExecutionError};
use command::Argument;
use model::Value;

use crate::Place;
use crate::error::EvalError;
use crate::functions::{Function, SeriesCall};

/// A checked expression. Series calls stand in it as variables, by their place in a list.
#[derive(Clone, Debug)]
pub(crate) struct Expression {
    root: IdedExpr,
}

/// Why a source is no expression of a rule, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) place: Option<Place>,
    pub(crate) message: String,
}

/// The values of series calls, in the order of the list; `None` where there is none.
#[derive(Debug, Default)]
pub(crate) struct Slots(pub(crate) Vec<Option<Value>>);

/// The functions and operators that expressions share.
#[derive(Clone)]
pub(crate) struct Language(Arc<Env>);

impl std::fmt::Debug for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Language")
    }
}

impl Default for Language {
    fn default() -> Self {
        Self(Arc::new(Env::stdlib()))
    }
}

impl Expression {
    /// Longest source. Unit: bytes. Source: guess.
    pub(crate) const BYTES_MAX: usize = 4 * 1024;
    /// Most nodes. Source: guess; an evaluation takes that many steps at most.
    pub(crate) const NODES_MAX: usize = 256;
    /// Deepest nesting. Source: guess, far below what the stack bears.
    const DEPTH_MAX: u16 = 32;

    /// Checks a source; adds the series that it calls to `calls` where they are not there yet.
    pub(crate) fn check(source: &str, calls: &mut Vec<SeriesCall>) -> Result<Self, Refused> {
        if source.len() > Self::BYTES_MAX {
            let message = format!("longer than {} bytes", Self::BYTES_MAX);
            return Err(Refused {
                place: None,
                message,
            });
        }
        let parser = Parser::new().max_recursion_depth(Self::DEPTH_MAX);
        let (mut root, positions) = parser
            .parse_with_source_info(source)
            .map_err(|errors| refused_by_parser(&errors))?;
        let mut check = Check {
            source,
            positions,
            calls,
            nodes: 0,
        };
        check.visit(&mut root)?;
        let expression = Self { root };
        expression.try_out(calls.len()).map_err(|message| Refused {
            place: Some(Place { line: 1, column: 1 }),
            message,
        })?;
        Ok(expression)
    }

    /// Its value.
    pub(crate) fn evaluate(
        &self,
        language: &Language,
        slots: &Slots,
        calls: &[SeriesCall],
    ) -> Result<Argument, EvalError> {
        let mut context = Context::with_env(Arc::clone(&language.0));
        context.set_variable_resolver(slots);
        match cel::Value::resolve_val(&self.root, &context) {
            Ok(value) => {
                if let Some(truth) = value.downcast_ref::<CelBool>() {
                    return Ok(Argument::Bool(*truth.inner()));
                }
                let value = cel::Value::try_from(value.as_ref());
                value
                    .map_err(|error| EvalError::Failed(error.to_string()))
                    .and_then(|value| argument(&value, 0))
            }
            Err(ExecutionError::UndeclaredReference(name)) => {
                let call = place_of(&name).and_then(|place| calls.get(place));
                let series = call.map_or_else(|| name.to_string(), |call| call.pattern.to_string());
                Err(EvalError::Blind(series))
            }
            Err(error) => Err(EvalError::Failed(shorten(&error.to_string()))),
        }
    }

    /// Whether it has a value with some types of series at all.
    fn try_out(&self, calls: usize) -> Result<(), String> {
        let samples = [
            Value::F64(1.0),
            Value::Bool(true),
            Value::Text("on".to_owned()),
        ];
        let mut first = None;
        for sample in samples {
            let slots = Slots(vec![Some(sample); calls]);
            match self.evaluate(&Language::default(), &slots, &[]) {
                Ok(_) => return Ok(()),
                Err(error) => _ = first.get_or_insert(error.to_string()),
            }
        }
        let error = first.unwrap_or_default();
        Err(format!(
            "it has no value whatever the series are: {error} (numbers of series are doubles: \
             write 1.0 instead of 1 in arithmetic)"
        ))
    }
}

impl VariableResolver for Slots {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let value = self.0.get(place_of(variable)?)?.as_ref()?;
        Some(match value {
            Value::F64(number) => CowVal::owned(CelDouble::from(*number)),
            Value::I64(_) => CowVal::owned(CelDouble::from(value.as_f64()?)),
            Value::Bool(truth) => CowVal::owned(CelBool::from(*truth)),
            Value::Text(text) => CowVal::owned(CelString::from(text.as_str())),
            Value::Null | Value::Bytes(_) => return None,
        })
    }
}

/// The name of the variable that stands for a series call.
fn variable(place: usize) -> String {
    format!("${place}")
}

fn place_of(variable: &str) -> Option<usize> {
    variable.strip_prefix('$')?.parse().ok()
}

/// One pass over a parsed source.
struct Check<'a> {
    source: &'a str,
    positions: SourceInfo,
    calls: &'a mut Vec<SeriesCall>,
    nodes: usize,
}

impl Check<'_> {
    fn visit(&mut self, node: &mut IdedExpr) -> Result<(), Refused> {
        self.nodes += 1;
        if self.nodes > Expression::NODES_MAX {
            let message = format!("more than {} operations and values", Expression::NODES_MAX);
            return Err(self.refuse(node.id, message));
        }
        match &mut node.expr {
            Expr::Literal(_) => Ok(()),
            Expr::List(list) => list.elements.iter_mut().try_for_each(|e| self.visit(e)),
            Expr::Map(map) => map
                .entries
                .iter_mut()
                .try_for_each(|entry| match &mut entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        self.visit(&mut entry.key)?;
                        self.visit(&mut entry.value)
                    }
                    EntryExpr::StructField(field) => self.visit(&mut field.value),
                }),
            Expr::Call(_) => self.visit_call(node),
            Expr::Ident(name) => {
                let message = format!(
                    "`{name}` is not known here; a series is last(\"{name}\"), a text is in quotes"
                );
                Err(self.refuse(node.id, message))
            }
            Expr::Select(select) => {
                let message = format!("`.{}`: values here have no fields", select.field);
                Err(self.refuse(node.id, message))
            }
            Expr::Comprehension(_) => {
                let message = "macros are not allowed in rules, because they loop; \
                               use the series functions over a duration";
                Err(self.refuse(node.id, message))
            }
            Expr::Struct(_) | Expr::Unspecified => {
                Err(self.refuse(node.id, "there are no such values here"))
            }
        }
    }

    fn visit_call(&mut self, node: &mut IdedExpr) -> Result<(), Refused> {
        let id = node.id;
        let Expr::Call(call) = &mut node.expr else {
            return Ok(());
        };
        if let Some(function) = Function::from_name(&call.func_name) {
            let series = SeriesCall::read(function, call);
            let series = series.map_err(|message| self.refuse(id, message))?;
            let known = self.calls.iter().position(|known| *known == series);
            let place = known.unwrap_or(self.calls.len());
            if known.is_none() {
                self.calls.push(series);
            }
            node.expr = Expr::Ident(variable(place));
            return Ok(());
        }
        let is_operator = !call
            .func_name
            .starts_with(|c: char| c.is_ascii_alphabetic());
        if !is_operator && !FUNCTIONS.contains(&call.func_name.as_str()) {
            let message = format!(
                "there is no function `{}`; there are last, avg, min, max, rate, count and {}",
                call.func_name,
                FUNCTIONS.join(", ")
            );
            return Err(self.refuse(id, message));
        }
        if let Some(target) = &mut call.target {
            self.visit(target)?;
        }
        call.args
            .iter_mut()
            .try_for_each(|argument| self.visit(argument))
    }

    fn refuse(&self, id: u64, message: impl Into<String>) -> Refused {
        let offset = self.positions.offset_for(id).map(|(start, _)| start);
        let place = offset.and_then(|offset| {
            let before: String = self
                .source
                .chars()
                .take(usize::try_from(offset).ok()?)
                .collect();
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            Some(Place { line, column })
        });
        Refused {
            place,
            message: message.into(),
        }
    }
}

fn refused_by_parser(errors: &cel::ParseErrors) -> Refused {
    let Some(error) = errors.errors.first() else {
        return Refused {
            place: None,
            message: "it is no expression".to_owned(),
        };
    };
    let (line, column) = error.pos;
    let place = usize::try_from(line).ok().zip(usize::try_from(column).ok());
    Refused {
        place: place.map(|(line, column)| Place { line, column }),
        message: shorten(&error.msg),
    }
}

/// A CEL value as an argument of a command.
fn argument(value: &cel::Value, depth: usize) -> Result<Argument, EvalError> {
    if depth > Argument::DEPTH_MAX {
        return Err(EvalError::Failed("lists and maps nest too deep".to_owned()));
    }
    let refused = |what: &str| EvalError::Failed(format!("{what} is no value of a rule"));
    Ok(match value {
        cel::Value::Null => Argument::Null,
        cel::Value::Bool(truth) => Argument::Bool(*truth),
        cel::Value::Int(number) => Argument::I64(*number),
        cel::Value::UInt(number) => match i64::try_from(*number) {
            Ok(number) => Argument::I64(number),
            Err(_) => return Err(refused("an integer beyond 63 bits")),
        },
        cel::Value::Float(number) => Argument::F64(*number),
        cel::Value::String(text) => Argument::Text(text.to_string()),
        cel::Value::Bytes(bytes) => Argument::Bytes(bytes.to_vec()),
        cel::Value::List(items) => {
            let items = items.iter().map(|item| argument(item, depth + 1));
            Argument::List(items.collect::<Result<_, _>>()?)
        }
        cel::Value::Map(map) => {
            let members = map.map.iter().map(|(key, member)| match key {
                Key::String(key) => Ok((key.to_string(), argument(member, depth + 1)?)),
                Key::Int(_) | Key::Uint(_) | Key::Bool(_) => {
                    Err(refused("a map whose key is no text"))
                }
            });
            Argument::Map(members.collect::<Result<_, _>>()?)
        }
        cel::Value::Function(..) | cel::Value::Opaque(_) | cel::Value::Struct(_) => {
            return Err(refused("that"));
        }
    })
}

fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(MESSAGE_CHARS_MAX).collect()
}

/// Functions beside operators and series functions: none loops over more than its arguments.
const FUNCTIONS: [&str; 8] = [
    "int",
    "double",
    "string",
    "bool",
    "size",
    "contains",
    "startsWith",
    "endsWith",
];
/// Longest message of CEL that is passed on. Unit: characters. Source: guess.
const MESSAGE_CHARS_MAX: usize = 300;

#[cfg(test)]
mod tests;
