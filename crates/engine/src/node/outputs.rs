//! What the protocols say, translated for each other and for the caller.

use election::{Candidacy, UplinkId};
use gossip::Write;
use identity::Role;
use model::{Block, BlockId, LogId, MachineId, SeriesDefinition, State, StateKind};
use statemachine::{Instant, StateMachine as _, Ticket};
use wire::Frame;

use super::own_word::progress_of;
use super::{Node, Owner};
use crate::catalogue::series_subject_of;
use crate::presence::Idle;
use crate::views::other_site;
use crate::{CleanStop, Event, Output, feed, publisher};

impl Node {
    pub(super) fn ticket_for(&mut self, owner: Owner) -> Ticket {
        self.ticket = self.ticket.next();
        self.tickets.insert(self.ticket, owner);
        self.ticket
    }

    /// Lets the protocols talk until none has anything left to say.
    pub(super) fn drain(&mut self, now: Instant) {
        loop {
            if let Some(output) = self.overlay.poll_output() {
                self.on_overlay(now, output);
            } else if let Some(output) = self.election.poll_output() {
                self.on_election(now, output);
            } else if let Some(output) = self.gossip.poll_output() {
                self.on_gossip(now, output);
            } else if let Some(output) = self.commands.poll_output() {
                self.on_commands(now, output);
            } else if !self.take_effects(now) {
                break;
            }
        }
        if std::mem::take(&mut self.roll_changed) {
            self.outputs.push_back(Output::RollChanged);
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
    pub(super) fn take_effects(&mut self, now: Instant) -> bool {
        if self.wall.is_some() {
            let wall = self.now_wall(now);
            self.publisher.pump(&*self.identity.keypair, now, wall);
        }
        if self.publisher.take_uncounted() {
            self.count_replicas();
        }
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

    pub(super) fn on_publisher(&mut self, now: Instant, effect: publisher::Effect) {
        match effect {
            publisher::Effect::Define(epoch, number, definition) => {
                let subject = series_subject_of(epoch, number);
                let payload = SeriesDefinition::to_payload(&definition);
                self.say(now, StateKind::Series, subject, payload);
            }
            publisher::Effect::Publish(block) => {
                self.wait_for_watermark(now);
                self.gossip.handle(now, gossip::Input::Publish(block));
            }
            publisher::Effect::Reply(request, result) => {
                self.outputs.push_back(Output::Reply(request, result));
            }
        }
    }

    pub(super) fn on_feed(&mut self, now: Instant, effect: feed::Effect) {
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
            feed::Effect::Search {
                ticket,
                log,
                search,
            } => {
                let ticket = self.ticket_for(Owner::Feed(ticket));
                self.outputs.push_back(Output::Search {
                    ticket,
                    log,
                    span: search.span,
                    times: search.times,
                    bytes_max: feed::READ_BYTES_MAX,
                });
            }
            feed::Effect::Upload { uplink, id, record } => {
                let record = Box::new(record);
                self.outputs
                    .push_back(Output::Upload { uplink, id, record });
            }
            feed::Effect::Withdraw(uplink, origin) => {
                self.outputs.push_back(Output::Withdraw(uplink, origin));
            }
            feed::Effect::Tell(uplink, origin, line, progress) => {
                let subject = self.progress_subject(&uplink, &origin, line);
                self.say(now, StateKind::Progress, subject, progress.to_payload());
            }
            feed::Effect::Rewound(uplink, origin) => self.event(Event::Rewound(uplink, origin)),
        }
    }

    pub(super) fn on_overlay(&mut self, now: Instant, output: overlay::Output) {
        match output {
            overlay::Output::Dial(contact) => self.outputs.push_back(Output::Dial(contact)),
            overlay::Output::Send(to, message) => self.send(to, Frame::Overlay(message)),
            overlay::Output::NeighbourUp(machine) => {
                self.links.set_overlay(now, machine, true);
                let up = match self.overlay.foreign().get(&machine) {
                    Some(site) => gossip::Input::ForeignUp(machine, site.clone()),
                    None => gossip::Input::NeighbourUp(machine),
                };
                self.gossip.handle(now, up);
                self.prolong_reread(now);
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
            overlay::Output::Doubted(machine) => self.event(Event::Withholds(machine)),
            overlay::Output::Misbehaved(machine, fault) => {
                self.event(Event::Misbehaved(machine, format!("overlay: {fault:?}")));
            }
        }
    }

    pub(super) fn on_election(&mut self, now: Instant, output: election::Output) {
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
            election::Output::Suspected(machine) => {
                self.gossip.handle(now, gossip::Input::Suspected(machine));
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
                self.begin_reread(now);
                self.event(Event::Fenced);
            }
            election::Output::Misbehaved(machine, fault) => {
                self.event(Event::Misbehaved(machine, format!("election: {fault:?}")));
            }
        }
    }

    pub(super) fn on_gossip(&mut self, now: Instant, output: gossip::Output) {
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
            gossip::Output::Restored(block) if self.is_of_site(&block.id().log.machine) => {
                (self.feed).on_block(now, &block, self.gossip.frontier(), &self.catalogue);
            }
            gossip::Output::Restored(_) => {}
            gossip::Output::DeliverState(state) => self.on_state(now, state),
            gossip::Output::NotPersisted(write) => self.on_not_persisted(now, write),
            gossip::Output::Withholds(neighbour, origin) => {
                let origin_itself = self.contact_of(origin);
                let input = overlay::Input::Withholds(neighbour, origin_itself);
                self.overlay.handle(now, input);
            }
            gossip::Output::Misbehaved(machine, fault) => {
                self.event(Event::Misbehaved(machine, format!("gossip: {fault:?}")));
            }
        }
    }

    pub(super) fn on_durable(&mut self, now: Instant, block: Block) {
        let BlockId { log, .. } = block.id();
        if log.machine == self.machine {
            self.on_own_durable(now, &block);
        }
        if self.is_of_site(&log.machine) {
            self.serve_origin(now, log.machine);
            self.feed
                .on_block(now, &block, self.gossip.frontier(), &self.catalogue);
        }
        self.outputs.push_back(Output::Deliver(block));
    }

    /// The election is to say who serves a machine.
    fn serve_origin(&mut self, now: Instant, machine: MachineId) {
        if self.origins.insert(machine) {
            self.election.handle(now, election::Input::Origin(machine));
        }
    }

    /// A machine has said that it is a member: so it is known where it belongs.
    fn on_membership(&mut self, now: Instant, machine: MachineId) {
        let Some(member) = self.catalogue.member(&machine) else {
            return;
        };
        let other = other_site(self.gossip.interest(), &member.membership);
        let is_foreign = other.is_some();
        if machine != self.machine {
            self.overlay.place(now, machine, other);
        }
        let logs = self.gossip.frontier().entries_of(machine);
        let logs = logs.map(|entry| entry.log).collect::<Vec<_>>();
        if !is_foreign && !logs.is_empty() && !self.origins.contains(&machine) {
            self.serve_origin(now, machine);
            logs.into_iter().for_each(|log| self.note_log(log));
            self.feed.refresh(now, machine, &self.catalogue);
        }
    }

    pub(super) fn on_own_durable(&mut self, now: Instant, block: &Block) {
        let epoch = block.id().log.epoch;
        if !self.publisher.on_durable(block) {
            self.take_epoch_after(now, epoch.counter);
        } else if epoch < self.publisher.epoch() {
            // What this machine lost of its old log comes back from its neighbours.
            self.publisher.take_back(block);
        }
    }

    pub(super) fn on_state(&mut self, now: Instant, state: State) {
        let key = state.key().clone();
        if key.origin == self.machine && self.own.is_behind(state.version()) {
            self.catch_up_with_own(now);
        }
        self.catalogue.apply(&state);
        match key.kind {
            StateKind::Candidacy if key.origin != self.machine && self.may_relay(&key.origin) => {
                let uplink = key.subject.parse::<UplinkId>();
                if let (Ok(uplink), Ok(candidacy)) =
                    (uplink, Candidacy::from_payload(state.payload()))
                {
                    let input = election::Input::Candidacy(key.origin, uplink, candidacy);
                    self.election.handle(now, input);
                }
            }
            StateKind::Progress if self.may_relay(&key.origin) => {
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
            StateKind::Revocation => self.on_revocation(now, &state),
            StateKind::Redemption => self.on_redemption(now, &state),
            StateKind::Renewal => self.on_renewal(now, &state),
            StateKind::NetworkKey => self.on_network_key(&state),
            StateKind::Letter | StateKind::Reply => self.on_mail(now, &state),
            StateKind::Equivocation => {
                let proof = self.catalogue.equivocations().get(&key.origin).copied();
                proof
                    .into_iter()
                    .for_each(|proof| self.event(Event::Equivocated(proof)));
            }
            StateKind::Membership => self.on_membership(now, key.origin),
            StateKind::Presence => self.hear_site_of(now, &key.origin),
            StateKind::Candidacy | StateKind::Progress => {}
        }
        self.outputs.push_back(Output::StateChanged(state));
    }

    pub(super) fn on_not_persisted(&mut self, now: Instant, write: Write) {
        let what = match write {
            Write::Block(block) => {
                let id = block.id();
                if id.log.machine == self.machine {
                    self.on_own_not_persisted(now, block);
                }
                format!("block {id}")
            }
            Write::State(state) => format!("state {:?}", state.key().kind),
        };
        self.event(Event::NotPersisted(what));
    }

    fn on_own_not_persisted(&mut self, now: Instant, block: Block) {
        let id = block.id();
        if !self.gossip.frontier().is_settled(&id) {
            self.publisher.on_not_persisted(now, block);
        } else if self.publisher.disown(id.position()) {
            self.take_epoch_after(now, id.log.epoch.counter); // Its number was used before.
        }
    }

    pub(super) fn count_replicas(&mut self) {
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

    /// Whether the operator lets a machine relay: nobody else's word on uploads counts.
    pub(super) fn may_relay(&self, machine: &MachineId) -> bool {
        let member = self.catalogue.present_member(machine);
        member.is_some_and(|member| member.membership.grant().roles.contains(&Role::Relay))
    }

    /// Dials a machine by what its presence says, or by what the overlay remembers of it: presences
    /// are not kept over a restart, the address book is. `false` if nobody knows where it is.
    pub(super) fn dial(&mut self, machine: MachineId) -> bool {
        let contact = self.contact_of(machine);
        let is_known = contact.is_some();
        self.outputs.extend(contact.map(Output::Dial));
        is_known
    }

    /// Where a machine may be dialled.
    pub(super) fn contact_of(&self, machine: MachineId) -> Option<overlay::Contact> {
        let member = self.catalogue.member(&machine);
        let presence = member.and_then(|member| member.presence());
        presence
            .filter(|presence| !presence.addresses.is_empty())
            .map(|presence| overlay::Contact {
                machine,
                addresses: presence.addresses,
            })
            .or_else(|| self.overlay.contact(&machine))
            .filter(|contact| !contact.addresses.is_empty())
    }

    pub(super) fn send(&mut self, to: MachineId, frame: Frame) {
        if self.links.is_up(&to) {
            self.outputs.push_back(Output::Send(to, frame));
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}
