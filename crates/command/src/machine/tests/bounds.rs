//! What is too large or too many.

use bytes::Bytes;

use super::*;

fn large(bytes: usize) -> Argument {
    Argument::Bytes(vec![7; bytes])
}

/// The messages with which a caller sends a command.
fn sent(id: CommandId, argument: Argument) -> Vec<Message> {
    let mut caller = caller();
    caller.input(Input::LinkUp(TARGET));
    let call = Call {
        id,
        ..to_target(argument)
    };
    caller.input(Input::Call(CallId(1), call));
    let messages = caller.take().into_iter().filter_map(|output| match output {
        Output::Send(_, message) => Some(message),
        _ => None,
    });
    messages.collect()
}

/// A command whose argument does not come.
fn begun(id: CommandId) -> Message {
    let mut message = call(id, "heating/set", 5);
    if let Message::Call { size, chunk, .. } = &mut message {
        *size = 10;
        *chunk = Bytes::new();
    }
    message
}

fn number(n: u8) -> CommandId {
    CommandId::from_bytes([n; 16])
}

#[test]
fn a_large_argument_travels_in_parts_and_arrives_whole() {
    let argument = large(100_000);
    let mut target = target();

    let messages = sent(ID, argument.clone());
    assert_eq!(messages.len(), 4);
    for message in messages {
        target.input(received(message));
    }
    note_written(&mut target);

    let [Output::Run(_, _, command)] = target.outputs() else {
        panic!("it does not run: {:?}", target.outputs());
    };
    assert_eq!(command.argument, argument);
}

#[test]
fn an_argument_beyond_the_limit_is_not_sent() {
    let mut caller = caller();

    caller.input(Input::LinkUp(TARGET));
    caller.input(Input::Call(
        CallId(1),
        to_target(large(Argument::BYTES_MAX)),
    ));

    assert_eq!(finished(caller.outputs()), [Code::InvalidArgument]);
    assert_eq!(attempts(caller.outputs()).len(), 1);
}

#[test]
fn an_id_that_comes_whole_while_it_comes_in_parts_runs_once() {
    let mut target = target();
    let parts = sent(ID, large(100_000));

    target.input(received(parts[0].clone()));
    target.input(received(call(ID, "heating/set", 5)));
    for part in &parts[1..] {
        target.input(received(part.clone()));
    }
    note_written(&mut target);
    let run = runs(&target.take());
    target.input(Input::Ended(run[0], Status::OK));

    assert_eq!(run.len(), 1);
    assert!(runs(target.outputs()).is_empty());
    let link = target.outputs().contains(&Output::LetLinkGo(CALLER));
    assert!(link, "nothing of this caller is active any more");
}

#[test]
fn more_of_an_argument_than_was_announced_is_refused_and_blamed() {
    let mut target = target();
    let messages = sent(ID, large(90_000));

    target.input(received(messages[0].clone()));
    for _ in 0..2 {
        target.input(received(messages[1].clone()));
    }

    assert_eq!(codes(target.outputs()), [Code::InvalidArgument]);
    let blamed = Output::Misbehaved(CALLER, Fault::Overlong);
    assert!(target.outputs().contains(&blamed));
}

#[test]
fn an_argument_that_stays_unfinished_expires_and_nothing_of_it_is_kept() {
    let mut target = target();

    target.input(received(sent(ID, large(100_000)).remove(0)));
    target.advance(Duration::from_secs(5));

    assert_eq!(codes(target.outputs()), [Code::DeadlineExceeded]);
    assert_eq!(attempts(target.outputs()).len(), 1);
    assert_eq!(target.machine().stats().kept, 0);
}

#[test]
fn one_caller_cannot_have_arguments_without_end_gathered() {
    let mut target = target();

    for n in 0..3 {
        let messages = sent(number(n), large(250_000));
        target.input(received(messages[0].clone()));
    }

    assert_eq!(codes(target.outputs()), [Code::ResourceExhausted]);
}

#[test]
fn one_caller_cannot_fill_the_queue_and_others_still_get_through() {
    let mut target = target();

    for n in 0..=128 {
        target.input(received(call(number(n), "heating/set", 5)));
    }
    let mine = codes(&target.take());
    target.input(received_from(OTHER_CALLER, call(ID, "heating/set", 5)));

    assert_eq!(mine, [Code::ResourceExhausted]);
    assert!(codes(target.outputs()).is_empty());
    note_written(&mut target);
}

#[test]
fn a_full_ledger_refuses_and_forgets_nothing_early() {
    let config = Config {
        kept_max: 2,
        ..Config::default()
    };
    let mut target = target_with(config, Vec::new());
    for n in 1..=2 {
        let run = begin(&mut target, number(n));
        target.input(Input::Ended(run, Status::OK));
    }
    target.take();

    target.input(received(call(ID, "heating/set", 5)));
    let refused = codes(&target.take());
    target.input(received(call(number(1), "heating/set", 5)));

    assert_eq!(refused, [Code::ResourceExhausted]);
    assert_eq!(codes(target.outputs()), [Code::Ok]);
}

#[test]
fn the_file_of_notes_is_written_anew_when_most_of_it_is_of_no_use_any_more() {
    let mut target = target();
    let mut replaced = Vec::new();

    for n in 0..2_000_u16 {
        let id = CommandId::from_bytes([n.to_le_bytes(); 8].concat().try_into().expect("16 bytes"));
        target.input(received(call(id, "heating/set", 5)));
        let written = ticket(target.outputs());
        target.input(Input::Persisted(written));
        let run = runs(target.outputs());
        target.input(Input::Ended(run[0], Status::OK));
        target.advance(Duration::from_secs(36)); // It is forgotten.
        let said = target.take().into_iter();
        replaced.extend(said.filter_map(|output| match output {
            Output::Persist(_, NoteWrite::Replace(notes)) => Some(notes.len()),
            _ => None,
        }));
    }

    assert_eq!(replaced, [1; 3]); // 4,000 notes, of which one was alive each time.
}

#[test]
fn arguments_of_which_no_more_comes_are_few() {
    let mut target = target();

    for n in 0..=16 {
        target.input(received(begun(number(n))));
    }
    let mine = codes(&target.take());
    target.input(received_from(OTHER_CALLER, begun(ID)));

    assert_eq!(mine, [Code::ResourceExhausted]);
    assert!(codes(target.outputs()).is_empty());
}

#[test]
fn commands_that_expire_before_their_turn_do_not_pile_up_before_a_handler_that_hangs() {
    let mut target = target();
    let run = begin(&mut target, ID);
    for round in 0..3_u8 {
        for n in 0..100 {
            let id = CommandId::from_bytes([round + 10, n].repeat(8).try_into().expect("16 bytes"));
            target.input(received(call(id, "heating/set", 1)));
            note_written(&mut target);
        }
        target.advance(Duration::from_secs(1));
        target.take();
    }

    assert_eq!(target.machine().stats().waiting, 0);
    target.input(Input::Ended(run, Status::OK));
}

#[test]
fn an_answer_too_large_to_keep_is_not_invented_for_who_asks_again() {
    let mut target = target();
    let run = begin(&mut target, ID);
    target.input(Input::Item(run, large(10_000)));
    target.input(Input::Ended(run, Status::OK));
    let first = codes(&target.take());

    target.input(received(call(ID, "heating/set", 5)));

    assert_eq!(first, [Code::Ok]);
    assert_eq!(codes(target.outputs()), [Code::DataLoss]);
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let mut target = target();
    let run = begin(&mut target, ID);

    for _ in 0..40 {
        target.input(Input::Item(run, large(30_000)));
    }

    assert_eq!(codes(target.outputs()), [Code::Unknown]);
    assert!(target.outputs().contains(&Output::Cancel(run, HANDLER)));
}

#[test]
fn handlers_of_the_same_command_cannot_be_there_at_once() {
    let mut target = target();

    target.input(Input::HandlerUp(HandlerId(2), offer()));

    let [Output::Declined(HandlerId(2), status)] = target.outputs() else {
        panic!("not declined: {:?}", target.outputs());
    };
    assert_eq!(status.code, Code::AlreadyExists);
}
