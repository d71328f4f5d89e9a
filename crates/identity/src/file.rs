//! Keys and memberships as the text of files: a line of a label and base64. A file of network keys
//! has one line for each key, the current one first, with its epoch at the end; without a number it
//! is the first epoch.
//!
//! The label says what the file is, so a file put in the wrong place is named instead of
//! misread. Writers of secrets return text that is wiped when dropped.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{MachineId, State};
use zeroize::Zeroizing;

use crate::{
    EpochKey, FileError, Keypair, Membership, NetworkKey, NetworkKeyEpoch, NetworkKeys, Trust,
};

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// The operator's secret key, which signs memberships and stays off the machines.
    OperatorKey,
    /// The operator's public key: what the machines of its network trust.
    Operator,
    /// The secret that all machines of the network share.
    NetworkKey,
    /// A machine's secret key.
    MachineKey,
    /// A machine's membership.
    Membership,
    /// States that were signed away from a running node: a revocation, or network keys.
    Signed,
    /// An invitation with all that its redeemer needs, as one word.
    Token,
}

impl FileKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::OperatorKey,
        Self::Operator,
        Self::NetworkKey,
        Self::MachineKey,
        Self::Membership,
        Self::Signed,
        Self::Token,
    ];

    /// The word that its line starts with.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::OperatorKey => "fieldmesh-operator-key-v1",
            Self::Operator => "fieldmesh-operator-v1",
            Self::NetworkKey => "fieldmesh-network-key-v1",
            Self::MachineKey => "fieldmesh-machine-key-v1",
            Self::Membership => "fieldmesh-membership-v1",
            Self::Signed => "fieldmesh-signed-v1",
            Self::Token => "fieldmesh-token-v1",
        }
    }

    /// Whether the file must be readable by its owner alone.
    #[must_use]
    pub const fn is_secret(self) -> bool {
        match self {
            Self::OperatorKey | Self::NetworkKey | Self::MachineKey | Self::Token => true,
            Self::Operator | Self::Membership | Self::Signed => false,
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OperatorKey => "an operator's secret key",
            Self::Operator => "an operator's public key",
            Self::NetworkKey => "a network key",
            Self::MachineKey => "a machine's secret key",
            Self::Membership => "a membership",
            Self::Signed => "signed for nodes to pass on",
            Self::Token => "the token of an invitation",
        })
    }
}

/// Longest line that is looked at. Unit: bytes. A label, base64 of a state, and some space.
pub const TEXT_BYTES_MAX: usize = 4 * State::BYTES_MAX.div_ceil(3) + 256;
const _: () = assert!(Membership::BYTES_MAX <= State::BYTES_MAX);

/// The operator's secret key as text.
#[must_use]
pub fn write_operator_key(key: &Keypair) -> Zeroizing<String> {
    write(FileKind::OperatorKey, &*Zeroizing::new(key.seed()))
}

/// Reads what [`write_operator_key`] wrote.
///
/// # Errors
///
/// [`FileError`] if the text is anything else.
pub fn read_operator_key(text: &str) -> Result<Keypair, FileError> {
    Ok(Keypair::from_seed(&*read_32(FileKind::OperatorKey, text)?))
}

/// The operator's public key as text.
#[must_use]
pub fn write_operator(trust: &Trust) -> String {
    write(FileKind::Operator, trust.operator().as_bytes()).to_string()
}

/// Reads what [`write_operator`] wrote.
///
/// # Errors
///
/// [`FileError`] if the text is anything else.
pub fn read_operator(text: &str) -> Result<Trust, FileError> {
    let key = read_32(FileKind::Operator, text)?;
    Ok(Trust::new(MachineId::from_bytes(*key)))
}

/// The network keys as text.
#[must_use]
pub fn write_network_keys(keys: &NetworkKeys) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    for EpochKey { epoch, key } in keys.iter() {
        let line = write(FileKind::NetworkKey, key.as_bytes());
        text.push_str(line.trim_end());
        text.push_str(&format!(" {epoch}\n"));
    }
    text
}

/// Reads what [`write_network_keys`] wrote.
///
/// # Errors
///
/// [`FileError`] if the text is anything else.
pub fn read_network_keys(text: &str) -> Result<NetworkKeys, FileError> {
    let kind = FileKind::NetworkKey;
    let damaged = FileError::Damaged(kind);
    let mut lines = text.trim().lines();
    let current = read_epoch_key(lines.next().unwrap_or_default())?;
    let keys = match lines.next() {
        None => NetworkKeys::new(current),
        Some(line) => {
            let keys = NetworkKeys::with_previous(current, read_epoch_key(line)?);
            keys.ok_or(damaged.clone())?
        }
    };
    match lines.next() {
        None => Ok(keys),
        Some(_) => Err(damaged),
    }
}

fn read_epoch_key(line: &str) -> Result<EpochKey, FileError> {
    let kind = FileKind::NetworkKey;
    let mut parts = line.splitn(3, ' ');
    let (label, key) = (parts.next(), parts.next());
    let epoch = match parts.next() {
        None => NetworkKeyEpoch::FIRST,
        Some(number) => NetworkKeyEpoch(
            number
                .trim()
                .parse()
                .map_err(|_| FileError::Damaged(kind))?,
        ),
    };
    let line = Zeroizing::new([label.unwrap_or_default(), " ", key.unwrap_or_default()].concat());
    let key = NetworkKey::from_bytes(&*read_32(kind, &line)?);
    Ok(EpochKey { epoch, key })
}

/// A machine's secret key as text.
#[must_use]
pub fn write_machine_key(key: &Keypair) -> Zeroizing<String> {
    write(FileKind::MachineKey, &*Zeroizing::new(key.seed()))
}

/// Reads what [`write_machine_key`] wrote.
///
/// # Errors
///
/// [`FileError`] if the text is anything else.
pub fn read_machine_key(text: &str) -> Result<Keypair, FileError> {
    Ok(Keypair::from_seed(&*read_32(FileKind::MachineKey, text)?))
}

/// A membership as text.
#[must_use]
pub fn write_membership(membership: &Membership) -> String {
    write_membership_bytes(membership.as_bytes())
}

/// A membership as carried, as text; it is not looked at.
#[must_use]
pub fn write_membership_bytes(bytes: &[u8]) -> String {
    write(FileKind::Membership, bytes).to_string()
}

/// Reads what [`write_membership`] wrote and checks that the operator signed it.
///
/// # Errors
///
/// [`FileError`] if the text is anything else, or the membership is of another network.
pub fn read_membership(trust: &Trust, text: &str) -> Result<Membership, FileError> {
    let bytes = read(FileKind::Membership, text)?;
    Ok(trust.read(bytes.to_vec().into())?)
}

/// Signed states as text, a line each.
#[must_use]
pub fn write_signed(states: &[State]) -> String {
    let line = |state: &State| write(FileKind::Signed, state.as_bytes()).to_string();
    states.iter().map(line).collect()
}

/// Reads what [`write_signed`] wrote; the signatures are for nodes to check.
///
/// # Errors
///
/// [`FileError`] if the text is anything else.
pub fn read_signed(text: &str) -> Result<Vec<State>, FileError> {
    let kind = FileKind::Signed;
    let read_line = |line| {
        let bytes = read(kind, line)?;
        State::decode(bytes.to_vec().into()).map_err(|_| FileError::Damaged(kind))
    };
    text.trim().lines().map(read_line).collect()
}

fn write(kind: FileKind, bytes: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(bytes));
    Zeroizing::new([kind.label(), " ", &encoded, "\n"].concat())
}

fn read(expected: FileKind, text: &str) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let unknown = FileError::Unknown { expected };
    if text.len() > TEXT_BYTES_MAX {
        return Err(unknown);
    }
    let (label, encoded) = text.trim().split_once(' ').ok_or(unknown.clone())?;
    let found = FileKind::ALL.into_iter().find(|kind| kind.label() == label);
    let found = found.ok_or(unknown)?;
    if found != expected {
        return Err(FileError::OtherKind { found, expected });
    }
    let decoded = STANDARD.decode(encoded.trim());
    decoded
        .map(Zeroizing::new)
        .map_err(|_| FileError::Damaged(expected))
}

fn read_32(expected: FileKind, text: &str) -> Result<Zeroizing<[u8; 32]>, FileError> {
    let bytes = read(expected, text)?;
    let bytes = bytes.as_slice().try_into();
    bytes
        .map(Zeroizing::new)
        .map_err(|_| FileError::Damaged(expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys of these epochs, the current one first.
    fn keys(epochs: &[u8]) -> NetworkKeys {
        let key = |epoch: u8| EpochKey {
            epoch: NetworkKeyEpoch(epoch.into()),
            key: NetworkKey::from_bytes(&[epoch; 32]),
        };
        match *epochs {
            [current, previous] => {
                NetworkKeys::with_previous(key(current), key(previous)).expect("in order")
            }
            _ => NetworkKeys::new(key(epochs[0])),
        }
    }

    #[test]
    fn a_network_key_without_a_number_is_the_first_and_nonsense_behind_it_is_damage() {
        let line = "fieldmesh-network-key-v1 CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";

        let keys = read_network_keys(&format!("{line}\n")).expect("one key");

        assert_eq!(keys.current().epoch, NetworkKeyEpoch::FIRST);
        assert_eq!(keys.current().key.as_bytes(), &[8; 32]);
        let damaged = FileError::Damaged(FileKind::NetworkKey);
        for text in [
            format!("{line} x"),
            format!("{line} 1\n{line} 1"),
            format!("{line} 1\n{line} 2"),
            format!("{line} 3\n{line} 2\n{line} 1"),
        ] {
            let refused = read_network_keys(&text).map(|_| ());
            assert_eq!(refused, Err(damaged.clone()), "{text}");
        }
    }

    #[test]
    fn keys_read_back_what_they_wrote() {
        let key = Keypair::from_seed(&[7; 32]);
        let network_keys = keys(&[2, 1]);
        let trust = Trust::new(key.machine());

        let machine_key = read_machine_key(&write_machine_key(&key)).expect("a machine key");
        let operator_key = read_operator_key(&write_operator_key(&key)).expect("an operator key");
        let network = read_network_keys(&write_network_keys(&network_keys)).expect("two keys");

        assert_eq!(machine_key.machine(), key.machine());
        assert_eq!(operator_key.machine(), key.machine());
        let read: Vec<_> = network
            .iter()
            .map(|key| (key.epoch.0, key.key.as_bytes()[0]))
            .collect();
        assert_eq!(read, [(2, 2), (1, 1)]);
        assert_eq!(read_operator(&write_operator(&trust)), Ok(trust));
    }

    #[test]
    fn a_file_in_the_wrong_place_is_named() {
        let text = write_network_keys(&keys(&[1]));

        let refused = read_machine_key(&text).expect_err("a network key");

        assert_eq!(
            refused.to_string(),
            "this is a network key, but a machine's secret key is needed here"
        );
    }

    #[test]
    fn a_damaged_file_and_a_foreign_one_are_told_apart() {
        let text = write_machine_key(&Keypair::from_seed(&[7; 32]));
        let cut = &text[..text.len() - 6];
        let kind = FileKind::MachineKey;

        assert_eq!(
            read_machine_key(cut).map(|_| ()),
            Err(FileError::Damaged(kind))
        );
        for foreign in [
            "",
            "-----BEGIN PRIVATE KEY-----",
            &"x ".repeat(TEXT_BYTES_MAX),
        ] {
            assert_eq!(
                read_machine_key(foreign).map(|_| ()),
                Err(FileError::Unknown { expected: kind })
            );
        }
    }
}
