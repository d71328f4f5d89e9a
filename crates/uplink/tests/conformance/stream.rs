//! The other side of the JetStream sink: `nats-server` processes with one stream.

use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::time::timeout;

use super::process::{Process, Slowed, free_port};
use super::suite::Counterpart;
use super::tls::Authority;

/// A server or a cluster, with the stream that takes records; ends with this value.
pub(crate) struct Stream {
    slowed: Vec<Slowed>,
    servers: Vec<Server>,
    /// How to ask it for what has arrived.
    options: ConnectOptions,
    _dir: TempDir,
}

struct Server {
    arguments: Vec<String>,
    port: u16,
    process: Option<Process>,
}

impl Stream {
    /// Starts one server.
    pub(crate) async fn start() -> Self {
        Self::start_with(&json!({})).await
    }

    /// Starts one server; `settings` are the stream's.
    pub(crate) async fn start_with(settings: &Json) -> Self {
        let mut stream = Self::without_stream(1);
        stream.heal().await;
        stream.create(settings).await;
        stream
    }

    /// Starts one server that speaks TLS only, and asks for certificates.
    pub(crate) async fn start_tls(authority: &Authority) -> Self {
        let mut stream = Self::without_stream(1);
        let server = authority.sign("127.0.0.1");
        let (ca_file, client) = (authority.ca_file(), authority.client("admin"));
        let files = [&server.cert_file, &server.key_file, &ca_file].map(|path| path.display());
        let [cert, key, ca] = files;
        let tls = format!("--tls --tlsverify --tlscert {cert} --tlskey {key} --tlscacert {ca}");
        let tls = tls.split(' ').map(str::to_owned);
        stream.servers[0].arguments.extend(tls);
        stream.options = ConnectOptions::new()
            .require_tls(true)
            .tls_client_config(client);
        stream.heal().await;
        stream.create(&json!({})).await;
        stream
    }

    /// Starts a cluster of three, each of which has all of the stream.
    pub(crate) async fn start_cluster() -> Self {
        let mut stream = Self::without_stream(3);
        stream.heal().await;
        stream.create(&json!({ "num_replicas": 3 })).await;
        stream
    }

    fn without_stream(count: usize) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let routes: Vec<String> = (0..count)
            .map(|_| format!("nats://127.0.0.1:{}", free_port()))
            .collect();
        let server = |(index, route): (usize, &String)| {
            let port = free_port();
            let store = dir.path().join(index.to_string());
            let mut arguments = format!(
                "--jetstream --addr 127.0.0.1 --port {port} --store_dir {}",
                store.display()
            );
            if count > 1 {
                let name = format!(" --name s{index} --cluster_name c --cluster {route}");
                arguments.push_str(&format!("{name} --routes {}", routes.join(",")));
            }
            Server {
                arguments: arguments.split(' ').map(str::to_owned).collect(),
                port,
                process: None,
            }
        };
        Self {
            servers: routes.iter().enumerate().map(server).collect(),
            slowed: Vec::new(),
            options: ConnectOptions::new(),
            _dir: dir,
        }
    }

    /// Makes the stream, once the servers are ready for it.
    async fn create(&self, settings: &Json) {
        let mut config = json!({ "name": "S", "subjects": ["fieldmesh.>"], "storage": "file" });
        let all = config.as_object_mut().expect("an object");
        all.extend(settings.as_object().expect("an object").clone());
        let client = self.client().await;
        let made = async {
            while call(&client, "STREAM.CREATE.S", &config).await["config"].is_null() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(Duration::from_secs(60), made)
            .await
            .expect("the stream is made");
    }

    /// Changes settings of the stream.
    pub(crate) async fn update(&self, settings: &Json) {
        let client = self.client().await;
        let mut config = call(&client, "STREAM.INFO.S", &json!({})).await["config"].take();
        let all = config.as_object_mut().expect("an object");
        all.extend(settings.as_object().expect("an object").clone());
        let answer = call(&client, "STREAM.UPDATE.S", &config).await;
        assert!(answer["error"].is_null(), "{answer}");
    }

    /// Kills the server that leads the stream.
    pub(crate) async fn kill_leader(&mut self) {
        let info = call(&self.client().await, "STREAM.INFO.S", &json!({})).await;
        let leader = info["cluster"]["leader"].as_str().expect("a leader");
        let index: usize = leader.trim_start_matches('s').parse().expect("a number");
        self.servers[index].process = None;
    }

    pub(crate) async fn client(&self) -> Client {
        let url = self.url();
        let hosts: Vec<&str> = url.trim_start_matches("nats://").split(',').collect();
        let options = self.options.clone();
        options.connect(hosts).await.expect("connected")
    }
}

/// A call of the JetStream API; without an answer, null.
async fn call(client: &Client, name: &str, request: &Json) -> Json {
    let request = client.request(format!("$JS.API.{name}"), request.to_string().into());
    match request.await {
        Ok(answer) => serde_json::from_slice(&answer.payload).expect("JSON"),
        Err(_) => Json::Null,
    }
}

impl Counterpart for Stream {
    fn url(&self) -> String {
        let hosts: Vec<String> = self
            .servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port))
            .collect();
        format!("nats://{}", hosts.join(","))
    }

    async fn fail(&mut self) {
        self.servers
            .iter_mut()
            .for_each(|server| server.process = None);
    }

    async fn heal(&mut self) {
        for server in &mut self.servers {
            let arguments: Vec<&str> = server.arguments.iter().map(String::as_str).collect();
            let process = Process::start("nats-server", &arguments, server.port).await;
            server.process = Some(process);
        }
    }

    fn slow(&mut self) {
        let processes = self.servers.iter().flat_map(|server| &server.process);
        self.slowed = processes.map(Slowed::process).collect();
    }

    fn quicken(&mut self) {
        self.slowed.clear();
    }

    const KEEPS_COPIES: bool = false;

    async fn received(&mut self, at_least: usize) -> Vec<Json> {
        let client = self.client().await;
        let last = async {
            loop {
                let info = call(&client, "STREAM.INFO.S", &json!({})).await;
                let last = info["state"]["last_seq"].as_u64().unwrap_or_default();
                if last >= at_least as u64 {
                    return last;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let last = timeout(Duration::from_secs(60), last)
            .await
            .expect("all are there");
        let mut records = Vec::new();
        for seq in 1..=last {
            let answer = call(&client, "STREAM.MSG.GET.S", &json!({ "seq": seq })).await;
            let data = answer["message"]["data"].as_str().expect("a message");
            let record = STANDARD.decode(data).expect("base64");
            records.push(serde_json::from_slice(&record).expect("JSON"));
        }
        records
    }
}
