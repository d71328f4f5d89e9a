//! Arguments on their way: a command waits here until all parts of its argument are there.

use std::collections::BTreeMap;
use std::time::Duration;

use model::MachineId;
use sha2::{Digest as _, Sha256};
use statemachine::Instant;

use crate::{Argument, CallKey, CommandName, Fault, Lineage, Rights};

/// An argument that has not arrived as a whole.
#[derive(Debug)]
pub(crate) struct Assembly {
    pub(crate) rights: Rights,
    pub(crate) name: CommandName,
    pub(crate) lineage: Lineage,
    pub(crate) have: u32,
    pub(crate) deadline: Instant,
    pub(crate) digest: [u8; 32],
    pub(crate) size: usize,
    pub(crate) bytes: Vec<u8>,
    /// It came as a letter, which counts for so long altogether.
    pub(crate) lifetime: Option<Duration>,
}

impl Assembly {
    /// Adds a part; whether the argument is whole now.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<bool, Fault> {
        if self.bytes.len() + chunk.len() > self.size {
            return Err(Fault::Overlong);
        }
        self.bytes.extend_from_slice(chunk);
        Ok(self.bytes.len() == self.size)
    }
}

/// The commands that wait for parts of their arguments.
#[derive(Debug, Default)]
pub(crate) struct Assemblies(BTreeMap<CallKey, Assembly>);

impl Assemblies {
    pub(crate) fn insert(&mut self, key: CallKey, assembly: Assembly) {
        self.0.insert(key, assembly);
    }

    pub(crate) fn remove(&mut self, key: &CallKey) -> Option<Assembly> {
        self.0.remove(key)
    }

    /// Whether an argument of this size of this caller may be gathered beside the others.
    pub(crate) fn has_room(&self, caller: MachineId, size: usize) -> bool {
        let bytes = |assembly: &Assembly| assembly.size;
        let of_caller: usize = self.of(caller).map(|(_, assembly)| bytes(assembly)).sum();
        of_caller + size <= BYTES_OF_CALLER_MAX
            && self.of(caller).count() < COUNT_OF_CALLER_MAX
            && self.0.values().map(bytes).sum::<usize>() + size <= BYTES_MAX
    }

    pub(crate) fn keys_of(&self, caller: MachineId) -> Vec<CallKey> {
        self.of(caller).map(|(key, _)| *key).collect()
    }

    fn of(&self, caller: MachineId) -> impl Iterator<Item = (&CallKey, &Assembly)> {
        let from = self.0.range(CallKey::first_of(caller)..);
        from.take_while(move |(key, _)| key.caller == caller)
    }
}

/// What the same id must come with again: SHA-256 over the name, the size of the argument and its
/// first part.
pub(crate) fn digest(name: &CommandName, size: usize, chunk: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(name.as_str())
        .chain_update([0])
        .chain_update(u64::try_from(size).unwrap_or(u64::MAX).to_le_bytes())
        .chain_update(chunk)
        .finalize()
        .into()
}

/// Most bytes of arguments of one caller that are not whole yet. Source: two of the largest.
const BYTES_OF_CALLER_MAX: usize = 2 * Argument::BYTES_MAX;
/// Most arguments of one caller that are not whole yet. Source: guess; they arrive one after the
/// other, but for those of which the caller says no more.
const COUNT_OF_CALLER_MAX: usize = 16;
/// Most bytes of all arguments that are not whole yet. Unit: bytes. Source: guess.
const BYTES_MAX: usize = 64 * 1024 * 1024;
