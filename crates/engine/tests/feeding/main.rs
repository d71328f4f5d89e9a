//! What a node that relays does with the logs of origins, its own among them: which records it
//! uploads, when it tells progress, and where it starts after a stop.

mod desk;
mod windows;

use std::collections::BTreeMap;
use std::time::Duration;

use aggregate::Progress;
use election::Candidacy;
use engine::{Input, Recovered};
use identity::Role;
use model::{Epoch, Position, StateKind, StateVersion, Timestamp};
use overlay::{Address, Contact};

use crate::desk::{
    Desk, LATENESS, NEIGHBOUR, NOON, SOON, WINDOW, WINDOW_ENDED, identity, state, state_about,
    uplink,
};

#[test]
fn a_window_is_uploaded_once_it_ended_and_progress_waits_for_the_sink() {
    let mut desk = Desk::serving();
    desk.publish(1, 20.0);
    desk.publish(2, 30.0);
    assert!(desk.uploads.is_empty(), "the window is open");

    desk.advance(WINDOW_ENDED);
    let (id, record) = desk.uploads.pop().expect("a record");
    assert_eq!(record.key.window_start, NOON);
    assert!(record.key.complete);
    assert_eq!(record.summary.count, 2);
    assert!(desk.uploads.is_empty(), "once");
    assert_eq!(desk.progress_told(), None, "the sink has not answered");

    desk.acknowledge(&[id]);
    let progress = desk.progress_told().expect("progress");
    assert_eq!(progress.through, desk.last_position());
}

#[test]
fn an_uplink_needs_a_log_from_the_first_block_on_that_is_not_all_acknowledged() {
    let mut desk = Desk::serving();
    desk.publish(1, 20.0);
    desk.advance(WINDOW_ENDED);
    let nothing_told = desk.probe.with(|node| node.needed_by_uplinks());
    assert_eq!(nothing_told, Some(BTreeMap::new()), "all of every log");
    let (id, _) = desk.uploads.pop().expect("the window");
    desk.acknowledge(&[id]);
    assert_eq!(desk.needed().sequence, 1, "late readings may still come");

    desk.advance(LATENESS);
    desk.publish(74, 30.0);
    desk.advance(WINDOW_ENDED);
    let (id, _) = desk.uploads.pop().expect("the next window");
    desk.acknowledge(&[id]);
    assert_eq!(
        desk.needed(),
        desk.last_position(),
        "the first is too old for that"
    );
}

#[test]
fn progress_does_not_pass_a_record_that_the_sink_lacks() {
    let mut desk = Desk::serving();
    desk.publish(1, 20.0);
    desk.advance(WINDOW_ENDED);
    desk.publish(12, 30.0);
    desk.advance(WINDOW);
    let ids: Vec<_> = desk.uploads.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids.len(), 2);

    desk.acknowledge(&ids[1..]);
    assert_eq!(desk.progress_told(), None);

    desk.input(Input::UploadLost(uplink(), vec![ids[0]]));
    let (again, record) = desk.uploads.last().cloned().expect("the first once more");
    assert_eq!(record.key.window_start, NOON);
    desk.acknowledge(&[again]);
    assert!(desk.progress_told().is_some());
}

#[test]
fn progress_that_waits_for_a_record_does_not_speak_for_what_the_next_block_completes() {
    let mut desk = Desk::serving();
    desk.publish(1, 20.0);
    desk.advance(WINDOW_ENDED);
    desk.publish(12, 30.0);
    desk.advance(Duration::from_secs(7));
    assert_eq!(desk.uploads.len(), 1, "the second window is open");
    desk.publish(20, 40.0);
    desk.advance(Duration::from_millis(300));
    desk.publish(20, 50.0);
    let (first, second) = match &desk.uploads[..] {
        [(first, _), (_, second)] => (*first, second.clone()),
        others => panic!("the block completes the second window: {others:?}"),
    };

    desk.acknowledge(&[first]);

    let told = desk.progress_told().expect("the first is acknowledged");
    let end = (second.key.window_start).saturating_add(second.key.window_length);
    assert!(told.watermark < end, "{told:?} speaks for {second:?}");
}

#[test]
fn who_follows_a_killed_relay_reads_the_log_and_starts_at_its_progress() {
    let mut before = Desk::serving();
    before.publish(1, 20.0);
    before.advance(WINDOW_ENDED);
    let untold = before.recovered();
    let (id, record) = before.uploads[0].clone();
    before.acknowledge(&[id]);
    let told = before.recovered();

    let mut repeats = Desk::start(untold);
    repeats.input(Input::UplinkReachable(uplink(), true));
    repeats.answer_reads(&before.blocks);
    repeats.advance(WINDOW_ENDED);
    let mut goes_on = Desk::start(told);
    goes_on.input(Input::UplinkReachable(uplink(), true));
    goes_on.answer_reads(&before.blocks);
    goes_on.publish(2, 30.0);
    goes_on.advance(WINDOW_ENDED);

    assert_eq!(repeats.uploads.len(), 1);
    let again = &repeats.uploads[0].1;
    assert_eq!(again.summary, record.summary, "the same readings");
    let fresh: Vec<_> = goes_on.uploads.iter().map(|(_, record)| record).collect();
    assert_eq!(fresh.len(), 1, "only what came after the progress");
    assert_eq!(fresh[0].summary.count, 2, "with what the window had before");
}

#[test]
fn what_cannot_be_read_is_tried_again_a_second_later_and_not_at_once() {
    let mut before = Desk::serving();
    before.publish(1, 20.0);
    before.advance(SOON);
    before.publish(2, 30.0);
    let mut after = Desk::start(before.recovered());
    assert_eq!(after.reads.len(), 1);

    let mut damaged = before.blocks.clone();
    damaged.pop_first();
    after.answer_reads(&damaged);
    assert!(after.reads.is_empty(), "the first block is still missing");

    after.advance(SOON);
    assert_eq!(after.reads.len(), 1);
    after.answer_reads(&before.blocks);
    assert!(after.reads.is_empty(), "everything has been read");
}

#[test]
fn who_serves_no_longer_withdraws_and_uploads_again_when_it_does() {
    let mut desk = Desk::serving();
    desk.publish(1, 20.0);
    desk.advance(WINDOW_ENDED);
    let (old, record) = desk.uploads.pop().expect("a record");

    desk.input(Input::UplinkReachable(uplink(), false));
    desk.advance(SOON);
    assert_eq!(desk.withdrawn, [desk.probe.machine().machine()]);
    desk.acknowledge(&[old]);
    assert_eq!(desk.progress_told(), None, "nobody serves it here");

    desk.input(Input::UplinkReachable(uplink(), true));
    desk.advance(SOON);
    let (_, again) = desk.uploads.pop().expect("the record once more");
    assert_eq!(again, record);
}

/// How many windows are uploaded here although another machine says that it has uploaded
/// everything.
fn uploads_despite_the_word_of(role: Role) -> usize {
    let mut desk = Desk::serving();
    desk.publish(1, 20.0);
    let liar = identity(NEIGHBOUR, &[role]);
    let version = |counter| StateVersion { epoch: 1, counter };
    let membership = liar.membership.as_bytes().to_vec();
    let far = Position {
        epoch: Epoch { counter: 9, tag: 0 },
        sequence: 9,
    };
    let progress = Progress {
        through: far,
        watermark: Timestamp::MAX,
        late: None,
        horizon: Timestamp::MAX,
        resume: far,
    };
    let subject = format!("{}/{}", uplink(), desk.probe.machine().machine());
    let payload = progress.to_payload();

    desk.neighbour_sends(vec![
        state(&liar, version(1), StateKind::Membership, membership),
        state_about(&liar, version(2), StateKind::Progress, subject, payload),
    ]);
    desk.advance(WINDOW_ENDED);
    desk.uploads.len()
}

#[test]
fn adversarial_31_only_the_word_of_a_machine_that_the_operator_lets_relay_stops_an_upload() {
    assert_eq!(uploads_despite_the_word_of(Role::Publish), 1);
    // What follows of such a machine's lie stands in the manual, on uplinks.
    assert_eq!(uploads_despite_the_word_of(Role::Relay), 0, "control");
}

#[test]
fn a_candidacy_says_how_busy_the_machine_is_and_how_well_its_uplink_works() {
    let mut desk = Desk::serving();
    let first = desk.candidacies.pop().expect("a candidacy");

    desk.input(Input::Load(40));
    for reachable in [false, true] {
        desk.input(Input::UplinkReachable(uplink(), reachable));
    }
    desk.advance(SOON);
    let second = desk.candidacies.pop().expect("another one");

    assert_eq!((first.load, first.health), (0, 100));
    assert_eq!((second.load, second.health), (40, 80));
    assert!(first.standing && second.standing);
}

#[test]
fn a_candidate_whose_presence_is_not_known_is_dialled_from_the_address_book() {
    let (candidate, via) = (identity(NEIGHBOUR, &[Role::Relay]), identity(4, &[]));
    let address = Address::new("/ip4/192.0.2.7/tcp/4001".to_owned()).expect("short");
    let contact = Contact {
        machine: candidate.keypair.machine(),
        addresses: vec![address],
    };
    let mut desk = Desk::start(Recovered {
        contacts: vec![contact],
        ..Recovered::default()
    });
    desk.input(Input::UplinkReachable(uplink(), true));
    desk.advance(SOON);
    desk.input(Input::DialFailed(candidate.keypair.machine()));
    desk.dialled.clear();

    let version = StateVersion {
        epoch: 1,
        counter: 1,
    };
    let membership = candidate.membership.as_bytes().to_vec();
    let stands = Candidacy {
        standing: true,
        ..Candidacy::default()
    };
    let subject = uplink().as_str().to_owned();
    let states = vec![
        state(&candidate, version, StateKind::Membership, membership),
        state_about(
            &candidate,
            version,
            StateKind::Candidacy,
            subject,
            stands.to_payload(),
        ),
    ];
    desk.machine_sends(via.membership.clone(), states);

    assert!(desk.dialled.contains(&candidate.keypair.machine()));
}
