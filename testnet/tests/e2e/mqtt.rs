//! A real broker as uplink.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use proto::v1::UplinkStatus;
use proto::v1::uplink_status::State;
use rustix::process::Signal;

use crate::feed::Feeds;
use crate::program::Running;
use crate::testnet::Testnet;
use crate::wait::until;
use crate::{gate, judge, python};

#[tokio::test]
async fn every_window_reaches_the_subscribers_of_a_broker_that_was_away_in_between() {
    let _turn = gate::alone();
    let address = "127.0.15.200:18830";
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut broker = Broker::start(address, home.path()).await;
    let subscriber = broker.subscribe("sub").await;
    let paho = broker.subscribe_by_paho("paho").await;
    let uplink = format!("mqtt://{address}");
    let arguments = ["--quiet-sources", "--window", "1s", "--uplink", &uplink];
    let testnet = Testnet::start("127.0.15", 3, &arguments).await;
    let feeds = Feeds::start(&testnet);
    let arrived = |path: &Path| judge::records(path).len();
    until("the first windows arrive", ARRIVE_TIMEOUT, async || match (
        arrived(&subscriber.path),
        arrived(&paho.path),
    ) {
        (0, _) | (_, 0) => Err("none".to_owned()),
        _ => Ok(()),
    })
    .await;

    broker.stop();
    let stopped = Instant::now();
    until(
        "every machine says so, and what waits",
        ARRIVE_TIMEOUT,
        async || {
            for client in testnet.clients() {
                let status = client.status().await.map_err(|status| status.to_string())?;
                let waits = |uplink: &UplinkStatus| {
                    let backlog = (uplink.backlog, uplink.backlog_bytes, uplink.backlog_oldest);
                    uplink.state() == State::Down
                        && matches!(backlog, (1.., 1.., Some(_)))
                        && !uplink.last_error.is_empty()
                        && uplink.next_try.is_some()
                };
                if !status.uplinks.iter().all(waits) {
                    return Err(format!("{:?}", status.uplinks));
                }
            }
            Ok(())
        },
    )
    .await;
    tokio::time::sleep(OUTAGE.saturating_sub(stopped.elapsed())).await;
    broker.start_again().await;
    let fed = feeds.stop().await;

    judge::all_arrive(&fed, Duration::from_secs(1), &subscriber.path).await;
    judge::all_arrive(&fed, Duration::from_secs(1), &paho.path).await;
}

/// A running `mosquitto`.
#[derive(Debug)]
pub(crate) struct Broker {
    program: Option<Running>,
    address: String,
    home: PathBuf,
}

/// A running subscriber, which writes a line for each message.
#[derive(Debug)]
pub(crate) struct Subscriber {
    program: Running,
    path: PathBuf,
}

impl Subscriber {
    /// What has arrived so far.
    pub(crate) fn said(&self) -> String {
        self.program.said()
    }
}

impl Broker {
    /// Starts a broker with its files in `home`. Sessions outlive its restarts.
    pub(crate) async fn start(address: &str, home: &Path) -> Self {
        let (ip, port) = address.split_once(':').expect("IP:PORT");
        let config = format!(
            "listener {port} {ip}\nallow_anonymous true\nuser root\n\
             persistence true\npersistence_location {}/\nmax_queued_messages 0\n\
             log_dest stderr\nlog_type all\n",
            home.display()
        );
        std::fs::write(home.join("mosquitto.conf"), config).expect("a configuration");
        let (address, home) = (address.to_owned(), home.to_owned());
        let mut broker = Self {
            program: None,
            address,
            home,
        };
        broker.start_again().await;
        broker
    }

    /// Starts it again after [`Broker::stop`].
    async fn start_again(&mut self) {
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(self.home.join("mosquitto.conf"));
        self.program = Some(Running::start(&mut command, &self.log()));
        until("the broker listens", START_TIMEOUT, async || {
            TcpStream::connect(&self.address).map_err(|error| error.to_string())
        })
        .await;
    }

    /// Stops it in order, so that it writes its sessions down.
    fn stop(&mut self) {
        let mut program = self.program.take().expect("it runs");
        program.signal(Signal::TERM);
        assert_eq!(program.wait(), 0, "mosquitto ends in order");
    }

    /// Subscribes to all records with `mosquitto_sub`.
    pub(crate) async fn subscribe(&self, name: &str) -> Subscriber {
        let (ip, port) = self.address.split_once(':').expect("IP:PORT");
        let mut command = Command::new("mosquitto_sub");
        command.args([
            "-V", "mqttv5", "-h", ip, "-p", port, "-q", "1", "-t", TOPICS,
        ]);
        command.args(["-c", "-x", "3600", "-i", name]);
        self.subscribe_with(command, name).await
    }

    /// Subscribes to all records with a program in Python.
    async fn subscribe_by_paho(&self, name: &str) -> Subscriber {
        let (ip, port) = self.address.split_once(':').expect("IP:PORT");
        let mut command = Command::new(python::interpreter());
        command
            .arg(python::script("subscriber.py"))
            .args([ip, port, name, TOPICS]);
        self.subscribe_with(command, name).await
    }

    /// Starts a subscriber and waits until the broker knows.
    async fn subscribe_with(&self, mut command: Command, name: &str) -> Subscriber {
        let path = self.home.join(format!("{name}.ndjson"));
        let program = Running::start(&mut command, &path);
        until(
            "the broker takes the subscription",
            START_TIMEOUT,
            async || {
                let log = std::fs::read_to_string(self.log()).unwrap_or_default();
                let is_taken = log.contains(&format!("Sending SUBACK to {name}"));
                if is_taken { Ok(()) } else { Err(log) }
            },
        )
        .await;
        Subscriber { program, path }
    }

    fn log(&self) -> PathBuf {
        self.home.join("mosquitto.log")
    }
}

/// All records of all networks. Source: contract, default topics.
const TOPICS: &str = "fieldmesh/#";
/// Longest time until a broker or a subscriber runs.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the broker is away: several windows.
const OUTAGE: Duration = Duration::from_secs(5);
/// Longest time until windows of a second arrive.
const ARRIVE_TIMEOUT: Duration = Duration::from_secs(30);
