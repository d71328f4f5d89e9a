//! Scenarios: machines with rules and programs, steps, and what must follow from them.
//!
//! A scenario is a TOML file; `heating` is built in. [`run::run`] starts its machines as real
//! processes, takes its steps one after the other, and fails at the first expectation that does
//! not hold in time.
//!
//! # Not here
//!
//! What machines do: that is their configuration's and their programs' ([`Serves`]).

mod client;
mod program;
pub mod run;

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

/// A scenario.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows.
    pub about: String,
    /// Its machines.
    pub machine: Vec<Machine>,
    /// What happens, in this order.
    pub step: Vec<Step>,
}

/// A machine.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// What stands at the end of its configuration.
    #[serde(default)]
    pub config: String,
    /// Commands that a program beside it carries out.
    #[serde(default)]
    pub serves: Vec<Serves>,
}

/// A command that is carried out by publishing a member of its argument.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serves {
    /// The command.
    pub command: String,
    /// The member of its argument.
    pub argument: String,
    /// The series that gets its value; the value is the answer, too.
    pub series: String,
    /// The unit of the series.
    #[serde(default)]
    pub unit: String,
}

/// A step: one of these, and what to say of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What happens, for people.
    pub say: Option<String>,
    /// A program publishes a reading.
    pub publish: Option<Publish>,
    /// A program sends a command.
    pub send: Option<Send>,
    /// Somebody acknowledges an alarm.
    pub acknowledge: Option<Acknowledge>,
    /// A reading must be seen.
    pub expect: Option<Expect>,
    /// An alarm must be seen.
    pub expect_alarm: Option<ExpectAlarm>,
    /// Machines end in order and start again.
    pub restart: Option<Vec<String>>,
    /// Links between these machines and all others are cut.
    pub partition: Option<Vec<String>>,
    /// All links are mended.
    pub heal: Option<bool>,
}

/// A program publishes a reading.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// At which machine.
    pub machine: String,
    /// The series.
    pub series: String,
    /// Its unit.
    #[serde(default)]
    pub unit: String,
    /// A number, a truth value or a text.
    pub value: toml::Value,
}

/// A program sends a command.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// At which machine.
    pub from: String,
    /// To which machine.
    pub to: String,
    /// What.
    pub command: String,
    /// With what.
    pub argument: toml::Value,
    /// The status code of gRPC that it must end with.
    #[serde(default = "ok")]
    pub code: String,
    /// The value that it must be answered with.
    pub answer: Option<toml::Value>,
}

/// Somebody acknowledges an alarm.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledge {
    /// At which machine.
    pub at: String,
    /// Which: `MACHINE:NAME`.
    pub alarm: String,
}

/// A reading that must be seen.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// At which machine.
    pub at: String,
    /// The latest of which series: `MACHINE:NAME`.
    pub series: String,
    /// Its value.
    pub value: toml::Value,
    /// How long it may take.
    #[serde(default = "within")]
    pub within: String,
    /// How long it must stay so.
    #[serde(default = "stays")]
    pub stays: String,
    /// How many readings of the series there must be, all in all.
    pub count: Option<usize>,
}

/// An alarm that must be seen.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectAlarm {
    /// At which machine.
    pub at: String,
    /// Which: `MACHINE:NAME`.
    pub alarm: String,
    /// `raised`, `cleared` or `unknown`.
    pub state: String,
    /// By whom it must have been acknowledged; empty for nobody.
    #[serde(default)]
    pub acknowledged_by: String,
    /// How long it may take.
    #[serde(default = "within")]
    pub within: String,
}

impl Scenario {
    /// Reads a scenario: a file, or the name of one that is built in.
    ///
    /// # Errors
    ///
    /// If there is none, or it names machines that it does not have.
    pub fn load(what: &str) -> anyhow::Result<Self> {
        let built_in = BUILT_IN.iter().find(|(name, _)| *name == what);
        let text = match built_in {
            Some((_, text)) => (*text).to_owned(),
            None => std::fs::read_to_string(Path::new(what)).with_context(|| {
                let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
                format!("cannot read {what}; built in: {}", names.join(", "))
            })?,
        };
        let scenario: Self = toml::from_str(&text).with_context(|| format!("{what} is wrong"))?;
        scenario
            .check()
            .with_context(|| format!("{what} is wrong"))?;
        Ok(scenario)
    }

    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.machine.is_empty(), "it needs machines");
        anyhow::ensure!(self.machine.len() <= MACHINES_MAX, "too many machines");
        for (number, step) in (1..).zip(&self.step) {
            for name in step.machines() {
                let is_known = self.machine.iter().any(|machine| machine.name == name);
                anyhow::ensure!(is_known, "step {number}: there is no machine {name}");
            }
            anyhow::ensure!(
                step.actions() == 1,
                "step {number} must have exactly one of publish, send, acknowledge, expect, \
                 expect_alarm, restart, partition and heal"
            );
        }
        Ok(())
    }
}

impl Step {
    fn actions(&self) -> usize {
        let actions = [
            self.publish.is_some(),
            self.send.is_some(),
            self.acknowledge.is_some(),
            self.expect.is_some(),
            self.expect_alarm.is_some(),
            self.restart.is_some(),
            self.partition.is_some(),
            self.heal.is_some(),
        ];
        actions.into_iter().filter(|is_some| *is_some).count()
    }

    /// The machines at which it takes place.
    fn machines(&self) -> Vec<&str> {
        let mut names = Vec::new();
        names.extend(
            self.publish
                .as_ref()
                .map(|publish| publish.machine.as_str()),
        );
        names.extend(self.send.as_ref().map(|send| send.from.as_str()));
        names.extend(self.acknowledge.as_ref().map(|given| given.at.as_str()));
        names.extend(self.expect.as_ref().map(|expect| expect.at.as_str()));
        names.extend(self.expect_alarm.as_ref().map(|expect| expect.at.as_str()));
        let faults = [&self.restart, &self.partition];
        names.extend(faults.into_iter().flatten().flatten().map(String::as_str));
        names
    }
}

fn ok() -> String {
    "Ok".to_owned()
}

fn within() -> String {
    "10s".to_owned()
}

fn stays() -> String {
    "0s".to_owned()
}

/// Scenarios by name.
const BUILT_IN: [(&str, &str); 1] = [("heating", include_str!("../scenarios/heating.toml"))];
/// Machines of one scenario. Source: guess.
const MACHINES_MAX: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_holds() {
        for (name, _) in BUILT_IN {
            Scenario::load(name).expect(name);
        }
    }

    #[test]
    fn a_step_that_names_nobody_or_does_two_things_is_refused_with_its_number() {
        let refused = |step: &str| {
            let text = format!("about = \"\"\n[[machine]]\nname = \"a\"\n[[step]]\n{step}");
            let scenario: Scenario = toml::from_str(&text).expect("TOML");
            scenario.check().expect_err("refused").to_string()
        };

        assert!(refused("restart = [\"b\"]").contains("step 1: there is no machine b"));
        assert!(refused("restart = [\"a\"]\nheal = true").contains("exactly one"));
        assert!(refused("say = \"nothing\"").contains("exactly one"));
    }
}
