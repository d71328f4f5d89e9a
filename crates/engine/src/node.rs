//! The node: routes what happened to the protocols, and translates what they say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use aggregate::Progress;
use election::{Candidacy, Election, UplinkId};
use gossip::{Frontier, Gossip, Write};
use identity::Role;
use model::{
    Block, BlockHash, BlockId, ClockState, Epoch, LogId, MachineId, Position, SeriesDefinition,
    State, StateKind, StateVersion, Timestamp,
};
use overlay::{Address, Overlay};
use statemachine::{Deadline, Instant, Rng, StateMachine, Ticket, Timers};
use wire::Frame;

use crate::catalogue::series_subject_of;
use crate::feed::{self, Feed};
use crate::links::{Action, Links};
use crate::own::OwnStates;
use crate::presence::Idle;
use crate::publisher::{self, Batch, Publisher, Start, Wall};
use crate::{
    AckLevel, Catalogue, CleanStop, Config, Event, Input, Neighbour, NodeIdentity, Output,
    Presence, PublishError, Recovered,
};

/// Whose ticket it is that the caller was given.
#[derive(Clone, Copy, Debug)]
enum Owner {
    Gossip(Ticket),
    Feed(Ticket),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Say again where this machine is.
    Presence,
    /// Say how far time has come, if nothing else was said.
    Watermark,
    /// A fenced election waits for the states of a neighbour.
    Reread,
}

/// A whole node, but for its effects.
#[derive(Debug)]
pub struct Node {
    identity: NodeIdentity,
    config: Config,
    machine: MachineId,
    overlay: Overlay,
    gossip: Gossip,
    election: Election,
    publisher: Publisher,
    own: OwnStates,
    feed: Feed,
    catalogue: Catalogue,
    links: Links,
    origins: BTreeSet<MachineId>,
    addresses: Vec<Address>,
    /// The last own block that is durable and gap-free, of epochs before the running one.
    last_own: Option<(Position, BlockHash)>,
    /// Wall-clock time at a point of monotonic time.
    wall: Option<(Instant, Wall)>,
    tickets: BTreeMap<Ticket, Owner>,
    ticket: Ticket,
    timers: Timers<Timer>,
    stopping: bool,
    stopped: bool,
    rng: Rng,
    outputs: VecDeque<Output>,
}

impl Node {
    /// A node that knows what its disk knew.
    ///
    /// The caller notes [`Node::epoch`] durably before it writes the first own block.
    #[must_use]
    pub fn new(identity: NodeIdentity, config: Config, recovered: Recovered, rng: Rng) -> Self {
        let machine = identity.keypair.machine();
        let network = identity.trust.network();
        let mut epochs = rng.fork("epoch");
        let start = start_of(&recovered, machine, &config, &mut epochs);
        let states_before = recovered.clean.map_or(0, |clean| clean.state_counter);
        let version = StateVersion {
            epoch: start.epoch.counter,
            counter: states_before,
        };
        let contacts = overlay::Recovered {
            contacts: recovered.contacts,
        };
        let mut node = Self {
            overlay: Overlay::new(
                machine,
                config.overlay.clone(),
                contacts,
                rng.fork("overlay"),
            ),
            gossip: Gossip::new(
                machine,
                identity.trust,
                config.gossip.clone(),
                gossip::Recovered {
                    frontier: recovered.frontier.clone(),
                    states: recovered.states.clone(),
                },
                rng.fork("gossip"),
            ),
            election: Election::new(machine, config.election.clone(), rng.fork("election")),
            publisher: Publisher::new(machine, network, &config, start, recovered.publishers),
            own: OwnStates::new(machine, network, version),
            feed: Feed::new(network, config.uplinks.clone()),
            catalogue: Catalogue::default(),
            links: Links::default(),
            origins: BTreeSet::new(),
            addresses: Vec::new(),
            last_own: start.last_own,
            wall: None,
            tickets: BTreeMap::new(),
            ticket: Ticket::default(),
            timers: Timers::default(),
            stopping: false,
            stopped: false,
            rng: epochs,
            outputs: VecDeque::new(),
            identity,
            config,
            machine,
        };
        node.recover(&recovered.frontier, &recovered.states);
        node
    }

    /// The epoch of this machine's log.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.publisher.epoch()
    }

    /// Whether blocks are sealed already, so that readings become durable.
    #[must_use]
    pub fn is_publishing(&self) -> bool {
        self.publisher.is_open() && self.wall.is_some() && !self.stopping
    }

    /// This machine.
    #[must_use]
    pub const fn machine(&self) -> MachineId {
        self.machine
    }

    /// What this node holds durably.
    #[must_use]
    pub fn frontier(&self) -> &Frontier {
        self.gossip.frontier()
    }

    /// Machines and series, as far as known.
    #[must_use]
    pub const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The neighbours and their round-trip times.
    #[must_use]
    pub fn neighbours(&self) -> Vec<Neighbour> {
        let with_time = |machine| Neighbour {
            machine,
            round_trip: self.overlay.round_trip(&machine),
        };
        self.overlay.neighbours().map(with_time).collect()
    }

    /// The machines that somebody must serve: those whose log is known.
    pub fn origins(&self) -> impl Iterator<Item = MachineId> {
        self.origins.iter().copied()
    }

    /// The relays of an uplink, as this node sees them.
    #[must_use]
    pub fn relays(&self, uplink: &UplinkId) -> Vec<MachineId> {
        self.election.relays(uplink)
    }

    /// Who serves an origin at an uplink.
    #[must_use]
    pub fn relay_of(&self, uplink: &UplinkId, origin: &MachineId) -> Option<MachineId> {
        self.election.relay_of(uplink, origin)
    }

    /// Counters of gossip.
    #[must_use]
    pub const fn gossip_stats(&self) -> &gossip::Stats {
        self.gossip.stats()
    }

    /// Takes in what the disk knew.
    fn recover(&mut self, frontier: &[gossip::FrontierEntry], states: &[State]) {
        let memberships_first = |state: &&State| state.key().kind != StateKind::Membership;
        let mut states: Vec<&State> = states.iter().collect();
        states.sort_by_key(memberships_first);
        for state in states {
            self.catalogue.apply(&self.identity.trust, state);
            if let Some((uplink, origin, progress)) = progress_of(state) {
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
            self.feed.note_log(entry.log, self.gossip.frontier());
            self.origins.insert(entry.log.machine);
        }
    }

    fn now_wall(&self, now: Instant) -> Wall {
        self.wall.map_or_else(Wall::default, |(at, wall)| Wall {
            time: wall.time.saturating_add(now.since(at)),
            state: wall.state,
        })
    }

    /// The first input of all: the protocols start.
    fn start(&mut self, now: Instant) {
        let membership = self.identity.membership.as_bytes().to_vec();
        self.say(now, StateKind::Membership, String::new(), membership);
        self.say_presence(now);
        self.timers
            .set(Timer::Watermark, now + self.config.watermark_interval);
        for machine in self.origins.clone() {
            self.election.handle(now, election::Input::Origin(machine));
            self.feed.refresh(now, machine, &self.catalogue);
        }
    }

    /// Tells everyone something about this machine.
    fn say(&mut self, now: Instant, kind: StateKind, subject: String, payload: Vec<u8>) {
        let state = self.own.say(&self.identity.keypair, kind, subject, payload);
        self.gossip.handle(now, gossip::Input::PublishState(state));
    }

    fn say_presence(&mut self, now: Instant) {
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
        let again = self.rng.jitter(self.config.presence_interval);
        self.timers.set(Timer::Presence, now + again);
    }

    /// Says where this machine is soon, but not for every change on its own.
    fn say_presence_soon(&mut self, now: Instant) {
        self.timers.set(Timer::Presence, now + PRESENCE_DELAY);
    }

    fn say_watermark(&mut self, now: Instant) {
        let last = self.publisher.last();
        if self.wall.is_some() && self.publisher.is_open() && last.sequence > 0 {
            let watermark = self.publisher.advance_watermark(self.now_wall(now));
            let idle = Idle { last, watermark };
            self.say(now, StateKind::Watermark, String::new(), idle.to_payload());
        }
        self.timers
            .set(Timer::Watermark, now + self.config.watermark_interval);
    }

    fn stand(&mut self, now: Instant, uplink: UplinkId, reachable: bool) {
        let Some(config) = self
            .config
            .uplinks
            .iter()
            .find(|config| config.id == uplink)
        else {
            return;
        };
        let permitted = self
            .identity
            .membership
            .grant()
            .roles
            .contains(&Role::Relay);
        let candidacy = Candidacy {
            standing: reachable && permitted,
            cost_class: config.cost_class,
            priority: config.priority,
            load: 0,
            health: Candidacy::PERCENT_MAX,
            serving: false,
            settled: false,
        };
        self.election
            .handle(now, election::Input::OwnCandidacy(uplink, candidacy));
    }

    fn publish(&mut self, batch: Batch) {
        let replicas_max = self.config.overlay.active_max;
        let refusal = if self.stopping {
            Some(PublishError::Stopping)
        } else if !self
            .identity
            .membership
            .grant()
            .roles
            .contains(&Role::Publish)
        {
            Some(PublishError::NotPermitted)
        } else {
            match batch.level {
                AckLevel::Replicated(asked) if usize::from(asked) > replicas_max => {
                    Some(PublishError::TooManyReplicas {
                        asked,
                        max: replicas_max,
                    })
                }
                AckLevel::Accepted | AckLevel::Durable | AckLevel::Replicated(_) => None,
            }
        };
        match refusal {
            Some(error) => self
                .outputs
                .push_back(Output::Reply(batch.request, Err(error))),
            None => self.publisher.publish(batch),
        }
    }

    fn stop(&mut self, now: Instant) {
        self.stopping = true;
        self.election.handle(now, election::Input::Resign);
        let wall = self.now_wall(now);
        self.publisher.flush(&self.identity.keypair, now, wall);
    }

    fn ticket_for(&mut self, owner: Owner) -> Ticket {
        self.ticket = self.ticket.next();
        self.tickets.insert(self.ticket, owner);
        self.ticket
    }

    /// Lets the protocols talk until none has anything left to say.
    fn drain(&mut self, now: Instant) {
        let wall = self.now_wall(now);
        if self.wall.is_some() {
            self.publisher.pump(&self.identity.keypair, now, wall);
        }
        loop {
            if let Some(output) = self.overlay.poll_output() {
                self.on_overlay(now, output);
            } else if let Some(output) = self.election.poll_output() {
                self.on_election(now, output);
            } else if let Some(output) = self.gossip.poll_output() {
                self.on_gossip(now, output);
            } else if !self.take_effects(now) {
                break;
            }
        }
        if self.stopping && !self.stopped && self.publisher.is_synced() {
            self.stopped = true;
            self.outputs.push_back(Output::Stopped(CleanStop {
                epoch: self.publisher.epoch(),
                last_sequence: self.publisher.last().sequence,
                state_counter: self.own.version().counter,
            }));
        }
    }

    /// Translates what publisher and feed want done; returns whether there was anything.
    fn take_effects(&mut self, now: Instant) -> bool {
        let publisher = self.publisher.take_effects();
        let feed = self.feed.take_effects();
        let any = !publisher.is_empty() || !feed.is_empty();
        for effect in publisher {
            self.on_publisher(now, effect);
        }
        for effect in feed {
            self.on_feed(now, effect);
        }
        any
    }

    fn on_publisher(&mut self, now: Instant, effect: publisher::Effect) {
        match effect {
            publisher::Effect::Define(epoch, number, definition) => {
                let subject = series_subject_of(epoch, number);
                let payload = SeriesDefinition::to_payload(&definition);
                self.say(now, StateKind::Series, subject, payload);
            }
            publisher::Effect::Publish(block) => {
                self.timers
                    .set(Timer::Watermark, now + self.config.watermark_interval);
                self.gossip.handle(now, gossip::Input::Publish(block));
            }
            publisher::Effect::Reply(request, result) => {
                self.outputs.push_back(Output::Reply(request, result));
            }
        }
    }

    fn on_feed(&mut self, now: Instant, effect: feed::Effect) {
        match effect {
            feed::Effect::Read { ticket, log, span } => {
                let ticket = self.ticket_for(Owner::Feed(ticket));
                let bytes_max = feed::READ_BYTES_MAX;
                self.outputs.push_back(Output::Read {
                    ticket,
                    log,
                    span,
                    bytes_max,
                });
            }
            feed::Effect::Upload { uplink, id, record } => {
                self.outputs
                    .push_back(Output::Upload { uplink, id, record });
            }
            feed::Effect::Withdraw(uplink, origin) => {
                self.outputs.push_back(Output::Withdraw(uplink, origin));
            }
            feed::Effect::Tell(uplink, origin, progress) => {
                let subject = format!("{uplink}/{origin}");
                self.say(now, StateKind::Progress, subject, progress.to_payload());
            }
            feed::Effect::Rewound(uplink, origin) => self.event(Event::Rewound(uplink, origin)),
        }
    }

    fn on_overlay(&mut self, now: Instant, output: overlay::Output) {
        match output {
            overlay::Output::Dial(contact) => self.outputs.push_back(Output::Dial(contact)),
            overlay::Output::Send(to, message) => self.send(to, Frame::Overlay(message)),
            overlay::Output::NeighbourUp(machine) => {
                self.links.set_overlay(now, machine, true);
                self.gossip.handle(now, gossip::Input::NeighbourUp(machine));
                self.say_presence_soon(now);
                self.event(Event::NeighbourUp(machine));
            }
            overlay::Output::NeighbourDown(machine) => {
                self.links.set_overlay(now, machine, false);
                self.gossip
                    .handle(now, gossip::Input::NeighbourDown(machine));
                self.say_presence_soon(now);
                self.event(Event::NeighbourDown(machine));
            }
            overlay::Output::Release(machine) => self.links.set_overlay(now, machine, false),
            overlay::Output::Learned(contact) => self.outputs.push_back(Output::Learned(contact)),
            overlay::Output::Misbehaved(machine, fault) => {
                self.event(Event::Misbehaved(machine, format!("overlay: {fault:?}")));
            }
        }
    }

    fn on_election(&mut self, now: Instant, output: election::Output) {
        match output {
            election::Output::Send(to, message) => self.send(to, Frame::Election(message)),
            election::Output::KeepLink(machine) => {
                if self.links.keep_for_election(now, machine) {
                    self.dial(machine);
                }
            }
            election::Output::ReleaseLink(machine) => {
                self.links.release_by_election(now, machine);
            }
            election::Output::Announce(uplink, candidacy) => {
                let subject = uplink.as_str().to_owned();
                self.say(now, StateKind::Candidacy, subject, candidacy.to_payload());
            }
            election::Output::Relays(uplink, relays) => self.event(Event::Relays(uplink, relays)),
            election::Output::Serve(uplink, origin) => {
                self.feed
                    .set_serving(now, &uplink, origin, true, &self.catalogue);
                self.event(Event::Serving(uplink, origin));
            }
            election::Output::Yield(uplink, origin) => {
                self.feed
                    .set_serving(now, &uplink, origin, false, &self.catalogue);
                self.event(Event::Yielded(uplink, origin));
            }
            election::Output::Reread => {
                self.timers.set(Timer::Reread, now + REREAD_TIME);
                self.event(Event::Fenced);
            }
            election::Output::Misbehaved(machine, fault) => {
                self.event(Event::Misbehaved(machine, format!("election: {fault:?}")));
            }
        }
    }

    fn on_gossip(&mut self, now: Instant, output: gossip::Output) {
        match output {
            gossip::Output::Send(to, message) => self.send(to, Frame::Gossip(message)),
            gossip::Output::Persist(ticket, write) => {
                let ticket = self.ticket_for(Owner::Gossip(ticket));
                self.outputs.push_back(Output::Persist(ticket, write));
            }
            gossip::Output::Read {
                ticket,
                log,
                span,
                bytes_max,
            } => {
                let ticket = self.ticket_for(Owner::Gossip(ticket));
                self.outputs.push_back(Output::Read {
                    ticket,
                    log,
                    span,
                    bytes_max,
                });
            }
            gossip::Output::Deliver(block) => self.on_durable(now, block),
            gossip::Output::DeliverState(state) => self.on_state(now, state),
            gossip::Output::NotPersisted(write) => self.on_not_persisted(write),
            gossip::Output::Misbehaved(machine, fault) => {
                self.event(Event::Misbehaved(machine, format!("gossip: {fault:?}")));
            }
        }
    }

    fn on_durable(&mut self, now: Instant, block: Block) {
        let BlockId { log, .. } = block.id();
        if log.machine == self.machine {
            self.on_own_durable(now, &block);
        }
        if self.origins.insert(log.machine) {
            self.election
                .handle(now, election::Input::Origin(log.machine));
        }
        self.feed
            .on_block(now, &block, self.gossip.frontier(), &self.catalogue);
        self.outputs.push_back(Output::Deliver(block));
    }

    fn on_own_durable(&mut self, now: Instant, block: &Block) {
        let position = block.id().position();
        let epoch = self.publisher.epoch();
        if position.epoch == epoch {
            self.publisher.on_durable(position);
            let wall = self.now_wall(now);
            self.publisher.pump(&self.identity.keypair, now, wall);
        } else if position.epoch.counter >= epoch.counter {
            self.take_epoch_after(now, position.epoch.counter);
        } else if self.last_own.is_none_or(|(last, _)| last < position) {
            // What this machine lost of its old log comes back from its neighbours.
            let gap_free = self
                .gossip
                .frontier()
                .get(&block.id().log)
                .map(|entry| entry.end);
            if gap_free >= Some(position.sequence) {
                let hash = block.hash(&self.identity.trust.network());
                self.last_own = Some((position, hash));
                self.publisher.follow(self.last_own);
            }
        }
    }

    fn on_state(&mut self, now: Instant, state: State) {
        let key = state.key().clone();
        if key.origin == self.machine && self.own.is_behind(state.version()) {
            self.take_epoch_after(now, state.version().epoch);
            return;
        }
        self.catalogue.apply(&self.identity.trust, &state);
        match key.kind {
            StateKind::Candidacy if key.origin != self.machine => {
                let uplink = key.subject.parse::<UplinkId>();
                if let (Ok(uplink), Ok(candidacy)) =
                    (uplink, Candidacy::from_payload(state.payload()))
                {
                    let input = election::Input::Candidacy(key.origin, uplink, candidacy);
                    self.election.handle(now, input);
                }
            }
            StateKind::Progress => {
                if let Some((uplink, origin, progress)) = progress_of(&state) {
                    self.feed
                        .on_progress(now, &uplink, origin, progress, &self.catalogue);
                }
            }
            StateKind::Watermark => {
                if let Some(idle) = Idle::from_payload(state.payload()) {
                    self.feed.on_idle(now, key.origin, idle);
                }
            }
            StateKind::Series => self.feed.refresh(now, key.origin, &self.catalogue),
            StateKind::Membership | StateKind::Presence | StateKind::Candidacy => {}
        }
        self.outputs.push_back(Output::StateChanged(state));
    }

    /// Others know a later life of this machine than its disk does: go on after that one.
    fn take_epoch_after(&mut self, now: Instant, counter: u64) {
        let counter = counter.saturating_add(1);
        let epoch = new_epoch(counter, &mut self.rng);
        self.publisher.start_epoch(epoch);
        self.publisher.follow(self.last_own);
        self.outputs.push_back(Output::EpochStarted(epoch));
        self.own.forget(StateKind::Series);
        for state in self.own.move_to(&self.identity.keypair, counter) {
            self.gossip.handle(now, gossip::Input::PublishState(state));
        }
    }

    fn on_not_persisted(&mut self, write: Write) {
        let what = match write {
            Write::Block(block) => {
                if block.id().log.machine == self.machine {
                    self.publisher.on_not_persisted(block.id().position());
                }
                format!("block {}", block.id())
            }
            Write::State(state) => format!("state {:?}", state.key().kind),
        };
        self.event(Event::NotPersisted(what));
    }

    fn on_received(&mut self, now: Instant, from: MachineId, frame: Frame) {
        match frame {
            Frame::Overlay(message) => {
                self.overlay
                    .handle(now, overlay::Input::Received(from, message));
            }
            Frame::Gossip(message) => {
                let moves_frontier = matches!(message, gossip::Message::Frontier { .. });
                self.gossip
                    .handle(now, gossip::Input::Received(from, message));
                if moves_frontier {
                    self.count_replicas();
                }
            }
            Frame::Election(message) => {
                self.election
                    .handle(now, election::Input::Received(from, message));
            }
        }
    }

    fn count_replicas(&mut self) {
        let (machine, gossip) = (self.machine, &self.gossip);
        self.publisher.on_frontiers(|position| {
            let log = LogId {
                machine,
                epoch: position.epoch,
            };
            gossip.holders(&BlockId {
                log,
                sequence: position.sequence,
            })
        });
    }

    fn on_link_up(&mut self, now: Instant, machine: MachineId) {
        self.links.on_up(now, machine);
        self.overlay.handle(now, overlay::Input::LinkUp(machine));
        self.election.handle(now, election::Input::LinkUp(machine));
    }

    fn on_link_down(&mut self, now: Instant, machine: MachineId) {
        self.links.on_down(now, machine);
        self.overlay.handle(now, overlay::Input::LinkDown(machine));
        self.election
            .handle(now, election::Input::LinkDown(machine));
    }

    fn on_own_addresses(&mut self, now: Instant, addresses: Vec<Address>) {
        self.addresses.clone_from(&addresses);
        self.overlay
            .handle(now, overlay::Input::OwnAddresses(addresses));
        self.say_presence_soon(now);
    }

    fn on_wall_clock(&mut self, now: Instant, time: Timestamp, state: ClockState) {
        let first = self.wall.replace((now, Wall { time, state })).is_none();
        if first {
            self.start(now);
        }
    }

    fn on_persisted(&mut self, now: Instant, ticket: Ticket, persisted: bool) {
        if let Some(Owner::Gossip(ticket)) = self.tickets.remove(&ticket) {
            let input = if persisted {
                gossip::Input::Persisted(ticket)
            } else {
                gossip::Input::PersistFailed(ticket)
            };
            self.gossip.handle(now, input);
        }
    }

    fn on_blocks_read(&mut self, now: Instant, ticket: Ticket, blocks: Vec<Block>) {
        match self.tickets.remove(&ticket) {
            Some(Owner::Gossip(ticket)) => {
                self.gossip
                    .handle(now, gossip::Input::BlocksRead(ticket, blocks));
            }
            Some(Owner::Feed(ticket)) => {
                self.feed.on_read(now, ticket, &blocks, &self.catalogue);
            }
            None => {}
        }
    }

    /// Dials a machine by what its presence says, or by what the overlay knows of it.
    fn dial(&mut self, machine: MachineId) {
        let presence = self
            .catalogue
            .member(&machine)
            .and_then(|member| member.presence.as_ref());
        let addresses = presence
            .map(|presence| presence.addresses.clone())
            .unwrap_or_default();
        if !addresses.is_empty() {
            self.outputs
                .push_back(Output::Dial(overlay::Contact { machine, addresses }));
        }
    }

    fn send(&mut self, to: MachineId, frame: Frame) {
        if self.links.is_up(&to) {
            self.outputs.push_back(Output::Send(to, frame));
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

impl StateMachine for Node {
    type Input = Input;
    type Output = Output;
    const OUTPUTS_PER_CALL_MAX: usize = 262_144;

    fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::WallClock(time, state) => self.on_wall_clock(now, time, state),
            Input::OwnAddresses(addresses) => self.on_own_addresses(now, addresses),
            Input::Discovered(contact) => {
                self.overlay
                    .handle(now, overlay::Input::Discovered(contact));
            }
            Input::LinkUp(machine) => self.on_link_up(now, machine),
            Input::LinkDown(machine) => self.on_link_down(now, machine),
            Input::DialFailed(machine) => {
                self.links.on_dial_failed(now, machine);
                self.overlay
                    .handle(now, overlay::Input::DialFailed(machine));
            }
            Input::RoundTrip(machine, time) => {
                self.overlay
                    .handle(now, overlay::Input::RoundTrip(machine, time));
            }
            Input::Received(machine, frame) => self.on_received(now, machine, frame),
            Input::Congested(machine) => {
                self.gossip.handle(now, gossip::Input::Congested(machine));
            }
            Input::Drained(machine) => self.gossip.handle(now, gossip::Input::Drained(machine)),
            Input::Publish {
                request,
                readings,
                publisher,
                level,
            } => {
                self.publish(Batch {
                    request,
                    readings,
                    publisher,
                    level,
                });
            }
            Input::Persisted(ticket) => self.on_persisted(now, ticket, true),
            Input::PersistFailed(ticket) => self.on_persisted(now, ticket, false),
            Input::BlocksRead(ticket, blocks) => self.on_blocks_read(now, ticket, blocks),
            Input::UplinkReachable(uplink, reachable) => self.stand(now, uplink, reachable),
            Input::Uploaded(uplink, ids) => {
                self.feed.on_uploaded(now, &uplink, &ids, &self.catalogue);
            }
            Input::UploadLost(uplink, ids) => self.feed.on_upload_lost(now, &uplink, &ids),
            Input::FloorMoved(log, floor) => {
                self.gossip
                    .handle(now, gossip::Input::FloorMoved(log, floor));
                self.feed.note_log(log, self.gossip.frontier());
            }
            Input::Stop => self.stop(now),
        }
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.overlay.handle_timeout(now);
        self.gossip.handle_timeout(now);
        self.election.handle_timeout(now);
        self.feed.handle_timeout(now, &self.catalogue);
        while let Some(action) = self.links.pop_due(now) {
            match action {
                Action::Release(machine) => self.outputs.push_back(Output::Release(machine)),
                Action::Dial(machine) => self.dial(machine),
            }
        }
        while let Some((_, timer)) = self.timers.pop_due(now) {
            match timer {
                Timer::Presence => self.say_presence(now),
                Timer::Watermark => self.say_watermark(now),
                Timer::Reread => self.election.handle(now, election::Input::StatesRead),
            }
        }
        self.drain(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Deadline> {
        let publisher = self
            .publisher
            .next_deadline()
            .filter(|_| self.wall.is_some());
        let own = self.timers.next_deadline(|timer| match timer {
            Timer::Presence => "node: presence",
            Timer::Watermark => "node: watermark",
            Timer::Reread => "node: reread",
        });
        [
            self.overlay.next_deadline(),
            self.gossip.next_deadline(),
            self.election.next_deadline(),
            self.feed.next_deadline(),
            self.links.next_deadline(),
            publisher.map(|at| Deadline {
                at,
                why: "publisher: seal",
            }),
            own,
        ]
        .into_iter()
        .fold(None, Deadline::earlier)
    }
}

/// Where the numbering starts: it goes on after a stop in order, and in a new epoch otherwise.
fn start_of(recovered: &Recovered, machine: MachineId, config: &Config, rng: &mut Rng) -> Start {
    let last_own = recovered.last_own;
    if let Some(clean) = recovered.clean {
        return Start {
            epoch: clean.epoch,
            last: clean.last_sequence,
            last_own,
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
    let known = blocks
        .chain(states)
        .max()
        .unwrap_or(0)
        .max(recovered.epoch_counter_highest);
    let held_until = (known > 0).then(|| Instant::ZERO + config.recovery);
    Start {
        epoch: new_epoch(known.saturating_add(1), rng),
        last: 0,
        last_own,
        held_until,
    }
}

fn new_epoch(counter: u64, rng: &mut Rng) -> Epoch {
    let tag = u32::try_from(rng.below(1 << 32)).unwrap_or(0);
    Epoch { counter, tag }
}

/// What a state of kind `Progress` says, if it is one and decodes.
fn progress_of(state: &State) -> Option<(UplinkId, MachineId, Progress)> {
    if state.key().kind != StateKind::Progress {
        return None;
    }
    let (uplink, machine) = state.key().subject.split_once('/')?;
    let progress = Progress::from_payload(state.payload()).ok()?;
    Some((uplink.parse().ok()?, machine.parse().ok()?, progress))
}

/// How long changes of presence are gathered. Source: guess.
const PRESENCE_DELAY: std::time::Duration = std::time::Duration::from_millis(200);
/// How long a fenced relay listens for states before it serves again. Source: guess, several round
/// trips on a LAN.
const REREAD_TIME: std::time::Duration = std::time::Duration::from_millis(200);
