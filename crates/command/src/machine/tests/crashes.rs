//! Caller and target over a link and a disk, any of which breaks at every step in turn.

use std::collections::VecDeque;

use statemachine::Instant;

use super::*;
use crate::Note;

/// Who is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Target,
    Caller,
    Link,
}

/// Something on its way.
#[derive(Debug)]
enum Event {
    ToTarget(Input),
    ToCaller(Input),
    Written(Ticket, NoteWrite),
}

/// Two machines, the link between them, and the target's disk and handler.
struct World {
    now: Instant,
    target: Commands,
    caller: Commands,
    disk: Vec<Note>,
    events: VecDeque<Event>,
    is_linked: bool,
    /// How often the handler began, over all lives of the target.
    begun: u32,
    /// What each try of the application heard.
    heard: Vec<Code>,
    calls: u64,
}

impl World {
    fn new() -> Self {
        let recovered = Recovered::default();
        let mut world = Self {
            now: Instant::ZERO,
            target: make(Vec::new()),
            caller: Commands::new(CALLER, Config::default(), policy(), recovered),
            disk: Vec::new(),
            events: VecDeque::new(),
            is_linked: false,
            begun: 0,
            heard: Vec::new(),
            calls: 0,
        };
        world.tell_target(Some(Input::HandlerUp(HANDLER, offer())));
        world.ask();
        world
    }

    /// The application sends the command, or sends it again.
    fn ask(&mut self) {
        self.calls += 1;
        let call = Call {
            is_repeat: self.calls > 1,
            ..to_target(Argument::Text("now".to_owned()))
        };
        self.tell_caller(Some(Input::Call(CallId(self.calls), call)));
    }

    fn tell_target(&mut self, input: Option<Input>) {
        for output in tell(&mut self.target, self.now, input) {
            match output {
                Output::Send(_, message) if self.is_linked => {
                    self.events.push_back(Event::ToCaller(from_target(message)));
                }
                Output::Persist(ticket, write) => {
                    self.events.push_back(Event::Written(ticket, write));
                }
                Output::Run(run, ..) => {
                    self.begun += 1;
                    let item = Input::Item(run, Argument::I64(1));
                    self.events.push_back(Event::ToTarget(item));
                    let ended = Input::Ended(run, Status::OK);
                    self.events.push_back(Event::ToTarget(ended));
                }
                _ => {}
            }
        }
    }

    fn tell_caller(&mut self, input: Option<Input>) {
        for output in tell(&mut self.caller, self.now, input) {
            match output {
                Output::Send(_, message) if self.is_linked => {
                    self.events.push_back(Event::ToTarget(received(message)));
                }
                Output::KeepLink(_) if !self.is_linked => {
                    self.is_linked = true;
                    let events = [
                        Event::ToTarget(Input::LinkUp(CALLER)),
                        Event::ToCaller(Input::LinkUp(TARGET)),
                    ];
                    self.events.extend(events);
                }
                Output::Finished(_, status) => self.heard.push(status.code),
                _ => {}
            }
        }
    }

    /// One step; `false` if nothing is on its way.
    fn step(&mut self) -> bool {
        match self.events.pop_front() {
            None => return false,
            Some(Event::ToTarget(input)) => self.tell_target(Some(input)),
            Some(Event::ToCaller(input)) => self.tell_caller(Some(input)),
            Some(Event::Written(ticket, write)) => {
                match write {
                    NoteWrite::Append(note) => self.disk.push(note),
                    NoteWrite::Replace(notes) => self.disk = notes,
                }
                self.tell_target(Some(Input::Persisted(ticket)));
            }
        }
        true
    }

    /// What is on its way to, from and at the victim is lost; the rest of the world goes on.
    fn crash(&mut self, victim: Victim) {
        self.is_linked = false;
        let is_link = |input: &Input| matches!(input, Input::Received { .. } | Input::LinkUp(_));
        self.events.retain(|event| match event {
            Event::ToCaller(_) => false,
            Event::ToTarget(input) => victim != Victim::Target && !is_link(input),
            Event::Written(..) => victim != Victim::Target,
        });
        if victim == Victim::Target {
            self.target = make(self.disk.clone());
            self.tell_target(Some(Input::HandlerUp(HANDLER, offer())));
        } else {
            self.tell_target(Some(Input::LinkDown(CALLER)));
        }
        if victim == Victim::Caller {
            let recovered = Recovered::default();
            self.caller = Commands::new(CALLER, Config::default(), policy(), recovered);
            self.ask(); // The application has kept the id.
        } else {
            self.tell_caller(Some(Input::LinkDown(TARGET)));
        }
    }

    /// Until nothing is on its way and the newest try has ended.
    fn run_dry(&mut self) {
        let heard = self.heard.len();
        loop {
            while self.step() {}
            if self.heard.len() > heard || self.calls == 0 {
                return;
            }
            self.now = self.now + Duration::from_millis(100);
            self.tell_caller(None);
            self.tell_target(None);
        }
    }
}

/// Runs with one or two crashes after each number of steps and judges each run.
fn crash_everywhere(judge: impl Fn(&mut World, &str)) -> usize {
    let victims = [Victim::Target, Victim::Caller, Victim::Link];
    let mut runs = 0;
    for first in victims {
        for second in [None].into_iter().chain(victims.map(Some)) {
            for at in 0.. {
                let mut world = World::new();
                if !(0..at).all(|_| world.step()) {
                    break;
                }
                world.heard.clear();
                world.crash(first);
                for _ in 0..2 {
                    world.step();
                }
                second.into_iter().for_each(|victim| world.crash(victim));
                judge(
                    &mut world,
                    &format!("{first:?}, then {second:?} after {at} steps"),
                );
                runs += 1;
            }
        }
    }
    runs
}

#[test]
fn without_a_crash_it_runs_once_and_ends_well() {
    let mut world = World::new();

    world.run_dry();

    assert_eq!((world.begun, &world.heard[..]), (1, &[Code::Ok][..]));
}

#[test]
fn whoever_crashes_at_whichever_step_it_runs_at_most_once_and_the_end_is_honest() {
    let runs = crash_everywhere(|world, when| {
        world.ask_if_over();
        world.run_dry();

        assert!(world.begun <= 1, "{when}: it ran {} times", world.begun);
        let heard = *world.heard.last().expect("an end");
        match heard {
            Code::Ok => assert_eq!(world.begun, 1, "{when}: done, but it never ran"),
            Code::Unknown => {}
            _ => panic!("{when}: ended with {heard}"),
        }
    });

    assert!(runs > 50, "only {runs} runs");
}

#[test]
fn asking_again_under_the_same_id_never_makes_it_run_twice() {
    crash_everywhere(|world, when| {
        world.ask_if_over();
        world.run_dry();
        world.ask();
        world.run_dry();

        assert!(world.begun <= 1, "{when}: it ran {} times", world.begun);
    });
}

#[test]
fn a_target_whose_notes_are_lost_is_caught_running_it_twice() {
    let runs_with_notes_lost = |at| {
        let mut world = World::new();
        for _ in 0..at {
            world.step();
        }
        world.disk.clear();
        world.crash(Victim::Target);
        world.ask_if_over();
        world.run_dry();
        world.begun
    };

    let most = (0..12).map(runs_with_notes_lost).max();

    assert_eq!(most, Some(2));
}

impl World {
    /// Asks once more if the crash came after the end.
    fn ask_if_over(&mut self) {
        if self.caller.next_deadline().is_none() {
            self.ask();
        }
    }
}
