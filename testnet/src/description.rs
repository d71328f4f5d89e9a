//! `testnet.json`: what runs where, for people and programs.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// What runs where.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Description {
    /// The network's id.
    pub network: String,
    /// The testnet's directory.
    pub dir: PathBuf,
    /// The machines in the order of their numbers.
    pub nodes: Vec<NodeDescription>,
    /// Where relays send aggregates.
    pub uplinks: Vec<String>,
}

/// What one machine is and where it answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NodeDescription {
    /// Its display name.
    pub name: String,
    /// Its id.
    pub machine_id: String,
    /// Its process; 0 while it does not run.
    pub pid: u32,
    /// Its configuration file.
    pub config: PathBuf,
    /// Its log.
    pub log: PathBuf,
    /// Where all that it takes in is written down, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<PathBuf>,
    /// The network namespace that it runs in, and where its other addresses are to be found; for
    /// `ip netns exec`. `None` if it shares the computer's network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// Where its gRPC services listen: an address, or `unix:` and a path.
    pub grpc: String,
    /// Where its metrics are read.
    pub metrics: String,
    /// Where it takes links from other machines, over QUIC.
    pub quic: String,
    /// Where it takes them over TCP.
    pub tcp: String,
    /// Its site.
    pub site: String,
    /// What it may do.
    pub roles: Vec<String>,
}

impl NodeDescription {
    /// Where its gRPC services listen, as a client wants it.
    #[must_use]
    pub fn grpc_uri(&self) -> String {
        if self.grpc.starts_with("unix:") {
            self.grpc.clone()
        } else {
            format!("http://{}", self.grpc)
        }
    }
}

impl Description {
    /// The name of the file in the testnet's directory.
    pub const FILE: &str = "testnet.json";

    /// Writes it, so that a reader never sees half of it.
    ///
    /// # Errors
    ///
    /// If the directory cannot be written to.
    pub fn write(&self) -> anyhow::Result<()> {
        let path = self.dir.join(Self::FILE);
        let temporary = path.with_extension("json.new");
        std::fs::write(&temporary, serde_json::to_string_pretty(self)?)
            .and_then(|()| std::fs::rename(&temporary, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads the one of a running testnet.
    ///
    /// # Errors
    ///
    /// If there is none in `dir`.
    pub fn read(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(Self::FILE);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("no testnet runs in {}", dir.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }
}
