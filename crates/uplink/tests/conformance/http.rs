//! What only the Influx sink has to do: tell what a store will never take from a store that does
//! not work, and not double what the store knows to be one.

use model::Value;

use super::store::Store;
use super::suite::{Counterpart, ORIGIN, Running, last_of, outgoing};

#[tokio::test]
async fn adversarial_52_a_point_that_the_store_refuses_blocks_nothing_and_is_kept() {
    let mut store = Store::start_influx().await;
    // From then on this field has no text.
    store
        .write("fieldmesh last_text=1 1767225600000000000")
        .await;
    let mut uplink = Running::start(&store);
    let mut records: Vec<_> = (1..101).map(|id| outgoing(id, ORIGIN)).collect();
    *last_of(&mut records[49]) = Some(Value::Text("open".to_owned()));

    uplink.submit(records);

    let event = uplink
        .until(|event| matches!(event, uplink::Event::SetAside { .. }))
        .await;
    let uplink::Event::SetAside { ids, reason, .. } = event else {
        panic!("another event");
    };
    assert_eq!(ids, [50]);
    assert!(reason.contains("field type conflict"), "{reason}");
    let taken: Vec<u64> = (1..101).filter(|id| *id != 50).collect();
    uplink.until_delivered(&taken).await;
    assert_eq!(store.received(100).await.len(), 100);
    uplink.stop().await;
}

#[tokio::test]
async fn adversarial_52_a_line_that_is_too_long_for_the_store_blocks_nothing_and_is_kept() {
    let mut store = Store::start_victoria().await;
    let mut uplink = Running::start(&store);
    let mut records: Vec<_> = (1..11).map(|id| outgoing(id, ORIGIN)).collect();
    *last_of(&mut records[4]) = Some(Value::Text("m".repeat(300_000)));

    uplink.submit(records);

    let event = uplink
        .until(|event| matches!(event, uplink::Event::SetAside { .. }))
        .await;
    let uplink::Event::SetAside { ids, .. } = event else {
        panic!("another event");
    };
    assert_eq!(ids, [5]);
    let taken: Vec<u64> = (1..11).filter(|id| *id != 5).collect();
    uplink.until_delivered(&taken).await;
    assert_eq!(store.received(9).await.len(), 9);
    assert!(uplink.set_aside().contains(&"m".repeat(300_000)));
    uplink.stop().await;
}

#[tokio::test]
async fn a_missing_database_is_waited_for_and_nothing_is_lost() {
    let mut store = Store::start_influx_empty().await;
    let mut uplink = Running::start(&store);

    uplink.submit(vec![outgoing(1, ORIGIN)]);
    let status = uplink
        .until_status(|status| status.last_error.is_some())
        .await;
    let error = status.last_error.expect("an error");
    assert!(error.contains("database not found"), "{error}");
    store.create_database().await;

    uplink.until_delivered(&[1]).await;
    assert_eq!(store.received(1).await.len(), 1);
    assert_eq!(uplink.set_aside(), "");
    uplink.stop().await;
}

#[tokio::test]
async fn of_two_records_of_a_window_the_later_one_stands_whatever_the_order() {
    let mut store = Store::start_influx().await;
    let mut uplink = Running::start(&store);
    uplink
        .until(|event| matches!(event, uplink::Event::Reachable(_, true)))
        .await;
    store.fail().await;
    let (earlier, later) = (outgoing(1, ORIGIN), super::suite::revision_of(1, 2, ORIGIN));

    uplink.submit(vec![later.clone(), earlier.clone()]);
    uplink
        .until(|event| matches!(event, uplink::Event::Reachable(_, false)))
        .await;
    store.heal().await;
    uplink.until_delivered(&[1, 2]).await;
    uplink.submit(vec![earlier, later]);
    uplink.until_delivered(&[1, 2]).await;

    let received = store.received(1).await;
    assert_eq!(received.len(), 1);
    assert_eq!(received[0]["last_sequence"], 2);
    uplink.stop().await;
}
