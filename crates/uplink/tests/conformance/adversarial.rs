//! What sinks are held to when things go wrong, by the number of the case.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::broker::Broker;
use super::directory::Directory;
use super::store::Store;
use super::stream::Stream;
use super::suite::{Counterpart, ORIGIN, Running, outgoing};
use super::way::Way;

/// Uploads a record whose answer is lost after the sink has it, and returns what stands at the sink
/// once it has been acknowledged.
async fn upload_with_a_lost_answer(counterpart: &mut impl Counterpart) -> Vec<Json> {
    let url = counterpart.url();
    let way = Way::to(&url).await;
    let mut uplink = Running::start_at(&way.url(&url));
    uplink.submit(vec![outgoing(1, ORIGIN)]);
    uplink.until_delivered(&[1]).await;

    way.lose_answers();
    uplink.submit(vec![outgoing(2, ORIGIN)]);
    way.until_an_answer_is_lost().await;
    assert_eq!(uplink.status().counters.delivered, 1, "nobody has said so");
    assert!(counterpart.received(2).await.len() >= 2, "it is there");
    way.cut();

    uplink.until_delivered(&[2]).await;
    uplink.stop().await;
    counterpart.received(2).await
}

#[tokio::test]
async fn adversarial_44_a_lost_answer_leaves_one_record_in_a_stream() {
    let received = upload_with_a_lost_answer(&mut Stream::start().await).await;

    assert_eq!(received.len(), 2);
}

#[tokio::test]
async fn adversarial_44_a_lost_answer_leaves_copies_with_one_key_at_a_broker() {
    let received = upload_with_a_lost_answer(&mut Broker::start("").await).await;

    let with_v3 = upload_with_a_lost_answer(&mut Broker::start_v3("").await).await;
    assert_eq!(with_v3.len(), 3);
    let keys: BTreeSet<&str> = received
        .iter()
        .map(|record| record["key"].as_str().expect("a key"))
        .collect();
    assert_eq!((received.len(), keys.len()), (3, 2));
}

#[tokio::test]
async fn adversarial_44_a_lost_answer_leaves_one_point_in_influxdb() {
    let received = upload_with_a_lost_answer(&mut Store::start_influx().await).await;

    assert_eq!(received.len(), 2);
}

#[tokio::test]
async fn adversarial_44_a_lost_answer_leaves_one_point_in_victoria_if_it_deduplicates() {
    let received = upload_with_a_lost_answer(&mut Store::start_victoria().await).await;
    let copies = upload_with_a_lost_answer(&mut Store::start_victoria_with_copies().await).await;

    assert_eq!((received.len(), copies.len()), (2, 3));
}

#[tokio::test]
async fn adversarial_44_a_lost_acknowledgement_leaves_copies_with_one_key_in_files() {
    let mut directory = Directory::start();
    // A relay that dies between the two leaves its successor nothing but the log.
    for _ in ["the relay", "its successor"] {
        let mut uplink = Running::start(&directory);
        uplink.submit(vec![outgoing(1, ORIGIN)]);
        uplink.until_delivered(&[1]).await;
        uplink.stop().await;
    }

    let received = directory.received(2).await;
    assert_eq!(received.len(), 2);
    assert_eq!(received[0]["key"], received[1]["key"]);
}

/// A broker that speaks MQTT 3.1.1 has no words for it: it ends the connection.
#[tokio::test]
async fn adversarial_52_a_record_at_which_an_old_broker_hangs_up_blocks_nothing_and_is_kept() {
    let mut broker = Broker::start_v3("max_packet_size 1500\n").await;
    let mut uplink = Running::start(&broker);
    let mut large = outgoing(1, ORIGIN);
    large.item.machine_name = "m".repeat(2_000);

    uplink.submit(vec![large]);
    let mut others = 0;
    while uplink.status().counters.set_aside == 0 {
        others += 1;
        uplink.submit(vec![outgoing(1 + others, ORIGIN)]);
        uplink.until_delivered(&[1 + others]).await;
    }

    let kept = uplink.set_aside();
    assert!(kept.contains("times alone, the others not"), "{kept}");
    assert!(kept.contains(&"m".repeat(2_000)), "{kept}");
    let received = broker.received(usize::try_from(others).expect("few")).await;
    assert!(received.iter().all(|record| record["last_sequence"] != 1));
    uplink.stop().await;
}
