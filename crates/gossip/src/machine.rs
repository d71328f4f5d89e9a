//! The machine: what it is told, what it asks for, and who handles what.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use identity::{KnownKeys, Roll, Signatures};
use model::{Block, BlockId, LogId, MachineId, NetworkId, SeriesName, State, StateKey};
use statemachine::{Deadline, Instant, Rng, StateMachine, Ticket, Timers};

use crate::budget::Budget;
use crate::digests::{Digests, Place, item_of_entry};
use crate::neighbour::{Neighbour, Serving};
use crate::recent::Recent;
use crate::states::States;
use crate::urgent::Urgent;
use crate::{Config, Frontier, Interest, Message, Recovered, Span, Stats};

/// Something that must be on disk before its [`Input::Persisted`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Append a block.
    Block(Block),
    /// Keep a state in place of the one with the same key.
    State(State),
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A machine became a neighbour. At most [`Gossip::NEIGHBOURS_MAX`] are served at a time.
    NeighbourUp(MachineId),
    /// The same, of a machine that is known to be of another site: until it says more, nothing of
    /// this site is told to it.
    ForeignUp(MachineId, SeriesName),
    /// A neighbour is gone; what it announced is asked from others.
    NeighbourDown(MachineId),
    /// A neighbour may be dead, though its link stands: do not wait for it.
    Suspected(MachineId),
    /// The neighbour's send queue is full: announce to it, push nothing.
    Congested(MachineId),
    /// The neighbour's send queue has room again.
    Drained(MachineId),
    /// A valid message from a neighbour; its signatures have not been checked.
    Received(MachineId, Message),
    /// A block of this machine, sealed just now.
    Publish(Block),
    /// A state of this machine, sealed just now.
    PublishState(State),
    /// [`Output::Persist`] is on disk.
    Persisted(Ticket),
    /// [`Output::Persist`] could not be written.
    PersistFailed(Ticket),
    /// The answer to [`Output::Read`]; blocks that could not be read are left out.
    BlocksRead(Ticket, Vec<Block>),
    /// Retention dropped the blocks of a log before this one.
    FloorMoved(LogId, model::Sequence),
    /// Durable blocks that do not read back any more. May be said again while that is so.
    Lost(Vec<BlockId>),
}

/// What the caller must do, in this order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Queue a message to a neighbour.
    Send(MachineId, Message),
    /// Write, then say [`Input::Persisted`] or [`Input::PersistFailed`] with the ticket.
    Persist(Ticket, Write),
    /// Read blocks and say [`Input::BlocksRead`] with the ticket.
    Read {
        /// Names the answer.
        ticket: Ticket,
        /// Their log.
        log: LogId,
        /// Which ones.
        span: Span,
        /// Stop before the encoded blocks exceed this, but give at least one. Unit: bytes.
        bytes_max: usize,
    },
    /// A block that is durable now, at most once per (log, sequence), own blocks included.
    Deliver(Block),
    /// A block that was lost after it was durable, and is so again.
    Restored(Block),
    /// A state that is newer than the one before it, own states included. Not necessarily durable.
    DeliverState(State),
    /// A block or state could not be written. For an own block: its readings are not acknowledged.
    NotPersisted(Write),
    /// A neighbour says that it holds blocks of this origin, and does not give them, while it says
    /// other things.
    /// No proof of a fault: its disk may be broken. Said again for as long as it is so.
    Withholds(MachineId, MachineId),
    /// The peer broke the protocol; the engine decides what follows.
    Misbehaved(MachineId, Fault),
}

/// How a peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A signature is not of the origin that it names.
    Signature,
    /// A membership that is not signed by the network's operator or an admitter.
    Membership,
    /// A revocation that names no machine.
    Revocation,
    /// A redemption whose parts are not signed, or do not belong together.
    Redemption,
    /// A network key for no machine.
    NetworkKey,
    /// A letter or a reply in a slot that there is not.
    Slot,
    /// A block whose columns do not decode.
    Columns,
    /// A frontier entry or span whose ends contradict each other.
    Frontier,
    /// Sums that contradict themselves.
    Sums,
}

/// Why a state that was signed elsewhere is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// Whoever signed it may not say this.
    #[error("whoever signed it may not say this; let the operator sign it")]
    NotPermitted,
    /// Its signature does not hold in this network, or it says nothing.
    #[error("its signature does not hold in this network, or it is damaged; sign it anew")]
    Invalid,
    /// There is no room for it.
    #[error("there is no room for more states of whoever signed it")]
    Full,
}

/// What a [`Ticket`] stands for.
#[derive(Debug)]
pub(crate) enum Effect {
    /// A block is being written.
    Block(BlockId),
    /// A state is being written.
    State(StateKey),
    /// Blocks are being read for a neighbour.
    Read(MachineId, Serving),
}

/// What to do later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Say what changed in our frontier.
    Announce,
    /// What was announced of a log should have come over the tree by now.
    Graft(LogId),
    /// What is wanted of a neighbour should have come by now.
    Want(MachineId),
    /// A neighbour may be asked again for what it could not give.
    Later(MachineId),
    /// More of the states that a neighbour lacks can be sent.
    Owed(MachineId),
    /// More of the past may be sent to a neighbour.
    Telling(MachineId),
    /// More of the past may be asked for.
    Asking,
    /// The disk failed; now it may be tried again.
    Disk,
}

/// The gossip of one machine.
///
/// **Invariant:** a block is delivered at most once per (log, sequence), and only when durable.
/// **Invariant:** what a neighbour holds and we lack is wanted, in flight, or has a timer.
#[derive(Debug)]
pub struct Gossip {
    pub(crate) own: MachineId,
    pub(crate) network: NetworkId,
    pub(crate) config: Config,
    pub(crate) signatures: Arc<dyn Signatures>,
    pub(crate) rng: Rng,
    pub(crate) frontier: Frontier,
    /// The sums over its entries.
    pub(crate) log_digests: Digests,
    /// Which of its blocks hold alarms.
    pub(crate) urgent: Urgent,
    /// What may be asked of the past.
    pub(crate) asking: Budget,
    /// What may be sent of the past.
    pub(crate) telling: Budget,
    /// Blocks that are being written.
    pub(crate) in_flight: BTreeMap<BlockId, Block>,
    pub(crate) in_flight_bytes: usize,
    /// Durable blocks that the frontier has no room to claim before a gap closes.
    pub(crate) unclaimed: BTreeSet<BlockId>,
    /// Blocks that were durable once and do not read back.
    pub(crate) lost: BTreeSet<BlockId>,
    pub(crate) recent: Recent,
    pub(crate) states: States,
    pub(crate) neighbours: BTreeMap<MachineId, Neighbour>,
    /// The size of a block, on average. Unit: bytes.
    pub(crate) block_bytes: usize,
    /// Logs whose entry changed since the last announcement.
    pub(crate) changed: BTreeSet<LogId>,
    pub(crate) effects: BTreeMap<Ticket, Effect>,
    ticket: Ticket,
    pub(crate) timers: Timers<Timer>,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) stats: Stats,
}

impl Gossip {
    /// Most neighbours that are served at a time. Source: guess, four full active views; it bounds
    /// the outputs of one call.
    pub const NEIGHBOURS_MAX: usize = 64;

    /// A gossip that knows what it knew before the last stop.
    #[must_use]
    pub fn new(own: MachineId, roll: Roll, config: Config, recovered: Recovered, rng: Rng) -> Self {
        let config = config.clamped();
        let network = roll.trust().network();
        let mut states = States::new(own, config.interest.clone(), config.states_max, roll);
        states.recover(recovered.states);
        let frontier = recovered.frontier.into_iter().collect::<Frontier>();
        let mut log_digests = Digests::default();
        for entry in frontier.iter() {
            log_digests.add(Place::of_log(&entry.log), item_of_entry(entry));
        }
        Self {
            own,
            network,
            asking: Budget::new(config.past_bytes_per_second),
            telling: Budget::new(config.past_bytes_per_second),
            config,
            signatures: Arc::new(KnownKeys::default()),
            rng,
            frontier,
            log_digests,
            urgent: Urgent::default(),
            in_flight: BTreeMap::new(),
            in_flight_bytes: 0,
            unclaimed: BTreeSet::new(),
            lost: BTreeSet::new(),
            recent: Recent::default(),
            states,
            neighbours: BTreeMap::new(),
            block_bytes: BLOCK_BYTES_START,
            changed: BTreeSet::new(),
            effects: BTreeMap::new(),
            ticket: Ticket::default(),
            timers: Timers::default(),
            outputs: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// The same with somebody else to check signatures.
    #[must_use]
    pub fn with_signatures(mut self, signatures: Arc<dyn Signatures>) -> Self {
        self.signatures = signatures;
        self
    }

    /// Who counts as a member: what it was started with, and everyone whom the states throw out.
    #[must_use]
    pub const fn roll(&self) -> &Roll {
        self.states.roll()
    }

    /// What of the network is replicated.
    #[must_use]
    pub const fn interest(&self) -> &Interest {
        self.states.interest()
    }

    /// What is held durably.
    #[must_use]
    pub const fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// How many direct neighbours said that they hold a block durably.
    #[must_use]
    pub fn holders(&self, id: &BlockId) -> usize {
        self.neighbours.values().filter(|n| n.covers(id)).count()
    }

    /// Whether a neighbour holds blocks of a log that are not here.
    #[must_use]
    pub fn is_to_come(&self, log: &LogId) -> bool {
        let mut neighbours = self.neighbours.values();
        neighbours.any(|neighbour| neighbour.leads.contains_key(log))
    }

    /// The latest state of a key.
    #[must_use]
    pub fn state(&self, key: &StateKey) -> Option<&State> {
        self.states.get(key)
    }

    /// Whether a state is on disk, in its latest version, or need not be; `None` while it is being
    /// written.
    #[must_use]
    pub fn is_written(&self, key: &StateKey) -> Option<bool> {
        self.states.writes.is_done(key)
    }

    /// The latest states in the order of their keys.
    pub fn states(&self) -> impl Iterator<Item = &State> {
        self.states.iter()
    }

    /// The counters since the start.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Both sides start eager for every origin, and compare what they hold and know. Over a link
    /// that has outlived one of them its interest is what it said last.
    pub(crate) fn on_neighbour_up(&mut self, now: Instant, machine: MachineId) {
        let before = self.neighbours.get(&machine);
        let said = before.map(|n| (n.interest.clone(), n.interest_said));
        let (interest, said) =
            said.unwrap_or_else(|| (self.states.interest().without_others(), None));
        self.welcome(now, machine, interest, said);
    }

    fn welcome(
        &mut self,
        now: Instant,
        machine: MachineId,
        interest: Option<Interest>,
        interest_said: Option<Instant>,
    ) {
        self.on_neighbour_down(now, machine);
        if self.neighbours.len() >= Self::NEIGHBOURS_MAX {
            self.stats.neighbours_over_limit += 1;
            return;
        }
        let neighbour = Neighbour {
            interest,
            interest_said,
            ..Neighbour::new(now, self.config.logs_max)
        };
        self.neighbours.insert(machine, neighbour);
        for neighbour in self.neighbours.values_mut() {
            neighbour.preferred.clear(); // The ways of blocks change with it.
        }
        self.compare_with(machine);
    }

    /// What was asked of it is asked of others; what it alone had can wait for no one.
    fn on_neighbour_down(&mut self, now: Instant, machine: MachineId) {
        let Some(neighbour) = self.neighbours.remove(&machine) else {
            return;
        };
        for timer in [
            Timer::Want(machine),
            Timer::Later(machine),
            Timer::Owed(machine),
            Timer::Telling(machine),
        ] {
            self.timers.clear(&timer);
        }
        for log in neighbour.leads.into_keys() {
            self.forget_unless_led(&log);
        }
        self.replace_pusher(&machine);
        if !neighbour.wanted.is_empty() {
            self.fill_all(now);
        }
    }

    fn on_drained(&mut self, now: Instant, machine: MachineId) {
        let Some(neighbour) = self.neighbours.get_mut(&machine) else {
            return;
        };
        neighbour.congested = false;
        self.flush_states(now, machine);
        self.serve(now, machine);
    }

    fn on_received(&mut self, now: Instant, from: MachineId, message: Message) {
        let Some(neighbour) = self.neighbours.get_mut(&from) else {
            return; // Its link went down while the message waited.
        };
        neighbour.heard = now;
        self.end_suspicion(now, from);
        match message {
            Message::Interest(interest) => self.on_interest(now, from, interest),
            Message::Sums(of, sums) => self.on_sums(now, from, of, &sums),
            Message::Frontier {
                entries,
                urgent,
                ages,
                is_news,
            } => self.on_frontier(now, from, entries, urgent, &ages, is_news),
            Message::Block { block, pushed } => self.on_block(now, from, block, pushed),
            Message::Want {
                log,
                spans,
                is_past,
            } => self.on_want(now, from, log, &spans, is_past),
            Message::Graft { origin } => self.on_graft(from, origin),
            Message::Prune { origin } => self.on_prune(from, origin),
            Message::StateSummary(entries) => self.on_summary(from, entries),
            Message::StateWant(keys) => self.on_state_want(now, from, keys),
            Message::States(states) => self.on_states(now, from, states),
        }
    }

    fn on_persisted(&mut self, now: Instant, ticket: Ticket) {
        match self.effects.remove(&ticket) {
            Some(Effect::Block(id)) => self.on_block_persisted(now, id),
            Some(Effect::State(key)) => self.on_state_written(&key),
            Some(Effect::Read(..)) | None => {}
        }
    }

    fn on_persist_failed(&mut self, now: Instant, ticket: Ticket) {
        match self.effects.remove(&ticket) {
            Some(Effect::Block(id)) => self.on_block_not_persisted(now, id),
            Some(Effect::State(key)) => self.on_state_not_written(now, &key),
            Some(Effect::Read(..)) | None => {}
        }
    }

    pub(crate) fn send(&mut self, to: MachineId, message: Message) {
        self.outputs.push_back(Output::Send(to, message));
    }

    pub(crate) fn misbehaved(&mut self, who: MachineId, fault: Fault) {
        self.stats.refused_invalid += 1;
        self.outputs.push_back(Output::Misbehaved(who, fault));
    }

    /// Names an effect.
    pub(crate) fn ticket(&mut self, effect: Effect) -> Ticket {
        self.ticket = self.ticket.next();
        self.effects.insert(self.ticket, effect);
        self.ticket
    }
}

impl StateMachine for Gossip {
    type Input = Input;
    type Output = Output;
    /// With 64 neighbours: 16 messages of states, 16 wants and 8 announcements to each, and 128
    /// grafts with what belongs to them. A first exchange is at most 2,048 messages.
    const OUTPUTS_PER_CALL_MAX: usize = 4_096;

    fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::NeighbourUp(machine) => self.on_neighbour_up(now, machine),
            Input::ForeignUp(machine, site) => {
                let its_own = Interest::default().at(site);
                self.welcome(now, machine, Some(its_own), None);
            }
            Input::NeighbourDown(machine) => self.on_neighbour_down(now, machine),
            Input::Congested(machine) => {
                if let Some(neighbour) = self.neighbours.get_mut(&machine) {
                    neighbour.congested = true;
                }
            }
            Input::Suspected(machine) => self.on_suspected(now, machine),
            Input::Drained(machine) => self.on_drained(now, machine),
            Input::Received(from, message) => self.on_received(now, from, message),
            Input::Publish(block) => self.on_publish(now, block),
            Input::PublishState(state) => self.on_publish_state(now, state),
            Input::Persisted(ticket) => self.on_persisted(now, ticket),
            Input::PersistFailed(ticket) => self.on_persist_failed(now, ticket),
            Input::BlocksRead(ticket, blocks) => self.on_blocks_read(now, ticket, blocks),
            Input::FloorMoved(log, floor) => self.on_floor_moved(now, log, floor),
            Input::Lost(ids) => self.on_lost(now, ids),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let mut overdue = BTreeSet::new();
        let mut retry = false;
        while let Some((_, timer)) = self.timers.pop_due(now) {
            match timer {
                Timer::Announce => self.on_announce_due(now),
                Timer::Graft(log) => {
                    overdue.insert(log);
                }
                Timer::Want(machine) => retry |= self.on_want_due(now, machine),
                Timer::Later(machine) => retry |= self.on_later_due(now, machine),
                Timer::Owed(machine) => self.flush_states(now, machine),
                Timer::Telling(machine) => self.serve(now, machine),
                Timer::Asking => retry = true,
                Timer::Disk => {
                    self.write_refused(now);
                    retry = true;
                }
            }
        }
        self.on_grafts_due(now, overdue);
        if retry {
            self.fill_all(now);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Deadline> {
        self.timers.next_deadline(|timer| match timer {
            Timer::Announce => "announce what became durable",
            Timer::Graft(_) => "graft",
            Timer::Want(_) => "want elsewhere",
            Timer::Later(_) => "want again",
            Timer::Owed(_) => "send more states",
            Timer::Telling(_) => "send more of the past",
            Timer::Asking => "ask for more of the past",
            Timer::Disk => "try the disk again",
        })
    }
}

/// What a block is taken for before any came. Unit: bytes. Source: guess.
const BLOCK_BYTES_START: usize = 1_024;
