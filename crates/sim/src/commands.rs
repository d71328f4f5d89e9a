//! Commands between the machines: applications that keep asking, handlers that count, and the
//! promise that is checked after every event: nothing runs twice, and no end is a lie.

use std::collections::BTreeMap;
use std::time::Duration;

use command::{
    Argument, Call, CallId, Code, Command, CommandId, HandlerId, Lineage, Offer, Status,
};
use engine::{CommandInput, CommandOutput, Input};
use statemachine::{Instant, Rng};

use crate::world::{Event, World};

/// One command, from the first time that its application asked until the end of the run.
#[derive(Debug)]
struct Asked {
    target: usize,
    /// It is carried by the others instead of going over a link.
    is_posted: bool,
    at: Instant,
    runs: u32,
    /// What the application heard; `None` while it waits.
    heard: Option<Code>,
}

/// The applications of all machines. They outlive the nodes.
#[derive(Debug)]
pub(crate) struct Applications {
    rng: Rng,
    /// By machine and id.
    asked: BTreeMap<(usize, CommandId), Asked>,
    /// Whom an answer is for, by machine, life and call.
    calls: BTreeMap<(usize, u64, CallId), CommandId>,
    last: u64,
}

impl Applications {
    /// Applications that have asked nothing.
    #[must_use]
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            rng,
            asked: BTreeMap::new(),
            calls: BTreeMap::new(),
            last: 0,
        }
    }

    /// A machine whose application waits for something.
    fn waiting(&self) -> Option<usize> {
        let mut asked = self.asked.iter();
        asked.find_map(|((machine, _), asked)| asked.heard.is_none().then_some(*machine))
    }

    /// How many commands were carried out.
    #[must_use]
    pub(crate) fn runs(&self) -> u32 {
        self.asked.values().map(|asked| asked.runs).sum()
    }

    /// How many of those that were posted.
    #[must_use]
    pub(crate) fn runs_of_letters(&self) -> u32 {
        let posted = self.asked.values().filter(|asked| asked.is_posted);
        posted.map(|asked| asked.runs).sum()
    }
}

impl World {
    /// What is still to come of what the applications have asked.
    pub(crate) fn lacking_of_commands(&self) -> Option<String> {
        let machine = self.applications.waiting()?;
        Some(format!(
            "the application of machine {machine} waits for an answer"
        ))
    }

    /// The node of a machine has started: its handler is there, and its application asks again for
    /// what it has not heard of.
    pub(crate) fn start_commands(&mut self, machine: usize) {
        if self.plan.command_every.is_none() {
            return;
        }
        let offer = Offer {
            commands: vec![(COUNT.parse().expect("a name"), false)],
            concurrent: 2,
        };
        self.command(machine, CommandInput::HandlerUp(HANDLER, offer));
        let of_machine = |((asker, id), asked): (&(usize, CommandId), &Asked)| {
            (*asker == machine && asked.heard.is_none()).then_some(*id)
        };
        let open = self.applications.asked.iter().filter_map(of_machine);
        for id in open.collect::<Vec<_>>() {
            self.send_command(machine, id, true);
        }
    }

    /// The application of a machine asks for something new, and draws when it does so again.
    pub(crate) fn ask(&mut self, machine: usize) {
        let Some(every) = self.plan.command_every.filter(|_| self.publishing) else {
            return;
        };
        let pause = self.applications.rng.jitter(every);
        self.after(pause, Event::Ask(machine));
        if !self.machines[machine].answers() {
            return;
        }
        let wall = self.machines[machine].wall(self.now);
        let id = CommandId::draw(wall, &mut self.applications.rng);
        let target = self.applications.rng.index(self.site.len()).unwrap_or(0);
        let asked = Asked {
            target,
            is_posted: self.applications.rng.chance(POSTED_PERMILLE),
            at: self.now,
            runs: 0,
            heard: None,
        };
        self.applications.asked.insert((machine, id), asked);
        self.send_command(machine, id, false);
    }

    fn send_command(&mut self, machine: usize, id: CommandId, is_repeat: bool) {
        let Some(asked) = self.applications.asked.get_mut(&(machine, id)) else {
            return;
        };
        let remaining = (asked.at + DEADLINE).since(self.now);
        if remaining.is_zero() {
            asked.heard = Some(Code::DeadlineExceeded); // Its caller was down until then.
            return;
        }
        self.applications.last += 1;
        let call = CallId(self.applications.last);
        let (target, is_posted) = (self.site.id(asked.target), asked.is_posted);
        let life = self.machines[machine].life;
        self.applications.calls.insert((machine, life, call), id);
        let command = Call {
            target,
            id,
            is_repeat,
            name: COUNT.parse().expect("a name"),
            argument: Argument::Bytes(id.to_bytes().to_vec()),
            lineage: Lineage::default(),
            deadline: remaining,
        };
        let input = if is_posted {
            CommandInput::Post(call, command)
        } else {
            CommandInput::Call(call, command)
        };
        self.command(machine, input);
    }

    /// A node says something about commands.
    pub(crate) fn on_command(&mut self, machine: usize, output: CommandOutput) {
        let words = format!("{output:?}");
        self.trace.note(self.now, machine, "command", &words);
        match output {
            CommandOutput::Run(run, _, command) => {
                self.on_run(machine, &command);
                let work = if self.applications.rng.chance(LONG_PERMILLE) {
                    WORK_LONG
                } else {
                    WORK
                };
                let work = self.applications.rng.jitter(work);
                let life = self.machines[machine].life;
                let value = CommandInput::Item(run, command.argument);
                self.after(work, Event::Input(machine, life, Input::Command(value)));
                let end = CommandInput::Ended(run, Status::OK);
                self.after(work, Event::Input(machine, life, Input::Command(end)));
            }
            CommandOutput::Finished(call, status) => self.on_finished(machine, call, &status),
            CommandOutput::Declined(_, status) => {
                self.checker
                    .fail(format!("machine {machine} declined its handler: {status}"));
            }
            CommandOutput::Cancel(..) | CommandOutput::Answer(..) | CommandOutput::Attempted(_) => {
            }
        }
    }

    /// A handler begins: for the first and only time, not long after the deadline, and not after
    /// the application was told that it did not run.
    fn on_run(&mut self, machine: usize, command: &Command) {
        let now = self.now;
        let caller = self.site.number(&command.caller);
        let key = caller.map(|caller| (caller, command.id));
        let Some(asked) = key.and_then(|key| self.applications.asked.get_mut(&key)) else {
            self.checker
                .fail(format!("machine {machine} runs what nobody asked for"));
            return;
        };
        asked.runs += 1;
        let (runs, heard) = (asked.runs, asked.heard);
        let late = now.since(asked.at + DEADLINE);
        let id = command.id;
        self.checker
            .require(runs == 1, || format!("command {id} ran {runs} times"));
        self.checker.require(late <= LATE_MAX, || {
            format!("command {id} ran {late:?} after its deadline")
        });
        self.checker
            .require(!heard.is_some_and(says_it_did_not_run), || {
                format!("command {id} ran after its application had heard {heard:?}")
            });
    }

    fn on_finished(&mut self, machine: usize, call: CallId, status: &Status) {
        let life = self.machines[machine].life;
        let id = self.applications.calls.remove(&(machine, life, call));
        let asked = id.and_then(|id| self.applications.asked.get_mut(&(machine, id)));
        let Some(asked) = asked else {
            self.checker
                .fail(format!("machine {machine} answers what it was not asked"));
            return;
        };
        asked.heard = Some(status.code);
        let runs = asked.runs;
        let holds = if status.code == Code::Ok {
            runs == 1
        } else {
            runs == 0 || !says_it_did_not_run(status.code)
        };
        self.checker.require(holds, || {
            format!("a command of machine {machine} ended with {status}, having run {runs} times")
        });
    }

    fn command(&mut self, machine: usize, input: CommandInput) {
        self.input(machine, Input::Command(input));
    }
}

/// Whether an end with this code claims that nothing was done.
const fn says_it_did_not_run(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::PermissionDenied
            | Code::Unimplemented
            | Code::FailedPrecondition
    )
}

/// What the handlers serve.
const COUNT: &str = "count";
/// The handler of each machine.
const HANDLER: HandlerId = HandlerId(1);
/// Time until the deadlines. Source: the default of the command line.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long after its deadline a command may begin: as long as a frame can wait in a network that
/// is cut off before the link counts as dead. Source: the silence of `network`.
const LATE_MAX: Duration = Duration::from_secs(10);
/// Mean time that a handler takes.
const WORK: Duration = Duration::from_millis(20);
/// Mean time that it takes now and then, so that crashes hit it in the middle.
const WORK_LONG: Duration = Duration::from_millis(1_500);
/// How many commands are posted. Unit: per mille.
const POSTED_PERMILLE: u32 = 300;
/// How often. Unit: per mille.
const LONG_PERMILLE: u32 = 150;
