//! What goes wrong, when it is drawn, and how it heals.

use std::time::Duration;

use engine::{CleanStop, Input};
use model::{ClockState, LogId};
use statemachine::Instant;

use crate::machine::uplink;
use crate::network::{LinkNumber, Parcel, Weather};
use crate::scenario::Fault;
use crate::world::{Cause, Event, World};

impl World {
    /// Draws a fault, lets it happen and draws when the next one comes.
    pub(crate) fn draw_fault(&mut self) {
        let Some(every) = self.plan.fault_every.filter(|_| self.publishing) else {
            return;
        };
        if let Some(fault) = self.faults.choose(self.plan.faults).copied() {
            self.strike(fault);
        }
        let next = self.faults.jitter(every);
        self.after(next, Event::Fault);
    }

    pub(crate) fn strike(&mut self, fault: Fault) {
        self.trace.note(self.now, 0, "fault", &format!("{fault:?}"));
        self.meter.on_fault(fault);
        let machine = self.faults.index(self.site.len()).unwrap_or(0);
        let candidate = self
            .faults
            .index(self.plan.candidates(self.site.len()))
            .unwrap_or(0);
        let relay = self.relay().unwrap_or(machine);
        let pause = self.faults.jitter(OUTAGE);
        match fault {
            Fault::Kill => self.crash(machine, true),
            Fault::PowerCut => self.crash(machine, false),
            Fault::KillRelay => self.crash(relay, true),
            Fault::Stop => {
                if let Some(running) = &mut self.machines[machine].running {
                    running.stopping = true;
                    self.input(machine, Input::Stop);
                }
            }
            Fault::Pause => self.pause(machine, pause),
            Fault::PauseRelay => self.pause(relay, pause),
            Fault::Partition => self.part(false, pause * 2),
            Fault::OneWay => self.part(true, pause * 2),
            Fault::Swizzle => self.swizzle(),
            Fault::SinkOutage => {
                self.set_sink(false);
                self.after(pause, Event::SinkUp);
            }
            Fault::SinkLost => self.set_sink(false),
            Fault::KillCandidates => {
                let candidates = self.plan.candidates(self.site.len());
                (0..candidates).for_each(|candidate| self.crash(candidate, true));
            }
            Fault::Halves(apart) => self.part_halves(apart),
            Fault::MassFailure => self.kill_most(MASS_PERCENT),
            Fault::Revoke => self.revoke(machine),
            Fault::Redeem => self.redeem(machine),
            Fault::RollBack => {
                self.crash(machine, true);
                if self.others_know_of_outcast(machine) {
                    self.machines[machine].disk.forget_revocations();
                }
            }
            Fault::ClockStep => self.step_clock(machine),
            Fault::BitRot => self.rot(machine, true),
            Fault::BitRotOfOthers => self.rot(machine, false),
            Fault::Retain => self.retain(machine),
            Fault::Wipe => self.wipe(machine),
            Fault::Slow => self.slow_down(),
            Fault::SwitchOn => self.switch_on(),
            Fault::SwitchOff => {
                let candidates = self.plan.candidates(self.site.len());
                self.switch_off(candidates.saturating_sub(1));
            }
            Fault::Blackout => self.black_out(),
            Fault::UplinkCut => {
                self.set_uplink(candidate, false);
                self.after(pause, Event::UplinkUp(candidate));
            }
        }
    }

    /// The network falls apart, wholly or in one direction.
    fn part(&mut self, one_way: bool, pause: Duration) {
        let sides = (0..self.site.len()).map(|_| u8::from(self.faults.chance(500)));
        let sides: Vec<u8> = sides.collect();
        let deaf = self.network.partition(&sides, one_way);
        self.deafen(deaf);
        self.after(pause, Event::HealNetwork);
    }

    /// Machines are cut off one after the other, and come back in another order.
    fn swizzle(&mut self) {
        for machine in 0..self.site.len() {
            if self.faults.chance(500) {
                let (from, to) = (self.faults.jitter(OUTAGE), self.faults.jitter(OUTAGE));
                self.after(from, Event::Clog(machine));
                self.after(from + to, Event::Unclog(machine));
            }
        }
    }

    /// Ends of links hear nothing any more, and find out in time.
    pub(crate) fn deafen(&mut self, ends: Vec<(Duration, LinkNumber, usize)>) {
        for (delay, link, at) in ends {
            self.after(delay, Event::EndBreaks(link, at));
        }
    }

    /// One end of a link has waited for long enough; the other one hears of that sooner or later.
    pub(crate) fn on_end_breaks(&mut self, link: LinkNumber, at: usize) {
        if self.network.is_cut(link)
            && let Some((end, heard)) = self.network.close_end(link, at)
        {
            self.tell_link_down(&[end]);
            self.after(heard, Event::LinkBreaks(link, Cause::Silence));
        }
    }

    /// A machine that serves an origin, in its own eyes or those of the first that runs.
    fn relay(&self) -> Option<usize> {
        let running = self
            .machines
            .iter()
            .find_map(|machine| machine.running.as_ref())?;
        let relays = running.node.relays(&uplink());
        relays.first().and_then(|relay| self.site.number(relay))
    }

    /// A node is gone at once; its machine starts again after a while.
    pub(crate) fn crash(&mut self, machine: usize, polite: bool) {
        let Some(running) = self.machines[machine].running.take() else {
            return;
        };
        if let Some(due) = running.due {
            self.timers.remove(&(due, machine));
        }
        self.trace.note(self.now, machine, "crash", "");
        let (epoch, disk) = (running.node.epoch(), &mut self.machines[machine].disk);
        disk.crash();
        if !self.insiders.contains(machine) {
            self.checker.on_crash(machine, disk);
        }
        let log = LogId {
            machine: self.site.id(machine),
            epoch,
        };
        let last_sequence = self.machines[machine].disk.end(&log);
        let stop = CleanStop {
            epoch,
            last_sequence,
            state_counter: u64::MAX / 2,
        };
        self.plant_in_crash(machine, stop);
        self.leave(machine, polite);
        let down = self.faults.jitter(DOWN);
        self.after(down, Event::Start(machine));
    }

    /// A node has stopped in order; its machine starts again after a while.
    pub(crate) fn on_stopped(&mut self, machine: usize, clean: CleanStop) {
        let Some(running) = self.machines[machine].running.take() else {
            return;
        };
        if let Some(due) = running.due {
            self.timers.remove(&(due, machine));
        }
        self.trace
            .note(self.now, machine, "stopped", &format!("{clean:?}"));
        self.machines[machine].disk.stop(clean);
        self.leave(machine, true);
        let down = self.faults.jitter(DOWN);
        self.after(down, Event::Start(machine));
    }

    fn leave(&mut self, machine: usize, polite: bool) {
        for (delay, link) in self.network.abandon(machine, polite) {
            self.after(delay, Event::LinkBreaks(link, Cause::Silence));
        }
    }

    fn pause(&mut self, machine: usize, duration: Duration) {
        let life = self.machines[machine].life;
        if let Some(running) = &mut self.machines[machine].running
            && running.paused.is_none()
        {
            running.paused = Some(Vec::new());
            self.after(duration, Event::Resume(machine, life));
        }
    }

    /// A process goes on: first its timers, then what arrived meanwhile, as in the loop of a real
    /// node.
    pub(crate) fn resume(&mut self, machine: usize) {
        let Some(running) = &mut self.machines[machine].running else {
            return;
        };
        let Some(queue) = running.paused.take() else {
            return;
        };
        self.fire(machine);
        for input in queue {
            self.input(machine, input);
        }
    }

    pub(crate) fn heal_network(&mut self) {
        let parcels = self.network.heal(self.now);
        self.let_go(parcels);
    }

    pub(crate) fn clog(&mut self, machine: usize) {
        if self.publishing {
            let deaf = self.network.clog(machine);
            self.deafen(deaf);
        }
    }

    pub(crate) fn unclog(&mut self, machine: usize) {
        let parcels = self.network.unclog(self.now, machine);
        self.let_go(parcels);
    }

    fn let_go(&mut self, parcels: Vec<(Instant, Parcel)>) {
        for (at, parcel) in parcels {
            self.at(at, Event::Frame(parcel));
        }
    }

    pub(crate) fn set_sink(&mut self, up: bool) {
        self.sink.set_up(up);
        for machine in 0..self.site.len() {
            self.tell_reachable(machine);
        }
    }

    pub(crate) fn set_uplink(&mut self, machine: usize, up: bool) {
        self.machines[machine].reaches_sink = up;
        self.tell_reachable(machine);
    }

    fn tell_reachable(&mut self, machine: usize) {
        if self.site.is_candidate(machine) {
            let reachable = self.sink.is_up() && self.machines[machine].reaches_sink;
            self.input(machine, Input::UplinkReachable(uplink(), reachable));
        }
    }

    /// Every fault ends, and nothing new is published.
    pub(crate) fn calm(&mut self) {
        self.publishing = false;
        self.network.set_weather(Weather::CALM);
        self.sink.calm();
        self.heal_network();
        self.set_sink(true);
        self.switch_on();
        for machine in 0..self.site.len() {
            self.machines[machine].disk.set_slow(false);
            self.network.set_slow(machine, false);
            self.machines[machine].clock = ClockState::Synchronised;
            self.machines[machine].skew = 0;
            self.set_uplink(machine, true);
            self.resume(machine);
            self.start(machine);
        }
    }
}

/// How many of a hundred machines die at once. Source: design, section 14, row c.
const MASS_PERCENT: usize = 80;
/// Mean time that a machine is down. Shorter than the silence that makes windows partial, or not.
const DOWN: Duration = Duration::from_secs(2);
/// Mean time of pauses and outages.
const OUTAGE: Duration = Duration::from_secs(2);
