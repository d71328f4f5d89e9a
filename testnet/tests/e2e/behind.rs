//! A network of one machine in each place of [`Namespaces`], made and asked with `fieldmesh` alone.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::namespaces::{Namespaces, Place};
use crate::program::{self, Ended, Running};
use crate::wait::until;

/// A network of one machine in each place.
#[derive(Debug)]
pub(crate) struct Site {
    dir: TempDir,
    pub(crate) namespaces: Namespaces,
}

impl Site {
    /// Makes keys, memberships and configurations; nothing runs yet.
    pub(crate) async fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("fieldmesh-nat-").tempdir();
        let site = Self {
            dir: dir.expect("a temporary directory"),
            namespaces: Namespaces::new(),
        };
        let operator = site.file("operator");
        program::ask(&["network", "create", "--dir", &operator])
            .await
            .done();
        for place in PLACES {
            site.lay_out(place, &operator).await;
        }
        site
    }

    async fn lay_out(&self, place: Place, operator: &str) {
        let home = self.file(name(place));
        let made = program::ask(&["init", "--dir", &home, "--output", "json"]).await;
        let made: Json = serde_json::from_str(&made.done()).expect("JSON");
        let machine = made["machine_id"].as_str().expect("its id");
        let out = format!("{home}/membership");
        let names = ["--name", name(place), "--site", SITE];
        let files = ["--dir", operator, "--out", &out];
        program::ask(&[&["network", "admit", machine], &names[..], &files].concat())
            .await
            .done();
        let bootstrap = match place {
            Place::Open => String::new(),
            Place::Left | Place::Right => {
                format!("\"/ip4/{}/udp/4001/quic/noise\"", Place::Open.ip())
            }
        };
        let text = format!(
            "[network]\nnetwork_key_file = \"{operator}/network.key\"\n\
             operator_file = \"{operator}/operator.pub\"\nbootstrap = [{bootstrap}]\n\
             [listen]\nmdns = false\n[api]\nmetrics = \"\"\n"
        );
        std::fs::write(format!("{home}/fieldmesh.toml"), text).expect("a configuration");
    }

    /// Starts the machine of a place and waits until it is ready.
    pub(crate) async fn start(&self, place: Place) -> Running {
        let home = self.file(name(place));
        let mut command = self.namespaces.command(place, &program::fieldmesh());
        command.args(["run", "--config", &format!("{home}/fieldmesh.toml")]);
        let node = Running::start(&mut command, &PathBuf::from(format!("{home}/log")));
        until("the node is ready", START_LIMIT, async || {
            let status = self.json(place, &["status"]).await?;
            let is_ready = status.iter().any(|status| status["ready"] == true);
            is_ready.then_some(()).ok_or("not ready".to_owned())
        })
        .await;
        node
    }

    /// Asks the node in a place, from that place.
    pub(crate) async fn ask(&self, place: Place, arguments: &[&str]) -> Ended {
        let command = self.namespaces.command(place, &program::fieldmesh());
        let before = command
            .get_args()
            .map(|argument| argument.to_str().expect("text"));
        let arguments: Vec<&str> = before.chain(arguments.iter().copied()).collect();
        program::run(command.get_program().as_ref(), &arguments, "").await
    }

    /// What the node answers, an object a line.
    async fn json(&self, place: Place, arguments: &[&str]) -> Result<Vec<Json>, String> {
        let ended = self
            .ask(place, &[arguments, &["--output", "json"]].concat())
            .await;
        if ended.code != Some(0) {
            return Err(ended.stderr);
        }
        let objects = ended.stdout.lines().map(serde_json::from_str);
        objects
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())
    }

    /// Whether a machine says that it has a link to another.
    pub(crate) async fn is_linked(&self, from: Place, to: Place) -> Result<(), String> {
        self.path_between(from, to).await.map(|_| ())
    }

    /// Over what a machine is linked with another, as it says itself.
    pub(crate) async fn path_between(&self, from: Place, to: Place) -> Result<String, String> {
        let peers = self.json(from, &["peers"]).await?;
        let other = peers.iter().find(|peer| peer["name"] == name(to));
        let path = other.and_then(|peer| peer["transport"].as_str());
        path.map(str::to_owned)
            .ok_or(format!("not among {peers:?}"))
    }

    /// The id of the machine of a place.
    pub(crate) async fn machine_id(&self, place: Place) -> String {
        let status = self.json(place, &["status"]).await.expect("its status");
        status[0]["machine_id"].as_str().expect("its id").to_owned()
    }

    /// Publishes a reading at a place.
    pub(crate) async fn publish_at(&self, place: Place, value: f64) {
        let value = value.to_string();
        self.ask(
            place,
            &["publish", "--series", SERIES, "--unit", "Cel", &value],
        )
        .await
        .done();
    }

    /// Whether the machine of a place answers with that value.
    pub(crate) async fn has(&self, place: Place, value: f64) -> Result<(), String> {
        let latest = self.ask(place, &["latest", SERIES]).await;
        if latest.stdout.contains(&value.to_string()) {
            return Ok(());
        }
        Err(format!("{}{}", latest.stdout, latest.stderr))
    }

    /// A path in its directory.
    pub(crate) fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!(
                "--- everything of the site is in {}",
                self.dir.path().display()
            );
        }
    }
}

/// The name of the machine of a place.
pub(crate) fn name(place: Place) -> &'static str {
    match place {
        Place::Left => "left-press",
        Place::Right => "right-press",
        Place::Open => "open-gate",
    }
}

/// The site of all of them.
pub(crate) const SITE: &str = "hall-3";
/// What is published.
pub(crate) const SERIES: &str = "hall/temperature";
const PLACES: [Place; 3] = [Place::Open, Place::Left, Place::Right];
/// Source: guess.
const START_LIMIT: Duration = Duration::from_secs(20);
