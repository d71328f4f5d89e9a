//! A command to another machine and its answer, there and back, beside a bare frame on the same
//! link.
//!
//! Both ends run on one thread of this process, over loopback, as in `rtt`: permission, ledger,
//! deadlines, encoding and the swarm are the node's own; the program that asks and the handler are
//! part of the loop. Rounds of all cases alternate.

use std::time::Duration;

use anyhow::Context as _;
use command::{
    Allowance, Argument, Call, CallId, Code, CommandId, Commands, HandlerId, Input, Lineage, Offer,
    Output, Policy, Recovered, Rights,
};
use fieldmesh::clock::{self, Monotonic};
use model::MachineId;
use overlay::Contact;
use statemachine::{Rng, StateMachine as _};
use store::{CommandLog, Completion};
use swarm::{Event, Sending, Swarm};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use wire::Frame;

use crate::links::AFTER_START;
use crate::measure::{Measure, Report, Sample, micros};
use crate::rtt::Threads;
use crate::{keys, rtt};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Commands of each case and round; a hundredth of them to a machine that must be dialled.
    #[arg(long, default_value_t = 1_000)]
    count: u32,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// A frame there and back, without commands.
    Frame,
    /// A command that changes nothing, to a neighbour.
    Safe,
    /// A command that is noted on disk before it runs, to a neighbour.
    Noted,
    /// A link, without a command.
    Link,
    /// A command that changes nothing, to a machine that must be dialled.
    Dialled,
}

pub(crate) fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let mut rounds: Vec<Vec<Sample>> = CASES.map(|_| Vec::new()).into();
    for _ in 0..args.rounds {
        for (own, case) in rounds.iter_mut().zip(CASES) {
            own.push(measure(case, args.count)?.into_iter().collect());
        }
    }
    for ((own, case), (name, what, compared)) in rounds.iter().zip(CASES).zip(NAMES) {
        let all: Sample = own.iter().flat_map(Sample::values).collect();
        let compared = CASES.iter().position(|case| *case == compared);
        let base = &rounds[compared.context("a case")?];
        let ratios = own.iter().zip(base);
        let ratios: Sample = ratios
            .map(|(own, its)| own.median() / its.median())
            .collect();
        let times = ratios.median();
        let note = match case {
            Case::Frame | Case::Link => what.to_owned(),
            Case::Safe | Case::Noted | Case::Dialled => {
                format!("{what}; {times:.2} times that (median of the rounds)")
            }
        };
        report.add(TIME, name.to_owned(), &all, note)?;
    }
    Ok(())
}

/// The times of one case in one round.
fn measure(case: Case, count: u32) -> anyhow::Result<Vec<f64>> {
    match case {
        Case::Frame => rtt::through_swarm(count),
        Case::Safe | Case::Noted => rtt::meet(
            Threads::One,
            move |ready| async move { Machine::start(2, case == Case::Safe)?.serve(ready).await },
            |at| ask(at, count),
        ),
        Case::Link | Case::Dialled => rtt::meet(
            Threads::One,
            |ready| async move { Machine::start(2, true)?.serve(ready).await },
            move |at| dial(at, (count / 100).max(1), case == Case::Dialled),
        ),
    }
}

/// One machine, as far as commands go.
struct Machine {
    own: MachineId,
    swarm: Swarm,
    commands: Commands,
    clock: Monotonic,
    notes: CommandLog,
    written: mpsc::Receiver<Vec<Completion>>,
    /// What the asker's membership lets it do.
    rights: Rights,
    contact: Option<Contact>,
    ended: Option<Code>,
    _directory: TempDir,
}

impl Machine {
    fn start(number: u8, is_safe: bool) -> anyhow::Result<Self> {
        let (own, swarm) = rtt::start_swarm(number)?;
        let policy = Policy {
            maintenance: false,
            allow: vec![Allowance::everyone("**".parse()?)],
        };
        let directory = tempfile::tempdir()?;
        let (told, written) = mpsc::channel(64);
        let complete = move |done| _ = told.blocking_send(done);
        let (notes, _) = CommandLog::open(directory.path(), complete)?;
        let config = command::Config::default();
        let mut machine = Self {
            own,
            swarm,
            commands: Commands::new(own, config, policy, Recovered::default()),
            clock: Monotonic::start(),
            notes,
            written,
            rights: Rights::of(
                keys::identity(1)?.membership.grant(),
                &[own.to_string()].into(),
            ),
            contact: None,
            ended: None,
            _directory: directory,
        };
        let offer = Offer {
            commands: vec![(ECHO.parse()?, is_safe)],
            concurrent: 8,
        };
        machine.tell(Input::HandlerUp(HandlerId(1), offer))?;
        Ok(machine)
    }

    /// Listens, says where, and carries commands out until it is dropped.
    async fn serve(mut self, ready: oneshot::Sender<Contact>) -> anyhow::Result<()> {
        self.swarm.listen(&rtt::anywhere()?)?;
        let mut ready = Some(ready);
        loop {
            if let Some(addresses) = self.step().await?
                && let Some(ready) = ready.take()
            {
                tokio::time::sleep(AFTER_START).await;
                let machine = self.own;
                let _ = ready.send(Contact { machine, addresses }); // The asker may be gone.
            }
        }
    }

    /// Sends a command and waits for its end.
    async fn send(&mut self, number: u32, target: MachineId, rng: &mut Rng) -> anyhow::Result<()> {
        let call = Call {
            target,
            id: CommandId::draw(clock::wall_time(), rng),
            is_repeat: false,
            name: ECHO.parse()?,
            argument: Argument::Bytes(ARGUMENT.to_vec()),
            lineage: Lineage::default(),
            deadline: DEADLINE,
        };
        self.tell(Input::Call(CallId(number.into()), call))?;
        loop {
            if let Some(code) = self.ended.take() {
                anyhow::ensure!(code == Code::Ok, "a command ended with {code}");
                return Ok(());
            }
            self.step().await?;
        }
    }

    /// Waits for whatever happens next; gives the machine's own addresses when they are known.
    async fn step(&mut self) -> anyhow::Result<Option<Vec<overlay::Address>>> {
        tokio::select! {
            Some(done) = self.written.recv() => {
                for completion in done {
                    completion.result?;
                    self.tell(Input::Persisted(completion.ticket))?;
                }
            }
            event = self.swarm.next() => match event {
                Event::LinkUp { machine, .. } => self.tell(Input::LinkUp(machine))?,
                Event::LinkDown(machine) => self.tell(Input::LinkDown(machine))?,
                Event::OwnAddresses(addresses) => return Ok(Some(addresses)),
                Event::Received(from, bytes) => {
                    if let Frame::Command(message) = wire::decode(bytes)? {
                        let rights = self.rights.clone();
                        self.tell(Input::Received { from, rights, message })?;
                    }
                }
                Event::DialFailed(_) | Event::Refused { .. } => anyhow::bail!("no link came up"),
                Event::LinkMoved { .. }
                | Event::Drained(_)
                | Event::RoundTrip(..)
                | Event::Discovered(_)
                | Event::Claimed { .. } => {}
            },
        }
        Ok(None)
    }

    fn tell(&mut self, input: Input) -> anyhow::Result<()> {
        self.commands.handle(self.clock.now(), input);
        while let Some(output) = self.commands.poll_output() {
            match output {
                Output::Send(to, message) => {
                    let frame = Frame::Command(message);
                    let sent = self.swarm.send(to, frame.lane(), wire::encode(&frame));
                    anyhow::ensure!(sent == Sending::Sent, "the link took no frame");
                }
                Output::KeepLink(_) => {
                    if let Some(contact) = self.contact.take() {
                        self.swarm.dial(contact);
                    }
                }
                Output::Persist(ticket, write) => {
                    anyhow::ensure!(self.notes.write(ticket, write), "the disk took no note");
                }
                Output::Run(run, _, command) => {
                    let now = self.clock.now();
                    self.commands
                        .handle(now, Input::Item(run, command.argument));
                    self.commands
                        .handle(now, Input::Ended(run, command::Status::OK));
                }
                Output::Finished(_, status) => self.ended = Some(status.code),
                Output::Declined(_, status) => anyhow::bail!("the handler was declined: {status}"),
                Output::Misbehaved(..) => anyhow::bail!("the other end broke the protocol"),
                Output::ReleaseLink(_)
                | Output::HoldLink(_)
                | Output::LetLinkGo(_)
                | Output::Reply(..)
                | Output::Cancel(..)
                | Output::Answer(..)
                | Output::Attempted(_) => {}
            }
        }
        Ok(())
    }
}

async fn ask(contact: oneshot::Receiver<Contact>, count: u32) -> anyhow::Result<Vec<f64>> {
    let mut machine = Machine::start(1, true)?;
    let contact = contact.await.context(rtt::ENDED)?;
    let target = contact.machine;
    machine.contact = Some(contact);
    let mut rng = Rng::from_u64(1);
    let mut times = Vec::new();
    for number in 0..count + WARM_UP {
        let began = machine.clock.uptime();
        machine.send(number, target, &mut rng).await?;
        times.push(micros(machine.clock.uptime() - began));
    }
    Ok(times.split_off(usize::try_from(WARM_UP)?))
}

/// Machines that have no link yet, one after the other: each makes one, with a command or without.
async fn dial(
    contact: oneshot::Receiver<Contact>,
    count: u32,
    with_command: bool,
) -> anyhow::Result<Vec<f64>> {
    let contact = contact.await.context(rtt::ENDED)?;
    let mut times = Vec::new();
    for number in 0..count {
        let mut machine = Machine::start(1, true)?;
        let mut rng = Rng::from_u64(number.into());
        let began = machine.clock.uptime();
        if with_command {
            machine.contact = Some(contact.clone());
            machine.send(number, contact.machine, &mut rng).await?;
        } else {
            machine.swarm.dial(contact.clone());
            while !matches!(machine.swarm.next().await, Event::LinkUp { .. }) {}
        }
        times.push(micros(machine.clock.uptime() - began));
        machine.swarm.close().await;
    }
    Ok(times)
}

const TIME: Measure = Measure::lower("command", "µs");
const CASES: [Case; 5] = [
    Case::Frame,
    Case::Safe,
    Case::Noted,
    Case::Link,
    Case::Dialled,
];
/// Names, what is measured, and the case that it is compared with.
const NAMES: [(&str, &str, Case); 5] = [
    (
        "frame through the swarm",
        "as in rtt: 64 bytes there and back",
        Case::Frame,
    ),
    (
        "to a neighbour, changes nothing",
        "beside a frame through the swarm, of which it is two, and permission and deadlines",
        Case::Frame,
    ),
    (
        "to a neighbour, noted before it runs",
        "beside a frame through the swarm; limited by a sync of the disk",
        Case::Frame,
    ),
    (
        "link to a machine",
        "dial, handshake and streams, without a command",
        Case::Link,
    ),
    (
        "to a machine that must be dialled",
        "beside a link without a command",
        Case::Link,
    ),
];
const ECHO: &str = "echo";
/// As many bytes as make the first frame about as long as one of `rtt`.
const ARGUMENT: [u8; 32] = [7; 32];
const DEADLINE: Duration = Duration::from_secs(5);
/// Commands before those that count.
const WARM_UP: u32 = 100;
