//! Probes: what the detector asks when it suspects, and what it answers.

use std::collections::VecDeque;

use model::MachineId;
use statemachine::Instant;

use super::{Detector, Peer, Role, Timer, Watch};
use crate::{Message, Output, Stats};

/// A probe that was sent and is not answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    /// Who was asked.
    pub(super) asked: MachineId,
    /// About whom.
    pub(super) target: MachineId,
    /// On whose behalf, with the nonce to answer it under; `None` for this machine's own suspicion.
    pub(super) asker: Option<(MachineId, u64)>,
}

impl Detector {
    pub(super) fn on_probe(
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

    /// Asks a candidate whether it is alive, and helpers about it. If it is a relay, those that
    /// would serve before this machine are asked, too.
    pub(super) fn suspect(
        &mut self,
        now: Instant,
        machine: MachineId,
        stats: &mut Stats,
        out: &mut VecDeque<Output>,
    ) {
        stats.suspicions += 1;
        out.push_back(Output::Suspected(machine));
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
        let direct = self.links.contains(&machine).then_some(machine);
        for asked in helpers.into_iter().chain(direct) {
            let question = Question {
                asked,
                target: machine,
                asker: None,
            };
            stats.probes_over_limit += u64::from(self.ask(question, out).is_none());
        }
        if self
            .peers
            .get(&machine)
            .is_some_and(|peer| peer.role == Role::Relay)
        {
            self.ask_rivals(now, stats, out);
        }
    }

    /// Asks those that would serve before this machine whether they are alive.
    fn ask_rivals(&mut self, now: Instant, stats: &mut Stats, out: &mut VecDeque<Output>) {
        let quiet = |peer: &Peer| {
            let silent = matches!(peer.watch, Watch::Heard | Watch::Unheard { .. });
            peer.role == Role::Rival && silent
        };
        let rivals: Vec<_> = self
            .peers
            .iter()
            .filter(|(machine, peer)| quiet(peer) && self.links.contains(*machine))
            .map(|(machine, _)| *machine)
            .collect();
        for target in rivals {
            let question = Question {
                asked: target,
                target,
                asker: None,
            };
            if self.ask(question, out).is_some() {
                self.set_watch(target, Watch::Suspected);
                self.arm(now, target);
            } else {
                stats.probes_over_limit += 1;
            }
        }
    }

    /// A question of our own suspicion is answered, or never will be.
    pub(super) fn conclude(&mut self, now: Instant, nonce: u64, alive: bool, stats: &mut Stats) {
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

    /// Answers those on whose behalf a machine was probed.
    pub(super) fn answer_about(
        &mut self,
        target: &MachineId,
        alive: bool,
        out: &mut VecDeque<Output>,
    ) {
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
    pub(super) fn forget_questions(&mut self, target: &MachineId) {
        self.questions
            .retain(|_, q| q.target != *target || q.asker.is_some());
    }
}

pub(super) fn reply(question: &Question, alive: bool, out: &mut VecDeque<Output>) {
    if let Some((asker, nonce)) = question.asker {
        out.push_back(Output::Send(asker, Message::ProbeReply { nonce, alive }));
    }
}

/// Most probes that are open at once, own and others'. Source: guess, two about each of 32
/// candidates.
pub(crate) const QUESTIONS_MAX: usize = 64;
