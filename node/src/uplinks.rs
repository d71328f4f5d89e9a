//! This machine's uplinks, and what they have not taken yet.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use aggregate::Record;
use election::UplinkId;
use engine::{Input, UploadId};
use model::{MachineId, Pattern};
use tokio::sync::mpsc;
use uplink::{Config, DropReason, Event, Item, Outgoing, Priority, SetAsideReader, Status, Uplink};

use crate::config::UplinkTarget;
use crate::keys::{self, KeyError};

/// What the uplinks of a configuration have set aside, for whoever lists it.
pub type SetAsideReaders = BTreeMap<UplinkId, SetAsideReader>;

/// This machine's uplinks.
#[derive(Debug)]
pub struct Uplinks {
    machine: MachineId,
    uplinks: BTreeMap<UplinkId, Held>,
}

#[derive(Debug)]
struct Held {
    uplink: Uplink,
    target: UplinkTarget,
    /// What it had no room for; bounded by what the engine keeps of each origin.
    waiting: VecDeque<Outgoing>,
}

impl Uplinks {
    /// Starts every uplink of the configuration, each with its outbox below `data_dir`.
    ///
    /// # Errors
    ///
    /// If an outbox cannot be opened.
    pub fn start(
        machine: MachineId,
        targets: &[UplinkTarget],
        data_dir: &Path,
        events: &mpsc::Sender<Event>,
    ) -> anyhow::Result<Self> {
        let mut uplinks = BTreeMap::new();
        for target in targets {
            let config = Config {
                access: target.access.clone(),
                backlog_bytes_max: target.backlog_bytes_max,
                backlog_age_max: target.backlog_age_max,
                backlog_rate: target.backlog_rate,
                daily_bytes_max: target.daily_bytes_max,
                when_spent: target.when_spent,
                ..Config::new(target.id.clone(), target.url.clone(), machine)
            };
            let home = home_of(target, data_dir);
            let seed = keys::random_bytes()?;
            let uplink = Uplink::start(config, &home, seed, events.clone())?;
            uplinks.insert(
                target.id.clone(),
                Held {
                    uplink,
                    target: target.clone(),
                    waiting: VecDeque::new(),
                },
            );
        }
        Ok(Self { machine, uplinks })
    }

    /// Hands a record to its uplink, or keeps it until there is room.
    pub fn upload(&mut self, id: &UplinkId, upload: UploadId, record: Record, name: String) {
        let Some(held) = self.uplinks.get_mut(id) else {
            return;
        };
        let priority = held.target.priority_of(&record, &name);
        let item = Item {
            record,
            machine_name: name,
            relay: self.machine,
        };
        held.waiting.push_back(Outgoing {
            id: upload.0,
            item,
            priority,
        });
        held.submit();
    }

    /// Drops what is not delivered of an origin.
    pub fn withdraw(&mut self, id: &UplinkId, origin: MachineId) {
        let Some(held) = self.uplinks.get_mut(id) else {
            return;
        };
        held.waiting
            .retain(|outgoing| outgoing.item.record.machine() != origin);
        held.uplink.withdraw(origin);
    }

    /// Translates what an uplink says for the engine.
    pub fn on_event(&mut self, event: Event) -> Option<Input> {
        let uploads = |ids: Vec<u64>| ids.into_iter().map(UploadId).collect::<Vec<_>>();
        let input = match event {
            Event::Reachable(uplink, reachable) => {
                if reachable {
                    tracing::info!(%uplink, "uplink can be reached");
                } else {
                    tracing::warn!(%uplink, "uplink cannot be reached; records wait");
                }
                Input::UplinkReachable(uplink, reachable)
            }
            Event::Delivered(uplink, ids) => Input::Uploaded(uplink, uploads(ids)),
            Event::SetAside {
                uplink,
                ids,
                key,
                reason,
            } => {
                tracing::warn!(%uplink, key, reason, "the sink refused a record for good");
                Input::Uploaded(uplink, uploads(ids))
            }
            Event::Dropped {
                uplink,
                ids,
                reason: DropReason::Unreadable,
                ..
            } => Input::UploadLost(uplink, uploads(ids)),
            Event::Dropped {
                uplink,
                ids,
                count,
                reason,
            } => {
                tracing::warn!(%uplink, count, ?reason, "records were dropped undelivered");
                Input::Uploaded(uplink, uploads(ids))
            }
            _ => return None,
        };
        self.submit();
        Some(input)
    }

    /// Hands over what waits, as far as there is room by now.
    pub fn submit(&mut self) {
        self.uplinks.values_mut().for_each(Held::submit);
    }

    /// How every uplink stands.
    pub fn status(&self) -> impl Iterator<Item = (&UplinkId, Status)> {
        self.uplinks.iter().map(|(id, held)| {
            let mut status = held.uplink.status();
            status.backlog_items += u64::try_from(held.waiting.len()).unwrap_or(u64::MAX);
            (id, status)
        })
    }

    /// What a record takes while it waits. Unit: bytes.
    pub fn bytes_of(&self, record: &Record) -> u64 {
        let item = Item {
            record: record.clone(),
            machine_name: String::new(),
            relay: self.machine,
        };
        item.bytes()
    }

    /// Ends every uplink; what is not delivered stays in the outboxes.
    pub async fn stop(self) {
        for (_, held) in self.uplinks {
            held.uplink.stop().await;
        }
    }
}

/// Where the uplinks of a configuration keep what they have set aside.
#[must_use]
pub fn set_aside(targets: &[UplinkTarget], data_dir: &Path) -> SetAsideReaders {
    let reader = |target: &UplinkTarget| {
        let reader = SetAsideReader::new(&home_of(target, data_dir));
        (target.id.clone(), reader)
    };
    targets.iter().map(reader).collect()
}

fn home_of(target: &UplinkTarget, data_dir: &Path) -> PathBuf {
    data_dir.join("uplinks").join(target.id.as_str())
}

/// Checks that nobody else can read the passwords and keys of uplinks.
///
/// # Errors
///
/// [`KeyError`], which names the file and what to do.
pub fn check_secrets(targets: &[UplinkTarget]) -> Result<(), KeyError> {
    let mut files = targets
        .iter()
        .flat_map(|target| target.access.secret_files());
    files.try_for_each(keys::check_secret)
}

impl UplinkTarget {
    fn priority_of(&self, record: &Record, machine_name: &str) -> Priority {
        let machine = record.machine().to_string();
        let fits = |pattern: &Pattern| {
            let of = pattern.machine();
            of.is_none_or(|of| of == machine || of == machine_name)
                && pattern.matches(&record.series().name)
        };
        if self.urgent.iter().any(fits) {
            Priority::Urgent
        } else if self.expendable.iter().any(fits) {
            Priority::Expendable
        } else if rule::is_alarm(&record.series().name) {
            Priority::Urgent
        } else {
            Priority::Normal
        }
    }
}

impl Held {
    /// In parts, so that a record more costs the same however many wait.
    fn submit(&mut self) {
        while !self.waiting.is_empty() {
            let part = self.waiting.len().min(PART_MAX);
            if let Err(full) = self.uplink.submit(self.waiting.drain(..part).collect()) {
                full.0
                    .into_iter()
                    .rev()
                    .for_each(|left| self.waiting.push_front(left));
                return;
            }
        }
    }
}

/// Most records that are handed over at once. Source: guess.
const PART_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config;

    #[test]
    fn a_password_or_key_that_others_can_read_keeps_the_node_from_starting() {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = "[[uplink]]\nid = \"a\"\nurl = \"mqtts://broker\"\n\
                        password_file = \"password\"\ncert_file = \"cert\"\nkey_file = \"key\"\n";
        let settings = config::parse(settings).expect("settings");
        let targets = settings.check(dir.path()).expect("it holds").uplinks;
        let allow = |name: &str, mode: u32| {
            let path = dir.path().join(name);
            fs::write(&path, "secret").expect("written");
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
        };
        for name in ["password", "key"] {
            allow(name, 0o600);
        }

        for name in ["password", "key"] {
            allow(name, 0o640);
            let refused = check_secrets(&targets).expect_err("exposed").to_string();
            assert!(refused.contains("run `chmod 600 "), "{refused}");
            assert!(
                refused.contains(&format!("/{name} has mode 640")),
                "{refused}"
            );
            allow(name, 0o600);
        }
        allow("cert", 0o644); // It is no secret.
        check_secrets(&targets).expect("all are in order");

        fs::remove_file(dir.path().join("key")).expect("removed");
        let missing = check_secrets(&targets).expect_err("missing").to_string();
        assert!(missing.contains("/key"), "{missing}");
    }
}
