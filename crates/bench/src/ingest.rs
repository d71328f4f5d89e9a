//! Durable ingest of one node: readings, blocks, signatures, `fdatasync`.
//!
//! The node of a real machine without neighbours, its real store, and between them what
//! `node::runtime` does; no gRPC and no gossip. A reading counts once its publisher has heard that
//! it is durable.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use engine::{AckLevel, CleanStop, Input, Node, Output, Recovered, RequestId};
use fieldmesh::clock::{self, Monotonic};
use model::{ClockState, NewReading};
use statemachine::{Rng, StateMachine as _};
use store::{Completion, Store};

use crate::keys;
use crate::measure::{Measure, Report, Sample, length, micros, number};
use crate::process::{Process, Share};
use crate::table::Table;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the store goes; it should lie on the disk that is meant. A directory is made in it,
    /// and removed at the end.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// How long each round lasts, like `2s`.
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    round: Duration,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
}

pub(crate) fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new()
        .prefix("fieldmesh-bench-")
        .tempdir_in(&args.dir)?;
    let mut source = Source::new(Table::read(None)?.as_new());
    let mut machine = Machine::start(directory.path().join("data"))?;

    let (mut rates, mut memory) = (Sample::default(), Sample::default());
    let threads_before = Process::Own.threads()?;
    let (bytes_before, disk_before) = (
        machine.store.stats().bytes_written,
        Process::Own.bytes_written()?,
    );
    let resident_before = Process::Own.resident()?;
    let mut readings = 0;
    let clock = Monotonic::start();
    for _ in 0..args.rounds {
        let began = clock.uptime();
        let count = machine.flood(&mut source, args.round)?;
        rates.push(number(count) / (clock.uptime() - began).as_secs_f64());
        memory.push(mebibytes(Process::Own.resident()?));
        readings += count;
    }
    let took = clock.uptime();
    let shares = shares(&threads_before, &Process::Own.threads()?);
    let grown = Process::Own.resident()?.saturating_sub(resident_before);
    let written = machine.store.stats().bytes_written - bytes_before;
    let on_disk = Process::Own.bytes_written()? - disk_before;

    report.add(
        RATE,
        "batches of 4,096",
        &rates,
        format!(
            "{}; limited by the busiest of them, or by the disk if none is busy",
            describe(&shares, took)
        ),
    )?;
    let running: Duration = shares.iter().map(|(_, share)| share.running).sum();
    let nanos = running.as_secs_f64() * 1e9 / number(readings);
    report.add(
        TIME,
        "CPU of all threads",
        &Sample::from_iter([nanos]),
        "what a reading costs however busy the computer is, the publisher's copies included; \
         what `codec` says of sealing 4,096 is part of it",
    )?;
    let per_reading = |bytes: u64| Sample::from_iter([number(bytes) / number(readings)]);
    let note = "records of the segments; limited by the block codec";
    report.add(BYTES, "written by the store", &per_reading(written), note)?;
    let note = "as the kernel counts it, pages written more than once, sled and the file system's \
                share included";
    report.add(BYTES, "written to the disk", &per_reading(on_disk), note)?;
    report.add(
        MEMORY,
        "resident while ingesting",
        &memory,
        format!(
            "grew by {:.2} bytes a reading over {readings} readings; the table itself included",
            number(grown) / number(readings),
        ),
    )?;
    let note = "a block, a signature and a sync for one reading; limited by the disk's sync";
    report.add(
        LATENCY,
        "one reading alone",
        &machine.one_by_one(&mut source)?,
        note,
    )?;
    machine.stop()
}

/// Gives the table's readings again and again, each time later, so that times never repeat.
struct Source {
    readings: Vec<NewReading>,
    next: usize,
    later: Duration,
    span: Duration,
}

impl Source {
    fn new(readings: Vec<NewReading>) -> Self {
        let times = || readings.iter().map(|reading| reading.time);
        let span = times().max().zip(times().min());
        Self {
            next: 0,
            later: Duration::ZERO,
            span: span.map_or(Duration::ZERO, |(last, first)| last.since(first)),
            readings,
        }
    }

    fn take(&mut self, count: usize) -> Vec<NewReading> {
        if self.next + count > self.readings.len() {
            self.next = 0;
            // Not into the future, where times would count as uncertain.
            self.later += self.span;
            if self.later > LATER_MAX {
                self.later = Duration::ZERO;
            }
        }
        let part = self.readings.iter().skip(self.next).take(count);
        self.next += count;
        let later = |reading: &NewReading| NewReading {
            time: reading.time.saturating_add(self.later),
            ..reading.clone()
        };
        part.map(later).collect()
    }
}

/// A node and its store.
struct Machine {
    node: Node,
    store: Store,
    completions: Receiver<Vec<Completion>>,
    clock: Monotonic,
    told: Duration,
    request: u64,
    /// Readings whose publisher has heard of them.
    durable: u64,
    /// Requests that wait for their answer.
    waiting: usize,
    stopped: Option<CleanStop>,
}

impl Machine {
    fn start(directory: PathBuf) -> anyhow::Result<Self> {
        let identity = keys::identity(1)?;
        let machine = identity.keypair.machine();
        let config = store::Config::new(directory, identity.trust.network(), machine);
        let (completed, completions) = sync_channel(COMPLETIONS_MAX);
        // Whoever listened may be gone at the end.
        let (store, _) = Store::open(config, move |batch| _ = completed.send(batch))?;
        let config = engine::Config::default();
        let node = Node::new(identity, config, Recovered::default(), Rng::from_u64(1));
        store.start_epoch(node.epoch().counter)?;
        let mut machine = Self {
            node,
            store,
            completions,
            clock: Monotonic::start(),
            told: Duration::ZERO,
            request: 0,
            durable: 0,
            waiting: 0,
            stopped: None,
        };
        machine.tell_time()?;
        Ok(machine)
    }

    /// Publishes as fast as acknowledgements allow; returns how many readings became durable.
    fn flood(&mut self, source: &mut Source, limit: Duration) -> anyhow::Result<u64> {
        let (began, durable) = (self.clock.uptime(), self.durable);
        while self.clock.uptime() - began < limit {
            while self.waiting < WAITING_MAX {
                self.publish(source.take(model::Block::READINGS_MAX))?;
            }
            self.step()?;
        }
        while self.waiting > 0 {
            self.step()?;
        }
        Ok(self.durable - durable)
    }

    /// How long single readings take until they are durable, one after the other.
    fn one_by_one(&mut self, source: &mut Source) -> anyhow::Result<Sample> {
        let mut times = Sample::default();
        for _ in 0..SINGLE_COUNT {
            let began = self.clock.uptime();
            self.publish(source.take(1))?;
            while self.waiting > 0 {
                self.step()?;
            }
            times.push(micros(self.clock.uptime() - began));
            // The publisher gathers what comes sooner after a block; a lone reading does not wait.
            std::thread::sleep(PAUSE);
        }
        Ok(times)
    }

    fn publish(&mut self, readings: Vec<NewReading>) -> anyhow::Result<()> {
        self.request += 1;
        self.waiting += 1;
        self.handle(Input::Publish {
            request: RequestId(self.request),
            readings,
            publisher: None,
            level: AckLevel::Durable,
        })
    }

    /// Waits for the disk or the node's next timer, whichever comes first.
    fn step(&mut self) -> anyhow::Result<()> {
        if self.clock.uptime() - self.told > TIME_INTERVAL {
            self.tell_time()?;
        }
        let now = self.clock.now();
        let due = self
            .node
            .next_deadline()
            .map(|deadline| deadline.at.since(now));
        match self.completions.recv_timeout(due.unwrap_or(TIME_INTERVAL)) {
            Ok(batch) => {
                for Completion { ticket, result } in batch {
                    result?;
                    self.handle(Input::Persisted(ticket))?;
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                self.node.handle_timeout(self.clock.now());
                self.perform()?;
            }
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the store has ended"),
        }
        Ok(())
    }

    fn tell_time(&mut self) -> anyhow::Result<()> {
        self.told = self.clock.uptime();
        self.handle(Input::WallClock(
            clock::wall_time(),
            ClockState::Synchronised,
        ))
    }

    fn handle(&mut self, input: Input) -> anyhow::Result<()> {
        self.node.handle(self.clock.now(), input);
        self.perform()
    }

    /// Does what the node asks for. Without neighbours and uplinks that is little.
    fn perform(&mut self) -> anyhow::Result<()> {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Persist(ticket, write) => {
                    self.store
                        .write(ticket, write)
                        .map_err(anyhow::Error::new)?;
                }
                Output::Reply(_, result) => {
                    self.waiting -= 1;
                    self.durable += u64::try_from(result?.readings)?;
                }
                Output::EpochStarted(epoch) => self.store.start_epoch(epoch.counter)?,
                Output::Stopped(clean) => self.stopped = Some(clean),
                Output::Dial(_)
                | Output::Send(..)
                | Output::Release(_)
                | Output::Learned(_)
                | Output::Note(..)
                | Output::Command(_)
                | Output::Read { .. }
                | Output::Search { .. }
                | Output::Deliver(_)
                | Output::StateChanged(_)
                | Output::Upload { .. }
                | Output::Withdraw(..)
                | Output::Expel(_)
                | Output::RollChanged
                | Output::Renewed(_)
                | Output::NetworkKey(_)
                | Output::AdminReply(..)
                | Output::Event(_) => {}
            }
        }
        Ok(())
    }

    fn stop(mut self) -> anyhow::Result<()> {
        self.handle(Input::Stop)?;
        while self.stopped.is_none() {
            self.step()?;
        }
        drop(self.completions); // Nobody takes any more, and the writer must not wait.
        Ok(self.store.close(None)?)
    }
}

/// What each thread has had of the cores between two points.
fn shares(before: &[(String, Share)], after: &[(String, Share)]) -> Vec<(String, Share)> {
    let since = |(name, share): &(String, Share)| {
        let known = before.iter().find(|(other, _)| other == name);
        let known = known.map_or_else(Share::default, |(_, share)| *share);
        let share = Share {
            running: share.running.saturating_sub(known.running),
            waiting: share.waiting.saturating_sub(known.waiting),
        };
        (name.clone(), share)
    };
    after.iter().map(since).collect()
}

/// The threads that ran or waited for a noticeable part of the time.
fn describe(shares: &[(String, Share)], took: Duration) -> String {
    let percent = |part: Duration| part.as_secs_f64() / took.as_secs_f64() * 100.0;
    let texts = shares.iter().filter_map(|(name, share)| {
        let (ran, waited) = (percent(share.running), percent(share.waiting));
        let text = format!("{name} ran {ran:.0} % and waited for a core {waited:.0} %");
        (ran + waited >= 1.0).then_some(text)
    });
    texts.collect::<Vec<_>>().join(", ")
}

fn mebibytes(bytes: u64) -> f64 {
    number(bytes) / length(1 << 20)
}

const RATE: Measure = Measure::higher("ingest", "readings/s");
const TIME: Measure = Measure::lower("ingest", "ns/reading");
const BYTES: Measure = Measure::lower("ingest", "bytes/reading");
const MEMORY: Measure = Measure::lower("ingest", "MiB");
const LATENCY: Measure = Measure::lower("ingest", "µs");
/// Batches that wait for the disk: as many as the publisher lets be unsynced, so that the disk
/// always has work and nobody hears that the node is busy.
const WAITING_MAX: usize = 48;
/// Batches of completions that wait.
const COMPLETIONS_MAX: usize = 1_024;
/// How often the node is told the time. Source: `node::runtime`.
const TIME_INTERVAL: Duration = Duration::from_secs(1);
/// Single readings that are measured.
const SINGLE_COUNT: u32 = 200;
/// Between two single readings; above the time that the publisher gathers.
const PAUSE: Duration = Duration::from_millis(8);
/// Beyond ten years the table's times begin again.
const LATER_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);
