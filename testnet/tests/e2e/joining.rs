//! Enrolment: a machine that has a token becomes a member of a running network, once.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value as Json;

use crate::client::Client;
use crate::gate;
use crate::program::{self, Ended, Running};
use crate::solo::Solo;
use crate::wait::until;

/// A running machine that may admit others of its site, and its operator.
async fn admitter(ip: &str) -> Solo {
    let mut admitter = Solo::new(ip).await;
    let home = admitter.path("");
    let machine = json(program::ask(&["init", "--dir", &home, "--output", "json"]).await);
    let (operator, membership) = (admitter.path("operator"), admitter.path("membership"));
    let machine = machine["machine_id"].as_str().expect("its id");
    let rights = [
        "--name",
        "gate",
        "--site",
        "hall-3",
        "--role",
        "publish,admit",
    ];
    let files = ["--dir", &operator, "--out", &membership];
    let admit = [&["network", "admit", machine], &rights[..], &files].concat();
    program::ask(&admit).await.done();
    admitter.start().await;
    admitter
}

/// A token that the operator makes away from every machine.
async fn offline_token(admitter: &Solo, address: &str, open_for: &str) -> String {
    let operator = admitter.path("operator");
    let offer = [
        "--site",
        "hall-3",
        "--address",
        address,
        "--open-for",
        open_for,
    ];
    let files = ["--dir", &operator, "--output", "json"];
    let invited = program::ask(&[&["network", "invite"], &offer[..], &files].concat()).await;
    json(invited)["token"].as_str().expect("a token").to_owned()
}

/// A machine that has nothing yet but a directory.
fn fresh(admitter: &Solo, name: &str) -> PathBuf {
    PathBuf::from(admitter.path(name))
}

async fn join(dir: &Path, name: &str, token: &str) -> Ended {
    let dir = dir.display().to_string();
    let arguments = [
        "join", "-", "--name", name, "--dir", &dir, "--output", "json",
    ];
    program::run(&program::fieldmesh(), &arguments, token).await
}

/// Gives a machine that has joined addresses of its own.
fn settle(dir: &Path, ip: &str) {
    let config = dir.join("fieldmesh.toml");
    let mut text = fs::read_to_string(&config).expect("what join has written");
    text.push_str(&format!(
        "[listen]\nquic = [\"{ip}:4001\"]\ntcp = [\"{ip}:4001\"]\nmdns = false\n\
         [api]\ngrpc = \"{ip}:50051\"\nmetrics = \"\"\n"
    ));
    fs::write(&config, text).expect("written");
}

/// Runs a machine that has joined and settled.
fn run(dir: &Path, mut command: Command) -> Running {
    let config = dir.join("fieldmesh.toml");
    command.arg("run").arg("--config").arg(&config);
    Running::start(&mut command, &dir.join("log"))
}

/// The program with a clock that was never set: as `faketime` does it, but without a process of its
/// own between the test and the program.
async fn in_1970() -> Command {
    let library = ["-f", "+0", "printenv", "LD_PRELOAD"];
    let library = program::run(Path::new("faketime"), &library, "")
        .await
        .done();
    let mut command = Command::new(program::fieldmesh());
    command.env("LD_PRELOAD", library.trim());
    command.env("FAKETIME", "@1970-01-02 00:00:00");
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command
}

/// Waits until the admitter has a neighbour.
async fn is_neighbour(admitter: &Solo, machine: &str) {
    until("it is a neighbour", Duration::from_secs(20), async || {
        let neighbours = admitter.client().neighbours().await;
        match neighbours.map_err(|status| status.to_string())? {
            neighbours if neighbours.contains(machine) => Ok(()),
            neighbours => Err(format!("{neighbours:?}")),
        }
    })
    .await;
}

/// What the admitter has written down of a type.
async fn audited(admitter: &Solo, kind: &str) -> Vec<Json> {
    let records = admitter.ask(&["audit", "--output", "json"]).await.done();
    let records = records
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    records
        .filter(|record: &Json| record["type"] == kind)
        .collect()
}

fn json(ended: Ended) -> Json {
    serde_json::from_str(&ended.done()).expect("JSON")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[tokio::test]
async fn a_machine_joins_by_a_token_runs_and_becomes_a_neighbour_and_the_token_is_used_up() {
    let _turn = gate::beside_others();
    let admitter = admitter("127.0.42.1").await;
    let address = "/ip4/127.0.42.1/udp/4001/quic/noise";
    let token = offline_token(&admitter, address, "1h").await;
    let dir = fresh(&admitter, "drill");

    let joined = json(join(&dir, "drill-7", &token).await);

    assert_eq!(
        (&joined["name"], &joined["site"]),
        (&"drill-7".into(), &"hall-3".into())
    );
    for file in ["machine.key", "network.key", "membership", "operator.pub"] {
        assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
    }
    settle(&dir, "127.0.42.2");
    let _node = run(&dir, Command::new(program::fieldmesh()));
    let client = Client::new("127.0.42.2:50051");
    let machine = joined["machine_id"].as_str().expect("its id").to_owned();
    is_neighbour(&admitter, &machine).await;
    assert_eq!(client.status().await.expect("it answers").machines, 2);
    let enrolled = audited(&admitter, "enrolled").await;
    assert_eq!(
        (&enrolled[0]["id"], &enrolled[0]["result"]),
        (&joined["machine_id"], &"ok".into())
    );
    assert_eq!(
        audited(&admitter, "admitted").await[0]["id"],
        joined["machine_id"]
    );

    let other = fresh(&admitter, "other");
    let refused = join(&other, "other-1", &token).await.failed(4);
    assert!(
        refused.contains(&machine) && refused.contains("redeemed"),
        "{refused}"
    );
    assert!(!other.join("membership").exists());
    let enrolled = audited(&admitter, "enrolled").await;
    assert!(
        enrolled[1]["result"]
            .as_str()
            .is_some_and(|result| result.contains("redeemed"))
    );
}

#[tokio::test]
async fn a_lost_answer_comes_again_also_from_an_admitter_that_was_killed_in_between() {
    let _turn = gate::beside_others();
    let mut admitter = admitter("127.0.42.5").await;
    let token = offline_token(&admitter, "/ip4/127.0.42.5/tcp/4001", "1h").await;
    let dir = fresh(&admitter, "drill");
    json(join(&dir, "drill-7", &token).await);
    let membership = dir.join("membership");
    let first = fs::read(&membership).expect("it was written");

    admitter.end(rustix::process::Signal::KILL);
    admitter.start().await;
    fs::remove_file(&membership).expect("it is there");
    json(join(&dir, "drill-7", &token).await);
    let used_up = join(&fresh(&admitter, "other"), "other-1", &token).await;

    assert_eq!(fs::read(&membership).expect("it was written again"), first);
    used_up.failed(4);
}

#[tokio::test]
async fn an_admitter_invites_within_what_it_may_and_no_token_outlives_its_end() {
    let _turn = gate::beside_others();
    let admitter = admitter("127.0.42.9").await;
    let invite = async |more: &[&str]| {
        let invite = ["network", "invite", "--delegated", "--output", "json"];
        admitter.ask(&[&invite, more].concat()).await
    };

    invite(&["--role", "admit"]).await.failed(4);
    let token = json(invite(&["--role", "publish"]).await);
    let token = token["token"].as_str().expect("a token");
    let joined = json(join(&fresh(&admitter, "drill"), "drill-7", token).await);
    let short = json(invite(&["--open-for", "1s"]).await);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let late = fresh(&admitter, "late");
    let refused = join(&late, "late-1", short["token"].as_str().expect("a token")).await;

    assert_eq!(joined["name"], "drill-7");
    let refused = refused.failed(4);
    assert!(refused.contains("expired"), "{refused}");
    let token = json(invite(&[]).await);
    let token = token["token"].as_str().expect("a token");
    let twin = join(&fresh(&admitter, "twin"), "gate", token).await;
    let taken = twin.failed(4);
    assert!(taken.contains("called gate already"), "{taken}");
    let admitted = async |name: &str| {
        let machine =
            json(program::ask(&["init", "--dir", &admitter.path(name), "--output", "json"]).await);
        let machine = machine["machine_id"].as_str().expect("its id").to_owned();
        let out = admitter.path(&format!("{name}/membership"));
        let admit = [
            "network",
            "admit",
            &machine,
            "--name",
            name,
            "--delegated",
            "--out",
            &out,
        ];
        admitter.ask(&admit).await
    };
    admitted("saw-1").await.done();
    assert_eq!(audited(&admitter, "membership-signed").await.len(), 1);
    let invited = audited(&admitter, "invited").await;
    let went_well = |record: &Json| record["result"] == "ok";
    let results: Vec<bool> = invited.iter().map(went_well).collect();
    assert_eq!(
        results,
        [false, true, true, true],
        "the one for an admitter was refused"
    );
}

#[tokio::test]
async fn nobody_at_the_tokens_address_is_said_with_its_own_exit_code() {
    let _turn = gate::beside_others();
    let solo = Solo::new("127.0.42.13").await;
    let token = offline_token(&solo, "/ip4/127.0.42.13/udp/4001/quic/noise", "1h").await;
    let dir = fresh(&solo, "drill");

    let silent = join(&dir, "drill-7", &token).await.failed(3);
    let damaged = join(&dir, "drill-7", &token[..token.len() / 2])
        .await
        .failed(1);

    assert!(silent.contains("127.0.42.13"), "{silent}");
    assert!(damaged.contains("copy it again"), "{damaged}");
}

#[tokio::test]
async fn adversarial_45_a_machine_that_wakes_in_1970_is_let_in_and_says_that_it_cannot_judge() {
    let _turn = gate::beside_others();
    let admitter = admitter("127.0.42.17").await;
    let address = "/ip4/127.0.42.17/udp/4001/quic/noise";
    let token = offline_token(&admitter, address, "1h").await;
    let dir = fresh(&admitter, "drill");
    let joined = json(join(&dir, "drill-7", &token).await);
    let machine = joined["machine_id"].as_str().expect("its id");
    settle(&dir, "127.0.42.18");
    let client = Client::new("127.0.42.18:50051");
    let standing = async || {
        let status = client.status().await.map_err(|status| status.to_string())?;
        let membership = status.membership.expect("it has one");
        Ok::<_, String>((status.time_state, membership.standing))
    };

    let lost = run(&dir, in_1970().await);
    is_neighbour(&admitter, machine).await;
    let unjudged = ("unsynchronised".to_owned(), "unjudged".to_owned());
    assert_eq!(standing().await, Ok(unjudged));
    drop(lost);

    let _found = run(&dir, Command::new(program::fieldmesh()));
    until(
        "the control is in order",
        Duration::from_secs(20),
        async || match standing().await? {
            (_, standing) if standing == "valid" => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await;
}

#[tokio::test]
async fn adversarial_45_an_admitter_without_a_clock_redeems_nothing_and_says_why() {
    let _turn = gate::beside_others();
    let mut admitter = admitter("127.0.42.21").await;
    let token = offline_token(&admitter, "/ip4/127.0.42.21/tcp/4001", "1h").await;
    admitter.end(rustix::process::Signal::TERM);
    let mut lost = in_1970().await;
    lost.args(["run", "--config", &admitter.path("fieldmesh.toml")]);
    admitter.start_with(lost).await;

    let refused = join(&fresh(&admitter, "drill"), "drill-7", &token)
        .await
        .failed(4);
    admitter.end(rustix::process::Signal::TERM);
    admitter.start().await;
    let joined = join(&fresh(&admitter, "drill"), "drill-7", &token).await;

    assert!(refused.contains("clock"), "{refused}");
    joined.done();
}
