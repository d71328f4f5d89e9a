//! The other side of the MQTT sink: a `mosquitto` of its own, and a subscriber.
//!
//! The subscriber's session outlives the broker, which keeps it on disk, so that nothing that was
//! acknowledged escapes it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::Packet;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions};
use rustix::process::Signal;
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use uplink::ClientIdentity;

use super::process::{Process, Slowed, free_port, run};
use super::suite::Counterpart;

/// A broker on a loopback port of its own; ends with this value.
pub(crate) struct Broker {
    dir: TempDir,
    port: u16,
    tls_port: u16,
    /// What follows the port in the URL.
    suffix: &'static str,
    slowed: Option<Slowed>,
    process: Option<Process>,
    arrived: mpsc::Receiver<Json>,
    received: Vec<Json>,
    _subscriber: JoinSet<()>,
}

impl Broker {
    /// Starts a broker with more lines in its configuration.
    pub(crate) async fn start(settings: &str) -> Self {
        Self::start_with(settings, "allow_anonymous true\n", None).await
    }

    /// Starts a broker that is spoken to in MQTT 3.1.1.
    pub(crate) async fn start_v3(settings: &str) -> Self {
        let mut broker = Self::start(settings).await;
        broker.suffix = "?version=3.1.1";
        broker
    }

    pub(crate) async fn start_with_acl(acl: &str) -> Self {
        Self::start_with(
            "acl_file acl\n",
            "allow_anonymous true\n",
            Some(("acl", acl)),
        )
        .await
    }

    /// Starts a broker that nobody else may use; the subscriber stays outside.
    pub(crate) async fn start_with_password(user: &str, password: &str) -> Self {
        let login = format!("{user}:{password}\n");
        let settings = "password_file passwords\n";
        Self::start_with(
            settings,
            "allow_anonymous false\n",
            Some(("passwords", &login)),
        )
        .await
    }

    /// Starts a broker that takes relays over TLS with a certificate, and the subscriber without.
    pub(crate) async fn start_tls(ca_file: &Path, identity: &ClientIdentity) -> Self {
        let port = free_port();
        let listener = tls_listener(port, identity);
        let mut broker = Self::start(&format!(
            "{listener}cafile {}\nrequire_certificate true\n",
            ca_file.display()
        ))
        .await;
        broker.tls_port = port;
        broker
    }

    /// Starts a broker that takes those with a password over TLS; there is no subscriber.
    pub(crate) async fn start_tls_with_password(
        identity: &ClientIdentity,
        user: &str,
        password: &str,
    ) -> Self {
        let port = free_port();
        let settings = format!("password_file passwords\n{}", tls_listener(port, identity));
        let login = format!("{user}:{password}\n");
        let file = Some(("passwords", login.as_str()));
        let mut broker = Self::start_with(&settings, "allow_anonymous false\n", file).await;
        broker.tls_port = port;
        broker
    }

    pub(crate) fn tls_url(&self) -> String {
        format!("mqtts://127.0.0.1:{}", self.tls_port)
    }

    async fn start_with(settings: &str, access: &str, file: Option<(&str, &str)>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let path = dir.path().display();
        let mut config = format!("listener {port} 127.0.0.1\nuser root\n{access}");
        writeln!(config, "persistence true\npersistence_location {path}/").expect("text");
        writeln!(config, "max_queued_messages 100000\n{settings}").expect("text");
        if let Some((name, content)) = file {
            let path = dir.path().join(name);
            fs::write(&path, content).expect("written");
            config = config.replace(
                &format!("_file {name}"),
                &format!("_file {}", path.display()),
            );
            if name == "passwords" {
                run("mosquitto_passwd", &["-U".as_ref(), path.as_ref()]);
            }
        }
        fs::write(dir.path().join("mosquitto.conf"), config).expect("written");
        let (arrived_tx, arrived) = mpsc::channel(65_536);
        let mut broker = Self {
            dir,
            port,
            tls_port: 0,
            suffix: "",
            slowed: None,
            process: None,
            arrived,
            received: Vec::new(),
            _subscriber: JoinSet::new(),
        };
        broker.run().await;
        if access.contains("true") {
            broker._subscriber = subscribe(port, arrived_tx).await;
        }
        broker
    }

    async fn run(&mut self) {
        let config = self.dir.path().join("mosquitto.conf");
        let arguments = ["-c", config.to_str().expect("text")];
        self.process = Some(Process::start("mosquitto", &arguments, self.port).await);
    }

    /// Stops the process without ending it.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    pub(crate) fn url_with_login(&self, login: &str) -> String {
        format!("mqtt://{login}@127.0.0.1:{}", self.port)
    }
}

impl Counterpart for Broker {
    fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}{}", self.port, self.suffix)
    }

    async fn fail(&mut self) {
        // In order, since a killed broker forgets its sessions, the subscriber's among them.
        self.process.take().expect("it runs").stop();
    }

    async fn heal(&mut self) {
        self.run().await;
    }

    fn slow(&mut self) {
        self.slowed = self.process.as_ref().map(Slowed::process);
    }

    fn quicken(&mut self) {
        self.slowed = None;
    }

    const KEEPS_COPIES: bool = true;

    async fn received(&mut self, at_least: usize) -> Vec<Json> {
        while self.received.len() < at_least {
            let next = timeout(Duration::from_secs(60), self.arrived.recv()).await;
            let next = next.unwrap_or_else(|_| panic!("{} have arrived", self.received.len()));
            self.received.push(next.expect("the subscriber runs"));
        }
        while let Ok(next) = self.arrived.try_recv() {
            self.received.push(next);
        }
        self.received.clone()
    }
}

fn tls_listener(port: u16, identity: &ClientIdentity) -> String {
    let (cert, key) = (identity.cert_file.display(), identity.key_file.display());
    format!("listener {port} 127.0.0.1\ncertfile {cert}\nkeyfile {key}\n")
}

/// Subscribes to everything and passes it on, through every outage.
async fn subscribe(port: u16, arrived: mpsc::Sender<Json>) -> JoinSet<()> {
    let mut options = MqttOptions::new("subscriber", ("127.0.0.1", port));
    options
        .set_clean_start(false)
        .set_session_expiry_interval(Some(3_600));
    options.set_unlimited_incoming_packet_size();
    let (client, mut events) = AsyncClient::builder(options).capacity(16).build();
    client
        .subscribe("fieldmesh/#", QoS::AtLeastOnce)
        .await
        .expect("queued");
    loop {
        if let Event::Incoming(Packet::SubAck(_)) = events.poll().await.expect("connected") {
            break;
        }
    }
    let mut task = JoinSet::new();
    task.spawn(async move {
        let _client = client;
        pass_on(&mut events, arrived).await;
    });
    task
}

/// What a stopped broker sends again, because it had not heard that it has come, is left out; what
/// was published again is not.
async fn pass_on(events: &mut EventLoop, arrived: mpsc::Sender<Json>) {
    let mut seen = BTreeSet::new();
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                if !seen.insert(publish.payload.clone()) && publish.dup {
                    continue;
                }
                let record = serde_json::from_slice(&publish.payload).expect("JSON");
                arrived.send(record).await.expect("the test waits for it");
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
