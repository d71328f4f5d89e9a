//! Detector: which of the other candidates are alive.
//!
//! SWIM's suspicion with indirect probes (Das, Gupta, Motivala, DSN 2002) and Lifeguard's local
//! health (Dadgar, Phillips, Currey, DSN-W 2018), over heartbeats between all candidates.
//!
//! # Where we differ from the papers
//!
//! - Candidates are few and their links are kept, so each sends heartbeats to each instead of
//!   probing one at random; a closed link is a suspicion at once.
//! - Verdicts are not gossiped: each candidate finds out for itself, within the same budget.
//! - A refused probe (Lifeguard's nack) ends a suspicion early: when all helpers have lost the
//!   suspect, too, it is dead without waiting.
//! - Local health is judged by late timers only, and in steps of a quarter: silence counts only
//!   while this machine was listening, so little is left for the multiplier to forgive.
//! - Who cannot be reached directly but goes on telling everyone that it stands is alive by its
//!   states (`Remote`), so that two candidates behind firewalls do not both serve for ever.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use model::MachineId;
use statemachine::{BoundedMap, Deadline, Instant, Rng, Timers};

use crate::{Config, Fault, Message, Output, Stats};

/// What is known of a candidate's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    /// Known by its state, not heard yet. Alive until the grace ends.
    Unheard,
    /// Heard, itself or by a helper. Alive until it has been silent for too long.
    Heard,
    /// Silent or cut off; helpers are asked. Alive until they have not found it in time.
    Suspected,
    /// Not alive: nobody heard it.
    Dead { since: Instant },
    /// Never heard, but it goes on repeating its candidacy. Alive until that stops.
    Remote,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    watch: Watch,
    /// When its timer is due; set exactly when the timer is.
    due: Option<Instant>,
}

/// A probe that was sent and is not answered yet.
#[derive(Clone, Copy, Debug)]
struct Question {
    /// Who was asked.
    asked: MachineId,
    /// About whom.
    target: MachineId,
    /// On whose behalf, with the nonce to answer it under; `None` for this machine's own suspicion.
    asker: Option<(MachineId, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Heartbeat,
    Watch(MachineId),
    Answer(u64),
}

/// The failure detector among the candidates that this machine stands beside.
#[derive(Debug)]
pub(crate) struct Detector {
    own: MachineId,
    config: Config,
    rng: Rng,
    /// Heartbeats are sent, probes are answered and verdicts given; otherwise it only listens.
    speaking: bool,
    links: BTreeSet<MachineId>,
    peers: BTreeMap<MachineId, Peer>,
    questions: BoundedMap<u64, Question>,
    /// The nonce of the next question; all before were used in this life.
    nonce_next: u64,
    heartbeats: u64,
    /// Lifeguard's local health: how often timers came late, forgiven over time.
    strikes: u32,
    /// Heartbeats in time since the last strike came or was forgiven.
    calm: u32,
    timers: Timers<Timer>,
    /// A verdict changed since the last [`Self::take_changed`].
    changed: bool,
}

impl Detector {
    pub(crate) fn new(own: MachineId, config: Config, rng: Rng) -> Self {
        Self {
            own,
            config,
            rng,
            speaking: false,
            links: BTreeSet::new(),
            peers: BTreeMap::new(),
            questions: BoundedMap::new(QUESTIONS_MAX),
            nonce_next: 1,
            heartbeats: 0,
            strikes: 0,
            calm: 0,
            timers: Timers::default(),
            changed: false,
        }
    }

    /// Whether a machine counts as alive; who is not watched does.
    pub(crate) fn is_alive(&self, machine: &MachineId) -> bool {
        let dead = |peer: &Peer| matches!(peer.watch, Watch::Dead { .. });
        !self.peers.get(machine).is_some_and(dead)
    }

    /// Whether there is better evidence of a machine's life than its states.
    pub(crate) fn is_heard(&self, machine: &MachineId) -> bool {
        let heard = |peer: &Peer| matches!(peer.watch, Watch::Heard | Watch::Suspected);
        self.peers.get(machine).is_some_and(heard)
    }

    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(crate) fn next_deadline(&self) -> Option<Deadline> {
        self.timers.next_deadline(|timer| match timer {
            Timer::Heartbeat => "heartbeat",
            Timer::Watch(_) => "candidate silent",
            Timer::Answer(_) => "probe unanswered",
        })
    }

    /// Watches exactly these candidates from now on.
    pub(crate) fn watch_only(
        &mut self,
        now: Instant,
        wanted: &BTreeSet<MachineId>,
        out: &mut VecDeque<Output>,
    ) {
        let gone: Vec<_> = self
            .peers
            .keys()
            .filter(|m| !wanted.contains(m))
            .copied()
            .collect();
        for machine in gone {
            self.peers.remove(&machine);
            self.timers.clear(&Timer::Watch(machine));
            self.forget_questions(&machine);
            out.push_back(Output::ReleaseLink(machine));
        }
        for &machine in wanted {
            if self.peers.contains_key(&machine) {
                continue;
            }
            let watch = Watch::Unheard;
            self.peers.insert(machine, Peer { watch, due: None });
            self.arm(now, machine);
            out.push_back(Output::KeepLink(machine));
            self.greet(machine, out);
        }
    }

    /// Asks again for the links that are missing.
    pub(crate) fn keep_links(&self, out: &mut VecDeque<Output>) {
        let missing = self
            .peers
            .keys()
            .filter(|machine| !self.links.contains(machine));
        out.extend(missing.map(|machine| Output::KeepLink(*machine)));
    }

    /// Starts or stops to send heartbeats and to give verdicts. Who was heard before is given the
    /// whole time to be heard again.
    pub(crate) fn set_speaking(
        &mut self,
        now: Instant,
        speaking: bool,
        out: &mut VecDeque<Output>,
    ) {
        if self.speaking == speaking {
            return;
        }
        self.speaking = speaking;
        for peer in self.peers.values_mut() {
            if peer.watch == Watch::Suspected {
                peer.watch = Watch::Heard;
            }
        }
        self.questions
            .retain(|_, question| question.asker.is_some());
        let machines: Vec<_> = self.peers.keys().copied().collect();
        for machine in machines {
            self.arm(now, machine);
        }
        if speaking {
            self.beat(now, out);
        } else {
            self.timers.clear(&Timer::Heartbeat);
        }
    }

    /// Tells the candidates that this machine leaves.
    pub(crate) fn resign(&self, out: &mut VecDeque<Output>) {
        let linked = self
            .peers
            .keys()
            .filter(|machine| self.links.contains(machine));
        out.extend(linked.map(|machine| Output::Send(*machine, Message::Resign)));
    }

    pub(crate) fn on_link_up(&mut self, machine: MachineId, out: &mut VecDeque<Output>) {
        if self.links.len() < LINKS_MAX {
            self.links.insert(machine);
        }
        if self.peers.contains_key(&machine) {
            self.greet(machine, out);
        }
    }

    pub(crate) fn on_link_down(
        &mut self,
        now: Instant,
        machine: MachineId,
        stats: &mut Stats,
        out: &mut VecDeque<Output>,
    ) {
        self.links.remove(&machine);
        self.answer_about(&machine, false, out);
        let unanswered: Vec<_> = self
            .questions
            .iter()
            .filter(|(_, q)| q.asked == machine)
            .map(|(nonce, _)| *nonce)
            .collect();
        for nonce in unanswered {
            self.conclude(now, nonce, false, stats);
        }
        let heard = |peer: &Peer| peer.watch == Watch::Heard;
        if self.speaking && self.peers.get(&machine).is_some_and(heard) {
            self.suspect(now, machine, stats, out);
        }
    }

    pub(crate) fn on_message(
        &mut self,
        now: Instant,
        from: MachineId,
        message: &Message,
        stats: &mut Stats,
        out: &mut VecDeque<Output>,
    ) {
        self.hear(now, from);
        self.answer_about(&from, true, out);
        match *message {
            Message::Heartbeat { .. } => {}
            Message::Probe { target, nonce } => self.on_probe(now, from, target, nonce, stats, out),
            Message::ProbeReply { nonce, alive } => {
                if nonce == 0 || nonce >= self.nonce_next {
                    out.push_back(Output::Misbehaved(from, Fault::Unasked));
                } else if self.questions.get(&nonce).is_some_and(|q| q.asked == from) {
                    self.conclude(now, nonce, alive, stats);
                }
            }
            Message::Resign => self.set_dead(now, from),
        }
    }

    /// A machine repeated its candidacy. What was on its way when the machine died has arrived
    /// one refresh interval later; what comes after that was said by the living.
    pub(crate) fn on_refreshed(&mut self, now: Instant, machine: &MachineId) {
        let refresh = self.config.refresh_interval;
        let Some(peer) = self.peers.get_mut(machine) else {
            return;
        };
        if matches!(peer.watch, Watch::Dead { since } if now.since(since) > refresh) {
            peer.watch = Watch::Remote;
            self.changed = true;
        }
    }

    pub(crate) fn on_timeout(
        &mut self,
        now: Instant,
        stats: &mut Stats,
        out: &mut VecDeque<Output>,
    ) {
        while let Some((_, timer)) = self.timers.pop_due(now) {
            match timer {
                Timer::Heartbeat => self.beat(now, out),
                Timer::Answer(nonce) => {
                    if let Some(question) = self.questions.remove(&nonce) {
                        reply(&question, false, out);
                    }
                }
                Timer::Watch(machine) => match self.peers.get(&machine).map(|peer| peer.watch) {
                    Some(Watch::Unheard | Watch::Heard) => {
                        self.suspect(now, machine, stats, out);
                    }
                    Some(Watch::Suspected) => {
                        stats.deaths += 1;
                        self.set_dead(now, machine);
                    }
                    Some(Watch::Dead { .. } | Watch::Remote) | None => {}
                },
            }
        }
    }

    /// This machine was called later than it asked for: what the others said meanwhile still lies
    /// in its queue. Silence is counted without that time, and with more patience from now on.
    pub(crate) fn on_late(&mut self, now: Instant, lateness: Duration) {
        let queue_read = now + self.config.heartbeat_interval;
        self.strikes = (self.strikes + 1).min(STRIKES_MAX);
        self.calm = 0;
        for (machine, peer) in &mut self.peers {
            if let Some(due) = &mut peer.due {
                *due = queue_read.max(*due + lateness);
                self.timers.set(Timer::Watch(*machine), *due);
            }
        }
    }

    fn on_probe(
        &mut self,
        now: Instant,
        from: MachineId,
        target: MachineId,
        nonce: u64,
        stats: &mut Stats,
        out: &mut VecDeque<Output>,
    ) {
        if target == self.own {
            // A machine that only listens is as good as dead to whoever waits for its work.
            let alive = self.speaking;
            out.push_back(Output::Send(from, Message::ProbeReply { nonce, alive }));
            return;
        }
        let reachable = self.peers.contains_key(&target) && self.links.contains(&target);
        let asker = Some((from, nonce));
        let forwarded = self.peers.contains_key(&from) && reachable && {
            let asked = self.ask(
                Question {
                    asked: target,
                    target,
                    asker,
                },
                out,
            );
            stats.probes_over_limit += u64::from(asked.is_none());
            asked
                .inspect(|nonce| {
                    // Leaves time for the way.
                    let answer_at = now + self.config.probe_timeout * 3 / 4;
                    self.timers.set(Timer::Answer(*nonce), answer_at);
                })
                .is_some()
        };
        if !forwarded {
            let alive = false;
            out.push_back(Output::Send(from, Message::ProbeReply { nonce, alive }));
        }
    }

    /// Sends a probe; `None` if too many are open.
    fn ask(&mut self, question: Question, out: &mut VecDeque<Output>) -> Option<u64> {
        let nonce = self.nonce_next;
        self.questions.insert(nonce, question).ok()?;
        self.nonce_next += 1;
        let target = question.target;
        out.push_back(Output::Send(
            question.asked,
            Message::Probe { target, nonce },
        ));
        Some(nonce)
    }

    /// Asks helpers about a candidate; without any, it has the time of a probe left to be heard.
    fn suspect(
        &mut self,
        now: Instant,
        machine: MachineId,
        stats: &mut Stats,
        out: &mut VecDeque<Output>,
    ) {
        stats.suspicions += 1;
        let mut helpers: Vec<_> = self
            .peers
            .iter()
            .filter(|(helper, peer)| {
                **helper != machine && peer.watch == Watch::Heard && self.links.contains(*helper)
            })
            .map(|(helper, _)| *helper)
            .collect();
        self.rng.shuffle(&mut helpers);
        helpers.truncate(self.config.probes);
        self.set_watch(machine, Watch::Suspected);
        self.arm(now, machine);
        for asked in helpers {
            let question = Question {
                asked,
                target: machine,
                asker: None,
            };
            stats.probes_over_limit += u64::from(self.ask(question, out).is_none());
        }
    }

    /// A question of our own suspicion is answered, or never will be.
    fn conclude(&mut self, now: Instant, nonce: u64, alive: bool, stats: &mut Stats) {
        let is_ours = |question: &Question| question.asker.is_none();
        if !self.questions.get(&nonce).is_some_and(is_ours) {
            return;
        }
        let Some(Question { target, .. }) = self.questions.remove(&nonce) else {
            return;
        };
        let open = |question: &Question| question.target == target && question.asker.is_none();
        if alive {
            self.hear(now, target);
        } else if !self.questions.iter().any(|(_, question)| open(question)) {
            stats.deaths += 1;
            self.set_dead(now, target);
        }
    }

    /// A candidate gave a sign of life, itself or by a helper.
    fn hear(&mut self, now: Instant, machine: MachineId) {
        let Some(peer) = self.peers.get_mut(&machine) else {
            return;
        };
        match peer.watch {
            Watch::Heard => {}
            Watch::Unheard | Watch::Remote => peer.watch = Watch::Heard,
            Watch::Suspected => {
                peer.watch = Watch::Heard;
                self.forget_questions(&machine);
            }
            Watch::Dead { .. } => {
                peer.watch = Watch::Heard;
                self.changed = true;
            }
        }
        self.arm(now, machine);
    }

    fn set_dead(&mut self, now: Instant, machine: MachineId) {
        self.forget_questions(&machine);
        self.set_watch(machine, Watch::Dead { since: now });
        self.arm(now, machine);
        self.changed = true;
    }

    fn set_watch(&mut self, machine: MachineId, watch: Watch) {
        if let Some(peer) = self.peers.get_mut(&machine) {
            peer.watch = watch;
        }
    }

    /// Sets the timer that a peer's watch needs, from now on.
    fn arm(&mut self, now: Instant, machine: MachineId) {
        let patience = self.config.suspect_after * (STRIKES_PER_MULTIPLE + self.strikes)
            / STRIKES_PER_MULTIPLE;
        let Some(peer) = self.peers.get_mut(&machine) else {
            return;
        };
        let wait = match peer.watch {
            Watch::Unheard => Some(self.config.join_grace),
            Watch::Heard => Some(patience),
            Watch::Suspected => Some(self.config.probe_timeout),
            Watch::Dead { .. } | Watch::Remote => None,
        };
        peer.due = wait.filter(|_| self.speaking).map(|wait| now + wait);
        match peer.due {
            Some(due) => self.timers.set(Timer::Watch(machine), due),
            None => {
                self.timers.clear(&Timer::Watch(machine));
            }
        }
    }

    fn beat(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        self.heartbeats += 1;
        let counter = self.heartbeats;
        let linked = self
            .peers
            .keys()
            .filter(|machine| self.links.contains(machine));
        out.extend(linked.map(|machine| Output::Send(*machine, Message::Heartbeat { counter })));
        self.timers
            .set(Timer::Heartbeat, now + self.config.heartbeat_interval);
        self.calm += 1;
        if self.calm >= BEATS_PER_FORGIVENESS {
            self.calm = 0;
            self.strikes = self.strikes.saturating_sub(1);
        }
    }

    /// A heartbeat out of turn, so that a new link proves life at once.
    fn greet(&mut self, machine: MachineId, out: &mut VecDeque<Output>) {
        if self.speaking && self.links.contains(&machine) {
            self.heartbeats += 1;
            let counter = self.heartbeats;
            out.push_back(Output::Send(machine, Message::Heartbeat { counter }));
        }
    }

    /// Answers those on whose behalf a machine was probed.
    fn answer_about(&mut self, target: &MachineId, alive: bool, out: &mut VecDeque<Output>) {
        let timers = &mut self.timers;
        self.questions.retain(|nonce, question| {
            let answered = question.target == *target && question.asker.is_some();
            if answered {
                reply(question, alive, out);
                timers.clear(&Timer::Answer(*nonce));
            }
            !answered
        });
    }

    /// Drops the questions of a suspicion that has ended.
    fn forget_questions(&mut self, target: &MachineId) {
        self.questions
            .retain(|_, q| q.target != *target || q.asker.is_some());
    }
}

fn reply(question: &Question, alive: bool, out: &mut VecDeque<Output>) {
    if let Some((asker, nonce)) = question.asker {
        out.push_back(Output::Send(asker, Message::ProbeReply { nonce, alive }));
    }
}

/// Most links that are kept track of; more are as good as none. Source: guess, above the links
/// that a node has.
const LINKS_MAX: usize = 1_024;
/// Most probes that are open at once, own and others'. Source: guess, two about each of 32
/// candidates.
pub(crate) const QUESTIONS_MAX: usize = 64;
/// Strikes that double the patience. Lifeguard takes one; see the module's documentation.
const STRIKES_PER_MULTIPLE: u32 = 4;
/// Most strikes; with them, patience is three times the configured one. Lifeguard: 8 multiples.
const STRIKES_MAX: u32 = 8;
/// Heartbeats in time that take one strike away: a second of them by default. Source: guess.
const BEATS_PER_FORGIVENESS: u32 = 20;
