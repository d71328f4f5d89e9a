//! The overlay's inputs and outputs, and how places in the active view are given and taken.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use model::MachineId;
use statemachine::{BoundedQueue, Deadline, Instant, Rng, StateMachine, Timers};

use crate::book::{Book, Source};
use crate::config::ACTIVE_LARGEST;
use crate::heard::Heard;
use crate::links::{Link, Neighbour, Question, Reason};
use crate::{Address, Config, Contact, Hops, Message};

use doubts::Doubts;
use improve::Improvement;

mod doubts;
mod improve;
mod places;
mod tend;
mod walks;

/// What the overlay remembers from before the start.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The stored address book; as many as the passive view has room for are taken, at random.
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
    /// A member that is not heard of any more: it is looked for until it is a neighbour. It may be
    /// on the other side of a gap that everyone has forgotten.
    Missing(Contact),
    /// The machine was thrown out: it is forgotten, and nobody's word on it counts. A link that the
    /// caller says stands again makes it a machine like any other.
    Barred(MachineId),
    /// A neighbour withholds from this machine what it should give, perhaps because it means ill:
    /// if its link works, others get its place. The contact is of a machine that has it for sure,
    /// if one is known.
    Withholds(MachineId, Option<Contact>),
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
    /// A neighbour that withholds something ([`Input::Withholds`]) is doubted: its place is for
    /// whoever comes.
    Doubted(MachineId),
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
    /// Neighbours dropped because a nearer machine took their place, or they were doubted.
    pub replaced: u64,
    /// Times that a neighbour was said to withhold something.
    pub doubts: u64,
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
    /// Look for a nearer neighbour.
    Improve,
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
    doubts: Doubts,
    improvement: Improvement,
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
        let mut contacts = recovered.contacts;
        rng.shuffle(&mut contacts); // Not everyone of a large site goes to the same few.
        for contact in contacts.into_iter().take(config.passive_max) {
            book.learn(contact, Source::Store, &mut rng);
        }
        let mut timers = Timers::default();
        timers.set(Timer::Tend, Instant::ZERO);
        timers.set(Timer::Shuffle, Instant::ZERO);
        timers.set(Timer::Improve, Instant::ZERO);
        Self {
            own,
            active: BTreeMap::new(),
            links: BTreeMap::new(),
            book,
            invited: BoundedQueue::new(INVITED_MAX),
            heard: Heard::default(),
            doubts: Doubts::default(),
            improvement: Improvement::default(),
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

    /// Every machine of the address book, in the order of their ids.
    pub fn contacts(&self) -> impl Iterator<Item = Contact> {
        self.book.contacts()
    }

    /// The last measured round trip to a neighbour.
    #[must_use]
    pub fn round_trip(&self, neighbour: &MachineId) -> Option<Duration> {
        self.links.get(neighbour)?.round_trip
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
            self.ask(now, machine, false, Reason::Place);
        } else if self.book.is_lost(&machine) {
            self.reunite(now, machine);
        } else if self.is_invited(&machine) && self.active.len() < self.config.active_limit() {
            self.ask(now, machine, true, Reason::Place);
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
            || match self.is_doubted(now, &from) {
                true => self.has_place_for_doubted(urgent),
                false => {
                    self.trusted(now) < self.config.active_max
                        || (urgent && self.make_room(now, from))
                        || self.drop_for_nearer(now, from)
                }
            };
        self.answer(now, from, accepted);
    }

    /// Answers a machine that wants to be a neighbour.
    fn answer(&mut self, now: Instant, from: MachineId, accepted: bool) {
        self.send(from, Message::NeighbourReply { accepted });
        if accepted {
            self.admit(now, from, false);
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
        let (question, accused) = (link.question.take(), link.accused.take());
        match (accepted, question) {
            (true, _) if self.is_neighbour(&from) => {
                self.admit(now, from, true);
                if let Some(instead) = accused {
                    self.on_control(now, from, instead);
                }
            }
            (true, Some(question)) if self.fits(now, from, question) => {
                self.admit(now, from, true);
                self.drop_replaced(now, question);
            }
            (true, _) => self.send(from, Message::Disconnect),
            (false, _) if self.is_neighbour(&from) => {
                // It answered before it knew that it was accepted itself, or lost a message.
                self.remove(now, from);
                self.send(from, Message::Disconnect);
            }
            (false, Some(question)) => {
                if question.reason == Reason::Place {
                    self.refusals = self.refusals.saturating_add(1);
                }
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
            || match question.reason {
                Reason::Place => self.trusted(now) < self.config.active_max,
                Reason::Control => false, // It has ceased to be a neighbour.
                Reason::Reunion => self.evict(now, machine),
                Reason::InsteadOf(far) => self.is_neighbour(&far),
            }
    }

    fn on_disconnect(&mut self, now: Instant, from: MachineId) {
        if self.is_neighbour(&from) {
            self.remove(now, from);
            self.fill(now);
        }
    }

    /// Takes a machine into the active view, or notes that it still is in it. A doubted neighbour
    /// makes room, if there is no more.
    fn admit(&mut self, now: Instant, machine: MachineId, is_chosen: bool) {
        if let Some(neighbour) = self.active.get_mut(&machine) {
            neighbour.confirmed_at = now;
            return;
        }
        if self.active.len() >= self.config.active_max && !self.is_doubted(now, &machine) {
            self.drop_doubted(now);
        }
        self.active.insert(machine, Neighbour::new(now, is_chosen));
        if let Some(link) = self.links.get_mut(&machine) {
            link.idle_since = None;
        }
        self.joined_at.get_or_insert(now);
        self.setbacks = 0;
        self.refusals = 0;
        self.stats.neighbours_up += 1;
        self.look_for_nearer();
        self.book.succeeded(&machine);
        self.say(Output::NeighbourUp(machine));
        self.tell_learned(&machine);
        if self.places(now) > 0 {
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
        if !self.is_doubted(now, &machine) {
            self.book.look_for(machine, &mut self.rng);
        }
        self.stats.neighbours_lost += 1;
        self.setbacks = self.setbacks.saturating_add(1);
    }

    /// Makes a place for a machine that should not be refused: a free one, one above the view's
    /// size, or another machine's.
    fn make_room(&mut self, now: Instant, newcomer: MachineId) -> bool {
        self.active.len() < self.config.active_limit() || self.evict(now, newcomer)
    }

    /// Drops a doubted neighbour or a random one, but none that came just now, so that places do
    /// not flap. The dropped one is told who comes in its place, so that it can go there.
    fn evict(&mut self, now: Instant, newcomer: MachineId) -> bool {
        if self.drop_doubted(now) {
            return true;
        }
        let droppable = self.droppable(now);
        let Some(victim) = self.rng.choose(&droppable).copied() else {
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

    /// The neighbours that did not come just now.
    fn settled(&self, now: Instant) -> Vec<MachineId> {
        self.active
            .iter()
            .filter(|(_, neighbour)| now - neighbour.since >= UNSETTLED)
            .map(|(machine, _)| *machine)
            .collect()
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
            Input::RoundTrip(machine, time) => self.on_round_trip(now, machine, time),
            Input::Missing(contact) => self.on_missing(now, contact),
            Input::Barred(machine) => self.on_barred(now, machine),
            Input::Withholds(machine, instead) => self.on_withholds(now, machine, instead),
            Input::Received(from, message) => self.on_message(now, from, message),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, timer)) = self.timers.pop_due(now) {
            match timer {
                Timer::Tend => self.on_tend(now),
                Timer::Shuffle => self.on_shuffle_timer(now),
                Timer::Improve => self.on_improve(now),
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
            Timer::Improve => "overlay improve",
        })
    }
}

/// How long a new neighbour cannot be dropped. Source: guess, above the time to find others.
const UNSETTLED: Duration = Duration::from_secs(1);

/// Most invitations kept. Source: guess.
const INVITED_MAX: usize = 8;

// A tick says the most: two outputs for each neighbour that is silent, and all that has a limit.
const _: () = assert!(
    2 * (ACTIVE_LARGEST * 2) + ACTIVE_LARGEST + 2 * places::DIALS_MAX + tend::OUTPUTS_MAX
        <= Overlay::OUTPUTS_PER_CALL_MAX
);

#[cfg(test)]
mod tests;
