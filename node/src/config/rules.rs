//! `[[rule]]`: local reactions to readings.

use std::collections::BTreeSet;

use rule::{Draft, DraftAction, Limit, Rule};
use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::check::duration;

/// `[[rule]]`: a condition over series, and one of `command`, `derive` and `alarm`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleSettings {
    /// Unique on this machine.
    pub name: String,
    /// The condition, in CEL.
    pub when: Option<String>,
    /// What ends it, in CEL; without it, the condition being false.
    pub until: Option<String>,
    /// How long the condition must hold, as a duration.
    #[serde(rename = "for")]
    pub hold: String,
    /// How long after an act there is none, as a duration.
    pub cooldown: String,
    /// Age from which a newest reading is stale, as a duration.
    pub stale_after: String,
    /// Most acts in `per`.
    pub at_most: u32,
    /// The time that `at_most` is for, as a duration.
    pub per: String,
    /// Only say what it would do.
    pub dry_run: bool,
    /// Send a command.
    pub command: Option<RuleCommandSettings>,
    /// Publish a reading.
    pub derive: Option<RuleDeriveSettings>,
    /// Raise an alarm.
    pub alarm: Option<RuleAlarmSettings>,
}

/// The command that a rule sends.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RuleCommandSettings {
    /// To which machine, by name or id, or `self`.
    pub machine: String,
    /// What.
    pub name: String,
    /// With what, in CEL; JSON is CEL.
    #[serde(default = "null")]
    pub arguments: String,
    /// With what when an input is stale or bad; without it, nothing is sent then.
    pub safe: Option<String>,
    /// Time until the deadline, as a duration.
    #[serde(default = "deadline")]
    pub deadline: String,
}

/// The reading that a rule derives.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RuleDeriveSettings {
    /// Its series.
    pub series: String,
    /// Its unit.
    #[serde(default)]
    pub unit: String,
    /// Its value, in CEL.
    pub value: String,
    /// Its value when an input is stale or bad; without it, null.
    pub safe: Option<String>,
}

/// The alarm that a rule raises: a reading of `alarm/NAME`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RuleAlarmSettings {
    /// `low`, `high` or `critical`.
    pub priority: String,
    /// What it means, for people.
    pub text: String,
}

impl Default for RuleSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            when: None,
            until: None,
            hold: "0s".to_owned(),
            cooldown: "0s".to_owned(),
            stale_after: "1m".to_owned(),
            at_most: 60,
            per: "1m".to_owned(),
            dry_run: false,
            command: None,
            derive: None,
            alarm: None,
        }
    }
}

/// Checks rules, and that no two have one name.
///
/// # Errors
///
/// [`ConfigError::Value`]: the first thing that is wrong, and where in its expression.
pub fn check_rules(settings: &[RuleSettings]) -> Result<Vec<Rule>, ConfigError> {
    let mut names = BTreeSet::new();
    let mut rules = Vec::new();
    for settings in settings {
        if !names.insert(&settings.name) {
            let problem = format!("{} stands twice", settings.name);
            return Err(ConfigError::value("rule.name", problem));
        }
        let rule = Rule::check(settings.draft()?);
        rules.push(rule.map_err(|error| ConfigError::value("rule", error))?);
    }
    if rules.len() > rule::Rules::RULES_MAX {
        let problem = format!("there are more than {}", rule::Rules::RULES_MAX);
        return Err(ConfigError::value("rule", problem));
    }
    Ok(rules)
}

impl RuleSettings {
    fn draft(&self) -> Result<Draft, ConfigError> {
        Ok(Draft {
            name: self.name.clone(),
            when: self.when.clone(),
            until: self.until.clone(),
            hold: duration("rule.for", &self.hold)?,
            cooldown: duration("rule.cooldown", &self.cooldown)?,
            stale_after: duration("rule.stale_after", &self.stale_after)?,
            limit: Limit {
                count: self.at_most,
                per: duration("rule.per", &self.per)?,
            },
            dry_run: self.dry_run,
            action: self.action()?,
        })
    }

    fn action(&self) -> Result<DraftAction, ConfigError> {
        match (&self.command, &self.derive, &self.alarm) {
            (Some(command), None, None) => Ok(DraftAction::Command {
                machine: command.machine.clone(),
                name: command.name.clone(),
                arguments: command.arguments.clone(),
                safe: command.safe.clone(),
                deadline: duration("rule.command.deadline", &command.deadline)?,
            }),
            (None, Some(derive), None) => Ok(DraftAction::Derive {
                series: derive.series.clone(),
                unit: derive.unit.clone(),
                value: derive.value.clone(),
                safe: derive.safe.clone(),
            }),
            (None, None, Some(alarm)) => Ok(DraftAction::Alarm {
                priority: alarm.priority.clone(),
                text: alarm.text.clone(),
            }),
            _ => {
                let problem = format!(
                    "`{}` needs exactly one of command, derive and alarm",
                    self.name
                );
                Err(ConfigError::value("rule", problem))
            }
        }
    }
}

fn null() -> String {
    "null".to_owned()
}

fn deadline() -> String {
    "5s".to_owned()
}
