//! Commands between real machines: what a program in another language carries out, what is refused
//! and with which words, and what the audit logs say of it.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value as Json;

use crate::gate;
use crate::program::{self, Ended, Running};
use crate::python::interpreter;
use crate::testnet::Testnet;
use crate::wait::until;

#[tokio::test]
async fn every_example_of_the_manual_says_what_stands_there() {
    let _turn = gate::beside_others();
    let testnet = Testnet::start("127.0.50", 2, &["--quiet-sources"]).await;
    allow(&testnet, 2, &policy()).await;
    let _handler = thermostat(&testnet, 2).await;
    let programs = program::fieldmesh();
    let programs = programs.parent().expect("a directory").display();
    let grpc = &testnet.node(1).grpc;
    let mut count = 0;

    for block in manual().split("```console\n").skip(1) {
        let (block, _) = block.split_once("```").expect("a block ends");
        for example in block.split("$ ").skip(1) {
            let (line, expected) = example.split_once('\n').expect("an answer");
            let script = format!("PATH={programs}:$PATH FIELDMESH_GRPC={grpc} {line} 2>&1");
            let ended = program::run(Path::new("sh"), &["-c", &script], "").await;
            // What is drawn anew each time is left out in the manual.
            let (start, rest) = expected.split_once('…').unwrap_or((expected, ""));
            let said = &ended.stdout;
            assert!(said.starts_with(start), "{line}: {said}");
            assert!(said.ends_with(rest), "{line}: {said}");
            assert!(!rest.is_empty() || said == expected, "{line}: {said}");
            count += 1;
        }
    }

    assert!(count >= 10, "{count} examples");
    let ran = audited(&testnet, 2, "received", RECEIVED).await;
    assert!(ran.iter().all(|record| record["result"] == "ok"), "{ran:?}");
}

#[tokio::test]
async fn what_is_wrong_with_a_command_is_said_by_a_code_and_stands_in_the_audit_log() {
    let _turn = gate::beside_others();
    let testnet = Testnet::start("127.0.51", 2, &["--quiet-sources"]).await;
    allow(&testnet, 2, &policy()).await;
    let _handler = thermostat(&testnet, 2).await;
    let cases: [(&[&str], i32, &str); 8] = [
        (&["heating/set", "{}"], 2, "INVALID_ARGUMENT"),
        (
            &["heating/set", r#"{"celsius": "warm"}"#],
            2,
            "INVALID_ARGUMENT",
        ),
        (&["heating/set", r#"{"celsius": 31}"#], 2, "OUT_OF_RANGE"),
        (&["heating/boil"], 4, "UNIMPLEMENTED"),
        (&["reload"], 4, "PERMISSION_DENIED"),
        (&["heating/get", "--deadline", "0s"], 1, "DEADLINE_EXCEEDED"),
        (&["heating/get", "--deadline", "2h"], 2, "INVALID_ARGUMENT"),
        (
            &["heating/ramp", r#"{"celsius": 20, "steps": "x"}"#],
            2,
            "INVALID_ARGUMENT",
        ),
    ];

    for (arguments, code, name) in cases {
        let refused = send(&testnet, &[&["machine-2"], arguments].concat()).await;
        let said = refused.failed(code);
        assert!(said.contains(name), "{arguments:?}: {said}");
        let id = id_in(&said);
        let told = record_of(&testnet, 1, &id).await;
        assert!(text(&told, "result").starts_with(name), "{told}");
    }

    let nobody = send(&testnet, &["machine-9", "ping"]).await.failed(4);
    assert!(nobody.contains("NOT_FOUND"), "{nobody}");
    let asked_in_vain = |record: &&Json| text(record, "detail") == "ping to machine-9";
    let records = records(&testnet, 1).await;
    let told = records.iter().find(asked_in_vain).expect("a record");
    assert_eq!(text(told, "source"), "administrator");
    let large = format!("\"{}\"", "x".repeat(300_000));
    let large = send_fed(&testnet, &["machine-2", "ping", "-"], &large)
        .await
        .failed(2);
    assert!(large.contains("INVALID_ARGUMENT"), "{large}");
    let told = record_of(&testnet, 1, &id_in(&large)).await;
    assert!(
        text(&told, "result").starts_with("INVALID_ARGUMENT"),
        "{told}"
    );
    let declined = audited(&testnet, 2, "declined", 6).await;
    let names = declined.iter().map(|record| text(record, "result"));
    let names: Vec<_> = names
        .map(|text| text.split(':').next().map(str::to_owned))
        .collect();
    let expected = [
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "PERMISSION_DENIED",
        "INVALID_ARGUMENT",
    ];
    assert_eq!(names, expected.map(|name| Some(name.to_owned())));
}

#[tokio::test]
async fn an_id_that_comes_again_is_answered_from_what_is_kept_also_after_a_restart() {
    let _turn = gate::beside_others();
    let testnet = Testnet::start("127.0.52", 2, &["--quiet-sources"]).await;
    allow(&testnet, 2, &policy()).await;
    let handler = thermostat(&testnet, 2).await;
    let set = ["machine-2", "heating/set", r#"{"celsius": 18}"#, "--id", ID];

    let first = send(&testnet, &set).await.done();
    let again = send(&testnet, &set).await.done();
    let ran = handler.said().matches("heating/set").count();
    let other = ["machine-2", "heating/set", r#"{"celsius": 19}"#, "--id", ID];
    let other = send(&testnet, &other).await.failed(4);
    drop(handler);
    testnet.order("kill", &["machine-2"]).await;
    testnet.order("restart", &["machine-2"]).await;
    let restarted = send(&testnet, &set).await.done();

    assert_eq!(ran, 1);
    assert_eq!([&again, &restarted], [&first, &first]);
    assert!(other.contains("ALREADY_EXISTS"), "{other}");
    let told = audited(&testnet, 2, "received", 3).await;
    let again = told
        .iter()
        .filter(|r| text(r, "detail").ends_with(" again"));
    assert_eq!(again.count(), 2, "{told:?}");
}

#[tokio::test]
async fn during_maintenance_what_changes_something_waits_and_what_does_not_is_answered() {
    let _turn = gate::beside_others();
    let testnet = Testnet::start("127.0.53", 2, &["--quiet-sources"]).await;
    allow(&testnet, 2, &policy()).await;
    let _handler = thermostat(&testnet, 2).await;
    let set = ["machine-2", "heating/set", r#"{"celsius": 18}"#];

    lock(&testnet, 2, true).await;
    let locked = send(&testnet, &set).await.failed(4);
    let get = send(&testnet, &["machine-2", "heating/get"]).await;
    let own = send_at(&testnet, 2, &["self", "heating/set", r#"{"celsius": 17}"#]).await;
    lock(&testnet, 2, false).await;
    let unlocked = send(&testnet, &set).await;

    assert!(locked.contains("FAILED_PRECONDITION"), "{locked}");
    get.done();
    own.done();
    unlocked.done();
}

#[tokio::test]
async fn a_command_reaches_a_machine_that_was_away_through_a_third_one_and_so_does_its_answer() {
    let _turn = gate::beside_others();
    let testnet = Testnet::start("127.0.57", 3, &["--quiet-sources"]).await;
    allow(&testnet, 2, &policy()).await;
    let order = ["machine-2", "heating/set", r#"{"celsius": 18}"#, "--id", ID];
    let order = [&order[..], &["--when-reachable", "--deadline", "5m"]].concat();

    testnet.order("kill", &["machine-2"]).await;
    let asked = tokio::spawn({
        let arguments = ["send", "--grpc", &testnet.node(1).grpc].map(str::to_owned);
        let order = order.iter().map(|word| (*word).to_owned());
        let arguments: Vec<_> = arguments.into_iter().chain(order).collect();
        async move { program::ask(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await }
    });
    // Long enough for machine-3 to hold it; then nobody who sent it is there any more.
    tokio::time::sleep(SPREAD_TIME).await;
    testnet.order("kill", &["machine-1"]).await;
    asked.await.expect("it ends with its node").failed(3);
    testnet.order("restart", &["machine-2"]).await;
    let handler = thermostat(&testnet, 2).await;
    until("the command is carried out", HANDLER_TIMEOUT, async || {
        let said = handler.said();
        said.contains("machine-1 asks for heating/set")
            .then_some(())
            .ok_or(said)
    })
    .await;
    testnet.order("restart", &["machine-1"]).await;
    let answer = send(&testnet, &order).await;

    assert_eq!(answer.done().trim(), r#"{"celsius":18.0}"#);
    assert_eq!(handler.said().matches("heating/set").count(), 1);
    let told = audited(&testnet, 2, "received", 1).await;
    assert_eq!(text(&told[0], "id"), ID);
}

#[tokio::test]
async fn a_machine_that_is_no_neighbour_is_dialled_for_a_command() {
    let _turn = gate::beside_others();
    let testnet = Testnet::start("127.0.58", 10, &["--quiet-sources"]).await;
    let neighbours = testnet.clients()[0].neighbours().await.expect("an answer");
    let others = testnet.nodes()[1..].iter();
    let strangers = others.filter(|node| !neighbours.contains(&node.machine_id));
    let strangers: Vec<_> = strangers.collect();

    for stranger in &strangers {
        let answer = send(&testnet, &[&stranger.name, "identify", "--output", "json"]).await;
        let answer = json(&answer.done());
        assert_eq!(answer["value"]["machine_id"], *stranger.machine_id);
    }

    assert!(!strangers.is_empty(), "all are neighbours: {neighbours:?}");
}

fn manual() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/manual/commands.md");
    std::fs::read_to_string(page).expect("a page")
}

/// What machine-2 lets others do in the manual.
fn policy() -> String {
    let manual = manual();
    let (_, policy) = manual
        .split_once("maintenance = false\n")
        .expect("a policy");
    let (policy, _) = policy.split_once("```").expect("its end");
    policy.to_owned()
}

/// Lets other machines do on machine `number` what `policy` says: written at the end of its
/// configuration, which is then read again.
pub(crate) async fn allow(testnet: &Testnet, number: usize, policy: &str) {
    let config = &testnet.node(number).config;
    let mut file = File::options()
        .append(true)
        .open(config)
        .expect("a configuration");
    write!(file, "\n{policy}").expect("written");
    send_at(testnet, number, &["self", "reload"]).await.done();
}

/// Locks a machine for maintenance, or opens it again.
async fn lock(testnet: &Testnet, number: usize, locked: bool) {
    let config = &testnet.node(number).config;
    let text = std::fs::read_to_string(config).expect("a configuration");
    let (from, to) = (
        format!("maintenance = {}", !locked),
        format!("maintenance = {locked}"),
    );
    assert!(text.contains(&from), "{text}");
    std::fs::write(config, text.replace(&from, &to)).expect("written");
    let grpc = &testnet.node(number).grpc;
    program::ask(&["rules", "reload", "--grpc", grpc])
        .await
        .done();
}

/// The example program at machine `number`.
async fn thermostat(testnet: &Testnet, number: usize) -> Running {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(interpreter());
    command
        .arg(root.join("node/examples/thermostat.py"))
        .arg(&testnet.node(number).grpc)
        .arg(root.join("proto"));
    let program = Running::start(&mut command, &testnet.dir().join("thermostat.log"));
    until("the example serves", HANDLER_TIMEOUT, async || {
        let said = program.said();
        said.contains("serving").then_some(()).ok_or(said)
    })
    .await;
    program
}

/// `fieldmesh send` at machine 1.
async fn send(testnet: &Testnet, arguments: &[&str]) -> Ended {
    send_at(testnet, 1, arguments).await
}

/// `fieldmesh send` at a machine.
pub(crate) async fn send_at(testnet: &Testnet, number: usize, arguments: &[&str]) -> Ended {
    let node = ["send", "--grpc", &testnet.node(number).grpc];
    program::ask(&[&node, arguments].concat()).await
}

async fn send_fed(testnet: &Testnet, arguments: &[&str], input: &str) -> Ended {
    let node = ["send", "--grpc", &testnet.node(1).grpc];
    program::run(&program::fieldmesh(), &[&node, arguments].concat(), input).await
}

/// So many records of one type in a machine's audit log, which a thread writes, without what has
/// let the test do its work.
async fn audited(testnet: &Testnet, number: usize, kind: &str, count: usize) -> Vec<Json> {
    until("the attempts are recorded", HANDLER_TIMEOUT, async || {
        let records = records(testnet, number).await.into_iter();
        let is_own = |record: &Json| record["source"] == testnet.node(number).machine_id;
        let found = records.filter(|record| record["type"] == kind && !is_own(record));
        let found: Vec<_> = found.collect();
        if found.len() == count {
            Ok(found)
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await
}

async fn records(testnet: &Testnet, number: usize) -> Vec<Json> {
    let grpc = &testnet.node(number).grpc;
    let of_commands = ["--category", "command", "--output", "json"];
    let said = program::ask(&[&["audit", "--grpc", grpc], &of_commands[..]].concat()).await;
    said.done().lines().map(json).collect()
}

/// The record of a command in a machine's audit log, which a thread writes.
async fn record_of(testnet: &Testnet, number: usize, id: &str) -> Json {
    until("the attempt is recorded", HANDLER_TIMEOUT, async || {
        let records = records(testnet, number).await;
        let found = records.iter().find(|record| record["id"] == id);
        found.cloned().ok_or_else(|| format!("{records:?}"))
    })
    .await
}

/// The id that `fieldmesh send` names in a complaint.
fn id_in(said: &str) -> String {
    let (_, rest) = said.rsplit_once("(id ").expect("an id");
    rest.split(')').next().expect("its end").to_owned()
}

fn json(line: &str) -> Json {
    serde_json::from_str(line).expect("JSON")
}

fn text<'a>(record: &'a Json, key: &str) -> &'a str {
    record[key].as_str().unwrap_or_default()
}

/// How many commands of the manual reach a handler, or would have.
const RECEIVED: usize = 6;
/// An id that a client has drawn.
const ID: &str = "01KB4N8Q2RZ3V5W7X9Y0A1C2E4";
/// Source: guess; a state takes some milliseconds.
const SPREAD_TIME: Duration = Duration::from_secs(2);
/// Longest time until the example serves. Source: guess; Python compiles the schema.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(20);
