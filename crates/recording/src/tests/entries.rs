//! What is read of a recording is what was written, or an error.

use std::time::Duration;

use bytes::Bytes;
use command::CommandId;
use engine::{Config, Recovered};
use model::{BlockHash, BlockId, Epoch, LogId, Position, PublisherMark};
use proptest::prelude::*;

use super::machines::{
    SECOND, encoded, entries, identity, join, other, recording, recovered, trust,
};
use super::samples::{block, inputs, settings};
use crate::Replay;
use crate::event::Event;
use crate::file::{Entry, header};
use crate::held::{Held, Start};

#[test]
fn every_input_is_read_as_it_was_written() {
    for input in inputs() {
        let event = Event::of(&input).expect("it has a place");
        let bytes = join(&[Entry::Step(5, event)]);

        let read = entries(&bytes).pop().expect("an entry");

        let Entry::Step(5, event) = read else {
            panic!("another entry");
        };
        let read = event.into_input(&trust()).expect("undamaged");
        assert_eq!(format!("{read:?}"), format!("{:?}", Some(input)));
    }
}

#[test]
fn a_start_is_read_as_it_was_written() {
    let block = block();
    let id: BlockId = block.header().id();
    let log: LogId = id.log;
    let (first, epoch): (Position, Epoch) = (id.position(), log.epoch);
    let hash: BlockHash = block.hash(&trust().network());
    let recovered = Recovered {
        frontier: vec![gossip::FrontierEntry {
            log,
            floor: 2,
            end: 5,
            beyond: vec![gossip::Span { first: 7, last: 9 }],
        }],
        clean: Some(engine::CleanStop {
            epoch,
            last_sequence: 9,
            state_counter: 11,
        }),
        last_own: Some((first, hash)),
        own_runs: vec![(first, first, hash)],
        publishers: vec![PublisherMark {
            publisher: "plc".to_owned(),
            sequence: 4,
        }],
        notes: vec![command::Note {
            key: command::CallKey {
                caller: other(),
                id: CommandId::from_bytes([4; 16]),
            },
            digest: [6; 32],
            keep: SECOND,
            answer: None,
        }],
        ..self::recovered()
    };
    let start = Start::of(&identity(), &settings(), &recovered, [7; 32]);
    let mut all = vec![Entry::Start(Box::new(start))];
    all.extend(Held::parts(&recovered).map(Entry::Held));

    let mut read = entries(&join(&all)).into_iter();

    let Some(Entry::Start(start)) = read.next() else {
        panic!("no start");
    };
    let mut held = start.recovered();
    for entry in read {
        let Entry::Held(part) = entry else {
            panic!("another entry");
        };
        part.add_to(&mut held).expect("undamaged");
    }
    let expected = (identity().membership, settings(), recovered, [7; 32]);
    let found = (
        start.membership().expect("signed"),
        start.settings,
        held,
        start.seed,
    );
    assert_eq!(format!("{found:?}"), format!("{expected:?}"));
}

#[test]
fn settings_that_no_node_has_are_refused_and_those_of_a_node_are_not() {
    type Change = fn(&mut Config);
    let changes: [(Change, &str); 9] = [
        (|_| {}, "opens"),
        (|c| c.election.heartbeat_interval = Duration::ZERO, "zero"),
        (|c| c.watermark_interval = Duration::ZERO, "zero"),
        (|c| c.presence_interval = Duration::MAX, "without an end"),
        (|c| c.gossip.want_timeout = Duration::MAX, "without an end"),
        (
            |c| c.uplinks[0].windows.lengths[0] = Duration::ZERO,
            "window",
        ),
        (
            |c| c.uplinks[0].windows.lengths[1] = Duration::from_nanos(7),
            "window",
        ),
        (
            |c| c.uplinks[0].windows.lengths[1] = Duration::MAX,
            "window",
        ),
        (|c| c.gather = Duration::ZERO, "opens"),
    ];
    for (change, expected) in changes {
        let mut all = entries(&recording(0));
        let Some(Entry::Start(first)) = all.first_mut() else {
            panic!("no start");
        };
        change(&mut first.settings);

        let found = match Replay::open(&join(&all)[..]) {
            Ok(_) => "opens".to_owned(),
            Err(refused) => refused.to_string(),
        };

        assert!(found.contains(expected), "{found} instead of {expected}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_panic_as_an_entry(
        mut body in proptest::collection::vec(any::<u8>(), 0..300),
        (kind, event) in (0..5_u8, 0..27_u8),
    ) {
        body.splice(0..0, [kind]);
        if kind == 2 {
            body.splice(1..1, [5, event]);
        }
        decode(&body);
    }

    #[test]
    fn no_change_of_an_input_makes_a_panic_as_it_is_read(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        by in 1..=255_u8,
    ) {
        let inputs = inputs();
        let event = Event::of(which.get(&inputs)).expect("it has a place");
        let mut body = encoded(&Entry::Step(5, event)).split_off(8);
        let at = at.index(body.len());
        body[at] ^= by;

        decode(&body);
    }
}

/// Reads bytes as the body of an entry, as far as they go.
fn decode(body: &[u8]) {
    let sum = crc32c::crc32c(body).to_le_bytes();
    let length = u32::try_from(body.len()).expect("short").to_le_bytes();
    let bytes: Bytes = [header(), length.to_vec(), sum.to_vec(), body.to_vec()]
        .concat()
        .into();
    let mut entries = crate::file::Entries::open(&bytes[..]).expect("a header");
    match entries.next() {
        Ok(Some(Entry::Step(_, event))) => _ = event.into_input(&trust()),
        Ok(Some(Entry::Start(start))) => _ = (start.membership(), start.recovered()),
        Ok(Some(Entry::Held(part))) => _ = part.add_to(&mut Recovered::default()),
        Ok(Some(Entry::Outcome(_)) | None) | Err(_) => {}
    }
}
