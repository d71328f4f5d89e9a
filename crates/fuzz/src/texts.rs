//! What people copy from machine to machine: keys and memberships as lines of text.

use identity::{EpochKey, FileError, NetworkKey, NetworkKeyEpoch, NetworkKeys, file};

use crate::Outcome;
use crate::world::{WORLD, Who};

/// Reads text as every kind of file.
///
/// # Panics
///
/// If what is written for something that was read does not read back as the same, or if one text
/// is two kinds of file.
pub fn texts(bytes: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Outcome::Refused;
    };
    let accepted = READERS.iter().filter(|read| match read(text) {
        Ok(written) => {
            assert_eq!(read(&written).as_ref(), Ok(&written));
            true
        }
        Err(_) => false,
    });
    match accepted.count() {
        0 => Outcome::Refused,
        1 => Outcome::Accepted,
        _ => panic!("a text of two kinds"),
    }
}

/// Reads a text as one kind of file and gives the text that would be written for what was read.
type Reader = fn(&str) -> Result<String, FileError>;

const READERS: [Reader; 5] = [
    |text| file::read_operator_key(text).map(|key| file::write_operator_key(&key).to_string()),
    |text| file::read_operator(text).map(|trust| file::write_operator(&trust)),
    |text| file::read_network_keys(text).map(|keys| file::write_network_keys(&keys).to_string()),
    |text| file::read_machine_key(text).map(|key| file::write_machine_key(&key).to_string()),
    |text| file::read_membership(&WORLD.trust, text).map(|read| file::write_membership(&read)),
];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let key = Who::Alice.keypair();
    let network_key = |epoch: u8| EpochKey {
        epoch: NetworkKeyEpoch(epoch.into()),
        key: NetworkKey::from_bytes(&[epoch; 32]),
    };
    let both = NetworkKeys::with_previous(network_key(2), network_key(1));
    [
        file::write_operator_key(&key).to_string(),
        file::write_operator(&WORLD.trust),
        file::write_network_keys(&NetworkKeys::new(network_key(1))).to_string(),
        file::write_network_keys(&both.expect("in order")).to_string(),
        file::write_machine_key(&key).to_string(),
        file::write_membership(&Who::Alice.membership()),
    ]
    .map(String::into_bytes)
    .to_vec()
}
