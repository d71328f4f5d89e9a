//! What a node does with readings that are published on it: when blocks are sealed, what is
//! acknowledged and when.

mod desk;
mod numbers;

use std::time::Duration;

use engine::{AckLevel, Input, PublishError, Published, Recovered};
use gossip::Write;
use identity::Role;
use model::{Block, NewReading, Value};
use statemachine::Ticket;

use crate::desk::{Desk, GATHER, reading, series};

#[test]
fn a_lone_reading_leaves_at_once_and_a_flood_is_gathered() {
    let mut desk = Desk::start(Recovered::default());

    desk.publish(vec![reading(1.0)], None, AckLevel::Durable);
    assert_eq!(desk.blocks.len(), 1);
    for value in 0..100 {
        desk.publish(vec![reading(f64::from(value))], None, AckLevel::Durable);
    }
    assert_eq!(desk.blocks.len(), 1, "the flood waits");

    desk.advance(GATHER);
    assert_eq!(desk.blocks.len(), 2);
    assert_eq!(desk.blocks[1].header().count, 100);
}

#[test]
fn a_flood_is_sealed_when_a_block_is_full_and_waits_no_longer_than_it_is_gathered() {
    let mut desk = Desk::start(Recovered::default());
    desk.publish(vec![reading(0.0)], None, AckLevel::Accepted);
    let half = || vec![reading(1.0); Block::READINGS_MAX / 2];

    desk.publish(half(), None, AckLevel::Accepted);
    assert_eq!(desk.blocks.len(), 1, "half a block waits");
    desk.publish(half(), None, AckLevel::Accepted);
    assert_eq!(desk.blocks.len(), 2, "a full one does not");
    desk.publish(half(), None, AckLevel::Accepted);
    desk.advance(GATHER - Duration::from_nanos(1));
    assert_eq!(desk.blocks.len(), 2);
    desk.advance(Duration::from_nanos(1));

    let counts = desk.blocks.iter().map(|block| block.header().count);
    assert_eq!(counts.collect::<Vec<_>>(), [1, 4_096, 2_048]);
}

#[test]
fn an_alarm_leaves_at_once_in_a_block_of_its_own_before_what_is_gathered() {
    let mut desk = Desk::start(Recovered::default());
    desk.publish(vec![reading(0.0)], None, AckLevel::Accepted);
    desk.publish(vec![reading(1.0); 10], None, AckLevel::Accepted);
    let alarm = || NewReading {
        series: series("alarm/too-hot"),
        ..reading(1.0)
    };

    desk.publish(vec![alarm()], None, AckLevel::Accepted);

    let marks = |desk: &Desk| {
        let headers = desk.blocks.iter().map(Block::header);
        headers
            .map(|header| (header.sequence, header.count, header.urgent))
            .collect::<Vec<_>>()
    };
    assert_eq!(marks(&desk), [(1, 1, false), (2, 1, true)]);
    desk.advance(GATHER);
    assert_eq!(marks(&desk)[2..], [(3, 10, false)], "control");

    desk.publish(vec![reading(2.0)], Some(1), AckLevel::Accepted);
    desk.advance(GATHER);
    desk.publish(vec![reading(3.0)], Some(2), AckLevel::Accepted);
    desk.publish(vec![alarm()], Some(3), AckLevel::Accepted);
    assert_eq!(
        marks(&desk).last(),
        Some(&(5, 2, true)),
        "a numbered one keeps its turn"
    );
}

#[test]
fn durable_is_acknowledged_after_the_sync_and_accepted_before() {
    let mut desk = Desk::start(Recovered::default());

    desk.publish(vec![reading(1.0)], None, AckLevel::Accepted);
    assert_eq!(desk.replies.len(), 1);
    desk.advance(GATHER);
    desk.publish(vec![reading(2.0)], None, AckLevel::Durable);
    assert_eq!(desk.replies.len(), 1, "nothing is durable before the sync");

    desk.sync();
    assert_eq!(
        desk.replies[1],
        (
            2,
            Ok(Published {
                readings: 1,
                repeated: false
            })
        )
    );
}

#[test]
fn a_block_that_the_disk_refused_is_written_again_and_nothing_is_taken_until_then() {
    let mut desk = Desk::start(Recovered::default());
    desk.publish(vec![reading(1.0)], Some(1), AckLevel::Durable);
    let is_block = |(_, write): &(Ticket, Write)| matches!(write, Write::Block(_));
    let at = desk.unsynced.iter().position(is_block).expect("a block");
    let (ticket, _) = desk.unsynced.remove(at);

    desk.probe.input(Input::PersistFailed(ticket));
    desk.collect();
    desk.publish(vec![reading(2.0)], Some(2), AckLevel::Durable);
    assert_eq!(
        desk.replies,
        [
            (1, Err(PublishError::NotPersisted)),
            (2, Err(PublishError::DiskRefuses))
        ]
    );

    desk.advance(Duration::from_secs(2));
    desk.sync();
    desk.publish(vec![reading(1.0)], Some(1), AckLevel::Durable);
    desk.publish(vec![reading(2.0)], Some(2), AckLevel::Durable);
    desk.sync();
    let sequences: Vec<_> = desk.blocks.iter().map(|b| b.header().sequence).collect();
    assert_eq!(sequences, [1, 1, 2], "the log has no gap");
    assert_eq!(desk.blocks[0], desk.blocks[1], "and one block per number");
    let stored = |readings, repeated| Ok(Published { readings, repeated });
    assert_eq!(
        desk.replies[2..],
        [(3, stored(0, true)), (4, stored(1, false))]
    );
}

#[test]
fn a_batch_that_is_sent_again_is_stored_once() {
    let mut desk = Desk::start(Recovered::default());
    desk.publish(vec![reading(1.0)], Some(1), AckLevel::Durable);
    desk.publish(vec![reading(1.0)], Some(1), AckLevel::Durable);
    assert!(desk.replies.is_empty(), "neither is durable yet");

    desk.sync();
    desk.publish(vec![reading(1.0)], Some(1), AckLevel::Durable);

    let repeated = Ok(Published {
        readings: 0,
        repeated: true,
    });
    assert_eq!(desk.replies[1..], [(2, repeated.clone()), (3, repeated)]);
    assert_eq!(desk.blocks.len(), 1);
}

#[test]
fn what_does_not_fit_or_is_not_allowed_is_refused_with_the_reason() {
    let mut desk = Desk::start(Recovered::default());
    let wrong = NewReading {
        value: Value::Bool(true),
        ..reading(1.0)
    };
    desk.publish(vec![wrong], None, AckLevel::Durable);
    desk.publish(
        vec![reading(1.0); Block::READINGS_MAX + 1],
        None,
        AckLevel::Durable,
    );
    desk.publish(vec![reading(1.0)], None, AckLevel::Replicated(60));
    let mut observer = Desk::start_with(&[Role::Observe], Recovered::default(), 7);
    observer.publish(vec![reading(1.0)], None, AckLevel::Durable);

    let refusals: Vec<_> = desk.replies.into_iter().map(|(_, result)| result).collect();
    assert!(matches!(
        refusals[..],
        [
            Err(PublishError::WrongType { .. }),
            Err(PublishError::TooLarge { .. }),
            Err(PublishError::TooManyReplicas { .. })
        ]
    ));
    assert_eq!(observer.replies, [(1, Err(PublishError::NotPermitted))]);
}

#[test]
fn a_disk_that_does_not_keep_up_makes_publishers_wait_and_then_hear_so() {
    let mut desk = Desk::start(Recovered::default());
    for _ in 0..400 {
        desk.publish(
            vec![reading(1.0); Block::READINGS_MAX],
            None,
            AckLevel::Durable,
        );
    }

    let busy = desk
        .replies
        .iter()
        .filter(|(_, result)| *result == Err(PublishError::Busy));
    assert!(busy.count() > 0);
    assert!(
        desk.blocks.len() <= 64,
        "{} blocks wait for the disk",
        desk.blocks.len()
    );
    desk.sync();
    desk.advance(GATHER);
    assert!(
        desk.blocks.len() > 64,
        "a synced block makes room for the next"
    );
}

#[test]
fn thousands_of_lone_readings_wait_for_a_slow_disk_and_share_few_blocks_afterwards() {
    let mut desk = Desk::start(Recovered::default());
    for _ in 0..65 {
        desk.publish(
            vec![reading(1.0); Block::READINGS_MAX],
            None,
            AckLevel::Durable,
        );
    }
    let before = desk.blocks.len();

    for _ in 0..16_000 {
        desk.publish(vec![reading(2.0)], None, AckLevel::Durable);
    }
    for _ in 0..8 {
        desk.sync();
        desk.advance(GATHER);
    }

    assert!(desk.replies.iter().all(|(_, result)| result.is_ok()));
    assert_eq!(desk.replies.len(), 65 + 16_000);
    assert!(
        desk.blocks.len() - before <= 6,
        "{} blocks for 16,000 readings",
        desk.blocks.len() - before
    );
}
