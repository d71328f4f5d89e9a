//! What every sink must do, against the real engine behind it: a directory, or a process of
//! `mosquitto`, `nats-server`, `influxd` or `victoria-metrics`.
//!
//! Cases that each sink meets in its own way are beside the suite: a record that is refused for
//! ever (`adversarial_52_…`; files refuse none) and an answer that is lost (`adversarial_44_…`).

mod adversarial;
mod broker;
mod directory;
mod http;
mod jetstream;
mod process;
mod relays;
mod store;
mod stream;
mod suite;
mod tls;
mod way;

use broker::Broker;
use directory::Directory;
use store::Store;
use stream::Stream;

/// One test of the suite for each sink.
macro_rules! conformance {
    ($($cases:ident :: $test:ident)*) => {
        mod file {
            $(#[tokio::test]
            async fn $test() {
                super::$cases::$test(&mut super::Directory::start()).await;
            })*
        }
        mod mqtt {
            $(#[tokio::test]
            async fn $test() {
                super::$cases::$test(&mut super::Broker::start("").await).await;
            })*
        }
        mod mqtt_v3 {
            $(#[tokio::test]
            async fn $test() {
                super::$cases::$test(&mut super::Broker::start_v3("").await).await;
            })*
        }
        mod influx {
            $(#[tokio::test]
            async fn $test() {
                super::$cases::$test(&mut super::Store::start_influx().await).await;
            })*
        }
        mod victoria {
            $(#[tokio::test]
            async fn $test() {
                super::$cases::$test(&mut super::Store::start_victoria().await).await;
            })*
        }
        mod stream_of_one_server {
            $(#[tokio::test]
            async fn $test() {
                super::$cases::$test(&mut super::Stream::start().await).await;
            })*
        }
    };
}

conformance! {
    suite::a_record_arrives_whole_and_is_reported_once_it_has
    suite::what_is_submitted_during_an_outage_arrives_after_it
    suite::a_restart_during_an_outage_loses_nothing
    suite::a_slow_sink_is_waited_for_and_gets_each_record_once
    suite::a_key_that_is_submitted_twice_arrives_once
    suite::a_flood_arrives_completely
    suite::what_is_withdrawn_does_not_arrive
    suite::beyond_the_limit_the_oldest_are_dropped_and_reported
    relays::a_relay_killed_in_mid_upload_leaves_nothing_out
    relays::what_a_successor_delivers_again_is_one_record_by_its_key
    relays::adversarial_42_what_both_sides_of_a_partition_upload_is_whole
}

#[tokio::test]
async fn adversarial_52_a_record_that_the_broker_can_never_take_blocks_nothing_and_is_kept() {
    let mut broker = Broker::start("max_packet_size 1500\n").await;
    let mut uplink = suite::Running::start(&broker);
    let mut large = suite::outgoing(1, suite::ORIGIN);
    large.item.machine_name = "m".repeat(2_000);

    uplink.submit(vec![large, suite::outgoing(2, suite::ORIGIN)]);

    let event = uplink
        .until(|event| matches!(event, uplink::Event::SetAside { .. }))
        .await;
    assert!(
        format!("{event:?}").contains("limit of 1500 bytes"),
        "{event:?}"
    );
    uplink.until_delivered(&[2]).await;
    assert_eq!(suite::Counterpart::received(&mut broker, 1).await.len(), 1);
    let kept = uplink.set_aside();
    assert!(
        kept.contains(&"m".repeat(2_000)) && kept.contains("limit of 1500"),
        "{kept}"
    );
    uplink.stop().await;
}

#[tokio::test]
async fn a_record_without_a_right_waits_and_lets_the_others_through() {
    let allowed = suite::outgoing(1, suite::ORIGIN).item.record.network();
    let mut broker = Broker::start_with_acl(&format!(
        "topic readwrite fieldmesh/{allowed}/{}/#\n",
        suite::ORIGIN
    ))
    .await;
    let mut uplink = suite::Running::start(&broker);

    uplink.submit(vec![
        suite::outgoing(1, suite::OTHER),
        suite::outgoing(2, suite::ORIGIN),
    ]);

    uplink.until_delivered(&[2]).await;
    assert_eq!(suite::Counterpart::received(&mut broker, 1).await.len(), 1);
    let status = uplink
        .until_status(|status| status.last_error.is_some())
        .await;
    assert_eq!(
        status.last_error.as_deref(),
        Some("the broker does not allow publishing to this topic")
    );
    assert_eq!(
        (status.backlog_items, status.state),
        (1, uplink::State::Reachable)
    );
    uplink.stop().await;
}

#[tokio::test]
async fn a_broker_that_stands_still_is_waited_for() {
    let mut broker = Broker::start("").await;
    let mut uplink = suite::Running::start(&broker);
    uplink.submit(vec![suite::outgoing(1, suite::ORIGIN)]);
    uplink.until_delivered(&[1]).await;

    broker.freeze();
    uplink.submit(
        (2..50)
            .map(|id| suite::outgoing(id, suite::ORIGIN))
            .collect(),
    );
    uplink
        .until_status(|status| status.backlog_items == 48)
        .await;
    broker.thaw();

    uplink.until_delivered(&(2..50).collect::<Vec<u64>>()).await;
    assert_eq!(
        suite::Counterpart::received(&mut broker, 49).await.len(),
        49
    );
    uplink.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_said_to_be_one() {
    let broker = Broker::start_with_password("me", "right").await;
    let url = broker.url_with_login("me:wrong");
    let mut wrong = suite::Running::start_at(&url);

    let status = wrong
        .until_status(|status| status.last_error.is_some())
        .await;

    let error = status.last_error.expect("an error");
    assert!(error.contains("refuses this user or password"), "{error}");
    wrong.stop().await;
    let mut right = suite::Running::start_at(&broker.url_with_login("me:right"));
    right
        .until(|event| matches!(event, uplink::Event::Reachable(_, true)))
        .await;
    right.stop().await;
}
