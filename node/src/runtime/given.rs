//! What this machine is given while it runs, a newer membership or a newer network key: put to use
//! at once, and written to its files, for which the loop does not wait.

use std::path::Path;

use identity::{EpochKey, Membership, file};

use super::Runtime;
use crate::audit::{Kind, Record};
use crate::clock;
use crate::config::NetworkSettings;
use crate::newest::NewestFile;

/// The files that this machine starts from.
///
/// What cannot be written costs nothing but the warning: the store holds it as well, and a node
/// that starts with the older file takes the newer one from there.
#[derive(Debug)]
pub struct GivenFiles {
    membership: NewestFile,
    network_key: NewestFile,
}

impl GivenFiles {
    /// Those that the configuration names.
    #[must_use]
    pub fn new(settings: &NetworkSettings) -> Self {
        let file = |path: &Path| NewestFile::new(path.to_owned(), COMPLAINT);
        Self {
            membership: file(&settings.membership_file),
            network_key: file(&settings.network_key_file),
        }
    }

    /// Starts writes of what waits; never waits.
    pub fn save_if_due(&mut self) {
        self.membership.write_if_free();
        self.network_key.write_if_free();
    }

    /// Writes what there is at the end.
    pub async fn close(self) {
        self.membership.close().await;
        self.network_key.close().await;
    }
}

impl Runtime {
    /// This machine has a newer membership.
    pub(super) fn on_renewed(&mut self, membership: Membership) {
        let grant = membership.grant();
        let machine = grant.machine;
        let record = Record::new(
            clock::wall_time(),
            Kind::Renewed,
            membership.issuer(),
            machine,
        );
        self.record(Some(record));
        self.grant = grant.clone();
        let text = file::write_membership(&membership);
        self.given.membership.put(text);
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
        let text = file::write_network_keys(&keys);
        self.given.network_key.put(text.as_bytes());
        self.network_keys = keys;
    }
}

/// What is said when one cannot be written.
const COMPLAINT: &str = "a newer file is not written; it is in use all the same";
