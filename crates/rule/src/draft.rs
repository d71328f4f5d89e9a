//! A rule as its author wrote it, before it is checked.

use std::time::Duration;

/// A rule as written; [`crate::Rule::check`] is the only way to a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Its name, unique on its machine; characters as in one level of a series name.
    pub name: String,
    /// The condition, an expression that is true or false; none counts as always true and is for
    /// derived readings only.
    pub when: Option<String>,
    /// What ends it: an expression; none stands for the condition being false. Apart from the
    /// condition it makes a hysteresis.
    pub until: Option<String>,
    /// How long the condition must hold before the rule acts.
    pub hold: Duration,
    /// How long after it acted the rule does not act again.
    pub cooldown: Duration,
    /// Age from which a newest reading counts as stale.
    pub stale_after: Duration,
    /// How often it may act.
    pub limit: Limit,
    /// Only say what it would do.
    pub dry_run: bool,
    /// What it does.
    pub action: DraftAction,
}

/// At most so many acts in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many; at least one.
    pub count: u32,
    /// In which time.
    pub per: Duration,
}

impl DraftAction {
    /// What kind of action it is, as in the configuration.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Command { .. } => "command",
            Self::Derive { .. } => "derive",
            Self::Alarm { .. } => "alarm",
        }
    }
}

/// What a rule does, as written. The `safe` value takes the place of the other when an input is
/// stale or bad; without one, nothing is done then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DraftAction {
    /// Send a command.
    Command {
        /// To which machine, by name or id.
        machine: String,
        /// What.
        name: String,
        /// With what: an expression; JSON is one.
        arguments: String,
        /// With what when blind.
        safe: Option<String>,
        /// Time until the command's deadline.
        deadline: Duration,
    },
    /// Publish a reading.
    Derive {
        /// The series.
        series: String,
        /// Its unit.
        unit: String,
        /// Its value: an expression.
        value: String,
        /// Its value when blind; its quality is uncertain then.
        safe: Option<String>,
    },
    /// Raise an alarm, and clear it when the condition ends.
    Alarm {
        /// How urgent: `low`, `high` or `critical`.
        priority: String,
        /// What it means, for people.
        text: String,
    },
}
