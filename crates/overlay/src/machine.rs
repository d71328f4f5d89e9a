//! The overlay's inputs and outputs, and how places in the active view are given and taken.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use model::MachineId;
use statemachine::{BoundedQueue, Deadline, Instant, Rng, StateMachine, Timers};

use crate::book::{Book, Source};
use crate::config::ACTIVE_LARGEST;
use crate::heard::Heard;
use crate::links::{Link, Neighbour, Question};
use crate::{Address, Config, Contact, Hops, Message};

mod tend;
mod walks;

/// What the overlay remembers from before the start.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The stored address book; the first ones that the passive view has room for are taken.
    pub contacts: Vec<Contact>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// This machine's own addresses, as far as known; replaces those before.
    OwnAddresses(Vec<Address>),
    /// Discovery (mDNS, a bootstrap address that answered) found a machine.
    Discovered(Contact),
    /// An authenticated link to a machine stands, whoever opened it and for whatever reason.
    LinkUp(MachineId),
    /// The last link to a machine is gone.
    LinkDown(MachineId),
    /// None of the addresses of [`Output::Dial`] led to the machine.
    DialFailed(MachineId),
    /// A round trip over a link was measured.
    RoundTrip(MachineId, Duration),
    /// The machine was thrown out: it is forgotten, and nobody's word on it counts. A link that the
    /// caller says stands again makes it a machine like any other.
    Barred(MachineId),
    /// A valid message over an open link.
    Received(MachineId, Message),
}

/// What the caller must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a link. Answered by [`Input::LinkUp`] or [`Input::DialFailed`]; asked again after five
    /// seconds without either.
    Dial(Contact),
    /// Send over an open link.
    Send(MachineId, Message),
    /// A machine is a neighbour from now on: the overlay needs its link.
    NeighbourUp(MachineId),
    /// A machine is no neighbour any more. Its link is released later if it stays of no use.
    NeighbourDown(MachineId),
    /// The overlay has no use for the link; whoever else keeps it may go on.
    Release(MachineId),
    /// A contact worth keeping over a restart.
    Learned(Contact),
    /// The peer broke the protocol; the engine decides what follows.
    Misbehaved(MachineId, Fault),
}

/// How a peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A walk longer than allowed.
    WalkTooLong,
    /// A contact given as its own that names another machine.
    ForeignContact,
}

/// What the overlay did so far. Every field is a count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Dials asked for.
    pub dials: u64,
    /// Dials that led nowhere.
    pub dials_failed: u64,
    /// Neighbours dropped to make room for others.
    pub evictions: u64,
    /// Messages not acted upon because their sender sent too many.
    pub messages_over_limit: u64,
    /// Answers to questions that were not asked on this link. No proof of a fault: the question may
    /// have gone out on the link before.
    pub answers_unasked: u64,
    /// Machines that became neighbours.
    pub neighbours_up: u64,
    /// Neighbours whose links went down or that stopped answering.
    pub neighbours_lost: u64,
}

/// What the overlay waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Look after dials, questions, idle links, lost machines and empty places.
    Tend,
    /// Refresh the views.
    Shuffle,
}

/// The overlay of one machine.
#[derive(Debug)]
pub struct Overlay {
    own: MachineId,
    active: BTreeMap<MachineId, Neighbour>,
    /// As many as the link layer keeps.
    links: BTreeMap<MachineId, Link>,
    book: Book,
    /// Joiners whose walk ended here, to be taken as neighbours as soon as there is a place.
    invited: BoundedQueue<MachineId>,
    heard: Heard,
    rng: Rng,
    config: Config,
    own_addresses: Vec<Address>,
    /// When the first neighbour since the start was won.
    joined_at: Option<Instant>,
    shuffles: u32,
    /// Neighbours lost and dials failed since the last neighbour was won.
    setbacks: usize,
    /// Requests refused since the last neighbour was won.
    refusals: usize,
    timers: Timers<Timer>,
    outputs: VecDeque<Output>,
    stats: Stats,
}

impl Overlay {
    /// An overlay that knows what it knew before the last stop.
    #[must_use]
    pub fn new(own: MachineId, config: Config, recovered: Recovered, mut rng: Rng) -> Self {
        let config = config.clamped();
        let mut book = Book::new(own, config.passive_max + config.active_limit());
        for contact in recovered.contacts.into_iter().take(config.passive_max) {
            book.learn(contact, Source::Store, &mut rng);
        }
        let mut timers = Timers::default();
        timers.set(Timer::Tend, Instant::ZERO);
        timers.set(Timer::Shuffle, Instant::ZERO);
        Self {
            own,
            active: BTreeMap::new(),
            links: BTreeMap::new(),
            book,
            invited: BoundedQueue::new(INVITED_MAX),
            heard: Heard::default(),
            rng,
            config,
            own_addresses: Vec::new(),
            joined_at: None,
            shuffles: 0,
            setbacks: 0,
            refusals: 0,
            timers,
            outputs: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// The neighbours in the order of their ids.
    pub fn neighbours(&self) -> impl Iterator<Item = MachineId> {
        self.active.keys().copied()
    }

    /// Whether a machine is a neighbour.
    #[must_use]
    pub fn is_neighbour(&self, machine: &MachineId) -> bool {
        self.active.contains_key(machine)
    }

    /// Where a machine can be dialled, as far as the address book knows.
    #[must_use]
    pub fn contact(&self, machine: &MachineId) -> Option<Contact> {
        self.book.contact(machine)
    }

    /// The last measured round trip to a neighbour.
    #[must_use]
    pub fn round_trip(&self, neighbour: &MachineId) -> Option<Duration> {
        self.active.get(neighbour)?.round_trip
    }

    /// How many machines are known, neighbours included.
    #[must_use]
    pub fn known(&self) -> usize {
        self.book.len()
    }

    /// What it did so far.
    #[must_use]
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    fn is_invited(&self, machine: &MachineId) -> bool {
        self.invited.iter().any(|invited| invited == machine)
    }

    fn say(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn send(&mut self, to: MachineId, message: Message) {
        self.say(Output::Send(to, message));
    }

    fn own_contact(&self) -> Contact {
        Contact {
            machine: self.own,
            addresses: self.own_addresses.clone(),
        }
    }

    fn learn(&mut self, contact: Contact, source: Source) -> bool {
        self.book.learn(contact, source, &mut self.rng)
    }

    /// Takes a peer's word on where it may be reached itself; returns whether it is one.
    fn meet(&mut self, from: MachineId, contact: Contact) -> bool {
        if contact.machine != from {
            self.say(Output::Misbehaved(from, Fault::ForeignContact));
            return false;
        }
        if self.learn(contact, Source::Itself) {
            self.tell_learned(&from);
        }
        true
    }

    fn tell_learned(&mut self, machine: &MachineId) {
        let contact = self.book.contact(machine);
        if let Some(contact) = contact.filter(|contact| !contact.addresses.is_empty()) {
            self.say(Output::Learned(contact));
        }
    }

    fn on_link_up(&mut self, now: Instant, machine: MachineId) {
        self.links.entry(machine).or_insert_with(|| Link::new(now));
        let unaddressed = Contact {
            machine,
            addresses: Vec::new(),
        };
        self.book.unbar(&machine);
        self.learn(unaddressed, Source::Store);
        self.book.linked(&machine);
        if self.is_neighbour(&machine) {
            // It may have seen the link before go down: ask whether it still sees a neighbour.
            self.ask(now, machine, false, false);
        } else if self.book.is_lost(&machine) {
            self.reunite(now, machine);
        } else if self.is_invited(&machine) && self.active.len() < self.config.active_limit() {
            self.ask(now, machine, true, false);
        } else {
            self.fill(now);
        }
    }

    fn on_link_down(&mut self, now: Instant, machine: MachineId) {
        self.book.unlinked(&machine);
        let asked = self
            .links
            .remove(&machine)
            .is_some_and(|link| link.question.is_some());
        if self.is_neighbour(&machine) {
            self.lose(now, machine);
            self.fill(now);
        } else if asked {
            self.book.failed(now, &machine, &mut self.rng);
        }
    }

    fn on_dial_failed(&mut self, now: Instant, machine: MachineId) {
        self.stats.dials_failed += 1;
        self.invited.retain(|invited| *invited != machine);
        if self.book.dial_failed(now, &machine, &mut self.rng) {
            self.setbacks = self.setbacks.saturating_add(1);
            self.fill(now);
        }
    }

    fn on_message(&mut self, now: Instant, from: MachineId, message: Message) {
        let Some(link) = self.links.get_mut(&from) else {
            return; // It came while the link went down.
        };
        match message {
            Message::NeighbourReply { accepted } => self.on_reply(now, from, accepted),
            Message::Disconnect => self.on_disconnect(now, from),
            _ if !link.may_receive() => self.stats.messages_over_limit += 1,
            Message::Join { contact } => self.on_join(now, from, contact),
            Message::ForwardJoin { joiner, ttl } => self.on_forward_join(now, from, joiner, ttl),
            Message::Neighbour { contact, urgent } => {
                self.on_neighbour(now, from, contact, urgent);
            }
            Message::Shuffle {
                origin,
                sample,
                ttl,
            } => self.on_shuffle(now, from, origin, sample, ttl),
            Message::ShuffleReply { sample } => self.on_shuffle_reply(now, from, sample),
        }
    }

    fn on_neighbour(&mut self, now: Instant, from: MachineId, contact: Contact, urgent: bool) {
        if !self.meet(from, contact) {
            return;
        }
        let accepted = self.is_neighbour(&from)
            || self.active.len() < self.config.active_max
            || (urgent && self.make_room(now, from));
        self.answer(now, from, accepted);
    }

    /// Answers a machine that wants to be a neighbour.
    fn answer(&mut self, now: Instant, from: MachineId, accepted: bool) {
        self.send(from, Message::NeighbourReply { accepted });
        if accepted {
            self.admit(now, from);
        }
    }

    fn on_reply(&mut self, now: Instant, from: MachineId, accepted: bool) {
        let Some(link) = self.links.get_mut(&from) else {
            return;
        };
        if !link.take_reply() {
            self.stats.answers_unasked += 1;
            return;
        }
        let question = link.question.take();
        match (accepted, question) {
            (true, _) if self.is_neighbour(&from) => self.admit(now, from),
            (true, Some(question)) if self.fits(now, from, question) => self.admit(now, from),
            (true, _) => self.send(from, Message::Disconnect),
            (false, _) if self.is_neighbour(&from) => {
                // It answered before it knew that it was accepted itself, or lost a message.
                self.remove(now, from);
                self.send(from, Message::Disconnect);
            }
            (false, Some(_)) => {
                self.refusals = self.refusals.saturating_add(1);
                self.book.failed(now, &from, &mut self.rng);
            }
            (false, None) => {}
        }
        if self.active.len() * 2 < self.config.active_max {
            self.fill(now); // Otherwise the next one is asked with the next tick: no haste.
        }
    }

    /// Whether there is a place for a machine that accepted; the view may have filled meanwhile.
    fn fits(&mut self, now: Instant, machine: MachineId, question: Question) -> bool {
        self.active.len() < self.config.active_limit()
            || (question.reunion && self.evict(now, machine))
    }

    fn on_disconnect(&mut self, now: Instant, from: MachineId) {
        if self.is_neighbour(&from) {
            self.remove(now, from);
            self.fill(now);
        }
    }

    /// Takes a machine into the active view, or notes that it still is in it.
    fn admit(&mut self, now: Instant, machine: MachineId) {
        if let Some(neighbour) = self.active.get_mut(&machine) {
            neighbour.confirmed_at = now;
            return;
        }
        self.active.insert(machine, Neighbour::new(now));
        if let Some(link) = self.links.get_mut(&machine) {
            link.idle_since = None;
        }
        self.joined_at.get_or_insert(now);
        self.setbacks = 0;
        self.refusals = 0;
        self.stats.neighbours_up += 1;
        self.book.succeeded(&machine);
        self.say(Output::NeighbourUp(machine));
        self.tell_learned(&machine);
        if self.places() > 0 {
            self.shuffle(machine, Hops(0)); // It may know who has a place.
        }
    }

    /// Takes a machine out of the active view; it stays in the passive one.
    fn remove(&mut self, now: Instant, machine: MachineId) {
        self.active.remove(&machine);
        if let Some(link) = self.links.get_mut(&machine) {
            link.idle_since = Some(now);
        }
        self.book.rest(now, &machine, &mut self.rng);
        self.say(Output::NeighbourDown(machine));
    }

    /// Takes a neighbour out that is gone, and looks for it from now on.
    fn lose(&mut self, now: Instant, machine: MachineId) {
        self.remove(now, machine);
        self.book.look_for(machine, &mut self.rng);
        self.stats.neighbours_lost += 1;
        self.setbacks = self.setbacks.saturating_add(1);
    }

    /// Makes a place for a machine that should not be refused: a free one, one above the view's
    /// size, or another machine's.
    fn make_room(&mut self, now: Instant, newcomer: MachineId) -> bool {
        self.active.len() < self.config.active_limit() || self.evict(now, newcomer)
    }

    /// Drops a random neighbour, but none that came just now, so that places do not
    /// flap. The dropped one is told who comes in its place, so that it can go there.
    fn evict(&mut self, now: Instant, newcomer: MachineId) -> bool {
        let settled = self.settled(now);
        let Some(victim) = self.rng.choose(&settled).copied() else {
            return false;
        };
        self.stats.evictions += 1;
        let joiner = self.book.contact(&newcomer);
        if let Some(joiner) = joiner.filter(|joiner| !joiner.addresses.is_empty()) {
            let ttl = Hops(0);
            self.send(victim, Message::ForwardJoin { joiner, ttl });
        }
        self.remove(now, victim);
        self.send(victim, Message::Disconnect);
        true
    }

    /// The neighbours that may be dropped.
    fn settled(&self, now: Instant) -> Vec<MachineId> {
        self.active
            .iter()
            .filter(|(_, neighbour)| now - neighbour.since >= UNSETTLED)
            .map(|(machine, _)| *machine)
            .collect()
    }

    /// How many places are neither filled nor asked for.
    fn places(&self) -> usize {
        let asked = self
            .links
            .iter()
            .filter(|(machine, link)| link.question.is_some() && !self.is_neighbour(machine))
            .count();
        self.config
            .active_max
            .saturating_sub(self.active.len() + asked)
    }

    /// Asks and dials for empty places: more at once the more went wrong lately.
    fn fill(&mut self, now: Instant) {
        for machine in self.askable(now) {
            if self.places() == 0 {
                return;
            }
            let urgent = self.active.is_empty()
                || self.refusals >= REFUSALS_MAX
                || self.is_invited(&machine);
            self.ask(now, machine, urgent, false);
        }
        let count = self.places().saturating_mul(1 + self.setbacks);
        let count = count.min(DIALS_MAX).saturating_sub(self.book.dials());
        if count == 0 {
            return;
        }
        let invited = self.invited.iter().copied();
        let mut chosen: Vec<MachineId> = invited.filter(|m| self.book.can_dial(m)).collect();
        chosen.truncate(count);
        for machine in self.book.to_dial(now, count, &mut self.rng) {
            if chosen.len() < count && !chosen.contains(&machine) {
                chosen.push(machine);
            }
        }
        for machine in chosen {
            self.dial(now, machine, false);
        }
    }

    /// Who could be asked over a link that stands, in random order.
    fn askable(&mut self, now: Instant) -> Vec<MachineId> {
        let mut machines: Vec<MachineId> = self
            .links
            .iter()
            .filter(|(machine, link)| link.question.is_none() && !self.is_neighbour(machine))
            .filter(|(machine, _)| !self.book.rests(now, machine))
            .map(|(machine, _)| *machine)
            .collect();
        self.rng.shuffle(&mut machines);
        machines
    }

    /// Asks a linked machine to be, or to confirm that it is, a neighbour.
    fn ask(&mut self, now: Instant, machine: MachineId, urgent: bool, reunion: bool) {
        let joins = self.joined_at.is_none() && self.links.values().all(|l| l.question.is_none());
        let Some(link) = self.links.get_mut(&machine) else {
            return;
        };
        if !link.ask(now, reunion) {
            return;
        }
        self.invited.retain(|invited| *invited != machine);
        let contact = Contact {
            machine: self.own,
            addresses: self.own_addresses.clone(),
        };
        let message = if urgent && !reunion && joins {
            link.shuffle_sent(); // A join is answered like one too.
            Message::Join { contact }
        } else {
            Message::Neighbour { contact, urgent }
        };
        self.send(machine, message);
    }

    fn dial(&mut self, now: Instant, machine: MachineId, probe: bool) {
        if let Some(contact) = self.book.dial(now, &machine, probe) {
            self.stats.dials += 1;
            self.say(Output::Dial(contact));
        }
    }
}

impl StateMachine for Overlay {
    type Input = Input;
    type Output = Output;
    const OUTPUTS_PER_CALL_MAX: usize = 512;

    fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::OwnAddresses(mut addresses) => {
                addresses.truncate(Contact::ADDRESSES_MAX);
                self.own_addresses = addresses;
            }
            Input::Discovered(contact) => {
                self.learn(contact, Source::Discovery);
                self.fill(now);
            }
            Input::LinkUp(machine) if machine == self.own => {}
            Input::LinkUp(machine) => self.on_link_up(now, machine),
            Input::LinkDown(machine) => self.on_link_down(now, machine),
            Input::DialFailed(machine) => self.on_dial_failed(now, machine),
            Input::RoundTrip(machine, duration) => {
                if let Some(neighbour) = self.active.get_mut(&machine) {
                    neighbour.round_trip = Some(duration);
                }
            }
            Input::Barred(machine) => self.on_barred(now, machine),
            Input::Received(from, message) => self.on_message(now, from, message),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, timer)) = self.timers.pop_due(now) {
            match timer {
                Timer::Tend => self.on_tend(now),
                Timer::Shuffle => self.on_shuffle_timer(now),
            }
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Deadline> {
        self.timers.next_deadline(|timer| match timer {
            Timer::Tend => "overlay tend",
            Timer::Shuffle => "overlay shuffle",
        })
    }
}

/// How long a new neighbour cannot be dropped. Source: guess, above the time to find others.
const UNSETTLED: Duration = Duration::from_secs(1);

/// Most dials under way for empty places. Source: half of the contacts that are known at least, so
/// that two rounds try all.
const DIALS_MAX: usize = 32;

/// Refusals in a row after which a machine with an empty place no longer takes no for an answer:
/// it may be part of a corner whose every other place is taken. Source: guess.
const REFUSALS_MAX: usize = 3;

/// Most invitations kept. Source: guess.
const INVITED_MAX: usize = 8;

// A tick says the most: two outputs for each neighbour that is silent, and all that has a limit.
const _: () = assert!(
    2 * (ACTIVE_LARGEST * 2) + ACTIVE_LARGEST + 2 * DIALS_MAX + tend::OUTPUTS_MAX
        <= Overlay::OUTPUTS_PER_CALL_MAX
);

#[cfg(test)]
mod tests;
