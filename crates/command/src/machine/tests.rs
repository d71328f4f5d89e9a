//! One side against a test that plays the other; `crashes` has both sides and cuts them off.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for what it names"
)]

mod bounds;
mod crashes;
mod letters;
mod support;

use std::time::Duration;

use testkit::{Step, check};

use super::*;
use crate::{Code, Side};
use support::*;

#[test]
fn a_command_runs_after_its_note_is_on_disk_and_not_before() {
    let mut target = target();

    target.input(received(call(ID, "heating/set", 5)));
    let before = target.take();
    target.input(Input::Persisted(ticket(&before)));

    assert!(runs(&before).is_empty());
    assert_eq!(runs(target.outputs()), [RunId(1)]);
}

#[test]
fn a_command_that_comes_again_is_answered_from_what_is_kept() {
    let mut target = target();
    let run = begin(&mut target, ID);
    target.input(Input::Item(run, Argument::I64(7)));
    target.input(Input::Ended(run, Status::OK));
    let first = answers(&target.take());

    target.input(Input::LinkDown(CALLER));
    target.input(received(call(ID, "heating/set", 5)));

    let again = target.take();
    assert_eq!(answers(&again), first);
    assert_eq!(first, [(Some(7), None), (None, Some(Code::Ok))]);
    assert!(runs(&again).is_empty());
    assert!(attempts(&again)[0].repeated);
}

#[test]
fn a_command_that_comes_again_while_it_runs_is_told_the_end_once() {
    let mut target = target();
    let run = begin(&mut target, ID);
    target.input(Input::Item(run, Argument::I64(7)));
    target.input(Input::LinkDown(CALLER));
    target.take();

    target.input(received(call_having(1)));
    target.input(Input::Item(run, Argument::I64(8)));
    target.input(Input::Ended(run, Status::OK));

    assert_eq!(
        answers(target.outputs()),
        [(Some(8), None), (None, Some(Code::Ok))]
    );
}

#[test]
fn an_id_that_names_another_command_is_refused() {
    let mut target = target();
    let run = begin(&mut target, ID);
    target.input(Input::Ended(run, Status::OK));
    target.take();

    target.input(received(call(ID, "heating/stop", 5)));

    assert_eq!(codes(target.outputs()), [Code::AlreadyExists]);
}

#[test]
fn a_command_is_forgotten_after_its_deadline_and_the_skew_and_not_before() {
    let mut target = target();
    let run = begin(&mut target, ID);
    target.input(Input::Ended(run, Status::OK));
    let kept = Duration::from_secs(5) + Config::default().skew;

    target.advance(kept - Duration::from_millis(1));
    assert_eq!(target.machine().stats().kept, 1);
    target.advance(Duration::from_millis(1));

    assert_eq!(target.machine().stats().kept, 0);
}

#[test]
fn a_command_that_expires_while_it_waits_never_runs() {
    let mut target = target();
    begin(&mut target, ID);
    target.input(received(call(OTHER_ID, "heating/set", 1)));
    note_written(&mut target);

    target.advance(Duration::from_secs(1));
    target.input(Input::Ended(RunId(1), Status::OK));

    assert_eq!(codes(target.outputs()), [Code::DeadlineExceeded, Code::Ok]);
    assert!(runs(target.outputs()).is_empty());
}

#[test]
fn a_command_that_was_expired_when_it_came_never_runs() {
    let mut target = target();

    target.input(received(call(ID, "heating/set", 0)));

    assert_eq!(codes(target.outputs()), [Code::DeadlineExceeded]);
    assert_eq!(
        attempts(target.outputs())[0].status.code,
        Code::DeadlineExceeded
    );
}

#[test]
fn a_handler_that_is_too_slow_is_told_to_stop_and_its_end_is_kept() {
    let mut target = target();
    let run = begin(&mut target, ID);

    target.advance(Duration::from_secs(5));
    let cancelled = target.take();
    target.input(Input::Ended(run, Status::OK));

    assert_eq!(cancelled, [Output::Cancel(run, HANDLER)]);
    assert_eq!(codes(target.outputs()), [Code::Ok]);
}

#[test]
fn after_a_crash_in_the_middle_it_is_unknown_and_never_runs_again() {
    let note = crate::Note {
        key: crate::CallKey {
            caller: CALLER,
            id: ID,
        },
        digest: digest_of("heating/set"),
        keep: Duration::from_secs(35),
        answer: None,
    };
    let mut target = target_with(Config::default(), vec![note]);
    let told = target.take();

    target.input(received(call(ID, "heating/set", 5)));

    assert_eq!(attempts(&told)[0].status.code, Code::Unknown);
    assert_eq!(codes(target.outputs()), [Code::Unknown]);
    assert!(runs(target.outputs()).is_empty());
}

#[test]
fn a_command_that_was_answered_in_part_and_is_not_remembered_does_not_run() {
    let mut target = target();

    target.input(received(call_having(1)));

    assert_eq!(codes(target.outputs()), [Code::Unknown]);
}

#[test]
fn what_changes_nothing_waits_for_no_disk_and_is_not_kept() {
    let mut target = target();

    target.input(received(call(ID, "ping", 5)));
    let said = target.take();
    target.input(Input::Ended(RunId(1), Status::OK));

    assert_eq!(runs(&said), [RunId(1)]);
    assert!(
        !said
            .iter()
            .any(|output| matches!(output, Output::Persist(..)))
    );
    assert_eq!(target.machine().stats().kept, 0);
}

#[test]
fn a_disk_that_refuses_the_note_keeps_the_command_from_running() {
    let mut target = target();

    target.input(received(call(ID, "heating/set", 5)));
    let said = target.take();
    target.input(Input::PersistFailed(ticket(&said)));

    assert_eq!(codes(target.outputs()), [Code::Unavailable]);
    assert!(runs(target.outputs()).is_empty());
}

#[test]
fn who_has_no_right_is_refused_and_told_to_the_audit_log() {
    let mut target = target();

    target.input(Input::Received {
        from: CALLER,
        rights: Rights::default(),
        message: call(ID, "heating/set", 5),
    });
    target.input(received(call(OTHER_ID, "lights/set", 5)));

    let refused = [Code::PermissionDenied, Code::Unimplemented];
    assert_eq!(codes(target.outputs()), refused);
    let attempts = attempts(target.outputs());
    assert_eq!(
        attempts.iter().map(|a| a.status.code).collect::<Vec<_>>(),
        refused
    );
    assert!(attempts.iter().all(|attempt| attempt.side == Side::Target));
}

#[test]
fn a_handler_that_goes_away_in_the_middle_leaves_an_unknown_end() {
    let mut target = target();
    begin(&mut target, ID);
    target.input(received(call(OTHER_ID, "heating/set", 5)));
    note_written(&mut target);

    target.input(Input::HandlerDown(HANDLER));

    assert_eq!(codes(target.outputs()), [Code::Unknown, Code::Unavailable]);
}

#[test]
fn two_callers_at_once_have_their_turns_one_after_the_other() {
    let mut target = target();
    begin(&mut target, ID);
    // The same id, but of another caller.
    target.input(received_from(OTHER_CALLER, call(ID, "heating/set", 5)));
    note_written(&mut target);
    assert!(runs(target.outputs()).is_empty());

    target.input(Input::Ended(RunId(1), Status::OK));

    assert_eq!(runs(target.outputs()), [RunId(2)]);
}

#[test]
fn a_caller_that_takes_a_command_back_stops_what_waits_and_tells_what_runs() {
    let mut target = target();
    let run = begin(&mut target, ID);
    target.input(received(call(OTHER_ID, "heating/set", 5)));
    target.take();

    target.input(received(Message::Cancel(OTHER_ID)));
    target.input(received(Message::Cancel(ID)));

    assert_eq!(codes(target.outputs()), [Code::Cancelled]);
    assert!(target.outputs().contains(&Output::Cancel(run, HANDLER)));
}

#[test]
fn after_a_pause_commands_that_may_be_old_are_refused_for_a_while() {
    let mut target = target();

    target.input(Input::Paused);
    target.input(received(call(ID, "heating/set", 5)));
    let refused = codes(&target.take());
    target.advance(Duration::from_secs(2));
    target.input(received(call(ID, "heating/set", 5)));

    assert_eq!(refused, [Code::Unavailable]);
    assert!(matches!(target.outputs()[1], Output::Persist(..)));
}

#[test]
fn a_target_that_is_no_neighbour_is_dialled_and_let_go_afterwards() {
    let mut caller = caller();

    caller.input(Input::Call(CallId(1), to_target(Argument::Null)));
    assert_eq!(caller.take(), [Output::KeepLink(TARGET)]);
    caller.input(Input::LinkUp(TARGET));
    assert!(matches!(
        caller.take()[..],
        [Output::Send(TARGET, Message::Call { .. })]
    ));
    caller.input(from_target(done(0, Status::OK)));

    let said = caller.take();
    assert_eq!(finished(&said), [Code::Ok]);
    assert_eq!(said.last(), Some(&Output::ReleaseLink(TARGET)));
}

#[test]
fn a_target_that_cannot_be_reached_is_told_soon_and_the_command_was_not_sent() {
    let mut caller = caller();
    caller.input(Input::Call(CallId(1), to_target(Argument::Null)));

    for _ in 0..3 {
        caller.input(Input::DialFailed(TARGET));
        caller.advance(Config::default().redial);
    }

    assert_eq!(finished(caller.outputs()), [Code::Unavailable]);
    assert_eq!(attempts(caller.outputs())[0].side, Side::Caller);
}

#[test]
fn of_an_id_that_was_sent_before_nobody_says_that_it_did_not_run() {
    let mut caller = caller();
    let call = Call {
        is_repeat: true,
        ..to_target(Argument::Null)
    };
    caller.input(Input::Call(CallId(1), call));

    for _ in 0..9 {
        caller.input(Input::DialFailed(TARGET));
        caller.advance(Config::default().redial);
    }
    assert!(finished(caller.outputs()).is_empty());
    caller.advance(Duration::from_secs(5));

    assert_eq!(finished(caller.outputs()), [Code::DeadlineExceeded]);
    assert!(
        attempts(caller.outputs())[0]
            .status
            .message
            .contains("may have run")
    );
}

#[test]
fn a_command_whose_link_breaks_is_sent_again_under_its_id_until_the_deadline() {
    let mut caller = caller();
    caller.input(Input::LinkUp(TARGET));
    caller.input(Input::Call(CallId(1), to_target(Argument::Null)));
    caller.input(from_target(item(0, 7)));
    caller.take();

    caller.input(Input::LinkDown(TARGET));
    caller.advance(Duration::from_secs(1));
    caller.input(Input::LinkUp(TARGET));
    let said = caller.take();
    caller.input(from_target(item(0, 7)));
    caller.advance(Duration::from_secs(4));

    assert!(said.contains(&Output::KeepLink(TARGET)));
    let again = said.iter().find_map(|output| match output {
        Output::Send(
            _,
            Message::Call {
                id,
                remaining,
                have,
                ..
            },
        ) => Some((*id, *remaining, *have)),
        _ => None,
    });
    assert_eq!(again, Some((ID, Duration::from_secs(4), 1)));
    assert_eq!(finished(caller.outputs()), [Code::DeadlineExceeded]);
    let is_answer = |output: &&Output| matches!(output, Output::Answer(..));
    assert_eq!(caller.outputs().iter().filter(is_answer).count(), 0);
}

#[test]
fn an_application_that_goes_away_takes_its_command_back() {
    let mut caller = caller();
    caller.input(Input::LinkUp(TARGET));
    caller.input(Input::Call(CallId(1), to_target(Argument::Null)));
    caller.take();

    caller.input(Input::Abandon(CallId(1)));

    assert_eq!(
        caller.outputs()[0],
        Output::Send(TARGET, Message::Cancel(ID))
    );
    assert_eq!(finished(caller.outputs()), [Code::Cancelled]);
}

#[test]
fn an_answer_out_of_turn_ends_the_command_and_blames_the_target() {
    let mut caller = caller();
    caller.input(Input::LinkUp(TARGET));
    caller.input(Input::Call(CallId(1), to_target(Argument::Null)));

    caller.input(from_target(item(1, 7)));

    assert_eq!(finished(caller.outputs()), [Code::Internal]);
    let blamed = Output::Misbehaved(TARGET, Fault::BadAnswer);
    assert!(caller.outputs().contains(&blamed));
}

#[test]
fn commands_keep_the_laws() {
    let script = [
        Step::Input(Input::HandlerUp(HANDLER, offer())),
        Step::Input(received(call(ID, "heating/set", 5))),
        Step::Input(Input::Persisted(Ticket::default().next())),
        Step::Input(Input::Call(CallId(1), to_target(Argument::Null))),
        Step::Input(Input::LinkDown(CALLER)),
        Step::Advance(Duration::from_secs(3)),
        Step::Input(Input::DialFailed(TARGET)),
        Step::Advance(Duration::from_secs(10)),
        Step::Input(Input::HandlerDown(HANDLER)),
        Step::Advance(Duration::from_secs(100)),
    ];

    let said = check(|| make(Vec::new()), script);

    assert_eq!(finished(&said), [Code::DeadlineExceeded]);
    assert_eq!(codes(&said), Vec::<Code>::new()); // The link was gone.
}
