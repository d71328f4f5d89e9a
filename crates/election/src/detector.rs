//! Detector: which of the other candidates are alive.
//!
//! SWIM's suspicion with indirect probes (Das, Gupta, Motivala, DSN 2002) and Lifeguard's local
//! health (Dadgar, Phillips, Currey, DSN-W 2018), over heartbeats between all candidates.
//!
//! # Where we differ from the papers
//!
//! - What must be noticed within the budget is the death of a relay, so only relays send
//!   heartbeats, to each candidate over a kept link. The others are asked when it matters: whoever
//!   suspects a relay asks at the same time all that would serve before itself, so that it knows
//!   when the relay is dead who of them is alive. A closed link is a suspicion at once, whoever's
//!   it is.
//! - Verdicts are not gossiped: each candidate finds out for itself, within the same budget.
//! - A refused probe (Lifeguard's nack) ends a suspicion early: when all helpers have lost the
//!   suspect, too, and there is no link to ask it over, it is dead without waiting.
//! - How long silence lasts until it is suspect depends on what the network does (`patience`).
//!   Local health is judged by late timers only, and in steps of a quarter: silence counts only
//!   while this machine was listening, so little is left for the multiplier to forgive.
//! - Who cannot be reached directly but goes on telling everyone that it stands is alive by its
//!   states (`Remote`), so that two candidates behind firewalls do not both serve for ever. What it
//!   said before a link to it was closed does not count: states can be late by seconds.

mod probes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use model::MachineId;
use statemachine::{BoundedMap, Deadline, Instant, Rng, Timers};

pub(crate) use self::probes::QUESTIONS_MAX;
use self::probes::{Question, reply};
use crate::patience::{Gaps, LocalHealth};
use crate::{Config, Fault, Message, Output, Stats};

/// What another candidate is to this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// It would serve after this machine.
    Reserve,
    /// It would serve before this machine if a relay were lost.
    Rival,
    /// It serves: it must be heard of again and again.
    Relay,
}

/// What is known of a candidate's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    /// Known by its state, not heard yet. Alive; if it is a relay, until the grace ends.
    Unheard { since: Instant },
    /// Heard, itself or by a helper. Alive; if it is a relay, until it has been silent for too
    /// long.
    Heard,
    /// Silent or cut off; it is asked, and helpers are. Alive until nobody found it in time.
    Suspected,
    /// Not alive: nobody heard it.
    Dead { since: Instant },
    /// Never heard, but it goes on repeating its candidacy. Alive until that stops.
    Remote,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    watch: Watch,
    role: Role,
    gaps: Gaps,
    /// When its timer is due; set exactly when the timer is.
    due: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Send heartbeats, and notice if this machine is late.
    Tick,
    Watch(MachineId),
    Answer(u64),
}

/// The failure detector among the candidates that this machine stands beside.
#[derive(Debug)]
pub(crate) struct Detector {
    own: MachineId,
    config: Config,
    rng: Rng,
    /// Probes are answered and verdicts given; otherwise it only listens.
    speaking: bool,
    /// Heartbeats are sent: this machine is a relay.
    beating: bool,
    links: BTreeSet<MachineId>,
    peers: BTreeMap<MachineId, Peer>,
    questions: BoundedMap<u64, Question>,
    /// The nonce of the next question; all before were used in this life.
    nonce_next: u64,
    heartbeats: u64,
    health: LocalHealth,
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
            beating: false,
            links: BTreeSet::new(),
            peers: BTreeMap::new(),
            questions: BoundedMap::new(QUESTIONS_MAX),
            nonce_next: 1,
            heartbeats: 0,
            health: LocalHealth::default(),
            timers: Timers::default(),
            changed: false,
        }
    }

    /// Whether a machine counts as alive; who is not watched does.
    pub(crate) fn is_alive(&self, machine: &MachineId) -> bool {
        let dead = |peer: &Peer| matches!(peer.watch, Watch::Dead { .. });
        !self.peers.get(machine).is_some_and(dead)
    }

    /// Whether there is better evidence of a machine's life than its states: its heartbeats, or a
    /// link to it that would have closed.
    pub(crate) fn is_heard(&self, machine: &MachineId) -> bool {
        self.peers.get(machine).is_some_and(|peer| {
            let heard = matches!(peer.watch, Watch::Heard | Watch::Suspected);
            heard && (peer.role == Role::Relay || self.links.contains(machine))
        })
    }

    /// Whether there is any evidence of a machine's life beyond one state, which may be old.
    pub(crate) fn is_evident(&self, machine: &MachineId) -> bool {
        let evident = |peer: &Peer| match peer.watch {
            Watch::Heard | Watch::Suspected | Watch::Remote => true,
            Watch::Unheard { .. } | Watch::Dead { .. } => false,
        };
        self.peers.get(machine).is_some_and(evident)
    }

    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(crate) fn next_deadline(&self) -> Option<Deadline> {
        self.timers.next_deadline(|timer| match timer {
            Timer::Tick => "heartbeat",
            Timer::Watch(_) => "candidate silent",
            Timer::Answer(_) => "probe unanswered",
        })
    }

    /// Watches exactly these candidates from now on, and sends them heartbeats if `beating`.
    pub(crate) fn watch_only(
        &mut self,
        now: Instant,
        wanted: &BTreeMap<MachineId, Role>,
        beating: bool,
        out: &mut VecDeque<Output>,
    ) {
        let gone: Vec<_> = self
            .peers
            .keys()
            .filter(|machine| !wanted.contains_key(machine))
            .copied()
            .collect();
        for machine in gone {
            self.peers.remove(&machine);
            self.timers.clear(&Timer::Watch(machine));
            self.forget_questions(&machine);
            out.push_back(Output::ReleaseLink(machine));
        }
        for (&machine, &role) in wanted {
            if let Some(peer) = self.peers.get_mut(&machine) {
                if peer.role != role {
                    peer.role = role;
                    peer.gaps.forget_last();
                    self.arm(now, machine);
                }
                continue;
            }
            let peer = Peer {
                watch: Watch::Unheard { since: now },
                role,
                gaps: Gaps::default(),
                due: None,
            };
            self.peers.insert(machine, peer);
            self.arm(now, machine);
            out.push_back(Output::KeepLink(machine));
            self.greet(machine, out);
        }
        let begins = beating && !self.beating;
        self.beating = beating;
        if begins {
            self.beat(now, out);
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

    /// Starts or stops to speak and to give verdicts. Who was heard before is given the whole time
    /// to be heard again.
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
        self.beating &= speaking;
        for peer in self.peers.values_mut() {
            peer.gaps.forget_last();
            if peer.watch == Watch::Suspected {
                peer.watch = Watch::Heard;
            }
        }
        self.questions
            .retain(|_, question| question.asker.is_some());
        let machines: Vec<_> = self.peers.keys().copied().collect();
        for &machine in &machines {
            self.arm(now, machine);
        }
        if speaking {
            self.timers
                .set(Timer::Tick, now + self.config.heartbeat_interval);
            for machine in machines {
                self.greet(machine, out);
            }
        } else {
            self.timers.clear(&Timer::Tick);
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
        match self.peers.get(&machine).map(|peer| peer.watch) {
            Some(Watch::Heard) if self.speaking => self.suspect(now, machine, stats, out),
            // A state that is still on its way was said before this.
            Some(Watch::Remote | Watch::Dead { .. }) => self.set_dead(now, machine),
            Some(Watch::Unheard { .. }) => self.set_watch(machine, Watch::Unheard { since: now }),
            Some(Watch::Heard | Watch::Suspected) | None => {}
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
            Message::Heartbeat { counter } => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.gaps.on_heartbeat(now, counter);
                }
            }
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
        let Some(peer) = self.peers.get(machine) else {
            return;
        };
        let was_said_before = |since| now.since(since) <= refresh;
        match peer.watch {
            Watch::Dead { since } | Watch::Unheard { since } if !was_said_before(since) => {
                self.set_watch(*machine, Watch::Remote);
                self.arm(now, *machine);
                self.changed = true;
            }
            Watch::Dead { .. }
            | Watch::Unheard { .. }
            | Watch::Heard
            | Watch::Suspected
            | Watch::Remote => {}
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
                Timer::Tick => self.tick(now, out),
                Timer::Answer(nonce) => {
                    if let Some(question) = self.questions.remove(&nonce) {
                        reply(&question, false, out);
                    }
                }
                Timer::Watch(machine) => match self.peers.get(&machine).map(|peer| peer.watch) {
                    Some(Watch::Unheard { .. } | Watch::Heard) => {
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
        self.health.strike(now);
        for (machine, peer) in &mut self.peers {
            peer.gaps.forget_last();
            if let Some(due) = &mut peer.due {
                *due = queue_read.max(*due + lateness);
                self.timers.set(Timer::Watch(*machine), *due);
            }
        }
    }

    /// A candidate gave a sign of life, itself or by a helper.
    fn hear(&mut self, now: Instant, machine: MachineId) {
        let Some(peer) = self.peers.get_mut(&machine) else {
            return;
        };
        match peer.watch {
            Watch::Heard => {}
            Watch::Unheard { .. } | Watch::Remote => {
                peer.watch = Watch::Heard;
                self.changed = true;
            }
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
        let Some(peer) = self.peers.get_mut(&machine) else {
            return;
        };
        let is_relay = peer.role == Role::Relay;
        let wait = match peer.watch {
            Watch::Unheard { .. } if is_relay => Some(self.config.join_grace),
            Watch::Heard if is_relay => {
                let patience = peer.gaps.patience(now, self.config.suspect_after);
                Some(self.health.stretch(now, patience))
            }
            Watch::Suspected => Some(self.config.probe_timeout),
            Watch::Unheard { .. } | Watch::Heard | Watch::Dead { .. } | Watch::Remote => None,
        };
        peer.due = wait.filter(|_| self.speaking).map(|wait| now + wait);
        match peer.due {
            Some(due) => self.timers.set(Timer::Watch(machine), due),
            None => {
                self.timers.clear(&Timer::Watch(machine));
            }
        }
    }

    fn tick(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        if self.beating {
            self.beat(now, out);
        } else {
            self.timers
                .set(Timer::Tick, now + self.config.heartbeat_interval);
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
            .set(Timer::Tick, now + self.config.heartbeat_interval);
    }

    /// A heartbeat out of turn, so that a new link proves life at once.
    fn greet(&mut self, machine: MachineId, out: &mut VecDeque<Output>) {
        if self.speaking && self.links.contains(&machine) {
            self.heartbeats += 1;
            let counter = self.heartbeats;
            out.push_back(Output::Send(machine, Message::Heartbeat { counter }));
        }
    }
}

/// Most links that are kept track of; more are as good as none. Source: guess, above the links
/// that a node has.
const LINKS_MAX: usize = 1_024;
