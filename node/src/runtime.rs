//! The loop: the same `Node` as in the simulator, between a real clock, sockets and disks.
//!
//! Everything that reaches the node comes through here, one input after the other, on one thread;
//! nothing here waits for a disk or a peer.

mod commanding;
mod complaints;
mod enrol;
mod given;
mod keeping;
mod log;
mod ruling;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::Batch;
use command::RunId;
use engine::{CleanStop, Input, Output, PublishError, Published, RequestId};
use identity::{Grant, NetworkKeys};
use model::{MachineId, Timestamp};
use overlay::Address;
use recording::Recorded;
use statemachine::{Deadline, StateMachine as _};
use store::{CommandLog, Completion, Store};
use swarm::{Sending, Swarm, Way};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use wire::Frame;

use crate::audit::{Audit, Record};
use crate::backend::Request;
use crate::clock::{self, Monotonic, WallClock};
use crate::commands::Desk;
use crate::floor::FloorFile;
use crate::reader::{Choice, Read, Reader};
use crate::report;
use crate::rules::RuleDesk;
use crate::seen::SeenFile;
use crate::uplinks::Uplinks;
use crate::view::View;
use crate::wear::Wear;
use enrol::{Administrator, Waiting};
pub use given::GivenFiles;
pub use keeping::Keeping;
pub use log::Log;

/// What the loop hears from its threads and services.
#[derive(Debug)]
pub struct Inbox {
    /// From the store's writer.
    pub completions: mpsc::Receiver<Vec<Completion>>,
    /// From the store's reader.
    pub reads: mpsc::Receiver<Input>,
    /// From the services and the sources.
    pub requests: mpsc::Receiver<Request>,
    /// From the uplinks.
    pub uplinks: mpsc::Receiver<uplink::Event>,
}

/// One thing that the loop heard.
enum Heard {
    Completions(Vec<Completion>),
    Read(Input),
    Swarm(swarm::Event),
    Requests(Vec<Request>),
    Uplink(uplink::Event),
}

impl Inbox {
    /// What comes next, from anywhere with the same chance: a flood of one kind does not keep the
    /// others out.
    async fn next(&mut self, swarm: &mut Swarm) -> Heard {
        let mut requests = Vec::new();
        tokio::select! {
            Some(completions) = self.completions.recv() => Heard::Completions(completions),
            Some(answer) = self.reads.recv() => Heard::Read(answer),
            1.. = self.requests.recv_many(&mut requests, REQUESTS_AT_ONCE_MAX) => {
                Heard::Requests(requests)
            }
            Some(event) = self.uplinks.recv() => Heard::Uplink(event),
            event = swarm.next() => Heard::Swarm(event),
        }
    }
}

/// A node and its effects.
pub struct Runtime {
    /// The node.
    pub node: Recorded,
    /// The one monotonic clock.
    pub clock: Monotonic,
    /// Links to other machines.
    pub swarm: Swarm,
    /// The disk.
    pub store: Store,
    /// The thread that reads from it.
    pub reader: Reader,
    /// What it gives up, and when.
    pub keeping: Keeping,
    /// How much is written to the disk.
    pub wear: Wear,
    /// The ways to the internet.
    pub uplinks: Uplinks,
    /// Who waits for answers to commands, and who serves them.
    pub desk: Desk,
    /// The file of notes on commands.
    pub command_log: CommandLog,
    /// Reads the configuration again, then ends the run of a command.
    pub reloads: mpsc::Sender<RunId>,
    /// What this machine does by itself.
    pub rules: RuleDesk,
    /// What the services see.
    pub view: Arc<View>,
    /// Who watches readings.
    pub feed: Arc<api::Feed>,
    /// This machine's grant.
    pub grant: Grant,
    /// The network's name.
    pub network: String,
    /// The newest metrics.
    pub metrics: Arc<Mutex<String>>,
    /// Whether the node is ready.
    pub ready: watch::Sender<bool>,
    /// What the link to each machine is made of.
    pub ways: BTreeMap<MachineId, Way>,
    /// Handshakes that were seen.
    pub seen: SeenFile,
    /// The one wall clock.
    pub wall_clock: WallClock,
    /// What the wall clock showed while it was known to be right.
    pub floor: FloorFile,
    /// Who was let in, refused or thrown out.
    pub audit: Audit,
    /// What is worth a line.
    pub log: Log,
    /// When each machine was last heard of, through whichever neighbours.
    pub heard: BTreeMap<MachineId, Timestamp>,
    /// Publishers that wait.
    pub replies: BTreeMap<RequestId, oneshot::Sender<Result<Published, PublishError>>>,
    /// Administrators that wait.
    pub administrators: BTreeMap<RequestId, Administrator>,
    /// Machines that wait for the answer to their claims.
    pub newcomers: BTreeMap<RequestId, Waiting>,
    /// The files of what this machine is given while it runs.
    pub given: GivenFiles,
    /// The network's secrets, which whoever is admitted gets.
    pub network_keys: NetworkKeys,
    /// Where this machine can be reached.
    pub addresses: Vec<Address>,
    /// The last request.
    pub request: RequestId,
    /// Set by the node's last output.
    pub stopped: Option<CleanStop>,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("machine", &self.node.machine())
            .finish_non_exhaustive()
    }
}

impl Runtime {
    /// Runs until `stop`, then until everything that was accepted is on disk. Returns what to note
    /// for the next start; `None` if the disk took too long.
    pub async fn run(&mut self, mut inbox: Inbox, stop: CancellationToken) -> Option<CleanStop> {
        let mut second = tokio::time::interval(WALL_CLOCK_INTERVAL);
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.tell_wall_clock();
        self.handle(Input::Command(Desk::built_in()));
        let mut give_up = None;
        while self.stopped.is_none() {
            let due = Deadline::earlier(self.node.next_deadline(), self.rules.next_deadline())
                .map(|deadline| self.clock.to_tokio(deadline.at));
            tokio::select! {
                biased; // Stop first, then timers, so that a flood of input cannot starve them.
                () = stop.cancelled(), if give_up.is_none() => {
                    tracing::info!("stopping");
                    give_up = Some(Box::pin(tokio::time::sleep(STOP_TIMEOUT)));
                    self.ready.send_replace(false);
                    self.handle(Input::Stop);
                }
                () = wait(&mut give_up) => {
                    tracing::warn!("the disk did not finish in time; the next start begins a new epoch");
                    return None;
                }
                () = sleep_until(due) => self.handle_timeout(),
                _ = second.tick() => self.tell_wall_clock(),
                heard = inbox.next(&mut self.swarm) => self.on_heard(heard),
            }
        }
        self.stopped
    }

    fn handle(&mut self, input: Input) {
        self.node.handle(self.clock.now(), input);
        self.perform_all();
    }

    fn handle_timeout(&mut self) {
        self.node.handle_timeout(self.clock.now());
        self.rules.handle_timeout(self.clock.now());
        self.perform_all();
    }

    fn perform_all(&mut self) {
        loop {
            while let Some(output) = self.node.poll_output() {
                self.perform(output);
            }
            if !self.perform_rules() {
                return;
            }
        }
    }

    fn tell_wall_clock(&mut self) {
        let time = clock::wall_time();
        if let Some(load) = crate::load::percent() {
            self.node.handle(self.clock.now(), Input::Load(load));
        }
        self.rules.tell_wall_clock(self.clock.now(), time);
        self.wall_clock.raise(self.node.catalogue().proved_past());
        let state = self.wall_clock.state(time);
        self.handle(Input::WallClock(time, state));
        self.floor.save_if_due(time, state);
        self.keep_store_in_bounds(time, state);
        self.tell_what_is_lost();
        self.ready.send_if_modified(|ready| {
            std::mem::replace(ready, self.node.is_publishing()) != self.node.is_publishing()
        });
        self.replies.retain(|_, reply| !reply.is_closed());
        self.uplinks.submit();
        self.seen.save_if_due(&self.swarm);
        self.given.save_if_due();
        for input in self.desk.sweep() {
            self.handle(Input::Command(input));
        }
        self.wear.look(self.clock.uptime());
        self.log.write_counted(self.clock.now());
        let metrics = self.report().metrics();
        if let Ok(mut shared) = self.metrics.lock() {
            *shared = metrics;
        }
    }

    fn report(&self) -> report::Sources<'_> {
        report::Sources {
            node: &self.node,
            grant: &self.grant,
            store: self.store.stats(),
            wear: &self.wear,
            swarm: self.swarm.stats(),
            ways: &self.ways,
            uplinks: &self.uplinks,
            heard: &self.heard,
            misbehaved: self.log.misbehaved(),
            uptime: self.clock.uptime(),
            clock: self.wall_clock.state(clock::wall_time()),
            time: self.wall_clock.trusted(),
            ready: self.node.is_publishing(),
            network: self.network.clone(),
        }
    }

    /// Does one thing that the node asks for; never waits.
    fn perform(&mut self, output: Output) {
        match output {
            Output::Dial(contact) => self.swarm.dial(contact),
            Output::Send(to, frame) => self.send(to, &frame),
            Output::Release(machine) => self.swarm.release(machine),
            Output::Expel(machine) => self.swarm.expel(machine),
            Output::Renewed(membership) => self.on_renewed(*membership),
            Output::NetworkKey(key) => self.on_network_key(key),
            Output::RollChanged => self.swarm.set_roll(self.node.roll().clone()),
            Output::Learned(contact) => {
                if let Err(error) = self.store.put_contact(&contact) {
                    tracing::debug!(%error, "the address book was not written");
                }
            }
            Output::Persist(ticket, write) => {
                if let Err(refused) = self.store.write(ticket, write) {
                    tracing::warn!(%refused, "the disk takes nothing more");
                    self.node
                        .handle(self.clock.now(), Input::PersistFailed(ticket));
                }
            }
            Output::Note(ticket, write) => {
                if !self.command_log.write(ticket, write) {
                    tracing::warn!("the disk does not keep up with commands");
                    self.node
                        .handle(self.clock.now(), Input::PersistFailed(ticket));
                }
            }
            Output::Command(output) => self.on_command(output),
            Output::Read {
                ticket,
                log,
                span,
                bytes_max,
            } => self.read(Read {
                ticket,
                log,
                span,
                choice: Choice::All,
                bytes_max,
            }),
            Output::Search {
                ticket,
                log,
                span,
                times,
                bytes_max,
            } => self.read(Read {
                ticket,
                log,
                span,
                choice: Choice::Times(times),
                bytes_max,
            }),
            Output::Deliver(block) => {
                self.rules_on_block(&block);
                if self.feed.is_watched() {
                    self.feed.push(&self.view.readings_of(&block));
                }
            }
            Output::StateChanged(state) => {
                self.heard.insert(state.key().origin, clock::wall_time());
                self.view.apply(&state);
                self.rules_on_state(&state);
            }
            Output::Reply(request, result) => {
                if !self.rules_on_reply(request, &result)
                    && let Some(reply) = self.replies.remove(&request)
                {
                    let _ = reply.send(result); // Whoever asked may be gone.
                }
            }
            Output::AdminReply(request, result) => self.on_admin_reply(request, *result),
            Output::EpochStarted(epoch) => {
                if let Err(error) = self.store.start_epoch(epoch.counter) {
                    tracing::warn!(%error, "the new epoch could not be noted");
                }
            }
            Output::Upload { uplink, id, record } => {
                let name = self.node.catalogue().name(&record.machine());
                self.uplinks.upload(&uplink, id, *record, name);
            }
            Output::Withdraw(uplink, origin) => self.uplinks.withdraw(&uplink, origin),
            Output::Event(event) => {
                self.record(Record::of_event(clock::wall_time(), &event));
                self.log.write(self.clock.now(), event);
            }
            Output::Stopped(clean) => self.stopped = Some(clean),
        }
    }

    /// Queues a read; if too many wait, it has found nothing and is asked for again.
    fn read(&mut self, read: Read) {
        if let Err(read) = self.reader.read(read) {
            self.node.handle(self.clock.now(), read.nothing());
        }
    }

    /// Queues a frame. What is dropped because there is no room must be of a kind that comes again;
    /// for everything else the link is made anew, which starts with a full comparison.
    fn send(&mut self, to: MachineId, frame: &Frame) {
        if self.swarm.send(to, frame.lane(), wire::encode(frame)) != Sending::Full {
            return;
        }
        if comes_again(frame) {
            tracing::debug!(neighbour = %to.short(), "neighbour is congested, frame dropped");
            self.node.handle(self.clock.now(), Input::Congested(to));
        } else {
            tracing::info!(neighbour = %to.short(), "neighbour is congested, link closed");
            self.swarm.release(to);
        }
    }

    fn on_heard(&mut self, heard: Heard) {
        match heard {
            Heard::Completions(completions) => self.on_completions(completions),
            Heard::Read(answer) => self.handle(answer),
            Heard::Swarm(event) => self.on_swarm(event),
            Heard::Requests(requests) => {
                for request in requests {
                    self.on_request(request);
                }
            }
            Heard::Uplink(event) => {
                if let Some(input) = self.uplinks.on_event(event) {
                    self.handle(input);
                }
            }
        }
    }

    fn on_completions(&mut self, completions: Vec<Completion>) {
        for Completion { ticket, result } in completions {
            match result {
                Ok(()) => self.handle(Input::Persisted(ticket)),
                Err(error) => {
                    tracing::warn!(%error, "a write failed");
                    self.handle(Input::PersistFailed(ticket));
                }
            }
        }
    }

    /// Writes down what is worth a record.
    fn record(&mut self, record: Option<Record>) {
        if let Some(record) = record {
            self.audit.record(self.clock.now(), record);
        }
    }

    fn on_swarm(&mut self, event: swarm::Event) {
        self.record(Record::of_swarm(clock::wall_time(), &event));
        let input = match event {
            swarm::Event::LinkUp {
                machine,
                membership,
                way,
            } => {
                self.ways.insert(machine, way);
                Input::LinkUp(membership)
            }
            swarm::Event::LinkMoved {
                machine,
                membership,
                way,
            } => {
                self.ways.insert(machine, way);
                Input::LinkMoved(membership)
            }
            swarm::Event::LinkDown(machine) => {
                self.ways.remove(&machine);
                Input::LinkDown(machine)
            }
            swarm::Event::DialFailed(machine) => Input::DialFailed(machine),
            swarm::Event::Received(from, bytes) => match wire::decode(bytes) {
                Ok(frame) => Input::Received(from, frame),
                Err(error) => {
                    tracing::info!(neighbour = %from.short(), %error, "a frame was refused");
                    return;
                }
            },
            swarm::Event::Drained(machine) => Input::Drained(machine),
            swarm::Event::RoundTrip(machine, time) => Input::RoundTrip(machine, time),
            swarm::Event::Discovered(contact) => Input::Discovered(contact),
            swarm::Event::OwnAddresses(addresses) => {
                self.addresses.clone_from(&addresses);
                Input::OwnAddresses(addresses)
            }
            swarm::Event::Claimed {
                enrolment,
                claim,
                address,
            } => return self.on_claim(enrolment, claim, address),
            swarm::Event::Refused { .. } => return, // Counted and logged by the swarm.
        };
        self.handle(input);
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Publish(
                Batch {
                    readings,
                    publisher,
                    level,
                },
                reply,
            ) => {
                self.request.0 += 1;
                let request = self.request;
                self.replies.insert(request, reply);
                self.handle(Input::Publish {
                    request,
                    readings,
                    publisher,
                    level,
                });
            }
            Request::Admin(asked, reply) => {
                self.request.0 += 1;
                let administrator = Administrator::new(&asked, reply);
                self.administrators.insert(self.request, administrator);
                self.handle(Input::Admin(self.request, Box::new(asked)));
            }
            Request::Door(reply) => _ = reply.send(self.door()),
            Request::Members(reply) => _ = reply.send(self.report().members()),
            Request::Send(order, reply) => self.on_send(order, reply),
            Request::Serve(offer, reply) => self.on_serve(offer, reply),
            Request::Served(served) => self.handle(Input::Command(Desk::served(served))),
            Request::Gone(handler) => {
                let input = self.desk.gone(handler);
                self.handle(Input::Command(input));
            }
            Request::Status(reply) => _ = reply.send(self.report().status()),
            Request::Topology(reply) => _ = reply.send(self.report().topology()),
            Request::Relays(reply) => _ = reply.send(self.report().relays()),
            Request::Reload(configuration, reply) => {
                self.reload(*configuration);
                let _ = reply.send(()); // Whoever asked may be gone.
            }
            Request::Rules(request) => self.on_rules_request(request),
        }
    }
}

fn comes_again(frame: &Frame) -> bool {
    use gossip::Message;
    match frame {
        Frame::Election(_) => true,
        Frame::Command(_) => false, // Sent again when the link stands again.
        Frame::Overlay(_) => false,
        Frame::Gossip(message) => match message {
            Message::Block { .. }
            | Message::Want { .. }
            | Message::Graft { .. }
            | Message::Prune { .. } => true,
            Message::Interest(_)
            | Message::Sums(..)
            | Message::Frontier { .. }
            | Message::StateSummary(_)
            | Message::StateWant(_)
            | Message::States(_) => false,
        },
    }
}

async fn sleep_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn wait(timer: &mut Option<std::pin::Pin<Box<tokio::time::Sleep>>>) {
    match timer {
        Some(timer) => timer.await,
        None => std::future::pending().await,
    }
}

/// How often the node is told the wall clock, and metrics are made. Source: guess.
const WALL_CLOCK_INTERVAL: Duration = Duration::from_secs(1);
/// Requests that are heard in a row. Source: guess; with full blocks some ten milliseconds.
const REQUESTS_AT_ONCE_MAX: usize = 16;
/// Longest wait for the disk on a stop in order. Source: guess.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
