//! What a node says of itself: where its numbers start, its states, its candidacies.

use std::sync::Arc;
use std::time::Duration;

use aggregate::Progress;
use election::{Candidacy, UplinkId};
use identity::{Redemption, Revocation, Role};
use model::{BlockHash, Epoch, LogId, MachineId, Position, State, StateKey, StateKind};
use statemachine::{Instant, Rng, StateMachine as _};

use super::{Node, Timer};
use crate::presence::Idle;
use crate::publisher::Start;
use crate::views::other_site;
use crate::{CleanStop, Config, Output, Presence, Recovered};

impl Node {
    /// Takes in what the disk knew.
    pub(super) fn recover(&mut self, frontier: &[gossip::FrontierEntry], states: &[State]) {
        // Who counts before what they say, and what this machine asks before what others answer.
        let order = |state: &&State| {
            let (kind, origin) = (state.key().kind, state.key().origin);
            let ends_some = matches!(kind, StateKind::Revocation | StateKind::Redemption);
            (
                kind != StateKind::Membership,
                !ends_some,
                origin != self.machine,
            )
        };
        let mut states: Vec<&State> = states.iter().collect();
        states.sort_by_key(order);
        for state in states {
            self.catalogue.apply(state);
            if let Ok(revocation) = Revocation::from_state(state) {
                self.bar(Instant::ZERO, &revocation);
            }
            if let Ok(redemption) = Redemption::from_state(self.identity.trust, state) {
                self.bar_late(Instant::ZERO, &redemption);
            }
            if state.key().kind == StateKind::Renewal {
                self.take_renewal(state); // Everyone is told at the start.
            }
            if state.key().kind == StateKind::NetworkKey {
                self.on_network_key(state);
            }
            if matches!(state.key().kind, StateKind::Letter | StateKind::Reply) {
                self.on_mail(Instant::ZERO, state);
            }
            if let Some((uplink, origin, progress)) = progress_of(state)
                && self.may_relay(&state.key().origin)
            {
                let catalogue = &self.catalogue;
                self.feed
                    .on_progress(Instant::ZERO, &uplink, origin, progress, catalogue);
            }
        }
        let own = LogId {
            machine: self.machine,
            epoch: self.publisher.epoch(),
        };
        for (log, number, definition) in self.catalogue.series() {
            if *log == own {
                self.publisher.remember(number, Arc::clone(definition));
            }
        }
        for entry in frontier {
            self.note_log(entry.log);
            if self.is_of_site(&entry.log.machine) {
                self.origins.insert(entry.log.machine);
            }
        }
        let interest = self.gossip.interest();
        for (machine, member) in self.catalogue.members() {
            let other = other_site(interest, &member.membership);
            self.overlay.place(Instant::ZERO, *machine, other);
        }
    }

    /// What is held of a log has changed: uplinks get those of the own site.
    pub(super) fn note_log(&mut self, log: LogId) {
        if self.is_of_site(&log.machine) {
            self.feed.note_log(log, self.gossip.frontier());
        }
    }

    /// The first input of all: the protocols start.
    pub(super) fn start(&mut self, now: Instant) {
        if !self.config.quiet {
            self.introduce(now);
        }
        self.wait_for_watermark(now);
        self.watch(now);
        self.subscribe(now);
        self.renew(now);
        for machine in self.origins.clone() {
            self.election.handle(now, election::Input::Origin(machine));
            self.feed.refresh(now, machine, &self.catalogue);
        }
    }

    /// Tells everyone that this machine is a member, and where.
    fn introduce(&mut self, now: Instant) {
        let membership = self.identity.membership.as_bytes().to_vec();
        self.say(now, StateKind::Membership, String::new(), membership);
        self.say_presence(now);
    }

    /// Tells everyone something about this machine; that it is a member comes first, if it was
    /// quiet.
    pub(super) fn say(&mut self, now: Instant, kind: StateKind, subject: String, payload: Vec<u8>) {
        if kind != StateKind::Membership && !self.own.has_said(StateKind::Membership) {
            self.introduce(now);
        }
        let state = self
            .own
            .say(&*self.identity.keypair, kind, subject, payload);
        self.gossip.handle(now, gossip::Input::PublishState(state));
    }

    pub(super) fn say_presence(&mut self, now: Instant) {
        if !self.own.has_said(StateKind::Membership) {
            return;
        }
        let presence = Presence {
            addresses: self.addresses.clone(),
            neighbours: self.neighbours(),
        };
        self.say(
            now,
            StateKind::Presence,
            String::new(),
            presence.to_payload(),
        );
        let interval = self.spaced(self.config.presence_interval, PRESENCE_SPACING);
        let again = self.rng.jitter(interval);
        self.timers.set(Timer::Presence, now + again);
    }

    /// An interval, or as much more as keeps what all members say apart by `spacing`: what a
    /// machine hears in a second does not grow with the site.
    pub(super) fn spaced(&self, interval: Duration, spacing: Duration) -> Duration {
        let members = u32::try_from(self.catalogue.count()).unwrap_or(u32::MAX);
        interval.max(spacing.saturating_mul(members))
    }

    /// Says where this machine is soon, but not for every change on its own.
    pub(super) fn say_presence_soon(&mut self, now: Instant) {
        self.timers.set(Timer::Presence, now + PRESENCE_DELAY);
    }

    /// How far time has come is said later, unless a block says it before.
    pub(super) fn wait_for_watermark(&mut self, now: Instant) {
        let interval = self.spaced(self.config.watermark_interval, WATERMARK_SPACING);
        self.timers.set(Timer::Watermark, now + interval);
    }

    pub(super) fn say_watermark(&mut self, now: Instant) {
        let all_told = self.publisher.is_open() && self.publisher.is_idle();
        if let Some(last) = self.publisher.end()
            && self.wall.is_some()
            && all_told
        {
            let watermark = self.publisher.advance_watermark(self.now_wall(now));
            let idle = Idle { last, watermark };
            self.say(now, StateKind::Watermark, String::new(), idle.to_payload());
        }
        self.wait_for_watermark(now);
    }

    /// Where the progress in a line of an origin is told: in the place of what was told of that
    /// line before, and never in the place of what holds of another one.
    pub(super) fn progress_subject(
        &self,
        uplink: &UplinkId,
        origin: &MachineId,
        line: Epoch,
    ) -> String {
        let subject = format!("{uplink}/{origin}");
        let key = StateKey {
            origin: self.machine,
            kind: StateKind::Progress,
            subject,
        };
        let told = self.gossip.state(&key).and_then(progress_of);
        let is_other = told.is_some_and(|(_, _, told)| {
            let epoch = told.through.epoch;
            !self.feed.is_of_line(origin, epoch, line)
        });
        match is_other {
            true => format!("{}/{:08x}", key.subject, line.tag),
            false => key.subject,
        }
    }

    /// Tells the election what this machine's ways to its uplinks are like now.
    pub(super) fn stand(&mut self, now: Instant) {
        let roles = &self.identity.membership.grant().roles;
        let permitted = roles.contains(&Role::Relay);
        for (id, reachable, health) in self.uplinks.iter(now) {
            let Some(config) = self.config.uplinks.iter().find(|config| config.id == *id) else {
                continue;
            };
            let candidacy = Candidacy {
                standing: reachable && permitted,
                cost_class: config.cost_class,
                priority: config.priority,
                load: self.load,
                health,
                serving: false,
                settled: false,
            };
            let input = election::Input::OwnCandidacy(id.clone(), candidacy);
            self.election.handle(now, input);
        }
    }

    /// A fenced election listens: to heartbeats of whoever took its place, and to the states of a
    /// neighbour. Cut off from those that it knows, it does not wait for them for ever.
    pub(super) fn begin_reread(&mut self, now: Instant) {
        let election = &self.config.election;
        self.reread_until = now + election.listen_time + election.join_grace;
        self.timers.set(Timer::Reread, now + election.listen_time);
    }

    /// A neighbour came while a fenced election waits: its states are on their way.
    pub(super) fn prolong_reread(&mut self, now: Instant) {
        if self.timers.is_set(&Timer::Reread) {
            let at = now + self.config.election.listen_time;
            self.timers.set(Timer::Reread, at.min(self.reread_until));
        }
    }

    pub(super) fn end_reread(&mut self, now: Instant) {
        let alone = !self.overlay.has_site();
        if alone && self.overlay.known_of_site() > 0 && now < self.reread_until {
            self.timers.set(Timer::Reread, self.reread_until);
        } else {
            self.election.handle(now, election::Input::StatesRead);
        }
    }

    /// Others hold later states of this machine than it has said: it goes on after those, at once
    /// the first time. If that happens again and again, another machine uses its key and does the
    /// same, so it waits longer each time; neither drives the other on.
    pub(super) fn catch_up_with_own(&mut self, now: Instant) {
        let own = self
            .gossip
            .states()
            .filter(|state| state.key().origin == self.machine);
        let latest = own.map(State::version).max();
        let Some(latest) = latest.filter(|latest| self.own.is_behind(*latest)) else {
            return;
        };
        let (before, wait) = self.moved.unwrap_or((Instant::ZERO, Duration::ZERO));
        if self.moved.is_some() && now < before + wait {
            self.timers.set(Timer::CatchUp, before + wait);
            return;
        }
        let is_calm = now.since(before) > CATCH_UP_WAIT_MAX * 2;
        let wait = if is_calm { Duration::ZERO } else { wait * 2 };
        self.moved = Some((now, wait.clamp(CATCH_UP_WAIT_MIN, CATCH_UP_WAIT_MAX)));
        self.take_epoch_after(now, latest.epoch);
    }

    /// Others know a later life of this machine than its disk does: go on after that one.
    pub(super) fn take_epoch_after(&mut self, now: Instant, counter: u64) {
        let counter = counter.saturating_add(1);
        let epoch = new_epoch(counter, &mut self.rng);
        self.publisher.start_epoch(epoch);
        self.outputs.push_back(Output::EpochStarted(epoch));
        self.own.forget(StateKind::Series);
        for state in self.own.move_to(&*self.identity.keypair, counter) {
            self.gossip.handle(now, gossip::Input::PublishState(state));
        }
    }
}

/// Where the numbering starts: it goes on after a stop in order, and in a new epoch otherwise.
pub(super) fn start_of(
    recovered: &Recovered,
    machine: MachineId,
    config: &Config,
    rng: &mut Rng,
) -> Start {
    let last_own = recovered.last_own;
    let own_runs = recovered.own_runs.clone();
    if let Some(clean) = recovered.clean
        && let Some(last_own) = end_of_clean(recovered, &clean)
    {
        return Start {
            epoch: clean.epoch,
            last: clean.last_sequence,
            last_own,
            own_runs,
            is_lost: false,
            held_until: None,
        };
    }
    let blocks = recovered.frontier.iter().map(|entry| entry.log);
    let blocks = blocks
        .filter(|log| log.machine == machine)
        .map(|log| log.epoch.counter);
    let states = recovered
        .states
        .iter()
        .filter(|state| state.key().origin == machine);
    let states = states.map(|state| state.version().epoch);
    // Later ones than it has begun came back from others, after it was lost.
    let began = recovered.epoch_counter_highest;
    let was_lost = blocks.clone().any(|counter| counter > began);
    let known = blocks.chain(states).max().unwrap_or(0).max(began);
    let held_until = (known > 0).then(|| Instant::ZERO + config.recovery);
    Start {
        epoch: new_epoch(known.saturating_add(1), rng),
        last: 0,
        last_own,
        own_runs,
        is_lost: known == 0 || was_lost,
        held_until,
    }
}

/// The last own block after a stop in order, if there is one; `None` if the disk has damaged the
/// very block that the next one would name, so that the epoch cannot go on.
fn end_of_clean(recovered: &Recovered, clean: &CleanStop) -> Option<Option<(Position, BlockHash)>> {
    let end = Position {
        epoch: clean.epoch,
        sequence: clean.last_sequence,
    };
    if end.sequence == 0 {
        return Some(recovered.last_own);
    }
    let runs = recovered.own_runs.iter();
    let ends = runs.map(|(_, last, hash)| (*last, *hash));
    let mut ends = recovered.last_own.into_iter().chain(ends);
    ends.find(|(last, _)| *last == end).map(Some)
}

pub(super) fn new_epoch(counter: u64, rng: &mut Rng) -> Epoch {
    let tag = u32::try_from(rng.below(1 << 32)).unwrap_or(0);
    Epoch { counter, tag }
}

/// What a state of kind `Progress` says, if it is one and decodes. What a third part of the subject
/// names only keeps the progress of several lines apart.
pub(super) fn progress_of(state: &State) -> Option<(UplinkId, MachineId, Progress)> {
    if state.key().kind != StateKind::Progress {
        return None;
    }
    let (uplink, machine) = state.key().subject.split_once('/')?;
    let machine = machine
        .split_once('/')
        .map_or(machine, |(machine, _)| machine);
    let progress = Progress::from_payload(state.payload()).ok()?;
    Some((uplink.parse().ok()?, machine.parse().ok()?, progress))
}

/// Least time between the presences of two machines, on average. Source: guess; at 1,000 machines
/// each says every 100 s where it is, and 10 a second come by.
pub(super) const PRESENCE_SPACING: Duration = Duration::from_millis(100);
/// Least time between the watermarks of two idle machines, on average. Source: guess; up to 100
/// machines the interval is the configured one, at 1,000 it is 10 s.
const WATERMARK_SPACING: Duration = Duration::from_millis(10);
/// How long a machine waits before it takes another epoch because of its own states, at first and
/// at most. Source: guess.
const CATCH_UP_WAIT_MIN: Duration = Duration::from_secs(1);
const CATCH_UP_WAIT_MAX: Duration = Duration::from_secs(3600);
/// How long changes of presence are gathered. Source: guess.
const PRESENCE_DELAY: Duration = Duration::from_millis(200);
