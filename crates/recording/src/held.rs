//! How a node starts, but for its settings: who it is, and what its disk knew, in parts that are
//! small enough for an entry each.

use bytes::Bytes;
use command::Note;
use engine::{CleanStop, NodeIdentity, Recovered};
use identity::{Membership, Signer, Trust};
use model::State;
use serde::{Deserialize, Serialize};

use crate::error::Damaged;
use crate::plain::{
    self, PlainContact, PlainEpoch, PlainFrontier, PlainMachine, PlainMark, PlainPosition,
};
use crate::settings::{PROGRAM, Settings};

/// The first entry.
#[derive(Serialize, Deserialize)]
pub(crate) struct Start {
    /// The version of the program that recorded it.
    pub(crate) program: String,
    pub(crate) machine: PlainMachine,
    operator: PlainMachine,
    membership: Bytes,
    #[serde(with = "Settings")]
    pub(crate) settings: engine::Config,
    /// What the node's randomness is drawn from.
    pub(crate) seed: [u8; 32],
    clean: Option<(PlainEpoch, u64, u64)>,
    epoch_counter_highest: u64,
    last_own: Option<(PlainPosition, [u8; 32])>,
}

/// Some of what the disk knew.
#[derive(Serialize, Deserialize)]
pub(crate) enum Held {
    Frontier(Vec<PlainFrontier>),
    States(Vec<Bytes>),
    Contacts(Vec<PlainContact>),
    OwnRuns(Vec<(PlainPosition, PlainPosition, [u8; 32])>),
    Publishers(Vec<PlainMark>),
    Note(Bytes),
}

impl Start {
    /// The start of a node of this identity.
    pub(crate) fn of<K: Signer>(
        identity: &NodeIdentity<K>,
        settings: &engine::Config,
        recovered: &Recovered,
        seed: [u8; 32],
    ) -> Self {
        let clean = recovered.clean.as_ref().map(|clean| {
            let epoch = plain::of_epoch(clean.epoch);
            (epoch, clean.last_sequence, clean.state_counter)
        });
        let last_own = recovered.last_own.as_ref();
        Self {
            program: PROGRAM.to_owned(),
            machine: plain::of_machine(identity.keypair.machine()),
            operator: plain::of_machine(identity.trust.operator()),
            membership: identity.membership.as_bytes().clone(),
            settings: settings.clone(),
            seed,
            clean,
            epoch_counter_highest: recovered.epoch_counter_highest,
            last_own: last_own.map(|(at, hash)| (plain::of_position(at), hash.0)),
        }
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::new(plain::machine(self.operator))
    }

    pub(crate) fn membership(&self) -> Result<Membership, Damaged> {
        let membership = self.trust().read(self.membership.clone());
        membership.map_err(|_| Damaged("the membership of the node"))
    }

    /// What the disk knew, without what comes in parts.
    pub(crate) fn recovered(&self) -> Recovered {
        let clean = self.clean.map(|(epoch, sequence, counter)| CleanStop {
            epoch: plain::epoch(epoch),
            last_sequence: sequence,
            state_counter: counter,
        });
        let last_own = self.last_own;
        Recovered {
            clean,
            epoch_counter_highest: self.epoch_counter_highest,
            last_own: last_own.map(|(at, hash)| (plain::position(at), plain::hash(hash))),
            ..Recovered::default()
        }
    }
}

impl Held {
    /// What the disk knew, in parts.
    pub(crate) fn parts(recovered: &Recovered) -> impl Iterator<Item = Self> {
        let frontier = recovered.frontier.chunks(PART_MAX);
        let states = recovered.states.chunks(PART_MAX);
        let contacts = recovered.contacts.chunks(PART_MAX);
        let runs = recovered.own_runs.chunks(PART_MAX);
        let publishers = recovered.publishers.chunks(PART_MAX);
        let state = |state: &State| state.as_bytes().clone();
        let notes = recovered.notes.iter().map(Note::encode).map(Bytes::from);
        frontier
            .map(|part| Self::Frontier(part.iter().map(plain::of_frontier).collect()))
            .chain(states.map(move |part| Self::States(part.iter().map(state).collect())))
            .chain(
                contacts.map(|part| Self::Contacts(part.iter().map(plain::of_contact).collect())),
            )
            .chain(runs.map(|part| {
                let run = part.iter().map(|(first, last, hash)| {
                    let (first, last) = (plain::of_position(first), plain::of_position(last));
                    (first, last, hash.0)
                });
                Self::OwnRuns(run.collect())
            }))
            .chain(
                publishers.map(|part| Self::Publishers(part.iter().map(plain::of_mark).collect())),
            )
            .chain(notes.map(Self::Note))
    }

    /// Adds this part to what is known so far.
    pub(crate) fn add_to(self, recovered: &mut Recovered) -> Result<(), Damaged> {
        match self {
            Self::Frontier(part) => {
                let part = part.into_iter().map(plain::frontier);
                recovered.frontier.extend(part);
            }
            Self::States(part) => {
                recovered.states.extend(plain::all(part, plain::state)?);
            }
            Self::Contacts(part) => {
                recovered.contacts.extend(plain::all(part, plain::contact)?);
            }
            Self::OwnRuns(part) => {
                let run = |(first, last, hash)| {
                    let (first, last) = (plain::position(first), plain::position(last));
                    (first, last, plain::hash(hash))
                };
                recovered.own_runs.extend(part.into_iter().map(run));
            }
            Self::Publishers(part) => {
                recovered.publishers.extend(plain::all(part, plain::mark)?);
            }
            Self::Note(bytes) => {
                let note = Note::decode(&bytes).map_err(|_| Damaged("a note on a command"))?;
                recovered.notes.push(note);
            }
        }
        Ok(())
    }
}

/// Most items of one part. Source: 128 states of some 8 KiB are a quarter of an entry.
const PART_MAX: usize = 128;
