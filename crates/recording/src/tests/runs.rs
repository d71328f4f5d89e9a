//! A recorded run is the same again, as far as it is whole; whatever else it is is found.

use engine::{AckLevel, Input, Output, RequestId};
use model::Value;
use proptest::prelude::*;
use statemachine::Instant;

use super::machines::{
    Memory, NETWORK_KEY, OWN_SEED, SECOND, encoded, entries, identity, join, live, reading,
    recording, recovered, replay,
};
use super::samples::settings;
use crate::event::Event;
use crate::file::{Entry, header};
use crate::{Recorded, ReplayError};

#[test]
fn a_recorded_run_is_the_same_again() {
    let bytes = recording(20);

    let summary = replay(&bytes).expect("the same");

    assert_eq!((summary.checked, summary.cut), (summary.steps, 0));
    assert!(summary.steps > 100, "{summary:?}");
    assert_eq!(summary.last, Instant::ZERO + SECOND * 20);
}

#[test]
fn no_key_stands_in_a_recording() {
    let holds = |bytes: &[u8], secret: &[u8]| bytes.windows(32).any(|window| window == secret);
    let memory = Memory::default();
    let sink = Box::new(memory.clone());
    let mut node = Recorded::start(identity(), settings(), recovered(), [7; 32], sink);

    let given = live(&mut node, 3);

    let is_key = |output: &Output| {
        let Output::NetworkKey(given) = output else {
            return false;
        };
        given.key.as_bytes() == &NETWORK_KEY
    };
    let opened = given.iter().any(is_key);
    assert!(opened, "the node has opened the network key");
    assert!(
        holds(&memory.bytes(), &[7; 32]),
        "what stands there is found"
    );
    for secret in [OWN_SEED, NETWORK_KEY] {
        assert!(!holds(&memory.bytes(), &secret));
    }
    let sealing = identity().keypair.sealing_key();
    assert!(!holds(&memory.bytes(), &*sealing));
}

#[test]
fn an_input_that_was_changed_is_found_at_its_step() {
    let bytes = recording(20);
    let mut changed = entries(&bytes);
    let steps = (changed.iter_mut()).filter_map(|entry| match entry {
        Entry::Step(_, event) => Some(event),
        Entry::Start(_) | Entry::Held(_) | Entry::Outcome(_) => None,
    });
    let publishes = steps.enumerate();
    let mut publishes = publishes.filter(|(_, event)| matches!(event, Event::Publish(_)));
    let (step, event) = publishes.nth(9).expect("ten were published");
    // Refused at once, while the recorded one was stored.
    let wrong = Input::Publish {
        request: RequestId(10),
        readings: vec![reading("press/oil/temperature", Value::Bool(true))],
        publisher: None,
        level: AckLevel::Durable,
    };
    *event = Event::of(&wrong).expect("it has a place");
    drop(publishes);

    let found = replay(&join(&changed));

    let Err(ReplayError::Differs(difference)) = found else {
        panic!("{found:?}");
    };
    assert_eq!(difference.step, u64::try_from(step + 1).expect("a step"));
    assert_eq!(difference.at, Instant::ZERO + SECOND * 10);
    assert!(difference.input.contains("Publish"), "{difference}");
}

#[test]
fn a_recording_that_is_full_ends_and_its_node_goes_on() {
    let whole = recording(20);
    let memory = Memory {
        limit: Some(whole.len() / 2),
        ..Memory::default()
    };
    let sink = Box::new(memory.clone());
    let mut node = Recorded::start(identity(), settings(), recovered(), [7; 32], sink);
    let mut unrecorded = Recorded::not(engine::Node::new(
        identity(),
        settings(),
        recovered(),
        statemachine::Rng::from_seed([7; 32]),
    ));

    let given = live(&mut node, 20);

    assert!(!node.is_recording());
    assert_eq!(
        format!("{given:?}"),
        format!("{:?}", live(&mut unrecorded, 20))
    );
    let bytes = memory.bytes();
    assert!(whole.starts_with(&bytes), "the first half of it");
    assert_eq!(replay(&bytes).expect("the same").cut, 0);
}

#[test]
fn what_another_version_has_written_is_refused_in_words() {
    let mut other_format = recording(1);
    other_format[crate::HEADER_BYTES - 4] += 1;
    let mut all = entries(&recording(1));
    if let Some(Entry::Start(start)) = all.first_mut() {
        start.program = "99.1.2".to_owned();
    }
    let cases = [
        (Vec::new(), "no recording"),
        (b"fieldmesh publishes readings".to_vec(), "no recording"),
        (other_format, "format 2"),
        (join(&all), "version \"99.1.2\""),
        (header(), "ends before its node has started"),
        (join(&all[1..]), "no start"),
    ];
    for (bytes, words) in cases {
        let refused = replay(&bytes).expect_err(words).to_string();

        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn a_recording_that_was_cut_anywhere_is_the_same_as_far_as_it_goes() {
    let bytes = recording(2);
    let all = entries(&bytes);
    let start = all.iter().position(|e| matches!(e, Entry::Outcome(_)));
    let start = join(&all[..=start.expect("a start")]).len();

    for end in start..bytes.len() {
        let summary = replay(&bytes[..end]).expect("the same");

        let whole = join(&all[..whole_entries(&all, end)]).len();
        assert_eq!(summary.cut, u64::try_from(end - whole).expect("few"));
        assert!(summary.steps - summary.checked <= 1);
    }
    for end in 0..start {
        let refused = replay(&bytes[..end]);
        assert!(
            matches!(
                refused,
                Err(ReplayError::TooShort | ReplayError::NoRecording)
            ),
            "{refused:?}"
        );
    }
}

/// How many entries lie before the end.
fn whole_entries(entries: &[Entry], end: usize) -> usize {
    let mut length = header().len();
    let lengths = entries.iter().map(|entry| {
        length += encoded(entry).len();
        length
    });
    lengths.take_while(|length| *length <= end).count()
}

proptest! {
    #[test]
    fn a_byte_that_was_changed_is_an_error_and_never_a_panic(
        at in any::<prop::sample::Index>(),
        by in 1..=255_u8,
    ) {
        let mut bytes = recording(1);
        let at = at.index(bytes.len());
        bytes[at] ^= by;

        prop_assert!(replay(&bytes).is_err() || replay(&bytes).expect("cut").cut > 0);
    }
}
