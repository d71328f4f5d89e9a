//! The machine: who stands, who serves, and what follows when that changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::MachineId;
use statemachine::{BoundedMap, Deadline, Instant, Rng, StateMachine, Timers};

use crate::detector::{Detector, QUESTIONS_MAX, Role};
use crate::ranking::{Relay, relay_of};
use crate::uplink::{Own, Taken, Uplink};
use crate::{Candidacy, Config, Input, Output, Stats, UplinkId};

/// How far this machine takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It stands nowhere.
    Watching,
    /// It stands, but waits for [`Input::StatesRead`]: a start is a pause of unknown length.
    Reading,
    /// It stands, gives verdicts and may serve.
    Active,
    /// It is about to stop.
    Resigned,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Repeat the own candidacies.
    Refresh,
    /// The own candidacy has stood long enough.
    Settle(UplinkId),
    /// A candidacy was not repeated for too long.
    Expire(UplinkId, MachineId),
}

/// The election of one machine.
#[derive(Debug)]
pub struct Election {
    own: MachineId,
    config: Config,
    phase: Phase,
    detector: Detector,
    uplinks: BoundedMap<UplinkId, Uplink>,
    origins: BTreeSet<MachineId>,
    timers: Timers<Timer>,
    /// When this machine was called last; time before that was not slept through.
    called: Instant,
    /// A fact changed that relays follow from.
    dirty: bool,
    stats: Stats,
    outputs: VecDeque<Output>,
}

impl Election {
    /// Most uplinks. An own one takes the place of one that is known from others only.
    /// Source: guess.
    pub const UPLINKS_MAX: usize = 8;
    /// Most origins. Source: eight times the thousand machines of a large site (design, section
    /// 15).
    pub const ORIGINS_MAX: usize = 8_000;

    /// An election that knows of no candidate.
    #[must_use]
    pub fn new(own: MachineId, config: Config, rng: Rng) -> Self {
        Self {
            own,
            phase: Phase::Watching,
            detector: Detector::new(own, config.clone(), rng),
            config,
            uplinks: BoundedMap::new(Self::UPLINKS_MAX),
            origins: BTreeSet::new(),
            timers: Timers::default(),
            called: Instant::ZERO,
            dirty: false,
            stats: Stats::default(),
            outputs: VecDeque::new(),
        }
    }

    /// The relays of an uplink as this machine sees them, in the order of their ids.
    #[must_use]
    pub fn relays(&self, uplink: &UplinkId) -> Vec<MachineId> {
        let relays = self
            .uplinks
            .get(uplink)
            .map(|uplink| uplink.relays.as_slice());
        relays
            .unwrap_or_default()
            .iter()
            .map(|relay| relay.machine)
            .collect()
    }

    /// Who serves an origin at an uplink; `None` without a relay.
    #[must_use]
    pub fn relay_of(&self, uplink: &UplinkId, origin: &MachineId) -> Option<MachineId> {
        relay_of(uplink, origin, &self.uplinks.get(uplink)?.relays)
    }

    /// What was counted since the start.
    #[must_use]
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// Judges how late this call comes, before anything else is judged by the time that passed.
    fn wake(&mut self, now: Instant) {
        let due = self.next_deadline().map_or(now, |deadline| deadline.at);
        let lateness = now.since(due.max(self.called));
        self.called = now;
        if lateness > self.config.fence_after {
            self.postpone_expiry(now);
            if self.phase == Phase::Active {
                self.fence();
            }
        } else if lateness > self.config.heartbeat_interval {
            self.detector.on_late(now, lateness);
        }
    }

    /// Candidacies may have been repeated while this machine could not listen.
    fn postpone_expiry(&mut self, now: Instant) {
        let at = now + self.config.expire_after();
        for (id, uplink) in self.uplinks.iter() {
            for machine in uplink.others() {
                self.timers.set(Timer::Expire(id.clone(), *machine), at);
            }
        }
    }

    /// Somebody else may serve by now: says so, and serves nothing until the states are read.
    fn fence(&mut self) {
        self.stats.fences += 1;
        self.phase = Phase::Reading;
        self.dirty = true;
        self.outputs.push_back(Output::Reread);
        for (id, uplink) in self.uplinks.iter_mut() {
            self.timers.clear(&Timer::Settle(id.clone()));
            if let Some(own) = uplink.own.as_mut().filter(|own| own.current.standing) {
                own.since = None;
                own.told.serving = false;
                own.told.settled = false;
                own.untold = true;
            }
        }
    }

    fn on_own_candidacy(&mut self, now: Instant, id: UplinkId, candidacy: Candidacy) {
        if self.phase == Phase::Resigned || !self.make_room(&id) {
            return;
        }
        let Ok(uplink) = self.uplinks.entry(id.clone(), Uplink::new) else {
            self.stats.uplinks_over_limit += 1;
            return;
        };
        let current = Candidacy {
            cost_class: candidacy.cost_class.min(Candidacy::COST_CLASS_MAX),
            load: candidacy.load.min(Candidacy::PERCENT_MAX),
            health: candidacy.health.min(Candidacy::PERCENT_MAX),
            serving: false,
            settled: false,
            ..candidacy
        };
        let active = self.phase == Phase::Active;
        let own = uplink
            .own
            .get_or_insert_with(|| Own::new(Candidacy::default(), current.clone()));
        if own.current == current {
            return;
        }
        let (before, told) = (own.current.standing, own.told.score());
        own.current = current;
        match (before, own.current.standing) {
            (true, false) => {
                self.timers.clear(&Timer::Settle(id));
                own.tell(now, self.config.settle_after);
            }
            (false, true) if active => self.stand(now, id),
            // Small changes of load and health wait for the next repetition.
            (true, true) if active => {
                if own.current.score().abs_diff(told) > self.config.hysteresis / 2 {
                    own.tell(now, self.config.settle_after);
                }
            }
            (_, _) => {}
        }
        self.dirty = true;
    }

    /// Begins to stand for an uplink, with everyone knowing.
    fn stand(&mut self, now: Instant, id: UplinkId) {
        if let Some(own) = self
            .uplinks
            .get_mut(&id)
            .and_then(|uplink| uplink.own.as_mut())
        {
            own.since = Some(now);
            own.tell(now, self.config.settle_after);
            self.timers
                .set(Timer::Settle(id), now + self.config.settle_after);
        }
    }

    /// The uplinks that this machine stands for.
    fn stood_for(&self) -> Vec<UplinkId> {
        let standing = self.uplinks.iter().filter(|(_, uplink)| uplink.stands());
        standing.map(|(id, _)| id.clone()).collect()
    }

    /// Drops an uplink that is known from others only if an own one needs its place.
    fn make_room(&mut self, id: &UplinkId) -> bool {
        if self.uplinks.contains_key(id) || self.uplinks.len() < Self::UPLINKS_MAX {
            return true;
        }
        let foreign = self
            .uplinks
            .iter()
            .rev()
            .find(|(_, uplink)| uplink.own.is_none());
        let Some(foreign) = foreign.map(|(id, _)| id.clone()) else {
            self.stats.uplinks_over_limit += 1;
            return false;
        };
        if let Some(uplink) = self.uplinks.remove(&foreign) {
            for machine in uplink.others() {
                self.timers.clear(&Timer::Expire(foreign.clone(), *machine));
            }
        }
        true
    }

    fn on_candidacy(
        &mut self,
        now: Instant,
        machine: MachineId,
        id: UplinkId,
        candidacy: Candidacy,
    ) {
        if machine == self.own {
            return;
        }
        if !candidacy.standing {
            self.drop_candidacy(&id, machine);
            return;
        }
        let Ok(uplink) = self.uplinks.entry(id.clone(), Uplink::new) else {
            self.stats.uplinks_over_limit += 1;
            return;
        };
        self.dirty |= uplink.other(&machine) != Some(&candidacy);
        match uplink.put(machine, candidacy, &self.config) {
            Taken::Yes => {}
            Taken::InPlaceOf(worst) => {
                self.stats.candidacies_over_limit += 1;
                self.timers.clear(&Timer::Expire(id.clone(), worst));
            }
            Taken::No => {
                self.stats.candidacies_over_limit += 1;
                return;
            }
        }
        self.detector.on_refreshed(now, &machine);
        self.timers
            .set(Timer::Expire(id, machine), now + self.config.expire_after());
    }

    fn drop_candidacy(&mut self, id: &UplinkId, machine: MachineId) {
        if self
            .uplinks
            .get_mut(id)
            .and_then(|uplink| uplink.remove(&machine))
            .is_some()
        {
            self.timers.clear(&Timer::Expire(id.clone(), machine));
            self.dirty = true;
        }
    }

    fn on_origin(&mut self, origin: MachineId) {
        if self.origins.contains(&origin) {
            return;
        }
        if self.origins.len() >= Self::ORIGINS_MAX {
            self.stats.origins_over_limit += 1;
            return;
        }
        self.origins.insert(origin);
        for (id, uplink) in self.uplinks.iter_mut() {
            if relay_of(id, &origin, &uplink.relays) == Some(self.own) {
                uplink.served.insert(origin);
                self.outputs.push_back(Output::Serve(id.clone(), origin));
            }
        }
    }

    fn on_states_read(&mut self, now: Instant) {
        if self.phase != Phase::Reading {
            return;
        }
        self.phase = Phase::Active;
        self.dirty = true;
        for id in self.stood_for() {
            self.stand(now, id);
        }
    }

    fn on_resign(&mut self) {
        self.phase = Phase::Resigned;
        self.dirty = true;
        self.detector.resign(&mut self.outputs);
        for (id, uplink) in self.uplinks.iter_mut() {
            self.timers.clear(&Timer::Settle(id.clone()));
            if let Some(own) = uplink.own.as_mut().filter(|own| own.current.standing) {
                own.current.standing = false;
                own.told = own.current.clone();
                own.untold = true;
            }
        }
    }

    fn tell(&mut self, now: Instant, id: &UplinkId) {
        if let Some(own) = self
            .uplinks
            .get_mut(id)
            .and_then(|uplink| uplink.own.as_mut())
        {
            own.tell(now, self.config.settle_after);
            self.dirty = true;
        }
    }

    fn on_timer(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Refresh => {
                self.detector.keep_links(&mut self.outputs);
                for id in self.stood_for() {
                    self.tell(now, &id);
                }
                self.timers
                    .set(Timer::Refresh, now + self.config.refresh_interval);
            }
            Timer::Settle(id) => self.tell(now, &id),
            // Who is heard has better evidence of its life than a state that got stuck.
            Timer::Expire(id, machine) if self.detector.is_heard(&machine) => {
                let at = now + self.config.expire_after();
                self.timers.set(Timer::Expire(id, machine), at);
            }
            Timer::Expire(id, machine) => self.drop_candidacy(&id, machine),
        }
    }

    /// Draws the consequences of what changed in this call, once.
    fn settle(&mut self, now: Instant) {
        let stands = self.uplinks.iter().any(|(_, uplink)| uplink.stands());
        match (self.phase, stands) {
            (Phase::Watching, true) => {
                self.phase = Phase::Reading;
                self.outputs.push_back(Output::Reread);
            }
            (Phase::Reading | Phase::Active, false) => self.phase = Phase::Watching,
            (_, _) => {}
        }
        let active = self.phase == Phase::Active;
        self.detector.set_speaking(now, active, &mut self.outputs);
        if active {
            self.timers
                .set_if_idle(Timer::Refresh, now + self.config.refresh_interval);
        } else {
            self.timers.clear(&Timer::Refresh);
        }
        if self.detector.take_changed() || self.dirty {
            for (_, uplink) in self.uplinks.iter_mut() {
                uplink.unseat(|machine| self.detector.is_alive(machine));
            }
            for id in self.uplinks.keys().cloned().collect::<Vec<_>>() {
                self.elect(&id);
            }
            self.uplinks.retain(|_, uplink| !uplink.is_idle());
            // Who resigned keeps its links until the end, so that its last words get through.
            if self.phase != Phase::Resigned {
                let roles = self.roles();
                let beating = active && self.uplinks.iter().any(|(_, u)| u.has_relay(&self.own));
                self.detector
                    .watch_only(now, &roles, beating, &mut self.outputs);
            }
        }
        self.dirty = false;
        for (id, uplink) in self.uplinks.iter_mut() {
            if let Some(own) = uplink.own.as_mut().filter(|own| own.untold) {
                own.untold = false;
                self.outputs
                    .push_back(Output::Announce(id.clone(), own.told.clone()));
            }
        }
    }

    /// The candidates that this machine stands beside, and what each is to it.
    fn roles(&self) -> BTreeMap<MachineId, Role> {
        let mut roles = BTreeMap::new();
        for (_, uplink) in self.uplinks.iter() {
            let electorate = uplink.electorate(self.own, &self.config);
            let Some(own) = electorate.iter().position(|(m, _)| *m == self.own) else {
                continue;
            };
            for (place, (machine, _)) in electorate.iter().enumerate() {
                let role = match place < own {
                    _ if uplink.has_relay(machine) => Role::Relay,
                    true => Role::Rival,
                    false => Role::Reserve,
                };
                let known = roles.entry(*machine).or_insert(role);
                *known = role.max(*known);
            }
        }
        roles.remove(&self.own);
        roles
    }

    /// Finds the relays of an uplink, and what this machine serves there.
    fn elect(&mut self, id: &UplinkId) {
        let Some(uplink) = self.uplinks.get_mut(id) else {
            return;
        };
        // Who serves does not give way to one of which it knows no more than an old state.
        let serves = uplink.has_relay(&self.own);
        let eligible = |machine: &MachineId| match *machine == self.own {
            true => self.phase == Phase::Active,
            false if serves && self.phase == Phase::Active => self.detector.is_evident(machine),
            false => self.detector.is_alive(machine),
        };
        let mut relays: Vec<_> = uplink
            .electorate(self.own, &self.config)
            .into_iter()
            .filter(|(machine, _)| eligible(machine))
            .take(self.config.relays_count)
            .map(|(machine, c)| Relay {
                machine,
                cost_class: c.cost_class,
            })
            .collect();
        relays.sort_unstable();
        let serving = relays.iter().any(|relay| relay.machine == self.own);
        if let Some(own) = uplink
            .own
            .as_mut()
            .filter(|own| own.told.serving != serving)
        {
            own.told.serving = serving;
            own.untold |= self.phase == Phase::Active;
        }
        if relays == uplink.relays {
            return;
        }
        let ids = |relays: &[Relay]| relays.iter().map(|relay| relay.machine).collect::<Vec<_>>();
        if ids(&relays) != ids(&uplink.relays) {
            self.outputs
                .push_back(Output::Relays(id.clone(), ids(&relays)));
        }
        uplink.relays = relays;
        let is_ours = |o: &&MachineId| relay_of(id, o, &uplink.relays) == Some(self.own);
        let ours: BTreeSet<_> = match serving {
            true => self.origins.iter().filter(is_ours).copied().collect(),
            false => BTreeSet::new(),
        };
        let lost = uplink.served.difference(&ours);
        self.outputs
            .extend(lost.map(|origin| Output::Yield(id.clone(), *origin)));
        let won = ours.difference(&uplink.served);
        self.outputs
            .extend(won.map(|origin| Output::Serve(id.clone(), *origin)));
        uplink.served = ours;
    }
}

impl StateMachine for Election {
    type Input = Input;
    type Output = Output;
    const OUTPUTS_PER_CALL_MAX: usize = 65_536;

    fn handle(&mut self, now: Instant, input: Input) {
        self.wake(now);
        let (stats, outputs) = (&mut self.stats, &mut self.outputs);
        match input {
            Input::OwnCandidacy(uplink, candidacy) => self.on_own_candidacy(now, uplink, candidacy),
            Input::Candidacy(machine, uplink, candidacy) => {
                self.on_candidacy(now, machine, uplink, candidacy);
            }
            Input::Origin(machine) => self.on_origin(machine),
            Input::LinkUp(machine) => self.detector.on_link_up(machine, outputs),
            Input::LinkDown(machine) => self.detector.on_link_down(now, machine, stats, outputs),
            Input::Received(from, message) => {
                self.detector
                    .on_message(now, from, &message, stats, outputs);
            }
            Input::Barred(machine) => {
                for id in self.uplinks.keys().cloned().collect::<Vec<_>>() {
                    self.drop_candidacy(&id, machine);
                }
            }
            Input::StatesRead => self.on_states_read(now),
            Input::Resign => self.on_resign(),
        }
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.wake(now);
        while let Some((_, timer)) = self.timers.pop_due(now) {
            self.on_timer(now, timer);
        }
        self.detector
            .on_timeout(now, &mut self.stats, &mut self.outputs);
        self.settle(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Deadline> {
        let own = self.timers.next_deadline(|timer| match timer {
            Timer::Refresh => "repeat candidacy",
            Timer::Settle(_) => "candidacy settled",
            Timer::Expire(_, _) => "candidacy expired",
        });
        Deadline::earlier(self.detector.next_deadline(), own)
    }
}

// A call yields or serves each origin of each uplink at most once, but for one new origin; says at
// most ten things to or about each candidate, and a few about each uplink.
const _: () = assert!(
    Election::UPLINKS_MAX * (Election::ORIGINS_MAX + 10 * Uplink::CANDIDATES_MAX)
        + 10 * Election::UPLINKS_MAX
        + QUESTIONS_MAX
        < Election::OUTPUTS_PER_CALL_MAX
);

#[cfg(test)]
mod tests;
