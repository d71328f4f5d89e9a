//! What a node says of itself, and how its numbers go on after a stop, a crash or another disk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::{AckLevel, CleanStop, Config, Input, Published, Recovered};
use gossip::Write;
use identity::Role;
use model::{
    ClockState, Epoch, LogId, Position, SeriesNumber, State, StateDraft, StateKey, StateKind,
    StateVersion, Timestamp,
};

use crate::desk::{Desk, GATHER, identity_of, own_series, reading};

#[test]
fn a_quiet_machine_says_nothing_of_itself_before_it_publishes_and_then_its_membership_first() {
    for quiet in [true, false] {
        let config = Config {
            quiet,
            ..Config::default()
        };
        let mut desk = Desk::configured(&[Role::Publish], config, Recovered::default(), 7);

        desk.advance(Duration::from_secs(60));
        desk.sync();
        assert_eq!(desk.states.is_empty(), quiet);
        desk.publish(vec![reading(1.0)], None, AckLevel::Durable);
        desk.sync();

        let kinds: Vec<StateKind> = desk.states.iter().map(|state| state.key().kind).collect();
        assert_eq!(kinds.first(), Some(&StateKind::Membership));
        assert!(kinds.contains(&StateKind::Series));
    }
}

/// What a member says of where it is.
fn presence(version: StateVersion) -> [State; 2] {
    let identity = identity_of(4, &[]);
    let address = overlay::Address::new("/ip4/192.0.2.4/udp/4001/quic/noise".to_owned());
    let presence = engine::Presence {
        addresses: address.into_iter().collect(),
        neighbours: Vec::new(),
    };
    let membership = identity.membership.as_bytes().clone();
    let said = [
        (StateKind::Membership, membership),
        (StateKind::Presence, presence.to_payload().into()),
    ];
    said.map(|(kind, payload)| {
        let origin = identity.keypair.machine();
        let subject = String::new();
        let key = StateKey {
            origin,
            kind,
            subject,
        };
        let draft = StateDraft {
            key,
            version,
            payload,
        };
        draft.seal(&identity.trust.network(), |digest| {
            identity.keypair.sign(digest)
        })
    })
}

#[test]
fn a_member_whose_presence_stays_the_same_is_looked_for_and_one_that_is_heard_is_not() {
    for is_heard in [false, true] {
        let mut desk = Desk::start(Recovered::default());
        let version = |counter| StateVersion { epoch: 1, counter };
        let mut states = presence(version(1));
        for counter in 2..20 {
            desk.neighbour_sends(gossip::Message::States(states.to_vec()));
            desk.advance(Duration::from_secs(10));
            if is_heard {
                states = presence(version(counter));
            }
        }

        let missing = identity_of(4, &[]).keypair.machine();
        let dialled = desk
            .dialled
            .iter()
            .any(|contact| contact.machine == missing);

        assert_eq!(dialled, !is_heard);
    }
}

#[test]
fn who_waits_is_answered_also_when_the_epoch_changes_meanwhile() {
    let mut desk = Desk::start(Recovered::default());
    let first = desk.probe.machine().epoch();
    desk.publish(vec![reading(1.0)], None, AckLevel::Durable);
    let version = StateVersion {
        epoch: 7,
        counter: 1,
    };
    let number = SeriesNumber(1);
    let epoch = Epoch { counter: 7, tag: 3 };
    let forgotten = own_series(version, epoch, number);

    desk.neighbour_sends(gossip::Message::States(vec![forgotten]));
    desk.sync();
    desk.advance(GATHER);
    desk.publish(vec![reading(2.0)], None, AckLevel::Durable);
    desk.sync();

    assert_eq!(desk.replies.len(), 2);
    let last = desk.blocks.last().expect("a block").header();
    assert_eq!(last.log.epoch.counter, 8);
    let before = Position {
        epoch: first,
        sequence: 1,
    };
    assert_eq!(last.continues, Some(before));
    let machine = desk.probe.machine().machine();
    let catalogue = desk.probe.machine().catalogue();
    let log = LogId { machine, epoch };
    assert!(
        catalogue.definition(&log, number).is_some(),
        "what this machine had defined is known again"
    );
    desk.probe.input(Input::Stop);
    desk.sync();
    assert!(desk.stopped.is_some(), "nothing is waited for in vain");
}

#[test]
fn a_restored_disk_does_not_use_numbers_again_that_neighbours_know() {
    let mut before = Desk::start(Recovered::default());
    before.publish(vec![reading(1.0)], None, AckLevel::Durable);
    before.sync();
    let recovered = before.recovered();
    let copied = CleanStop {
        epoch: before.probe.machine().epoch(),
        last_sequence: 1,
        state_counter: 1_000,
    };
    before.advance(GATHER);
    before.publish(vec![reading(2.0)], None, AckLevel::Durable);
    let later = before.blocks[1].clone();

    let restored = Recovered {
        clean: Some(copied),
        ..recovered
    };
    let mut after = Desk::start_with(&[Role::Publish], restored, 8);
    after.neighbour_sends(gossip::Message::Block {
        block: later.clone(),
        pushed: false,
    });
    after.sync();
    after.publish(vec![reading(3.0)], None, AckLevel::Durable);
    after.sync();

    let first = after.blocks.last().expect("a block").header();
    assert!(first.log.epoch > later.id().log.epoch);
    assert_eq!(after.replies.len(), 1);
    assert!(after.replies[0].1.is_ok());
}

/// A later word of this machine than any that it remembers.
fn forgotten(epoch: u64) -> gossip::Message {
    let version = StateVersion { epoch, counter: 1 };
    let tagged = Epoch {
        counter: epoch,
        tag: 3,
    };
    gossip::Message::States(vec![own_series(version, tagged, SeriesNumber(1))])
}

#[test]
fn adversarial_45_a_wiped_disk_that_wakes_in_1970_uses_no_number_again() {
    let mut before = Desk::start_with(&[Role::Publish], Recovered::default(), 7);
    let mut wiped = Desk::start_with(&[Role::Publish], Recovered::default(), 8);
    let dawn = Input::WallClock(Timestamp::from_nanos(0), ClockState::Unsynchronised);
    wiped.probe.input(dawn);
    for desk in [&mut before, &mut wiped] {
        desk.publish(vec![reading(1.0)], None, AckLevel::Durable);
        desk.sync();
    }
    let log = |desk: &Desk| desk.blocks.last().expect("a block").header().log;
    assert_eq!(
        log(&before).epoch.counter,
        log(&wiped).epoch.counter,
        "both count from one"
    );
    assert_ne!(
        log(&before),
        log(&wiped),
        "out of everyone's reach the tag differs"
    );

    wiped.neighbour_sends(forgotten(7));
    wiped.advance(GATHER);
    wiped.publish(vec![reading(2.0)], None, AckLevel::Durable);

    assert_eq!(
        log(&wiped).epoch.counter,
        8,
        "it goes on after what others know of it"
    );
}

#[test]
fn adversarial_47_two_copies_of_one_identity_do_not_drive_each_other_on() {
    let mut desk = Desk::start(Recovered::default());
    let mut epochs = BTreeSet::new();

    for _ in 0..1_000 {
        let epoch = desk.probe.machine().epoch().counter;
        epochs.insert(epoch);
        desk.neighbour_sends(forgotten(epoch + 1)); // The copy goes on after each of its words.
        desk.advance(Duration::from_millis(10));
    }

    assert!((2..=6).contains(&epochs.len()), "{epochs:?} within 10 s");
    let last = epochs.last().copied().expect("one at least");
    desk.advance(Duration::from_secs(60));
    assert!(
        desk.probe.machine().epoch().counter > last,
        "it catches up all the same"
    );
}

#[test]
fn neighbours_that_are_faster_than_the_own_disk_count() {
    let mut desk = Desk::start(Recovered::default());
    desk.publish(vec![reading(1.0)], None, AckLevel::Replicated(1));
    let id = desk.blocks[0].id();

    desk.neighbour_sends(gossip::Message::Frontier {
        entries: vec![gossip::FrontierEntry {
            log: id.log,
            floor: 1,
            end: 1,
            beyond: Vec::new(),
        }],
        urgent: Vec::new(),
        ages: BTreeMap::new(),
        is_news: true,
    });
    assert!(desk.replies.is_empty(), "not on the own disk yet");
    desk.sync();

    assert_eq!(desk.replies.len(), 1);
}

#[test]
fn after_a_kill_a_new_epoch_names_the_last_block_and_remembers_publishers() {
    let mut before = Desk::start(Recovered::default());
    before.publish(vec![reading(1.0)], Some(1), AckLevel::Durable);
    before.sync();
    let last = before.blocks[0].id().position();

    let mut after = Desk::start_with(&[Role::Publish], before.recovered(), 8);
    after.publish(vec![reading(1.0)], Some(1), AckLevel::Durable);
    after.publish(vec![reading(2.0)], Some(2), AckLevel::Durable);
    assert!(
        after.blocks.is_empty(),
        "neighbours may still hold more of the old epoch"
    );
    after.advance(Config::default().recovery);
    after.sync();

    let first = after.blocks[0].header();
    assert!(first.log.epoch > last.epoch);
    assert_eq!((first.sequence, first.continues), (1, Some(last)));
    assert_eq!(
        first.count, 1,
        "the batch that was durable before is not stored again"
    );
    assert_eq!(after.replies.len(), 2);
}

#[test]
fn what_only_neighbours_kept_comes_back_and_is_not_stored_again() {
    let mut before = Desk::start(Recovered::default());
    before.publish(vec![reading(1.0)], Some(1), AckLevel::Durable);
    before.sync();
    let recovered = before.recovered();
    before.advance(GATHER);
    before.publish(vec![reading(2.0)], Some(2), AckLevel::Durable);
    let lost = before.blocks[1].clone();

    let mut after = Desk::start_with(&[Role::Publish], recovered, 8);
    after.publish(vec![reading(2.0)], Some(2), AckLevel::Durable);
    after.neighbour_sends(gossip::Message::Block {
        block: lost.clone(),
        pushed: false,
    });
    after.sync();
    after.advance(Config::default().recovery);
    after.publish(vec![reading(3.0)], Some(3), AckLevel::Durable);
    after.sync();

    let repeated = Ok(Published {
        readings: 0,
        repeated: true,
    });
    assert_eq!(after.replies[0], (1, repeated));
    let first = after.blocks.last().expect("a block").header();
    assert_eq!(
        (first.continues, first.count),
        (Some(lost.id().position()), 1)
    );
}

#[test]
fn after_a_stop_in_order_the_epoch_goes_on() {
    let mut before = Desk::start(Recovered::default());
    before.publish(vec![reading(1.0)], None, AckLevel::Durable);
    before.publish(vec![reading(2.0)], None, AckLevel::Durable);
    before.probe.input(Input::Stop);
    before.collect();
    assert_eq!(before.stopped, None, "the disk has not synced");
    before.sync();
    let clean = before.stopped.expect("stopped");
    assert_eq!(
        before.replies.len(),
        2,
        "what was accepted is acknowledged before the end"
    );

    let recovered = Recovered {
        clean: Some(clean),
        ..before.recovered()
    };
    let mut after = Desk::start_with(&[Role::Publish], recovered, 8);
    after.publish(vec![reading(3.0)], None, AckLevel::Durable);

    let header = after.blocks[0].header();
    assert_eq!((header.log.epoch, header.sequence), (clean.epoch, 3));
    assert_eq!(header.continues, None);
    let defined = |state: &State| state.key().kind == StateKind::Series;
    assert_eq!(
        after
            .unsynced
            .iter()
            .filter(|(_, write)| matches!(write, Write::State(state) if defined(state)))
            .count(),
        0,
        "the series is known"
    );
}
