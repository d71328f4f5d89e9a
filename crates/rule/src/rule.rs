//! A checked rule.

use std::time::Duration;

use command::CommandName;
use model::{Labels, SeriesName, Unit};

use crate::expression::{Expression, Refused};
use crate::functions::SeriesCall;
use crate::{CheckError, Draft, DraftAction};

/// A checked rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// As written; two rules with equal drafts are the same rule.
    pub(crate) draft: Draft,
    pub(crate) calls: Vec<SeriesCall>,
    pub(crate) when: Option<Expression>,
    pub(crate) until: Option<Expression>,
    pub(crate) action: Action,
}

/// What a rule does, checked.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Command {
        machine: String,
        name: CommandName,
        arguments: Expression,
        safe: Option<Expression>,
        deadline: Duration,
    },
    Derive {
        series: SeriesName,
        unit: Unit,
        value: Expression,
        safe: Option<Expression>,
    },
    Alarm {
        series: SeriesName,
        priority: String,
        text: String,
    },
}

impl Rule {
    /// Longest name. Unit: bytes. Source: guess.
    pub const NAME_BYTES_MAX: usize = 63;
    /// Most series calls of one rule. Source: guess.
    pub const CALLS_MAX: usize = 32;

    /// Checks a rule.
    ///
    /// # Errors
    ///
    /// [`CheckError`]: the first thing that is wrong, and where.
    pub fn check(draft: Draft) -> Result<Self, CheckError> {
        let check = Check { rule: &draft.name };
        check.name(&draft.name)?;
        check.times(&draft)?;
        let mut calls = Vec::new();
        let when = check.optional("when", draft.when.as_deref(), &mut calls)?;
        let until = check.optional("until", draft.until.as_deref(), &mut calls)?;
        let action = check.action(&draft.action, &draft.name, &mut calls)?;
        if when.is_none() && !matches!(action, Action::Derive { .. }) {
            return Err(check.refuse("when", "a rule with this action needs a condition"));
        }
        if until.is_some() && matches!(action, Action::Derive { .. }) {
            return Err(check.refuse("until", "a derived reading has no end; leave it out"));
        }
        if calls.is_empty() {
            let message = "it looks at no series, so that nothing would ever set it off";
            return Err(check.refuse("when", message));
        }
        if calls.len() > Self::CALLS_MAX {
            let message = format!("it looks at more than {} series", Self::CALLS_MAX);
            return Err(check.refuse("when", message));
        }
        Ok(Self {
            calls,
            when,
            until,
            action,
            draft,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.draft.name
    }

    /// The series that it looks at, as patterns, and how far back at most.
    pub fn series(&self) -> impl Iterator<Item = (&model::Pattern, Option<Duration>)> {
        self.calls.iter().map(|call| (&call.pattern, call.window))
    }

    /// As written.
    #[must_use]
    pub const fn draft(&self) -> &Draft {
        &self.draft
    }
}

/// The checks of one rule.
struct Check<'a> {
    rule: &'a str,
}

impl Check<'_> {
    fn refuse(&self, field: &'static str, message: impl Into<String>) -> CheckError {
        CheckError {
            rule: self.rule.to_owned(),
            field,
            place: None,
            message: message.into(),
        }
    }

    fn name(&self, name: &str) -> Result<(), CheckError> {
        if name.len() > Rule::NAME_BYTES_MAX || name.contains('/') {
            let message = "a name has at most 63 bytes and no `/`";
            return Err(self.refuse("name", message));
        }
        let checked = name.parse::<SeriesName>().map(|_| ());
        checked.map_err(|error| self.refuse("name", error.to_string()))
    }

    fn times(&self, draft: &Draft) -> Result<(), CheckError> {
        if draft.limit.count == 0 || draft.limit.per.is_zero() {
            return Err(self.refuse("limit", "it would never act; allow at least one act"));
        }
        if draft.stale_after.is_zero() {
            return Err(self.refuse("stale_after", "every reading would be stale at once"));
        }
        let longest = [
            draft.hold,
            draft.cooldown,
            draft.stale_after,
            draft.limit.per,
        ];
        if longest.iter().any(|time| *time > TIME_MAX) {
            return Err(self.refuse("for", "times of a rule are at most seven days"));
        }
        Ok(())
    }

    fn expression(
        &self,
        field: &'static str,
        source: &str,
        calls: &mut Vec<SeriesCall>,
    ) -> Result<Expression, CheckError> {
        Expression::check(source, calls).map_err(|Refused { place, message }| CheckError {
            place,
            ..self.refuse(field, message)
        })
    }

    fn optional(
        &self,
        field: &'static str,
        source: Option<&str>,
        calls: &mut Vec<SeriesCall>,
    ) -> Result<Option<Expression>, CheckError> {
        let source = source.map(|source| self.expression(field, source, calls));
        source.transpose()
    }

    /// A safe value must not depend on what may be stale.
    fn safe(&self, source: Option<&str>) -> Result<Option<Expression>, CheckError> {
        let mut calls = Vec::new();
        let safe = self.optional("safe", source, &mut calls)?;
        if calls.is_empty() {
            return Ok(safe);
        }
        let message = "a safe value looks at no series: it is for when they are stale";
        Err(self.refuse("safe", message))
    }

    fn action(
        &self,
        draft: &DraftAction,
        rule: &str,
        calls: &mut Vec<SeriesCall>,
    ) -> Result<Action, CheckError> {
        Ok(match draft {
            DraftAction::Command {
                machine,
                name,
                arguments,
                safe,
                deadline,
            } => Action::Command {
                machine: machine.clone(),
                name: self.parse("command.name", name)?,
                arguments: self.expression("command.arguments", arguments, calls)?,
                safe: self.safe(safe.as_deref())?,
                deadline: *deadline,
            },
            DraftAction::Derive {
                series,
                unit,
                value,
                safe,
            } => Action::Derive {
                series: self.parse("derive.series", series)?,
                unit: self.parse("derive.unit", unit)?,
                value: self.expression("derive.value", value, calls)?,
                safe: self.safe(safe.as_deref())?,
            },
            DraftAction::Alarm { priority, text } => {
                if !PRIORITIES.contains(&priority.as_str()) {
                    let message = format!("a priority is one of {}", PRIORITIES.join(", "));
                    return Err(self.refuse("alarm.priority", message));
                }
                let labels = [("text".to_owned(), text.clone())];
                Labels::new(labels.into())
                    .map_err(|error| self.refuse("alarm.text", error.to_string()))?;
                Action::Alarm {
                    series: self.parse("name", &format!("{ALARM_PREFIX}{rule}"))?,
                    priority: priority.clone(),
                    text: text.clone(),
                }
            }
        })
    }

    fn parse<T: std::str::FromStr<Err = model::NameError>>(
        &self,
        field: &'static str,
        text: &str,
    ) -> Result<T, CheckError> {
        text.parse()
            .map_err(|error: model::NameError| self.refuse(field, error.to_string()))
    }
}

/// Where alarms stand among the series of a machine.
pub const ALARM_PREFIX: &str = SeriesName::ALARM_PREFIX;

/// Whether a series is an alarm.
#[must_use]
pub fn is_alarm(series: &SeriesName) -> bool {
    series.is_alarm()
}

/// How urgent an alarm can be.
const PRIORITIES: [&str; 3] = ["low", "high", "critical"];
/// Longest time of a rule. Source: guess.
const TIME_MAX: Duration = Duration::from_hours(7 * 24);
