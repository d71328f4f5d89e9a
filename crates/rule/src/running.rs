//! One rule at work: its inputs, what it makes of them, and what follows.

use std::sync::Arc;
use std::time::Duration;

use command::{Argument, Lineage};
use model::{
    Labels, MachineId, NewReading, Quality, QualityLevel, QualityReason, Reading, SeriesDefinition,
    Timestamp, Value, ValueType,
};
use statemachine::Instant;

use crate::Rule;
use crate::bucket::Bucket;
use crate::error::EvalError;
use crate::expression::{Expression, Language, Slots};
use crate::latch::{Latch, Times, Truth, Verdict};
use crate::lineage::{self, LINEAGE_LABEL};
use crate::machine::{Event, Output, RuleState};
use crate::rule::Action;
use crate::window::Window;

/// Both clocks at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) wall: Timestamp,
}

/// What a series call has heard.
#[derive(Clone, Debug)]
struct Heard {
    /// The newest reading's time and value; no value if it was bad.
    newest: Option<(Timestamp, Option<Value>)>,
    window: Window,
}

/// A rule at work.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) rule: Rule,
    number: u32,
    heard: Vec<Heard>,
    slots: Slots,
    latch: Latch,
    /// Bounds what is derived; other acts are bounded by the latch.
    derivations: Bucket,
    /// A value was derived but not given, because there were too many.
    is_owed: bool,
    /// A reading came since the last look.
    has_news: bool,
    /// What was derived last.
    derived: Option<Argument>,
    /// Of what it publishes: a missing value is of the same series as those before.
    value_type: ValueType,
    was_blind: bool,
    /// What it said last of its alarm is that nobody can say.
    has_told_null: bool,
    /// Blindness counts from then: a start is no fault.
    born: Instant,
    lineage: Vec<u32>,
    is_halted: bool,
    pub(crate) acted_at: Option<Timestamp>,
    /// When it must be looked at again.
    pub(crate) due: Option<Instant>,
}

impl Running {
    pub(crate) fn new(rule: Rule, own: &MachineId, now: Instant, is_active: bool) -> Self {
        let times = Times {
            hold: rule.draft.hold,
            cooldown: rule.draft.cooldown,
            limit: rule.draft.limit,
        };
        let heard = rule.calls.iter().map(|call| Heard {
            newest: None,
            window: Window::new(call.window.unwrap_or_default()),
        });
        Self {
            number: lineage::number(own, rule.name()),
            heard: heard.collect(),
            slots: Slots::default(),
            latch: Latch::new(times, is_active),
            derivations: Bucket::new(rule.draft.limit),
            is_owed: false,
            has_news: false,
            derived: None,
            value_type: match rule.action {
                Action::Alarm { .. } => ValueType::Bool,
                Action::Derive { .. } | Action::Command { .. } => ValueType::F64,
            },
            was_blind: false,
            has_told_null: false,
            born: now,
            lineage: Vec::new(),
            is_halted: false,
            acted_at: None,
            due: Some(now + rule.draft.stale_after),
            rule,
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.latch.is_active()
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.is_halted
    }

    pub(crate) fn state(&self) -> RuleState<'_> {
        RuleState {
            rule: &self.rule,
            is_active: self.is_active(),
            is_blind: self.was_blind,
            is_stopped: self.is_halted,
            acted_at: self.acted_at,
        }
    }

    /// What is left of a cool-down from before a restart.
    pub(crate) fn cool(&mut self, now: Now, acted_at: Timestamp) {
        let passed = now.wall.since(acted_at);
        let left = self.rule.draft.cooldown.saturating_sub(passed);
        self.latch.cool(now.instant, left);
        self.acted_at = Some(acted_at);
    }

    /// A series that it listens to is there. `true` if that closes a circle: the rule halts.
    pub(crate) fn on_series(&mut self, labels: &Labels) -> bool {
        let before = self.is_halted;
        for rule in lineage::of(labels) {
            if rule == self.number {
                self.is_halted = true;
            } else if !self.lineage.contains(&rule) {
                self.lineage.push(rule);
            }
        }
        if self.lineage.len() >= Lineage::RULES_MAX {
            self.is_halted = true; // So long a chain is taken for a circle.
        }
        self.is_halted && !before
    }

    /// Takes a reading in.
    pub(crate) fn hear(&mut self, now: Timestamp, call: usize, reading: &Reading) {
        let Some(heard) = self.heard.get_mut(call) else {
            return;
        };
        if reading.time > now.saturating_add(AHEAD_MAX) {
            return; // A clock that is wrong must not make a value look fresh for ever.
        }
        self.has_news = true;
        let is_good = matches!(
            reading.quality.level,
            QualityLevel::Good | QualityLevel::Uncertain
        );
        let is_usable = match &reading.value {
            Value::Null | Value::Bytes(_) => false,
            Value::Text(text) => text.len() <= TEXT_BYTES_MAX,
            Value::F64(number) => !number.is_nan(),
            Value::I64(_) | Value::Bool(_) => true,
        };
        let is_value = is_good && is_usable;
        if is_value
            && self
                .rule
                .calls
                .get(call)
                .is_some_and(|call| call.window.is_some())
            && let Some(number) = reading.value.as_f64()
        {
            heard.window.add(now, reading.time, number);
        }
        let is_newer = |(time, _): &(Timestamp, _)| *time <= reading.time;
        if heard.newest.as_ref().is_none_or(is_newer) {
            let value = is_value.then(|| reading.value.clone());
            heard.newest = Some((reading.time, value));
        }
    }

    /// Looks at its inputs and does what follows.
    pub(crate) fn evaluate(&mut self, now: Now, language: &Language, out: &mut Vec<Output>) {
        if self.is_halted {
            self.due = None;
            return;
        }
        self.fill(now);
        if matches!(self.rule.action, Action::Derive { .. }) {
            self.derive(now, language, out);
        } else {
            self.react(now, language, out);
        }
        self.due = self.next_look(now);
    }

    /// The values of its series calls, as far as they are good and fresh.
    fn fill(&mut self, now: Now) {
        self.slots.0.clear();
        for (call, heard) in self.rule.calls.iter().zip(&mut self.heard) {
            heard.window.expire(now.wall);
            let fresh_from = now.wall.saturating_sub(self.rule.draft.stale_after);
            let newest = heard.newest.as_ref();
            let fresh = newest.filter(|(time, _)| *time > fresh_from);
            let value = fresh.and_then(|(_, value)| value.as_ref());
            let has_value = value.is_some() || call.outlives_staleness();
            let value = has_value.then(|| call.value(value, &heard.window));
            self.slots.0.push(value.flatten());
        }
    }

    fn value(&self, expression: &Expression, language: &Language) -> Result<Argument, EvalError> {
        expression.evaluate(language, &self.slots, &self.rule.calls)
    }

    fn truth(&self, expression: &Expression, language: &Language) -> Result<bool, EvalError> {
        let value = self.value(expression, language)?;
        if let Argument::Bool(truth) = value {
            return Ok(truth);
        }
        let message = "the condition is no truth value";
        Err(EvalError::Failed(message.to_owned()))
    }

    /// The condition; `None` if it is unknown, which is said once.
    fn condition(&self, now: Now, language: &Language, out: &mut Vec<Output>) -> Result<Truth, ()> {
        let truth = |expression: &Option<Expression>| {
            let expression = expression.as_ref();
            expression
                .map(|expression| self.truth(expression, language))
                .transpose()
        };
        let error = match (truth(&self.rule.when), truth(&self.rule.until)) {
            (Ok(when), Ok(until)) => {
                let when = Some(when.unwrap_or(true));
                return Ok(Truth { when, until });
            }
            (Err(error), _) | (_, Err(error)) => error,
        };
        if matches!(error, EvalError::Blind(_)) && self.still_waits(now) {
            return Err(());
        }
        if !self.was_blind {
            out.push(self.say(Event::Blind(error.to_string())));
        }
        Ok(Truth {
            when: None,
            until: None,
        })
    }

    /// A series of it was never there since the start, and may still come.
    fn still_waits(&self, now: Now) -> bool {
        let is_missing = self.heard.iter().any(|heard| heard.newest.is_none());
        is_missing && now.instant < self.born + self.rule.draft.stale_after
    }

    fn react(&mut self, now: Now, language: &Language, out: &mut Vec<Output>) {
        let Ok(truth) = self.condition(now, language, out) else {
            self.latch.wait();
            return;
        };
        self.was_blind = truth.when.is_none();
        match self.latch.judge(now.instant, truth) {
            Verdict::Rest => {
                if self.has_told_null && !self.was_blind {
                    self.raise(now, Value::Bool(self.latch.is_active()), out);
                }
            }
            Verdict::Act => self.act(now, language, out),
            Verdict::End => {
                out.push(self.say(Event::Ended));
                self.raise(now, Value::Bool(false), out);
            }
            Verdict::ActSafely => self.act_safely(now, language, out),
            Verdict::Limited => out.push(self.say(Event::Limited)),
        }
    }

    fn act(&mut self, now: Now, language: &Language, out: &mut Vec<Output>) {
        self.acted_at = Some(now.wall);
        match &self.rule.action {
            Action::Command { arguments, .. } => match self.value(arguments, language) {
                Ok(argument) => self.command(argument, false, out),
                Err(error) => out.push(self.say(Event::Failed(error.to_string()))),
            },
            Action::Alarm { .. } => {
                self.say_acted(false, out);
                self.raise(now, Value::Bool(true), out);
            }
            Action::Derive { .. } => {}
        }
    }

    fn act_safely(&mut self, now: Now, language: &Language, out: &mut Vec<Output>) {
        match &self.rule.action {
            Action::Command {
                safe: Some(safe), ..
            } => {
                if let Ok(argument) = self.value(safe, language) {
                    self.acted_at = Some(now.wall);
                    self.command(argument, true, out);
                }
            }
            Action::Alarm { .. } => self.raise(now, Value::Null, out),
            Action::Command { safe: None, .. } | Action::Derive { .. } => {}
        }
    }

    fn command(&self, argument: Argument, safe: bool, out: &mut Vec<Output>) {
        self.say_acted(safe, out);
        let Action::Command {
            machine,
            name,
            deadline,
            ..
        } = &self.rule.action
        else {
            return;
        };
        if !self.rule.draft.dry_run {
            out.push(Output::Command {
                rule: self.rule.name().to_owned(),
                machine: machine.clone(),
                name: name.clone(),
                argument,
                deadline: *deadline,
                lineage: self.own_lineage(),
            });
        }
    }

    /// Publishes an alarm's state; null if it cannot be judged.
    fn raise(&mut self, now: Now, value: Value, out: &mut Vec<Output>) {
        self.has_told_null = value == Value::Null;
        let Action::Alarm {
            series,
            priority,
            text,
        } = &self.rule.action
        else {
            return;
        };
        let quality = if value == Value::Null {
            STALE
        } else {
            Quality::GOOD
        };
        let labels = [("priority", priority.clone()), ("text", text.clone())];
        self.publish(now, series.clone(), "", value, quality, &labels, out);
    }

    fn derive(&mut self, now: Now, language: &Language, out: &mut Vec<Output>) {
        let is_owed = std::mem::take(&mut self.is_owed); // Without a value nothing is owed.
        let Ok(truth) = self.condition(now, language, out) else {
            return;
        };
        let Action::Derive {
            value,
            safe,
            series,
            unit,
        } = &self.rule.action
        else {
            return;
        };
        let derived = match truth.when {
            Some(true) => self.value(value, language),
            Some(false) => return,
            None => Err(EvalError::Blind(String::new())),
        };
        let (derived, quality) = match derived {
            Ok(derived) => (derived, Quality::GOOD),
            Err(EvalError::Blind(_)) if self.still_waits(now) => return,
            Err(_) if self.was_blind && !is_owed => return,
            Err(error) => {
                if truth.when.is_some() && !self.was_blind {
                    out.push(self.say(Event::Blind(error.to_string())));
                }
                let safe = safe.as_ref().map(|safe| self.value(safe, language));
                match safe {
                    Some(Ok(safe)) => (safe, UNCERTAIN),
                    Some(Err(_)) | None => (Argument::Null, STALE),
                }
            }
        };
        let has_news = std::mem::take(&mut self.has_news) || is_owed;
        if !has_news && self.derived.as_ref() == Some(&derived) {
            return;
        }
        let (series, unit) = (series.clone(), unit.as_str().to_owned());
        self.derived = Some(derived.clone());
        let derived = value_of(derived);
        if let Some(value_type) = derived.as_ref().and_then(Value::value_type) {
            self.value_type = value_type;
        }
        let Some(derived) = derived else {
            let message = "a derived value is a number, a truth value or text";
            out.push(self.say(Event::Failed(message.to_owned())));
            return;
        };
        self.was_blind = quality != Quality::GOOD;
        if !self.derivations.take(now.instant) {
            self.is_owed = true;
            return;
        }
        self.publish(now, series, &unit, derived, quality, &[], out);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one reading")]
    fn publish(
        &self,
        now: Now,
        name: model::SeriesName,
        unit: &str,
        value: Value,
        quality: Quality,
        labels: &[(&str, String)],
        out: &mut Vec<Output>,
    ) {
        let own = [
            (LINEAGE_LABEL, lineage::label(&self.own_lineage())),
            ("rule", self.rule.name().to_owned()),
        ];
        let labels = labels.iter().cloned().chain(own);
        let labels = labels.map(|(key, value)| (key.to_owned(), value));
        let (Ok(labels), Ok(unit)) = (Labels::new(labels.collect()), unit.parse()) else {
            return; // Checked when the rule was.
        };
        if self.rule.draft.dry_run {
            return;
        }
        out.push(Output::Publish(NewReading {
            series: Arc::new(SeriesDefinition {
                name,
                unit,
                value_type: self.value_type,
                labels,
            }),
            time: now.wall,
            value,
            quality,
        }));
    }

    fn say_acted(&self, safe: bool, out: &mut Vec<Output>) {
        out.push(self.say(match (self.rule.draft.dry_run, safe) {
            (true, _) => Event::WouldAct,
            (false, true) => Event::ActedSafely,
            (false, false) => Event::Acted,
        }));
    }

    fn say(&self, event: Event) -> Output {
        Output::Event(self.rule.name().to_owned(), event)
    }

    /// What led to its acts: what led to its inputs, then itself.
    fn own_lineage(&self) -> Lineage {
        let rules = self.lineage.iter().copied().chain([self.number]);
        Lineage::new(rules.collect()).unwrap_or_default()
    }

    /// When something may change without a new reading: a hold or cool-down ends, an input gets
    /// stale, a window moves on.
    fn next_look(&self, now: Now) -> Option<Instant> {
        let stale_after = self.rule.draft.stale_after;
        let newest = self.heard.iter().filter_map(|heard| heard.newest.as_ref());
        let stale_in = newest.map(|(time, _)| {
            let end = time.saturating_add(stale_after);
            end.since(now.wall)
        });
        let stale_in = stale_in.filter(|left| !left.is_zero()).min();
        let born_in = (self.born + stale_after).since(now.instant);
        let born_in = Some(born_in).filter(|left| !left.is_zero());
        let moves = self.heard.iter().any(|heard| heard.window.count() > 0);
        let waits = [stale_in, born_in, moves.then_some(LOOK_INTERVAL)];
        let waits = waits
            .into_iter()
            .flatten()
            .map(|wait| now.instant + wait.max(LOOK_MIN));
        let owed = self.is_owed.then(|| self.derivations.next());
        let next = waits.chain(self.latch.due()).chain(owed).min();
        next.map(|next| next.max(now.instant + LOOK_MIN))
    }
}

fn value_of(argument: Argument) -> Option<Value> {
    match argument {
        Argument::Null => Some(Value::Null),
        Argument::Bool(truth) => Some(Value::Bool(truth)),
        // One series has one type, whichever way a number was written.
        #[expect(
            clippy::cast_precision_loss,
            reason = "doubles, like the numbers of series"
        )]
        Argument::I64(number) => Some(Value::F64(number as f64)),
        Argument::F64(number) => Some(Value::F64(number)),
        Argument::Text(text) => Some(Value::Text(text)),
        Argument::Bytes(_) | Argument::List(_) | Argument::Map(_) => None,
    }
}

const UNCERTAIN: Quality = Quality::new(QualityLevel::Uncertain, QualityReason::Missing);
const STALE: Quality = Quality::new(QualityLevel::Stale, QualityReason::Missing);
/// How far a reading's clock may be ahead. Source: guess.
const AHEAD_MAX: Duration = Duration::from_secs(5);
/// Longest text that an expression is given. Unit: bytes. Source: guess; bounds what joining texts
/// can allocate to 256 KiB.
const TEXT_BYTES_MAX: usize = 1_024;
/// How often a rule with windows is looked at when nothing new comes. Source: guess.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest time between two looks without a reading. Source: guess.
const LOOK_MIN: Duration = Duration::from_millis(1);
