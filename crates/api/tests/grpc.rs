//! Every method and every error code, through a real client over loopback.

mod admin;
mod commands;
mod hostile;
mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use api::{ListenError, Listeners};
use engine::{AckLevel, PublishError};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use model::{QualityLevel, QualityReason, Timestamp, Value};
use proto::v1 as pb;
use proto::v1::value::Kind;
use support::{Memory, NOW, Running, machine, reading, request, series};
use tonic::Code;

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

#[tokio::test]
async fn series_are_listed_all_or_by_pattern() {
    let node = Running::start().await;
    node.memory.hold(series("a", 1));
    node.memory.hold(series("b", 1));

    let names = async |pattern: &str| {
        let request = pb::ListSeriesRequest {
            pattern: pattern.to_owned(),
        };
        let answer = node.readings().list_series(request).await?;
        let parts: Vec<_> = answer.into_inner().try_collect().await?;
        let series = parts.into_iter().flat_map(|part| part.series);
        Ok::<_, tonic::Status>(series.map(|s| s.series).collect::<Vec<_>>())
    };

    assert_eq!(names("").await.expect("all"), ["a", "b"]);
    assert_eq!(names("b").await.expect("one"), ["b"]);
    assert_eq!(names("c").await.expect("none"), Vec::<String>::new());
    assert_eq!(
        names("a*").await.expect_err("wrong").code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn the_mesh_answers_what_the_node_says() {
    let node = Running::start().await;
    let mut mesh = node.mesh();

    let status = mesh.get_status(pb::GetStatusRequest {}).await;
    let topology = mesh.get_topology(pb::GetTopologyRequest {}).await;
    let relays = mesh.list_relays(pb::ListRelaysRequest {}).await;

    assert_eq!(status.expect("answered").into_inner().name, "machine-1");
    assert_eq!(topology.expect("answered").into_inner().links.len(), 1);
    assert_eq!(
        relays.expect("answered").into_inner().relays[0].uplink,
        "cloud"
    );
}

#[tokio::test]
async fn health_follows_readiness_for_the_whole_and_each_service() {
    use tonic_health::pb::health_check_response::ServingStatus;
    let node = Running::start().await;

    for ready in [true, false, true] {
        node.ready.send_replace(ready);
        for service in ["", "fieldmesh.v1.Readings", "fieldmesh.v1.Mesh"] {
            let expected = match ready {
                true => ServingStatus::Serving,
                false => ServingStatus::NotServing,
            };
            node.health_becomes(service, expected).await;
        }
    }
}

#[tokio::test]
async fn reflection_names_every_service_in_both_versions() {
    let node = Running::start().await;
    let expected = [
        "fieldmesh.v1.Mesh",
        "fieldmesh.v1.Readings",
        "grpc.health.v1.Health",
    ];

    let v1 = node.reflected_v1().await;
    let v1alpha = node.reflected_v1alpha().await;

    for service in expected {
        assert!(v1.iter().any(|name| name == service), "{v1:?}");
        assert!(v1alpha.iter().any(|name| name == service), "{v1alpha:?}");
    }
}

#[tokio::test]
async fn a_stop_ends_open_streams_and_the_server() {
    let mut node = Running::start().await;
    let watching = pb::WatchRequest {
        pattern: "**".to_owned(),
        since: None,
    };
    let mut watched = node
        .readings()
        .watch(watching)
        .await
        .expect("watching")
        .into_inner();
    let forever = stream::pending::<pb::PublishRequest>();
    let mut published = node
        .readings()
        .publish(forever)
        .await
        .expect("publishing")
        .into_inner();

    let stopped = node.stop();
    let ends = tokio::join!(watched.next(), published.next());

    for end in [ends.0.map(|r| r.map(drop)), ends.1.map(|r| r.map(drop))] {
        let status = end.expect("an end").expect_err("a reason");
        assert_eq!(status.code(), Code::Unavailable);
    }
    tokio::time::timeout(Duration::from_secs(10), stopped)
        .await
        .expect("the server ends")
        .expect("in order");
}

#[tokio::test]
async fn the_unix_socket_answers_and_only_its_owner_may_use_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("grpc.sock");

    let listeners = Listeners::bind(&[], Some(&path)).await.expect("bound");
    let node = Running::serve(listeners, Memory::new());
    let endpoint = format!("unix:{}", path.display());
    let channel = tonic::transport::Endpoint::from_shared(endpoint)
        .expect("an address")
        .connect()
        .await
        .expect("connected");
    let mut mesh = pb::mesh_client::MeshClient::new(channel);
    let status = mesh.get_status(pb::GetStatusRequest {}).await;

    assert_eq!(status.expect("answered").into_inner().name, "machine-1");
    let mode = std::fs::metadata(&path)
        .expect("a socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(node);
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let listening = Listeners::bind(&["127.0.0.1:0".parse().expect("an address")], None)
        .await
        .expect("bound");
    let taken = listening.addresses()[0];
    let running = dir.path().join("running.sock");
    let _running = Listeners::bind(&[], Some(&running)).await.expect("bound");
    let file = dir.path().join("file");
    std::fs::write(&file, "kept").expect("written");
    let nowhere = dir.path().join("nowhere/grpc.sock");
    let bind = async |tcp: &[std::net::SocketAddr], unix: Option<&std::path::Path>| {
        Listeners::bind(tcp, unix).await.expect_err("refused")
    };

    let refused = bind(&[taken], None).await;
    assert!(matches!(refused, ListenError::Taken(address) if address == taken));
    assert!(refused.to_string().contains(&taken.to_string()));
    let open = "0.0.0.0:0".parse().expect("an address");
    assert!(matches!(
        bind(&[open], None).await,
        ListenError::NotLoopback(_)
    ));
    assert!(matches!(
        bind(&[], Some(&running)).await,
        ListenError::SocketTaken(_)
    ));
    assert!(matches!(
        bind(&[], Some(&file)).await,
        ListenError::NoSocket(_)
    ));
    assert!(matches!(
        bind(&[], Some(&nowhere)).await,
        ListenError::Path { .. }
    ));
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), "kept");
}

#[tokio::test]
async fn a_socket_that_a_dead_node_left_behind_is_taken_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("grpc.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    assert!(path.exists(), "a dead socket stays");

    let listeners = Listeners::bind(&[], Some(&path)).await;

    assert!(listeners.is_ok());
    drop(listeners);
    assert!(!path.exists(), "a stop in order removes it");
}
