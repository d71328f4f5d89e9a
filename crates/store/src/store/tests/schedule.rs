//! Lives of a store on a disk on which anything goes wrong at any operation. Whatever happens: what
//! was acknowledged is there, no number is used twice, nothing panics.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::SystemTime;

use command::{CallKey, CommandId, Note, NoteWrite};
use statemachine::Rng;

use super::faults::{Fault, FragileDisk};
use super::*;
use crate::{Alarms, CleanStop, CommandLog, Query, Retention};

/// What happens in a life, one after the other.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many own blocks are written at once.
    Own(u64),
    /// A block of the other machine.
    Other,
    /// A newer state.
    State,
    /// A note on a command.
    Note,
    /// The notes are written anew.
    NotesAnew,
    /// The oldest half of the segments is given up.
    Retain,
    /// A stop in order and a start.
    Restart,
    /// The same, and sled is damaged between the two.
    RestartWithoutIndex,
}

/// What must be true of a store, whatever happened to it.
struct World {
    directory: TempDir,
    disk: FragileDisk,
    /// Own and other blocks whose writes were completed.
    completed: BTreeMap<BlockId, Block>,
    state: u64,
    notes: Vec<Note>,
    notes_written: u8,
    /// Own numbers that went out, as (counter of the epoch, sequence).
    used: BTreeSet<(u64, Sequence)>,
    other: Sequence,
    /// Retention was asked for, so that floors may be anywhere below what was written.
    retained: bool,
}

/// A running store.
struct Life {
    site: Site,
    log: CommandLog,
    noted: Receiver<Completion>,
    /// The own epoch and the last sequence used in it; `None` if none could be begun.
    epoch: Option<(Epoch, Sequence)>,
}

impl World {
    fn new(rng: Rng) -> Self {
        Self {
            directory: memory_directory(),
            disk: FragileDisk::new(rng),
            completed: BTreeMap::new(),
            state: 0,
            notes: Vec::new(),
            notes_written: 0,
            used: BTreeSet::new(),
            other: 0,
            retained: false,
        }
    }

    fn config(&self) -> Config {
        Config {
            segment_bytes: 900,
            ..config(&self.directory)
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.config().directory.join(name)
    }

    /// Lives through steps until they end or the machine does, at the latest by `end`, then starts
    /// again and judges. Returns what went wrong before.
    fn live(&mut self, steps: &[Step], end: Fault) -> Option<Fault> {
        let mut life = self.start();
        for step in steps {
            if self.is_dead() || life.is_none() {
                break;
            }
            life = self.step(life.take(), *step);
        }
        let struck = self.disk.struck();
        if !self.is_dead() {
            self.disk.strike(end);
        }
        drop(life); // What it still tries comes to nothing.
        self.disk.restart();
        let life = self.start().expect("starts on a sound disk");
        self.judge(&life);
        struck
    }

    fn is_dead(&self) -> bool {
        matches!(self.disk.struck(), Some(Fault::Killed | Fault::PowerCut))
    }

    /// Starts, if the disk lets it.
    #[expect(clippy::disallowed_methods, reason = "a test's few completions")]
    fn start(&mut self) -> Option<Life> {
        let site = Site::open_with(Arc::new(self.disk.clone()), self.config()).ok()?;
        let (told, noted) = std::sync::mpsc::channel();
        let complete = move |batch: Vec<Completion>| {
            batch.into_iter().for_each(|done| _ = told.send(done));
        };
        let directory = self.config().directory;
        let opened = CommandLog::open_on(Arc::new(self.disk.clone()), &directory, complete);
        let (log, notes) = opened.ok()?;
        for note in &self.notes {
            assert!(notes.contains(note), "a note on a command is lost");
        }
        let recovered = &site.recovered;
        let epoch = match recovered.clean {
            Some(clean) => Some((clean.epoch, clean.last_sequence)),
            None => {
                let counter = recovered.epoch_counter_highest + 1;
                let started = site.store.start_epoch(counter);
                started.ok().map(|()| (Epoch { counter, tag: 7 }, 0))
            }
        };
        Some(Life {
            site,
            log,
            noted,
            epoch,
        })
    }

    fn step(&mut self, life: Option<Life>, step: Step) -> Option<Life> {
        let mut life = life?;
        match step {
            Step::Own(count) => self.write_own(&mut life, count),
            Step::Other => {
                self.other += 1;
                let block = block(OTHER, 1, self.other, &[(1, 5, 6)]);
                self.write(&mut life, vec![block]);
            }
            Step::State => {
                let counter = self.state + 1;
                let state = state(StateKind::Series, "1-00000007/1", counter);
                if life.site.put(vec![Write::State(state)])[0].is_ok() {
                    self.state = counter;
                }
            }
            Step::Note => self.note(&life, None),
            Step::NotesAnew => {
                let all = self.notes.clone();
                self.note(&life, Some(all));
            }
            Step::Retain => {
                self.retained = true;
                let retention = Retention {
                    now: SystemTime::UNIX_EPOCH,
                    age_max: None,
                    bytes_max: Some(life.site.store.stats().bytes / 2),
                    uploaded: None,
                    alarms: Alarms {
                        series: BTreeMap::from([(log_of(OTHER, 1), series(&[1]))]),
                        since: Timestamp::MIN,
                        bytes_max: u64::MAX,
                    },
                };
                let answer = life.site.store.retain(retention).expect("is queued");
                let _ = answer.recv().expect("the writer lives");
            }
            Step::Restart => return self.restart(life),
            Step::RestartWithoutIndex => {
                Self::stop(life);
                for file in fs::read_dir(self.path("index")).expect("listed").flatten() {
                    let _ = fs::write(file.path(), b"damaged");
                }
                return self.start();
            }
        }
        Some(life)
    }

    fn restart(&mut self, life: Life) -> Option<Life> {
        Self::stop(life);
        self.start()
    }

    fn stop(life: Life) {
        let clean = life.epoch.map(|(epoch, last_sequence)| CleanStop {
            epoch,
            last_sequence,
            state_counter: 0,
        });
        let _ = life.site.store.close(clean);
    }

    fn write_own(&mut self, life: &mut Life, count: u64) {
        let Some((epoch, last)) = &mut life.epoch else {
            return;
        };
        let mut blocks = Vec::new();
        for _ in 0..count {
            *last += 1;
            let is_new = self.used.insert((epoch.counter, *last));
            assert!(is_new, "number {last} of epoch {epoch} is used twice");
            blocks.push(block(OWN, epoch.counter, *last, &[(1, 5, 6)]));
        }
        self.write(life, blocks);
    }

    fn write(&mut self, life: &mut Life, blocks: Vec<Block>) {
        let writes = blocks.iter().cloned().map(Write::Block).collect();
        for (result, block) in life.site.put(writes).into_iter().zip(blocks) {
            if result.is_ok() {
                self.completed.insert(block.id(), block);
            }
        }
    }

    fn note(&mut self, life: &Life, all: Option<Vec<Note>>) {
        self.notes_written = self.notes_written.wrapping_add(1);
        let note = Note {
            key: CallKey {
                caller: machine(OTHER),
                id: CommandId::from_bytes([self.notes_written; 16]),
            },
            digest: [self.notes_written; 32],
            keep: std::time::Duration::from_secs(9),
            answer: None,
        };
        let is_new = all.is_none();
        let write = all.map_or_else(|| NoteWrite::Append(note.clone()), NoteWrite::Replace);
        assert!(life.log.write(Ticket::default(), write), "is queued");
        let done = life.noted.recv().expect("the writer lives");
        if done.result.is_ok() && is_new {
            self.notes.push(note);
        }
    }

    /// Everything that was acknowledged is there, once, or was given up as asked.
    fn judge(&self, life: &Life) {
        let frontier = &life.site.recovered.frontier;
        for (id, block) in &self.completed {
            let entry = frontier.iter().find(|entry| entry.log == id.log);
            let floor = entry.map_or(1, |entry| entry.floor);
            assert!(floor == 1 || self.retained, "nothing was to be given up");
            if id.sequence >= floor {
                assert!(entry.is_some_and(|e| e.covers(id.sequence)), "{id} is lost");
                let span = Span {
                    first: id.sequence,
                    last: id.sequence,
                };
                let found = life.site.store.read(id.log, span, usize::MAX);
                assert_eq!(found.blocks, std::slice::from_ref(block), "{id}");
            }
        }
        let alarms = Query {
            selection: BTreeMap::from([(log_of(OTHER, 1), series(&[1]))]),
            from: Timestamp::MIN,
            to: Timestamp::MAX,
            limit: 4_096,
        };
        let found = life.site.store.query(&alarms, None).found;
        let found: Vec<BlockId> = found.iter().map(|found| found.at.block).collect();
        let others = self.completed.keys();
        for id in others.filter(|id| id.log == log_of(OTHER, 1)) {
            let times = found.iter().filter(|found| *found == id).count();
            assert_eq!(times, 1, "the alarm in {id}, also below the floor");
        }
        assert_eq!(
            life.site.store.lost(),
            [],
            "nothing that is claimed is damaged"
        );
        let states = &life.site.recovered.states;
        let state = states.first().map_or(0, |state| state.version().counter);
        assert!(state >= self.state, "state {state} of {}", self.state);
    }
}

/// A directory in memory where there is one: the disk is played anyway, and thousands of lives
/// would wait for a real one.
fn memory_directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("a temporary directory")
}

/// A life with everything in it: segments roll, notes are replaced, retention gives up.
const FULL_LIFE: [Step; 24] = [
    Step::Own(1),
    Step::State,
    Step::Note,
    Step::Own(1),
    Step::Own(1),
    Step::Own(1),
    Step::Other,
    Step::Own(1),
    Step::Note,
    Step::Restart,
    Step::Own(1),
    Step::Other,
    Step::Own(1),
    Step::Own(1),
    Step::NotesAnew,
    Step::Note,
    Step::Retain,
    Step::Own(1),
    Step::State,
    Step::RestartWithoutIndex,
    Step::Own(1),
    Step::Note,
    Step::Own(1),
    Step::Restart,
];

/// A life in which one operation goes wrong, for every operation of [`FULL_LIFE`]; then a sound
/// one.
fn every_operation_goes_wrong(fault: Fault) {
    let mut sound = World::new(Rng::from_u64(0));
    sound.live(&FULL_LIFE, Fault::Killed);
    let operations = sound.disk.count();
    assert!(operations > 100, "there is something to go wrong");
    for operation in 1..=operations {
        let mut world = World::new(Rng::from_u64(operation));
        world.disk.plan(operation, fault);
        world.live(&FULL_LIFE, Fault::PowerCut);
        world.live(&FULL_LIFE[..10], Fault::Killed);
    }
}

#[test]
fn adversarial_37_killed_at_any_operation_it_loses_nothing_and_uses_no_number_twice() {
    every_operation_goes_wrong(Fault::Killed);
}

#[test]
fn adversarial_38_any_operation_may_be_refused() {
    every_operation_goes_wrong(Fault::Refused);
}

#[test]
fn adversarial_38_any_operation_may_fail_half_done() {
    every_operation_goes_wrong(Fault::Half);
}

#[test]
fn adversarial_38_the_disk_may_be_full_from_any_operation_on() {
    every_operation_goes_wrong(Fault::Full);
}

#[test]
fn adversarial_38_the_disk_may_be_read_only_from_any_operation_on() {
    every_operation_goes_wrong(Fault::ReadOnly);
}

#[test]
fn adversarial_40_with_the_power_cut_at_any_operation_only_what_was_not_synced_is_lost() {
    every_operation_goes_wrong(Fault::PowerCut);
}

#[test]
fn the_judge_of_lives_finds_it_when_a_disk_lies_about_syncs() {
    let outcome = std::panic::catch_unwind(|| {
        let mut world = World::new(Rng::from_u64(3));
        world.disk.lie();
        world.live(&FULL_LIFE[..9], Fault::PowerCut);
    });

    assert!(outcome.is_err(), "what was acknowledged is lost");
}

/// Lives drawn by lot. `FIELDMESH_SCHEDULES` says which seeds, as FIRST..END;
/// `cargo xtask schedules` sets it.
#[test]
fn adversarial_40_nothing_is_lost_and_no_number_used_twice_in_lives_drawn_by_lot() {
    let seeds = std::env::var("FIELDMESH_SCHEDULES").map_or(SCHEDULES, |text| {
        let (first, end) = text.split_once("..").expect("FIRST..END");
        first.parse().expect("a number")..end.parse().expect("a number")
    });
    let count = seeds.end - seeds.start;
    let mut struck: BTreeMap<String, u64> = BTreeMap::new();
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| schedule(seed));
        match outcome {
            Ok(faults) => {
                for fault in faults {
                    *struck.entry(format!("{fault:?}")).or_default() += 1;
                }
            }
            Err(panic) => {
                eprintln!("replay: cargo xtask schedules --first {seed} --count 1");
                std::panic::resume_unwind(panic);
            }
        }
    }
    eprintln!("{count} schedules; faults that struck: {struck:?}");
    assert!(struck.len() == FAULTS.len() || count < SCHEDULES.end);
}

/// Up to four lives of one machine; in each something goes wrong. Returns what did.
fn schedule(seed: u64) -> Vec<Fault> {
    let mut rng = Rng::from_u64(seed);
    let mut world = World::new(rng.fork("disk"));
    let mut struck = Vec::new();
    for _ in 0..=rng.below(4) {
        let steps: Vec<Step> = (0..4 + rng.below(24)).map(|_| draw(&mut rng)).collect();
        let fault = *rng.choose(&FAULTS).expect("some");
        world.disk.plan(1 + rng.below(120), fault);
        let end = *rng.choose(&[Fault::Killed, Fault::PowerCut]).expect("some");
        let strikes = world.live(&steps, end);
        struck.extend(strikes);
    }
    struck
}

fn draw(rng: &mut Rng) -> Step {
    match rng.below(20) {
        0..=6 => Step::Own(1 + rng.below(4)),
        7..=9 => Step::Other,
        10..=11 => Step::State,
        12..=14 => Step::Note,
        15 => Step::NotesAnew,
        16..=17 => Step::Retain,
        18 => Step::Restart,
        _ => Step::RestartWithoutIndex,
    }
}

const FAULTS: [Fault; 6] = [
    Fault::Refused,
    Fault::Half,
    Fault::Full,
    Fault::ReadOnly,
    Fault::Killed,
    Fault::PowerCut,
];
/// Which seeds without being told.
const SCHEDULES: std::ops::Range<u64> = 0..100;
