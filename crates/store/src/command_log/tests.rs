use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use command::{CallKey, CommandId};
use model::MachineId;

use super::*;
use crate::store::{FaultyDisk, Plan};

fn note(n: u8) -> Note {
    Note {
        key: CallKey {
            caller: MachineId::from_bytes([1; 32]),
            id: CommandId::from_bytes([n; 16]),
        },
        digest: [n; 32],
        keep: Duration::from_secs(n.into()),
        answer: None,
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's few completions")]
fn open_on(
    disk: Arc<dyn Disk>,
    directory: &Path,
) -> Result<(CommandLog, Vec<Note>, Receiver<Completion>), OpenError> {
    let (told, completed) = channel();
    let complete = move |batch: Vec<Completion>| {
        for completion in batch {
            let _ = told.send(completion);
        }
    };
    let (log, notes) = CommandLog::open_on(disk, directory, complete)?;
    Ok((log, notes, completed))
}

fn open(directory: &Path) -> (CommandLog, Vec<Note>, Receiver<Completion>) {
    open_on(Arc::new(SystemDisk), directory).expect("opens")
}

fn write(log: &CommandLog, completed: &Receiver<Completion>, write: NoteWrite) {
    assert!(log.write(Ticket::default().next(), write));
    let completion = completed.recv().expect("a completion");
    completion.result.expect("written");
}

#[test]
fn notes_are_there_after_a_restart_in_their_order_also_if_nobody_closed_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, none, completed) = open(directory.path());
    for n in 1..=3 {
        write(&log, &completed, NoteWrite::Append(note(n)));
    }

    let (_, notes, _) = open(directory.path());

    assert!(none.is_empty());
    assert_eq!(notes, [note(1), note(2), note(3)]);
}

#[test]
fn a_file_written_anew_holds_what_it_was_given_and_what_follows() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, _, completed) = open(directory.path());
    write(&log, &completed, NoteWrite::Append(note(1)));
    write(&log, &completed, NoteWrite::Replace(vec![note(2)]));
    write(&log, &completed, NoteWrite::Append(note(3)));

    let (_, notes, _) = open(directory.path());

    assert_eq!(notes, [note(2), note(3)]);
}

#[test]
fn a_torn_end_costs_the_torn_note_alone_wherever_it_is_torn() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, _, completed) = open(directory.path());
    write(&log, &completed, NoteWrite::Append(note(1)));
    let path = directory.path().join(NAME);
    let one = fs::read(&path).expect("a file").len();
    write(&log, &completed, NoteWrite::Append(note(2)));
    let bytes = fs::read(&path).expect("a file");

    for length in one..bytes.len() {
        fs::write(&path, &bytes[..length]).expect("written");
        let (_, notes, _) = open(directory.path());
        assert_eq!(notes, [note(1)], "torn at {length}");
    }
    let mut flipped = bytes.clone();
    *flipped.last_mut().expect("a byte") ^= 1;
    fs::write(&path, &flipped).expect("written");
    assert_eq!(open(directory.path()).1, [note(1)]);
}

#[test]
fn adversarial_39_a_note_that_is_damaged_with_others_behind_it_is_not_forgotten_silently() {
    let directory = tempfile::tempdir().expect("a directory");
    let (log, _, completed) = open(directory.path());
    (1..=3).for_each(|n| write(&log, &completed, NoteWrite::Append(note(n))));
    let path = directory.path().join(NAME);
    let bytes = fs::read(&path).expect("a file");
    let record = (bytes.len() - MAGIC.len()) / 3;

    for at in 0..MAGIC.len() + record * 2 {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped).expect("written");

        let refused = open_on(Arc::new(SystemDisk), directory.path());

        let refused = refused.map(drop).expect_err("damaged").to_string();
        assert!(refused.contains("move the file away"), "{at}: {refused}");
        assert_eq!(fs::read(&path).expect("a file"), flipped, "left alone");
    }
    fs::write(&path, &bytes).expect("written");
    assert_eq!(open(directory.path()).1, [note(1), note(2), note(3)]);
}

#[test]
fn adversarial_38_after_a_failed_sync_a_file_that_cannot_be_read_again_refuses_commands() {
    let directory = tempfile::tempdir().expect("a directory");
    let disk = FaultyDisk::default();
    let opened = open_on(Arc::new(disk.clone()), directory.path());
    let (log, _, completed) = opened.expect("opens");
    (1..=2).for_each(|n| write(&log, &completed, NoteWrite::Append(note(n))));
    let append = |n| {
        assert!(log.write(Ticket::default(), NoteWrite::Append(note(n))));
        completed.recv().expect("a completion").result
    };
    disk.set(Plan {
        sync: Some(io::ErrorKind::Other),
        ..Plan::default()
    });
    append(3).expect_err("the sync fails");
    disk.set(Plan::default());
    let path = directory.path().join(NAME);
    let sound = fs::read(&path).expect("a file");

    fs::write(&path, b"\0\0\0").expect("written");
    let refused = append(4).expect_err("damaged").to_string();
    fs::write(&path, sound).expect("written");
    append(5).expect("the control: a file that reads is written anew");

    assert!(refused.contains("move the file away"), "{refused}");
    let held = open(directory.path()).1;
    assert_eq!(held, [note(1), note(2), note(3), note(5)]);
}

#[test]
fn a_file_of_another_kind_is_not_written_over() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join(NAME), b"something else").expect("written");

    let refused = CommandLog::open(directory.path(), |_| {});

    assert!(refused.is_err());
}

#[test]
fn a_disk_that_refuses_is_told_and_used_again_when_it_takes_notes() {
    let directory = tempfile::tempdir().expect("a directory");
    let inside = directory.path().join("store");
    fs::create_dir(&inside).expect("a directory");
    let (log, _, completed) = open(&inside);
    let moved = directory.path().join("away");
    write(&log, &completed, NoteWrite::Append(note(1)));

    fs::rename(&inside, &moved).expect("moved");
    assert!(log.write(Ticket::default(), NoteWrite::Replace(vec![note(2)])));
    let refused = completed.recv().expect("a completion");
    fs::rename(&moved, &inside).expect("moved back");
    write(&log, &completed, NoteWrite::Append(note(3)));

    assert!(refused.result.is_err());
    assert_eq!(open(&inside).1, [note(1), note(3)]);
}
