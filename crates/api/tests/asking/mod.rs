//! `Readings.Query`, `Latest` and `Watch` through a real client over loopback.

use futures::TryStreamExt as _;
use model::Value;
use proto::v1 as pb;
use proto::v1::value::Kind;
use tonic::Code;

use crate::support::{Running, machine, series};

#[tokio::test]
async fn a_query_answers_with_the_readings_of_its_span() {
    let node = Running::start().await;
    node.memory.hold(series("press/temperature", 10));
    node.memory.hold(series("pump/speed", 10));
    let second = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });

    let found = node
        .query(pb::QueryRequest {
            pattern: "press/*".to_owned(),
            from: second(3),
            to: second(7),
            limit: 0,
        })
        .await
        .expect("found");

    let times: Vec<_> = found
        .iter()
        .map(|r| r.time.expect("a time").seconds)
        .collect();
    assert_eq!(times, [3, 4, 5, 6]);
    let first = &found[0];
    assert_eq!(first.machine_id, machine().to_string());
    assert_eq!(first.machine, "machine-1");
    assert_eq!(first.series, "press/temperature");
    assert_eq!(first.unit, "Cel");
    assert_eq!(first.log_epoch, "2-0000abcd");
    assert_eq!((first.sequence, first.index), (7, 3));
    assert_eq!(
        first.value,
        Some(pb::Value {
            kind: Some(Kind::Integer(3))
        })
    );
    assert_eq!(
        first.quality.expect("a quality").level(),
        pb::quality::Level::Good
    );
    assert_eq!(first.received_time.expect("a time").seconds, 103);
}

#[tokio::test]
async fn a_query_answers_with_at_most_its_limit() {
    let node = Running::start().await;
    node.memory.hold(series("a", 5_000));
    let limited = |limit| pb::QueryRequest {
        pattern: "**".to_owned(),
        limit,
        ..Default::default()
    };

    for (limit, expected) in [(1, 1), (1_500, 1_500), (9_999, 5_000), (0, 5_000)] {
        let found = node.query(limited(limit)).await.expect("found");

        assert_eq!(found.len(), expected);
    }
}

#[tokio::test]
async fn answers_come_in_messages_that_every_client_takes() {
    let node = Running::start().await;
    let mut held = series("a", 100);
    for reading in &mut held {
        reading.value = Value::Text("x".repeat(60_000));
    }
    node.memory.hold(held); // 6 MB in one part.
    let request = pb::QueryRequest {
        pattern: "**".to_owned(),
        ..Default::default()
    };

    let answer = node.readings().query(request).await.expect("found");
    let parts: Vec<_> = answer.into_inner().try_collect().await.expect("found");

    let sizes: Vec<_> = parts.iter().map(|p| p.readings.len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 100);
    assert!(
        parts
            .iter()
            .all(|p| prost::Message::encoded_len(p) <= 1 << 20)
    );
    assert!(parts.len() <= 8, "{sizes:?}");
}

#[tokio::test]
async fn a_query_that_is_wrong_says_what_to_do() {
    let node = Running::start().await;
    node.memory.hold(series("a", 1));
    let second = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let query = |pattern: &str, from, to| pb::QueryRequest {
        pattern: pattern.to_owned(),
        from,
        to,
        limit: 0,
    };
    let cases = [
        (query("", None, None), Code::InvalidArgument, "pattern"),
        (query("a*b", None, None), Code::InvalidArgument, "pattern"),
        (
            query("a", second(2), second(1)),
            Code::InvalidArgument,
            "from",
        ),
        (
            query("a", second(i64::MAX), None),
            Code::InvalidArgument,
            "from",
        ),
        (
            query("nowhere", None, None),
            Code::NotFound,
            "no known series",
        ),
    ];
    for (wrong, code, beginning) in cases {
        let status = node.query(wrong).await.expect_err("refused");

        assert_eq!(status.code(), code);
        assert!(
            status.message().starts_with(beginning),
            "{}",
            status.message()
        );
    }
}

#[tokio::test]
async fn a_failure_in_the_middle_of_an_answer_ends_it_with_its_code() {
    let node = Running::start().await;
    node.memory.hold(series("a", 3));
    node.memory.refuse(Some(api::Refusal::Failed(
        "segment 7 is unreadable".to_owned(),
    )));

    let request = pb::QueryRequest {
        pattern: "**".to_owned(),
        ..Default::default()
    };
    let status = node.query(request).await.expect_err("broken");

    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().contains("segment 7"));
}

#[tokio::test]
async fn latest_answers_with_the_latest_of_each_series() {
    let node = Running::start().await;
    node.memory.hold(series("a", 10));
    node.memory.hold(series("b", 5));
    let found = node.latest("**").await.expect("found");
    let times: Vec<_> = found
        .iter()
        .map(|r| r.time.expect("a time").seconds)
        .collect();

    assert_eq!(times, [9, 4]);
    assert_eq!(
        node.latest("").await.expect_err("wrong").code(),
        Code::InvalidArgument
    );
    assert_eq!(
        node.latest("c").await.expect_err("unknown").code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn before_the_first_series_every_pattern_but_the_widest_is_unknown() {
    let node = Running::start().await;
    assert_eq!(node.latest("**").await.expect("nothing yet"), []);
    assert_eq!(
        node.latest("a").await.expect_err("unknown").code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn a_watcher_sees_what_is_pushed_after_what_is_held() {
    let node = Running::start().await;
    node.memory.hold(series("a", 10));
    let request = pb::WatchRequest {
        pattern: "machine-1:a".to_owned(),
        since: Some(prost_types::Timestamp {
            seconds: 8,
            nanos: 0,
        }),
    };

    let mut watched = node
        .readings()
        .watch(request)
        .await
        .expect("watching")
        .into_inner();
    node.memory.feed.push(&series("b", 3));
    node.memory.feed.push(&series("a", 1));

    let mut times = Vec::new();
    while times.len() < 3 {
        let part = watched.message().await.expect("open").expect("a part");
        times.extend(
            part.readings
                .iter()
                .map(|r| r.time.expect("a time").seconds),
        );
    }
    assert_eq!(times, [8, 9, 0]);
}

#[tokio::test]
async fn a_watcher_that_falls_behind_is_told_how_many_it_missed() {
    let node = Running::start().await;
    let request = pb::WatchRequest {
        pattern: "**".to_owned(),
        since: None,
    };
    let mut watched = node
        .readings()
        .watch(request)
        .await
        .expect("watching")
        .into_inner();
    let flood = series("a", 4_096);

    let pushed = 100;
    for _ in 0..pushed {
        node.memory.feed.push(&flood);
    }

    let mut seen = 0;
    let status = loop {
        match watched.message().await {
            Ok(part) => seen += part.expect("an error comes first").readings.len(),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::ResourceExhausted);
    let missed = pushed * 4_096 - seen;
    let expected = format!("missed {missed} readings");
    assert!(status.message().contains(&expected), "{}", status.message());
    assert!(seen >= 4 * 4_096, "the queue is given out first");
}

#[tokio::test]
async fn watching_needs_a_pattern_and_no_series_yet() {
    let node = Running::start().await;
    let watch = async |pattern: &str| {
        let request = pb::WatchRequest {
            pattern: pattern.to_owned(),
            since: None,
        };
        node.readings().watch(request).await
    };

    let wrong = watch("").await.expect_err("no pattern");

    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert!(watch("not/yet").await.is_ok());
}
