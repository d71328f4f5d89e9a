//! What states say about machines and series, by subject.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use identity::{Membership, Trust};
use model::{Epoch, LogId, MachineId, SeriesDefinition, SeriesNumber, State, StateKind, Timestamp};

use crate::Presence;

/// What is known of a machine.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its membership.
    pub membership: Membership,
    /// What it said last about where it is; `None` before that.
    pub presence: Option<Presence>,
}

/// Machines and series as the states of kinds `Membership`, `Presence` and `Series` tell of them.
///
/// Bounded by what `gossip` keeps: it grows with accepted states only.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    members: BTreeMap<MachineId, Member>,
    series: BTreeMap<LogId, BTreeMap<SeriesNumber, Arc<SeriesDefinition>>>,
}

impl Catalogue {
    /// Takes in what a state says; states of other kinds say nothing here. A payload that does not
    /// decode changes nothing.
    pub fn apply(&mut self, trust: &Trust, state: &State) {
        let origin = state.key().origin;
        match state.key().kind {
            StateKind::Membership => {
                let Ok(membership) = trust.read(state.payload().clone()) else {
                    return;
                };
                if membership.grant().machine != origin {
                    return;
                }
                let presence = self
                    .members
                    .remove(&origin)
                    .and_then(|member| member.presence);
                self.members.insert(
                    origin,
                    Member {
                        membership,
                        presence,
                    },
                );
            }
            StateKind::Presence => {
                let Ok(presence) = Presence::from_payload(state.payload()) else {
                    return;
                };
                if let Some(member) = self.members.get_mut(&origin) {
                    member.presence = Some(presence);
                }
            }
            StateKind::Series => {
                let Some((epoch, number)) = series_subject(&state.key().subject) else {
                    return;
                };
                let Ok(definition) = SeriesDefinition::from_payload(state.payload()) else {
                    return;
                };
                let log = LogId {
                    machine: origin,
                    epoch,
                };
                self.series
                    .entry(log)
                    .or_default()
                    .insert(number, Arc::new(definition));
            }
            StateKind::Watermark | StateKind::Candidacy | StateKind::Progress => {}
        }
    }

    /// What a series number of a log means.
    #[must_use]
    pub fn definition(&self, log: &LogId, number: SeriesNumber) -> Option<&Arc<SeriesDefinition>> {
        self.series.get(log)?.get(&number)
    }

    /// Every series of every log.
    pub fn series(&self) -> impl Iterator<Item = (&LogId, SeriesNumber, &Arc<SeriesDefinition>)> {
        self.series
            .iter()
            .flat_map(|(log, series)| series.iter().map(move |(n, def)| (log, *n, def)))
    }

    /// What is known of a machine.
    #[must_use]
    pub fn member(&self, machine: &MachineId) -> Option<&Member> {
        self.members.get(machine)
    }

    /// Every machine in the order of the ids.
    pub fn members(&self) -> impl Iterator<Item = (&MachineId, &Member)> {
        self.members.iter()
    }

    /// The names that a machine answers to in patterns: its id and its display name.
    #[must_use]
    pub fn names(&self, machine: &MachineId) -> BTreeSet<String> {
        let name = self
            .members
            .get(machine)
            .map(|m| m.membership.grant().name.clone());
        name.into_iter().chain([machine.to_string()]).collect()
    }

    /// The display name of a machine, its id while the membership is not known.
    #[must_use]
    pub fn name(&self, machine: &MachineId) -> String {
        self.members.get(machine).map_or_else(
            || machine.to_string(),
            |m| m.membership.grant().name.clone(),
        )
    }

    /// When this machine's membership ends.
    #[must_use]
    pub fn not_after(&self, machine: &MachineId) -> Option<Timestamp> {
        self.members
            .get(machine)
            .map(|m| m.membership.grant().not_after)
    }
}

/// The subject of the state that defines a series: `EPOCH/NUMBER`.
pub(crate) fn series_subject_of(epoch: Epoch, number: SeriesNumber) -> String {
    format!("{epoch}/{}", number.0)
}

fn series_subject(subject: &str) -> Option<(Epoch, SeriesNumber)> {
    let (epoch, number) = subject.split_once('/')?;
    Some((epoch.parse().ok()?, SeriesNumber(number.parse().ok()?)))
}
