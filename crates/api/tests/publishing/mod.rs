//! `Readings.Publish` through a real client over loopback.

use std::sync::atomic::Ordering;

use engine::{AckLevel, PublishError};
use model::{QualityLevel, QualityReason, Timestamp, Value};
use proto::v1 as pb;
use proto::v1::value::Kind;
use tonic::Code;

use crate::support::{NOW, Running, reading, request};

#[tokio::test]
async fn a_published_reading_is_stored_as_it_was_given() {
    let node = Running::start().await;
    let mut given = reading("press/oil/temperature", Some(Kind::Double(61.5)));
    given.unit = "Cel".to_owned();
    given.labels.insert("line".to_owned(), "3".to_owned());
    given.time = Some(prost_types::Timestamp {
        seconds: 5,
        nanos: 250,
    });

    let answers = node.publish([request(vec![given])]).await.expect("taken");

    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].acknowledged, 1);
    let stored = node.memory.batches();
    let stored = &stored[0].readings[0];
    assert_eq!(stored.time, Timestamp::from_nanos(5_000_000_250));
    assert_eq!(stored.value, Value::F64(61.5));
    assert_eq!(stored.series.name.as_str(), "press/oil/temperature");
    assert_eq!(stored.series.unit.as_str(), "Cel");
    assert_eq!(stored.series.labels.iter().next(), Some(("line", "3")));
}

#[tokio::test]
async fn what_a_reading_leaves_out_is_filled_in() {
    let node = Running::start().await;

    let requests = [request(vec![reading("a", None)])];
    node.publish(requests).await.expect("taken");

    let stored = node.memory.batches();
    let batch = &stored[0];
    assert_eq!(batch.level, AckLevel::Durable);
    assert_eq!(batch.publisher, None);
    let stored = &batch.readings[0];
    assert_eq!(stored.time, NOW);
    assert_eq!(stored.value, Value::Null);
    assert_eq!(stored.quality.level, QualityLevel::Bad);
    assert_eq!(stored.quality.reason, QualityReason::Missing);
}

#[tokio::test]
async fn each_request_is_answered_in_order_with_the_level_that_it_asked_for() {
    let node = Running::start().await;
    let levels = [
        (pb::acknowledge::Level::Accepted, 0),
        (pb::acknowledge::Level::Replicated, 2),
        (pb::acknowledge::Level::Durable, 0),
    ];
    let requests = levels.map(|(level, replicas)| pb::PublishRequest {
        acknowledge: Some(pb::Acknowledge {
            level: level.into(),
            replicas,
        }),
        ..request(vec![reading("a", Some(Kind::Integer(1)))])
    });

    let answers = node.publish(requests).await.expect("taken");

    let reached = answers
        .iter()
        .map(|answer| answer.reached.expect("a level"));
    let reached: Vec<_> = reached.map(|r| (r.level(), r.replicas)).collect();
    assert_eq!(reached, levels);
}

#[tokio::test]
async fn a_batch_that_was_stored_before_is_acknowledged_as_repeated() {
    let node = Running::start().await;
    let numbered = pb::PublishRequest {
        publisher: "plc-7".to_owned(),
        publisher_sequence: 12,
        ..request(vec![reading("a", Some(Kind::Bool(true)))])
    };

    let answers = node
        .publish([numbered.clone(), numbered])
        .await
        .expect("taken");

    let repeated: Vec<_> = answers.iter().map(|answer| answer.repeated).collect();
    assert_eq!(repeated, [false, true]);
    assert_eq!(node.memory.batches().len(), 1);
}

#[tokio::test]
async fn requests_with_a_publisher_never_overlap_and_others_do() {
    for (publisher, overlap) in [("", true), ("plc-7", false)] {
        let node = Running::start().await;
        node.memory.slow.store(true, Ordering::Relaxed);
        let requests = (1..=8).map(|sequence| pb::PublishRequest {
            publisher: publisher.to_owned(),
            publisher_sequence: if publisher.is_empty() { 0 } else { sequence },
            ..request(vec![reading("a", Some(Kind::Bool(true)))])
        });

        node.publish(requests.collect::<Vec<_>>())
            .await
            .expect("taken");

        let most = node.memory.in_flight_most.load(Ordering::Relaxed);
        assert_eq!(most > 1, overlap, "publisher {publisher:?}: {most} at once");
    }
}

#[tokio::test]
async fn small_requests_overlap_by_the_hundreds_and_large_ones_as_far_as_their_bytes() {
    let small = vec![reading("a", Some(Kind::Bool(true)))];
    let large = vec![reading("a", Some(Kind::Text("x".repeat(65_000)))); 16];
    for (readings, count, overlap) in [(small, 1_000, 200..=1_000), (large, 30, 2..=9)] {
        let node = Running::start().await;
        node.memory.slow.store(true, Ordering::Relaxed);

        let answers = node.publish(vec![request(readings); count]).await;

        assert_eq!(answers.expect("taken").len(), count);
        let most = node.memory.in_flight_most.load(Ordering::Relaxed);
        assert!(overlap.contains(&most), "{most} at once of {count}");
    }
}

#[tokio::test]
async fn a_reading_that_is_wrong_is_refused_by_index_and_field() {
    let node = Running::start().await;
    let good = || reading("a", Some(Kind::Bool(true)));
    let wrong_time = Some(prost_types::Timestamp {
        seconds: i64::MAX,
        nanos: 0,
    });
    let long = "x".repeat(Value::BYTES_MAX + 1);
    let cases = [
        (reading("a.b", None), "readings[1].series"),
        (reading("", None), "readings[1].series"),
        (
            pb::NewReading {
                unit: "a b".to_owned(),
                ..good()
            },
            "readings[1].unit",
        ),
        (
            pb::NewReading {
                labels: [("a b".to_owned(), String::new())].into(),
                ..good()
            },
            "readings[1].labels",
        ),
        (
            pb::NewReading {
                time: wrong_time,
                ..good()
            },
            "readings[1].time",
        ),
        (reading("a", Some(Kind::Text(long))), "readings[1].value"),
        (
            pb::NewReading {
                quality: Some(pb::Quality {
                    level: 9,
                    reason: 0,
                }),
                ..good()
            },
            "readings[1].quality",
        ),
        (
            pb::NewReading {
                value_type: 77,
                ..reading("a", None)
            },
            "readings[1].value_type",
        ),
    ];
    for (wrong, field) in cases {
        let refused = node.publish([request(vec![good(), wrong])]).await;

        let status = refused.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with(field), "{}", status.message());
    }
    assert_eq!(
        node.memory.batches(),
        [],
        "nothing of a refused request is kept"
    );
}

#[tokio::test]
async fn a_request_that_is_wrong_as_a_whole_is_refused_by_field() {
    let node = Running::start().await;
    let one = || request(vec![reading("a", Some(Kind::Bool(true)))]);
    let many = vec![reading("a", Some(Kind::Bool(true))); 4_097];
    let level = |level, replicas| Some(pb::Acknowledge { level, replicas });
    let cases = [
        (request(vec![]), "readings"),
        (request(many), "readings"),
        (
            pb::PublishRequest {
                publisher: "p".to_owned(),
                ..one()
            },
            "publisher_sequence",
        ),
        (
            pb::PublishRequest {
                publisher_sequence: 1,
                ..one()
            },
            "publisher",
        ),
        (
            pb::PublishRequest {
                publisher: "p".repeat(65),
                publisher_sequence: 1,
                ..one()
            },
            "publisher",
        ),
        (
            pb::PublishRequest {
                acknowledge: level(3, 0),
                ..one()
            },
            "acknowledge.replicas",
        ),
        (
            pb::PublishRequest {
                acknowledge: level(9, 0),
                ..one()
            },
            "acknowledge.level",
        ),
    ];
    for (wrong, field) in cases {
        let status = node.publish([wrong]).await.expect_err("refused");

        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with(field), "{}", status.message());
    }
}

#[tokio::test]
async fn what_the_node_refuses_has_its_standard_code_and_says_what_to_do() {
    let node = Running::start().await;
    let cases = [
        (PublishError::NotPermitted, Code::PermissionDenied, "admit"),
        (PublishError::Busy, Code::ResourceExhausted, "try again"),
        (
            PublishError::NotPersisted,
            Code::ResourceExhausted,
            "free space",
        ),
        (
            PublishError::TooManyReplicas { asked: 9, max: 5 },
            Code::FailedPrecondition,
            "replicated:9",
        ),
        (PublishError::Stopping, Code::Unavailable, "again"),
    ];
    for (error, code, advice) in cases {
        node.memory.refuse(Some(error.into()));

        let refused = node.publish([request(vec![reading("a", None)])]).await;

        let status = refused.expect_err("refused");
        assert_eq!(status.code(), code);
        assert!(status.message().contains(advice), "{}", status.message());
    }
}

#[tokio::test]
async fn a_request_of_more_than_a_mebibyte_is_refused_before_it_is_read() {
    let node = Running::start().await;
    let text = "x".repeat(65_000);
    let readings = vec![reading("a", Some(Kind::Text(text))); 17];

    let status = node
        .publish([request(readings)])
        .await
        .expect_err("refused");

    assert_eq!(status.code(), Code::OutOfRange);
    assert_eq!(node.memory.batches(), []);
}
