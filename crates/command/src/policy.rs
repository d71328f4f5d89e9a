//! Who may do what: the caller's membership and the target's own policy, both of which must agree.
//!
//! # Not here
//!
//! Whether a membership is genuine and valid now (`identity`).

use std::collections::{BTreeMap, BTreeSet};

use identity::{Grant, Role};
use model::Pattern;

use crate::{Argument, Code, CommandName, RangeError, Status};

/// What a caller's membership lets it ask of this machine.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    is_own: bool,
    names: BTreeSet<String>,
    patterns: Vec<Pattern>,
}

impl Rights {
    /// The rights that a membership grants towards the machine that answers to `target_names`.
    ///
    /// Without the role `command` there are none. A pattern that names another machine, or that
    /// does not read, grants nothing.
    #[must_use]
    pub fn of(grant: &Grant, target_names: &BTreeSet<String>) -> Self {
        let names = [grant.machine.to_string(), grant.name.clone()];
        let is_here = |pattern: &Pattern| {
            let machine = pattern.machine();
            machine.is_none_or(|machine| target_names.contains(machine))
        };
        let patterns = grant.commands.iter().filter_map(|text| text.parse().ok());
        let patterns = patterns.filter(is_here);
        Self {
            is_own: false,
            names: names.into(),
            patterns: if grant.roles.contains(&Role::Command) {
                patterns.collect()
            } else {
                Vec::new()
            },
        }
    }

    /// The rights of this machine towards itself: whoever may speak for it may command it, also
    /// during maintenance. Ranges hold nevertheless.
    #[must_use]
    pub fn own() -> Self {
        Self {
            is_own: true,
            ..Self::default()
        }
    }

    fn grant(&self, name: &CommandName) -> bool {
        self.is_own || self.patterns.iter().any(|pattern| name.fits(pattern))
    }
}

/// What this machine lets others do.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Nothing that changes anything is done for others now.
    pub maintenance: bool,
    /// What is allowed; the first entry that fits decides.
    pub allow: Vec<Allowance>,
}

/// One entry of a policy.
#[derive(Clone, Debug)]
pub struct Allowance {
    /// Which commands.
    pub pattern: Pattern,
    /// Whose, by name or id; none stands for everyone whose membership allows it.
    pub callers: Vec<String>,
    /// What members of the argument must be like, by name.
    pub arguments: BTreeMap<String, Range>,
}

impl Allowance {
    /// An entry that lets everyone with the right do what fits.
    #[must_use]
    pub const fn everyone(pattern: Pattern) -> Self {
        Self {
            pattern,
            callers: Vec::new(),
            arguments: BTreeMap::new(),
        }
    }

    fn fits(&self, rights: &Rights, name: &CommandName) -> bool {
        let is_named = || {
            self.callers
                .iter()
                .any(|caller| rights.names.contains(caller))
        };
        name.fits(&self.pattern) && (rights.is_own || self.callers.is_empty() || is_named())
    }
}

/// What a member of an argument must be like. It must be there.
#[derive(Clone, Debug, PartialEq)]
pub enum Range {
    /// A number within bounds, both inclusive.
    Number {
        /// The least that is allowed.
        min: f64,
        /// The most that is allowed.
        max: f64,
    },
    /// One of these words.
    Words(BTreeSet<String>),
}

impl Range {
    /// The range of these settings.
    ///
    /// # Errors
    ///
    /// [`RangeError`] if nothing or not everything of them can be met.
    pub fn new(
        min: Option<f64>,
        max: Option<f64>,
        words: BTreeSet<String>,
    ) -> Result<Self, RangeError> {
        match (min, max, words.is_empty()) {
            (None, None, false) => Ok(Self::Words(words)),
            (None, None, true) | (_, _, false) => Err(RangeError),
            (min, max, true) => {
                let min = min.unwrap_or(f64::NEG_INFINITY);
                let max = max.unwrap_or(f64::INFINITY);
                if min <= max {
                    Ok(Self::Number { min, max })
                } else {
                    Err(RangeError)
                }
            }
        }
    }

    fn check(&self, name: &str, value: Option<&Argument>) -> Result<(), Status> {
        let wrong = |wanted: &str| {
            let message = format!("the argument needs a member `{name}` that is {wanted}");
            Err(Status::new(Code::InvalidArgument, message))
        };
        match (self, value) {
            (Self::Number { min, max }, Some(value)) => {
                let Some(number) = number(value) else {
                    return wrong("a number");
                };
                if *min <= number && number <= *max {
                    return Ok(());
                }
                let message = format!("`{name}` is {number}; this machine allows {min} to {max}");
                Err(Status::new(Code::OutOfRange, message))
            }
            (Self::Words(words), Some(Argument::Text(word))) => {
                if words.contains(word) {
                    return Ok(());
                }
                let allowed = words
                    .iter()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", ");
                let message = format!("`{name}` is none of the words that are allowed: {allowed}");
                Err(Status::new(Code::OutOfRange, message))
            }
            (Self::Number { .. }, None) => wrong("a number"),
            (Self::Words(_), _) => wrong("text"),
        }
    }
}

impl Policy {
    /// Whether a caller may use a command at all, before its argument is looked at; `is_safe` says
    /// that the command changes nothing.
    ///
    /// # Errors
    ///
    /// [`Code::PermissionDenied`] or [`Code::FailedPrecondition`], with what to do about it.
    pub fn permit(&self, rights: &Rights, name: &CommandName, is_safe: bool) -> Result<(), Status> {
        if !rights.grant(name) {
            let message = "the membership does not allow this command; \
                           ask the operator to admit the caller with a pattern that fits";
            return Err(Status::new(Code::PermissionDenied, message));
        }
        if rights.is_own {
            return Ok(());
        }
        if self.find(rights, name).is_none() {
            let message = "this machine's policy does not allow this command; \
                           add it to [[commands.allow]] of its configuration";
            return Err(Status::new(Code::PermissionDenied, message));
        }
        if self.maintenance && !is_safe {
            let message = "this machine is locked for maintenance; try again later";
            return Err(Status::new(Code::FailedPrecondition, message));
        }
        Ok(())
    }

    /// Whether the argument of a permitted command is one that is allowed.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidArgument`] or [`Code::OutOfRange`], naming the member.
    pub fn check(
        &self,
        rights: &Rights,
        name: &CommandName,
        argument: &Argument,
    ) -> Result<(), Status> {
        let Some(allowance) = self.find(rights, name) else {
            return Ok(());
        };
        let mut ranges = allowance.arguments.iter();
        ranges.try_for_each(|(member, range)| range.check(member, argument.get(member)))
    }

    fn find(&self, rights: &Rights, name: &CommandName) -> Option<&Allowance> {
        self.allow
            .iter()
            .find(|allowance| allowance.fits(rights, name))
    }
}

/// A number as a double; an integer beyond 2⁵³ is rounded, which no range can tell.
fn number(value: &Argument) -> Option<f64> {
    match value {
        Argument::F64(number) => Some(*number),
        #[expect(clippy::cast_precision_loss, reason = "documented: rounded to nearest")]
        Argument::I64(number) => Some(*number as f64),
        Argument::Null
        | Argument::Bool(_)
        | Argument::Text(_)
        | Argument::Bytes(_)
        | Argument::List(_)
        | Argument::Map(_) => None,
    }
}

#[cfg(test)]
mod tests;
