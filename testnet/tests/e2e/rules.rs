//! Rules over several machines: alarms that everyone sees, and circles that end.

use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;

use crate::testnet::Testnet;
use crate::wait::until;
use crate::{gate, program};

/// Runs `fieldmesh` against a machine; what it prints, line by line.
async fn ask(testnet: &Testnet, number: usize, arguments: &[&str]) -> Vec<Json> {
    let grpc = &testnet.node(number).grpc;
    let arguments = [arguments, &["--grpc", grpc, "--output", "json"]].concat();
    let said = program::ask(&arguments).await.done();
    let lines = said.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON")
}

/// Gives a machine rules in place of those before.
async fn rules(testnet: &Testnet, number: usize, rules: &str) -> program::Ended {
    let node = testnet.node(number);
    let config = Path::new(&node.config);
    let text = std::fs::read_to_string(config).expect("a configuration");
    let before = text.split(MARK).next().expect("the part before rules");
    std::fs::write(config, format!("{before}{MARK}\n{rules}")).expect("a configuration");
    program::ask(&["rules", "reload", "--grpc", &node.grpc]).await
}

async fn publish(testnet: &Testnet, number: usize, series: &str, value: &str) {
    let arguments = ["publish", "--series", series, value, "--ack", "accepted"];
    let grpc = &testnet.node(number).grpc;
    let arguments = [&arguments[..], &["--grpc", grpc]].concat();
    program::ask(&arguments).await.done();
}

/// Waits until a machine shows one alarm that stands like that, and returns it.
async fn alarm(testnet: &Testnet, number: usize, state: &str, by: &str) -> Json {
    until("the alarm is seen", PATIENCE, async || {
        let alarms = ask(testnet, number, &["alarms", "--all"]).await;
        let wanted = |alarm: &&Json| alarm["state"] == state && alarm["acknowledged_by"] == by;
        let found = alarms.iter().find(wanted).cloned();
        found.ok_or_else(|| format!("{alarms:?}"))
    })
    .await
}

#[tokio::test]
async fn an_alarm_is_seen_and_acknowledged_everywhere_and_a_restart_does_not_raise_it_again() {
    let _turn = gate::beside_others();
    let testnet = Testnet::start("127.0.61", 2, &["--quiet-sources"]).await;
    rules(&testnet, 1, TOO_HOT).await.done();

    publish(&testnet, 2, "water", "95.0").await;
    let raised = alarm(&testnet, 2, "raised", "").await;
    assert_eq!(raised["machine"], "machine-1");
    assert_eq!(raised["priority"], "high");
    ask(&testnet, 2, &["alarms", "ack", "machine-1:too-hot"]).await;
    alarm(&testnet, 1, "raised", "machine-2").await;

    testnet.order("restart", &["machine-1"]).await;
    publish(&testnet, 2, "water", "96.0").await;
    let again = alarm(&testnet, 1, "raised", "machine-2").await;
    assert_eq!(again["raised"], raised["raised"]);

    publish(&testnet, 2, "water", "80.0").await;
    alarm(&testnet, 2, "cleared", "machine-2").await;
    assert!(ask(&testnet, 2, &["alarms"]).await.is_empty());
}

#[tokio::test]
async fn a_rule_that_does_not_hold_changes_nothing_and_its_place_is_told() {
    let _turn = gate::beside_others();
    let testnet = Testnet::start("127.0.62", 1, &["--quiet-sources"]).await;
    rules(&testnet, 1, TOO_HOT).await.done();

    let wrong = TOO_HOT.replace("> 90.0", "> hot");
    let said = rules(&testnet, 1, &wrong).await.failed(4);
    let unknown = ["alarms", "ack", "machine-1:nothing"];
    let grpc = &testnet.node(1).grpc;
    let unknown = program::ask(&[&unknown[..], &["--grpc", grpc]].concat()).await;

    assert!(said.contains("line 1, column 27"), "{said}");
    let listed = ask(&testnet, 1, &["rules", "list"]).await;
    assert_eq!(listed[0]["when"], r#"last("machine-2:water") > 90.0"#);
    assert!(unknown.failed(1).contains("no alarm nothing"));
}

#[tokio::test]
async fn a_circle_of_rules_on_two_machines_stops_by_itself_and_is_written_down() {
    let _turn = gate::beside_others();
    let testnet = Testnet::start("127.0.63", 2, &["--quiet-sources"]).await;
    rules(&testnet, 1, &plus_one("a", "machine-2:b"))
        .await
        .done();
    rules(&testnet, 2, &plus_one("b", "machine-1:a"))
        .await
        .done();

    publish(&testnet, 2, "b", "0.0").await;
    until("one of them is stopped", PATIENCE, async || {
        let listed = ask(&testnet, 1, &["rules", "list"]).await;
        match listed[0]["stopped"].as_bool() {
            Some(true) => Ok(()),
            _ => Err(format!("{listed:?}")),
        }
    })
    .await;
    tokio::time::sleep(QUIET).await;

    let readings = ask(&testnet, 1, &["query", "**"]).await;
    let derived = |reading: &&Json| reading["labels"]["rule"].is_string();
    let derived = readings.iter().filter(derived).count();
    assert!((2..=4).contains(&derived), "{readings:#?}");
    let audit = ask(&testnet, 1, &["audit"]).await;
    let is_told = |record: &Json| record["type"] == "rule-stopped" && record["id"] == "a";
    assert!(audit.iter().any(is_told), "{audit:#?}");
}

#[tokio::test]
async fn the_scenario_of_a_phone_a_thermostat_a_boiler_and_a_window_goes_well_to_its_end() {
    let _turn = gate::beside_others();
    let scenario = ["scenario", "heating", "--subnet", "127.0.64"];

    let said = program::run(program::testnet(), &scenario, "").await;

    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stderr.contains("steps went well"), "{}", said.stderr);
}

#[tokio::test]
async fn a_scenario_whose_expectation_does_not_hold_fails_and_says_at_which_step() {
    let _turn = gate::beside_others();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("wrong.toml");
    let text = "about = \"wrong\"\n[[machine]]\nname = \"press\"\n[[step]]\n\
                publish = { machine = \"press\", series = \"oil\", value = 1.0 }\n[[step]]\n\
                expect = { at = \"press\", series = \"press:oil\", value = 2.0, within = \"500ms\" }\n";
    std::fs::write(&file, text).expect("a scenario");

    let file = file.to_string_lossy();
    let scenario = ["scenario", &*file, "--subnet", "127.0.65"];
    let said = program::run(program::testnet(), &scenario, "").await;

    let said = said.failed(1);
    assert!(said.contains("step 2"), "{said}");
    assert!(said.contains("press:oil is"), "{said}");
}

/// A rule that derives a series from another.
fn plus_one(series: &str, from: &str) -> String {
    format!(
        "[[rule]]\nname = \"{series}\"\n\
         derive = {{ series = \"{series}\", value = 'last(\"{from}\") + 1.0' }}\n"
    )
}

/// Before the rules in a configuration.
const MARK: &str = "# Rules of this test.";
const TOO_HOT: &str = r#"
[[rule]]
name = "too-hot"
when = 'last("machine-2:water") > 90.0'
until = 'last("machine-2:water") < 85.0'
stale_after = "1h"
alarm = { priority = "high", text = "the water is too hot" }
"#;
/// Longest wait for what takes milliseconds. Unit: seconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for a circle to go round a hundred times.
const QUIET: Duration = Duration::from_secs(2);
