use std::cell::RefCell;

use clap::{CommandFactory as _, Parser as _};
use model::Timestamp;
use proto::v1::value::Kind as ValueOf;
use proto::v1::{self as pb, quality};
use serde_json::{Value as Json, json};
use tonic::{Code, Status};

use super::args::{Ack, Cli, Command, Format, Output, Time};
use super::failure::Failure;
use super::render::{bytes, count, escape, integer, quality, time, value};
use super::{mesh, publish, readings, set_aside};

fn parse(line: &str) -> Result<Command, clap::Error> {
    let words = std::iter::once("fieldmesh").chain(line.split_whitespace());
    Cli::try_parse_from(words).map(|cli| cli.command)
}

fn reading(kind: Option<ValueOf>) -> pb::Reading {
    pb::Reading {
        machine_id: "12D3KooWA".to_owned(),
        machine: "machine-1".to_owned(),
        series: "press/temperature".to_owned(),
        unit: "Cel".to_owned(),
        labels: [("line".to_owned(), "3".to_owned())].into(),
        time: Some(prost_types::Timestamp {
            seconds: 1,
            nanos: 20,
        }),
        received_time: Some(prost_types::Timestamp {
            seconds: 2,
            nanos: 0,
        }),
        value: kind.map(|kind| pb::Value { kind: Some(kind) }),
        quality: Some(pb::Quality::default()),
        log_epoch: "3-0000abcd".to_owned(),
        sequence: 7,
        index: 0,
    }
}

fn printed(print: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    print(&mut out).expect("memory takes everything");
    String::from_utf8(out).expect("text")
}

#[test]
fn the_command_tree_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_of_the_contract_is_understood_with_flags_behind_it() {
    let lines = [
        "network create --dir d",
        "network show",
        "init --dir d",
        "run --config f.toml",
        "status --output json --grpc 127.0.1.1:50101",
        "peers",
        "topology",
        "relays",
        "uplink --grpc unix:/run/fieldmesh.sock",
        "series press/**",
        "publish --series a/b --unit Cel 21.5",
        "publish --series a -3 --ack replicated:2",
        "publish --stdin --format ndjson --ack accepted",
        "publish --stdin --format senml",
        "publish --stdin --format line",
        "latest",
        "latest machine-1:press/*",
        "query ** --from -1h --to now",
        "query a --from 2026-03-01T08:00:00Z --limit 5",
        "watch ** --since -5m",
        "config default",
        "config check f.toml",
        "completions bash",
    ];
    for line in lines {
        assert!(
            parse(line).is_ok(),
            "{line}: {}",
            parse(line).expect_err("refused")
        );
    }
}

#[test]
fn what_makes_no_sense_is_refused_as_usage() {
    let lines = [
        "nonsense",
        "query",
        "query a*b",
        "query a --from yesterday",
        "query a --limit 0",
        "publish 5",
        "publish --series a",
        "publish --series a.b 5",
        "publish --series a 5 --ack replicated:0",
        "publish --stdin --series a",
        "publish --stdin 5",
        "network admit 12D3nonsense --name a --site b",
    ];
    for line in lines {
        let error = parse(line).expect_err(line);

        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn times_are_absolute_or_so_long_ago() {
    let Ok(Command::Query(args)) = parse("query a --from 1970-01-01T00:00:02.5Z --to -1m") else {
        panic!("a query");
    };
    let now = Timestamp::from_nanos(100_000_000_000);

    let resolve = |time: Option<Time>| time.expect("given").resolve(now).as_nanos();

    assert_eq!(resolve(args.from), 2_500_000_000);
    assert_eq!(resolve(args.to), 40_000_000_000);
}

#[test]
fn levels_read_back_as_they_are_written() {
    for level in [Ack::Accepted, Ack::Durable, Ack::Replicated(3)] {
        assert_eq!(level.to_string().parse(), Ok(level));
    }
}

#[test]
fn a_reading_prints_with_exactly_the_fields_of_the_contract() {
    let reading = reading(Some(ValueOf::Double(61.5)));

    let line = printed(|out| readings::print_readings(&[reading], Output::Json, out));

    let expected = concat!(
        r#"{"machine_id":"12D3KooWA","machine":"machine-1","series":"press/temperature","#,
        r#""unit":"Cel","labels":{"line":"3"},"time":"1970-01-01T00:00:01.000000020Z","#,
        r#""received_time":"1970-01-01T00:00:02.000000000Z","value":61.5,"quality":"good","#,
        r#""log_epoch":"3-0000abcd","sequence":7,"index":0}"#,
        "\n"
    );
    assert_eq!(line, expected);
}

#[test]
fn values_keep_their_meaning_in_json() {
    let of = |kind| value(Some(&pb::Value { kind: Some(kind) }));

    assert_eq!(of(ValueOf::Integer(1 << 53)), json!(1_i64 << 53));
    assert_eq!(
        of(ValueOf::Integer((1 << 53) + 1)),
        json!("9007199254740993")
    );
    assert_eq!(
        of(ValueOf::Integer(i64::MIN)),
        json!("-9223372036854775808")
    );
    assert_eq!(of(ValueOf::Double(f64::NAN)), Json::Null);
    assert_eq!(of(ValueOf::Bool(true)), json!(true));
    assert_eq!(of(ValueOf::Text("\u{1b}".to_owned())), json!("\u{1b}"));
    assert_eq!(of(ValueOf::Bytes(vec![1, 2])), json!("AQI="));
    assert_eq!(value(None), Json::Null);
    assert_eq!(integer(-5), json!(-5));
    assert_eq!(count(u64::MAX), json!("18446744073709551615"));
}

#[test]
fn a_null_always_has_a_quality_that_says_why() {
    let double = |value| pb::Value {
        kind: Some(ValueOf::Double(value)),
    };
    let fault = pb::Quality {
        level: quality::Level::Uncertain.into(),
        reason: quality::Reason::OutOfRange.into(),
    };
    let missing = pb::Quality {
        level: quality::Level::Bad.into(),
        reason: quality::Reason::Missing.into(),
    };

    assert_eq!(quality(None, Some(&double(1.0))), "good");
    assert_eq!(quality(None, Some(&double(f64::NAN))), "bad:nan");
    assert_eq!(
        quality(None, Some(&double(f64::NEG_INFINITY))),
        "bad:-infinity"
    );
    assert_eq!(
        quality(Some(&fault), Some(&double(f64::INFINITY))),
        "uncertain:out-of-range"
    );
    assert_eq!(quality(Some(&missing), None), "bad:missing");
}

#[test]
fn a_time_that_no_calendar_has_prints_as_nothing() {
    let far = prost_types::Timestamp {
        seconds: i64::MAX,
        nanos: 0,
    };

    assert_eq!(time(Some(&far)), "");
    assert_eq!(time(None), "");
}

#[test]
fn text_of_peers_cannot_steer_the_terminal() {
    let hostile = "a\u{1b}[2Jb\u{9b}1m\u{202e}c\nd";
    let mut reading = reading(Some(ValueOf::Text(hostile.to_owned())));
    for text in [&mut reading.machine, &mut reading.series, &mut reading.unit] {
        *text = hostile.to_owned();
    }
    reading
        .labels
        .insert(hostile.to_owned(), hostile.to_owned());
    let machine = pb::Machine {
        machine_id: hostile.to_owned(),
        name: hostile.to_owned(),
        site: hostile.to_owned(),
        roles: vec![hostile.to_owned()],
        addresses: vec![hostile.to_owned()],
        neighbour: true,
        ..Default::default()
    };
    let topology = pb::GetTopologyResponse {
        machine_id: hostile.to_owned(),
        machines: vec![machine],
        links: vec![pb::Link {
            from: hostile.to_owned(),
            to: "other".to_owned(),
            round_trip: None,
            transport: String::new(),
        }],
    };
    let status = pb::GetStatusResponse {
        name: hostile.to_owned(),
        relays: vec![hostile.to_owned()],
        ..Default::default()
    };
    let relay = pb::Relay {
        uplink: hostile.to_owned(),
        machine: hostile.to_owned(),
        ..Default::default()
    };
    let uplink = pb::UplinkStatus {
        last_error: hostile.to_owned(),
        ..Default::default()
    };

    let refused = pb::SetAsideRecord {
        reason: hostile.to_owned(),
        ..Default::default()
    };

    let tables = [
        printed(|out| readings::print_readings(&[reading], Output::Table, out)),
        printed(|out| mesh::print_peers(&topology, Output::Table, out)),
        printed(|out| mesh::print_topology(&topology, Output::Table, out)),
        printed(|out| mesh::print_status(&status, Output::Table, out)),
        printed(|out| mesh::print_relays(&[relay], Output::Table, out)),
        printed(|out| mesh::print_uplinks(&[uplink], Output::Table, out)),
        printed(|out| set_aside::print(&[refused], Output::Table, out)),
    ];

    for table in tables {
        assert!(table.contains("\\u{1b}[2J"), "{table}");
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!table.contains(steers), "{table}");
        assert!(!table.contains("c\nd"), "{table}");
    }
    assert_eq!(escape("Öl/°C"), "Öl/°C");
}

#[test]
fn status_prints_with_exactly_the_fields_of_the_contract() {
    let status = pb::GetStatusResponse {
        machine_id: "12D3KooWA".to_owned(),
        name: "machine-1".to_owned(),
        site: "plant".to_owned(),
        network_id: "net".to_owned(),
        version: "0.1.0".to_owned(),
        uptime: Some(prost_types::Duration {
            seconds: 61,
            nanos: 5,
        }),
        ready: true,
        neighbours: 3,
        machines: 12,
        is_relay: true,
        relays: vec!["12D3KooWA".to_owned()],
        time_state: "synchronised".to_owned(),
        store: Some(pb::StoreStatus {
            bytes: 10,
            readings: 20,
            blocks: 2,
        }),
        uplinks: vec![
            pb::UplinkStatus {
                state: pb::uplink_status::State::Up.into(),
                backlog: 4,
                ..Default::default()
            },
            pb::UplinkStatus {
                state: pb::uplink_status::State::Down.into(),
                backlog: 5,
                ..Default::default()
            },
        ],
        membership: Some(pb::MembershipStatus {
            roles: vec!["publish".to_owned()],
            not_after: Some(prost_types::Timestamp::default()),
            standing: "grace".to_owned(),
        }),
    };

    let line = printed(|out| mesh::print_status(&status, Output::Json, out));

    let found: Json = serde_json::from_str(&line).expect("JSON");
    let expected = json!({
        "machine_id": "12D3KooWA", "name": "machine-1", "site": "plant", "version": "0.1.0",
        "uptime_s": 61, "ready": true, "neighbours": 3, "machines": 12, "is_relay": true,
        "relays": ["12D3KooWA"], "time_state": "synchronised",
        "store": { "bytes": 10, "readings": 20, "blocks": 2 },
        "uplink": { "state": "down", "backlog": 9 },
        "membership": {
            "roles": ["publish"], "not_after": "1970-01-01T00:00:00.000000000Z",
            "standing": "grace",
        },
    });
    assert_eq!(found, expected);
}

#[test]
fn a_node_without_uplink_says_none() {
    let status = pb::GetStatusResponse::default();

    let line = printed(|out| mesh::print_status(&status, Output::Json, out));

    let found: Json = serde_json::from_str(&line).expect("JSON");
    assert_eq!(found["uplink"], json!({ "state": "none", "backlog": 0 }));
}

#[test]
fn peers_are_the_neighbours_with_their_round_trips_and_what_the_links_are_made_of() {
    let machine = |id: &str, neighbour| pb::Machine {
        machine_id: id.to_owned(),
        neighbour,
        ..Default::default()
    };
    let link = |from: &str, to: &str, nanos| pb::Link {
        from: from.to_owned(),
        to: to.to_owned(),
        round_trip: Some(prost_types::Duration { seconds: 0, nanos }),
        transport: "quic".to_owned(),
    };
    let topology = pb::GetTopologyResponse {
        machine_id: "own".to_owned(),
        machines: vec![
            machine("own", false),
            machine("near", true),
            machine("far", false),
        ],
        links: vec![
            link("own", "near", 1_500_000),
            link("near", "own", 9_000_000),
        ],
    };

    let lines = printed(|out| mesh::print_peers(&topology, Output::Json, out));

    let found: Json = serde_json::from_str(&lines).expect("one object");
    assert_eq!(found["machine_id"], "near");
    assert_eq!(found["round_trip_ms"], 1.5);
    assert_eq!(found["transport"], "quic");
}

#[test]
fn a_line_that_is_no_reading_is_named_and_the_others_are_kept() {
    let input = concat!(
        r#"{"series": "a", "value": 1.5}"#,
        "\n\nnonsense\n",
        r#"{"series": "b", "value": true}"#,
    );
    let kept = RefCell::new(Vec::new());
    let refused = RefCell::new(Vec::new());

    publish::read_lines(
        input.as_bytes(),
        Format::Ndjson,
        |reading| {
            kept.borrow_mut().push(reading.series);
            true
        },
        &|error| refused.borrow_mut().push(error.to_string()),
    )
    .expect("memory reads");

    assert_eq!(kept.into_inner(), ["a", "b"]);
    let refused = refused.into_inner();
    assert_eq!(refused.len(), 1);
    assert!(refused[0].starts_with("line 3: "), "{}", refused[0]);
}

#[test]
fn numbers_on_the_command_line_are_doubles_unless_said_otherwise() {
    let kind = |line: &str| {
        let Ok(Command::Publish(args)) = parse(line) else {
            panic!("{line} is a publish");
        };
        let reading = publish::reading(&args).map_err(|failure| failure.code());
        reading.map(|reading| reading.value.and_then(|value| value.kind))
    };

    assert_eq!(
        kind("publish --series a 21"),
        Ok(Some(ValueOf::Double(21.0)))
    );
    assert_eq!(
        kind("publish --series a -2.5"),
        Ok(Some(ValueOf::Double(-2.5)))
    );
    assert_eq!(
        kind("publish --series a true"),
        Ok(Some(ValueOf::Bool(true)))
    );
    assert_eq!(
        kind("publish --series a on"),
        Ok(Some(ValueOf::Text("on".to_owned())))
    );
    assert_eq!(kind("publish --series a null"), Ok(None));
    assert_eq!(
        kind("publish --series a 21 --type integer"),
        Ok(Some(ValueOf::Integer(21)))
    );
    assert_eq!(kind("publish --series a on --type bool"), Err(2));
}

#[test]
fn exit_codes_tell_scripts_what_happened() {
    let code = |code| Failure::from_status(&Status::new(code, "why"), "here").code();

    assert_eq!(code(Code::NotFound), 1);
    assert_eq!(code(Code::InvalidArgument), 2);
    assert_eq!(code(Code::Unavailable), 3);
    assert_eq!(code(Code::PermissionDenied), 4);
    assert_eq!(code(Code::ResourceExhausted), 4);
    let closed = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    assert_eq!(Failure::from(closed).code(), 0);
}

#[test]
fn sizes_are_rounded_down_to_a_tenth_of_their_unit() {
    assert_eq!(bytes(0), "0 B");
    assert_eq!(bytes(1_023), "1023 B");
    assert_eq!(bytes(1_024), "1.0 KiB");
    assert_eq!(bytes(1_600), "1.5 KiB");
    assert_eq!(bytes(u64::MAX), "15.9 EiB");
}

#[test]
fn what_was_set_aside_prints_with_its_record_as_json_and_limits_are_only_for_it() {
    let refused = pb::SetAsideRecord {
        uplink_id: "cloud".to_owned(),
        key: "k".to_owned(),
        reason: "too large".to_owned(),
        record: r#"{"series":"a"}"#.to_owned(),
    };

    let text = printed(|out| set_aside::print(&[refused], Output::Json, out));

    let found: Json = serde_json::from_str(&text).expect("JSON");
    let expected = json!({
        "uplink": "cloud", "key": "k", "reason": "too large", "record": { "series": "a" },
    });
    assert_eq!(found, expected);
    assert!(
        Cli::try_parse_from([
            "fieldmesh",
            "uplink",
            "--set-aside",
            "cloud",
            "--limit",
            "5"
        ])
        .is_ok()
    );
    assert!(Cli::try_parse_from(["fieldmesh", "uplink", "--limit", "5"]).is_err());
}
