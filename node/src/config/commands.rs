//! `[commands]`: what this machine lets others do.

use std::collections::{BTreeMap, BTreeSet};

use command::{Allowance, Policy, Range};
use model::Pattern;
use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::commands::{IDENTIFY, PING};

/// `[commands]`: what this machine lets others do. A caller's membership must allow it as well.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommandsSettings {
    /// Nothing that changes anything is done for others now.
    pub maintenance: bool,
    /// `[[commands.allow]]`: the first that fits decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<AllowSettings>,
}

/// `[[commands.allow]]`: one entry.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AllowSettings {
    /// Which commands: `*` one level, `**` any number.
    pub pattern: String,
    /// Whose, by machine name or id; none stands for everyone whose membership allows it.
    pub callers: Vec<String>,
    /// What members of the argument must be like.
    pub arguments: BTreeMap<String, RangeSettings>,
}

/// What a member of an argument must be like: a number within bounds, or one of some words.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RangeSettings {
    /// The least number.
    pub min: Option<f64>,
    /// The greatest number.
    pub max: Option<f64>,
    /// The words.
    pub one_of: BTreeSet<String>,
}

impl CommandsSettings {
    /// Checks every entry. What changes nothing and is built in is always allowed.
    pub(crate) fn check(&self) -> Result<Policy, ConfigError> {
        let mut allow = Vec::new();
        for entry in &self.allow {
            allow.push(entry.check()?);
        }
        let harmless = [PING, IDENTIFY].into_iter();
        let harmless = harmless.filter_map(|name| name.parse::<Pattern>().ok());
        allow.extend(harmless.map(Allowance::everyone));
        Ok(Policy {
            maintenance: self.maintenance,
            allow,
        })
    }
}

impl AllowSettings {
    fn check(&self) -> Result<Allowance, ConfigError> {
        let pattern = self.pattern.parse::<Pattern>();
        let pattern = pattern
            .map_err(|error| ConfigError::value("commands.allow.pattern", error.to_string()))?;
        if pattern.machine().is_some() {
            let message =
                "this machine's policy is for this machine; leave out what stands before `:`";
            return Err(ConfigError::value(
                "commands.allow.pattern",
                message.to_owned(),
            ));
        }
        let mut arguments = BTreeMap::new();
        for (name, range) in &self.arguments {
            let range = Range::new(range.min, range.max, range.one_of.clone());
            let range = range.map_err(|error| {
                let key = format!("commands.allow.arguments.{name}");
                ConfigError::value(&key, error.to_string())
            })?;
            arguments.insert(name.clone(), range);
        }
        Ok(Allowance {
            pattern,
            callers: self.callers.clone(),
            arguments,
        })
    }
}
