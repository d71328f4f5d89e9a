//! What only the JetStream sink promises: exactly once, whatever happened and however long ago.

use std::time::Duration;

use async_nats::HeaderMap;
use serde_json::json;

use super::stream::Stream;
use super::suite::{Counterpart, ORIGIN, Running, outgoing};

fn ids(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

#[tokio::test]
async fn a_repeat_is_refused_however_old_it_is_where_a_message_id_is_forgotten() {
    let window = Duration::from_millis(100);
    let settings = json!({ "duplicate_window": u64::try_from(window.as_nanos()).expect("short") });
    let mut stream = Stream::start_with(&settings).await;
    let client = stream.client().await;
    let by_id = async || {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", "control");
        let payload = r#"{"last_sequence":0}"#.into();
        let publish = client.publish_with_headers("fieldmesh.control", headers, payload);
        publish.await.expect("published");
        client.flush().await.expect("flushed");
    };
    let once = async || {
        let mut uplink = Running::start(&stream);
        uplink.submit(vec![outgoing(1, ORIGIN)]);
        uplink.until_delivered(&[1]).await;
        uplink.stop().await;
        by_id().await;
    };

    once().await;
    tokio::time::sleep(window * 5).await;
    once().await;

    let received = stream.received(3).await;
    let count = |id: u64| received.iter().filter(|r| r["last_sequence"] == id).count();
    assert_eq!((count(1), count(0)), (1, 2));
}

#[tokio::test]
async fn a_cluster_that_loses_the_server_that_leads_has_each_record_once() {
    let mut cluster = Stream::start_cluster().await;
    let mut uplink = Running::start(&cluster);
    uplink.submit((1..501).map(|id| outgoing(id, ORIGIN)).collect());
    uplink.until_delivered(&ids(1..501)).await;

    uplink.submit((501..3_001).map(|id| outgoing(id, ORIGIN)).collect());
    cluster.kill_leader().await;
    uplink.submit((3_001..4_001).map(|id| outgoing(id, ORIGIN)).collect());

    uplink.until_delivered(&ids(501..4_001)).await;
    let received = cluster.received(4_000).await;
    let mut found: Vec<u64> = received
        .iter()
        .filter_map(|record| record["last_sequence"].as_u64())
        .collect();
    found.sort_unstable();
    assert_eq!(found, ids(1..4_001));
    uplink.stop().await;
}

#[tokio::test]
async fn a_full_stream_has_not_taken_a_record() {
    let settings = json!({ "max_msgs": 2, "discard": "new" });
    let mut stream = Stream::start_with(&settings).await;
    let mut uplink = Running::start(&stream);
    uplink.submit(vec![outgoing(1, ORIGIN), outgoing(2, ORIGIN)]);
    uplink.until_delivered(&[1, 2]).await;

    uplink.submit(vec![outgoing(3, ORIGIN)]);
    let status = uplink
        .until_status(|status| status.last_error.is_some())
        .await;
    assert!(status.last_error.expect("an error").contains("10077"));
    assert_eq!(status.backlog_items, 1);
    stream.update(&json!({ "max_msgs": 3 })).await;

    uplink.until_delivered(&[3]).await;
    assert_eq!(stream.received(3).await.len(), 3);
    uplink.stop().await;
}

#[tokio::test]
async fn adversarial_52_a_record_that_is_too_large_for_the_stream_blocks_nothing_and_is_kept() {
    let mut stream = Stream::start_with(&json!({ "max_msg_size": 1_500 })).await;
    let mut uplink = Running::start(&stream);
    let mut large = outgoing(1, ORIGIN);
    large.item.machine_name = "m".repeat(2_000);

    uplink.submit(vec![large, outgoing(2, ORIGIN)]);

    uplink
        .until(|event| matches!(event, uplink::Event::SetAside { .. }))
        .await;
    uplink.until_delivered(&[2]).await;
    assert_eq!(stream.received(1).await.len(), 1);
    let kept = uplink.set_aside();
    assert!(kept.contains("message size exceeds maximum"), "{kept}");
    uplink.stop().await;
}

#[tokio::test]
async fn without_a_stream_it_says_how_to_make_one() {
    let stream = Stream::start_with(&json!({ "subjects": ["other.>"] })).await;
    let mut uplink = Running::start(&stream);

    uplink.submit(vec![outgoing(1, ORIGIN)]);

    let status = uplink
        .until_status(|status| status.last_error.is_some())
        .await;
    let error = status.last_error.expect("an error");
    assert!(error.contains("nats stream add"), "{error}");
    assert_eq!(status.state, uplink::State::Unreachable);
    uplink.stop().await;
}
