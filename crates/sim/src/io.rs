//! What a node asks for, done: the shell of `node`, with simulated effects.

use std::time::Duration;

use bytes::Bytes;
use engine::{Input, Output, RequestId, UploadId};
use gossip::{Message, Write};
use model::Block;
use statemachine::{Instant, StateMachine as _};
use wire::{Frame, Lane};

use crate::disk::Op;
use crate::machine::uplink;
use crate::network::{End, Parcel, Sent};
use crate::plants::Plant;
use crate::sink::Attempt;
use crate::world::{Cause, Event, World};

impl World {
    /// Starts a machine, unless it runs or is switched off.
    pub(crate) fn start(&mut self, machine: usize) {
        let is_down = self.machines[machine].is_off || self.machines[machine].is_gone;
        if self.machines[machine].running.is_some() || is_down {
            return;
        }
        let now = self.now;
        self.machines[machine].start(now, &self.site, machine, &self.nodes);
        self.trace.note(now, machine, "start", "");
        let Some(running) = &self.machines[machine].running else {
            return;
        };
        let counter = running.node.epoch().counter;
        self.write(machine, Op::Epoch(counter));
        self.tell_time(machine);
        let contact = self.site.contact(machine);
        self.input(machine, Input::OwnAddresses(contact.addresses));
        self.discover(machine);
        if self.site.is_candidate(machine) {
            let reachable = self.sink.is_up() && self.machines[machine].reaches_sink;
            self.input(machine, Input::UplinkReachable(uplink(), reachable));
        }
        self.start_commands(machine);
    }

    /// Fires the timers of a machine that are due.
    pub(crate) fn fire(&mut self, machine: usize) {
        let now = self.now;
        let Some(running) = &mut self.machines[machine].running else {
            return;
        };
        if let Some(due) = running.due.take() {
            self.timers.remove(&(due, machine));
        }
        if running.paused.is_some() {
            return; // Its timers are set again when it goes on.
        }
        let local = Instant::ZERO + now.since(running.started);
        let why = running
            .node
            .next_deadline()
            .map_or("", |deadline| deadline.why);
        self.trace.note(now, machine, why, "");
        running.node.handle_timeout(local);
        let next = running.node.next_deadline();
        self.checker
            .require(next.is_none_or(|next| next.at > local), || {
                format!(
                    "machine {machine} at {now}: timer {next:?} is still due after handle_timeout"
                )
            });
        self.drain(machine);
    }

    /// Tells a machine that something happened, now or when its process goes on.
    pub(crate) fn input(&mut self, machine: usize, input: Input) {
        let now = self.now;
        let Some(running) = &mut self.machines[machine].running else {
            return;
        };
        if let Some(queue) = &mut running.paused {
            queue.push(input);
            return;
        }
        let local = Instant::ZERO + now.since(running.started);
        running.node.handle(local, input);
        self.drain(machine);
    }

    /// Does what a node wants done, and notes when it wants to be called again.
    fn drain(&mut self, machine: usize) {
        let Some(running) = &mut self.machines[machine].running else {
            return;
        };
        let outputs: Vec<_> = std::iter::from_fn(|| running.node.poll_output()).collect();
        if let Some(due) = running.due.take() {
            self.timers.remove(&(due, machine));
        }
        if let Some(deadline) = running.node.next_deadline() {
            let due = running.started + Duration::from_nanos(deadline.at.as_nanos());
            running.due = Some(due);
            self.timers.insert((due, machine));
        }
        let (count, max) = (outputs.len(), engine::Node::OUTPUTS_PER_CALL_MAX);
        self.checker
            .require(count <= max, || format!("{count} outputs of one call"));
        for output in outputs {
            self.perform(machine, output);
        }
    }

    fn perform(&mut self, machine: usize, output: Output) {
        match output {
            Output::Dial(_) if self.loses_dial(machine) => {}
            Output::Dial(contact) => {
                let to = self.site.number(&contact.machine);
                let address = contact.addresses.first().map(overlay::Address::as_str);
                match to.filter(|to| address == Some(format!("/sim/{to}").as_str())) {
                    Some(to) => self.dial(machine, to),
                    None => self
                        .checker
                        .fail(format!("machine {machine} dials {contact:?}")),
                }
            }
            Output::Send(to, frame) => self.send(machine, to, frame),
            Output::Release(to) => {
                if let Some(to) = self.site.number(&to) {
                    let ends = self.network.close(machine, to);
                    self.tell_link_down(&ends);
                }
            }
            Output::Expel(to) => {
                if let Some(to) = self.site.number(&to) {
                    self.trace.note(self.now, machine, "expel", &to.to_string());
                    let ends = self.network.close(machine, to);
                    self.tell_link_down(&ends);
                }
            }
            // Whoever links asks the node itself; nobody signs renewals or network keys here.
            Output::RollChanged | Output::Renewed(_) | Output::NetworkKey(_) => {}
            Output::Learned(contact) => self.write(machine, Op::Contact(contact)),
            Output::Persist(ticket, write) => {
                self.on_persist(machine, &write);
                self.write(machine, Op::Write(ticket, write));
                if self.plant == Some(Plant::AckBeforeSync) {
                    self.input_after(Duration::ZERO, machine, Input::Persisted(ticket));
                }
            }
            Output::Note(ticket, write) => {
                self.write(machine, Op::Note(ticket, write));
                if self.plant == Some(Plant::RunBeforeNote) {
                    self.input_after(Duration::ZERO, machine, Input::Persisted(ticket));
                }
            }
            Output::Command(output) => self.on_command(machine, output),
            Output::Read {
                ticket,
                log,
                span,
                bytes_max,
            } => {
                let blocks = self.machines[machine].disk.read(log, span, bytes_max);
                let takes = self.machines[machine].disk.read_time();
                if !self.loses_read() {
                    self.input_after(takes, machine, Input::BlocksRead(ticket, blocks));
                }
            }
            Output::Search {
                ticket,
                log,
                span,
                times,
                bytes_max,
            } => {
                let disk = &self.machines[machine].disk;
                let (blocks, searched) = disk.search(log, span, times, bytes_max);
                let takes = disk.read_time();
                self.input_after(takes, machine, Input::BlocksFound(ticket, blocks, searched));
            }
            Output::Deliver(block) => self.on_deliver(machine, &block),
            Output::StateChanged(state) => {
                let origin = self.site.number(&state.key().origin);
                if !self.insiders.contains(machine) && self.checker.on_state(origin, &state) {
                    self.check_progress(&state);
                }
            }
            Output::Reply(request, result) => {
                let answer = format!("{request:?} {result:?}");
                self.trace.note(self.now, machine, "reply", &answer);
                let stored = self.checker.on_reply(request, &result);
                self.machines[machine].publisher.stored(stored.as_ref());
            }
            Output::AdminReply(request, result) => self.on_admin_reply(machine, request, *result),
            Output::EpochStarted(epoch) => self.write(machine, Op::Epoch(epoch.counter)),
            Output::Upload { id, record, .. } => self.upload(machine, id, *record),
            Output::Withdraw(_, origin) => {
                if let Some(running) = &mut self.machines[machine].running {
                    running.outbox.withdraw(origin);
                }
            }
            Output::Event(event) => {
                let text = format!("{event:?}");
                self.trace.note(self.now, machine, "event", &text);
                if !self.insiders.contains(machine) {
                    let accused = self.accused(&event);
                    self.checker.on_event(machine, &event, accused);
                    self.meter.on_event(&event);
                    if matches!(event, engine::Event::NeighbourUp(_)) {
                        self.meter.on_neighbour();
                    }
                }
                self.on_event(machine, &event);
            }
            Output::Stopped(clean) => self.on_stopped(machine, clean),
        }
    }

    pub(crate) fn dial(&mut self, from: usize, to: usize) {
        self.trace.note(self.now, from, "dial", &to.to_string());
        let life = self.machines[from].life;
        let answers = self.network.meets(from, to);
        let delay = if answers { DIAL } else { DIAL_TIMEOUT };
        self.after(delay, Event::Dialled(from, life, to));
    }

    pub(crate) fn on_dialled(&mut self, from: usize, life: u64, to: usize) {
        if self.machines[from].life != life || self.machines[from].running.is_none() {
            return;
        }
        if self.network.is_linked(from, to) {
            return; // The other one was faster; both have been told.
        }
        let answers = self.machines[from].answers() && self.machines[to].answers();
        let admitted = answers && self.admits(from, to) && self.admits(to, from);
        if !admitted || !self.network.meets(from, to) {
            let id = self.site.id(to);
            self.input(from, Input::DialFailed(id));
            return;
        }
        let (stale, round_trip) = self.network.open(self.now, from, to);
        self.tell_link_down(&stale);
        for (at, to) in [(from, to), (to, from)] {
            let (id, shown) = (self.site.id(to), self.site.membership(to));
            self.trace.note(self.now, at, "link up", &format!("{id:?}"));
            self.input_after(Duration::ZERO, at, Input::LinkUp(Box::new(shown)));
            self.input_after(round_trip, at, Input::RoundTrip(id, round_trip));
        }
    }

    pub(crate) fn tell_link_down(&mut self, ends: &[End]) {
        for end in ends {
            let id = self.site.id(end.to);
            self.trace
                .note(self.now, end.at, "link down", &format!("{id:?}"));
            self.input_after(Duration::ZERO, end.at, Input::LinkDown(id));
        }
    }

    fn send(&mut self, from: usize, to: model::MachineId, frame: Frame) {
        let Some(to) = self.site.number(&to) else {
            self.checker
                .fail(format!("machine {from} sends to a stranger"));
            return;
        };
        let twisted = self.twist(from, to, frame);
        let Some(frame) = twisted.and_then(|frame| self.plant_in_sent(from, frame)) else {
            return;
        };
        if let Frame::Gossip(Message::Frontier { entries, .. }) = &frame
            && !self.insiders.contains(from)
        {
            self.checker
                .on_claims(from, entries, &self.machines[from].disk);
        }
        let bytes = wire::encode(&frame);
        let words = || format!("to machine {to} {frame:?}");
        self.trace.note_bytes(self.now, from, "send", &bytes, words);
        self.meter.on_frame(bytes.len());
        self.transmit(from, to, frame.lane(), bytes);
    }

    /// Puts bytes on their way.
    pub(crate) fn transmit(&mut self, from: usize, to: usize, lane: Lane, bytes: Bytes) {
        match self.network.send(self.now, from, to, lane, bytes) {
            Sent::At(at, parcel) => self.at(at, Event::Frame(parcel)),
            Sent::Full => {
                self.meter.on_congestion();
                let id = self.site.id(to);
                self.input_after(Duration::ZERO, from, Input::Congested(id));
            }
            Sent::Broken(number) => {
                self.after(Duration::ZERO, Event::LinkBreaks(number, Cause::Loss));
            }
            Sent::Held | Sent::Nowhere => {}
        }
        let over = self.network.over_bounds(from, to);
        self.checker.require(over.is_none(), || {
            format!("a queue has no bound: machine {from} keeps {over:?} bytes for machine {to}")
        });
    }

    pub(crate) fn on_frame(&mut self, parcel: &Parcel) {
        let (taken, drained) = self.network.arrive(parcel);
        if drained {
            let id = self.site.id(parcel.to);
            self.input(parcel.from, Input::Drained(id));
        }
        if !taken || self.machines[parcel.to].running.is_none() {
            return;
        }
        let is_honest = !self.insiders.contains(parcel.from);
        match wire::decode(parcel.bytes.clone()) {
            Ok(mut frame) => {
                self.shared.share(&mut frame);
                self.overhear(parcel.to, &frame);
                if let Frame::Gossip(Message::Block { block, .. }) = &frame
                    && is_honest
                {
                    self.on_block_copy(parcel, block);
                }
                let id = self.site.id(parcel.from);
                let frame = self.plant_in_received(parcel.to, frame);
                self.input(parcel.to, Input::Received(id, frame));
            }
            Err(error) if is_honest => {
                let from = parcel.from;
                self.checker
                    .fail(format!("machine {from} sent what does not decode: {error}"));
            }
            Err(_) => {
                // As the link layer does: whoever sends nonsense loses the link.
                self.meter.on_undecodable();
                let ends = self.network.close(parcel.from, parcel.to);
                self.tell_link_down(&ends);
            }
        }
    }

    fn on_block_copy(&mut self, parcel: &Parcel, block: &Block) {
        self.checker.on_block(block);
        let hops = self.machines[parcel.from]
            .hops
            .get(&block.id())
            .map_or(1, |hops| hops + 1);
        let known = &mut self.machines[parcel.to].hops;
        let is_repeated = known.contains_key(&block.id());
        self.meter.on_copy(is_repeated);
        if !is_repeated {
            known.insert(block.id(), hops);
            self.measure_stretch(parcel.to, &block.id());
        }
    }

    fn on_persist(&mut self, machine: usize, write: &Write) {
        if let Write::Block(block) = write {
            if self.insiders.contains(machine) {
                return;
            }
            self.checker.on_block(block);
            if block.header().origin() == self.site.id(machine) {
                self.machines[machine].hops.entry(block.id()).or_insert(0);
                self.checker.on_own_block(machine, block);
                self.note_spreading(block.id());
                self.measure_shortest(machine, block);
                self.note_sealed_after_gap(block.id());
            }
        }
    }

    pub(crate) fn on_deliver(&mut self, machine: usize, block: &Block) {
        if self.insiders.contains(machine) {
            return;
        }
        let Some(origin) = self.site.number(&block.header().origin()) else {
            self.checker
                .fail(format!("block {} is of a stranger", block.id()));
            return;
        };
        let life = self.machines[machine].life;
        let published = self.checker.on_deliver(machine, life, origin, block);
        self.hold_to_live_max(machine, origin, published);
        if origin != machine
            && let Some(published) = published
        {
            let hops = self.machines[machine]
                .hops
                .get(&block.id())
                .copied()
                .unwrap_or(0);
            let readings = block.header().count;
            self.meter
                .on_deliver(self.now.since(published), hops, readings);
            self.note_reached(&block.id());
            self.note_merged(machine, origin, &block.id());
        }
    }

    pub(crate) fn write(&mut self, machine: usize, op: Op) {
        let life = self.machines[machine].life;
        if let Some(sync) = self.machines[machine].disk.write(op) {
            self.after(sync, Event::Synced(machine, life));
        }
    }

    pub(crate) fn on_synced(&mut self, machine: usize, life: u64) {
        if self.machines[machine].life != life || self.machines[machine].running.is_none() {
            return;
        }
        let (tickets, next) = self.machines[machine].disk.synced();
        if let Some(sync) = next {
            self.after(sync, Event::Synced(machine, life));
        }
        if self.plant != Some(Plant::AckBeforeSync) {
            for ticket in tickets {
                self.input(machine, Input::Persisted(ticket));
            }
        }
    }

    fn upload(&mut self, machine: usize, id: UploadId, record: aggregate::Record) {
        self.trace.note(self.now, machine, "upload", &record.name());
        self.check_upload(machine, &record);
        let life = self.machines[machine].life;
        if let Some(running) = &mut self.machines[machine].running {
            running.outbox.push(id, record);
        }
        let way = self.sink.way();
        self.after(way, Event::Attempt(machine, life, id));
        if self.plant == Some(Plant::ProgressBeforeAck) {
            self.input_after(Duration::ZERO, machine, Input::Uploaded(uplink(), vec![id]));
        }
    }

    pub(crate) fn on_attempt(&mut self, machine: usize, life: u64, id: UploadId) {
        let reaches = self.machines[machine].reaches_sink;
        let of_life = self.machines[machine].life == life;
        let Some(running) = self.machines[machine].running.as_mut().filter(|_| of_life) else {
            return;
        };
        if running.paused.is_some() {
            self.after(DIAL_TIMEOUT, Event::Attempt(machine, life, id));
            return;
        }
        match running.outbox.deliver(id, &mut self.sink, reaches) {
            Ok(Attempt::Committed(way)) => self.after(way, Event::Answered(machine, life, id)),
            Ok(Attempt::Failed(again)) => self.after(again, Event::Attempt(machine, life, id)),
            Ok(Attempt::Gone) => {}
            Err(error) => self.checker.fail(error),
        }
    }

    pub(crate) fn on_answered(&mut self, machine: usize, life: u64, id: UploadId) {
        let of_life = self.machines[machine].life == life;
        let Some(running) = self.machines[machine].running.as_mut().filter(|_| of_life) else {
            return;
        };
        if running.outbox.acknowledge(id) && self.plant != Some(Plant::ProgressBeforeAck) {
            self.input(machine, Input::Uploaded(uplink(), vec![id]));
        }
    }

    pub(crate) fn tell_time(&mut self, machine: usize) {
        let wall = self.machines[machine].wall(self.now);
        let life = self.machines[machine].life;
        let state = self.machines[machine].clock;
        self.input(machine, Input::WallClock(wall, state));
        self.after(CLOCK_INTERVAL, Event::Clock(machine, life));
    }

    pub(crate) fn publish(&mut self, machine: usize) {
        let pause = self.machines[machine].publisher.pause();
        self.after(pause, Event::Publish(machine));
        let publishes = self.publishing || self.machines[machine].publisher.is_waiting();
        let stopping = |running: &crate::machine::Running| running.stopping;
        if !publishes
            || !self.machines[machine].answers()
            || self.machines[machine]
                .running
                .as_ref()
                .is_some_and(stopping)
        {
            return;
        }
        let wall = self.machines[machine].wall(self.now);
        let batch = self.machines[machine].publisher.batch(wall);
        self.requests += 1;
        let request = RequestId(self.requests);
        self.checker.on_publish(self.now, machine, request, &batch);
        self.trace
            .note(self.now, machine, "publish", &format!("{batch:?}"));
        let publish = Input::Publish {
            request,
            readings: batch.readings,
            publisher: batch.mark,
            level: batch.level,
        };
        self.input(machine, publish);
    }

    pub(crate) fn input_after(&mut self, delay: Duration, machine: usize, input: Input) {
        let life = self.machines[machine].life;
        self.after(delay, Event::Input(machine, life, input));
    }
}

/// How long a dial and its handshake take. Source: guess, TCP, Noise and Yamux on a LAN.
const DIAL: Duration = Duration::from_millis(5);
/// How long a dial into nothing takes.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a node is told the time. Source: the documentation of `Input::WallClock`.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);
