//! The other side of the Influx sink: an `influxd` or a `victoria-metrics` process.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use uplink::{ClientIdentity, Item};

use super::process::{Process, Slowed, free_port};
use super::suite::Counterpart;

/// A store; ends with this value.
pub(crate) struct Store {
    kind: Kind,
    dir: TempDir,
    port: u16,
    tls: Option<ClientIdentity>,
    slowed: Option<Slowed>,
    process: Option<Process>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Influx,
    Victoria { deduplicates: bool },
}

impl Store {
    /// Starts an InfluxDB with the database `fieldmesh`.
    pub(crate) async fn start_influx() -> Self {
        let store = Self::start(Kind::Influx).await;
        store.create_database().await;
        store
    }

    /// Starts an InfluxDB without a database.
    pub(crate) async fn start_influx_empty() -> Self {
        Self::start(Kind::Influx).await
    }

    /// Starts a VictoriaMetrics as the manual advises.
    pub(crate) async fn start_victoria() -> Self {
        Self::start(Kind::Victoria { deduplicates: true }).await
    }

    /// Starts a VictoriaMetrics that keeps every copy of a point.
    pub(crate) async fn start_victoria_with_copies() -> Self {
        Self::start(Kind::Victoria {
            deduplicates: false,
        })
        .await
    }

    /// Starts a VictoriaMetrics behind TLS.
    pub(crate) async fn start_victoria_tls(identity: &ClientIdentity) -> Self {
        let kind = Kind::Victoria { deduplicates: true };
        Self::start_with(kind, Some(identity.clone())).await
    }

    /// Starts it again without TLS.
    pub(crate) async fn go_on_without_tls(&mut self) {
        self.tls = None;
        self.fail().await;
        self.heal().await;
    }

    async fn start(kind: Kind) -> Self {
        Self::start_with(kind, None).await
    }

    async fn start_with(kind: Kind, tls: Option<ClientIdentity>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let mut store = Self {
            kind,
            dir,
            port,
            tls,
            slowed: None,
            process: None,
        };
        store.heal().await;
        store
    }

    pub(crate) async fn create_database(&self) {
        self.get("/query?q=CREATE+DATABASE+fieldmesh").await;
    }

    fn arguments(&self) -> (&'static str, Vec<String>) {
        let dir = self.dir.path().display();
        match self.kind {
            Kind::Victoria { deduplicates } => {
                let mut arguments = vec![
                    format!("-storageDataPath={dir}"),
                    format!("-httpListenAddr=127.0.0.1:{}", self.port),
                    "-retentionPeriod=100y".to_owned(),
                ];
                if deduplicates {
                    arguments.push("-dedup.minScrapeInterval=1ms".to_owned());
                }
                if let Some(identity) = &self.tls {
                    let (cert, key) = (identity.cert_file.display(), identity.key_file.display());
                    arguments.push("-tls".to_owned());
                    arguments.push(format!("-tlsCertFile={cert}"));
                    arguments.push(format!("-tlsKeyFile={key}"));
                }
                ("victoria-metrics", arguments)
            }
            Kind::Influx => {
                let mut config = String::from("reporting-disabled = true\n");
                let backup = free_port();
                writeln!(config, "bind-address = \"127.0.0.1:{backup}\"").expect("text");
                writeln!(config, "[meta]\ndir = \"{dir}/meta\"").expect("text");
                writeln!(config, "[data]\ndir = \"{dir}/data\"").expect("text");
                writeln!(config, "wal-dir = \"{dir}/wal\"").expect("text");
                writeln!(config, "[monitor]\nstore-enabled = false").expect("text");
                writeln!(config, "[http]\nbind-address = \"127.0.0.1:{}\"", self.port)
                    .expect("text");
                let path = self.dir.path().join("influxdb.conf");
                fs::write(&path, config).expect("written");
                (
                    "influxd",
                    vec!["-config".to_owned(), path.display().to_string()],
                )
            }
        }
    }

    /// Writes a point past the uplink.
    pub(crate) async fn write(&self, line: &str) {
        let length = line.len();
        let head = format!("POST /write?db=fieldmesh HTTP/1.0\r\nContent-Length: {length}");
        let request = format!("{head}\r\n\r\n{line}");
        let answer = self.call(&request).await.expect("answered");
        body_of(&answer, " 204 ");
    }

    /// Asks again if the store drops the connection, as it does now and then just after its start.
    async fn get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        for _ in 0..GET_TRIES {
            if let Ok(answer) = self.call(&request).await {
                return body_of(&answer, " 200 ");
            }
            tokio::time::sleep(GET_PAUSE).await;
        }
        panic!("the store does not answer {path}");
    }

    async fn call(&self, request: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    /// Every copy of every point.
    pub(crate) async fn points(&self) -> Vec<Json> {
        match self.kind {
            Kind::Influx => self.points_of_influx().await,
            Kind::Victoria { .. } => self.points_of_victoria().await,
        }
    }

    async fn points_of_influx(&self) -> Vec<Json> {
        let query = "/query?db=fieldmesh&epoch=ns&q=SELECT+*+FROM+fieldmesh";
        let answer: Json = serde_json::from_str(&self.get(query).await).expect("JSON");
        let Some(found) = answer["results"][0]["series"].get(0) else {
            return Vec::new();
        };
        let columns = found["columns"].as_array().expect("columns");
        let rows = found["values"].as_array().expect("rows").iter();
        let point = |row: &Json| {
            let names = columns.iter().map(|name| name.as_str().expect("a name"));
            let fields: BTreeMap<&str, &Json> = names.zip(row.as_array().expect("row")).collect();
            json!({
                "time_ns": fields["time"], "series": fields["series"],
                "machine_id": fields["machine_id"], "unit": fields["unit"],
                "mean": fields["mean"], "last_sequence": fields["last_sequence"],
            })
        };
        rows.map(point).collect()
    }

    async fn points_of_victoria(&self) -> Vec<Json> {
        let export = async |field: &str| {
            let query = format!("/api/v1/export?match[]=fieldmesh_{field}");
            let answer = self.get(&query).await;
            let mut points = Vec::new();
            for line in answer.lines() {
                let mut series: Json = serde_json::from_str(line).expect("JSON");
                let metric = series["metric"].take();
                let values = series["values"].as_array().expect("values");
                let times = series["timestamps"].as_array().expect("timestamps");
                for (time, value) in times.iter().zip(values) {
                    points.push((
                        time.as_i64().expect("a number"),
                        metric.clone(),
                        value.clone(),
                    ));
                }
            }
            points.sort_by_key(|(time, metric, _)| (*time, metric["machine_id"].to_string()));
            points
        };
        self.get("/internal/force_flush").await; // Points are not found for a second otherwise.
        let (means, sequences) = (export("mean").await, export("last_sequence").await);
        let point = |((time, metric, mean), (_, _, sequence)): (_, (_, _, Json))| {
            let (time, metric, mean): (i64, Json, Json) = (time, metric, mean);
            json!({
                "time_ns": time * 1_000_000, "series": metric["series"],
                "machine_id": metric["machine_id"], "unit": metric["unit"],
                "mean": mean, "last_sequence": sequence,
            })
        };
        means.into_iter().zip(sequences).map(point).collect()
    }
}

impl Counterpart for Store {
    fn url(&self) -> String {
        format!("influx+http://127.0.0.1:{}", self.port)
    }

    async fn fail(&mut self) {
        let process = self.process.take().expect("it runs");
        match self.kind {
            Kind::Influx => drop(process), // Killed: what it has acknowledged is synced.
            Kind::Victoria { .. } => process.stop(),
        }
    }

    async fn heal(&mut self) {
        let (program, arguments) = self.arguments();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.process = Some(Process::start(program, &arguments, self.port).await);
    }

    fn slow(&mut self) {
        self.slowed = self.process.as_ref().map(Slowed::process);
    }

    fn quicken(&mut self) {
        self.slowed = None;
    }

    const KEEPS_COPIES: bool = false;

    fn expected(item: &Item) -> Json {
        let record: Json = serde_json::from_slice(&item.json()).expect("JSON");
        let uplink_record = &item.record;
        let aggregate::Record::Window(window) = uplink_record else {
            panic!("a window");
        };
        json!({
            "time_ns": window.key.window_start.as_nanos(), "series": record["series"],
            "machine_id": record["machine_id"], "unit": record["unit"],
            "mean": record["mean"], "last_sequence": record["last_sequence"],
        })
    }

    async fn received(&mut self, at_least: usize) -> Vec<Json> {
        let all = async {
            loop {
                let points = self.points().await;
                if points.len() >= at_least {
                    return points;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(Duration::from_secs(60), all)
            .await
            .expect("all arrive")
    }
}

/// The body of an answer with this status.
fn body_of(answer: &str, status: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains(status), "{answer}");
    body.to_owned()
}

/// How often a query is asked before the store counts as broken.
const GET_TRIES: u32 = 20;
const GET_PAUSE: Duration = Duration::from_millis(100);
