//! Commands that come as letters.

use super::*;
use crate::{Answer, CallKey, Letter};

const KEY: CallKey = CallKey {
    caller: CALLER,
    id: ID,
};
const LIFETIME: Duration = Duration::from_hours(8);

fn letter(name: &str, rights: Rights) -> Input {
    Input::Letter {
        key: KEY,
        rights,
        letter: Letter {
            name: name.parse().expect("a name"),
            argument: Argument::Null.encode().expect("an argument"),
            lineage: Lineage::default(),
        },
        remaining: Duration::from_secs(60),
        lifetime: LIFETIME,
    }
}

fn set() -> Input {
    letter("heating/set", Rights::own())
}

fn replies(outputs: &[Output]) -> Vec<(CallKey, Answer)> {
    let replies = outputs.iter().filter_map(|output| match output {
        Output::Reply(key, answer) => Some((*key, answer.clone())),
        _ => None,
    });
    replies.collect()
}

fn codes_of(outputs: &[Output]) -> Vec<Code> {
    let replies = replies(outputs).into_iter();
    replies.map(|(_, answer)| answer.status.code).collect()
}

#[test]
fn a_letter_runs_after_its_note_is_on_disk_and_is_replied_to_instead_of_over_a_link() {
    let mut target = target();

    target.input(set());
    let before = target.take();
    target.input(Input::Persisted(ticket(&before)));
    let run = runs(&target.take());
    target.input(Input::Item(run[0], Argument::I64(7)));
    target.input(Input::Ended(run[0], Status::OK));

    assert!(runs(&before).is_empty());
    let outputs = target.take();
    let [(key, answer)] = &replies(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(*key, KEY);
    assert_eq!((answer.status.code, answer.items_total), (Code::Ok, 1));
    assert!(codes(&outputs).is_empty());
}

#[test]
fn the_same_id_by_letter_and_over_a_link_is_one_command_answered_in_both_ways() {
    let mut target = target();
    let run = begin(&mut target, ID);

    target.input(set());
    let while_it_runs = target.take();
    target.input(Input::Ended(run, Status::OK));
    let end = target.take();
    target.input(set());
    let again = target.take();

    assert!(runs(&while_it_runs).is_empty() && runs(&again).is_empty());
    assert_eq!(
        (codes(&end), codes_of(&end)),
        (vec![Code::Ok], vec![Code::Ok])
    );
    assert_eq!(codes_of(&again), [Code::Ok]);
}

#[test]
fn a_letter_that_overtakes_its_parts_over_a_link_is_answered_in_both_ways() {
    let mut target = target();
    let mut begun = call(ID, "heating/set", 5);
    if let Message::Call { size, chunk, .. } = &mut begun {
        *size = 10;
        *chunk = bytes::Bytes::new();
    }

    target.input(received(begun));
    target.input(set());
    note_written(&mut target);
    let run = runs(&target.take());
    target.input(received(Message::Part(ID, vec![0; 10].into())));
    target.input(Input::Ended(run[0], Status::OK));

    let end = target.take();
    assert_eq!(
        (codes(&end), codes_of(&end)),
        (vec![Code::Ok], vec![Code::Ok])
    );
}

#[test]
fn a_letter_is_kept_for_its_whole_lifetime_over_a_restart_in_the_middle() {
    let mut target = target();
    target.input(set());
    let outputs = target.take();
    let notes = outputs.iter().find_map(|output| match output {
        Output::Persist(_, NoteWrite::Append(note)) => Some(note.clone()),
        _ => None,
    });
    let note = notes.expect("a note");

    let mut restarted = target_with(Config::default(), vec![note.clone()]);
    restarted.take();
    restarted.advance(LIFETIME);
    restarted.input(set());

    assert_eq!(note.keep, LIFETIME + Config::default().skew);
    let outputs = restarted.take();
    assert_eq!(codes_of(&outputs), [Code::Unknown]);
    assert!(runs(&outputs).is_empty());
}

#[test]
fn what_is_wrong_with_a_letter_is_replied_and_for_the_audit_log_and_a_pause_is_nothing_wrong() {
    let mut target = target();
    target.input(Input::Paused);

    target.input(letter("heating/set", Rights::default()));
    target.input(letter("heating/boil", Rights::own()));
    let refused = target.take();
    target.input(set());
    let taken = target.take();

    let codes = [Code::PermissionDenied, Code::Unimplemented];
    assert_eq!(codes_of(&refused), codes);
    let told = attempts(&refused).into_iter();
    assert!(told.map(|attempt| attempt.status.code).eq(codes));
    assert!(replies(&taken).is_empty(), "it waits for its note");
}
