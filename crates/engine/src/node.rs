//! The node: routes what happened to the protocols; `outputs` translates what they say, `own_word`
//! is what the node says of itself, `standing` who counts as a member, `renewing` what it is given
//! and gives while it runs, `administer` does what an administrator asks, `enrol` makes machines
//! members, `mail` carries commands to machines that are not there,
//! `watching` notices members that are not heard any more, `subscribing` finds the sites that are
//! subscribed to.

mod administer;
mod commands;
mod enrol;
mod mail;
mod outputs;
mod own_word;
mod renewing;
mod standing;
mod subscribing;
mod watching;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use command::Commands;
use election::{Election, UplinkId};
use gossip::{Frontier, Gossip};
use identity::{Membership, Role, Roll};
use model::{
    Block, ClockState, Epoch, LogId, MachineId, Position, State, StateKey, StateVersion, Timestamp,
};
use overlay::Address;
use statemachine::{Deadline, Instant, Rng, StateMachine, Ticket, Timers};
use wire::Frame;

use administer::Promise;
use own_word::start_of;
use subscribing::Subscriptions;
use watching::Watched;

use crate::feed::Feed;
use crate::health::Uplinks;
use crate::links::{Action, Links};
use crate::mail::Mail;
use crate::own::OwnStates;
use crate::publisher::{Batch, Publisher, Wall};
use crate::views::{Views, other_site};
use crate::{
    AckLevel, Backlog, Catalogue, Config, FeedStats, Input, MachineKey, Neighbour, NodeIdentity,
    Output, PublishError, Recovered,
};

/// Whose ticket it is that the caller was given.
#[derive(Clone, Copy, Debug)]
enum Owner {
    Gossip(Ticket),
    Command(Ticket),
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
    /// Look for memberships that end soon.
    Renew,
    /// Look after letters.
    Mail,
    /// See whether a member is still heard.
    Watch,
    /// Go on after own states that others hold.
    CatchUp,
    /// Look for the sites that are subscribed to.
    Subscriptions,
}

/// A whole node, but for its effects.
#[derive(Debug)]
pub struct Node {
    identity: NodeIdentity<Box<dyn MachineKey>>,
    config: Config,
    machine: MachineId,
    overlay: Views,
    gossip: Gossip,
    election: Election,
    commands: Commands,
    mail: Mail,
    publisher: Publisher,
    own: OwnStates,
    feed: Feed,
    uplinks: Uplinks,
    /// How busy this machine is. Unit: percent.
    load: u8,
    /// When this machine took an epoch last because of its own states, and how long it waits before
    /// it does so again.
    moved: Option<(Instant, Duration)>,
    /// Until when a fenced election waits for a neighbour at most.
    reread_until: Instant,
    catalogue: Catalogue,
    links: Links,
    /// What every machine showed to which there is a link.
    shown: BTreeMap<MachineId, Membership>,
    watched: Watched,
    subscriptions: Subscriptions,
    roll_changed: bool,
    /// What administrators are told once a state is on disk.
    promised: BTreeMap<StateKey, Vec<Promise>>,
    origins: BTreeSet<MachineId>,
    addresses: Vec<Address>,
    /// Wall-clock time at a point of monotonic time.
    wall: Option<(Instant, Wall)>,
    tickets: BTreeMap<Ticket, Owner>,
    ticket: Ticket,
    timers: Timers<Timer>,
    stopping: bool,
    stopped: bool,
    /// When this node was called last.
    called: Instant,
    rng: Rng,
    outputs: VecDeque<Output>,
}

impl Node {
    /// A node that knows what its disk knew.
    ///
    /// The caller notes [`Node::epoch`] durably before it writes the first own block.
    #[must_use]
    pub fn new<K: MachineKey + 'static>(
        identity: NodeIdentity<K>,
        config: Config,
        recovered: Recovered,
        rng: Rng,
    ) -> Self {
        let config = config.at_site_of(&identity.membership);
        let machine = identity.keypair.machine();
        let network = identity.trust.network();
        let mut epochs = rng.fork("epoch");
        let start = start_of(&recovered, machine, &config, &mut epochs);
        let states_before = recovered.clean.map_or(0, |clean| clean.state_counter);
        let version = StateVersion {
            epoch: start.epoch.counter,
            counter: states_before,
        };
        let roll = Roll::new(identity.trust, config.grace);
        let contacts = overlay::Recovered {
            contacts: recovered.contacts,
        };
        let mut node = Self {
            overlay: Views::new(
                machine,
                &config.overlay,
                &config.gossip.interest,
                contacts,
                &rng,
            ),
            gossip: Gossip::new(
                machine,
                roll.clone(),
                config.gossip.clone(),
                gossip::Recovered {
                    frontier: recovered.frontier.clone(),
                    states: recovered.states.clone(),
                },
                rng.fork("gossip"),
            )
            .with_signatures(config.signatures.clone()),
            election: Election::new(machine, config.election.clone(), rng.fork("election")),
            commands: Commands::new(
                machine,
                config.commands.clone(),
                config.policy.clone(),
                command::Recovered {
                    notes: recovered.notes,
                },
            ),
            mail: Mail::default(),
            publisher: Publisher::new(machine, network, &config, start, recovered.publishers),
            own: OwnStates::new(machine, network, version),
            feed: Feed::new(network, config.uplinks.clone()),
            uplinks: Uplinks::default(),
            load: 0,
            moved: None,
            reread_until: Instant::ZERO,
            catalogue: Catalogue::new(roll),
            links: Links::new(config.election.refresh_interval),
            shown: BTreeMap::new(),
            watched: None,
            subscriptions: Subscriptions::new(),
            roll_changed: false,
            promised: BTreeMap::new(),
            origins: BTreeSet::new(),
            addresses: Vec::new(),
            wall: None,
            tickets: BTreeMap::new(),
            ticket: Ticket::default(),
            timers: Timers::default(),
            stopping: false,
            stopped: false,
            called: Instant::ZERO,
            rng: epochs,
            outputs: VecDeque::new(),
            identity: NodeIdentity {
                keypair: Box::new(identity.keypair),
                membership: identity.membership,
                trust: identity.trust,
            },
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

    /// The latest states in the order of their keys.
    pub fn states(&self) -> impl Iterator<Item = &State> {
        self.gossip.states()
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

    /// Counters of commands.
    #[must_use]
    pub fn command_stats(&self) -> command::Stats {
        self.commands.stats()
    }

    /// By origin, the first block that some uplink still needs, as far as relays have told; `None`
    /// if there is no uplink.
    #[must_use]
    pub fn needed_by_uplinks(&self) -> Option<BTreeMap<MachineId, Position>> {
        self.feed.needed()
    }

    /// Counters of the feed.
    #[must_use]
    pub fn feed_stats(&self) -> FeedStats {
        self.feed.stats()
    }

    /// What no relay of an uplink has had acknowledged, as far as this machine knows, by origin.
    pub fn backlog(&self, uplink: &UplinkId) -> impl Iterator<Item = Backlog<'_>> {
        self.feed.backlog(uplink)
    }

    fn now_wall(&self, now: Instant) -> Wall {
        self.wall.map_or_else(Wall::default, |(at, wall)| Wall {
            time: wall.time.saturating_add(now.since(at)),
            state: wall.state,
        })
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
        self.publisher.flush(&*self.identity.keypair, now, wall);
    }

    fn on_received(&mut self, now: Instant, from: MachineId, frame: Frame) {
        if !self.links.is_up(&from) {
            return; // It was expelled while the frame waited.
        }
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
            Frame::Command(message) => self.on_command_message(now, from, message),
        }
    }

    fn on_link_up(&mut self, now: Instant, membership: Membership) {
        let machine = membership.machine();
        let other = other_site(self.gossip.interest(), &membership);
        if !self.receive(now, membership) {
            return;
        }
        self.links.on_up(now, machine);
        self.overlay.link_up(now, machine, other.clone());
        if let Some(site) = other {
            self.welcome(now, machine, &site);
        }
        self.election.handle(now, election::Input::LinkUp(machine));
        self.commands.handle(now, command::Input::LinkUp(machine));
    }

    fn on_link_down(&mut self, now: Instant, machine: MachineId) {
        self.links.on_down(now, machine);
        self.shown.remove(&machine);
        self.overlay.handle(now, overlay::Input::LinkDown(machine));
        self.election
            .handle(now, election::Input::LinkDown(machine));
        self.commands.handle(now, command::Input::LinkDown(machine));
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
        self.judge_links(now);
        self.stand(now);
    }

    fn on_persisted(&mut self, now: Instant, ticket: Ticket, persisted: bool) {
        match (self.tickets.remove(&ticket), persisted) {
            (Some(Owner::Gossip(ticket)), true) => {
                self.gossip.handle(now, gossip::Input::Persisted(ticket));
                self.answer_promised();
            }
            (Some(Owner::Gossip(ticket)), false) => {
                self.gossip
                    .handle(now, gossip::Input::PersistFailed(ticket));
                self.answer_promised();
            }
            (Some(Owner::Command(ticket)), true) => {
                self.commands.handle(now, command::Input::Persisted(ticket));
            }
            (Some(Owner::Command(ticket)), false) => {
                self.commands
                    .handle(now, command::Input::PersistFailed(ticket));
            }
            (Some(Owner::Feed(_)) | None, _) => {}
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
            Some(Owner::Command(_)) | None => {}
        }
    }
}

impl StateMachine for Node {
    type Input = Input;
    type Output = Output;
    const OUTPUTS_PER_CALL_MAX: usize = 262_144;

    fn handle(&mut self, now: Instant, input: Input) {
        self.notice_pause(now);
        match input {
            Input::WallClock(time, state) => self.on_wall_clock(now, time, state),
            Input::OwnAddresses(addresses) => self.on_own_addresses(now, addresses),
            Input::Discovered(contact) => {
                self.overlay
                    .handle(now, overlay::Input::Discovered(contact));
            }
            Input::LinkUp(membership) => self.on_link_up(now, *membership),
            Input::LinkMoved(membership) => _ = self.receive(now, *membership),
            Input::LinkDown(machine) => self.on_link_down(now, machine),
            Input::DialFailed(machine) => {
                self.links.on_dial_failed(now, machine);
                self.overlay
                    .handle(now, overlay::Input::DialFailed(machine));
                self.commands
                    .handle(now, command::Input::DialFailed(machine));
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
            Input::BlocksFound(ticket, blocks, searched) => {
                if let Some(Owner::Feed(ticket)) = self.tickets.remove(&ticket) {
                    self.feed
                        .on_found(now, ticket, &blocks, searched, &self.catalogue);
                }
            }
            Input::UplinkReachable(uplink, reachable) => {
                self.uplinks.set_reachable(now, &uplink, reachable);
                self.stand(now);
            }
            Input::Load(percent) => self.load = percent,
            Input::Uploaded(_, ids) => self.feed.on_uploaded(now, &ids, &self.catalogue),
            Input::UploadLost(_, ids) => self.feed.on_upload_lost(now, &ids),
            Input::FloorMoved(log, floor) => {
                self.gossip
                    .handle(now, gossip::Input::FloorMoved(log, floor));
                self.note_log(log);
            }
            Input::Lost(ids) => {
                let logs: BTreeSet<LogId> = ids.iter().map(|id| id.log).collect();
                self.gossip.handle(now, gossip::Input::Lost(ids));
                for log in logs {
                    self.note_log(log);
                }
            }
            Input::Admin(request, asked) => self.on_admin(now, request, *asked),
            Input::Command(input) => self.on_command(now, input),
            Input::Stop => self.stop(now),
        }
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.notice_pause(now);
        self.overlay.handle_timeout(now);
        self.gossip.handle_timeout(now);
        self.election.handle_timeout(now);
        self.commands.handle_timeout(now);
        let is_to_come = |log: &LogId| self.gossip.is_to_come(log);
        self.feed.handle_timeout(now, &self.catalogue, is_to_come);
        while let Some(action) = self.links.pop_due(now) {
            match action {
                Action::Release(machine) => self.outputs.push_back(Output::Release(machine)),
                Action::Dial(machine) => _ = self.dial(machine),
            }
        }
        while let Some((_, timer)) = self.timers.pop_due(now) {
            match timer {
                Timer::Presence => self.say_presence(now),
                Timer::Watermark => self.say_watermark(now),
                Timer::Reread => self.end_reread(now),
                Timer::Renew => self.renew(now),
                Timer::Mail => self.look_after_mail(now),
                Timer::Watch => self.watch(now),
                Timer::CatchUp => self.catch_up_with_own(now),
                Timer::Subscriptions => self.look_for_sites(now),
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
            Timer::Renew => "node: renew",
            Timer::Mail => "node: mail",
            Timer::Watch => "node: watch",
            Timer::CatchUp => "node: catch up with own states",
            Timer::Subscriptions => "node: look for sites",
        });
        [
            self.overlay.next_deadline(),
            self.gossip.next_deadline(),
            self.election.next_deadline(),
            self.commands.next_deadline(),
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
