//! What this machine is given while it runs, a newer membership or a newer network key: put to use at
//! once, and written to its files, for which the loop does not wait.

use std::collections::BTreeMap;
use std::path::PathBuf;

use identity::{EpochKey, Membership, file};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::Runtime;
use crate::audit::{Kind, Record};
use crate::clock;
use crate::config::NetworkSettings;
use crate::keys;

/// The files that this machine starts from.
///
/// What cannot be written costs nothing but the warning: the store holds it as well, and a node that
/// starts with the older file takes the newer one from there.
#[derive(Debug)]
pub struct GivenFiles {
    membership: PathBuf,
    network_key: PathBuf,
    /// The newest text of each file that is not written yet.
    pending: BTreeMap<PathBuf, Zeroizing<String>>,
    /// A write that is under way.
    writing: Option<JoinHandle<()>>,
}

impl GivenFiles {
    /// Those that the configuration names.
    #[must_use]
    pub fn new(settings: &NetworkSettings) -> Self {
        Self {
            membership: settings.membership_file.clone(),
            network_key: settings.network_key_file.clone(),
            pending: BTreeMap::new(),
            writing: None,
        }
    }

    /// Starts a write if there is anything to write and none is under way; never waits.
    pub fn save_if_due(&mut self) {
        let is_writing = self.writing.as_ref().is_some_and(|it| !it.is_finished());
        if self.pending.is_empty() || is_writing {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        self.writing = Some(tokio::task::spawn_blocking(move || {
            for (path, text) in pending {
                if let Err(error) = keys::replace(&path, &text) {
                    tracing::warn!(%error, "a newer file is not written; it is in use all the same");
                }
            }
        }));
    }

    /// Writes what there is at the end.
    pub async fn close(mut self) {
        for _ in 0..2 {
            if let Some(writing) = self.writing.take() {
                let _ = writing.await; // Says itself what went wrong.
            }
            self.save_if_due();
        }
    }
}

impl Runtime {
    /// This machine has a newer membership.
    pub(super) fn on_renewed(&mut self, membership: Membership) {
        let grant = membership.grant();
        let (machine, path) = (grant.machine, self.given.membership.clone());
        let record = Record::new(
            clock::wall_time(),
            Kind::Renewed,
            membership.issuer(),
            machine,
        );
        self.record(Some(record));
        self.grant = grant.clone();
        let text = Zeroizing::new(file::write_membership(&membership));
        self.given.pending.insert(path, text);
        self.swarm.show(membership);
    }

    /// The operator has given this machine a network key.
    pub(super) fn on_network_key(&mut self, key: EpochKey) {
        let epoch = key.epoch.0;
        let mut keys = self.network_keys.clone();
        if !keys.advance(key) {
            return; // It has come back from the store.
        }
        if let Err(error) = self.swarm.set_network_keys(&keys) {
            tracing::error!(%error, "the newer network key is of no use");
            return;
        }
        tracing::info!(epoch, "a newer network key is in use");
        let (operator, machine) = (self.node.roll().trust().operator(), self.node.machine());
        let record = Record::new(clock::wall_time(), Kind::NetworkKey, operator, machine);
        self.record(Some(record.with(format!("epoch {epoch}"))));
        let path = self.given.network_key.clone();
        let text = file::write_network_keys(&keys);
        self.given.pending.insert(path, text);
        self.network_keys = keys;
    }
}
