//! Names of machines, networks, logs and blocks.

use std::fmt;
use std::str::FromStr;

use crate::IdError;

/// A machine: the Ed25519 public key of its node.
///
/// Printed and parsed as libp2p prints the `PeerId` of that key (`12D3KooW…`), so any libp2p tool
/// understands it. Carrying the key itself means that a signature can be checked from the id alone.
/// Whether the bytes are a point of the curve is found out when a signature is checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId([u8; 32]);

/// The identity multihash of a protobuf-encoded Ed25519 public key, before the key's 32 bytes.
/// Source: libp2p specification, "Peer Ids and Keys".
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl MachineId {
    /// The machine with this public key.
    #[must_use]
    pub const fn from_bytes(public_key: [u8; 32]) -> Self {
        Self(public_key)
    }

    /// The 32 bytes of its public key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The bytes of the libp2p `PeerId`.
    #[must_use]
    pub fn to_peer_id_bytes(&self) -> [u8; 38] {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        bytes
    }

    /// Reads the bytes of a libp2p `PeerId`; `None` unless it is of an Ed25519 key.
    #[must_use]
    pub fn from_peer_id_bytes(bytes: &[u8]) -> Option<Self> {
        bytes
            .strip_prefix(&PEER_ID_PREFIX)?
            .try_into()
            .ok()
            .map(Self)
    }

    /// The last eight characters of its name, enough to tell machines apart in a log.
    #[must_use]
    pub fn short(&self) -> String {
        let text = self.to_string();
        text[text.len().saturating_sub(8)..].to_owned()
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.to_peer_id_bytes()).into_string())
    }
}

impl fmt::Debug for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for MachineId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        decode_base58(text)
            .and_then(|bytes| Self::from_peer_id_bytes(&bytes))
            .ok_or_else(|| {
                malformed(
                    "machine id",
                    text,
                    "12D3KooW…, as `fieldmesh status` prints",
                )
            })
    }
}

/// A network: the SHA-256 hash of its operator's public key. Printed in base58.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId([u8; 32]);

impl NetworkId {
    /// The network with this hash.
    #[must_use]
    pub const fn from_bytes(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The 32 bytes of the hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.0).into_string())
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NetworkId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        decode_base58(text)
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| malformed("network id", text, "what `fieldmesh network show` prints"))
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(&self.0[..6]).into_string())
    }
}

/// One unbroken life of an origin's numbering.
///
/// The counter orders epochs of one machine; the random tag keeps apart two epochs that took the
/// same counter because the disk that knew better was lost. Printed as `COUNTER-TAG`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// Orders the epochs of a machine, starting at 1.
    pub counter: u64,
    /// Drawn when the epoch starts.
    pub tag: u32,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.counter, self.tag)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Epoch {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.split_once('-')
            .and_then(|(counter, tag)| {
                let tag = u32::from_str_radix(tag, 16).ok()?;
                Some(Self {
                    counter: counter.parse().ok()?,
                    tag,
                })
            })
            .ok_or_else(|| malformed("epoch", text, "3-9f2c11aa"))
    }
}

/// The number of a block in its log. The first is 1.
pub type Sequence = u64;

/// A log: one origin's blocks in one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// The origin.
    pub machine: MachineId,
    /// Its epoch.
    pub epoch: Epoch,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.machine, self.epoch)
    }
}

/// A block: its log and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId {
    /// Where it stands.
    pub log: LogId,
    /// Its number there.
    pub sequence: Sequence,
}

impl BlockId {
    /// Where it stands among all blocks of its origin.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position {
            epoch: self.log.epoch,
            sequence: self.sequence,
        }
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.log, self.sequence)
    }
}

/// A place among all blocks of one origin: epochs in order, then sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The epoch.
    pub epoch: Epoch,
    /// The block in it; 0 stands before the first.
    pub sequence: Sequence,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.epoch, self.sequence)
    }
}

/// Longest text that is looked at as an id. Unit: bytes. Base58 of 38 bytes has 52.
const ID_TEXT_MAX: usize = 64;

fn decode_base58(text: &str) -> Option<Vec<u8>> {
    if text.len() > ID_TEXT_MAX {
        return None;
    }
    bs58::decode(text).into_vec().ok()
}

fn malformed(what: &'static str, text: &str, example: &'static str) -> IdError {
    let text = text.chars().take(ID_TEXT_MAX).collect::<String>();
    IdError::Malformed {
        what,
        text,
        example,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_id_reads_back_what_it_prints() {
        let machine = MachineId::from_bytes([7; 32]);

        assert!(machine.to_string().starts_with("12D3KooW"));
        assert_eq!(machine.to_string().parse(), Ok(machine));
        assert!("12D3KooWnonsense".parse::<MachineId>().is_err());
        assert!("".parse::<MachineId>().is_err());
    }

    #[test]
    fn epochs_are_ordered_by_counter_before_tag() {
        let old: Epoch = "2-ffffffff".parse().expect("an epoch");
        let new: Epoch = "3-00000000".parse().expect("an epoch");

        assert!(old < new);
        assert_eq!(new.to_string(), "3-00000000");
    }
}
