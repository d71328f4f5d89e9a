//! The machine: which readings concern which rules, and when to look without one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use command::{Argument, CommandName, Lineage};
use model::{LogId, MachineId, NewReading, Reading, SeriesDefinition, SeriesNumber, Timestamp};
use statemachine::{Deadline, Instant, StateMachine};

use crate::Rule;
use crate::expression::Language;
use crate::running::{Now, Running};

/// Names a series of one log.
pub type SeriesKey = (LogId, SeriesNumber);

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The wall clock says this now. Given before anything else, then from time to time.
    WallClock(Timestamp),
    /// What a series number of a log means, and the names that its machine answers to.
    Series(SeriesKey, Arc<SeriesDefinition>, BTreeSet<String>),
    /// Readings of one log, in their order. With `is_past` they fill windows, and rules are looked
    /// at when the next timer fires.
    Readings {
        /// The log.
        log: LogId,
        /// The readings.
        readings: Vec<Reading>,
        /// They are from before this node started.
        is_past: bool,
    },
    /// Rules in place of those before; one that is the same goes on as it was. Every series is to
    /// be told after it, since only those are kept that some rule listens to.
    Rules(Vec<Rule>),
}

/// What the caller must do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a command.
    Command {
        /// For which rule.
        rule: String,
        /// To which machine, by name or id.
        machine: String,
        /// What.
        name: CommandName,
        /// With what.
        argument: Argument,
        /// Time until the deadline.
        deadline: Duration,
        /// Which rules led to it, this one last.
        lineage: Lineage,
    },
    /// Publish a reading.
    Publish(NewReading),
    /// Keep over a restart, in place of what was kept before.
    Keep(Vec<Kept>),
    /// Something worth a log line: the rule's name, and what happened.
    Event(String, Event),
}

/// What happened to a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It acted.
    Acted,
    /// It acted with its safe value.
    ActedSafely,
    /// It would have acted, but is to be tried only.
    WouldAct,
    /// What set it off has ended.
    Ended,
    /// An input is stale or bad, or its values do not fit: what about it.
    Blind(String),
    /// It should have acted, but has no value to act with.
    Failed(String),
    /// It may not act so often.
    Limited,
    /// More series are listened to, by it and others, than are heard.
    Crowded,
    /// It listens to what follows from itself, maybe over other machines: it is stopped until
    /// rules are loaded anew.
    Circle,
}

/// What is kept of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub rule: String,
    /// Its condition was true, and it has acted on that.
    pub is_active: bool,
    /// When it acted last.
    pub acted_at: Option<Timestamp>,
}

/// What the disk knew.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// What was kept.
    pub kept: Vec<Kept>,
}

/// How a rule stands.
#[derive(Clone, Copy, Debug)]
pub struct RuleState<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// Its condition was true, it has acted on that, and it has not ended.
    pub is_active: bool,
    /// An input is stale or bad.
    pub is_blind: bool,
    /// It was part of a circle, and does nothing until it is loaded anew.
    pub is_stopped: bool,
    /// When it acted last.
    pub acted_at: Option<Timestamp>,
}

/// Who listens to a series: rules, and their calls.
type Listeners = Vec<(usize, usize)>;

/// The rules of one machine.
#[derive(Debug)]
pub struct Rules {
    own: MachineId,
    language: Language,
    rules: Vec<Running>,
    /// The series that any rule listens to.
    series: BTreeMap<LogId, BTreeMap<SeriesNumber, Listeners>>,
    series_count: usize,
    /// There are more of them than are heard; said once.
    is_crowded: bool,
    kept: Vec<Kept>,
    /// Wall-clock time at a point of monotonic time.
    wall: Option<(Instant, Timestamp)>,
    outputs: VecDeque<Output>,
}

impl Rules {
    /// Most rules of one machine; more are not taken. Source: guess.
    pub const RULES_MAX: usize = 1_000;
    /// Most series that rules listen to. Source: guess; one beyond them is heard by no rule, and
    /// [`Event::Crowded`] says so.
    pub const SERIES_MAX: usize = 65_536;

    /// No rules yet.
    #[must_use]
    pub fn new(own: MachineId, recovered: Recovered) -> Self {
        Self {
            own,
            language: Language::default(),
            rules: Vec::new(),
            series: BTreeMap::new(),
            series_count: 0,
            is_crowded: false,
            kept: recovered.kept,
            wall: None,
            outputs: VecDeque::new(),
        }
    }

    /// Whether any rule listens to a series.
    #[must_use]
    pub fn listens(&self, (log, number): &SeriesKey) -> bool {
        let series = self.series.get(log);
        series.is_some_and(|series| series.contains_key(number))
    }

    /// Whether any rule listens to anything of a log.
    #[must_use]
    pub fn listens_to_log(&self, log: &LogId) -> bool {
        self.series.contains_key(log)
    }

    /// How every rule stands.
    pub fn states(&self) -> impl Iterator<Item = RuleState<'_>> {
        self.rules.iter().map(Running::state)
    }

    fn now(&self, instant: Instant) -> Option<Now> {
        let (at, wall) = self.wall?;
        let wall = wall.saturating_add(instant.since(at));
        Some(Now { instant, wall })
    }

    fn on_wall_clock(&mut self, now: Instant, wall: Timestamp) {
        if self.wall.replace((now, wall)).is_some() {
            return;
        }
        let now = Now { instant: now, wall };
        for rule in &mut self.rules {
            take_up(rule, &self.kept, now);
        }
    }

    fn on_rules(&mut self, now: Instant, rules: Vec<Rule>) {
        let mut before: BTreeMap<String, Running> = std::mem::take(&mut self.rules)
            .into_iter()
            .map(|rule| (rule.rule.name().to_owned(), rule))
            .collect();
        for rule in rules.into_iter().take(Self::RULES_MAX) {
            let same = before.remove(rule.name());
            let same = same.filter(|same| same.rule.draft == rule.draft && !same.is_halted());
            self.rules.push(same.unwrap_or_else(|| {
                let kept = self.kept.iter().find(|kept| kept.rule == rule.name());
                let is_active = kept.is_some_and(|kept| kept.is_active);
                let mut running = Running::new(rule, &self.own, now, is_active);
                if let Some(now) = self.now(now) {
                    take_up(&mut running, &self.kept, now);
                }
                running
            }));
        }
        self.series.clear();
        (self.series_count, self.is_crowded) = (0, false);
    }

    /// Finds out who listens to a series.
    fn on_series(
        &mut self,
        key: SeriesKey,
        definition: &SeriesDefinition,
        names: &BTreeSet<String>,
    ) {
        self.forget(&key);
        let mut listeners = Listeners::new();
        for (place, rule) in self.rules.iter_mut().enumerate() {
            let before = listeners.len();
            for (call, series) in rule.rule.calls.iter().enumerate() {
                let is_own = key.0.machine == self.own;
                if series.hears(is_own, names, &definition.name) {
                    listeners.push((place, call));
                }
            }
            if listeners.len() > before && rule.on_series(&definition.labels) {
                let name = rule.rule.name().to_owned();
                self.outputs.push_back(Output::Event(name, Event::Circle));
            }
        }
        let Some(&(place, _)) = listeners.first() else {
            return;
        };
        if self.series_count < Self::SERIES_MAX {
            self.series_count += 1;
            let of_log = self.series.entry(key.0).or_default();
            of_log.insert(key.1, listeners);
        } else if !std::mem::replace(&mut self.is_crowded, true)
            && let Some(rule) = self.rules.get(place)
        {
            let name = rule.rule.name().to_owned();
            self.outputs.push_back(Output::Event(name, Event::Crowded));
        }
    }

    fn forget(&mut self, (log, number): &SeriesKey) {
        let Some(series) = self.series.get_mut(log) else {
            return;
        };
        self.series_count -= usize::from(series.remove(number).is_some());
        if series.is_empty() {
            self.series.remove(log);
        }
    }

    fn on_readings(&mut self, now: Instant, log: LogId, readings: &[Reading], is_past: bool) {
        let Some(now) = self.now(now) else {
            return;
        };
        let Some(series) = self.series.get(&log) else {
            return;
        };
        let mut out = Vec::new();
        for reading in readings {
            let Some(listeners) = series.get(&reading.series) else {
                continue;
            };
            let mut concerned = None;
            for &(place, call) in listeners {
                if let Some(rule) = self.rules.get_mut(place) {
                    rule.hear(now.wall, call, reading);
                    if is_past {
                        rule.due = Some(now.instant); // Once all of the past is there.
                    }
                }
                if !is_past && concerned.is_some_and(|before| before != place) {
                    evaluate(&mut self.rules, concerned, now, &self.language, &mut out);
                }
                concerned = Some(place);
            }
            if !is_past {
                evaluate(&mut self.rules, concerned, now, &self.language, &mut out);
            }
        }
        self.say(out);
    }

    fn say(&mut self, out: Vec<Output>) {
        let is_to_keep = out.iter().any(|output| {
            matches!(
                output,
                Output::Event(_, Event::Acted | Event::ActedSafely | Event::Ended)
            )
        });
        if is_to_keep {
            // First, so that whoever can waits with what follows an act until it is kept.
            let kept = self.rules.iter().map(|rule| Kept {
                rule: rule.rule.name().to_owned(),
                is_active: rule.is_active(),
                acted_at: rule.acted_at,
            });
            let kept: Vec<Kept> = kept
                .filter(|kept| kept.is_active || kept.acted_at.is_some())
                .collect();
            self.kept.clone_from(&kept);
            self.outputs.push_back(Output::Keep(kept));
        }
        self.outputs.extend(out);
    }
}

fn take_up(rule: &mut Running, kept: &[Kept], now: Now) {
    let kept = kept.iter().find(|kept| kept.rule == rule.rule.name());
    if let Some(acted_at) = kept.and_then(|kept| kept.acted_at) {
        rule.cool(now, acted_at);
    }
}

fn evaluate(
    rules: &mut [Running],
    place: Option<usize>,
    now: Now,
    language: &Language,
    out: &mut Vec<Output>,
) {
    if let Some(rule) = place.and_then(|place| rules.get_mut(place)) {
        rule.evaluate(now, language, out);
    }
}

impl StateMachine for Rules {
    type Input = Input;
    type Output = Output;
    /// A reading may set off every rule, each of which says a few things; a block has 4,096.
    const OUTPUTS_PER_CALL_MAX: usize = 4 * Self::RULES_MAX * 4_096;

    fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::WallClock(wall) => self.on_wall_clock(now, wall),
            Input::Series(key, definition, names) => self.on_series(key, &definition, &names),
            Input::Readings {
                log,
                readings,
                is_past,
            } => self.on_readings(now, log, &readings, is_past),
            Input::Rules(rules) => self.on_rules(now, rules),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let Some(now) = self.now(now) else {
            return;
        };
        let mut out = Vec::new();
        for rule in &mut self.rules {
            if rule.due.is_some_and(|due| due <= now.instant) {
                rule.evaluate(now, &self.language, &mut out);
            }
        }
        self.say(out);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Deadline> {
        self.wall?;
        let due = self.rules.iter().filter_map(|rule| rule.due).min();
        due.map(|at| Deadline {
            at,
            why: "rules: look again",
        })
    }
}

#[cfg(test)]
mod tests;
