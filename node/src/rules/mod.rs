//! The rules of this machine at work, and the alarms of every machine: what they hear, and what
//! follows.
//!
//! Start at [`RuleDesk`]. What a rule is and when it acts is `rule`'s to decide.

mod alarms;
mod kept;
mod outbox;
mod recent;
mod sent;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::Order;
use engine::Catalogue;
use model::{
    Block, BlockId, LogId, MachineId, Pattern, Reading, SeriesDefinition, SeriesNumber, State,
    StateKind, Timestamp,
};
use rule::{Event, Input, Output, Recovered, Rule, RuleState, Rules, SeriesKey};
use statemachine::{Deadline, Instant, StateMachine as _};
use store::{Cursor, Query, Selection, Store};

use crate::backend::selection_of;
use crate::view::{Definitions, View};
use alarms::{ACKNOWLEDGEMENT_PREFIX, Place};
pub use alarms::{Alarm, AlarmBook, AlarmId, AlarmState};
use kept::KeptFile;
pub use outbox::Outbox;
use recent::Recent;
pub use sent::SentCommands;

/// What rules ask for that the loop does.
#[derive(Debug, Default)]
pub struct Acts {
    /// Rules that were stopped because they are part of a circle.
    pub stopped: Vec<String>,
    /// Commands to send, and for which rule.
    pub orders: Vec<(String, Order)>,
}

/// The rules of this machine, and the alarms of every machine.
#[derive(Debug)]
pub struct RuleDesk {
    rules: Rules,
    kept: KeptFile,
    recent: Recent,
    /// The series of alarms and acknowledgements.
    followed: BTreeMap<SeriesKey, Arc<SeriesDefinition>>,
    /// The alarms that are known.
    pub alarms: AlarmBook,
    /// What rules want to publish.
    pub outbox: Outbox,
    /// Commands that rules have sent.
    pub sent: SentCommands,
}

impl RuleDesk {
    /// The rules as they were left, with what they keep in a directory.
    #[must_use]
    pub fn open(own: MachineId, directory: &Path) -> Self {
        let (file, kept) = KeptFile::open(directory);
        Self {
            rules: Rules::new(own, Recovered { kept }),
            kept: file,
            recent: Recent::default(),
            followed: BTreeMap::new(),
            alarms: AlarmBook::default(),
            outbox: Outbox::default(),
            sent: SentCommands::default(),
        }
    }

    /// Takes the wall clock in, about once a second.
    pub fn tell_wall_clock(&mut self, now: Instant, time: Timestamp) {
        self.rules.handle(now, Input::WallClock(time));
        self.kept.write_if_free();
        self.outbox.retry();
        self.sent.look();
    }

    /// Puts rules in the place of those before.
    pub fn load(&mut self, now: Instant, rules: Vec<Rule>, catalogue: &Catalogue) {
        self.rules.handle(now, Input::Rules(rules));
        for (log, number, definition) in catalogue.series() {
            self.define(now, (*log, number), definition, catalogue);
        }
    }

    /// A state has changed: it may define a series or name a machine.
    pub fn on_state(&mut self, now: Instant, state: &State, catalogue: &Catalogue) {
        if state.key().kind == StateKind::Membership {
            let origin = state.key().origin;
            for (log, number, definition) in catalogue.series_of(&origin) {
                self.define(now, (*log, number), definition, catalogue);
            }
        }
        let Some(key) = Catalogue::series_defined_by(state) else {
            return;
        };
        let Some(definition) = catalogue.definition(&key.0, key.1) else {
            return;
        };
        let is_new = !self.rules.listens(&key);
        self.define(now, key, definition, catalogue);
        if is_new && self.is_heard(&key) {
            for (block, readings) in self.recent.readings_of(key) {
                self.hear(now, block, readings);
            }
        }
    }

    fn define(
        &mut self,
        now: Instant,
        key: SeriesKey,
        definition: &Arc<SeriesDefinition>,
        catalogue: &Catalogue,
    ) {
        if AlarmBook::follows(&definition.name) && self.followed.len() < FOLLOWED_MAX {
            self.followed.insert(key, Arc::clone(definition));
        }
        let names = catalogue.names(&key.0.machine);
        let input = Input::Series(key, Arc::clone(definition), names);
        self.rules.handle(now, input);
    }

    fn is_heard(&self, key: &SeriesKey) -> bool {
        self.rules.listens(key) || self.followed.contains_key(key)
    }

    /// A block is durable.
    pub fn on_block(&mut self, now: Instant, block: &Block) {
        self.recent.put(block);
        let log = block.id().log;
        if !self.follows(log) && !self.rules.listens_to_log(&log) {
            return;
        }
        if let Ok(readings) = block.readings() {
            self.hear(now, block.id(), readings);
        }
    }

    fn follows(&self, log: LogId) -> bool {
        let all = (log, SeriesNumber(0))..=(log, SeriesNumber(u32::MAX));
        self.followed.range(all).next().is_some()
    }

    fn hear(&mut self, now: Instant, block: BlockId, readings: Vec<Reading>) {
        let log = block.log;
        if self.follows(log) {
            for (index, reading) in (0..).zip(&readings) {
                self.hear_alarm(&Cursor { block, index }, reading);
            }
        }
        let is_past = false;
        let input = Input::Readings {
            log,
            readings,
            is_past,
        };
        self.rules.handle(now, input);
    }

    fn hear_alarm(&mut self, at: &Cursor, reading: &Reading) {
        let log = at.block.log;
        if let Some(series) = self.followed.get(&(log, reading.series)) {
            let place = Place::new(&at.block, at.index);
            self.alarms.hear(log.machine, place, series, reading);
        }
    }

    /// Fills windows and alarms with what is held already, so that a restart blinds nobody.
    pub fn recall(&mut self, now: Instant, wall: Timestamp, store: &Store, view: &View) {
        let mut back = Duration::ZERO;
        let mut wanted = Definitions::new();
        for state in self.rules.states() {
            for (pattern, window) in state.rule.series() {
                let stale_after = state.rule.draft().stale_after;
                back = back.max(window.unwrap_or_default().max(stale_after));
                for (log, series) in view.definitions(pattern) {
                    wanted.entry(log).or_default().extend(series);
                }
            }
        }
        // One question for all rules: what two of them look at must be heard once.
        let query = since(selection_of(&wanted), wall.saturating_sub(back));
        pages(store, &query, |at, reading| {
            let input = Input::Readings {
                log: at.block.log,
                readings: vec![reading],
                is_past: true,
            };
            self.rules.handle(now, input);
        });
        let mut selection = Selection::new();
        for pattern in [rule::ALARM_PREFIX, ACKNOWLEDGEMENT_PREFIX] {
            if let Ok(pattern) = format!("{pattern}**").parse::<Pattern>() {
                selection.extend(selection_of(&view.definitions(&pattern)));
            }
        }
        let latest = store.latest(&selection); // Of what has not changed for longer than that.
        let query = since(selection, wall.saturating_sub(ALARMS_BACK));
        pages(store, &query, |at, reading| self.hear_alarm(at, &reading));
        for found in latest {
            self.hear_alarm(&found.at, &found.reading);
        }
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.rules.handle_timeout(now);
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.rules.next_deadline()
    }

    /// Does what the rules ask for that needs no node: logs what is worth it, keeps what must be
    /// kept, and puts into the outbox what is to be published. Returns the rest.
    pub fn perform(&mut self) -> Acts {
        let mut acts = Acts::default();
        while let Some(output) = self.rules.poll_output() {
            match output {
                Output::Command {
                    rule,
                    machine,
                    name,
                    argument,
                    deadline,
                    lineage,
                } => {
                    let order = Order {
                        machine,
                        id: None,
                        name,
                        argument,
                        deadline,
                        lineage,
                        when_reachable: false,
                    };
                    acts.orders.push((rule, order));
                }
                Output::Publish(reading) => self.outbox.put(reading),
                Output::Keep(kept) => self.kept.put(kept),
                Output::Event(rule, event) => {
                    log(&rule, &event);
                    if event == Event::Circle {
                        acts.stopped.push(rule);
                    }
                }
            }
        }
        acts
    }

    /// How every rule stands.
    pub fn states(&self) -> impl Iterator<Item = RuleState<'_>> {
        self.rules.states()
    }

    /// Writes what is still to be kept.
    pub async fn close(self) {
        self.kept.close().await;
    }
}

const fn since(selection: Selection, from: Timestamp) -> Query {
    Query {
        selection,
        from,
        to: Timestamp::MAX,
        limit: RECALL_PAGE,
    }
}

/// Reads what is held, a page at a time.
fn pages(store: &Store, query: &Query, mut hear: impl FnMut(&Cursor, Reading)) {
    let mut after: Option<Cursor> = None;
    for _ in 0..RECALL_PAGES_MAX {
        let page = store.query(query, after);
        for found in page.found {
            hear(&found.at, found.reading);
        }
        after = page.next;
        if after.is_none() {
            return;
        }
    }
    tracing::warn!("rules look back on more than is read at a start; windows are not full");
}

fn log(rule: &str, event: &Event) {
    match event {
        Event::Acted => tracing::info!(rule, "acted"),
        Event::ActedSafely => tracing::warn!(rule, "acted with its safe value"),
        Event::WouldAct => tracing::info!(rule, "would act; it is a dry run"),
        Event::Ended => tracing::info!(rule, "ended"),
        Event::Blind(why) => tracing::warn!(rule, why, "cannot judge its condition"),
        Event::Failed(why) => tracing::warn!(rule, why, "has no value to act with"),
        Event::Limited => tracing::warn!(rule, "may not act so often"),
        Event::Crowded => tracing::warn!(
            rule,
            max = rule::Rules::SERIES_MAX,
            "listens to more series than rules hear together; make its patterns narrower"
        ),
        Event::Circle => {
            tracing::warn!(
                rule,
                "is part of a circle of rules and is stopped until it is loaded anew"
            );
        }
    }
}

/// Series of alarms and acknowledgements that are followed. Source: guess; more are not.
const FOLLOWED_MAX: usize = 40_000;
/// How far back alarms are recalled at a start. Source: guess.
const ALARMS_BACK: Duration = Duration::from_hours(7 * 24);
/// Readings that are recalled at once. Source: guess.
const RECALL_PAGE: usize = 4_096;
/// Most such pages at a start. Source: guess; a million readings take about a second.
const RECALL_PAGES_MAX: usize = 256;
