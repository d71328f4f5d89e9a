//! Bad input: a clear error that says what to do, and nothing lost.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use crate::mqtt::Broker;
use crate::solo::Solo;
use crate::wait::until;
use crate::{gate, program};

#[tokio::test]
async fn an_unknown_key_of_the_configuration_is_named_with_the_nearest_known_one() {
    let _turn = gate::beside_others();
    let solo = Solo::new("127.0.32.1").await;
    solo.configure("[store]\nsegment_mb = 4\n");

    let refused = solo.run().await.failed(1);
    let checked = program::ask(&["config", "check", &solo.path("fieldmesh.toml")])
        .await
        .failed(1);

    for text in [refused, checked] {
        assert!(
            text.contains("segment_mb") && text.contains("`segment_mib`"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_membership_of_another_network_is_refused() {
    let _turn = gate::beside_others();
    let solo = Solo::new("127.0.32.2").await;
    solo.create_network("strangers").await;
    solo.admit("strangers", "membership").await;

    let refused = solo.run().await.failed(1);

    assert!(refused.contains(&solo.path("membership")), "{refused}");
}

#[tokio::test]
async fn a_key_that_others_can_read_or_that_is_missing_is_refused() {
    let _turn = gate::beside_others();
    let solo = Solo::new("127.0.32.3").await;
    let key = solo.path("machine.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("chmod");

    let exposed = solo.run().await.failed(1);
    fs::remove_file(&key).expect("it is there");
    let missing = solo.run().await.failed(1);

    assert!(exposed.contains(&format!("chmod 600 {key}")), "{exposed}");
    assert!(missing.contains(&key), "{missing}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let _turn = gate::beside_others();
    let solo = Solo::new("127.0.32.4").await;

    for address in [solo.tcp(), solo.grpc()] {
        let _taken = TcpListener::bind(&address).expect("a free port");
        let refused = solo.run().await.failed(1);
        let parts = address.split(':');
        assert!(
            parts.into_iter().all(|part| refused.contains(part)),
            "{address}: {refused}"
        );
    }
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_written_is_named() {
    let _turn = gate::beside_others();
    let solo = Solo::new("127.0.32.5").await;
    fs::create_dir(solo.path("data")).expect("a directory");

    let program = program::fieldmesh().display().to_string();
    let run = mounted("ro", &solo, &program);
    let arguments: Vec<&str> = run.iter().map(String::as_str).collect();
    let refused = program::run("unshare".as_ref(), &arguments, "")
        .await
        .failed(1);

    assert!(refused.contains(&solo.path("data")), "{refused}");
}

#[tokio::test]
async fn a_full_disk_refuses_readings_and_takes_them_again_when_there_is_room() {
    let _turn = gate::beside_others();
    let mut solo = Solo::new("127.0.32.6").await;
    solo.configure("[store]\nsegment_mib = 4\nfree_mib_min = 8\n");
    fs::create_dir(solo.path("data")).expect("a directory");
    let mut command = Command::new("unshare");
    command.args(mounted(
        "size=48m",
        &solo,
        &program::fieldmesh().display().to_string(),
    ));
    solo.start_with(command).await;
    solo.ask(&["publish", "--series", "press/oil", "1"])
        .await
        .done();

    let pid = solo.node.as_ref().expect("it runs").pid();
    let filler = format!("/proc/{pid}/root{}/filler", solo.path("data"));
    fill(&filler);
    let refused = until("readings are refused", GUARD_TIMEOUT, async || {
        let ended = solo.ask(&["publish", "--series", "press/oil", "2"]).await;
        if ended.code == Some(0) {
            Err("taken".to_owned())
        } else {
            Ok(ended.failed(4))
        }
    });
    let refused = refused.await;
    fs::remove_file(&filler).expect("it is there");
    until("readings are taken again", GUARD_TIMEOUT, async || {
        let ended = solo.ask(&["publish", "--series", "press/oil", "3"]).await;
        if ended.code == Some(0) {
            Ok(())
        } else {
            Err(ended.stderr)
        }
    })
    .await;

    assert!(refused.contains("free"), "{refused}");
    let held = solo
        .ask(&["query", "press/oil", "--output", "json"])
        .await
        .done();
    assert!(
        held.contains(r#""value":1.0"#) && held.contains(r#""value":3.0"#),
        "{held}"
    );
}

#[tokio::test]
async fn an_unreachable_broker_is_shown_and_gets_everything_once_it_is_there() {
    let _turn = gate::beside_others();
    let mut solo = Solo::new("127.0.32.7").await;
    let address = "127.0.32.7:18830";
    solo.configure(&format!(
        "[[uplink]]\nid = \"site\"\nurl = \"mqtt://{address}\"\nwindows = [\"1s\"]\n"
    ));
    solo.start().await;
    solo.ask(&["publish", "--series", "press/oil", "1"])
        .await
        .done();

    until("status and uplink say so", BACKLOG_TIMEOUT, async || {
        let status = solo.ask(&["status", "--output", "json"]).await.done();
        let uplink = solo.ask(&["uplink"]).await.done();
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        if status["uplink"]["state"] == "down" && uplink.contains(address) {
            Ok(())
        } else {
            Err(format!("{status} {uplink}"))
        }
    })
    .await;

    let broker = Broker::start(address, solo.path("").as_ref()).await;
    let subscriber = broker.subscribe("late").await;
    until("the window arrives", BACKLOG_TIMEOUT, async || {
        let said = subscriber.said();
        if said.contains(r#""series":"press/oil""#) {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await;
}

#[tokio::test]
async fn malformed_lines_are_named_and_all_others_are_kept() {
    let _turn = gate::beside_others();
    let mut solo = Solo::new("127.0.32.8").await;
    solo.start().await;
    let lines = "{\"series\":\"press/oil\",\"value\":1}\n\
                 {\"series\":\"press/oil\",\"value\":\n\
                 \n\
                 {\"series\":\"press oil\",\"value\":2}\n\
                 {\"series\":\"press/oil\",\"value\":3,\"unit\":\"\"}\n\
                 nonsense\n\
                 {\"series\":\"press/ram\",\"value\":true}\n";

    let publish = ["publish", "--stdin", "--format", "ndjson"];
    let ended = solo.ask_fed(&publish, lines).await;
    let acknowledged = ended.stdout.clone();
    let complaints = ended.failed(1);

    assert!(acknowledged.starts_with('3'), "{acknowledged}");
    for line in ["line 2", "line 4", "line 6"] {
        assert!(complaints.contains(line), "{line}: {complaints}");
    }
    let named = complaints.lines().filter(|line| line.starts_with("line "));
    assert_eq!(named.count(), 3, "{complaints}");
    let held = solo
        .ask(&["query", "press/**", "--output", "json"])
        .await
        .done();
    assert_eq!(held.lines().count(), 3, "{held}");
}

#[tokio::test]
async fn a_question_without_sense_is_answered_with_what_to_do_and_the_right_code() {
    let _turn = gate::beside_others();
    let mut solo = Solo::new("127.0.32.9").await;
    let unreachable = solo.ask(&["latest"]).await.failed(3);
    solo.start().await;
    solo.ask(&["publish", "--series", "press/oil", "1"])
        .await
        .done();

    let unknown = solo.ask(&["latest", "press/nothing"]).await.failed(1);
    let turned = ["query", "press/**", "--from", "-1m", "--to", "-2m"];
    let turned = solo.ask(&turned).await.failed(2);
    let nothing = solo.ask(&["query"]).await.failed(2);
    let malformed = solo.ask(&["query", "press//oil"]).await.failed(2);
    let name = solo
        .ask(&["publish", "--series", "press oil", "1"])
        .await
        .failed(2);
    let value = solo
        .ask(&["publish", "--series", "press/oil", "warm"])
        .await;

    assert!(unreachable.contains(&solo.grpc()), "{unreachable}");
    assert!(unknown.contains("press/nothing"), "{unknown}");
    assert!(turned.contains("from"), "{turned}");
    assert!(nothing.to_lowercase().contains("pattern"), "{nothing}");
    assert!(malformed.contains("press//oil"), "{malformed}");
    assert!(name.contains("press oil"), "{name}");
    // A text is another series than the number of the same name; it is taken or refused, not lost.
    assert!(
        value.code == Some(0) || !value.stderr.is_empty(),
        "{value:?}"
    );
}

/// Arguments of `unshare` that run the node with a small file system of its own as data directory.
fn mounted(options: &str, solo: &Solo, program: &str) -> Vec<String> {
    let script = r#"mount -t tmpfs -o "$0" tmpfs "$1" && exec "$2" run --config "$3""#;
    let fixed = ["--mount", "sh", "-c", script, options].map(str::to_owned);
    let files = [
        solo.path("data"),
        program.to_owned(),
        solo.path("fieldmesh.toml"),
    ];
    fixed.into_iter().chain(files).collect()
}

/// Writes a file until the disk is full.
fn fill(path: &str) {
    let mut file = File::create(path).expect("a file in the node's data directory");
    for size in [1 << 20, 1 << 10] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

/// Longest time until the free space has been looked at again. Source: guess.
const GUARD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time until a window has ended, waits, and is tried again: backoff after a few seconds
/// of outage is a few seconds.
const BACKLOG_TIMEOUT: Duration = Duration::from_secs(30);
