//! Repair: what neighbours hold and we lack is asked for, each block of one neighbour at a time.
//!
//! What a neighbour held before the link came up is asked at once; what it announces later is on
//! its way over the tree, and is asked only when that takes too long. Alarms go first, then the
//! newest blocks, unless a log has so many gaps that the oldest must close. What is of the past and
//! no alarm is asked for within a budget, so that it leaves room for the present.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{BlockId, LogId, MachineId, Sequence};
use statemachine::{Full, Instant};

use crate::machine::Timer;
use crate::neighbour::Neighbour;
use crate::sooner::{CHANGES_PER_MESSAGE_MAX, newest_of};
use crate::spread::as_u64;
use crate::{Fault, FrontierEntry, Gossip, Message, Output, Span};

impl Gossip {
    /// A neighbour said what it holds, all of it or what is new.
    pub(crate) fn on_frontier(
        &mut self,
        now: Instant,
        from: MachineId,
        entries: Vec<FrontierEntry>,
        urgent: Vec<(LogId, Span)>,
        ages: &BTreeMap<LogId, Duration>,
        is_news: bool,
    ) {
        let mut ready = false;
        let mut changes = 0;
        for entry in entries {
            if !entry.is_consistent() {
                self.misbehaved(from, Fault::Frontier);
                break;
            }
            let age = ages.get(&entry.log);
            if let Some(age) = age.filter(|_| changes < CHANGES_PER_MESSAGE_MAX) {
                let is_changed = self.note_age(now, from, &newest_of(&entry), *age);
                changes += usize::from(is_changed);
            }
            ready |= self.note_entry(now, from, entry, is_news);
        }
        for (log, span) in urgent {
            if !span.is_consistent() {
                self.misbehaved(from, Fault::Frontier);
                break;
            }
            self.note_urgent(now, from, log, span);
        }
        if ready {
            self.fill(now, from);
        }
    }

    /// Takes a neighbour's entry; returns whether something can be asked of it at once.
    fn note_entry(
        &mut self,
        now: Instant,
        from: MachineId,
        entry: FrontierEntry,
        is_news: bool,
    ) -> bool {
        let log = entry.log;
        let is_wanted = self.states.wants_log(&log.machine);
        let neighbour = self.neighbours.get_mut(&from).filter(|_| is_wanted);
        let Some(neighbour) = neighbour else {
            return false;
        };
        let missing = self.frontier.missing_from(&entry);
        if neighbour.frontier.insert(log, entry) == Err(Full) {
            self.stats.logs_over_limit += 1;
            return false;
        }
        let (Some(first), Some(last)) = (missing.first(), missing.last()) else {
            neighbour.leads.remove(&log);
            self.forget_unless_led(&log);
            return false;
        };
        let lead = neighbour.leads.entry(log).or_default();
        if !is_news {
            lead.settled = lead.settled.max(last.last);
        } else if last.last > lead.settled && !self.timers.is_set(&Timer::Graft(log)) {
            lead.target = last.last;
            let at = now + self.config.graft_timeout;
            self.timers.set(Timer::Graft(log), at);
        }
        first.first <= lead.settled
    }

    /// A neighbour says which blocks hold alarms: those that lack are asked first, and soon.
    fn note_urgent(&mut self, now: Instant, from: MachineId, log: LogId, span: Span) {
        let Some(neighbour) = self.neighbours.get_mut(&from) else {
            return;
        };
        let (Some(lead), Some(theirs)) =
            (neighbour.leads.get_mut(&log), neighbour.frontier.get(&log))
        else {
            return;
        };
        let mut missing = self.frontier.missing_from(theirs).into_iter();
        if !missing.any(|gap| gap.first <= span.last && span.first <= gap.last) {
            return;
        }
        let is_new = !lead.urgent.covers(span.last);
        lead.urgent.add(span);
        neighbour.urgent.insert(log);
        if is_new && lead.target > lead.settled {
            let at = now + self.config.announce_interval;
            self.timers.set(Timer::Graft(log), at);
        }
    }

    /// An own entry changed: neighbours may not lead there any more.
    pub(crate) fn note_entry_changed(&mut self, log: &LogId) {
        for neighbour in self.neighbours.values_mut() {
            if neighbour.leads.contains_key(log)
                && let Some(theirs) = neighbour.frontier.get(log)
                && self.frontier.missing_from(theirs).is_empty()
            {
                neighbour.leads.remove(log);
            }
        }
        self.forget_unless_led(log);
    }

    /// Forgets the wait for a log in which no neighbour leads.
    pub(crate) fn forget_unless_led(&mut self, log: &LogId) {
        if !(self.neighbours.values()).any(|n| n.leads.contains_key(log)) {
            self.timers.clear(&Timer::Graft(*log));
        }
    }

    /// The tree did not bring what was announced: graft the announcers, and ask.
    pub(crate) fn on_grafts_due(&mut self, now: Instant, mut logs: BTreeSet<LogId>) {
        for _ in 0..GRAFTS_PER_CALL_MAX {
            let Some(log) = logs.pop_first() else { break };
            self.on_graft_due(now, log);
        }
        for log in logs {
            let at = now + self.config.announce_interval;
            self.timers.set(Timer::Graft(log), at);
        }
    }

    fn on_graft_due(&mut self, now: Instant, log: LogId) {
        let leaders = self.leaders(&log);
        let mut announced_since = false;
        for machine in &leaders {
            let neighbour = self.neighbours.get_mut(machine);
            announced_since |= neighbour.is_some_and(|n| n.settle(&log));
        }
        let mut asked = 0;
        for machine in leaders {
            let spans = self.pick(&machine, &log, Choice::Present);
            if spans.is_empty() {
                continue;
            }
            if asked == 0 {
                self.graft(machine, log.machine);
            }
            let is_past = false;
            self.want(now, machine, log, spans, is_past);
            asked += 1;
            if asked == ASKED_PER_GRAFT_MAX {
                break;
            }
        }
        if announced_since {
            let at = now + self.config.graft_timeout;
            self.timers.set(Timer::Graft(log), at);
        }
    }

    /// Who leads in a log: those that answer before those that did not, then the announcer, then
    /// the others by lot, so that not everyone asks the same one.
    fn leaders(&mut self, log: &LogId) -> Vec<MachineId> {
        let mut leaders = (self.neighbours.iter())
            .filter_map(|(machine, n)| {
                let lead = n.leads.get(log)?;
                let announced = lead.target > lead.settled;
                Some((n.is_stalled(), !announced, *machine))
            })
            .collect::<Vec<_>>();
        self.rng.shuffle(&mut leaders);
        leaders.sort_by_key(|(is_stalled, not_announced, _)| (*is_stalled, *not_announced));
        leaders.into_iter().map(|(_, _, machine)| machine).collect()
    }

    /// Blocks wanted of a neighbour did not come; returns whether others must be asked.
    pub(crate) fn on_want_due(&mut self, now: Instant, machine: MachineId) -> bool {
        let timeout = self.config.want_timeout;
        let Some(neighbour) = self.neighbours.get_mut(&machine) else {
            return false;
        };
        let overdue = neighbour.take_overdue(now, timeout);
        if let Some(next) = neighbour.next_overdue(timeout) {
            self.timers.set(Timer::Want(machine), next);
        }
        self.stats.blocks_unanswered += as_u64(overdue.len());
        self.count_withheld(now, machine, &overdue);
        for id in &overdue {
            self.postpone(now, machine, *id);
        }
        !overdue.is_empty()
    }

    /// Notes what a neighbour that can hear us and says other things does not give.
    fn count_withheld(&mut self, now: Instant, machine: MachineId, overdue: &[BlockId]) {
        let timeout = self.config.want_timeout;
        let Some(neighbour) = self.neighbours.get_mut(&machine) else {
            return;
        };
        if neighbour.congested || neighbour.suspected || now.since(neighbour.heard) >= timeout {
            return;
        }
        let origins: BTreeSet<MachineId> = overdue.iter().map(|id| id.log.machine).collect();
        for origin in origins.into_iter().filter(|origin| *origin != machine) {
            if neighbour.withheld.count(now, origin, timeout) {
                self.stats.withheld += 1;
                self.outputs.push_back(Output::Withholds(machine, origin));
            }
        }
    }

    /// A neighbour may be asked again; returns whether it can be.
    pub(crate) fn on_later_due(&mut self, now: Instant, machine: MachineId) -> bool {
        let Some(neighbour) = self.neighbours.get_mut(&machine) else {
            return false;
        };
        neighbour.later.retain(|_, until| *until > now);
        if let Some(next) = neighbour.later.iter().map(|(_, until)| *until).min() {
            self.timers.set(Timer::Later(machine), next);
        }
        !neighbour.leads.is_empty()
    }

    /// Does not ask a neighbour for a block again too soon.
    pub(crate) fn postpone(&mut self, now: Instant, machine: MachineId, id: BlockId) {
        let until = now + self.config.want_timeout * LATER_PATIENCE;
        if let Some(neighbour) = self.neighbours.get_mut(&machine)
            && neighbour.later.insert(id, until).is_ok()
        {
            self.timers.set_if_idle(Timer::Later(machine), until);
        }
    }

    /// Asks every neighbour for what it leads in, in an order drawn by lot.
    pub(crate) fn fill_all(&mut self, now: Instant) {
        let mut machines = self.neighbours.keys().copied().collect::<Vec<_>>();
        self.rng.shuffle(&mut machines);
        for machine in machines {
            self.fill(now, machine);
        }
    }

    /// Asks a neighbour for more when most of what was asked has come.
    pub(crate) fn fill_if_low(&mut self, now: Instant, machine: MachineId) {
        let is_low = (self.neighbours.get(&machine))
            .is_some_and(|n| !n.leads.is_empty() && n.wanted.len() * 4 <= self.window_of(n));
        if is_low {
            self.fill(now, machine);
        }
    }

    /// Asks a neighbour for what it leads in, alarms first, then some of each log in turn, as far
    /// as its window and the budget go.
    pub(crate) fn fill(&mut self, now: Instant, machine: MachineId) {
        self.fill_urgent(now, machine);
        let Some(neighbour) = self.neighbours.get(&machine) else {
            return;
        };
        let mut messages = 0;
        let mut after = neighbour.asked_last;
        for _ in 0..neighbour.leads.len() {
            let Some(neighbour) = self.neighbours.get(&machine) else {
                return;
            };
            if self.room_of(neighbour) == 0 || messages == WANTS_PER_FILL_MAX {
                return;
            }
            after = neighbour.lead_after(after);
            let Some(log) = after else { return };
            if !self.may_ask_of_the_past(now) {
                return;
            }
            let spans = self.pick(&machine, &log, Choice::Past);
            if !spans.is_empty() {
                let is_past = true;
                self.want(now, machine, log, spans, is_past);
                messages += 1;
            }
        }
    }

    /// Asks a neighbour for the alarms that it holds and we lack.
    fn fill_urgent(&mut self, now: Instant, machine: MachineId) {
        for _ in 0..WANTS_PER_FILL_MAX {
            let Some(neighbour) = self.neighbours.get_mut(&machine) else {
                return;
            };
            let Some(log) = neighbour.urgent.pop_first() else {
                return;
            };
            let spans = self.pick(&machine, &log, Choice::Alarms);
            if !spans.is_empty() {
                let is_past = false;
                self.want(now, machine, log, spans, is_past);
                let neighbour = self.neighbours.get_mut(&machine);
                neighbour.map(|n| n.urgent.insert(log)); // There may be more of them.
            }
        }
    }

    /// Whether the budget lets us ask for more of the past; if not, it is asked for later.
    fn may_ask_of_the_past(&mut self, now: Instant) -> bool {
        let at = self.asking.ready_at(now);
        if at > now {
            self.timers.set(Timer::Asking, at);
            return false;
        }
        let has_room = self.past_room() > 0;
        if !has_room {
            // Whoever answers is asked for more; that there is room for others nobody else says.
            let at = now + self.config.announce_interval;
            self.timers.set_if_idle(Timer::Asking, at);
        }
        has_room
    }

    /// How many more blocks of the past may be on their way here, by the average size of a block.
    /// At least one may if there is none.
    fn past_room(&self) -> usize {
        let at_once = (self.asking.burst() / self.block_bytes.max(1)).max(1);
        let wanted = self.neighbours.values().map(|n| n.wanted.len());
        at_once.saturating_sub(wanted.sum())
    }

    /// How many blocks may be wanted of a neighbour: its window, as far as bytes allow.
    fn window_of(&self, neighbour: &Neighbour) -> usize {
        let by_bytes = self.config.want_bytes_max / self.block_bytes.max(1);
        neighbour.window.min(by_bytes.max(1))
    }

    /// How many more blocks may be wanted of a neighbour now; none while the disk fails or
    /// the neighbour is silent.
    fn room_of(&self, neighbour: &Neighbour) -> usize {
        if self.timers.is_set(&Timer::Disk) || neighbour.suspected {
            return 0;
        }
        (self.window_of(neighbour)).saturating_sub(neighbour.wanted.len())
    }

    /// Chooses some blocks of a log to want of a neighbour, most urgent first.
    fn pick(&self, machine: &MachineId, log: &LogId, choice: Choice) -> Vec<Span> {
        let Some((neighbour, lead, theirs)) = (self.neighbours.get(machine))
            .and_then(|n| Some((n, n.leads.get(log)?, n.frontier.get(log)?)))
        else {
            return Vec::new();
        };
        let room = match choice {
            Choice::Alarms if neighbour.suspected => 0,
            Choice::Alarms => CHUNK_MAX,
            Choice::Present => self.room_of(neighbour).min(CHUNK_MAX),
            Choice::Past => (self.room_of(neighbour).min(CHUNK_MAX)).min(self.past_room()),
        };
        let origin = &log.machine;
        let is_askable = self.states.may_publish(origin) && self.states.wants_log(origin);
        if room == 0 || !is_askable || !self.has_room_for_log(log) {
            return Vec::new();
        }
        let missing = self.frontier.missing_from(theirs).into_iter();
        let missing: Vec<Span> = match choice {
            Choice::Alarms => missing.flat_map(|gap| lead.urgent.within(gap)).collect(),
            Choice::Present | Choice::Past => missing.collect(),
        };
        let missing = (missing.into_iter())
            .filter(|span| span.first <= lead.settled)
            .map(|span| span.first..=span.last.min(lead.settled));
        let askable = |sequence: &Sequence| {
            let (log, sequence) = (*log, *sequence);
            self.is_askable(neighbour, &BlockId { log, sequence })
        };
        let gaps = (self.frontier.get(log)).map_or(0, |entry| entry.beyond.len());
        if gaps >= GAPS_MANY {
            join(missing.flatten().filter(askable).take(room))
        } else {
            join(missing.flatten().rev().filter(askable).take(room))
        }
    }

    /// Whether a block that a neighbour holds and we lack should be asked of it now.
    fn is_askable(&self, neighbour: &Neighbour, id: &BlockId) -> bool {
        !self.in_flight.contains_key(id)
            && !self.unclaimed.contains(id)
            && !neighbour.later.contains_key(id)
            && !self.neighbours.values().any(|n| n.wanted.contains_key(id))
    }

    fn want(
        &mut self,
        now: Instant,
        machine: MachineId,
        log: LogId,
        spans: Vec<Span>,
        is_past: bool,
    ) {
        let Some(neighbour) = self.neighbours.get_mut(&machine) else {
            return;
        };
        neighbour.asked_last = Some(log);
        for sequence in spans.iter().flat_map(|span| span.first..=span.last) {
            neighbour.wanted.insert(BlockId { log, sequence }, now);
            self.stats.blocks_wanted += 1;
        }
        let at = now + self.config.want_timeout;
        self.timers.set_if_idle(Timer::Want(machine), at);
        self.stats.wants_sent += 1;
        let message = Message::Want {
            log,
            spans,
            is_past,
        };
        self.send(machine, message);
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// Blocks that hold alarms, beyond every window.
    Alarms,
    /// What did not come over the tree, within the window.
    Present,
    /// Everything else, within window and budget.
    Past,
}

/// Joins sequences to spans in the order in which they come, as many as a want may have.
fn join(sequences: impl Iterator<Item = Sequence>) -> Vec<Span> {
    let mut spans = Vec::<Span>::new();
    for sequence in sequences {
        let is_full = spans.len() == Message::SPANS_MAX;
        match spans.last_mut() {
            Some(span) if span.last + 1 == sequence => span.last = sequence,
            Some(span) if sequence + 1 == span.first => span.first = sequence,
            Some(_) if is_full => break,
            Some(_) | None => spans.push(Span {
                first: sequence,
                last: sequence,
            }),
        }
    }
    spans
}

/// How many want timeouts pass before a neighbour is asked again for what it could not give, and
/// before the disk is tried again. Source: guess.
pub(crate) const LATER_PATIENCE: u32 = 8;
/// Most blocks of one log asked in one message. Source: guess; the newest chunk is oldest first.
const CHUNK_MAX: usize = 32;
/// With so many gaps in a log the oldest is closed first. Source: half of what an entry may have.
const GAPS_MANY: usize = FrontierEntry::BEYOND_MAX / 2;
/// Most wants sent to one neighbour in one call. Source: guess, a window of small chunks.
const WANTS_PER_FILL_MAX: usize = 16;
/// Most logs grafted in one call; the others follow a tick later. Source: guess.
pub(crate) const GRAFTS_PER_CALL_MAX: usize = 128;
/// Most neighbours asked for parts of one log when it is grafted. Source: guess.
const ASKED_PER_GRAFT_MAX: usize = 4;
