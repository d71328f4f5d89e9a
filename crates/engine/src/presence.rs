//! What a machine says about where it is, and how far its log goes: payloads of states.

use std::time::Duration;

use model::{Epoch, MachineId, Position, StateError, Timestamp};
use overlay::{Address, Contact};
use prost::Message as _;

/// A neighbour, as a machine sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The machine.
    pub machine: MachineId,
    /// The last round trip that was measured; `None` before the first.
    pub round_trip: Option<Duration>,
}

/// The payload of a state of kind `Presence`: where a machine can be reached, and its neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Its addresses, best first.
    pub addresses: Vec<Address>,
    /// Its neighbours in the order of their ids.
    pub neighbours: Vec<Neighbour>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawNeighbour {
    #[prost(bytes = "vec", tag = "1")]
    machine: Vec<u8>,
    #[prost(uint64, optional, tag = "2")]
    round_trip_micros: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawPresence {
    #[prost(string, repeated, tag = "1")]
    addresses: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    neighbours: Vec<RawNeighbour>,
}

impl Presence {
    /// Most neighbours that are told. Source: 64 of some 45 bytes fit into a state's payload.
    pub const NEIGHBOURS_MAX: usize = 64;

    /// The payload of its state; addresses and neighbours beyond their limits are left out.
    #[must_use]
    pub fn to_payload(&self) -> Vec<u8> {
        let addresses = self.addresses.iter().take(Contact::ADDRESSES_MAX);
        let neighbours = self.neighbours.iter().take(Self::NEIGHBOURS_MAX);
        RawPresence {
            addresses: addresses
                .map(|address| address.as_str().to_owned())
                .collect(),
            neighbours: neighbours
                .map(|neighbour| RawNeighbour {
                    machine: neighbour.machine.as_bytes().to_vec(),
                    round_trip_micros: neighbour
                        .round_trip
                        .map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
                })
                .collect(),
        }
        .encode_to_vec()
    }

    /// Reads the payload of a state of kind `Presence`.
    ///
    /// # Errors
    ///
    /// [`StateError::Malformed`] if it does not decode or exceeds a limit.
    pub fn from_payload(payload: &[u8]) -> Result<Self, StateError> {
        let malformed = StateError::Malformed("presence");
        let raw = RawPresence::decode(payload).map_err(|_| malformed.clone())?;
        if raw.addresses.len() > Contact::ADDRESSES_MAX
            || raw.neighbours.len() > Self::NEIGHBOURS_MAX
        {
            return Err(malformed);
        }
        let addresses = raw
            .addresses
            .into_iter()
            .map(Address::new)
            .collect::<Option<Vec<_>>>();
        let neighbours = raw.neighbours.into_iter().map(|neighbour| {
            let machine = neighbour.machine.as_slice().try_into().ok()?;
            Some(Neighbour {
                machine: MachineId::from_bytes(machine),
                round_trip: neighbour.round_trip_micros.map(Duration::from_micros),
            })
        });
        Ok(Self {
            addresses: addresses.ok_or_else(|| malformed.clone())?,
            neighbours: neighbours.collect::<Option<Vec<_>>>().ok_or(malformed)?,
        })
    }
}

/// The payload of a state of kind `Watermark`: the origin has nothing to say beyond `last`, and
/// nothing older than `watermark` follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Idle {
    /// The origin's last block.
    pub(crate) last: Position,
    /// How far its time has come.
    pub(crate) watermark: Timestamp,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawIdle {
    #[prost(uint64, tag = "1")]
    epoch_counter: u64,
    #[prost(uint32, tag = "2")]
    epoch_tag: u32,
    #[prost(uint64, tag = "3")]
    sequence: u64,
    #[prost(sint64, tag = "4")]
    watermark_nanos: i64,
}

impl Idle {
    pub(crate) fn to_payload(self) -> Vec<u8> {
        RawIdle {
            epoch_counter: self.last.epoch.counter,
            epoch_tag: self.last.epoch.tag,
            sequence: self.last.sequence,
            watermark_nanos: self.watermark.as_nanos(),
        }
        .encode_to_vec()
    }

    pub(crate) fn from_payload(payload: &[u8]) -> Option<Self> {
        let raw = RawIdle::decode(payload).ok()?;
        let epoch = Epoch {
            counter: raw.epoch_counter,
            tag: raw.epoch_tag,
        };
        Some(Self {
            last: Position {
                epoch,
                sequence: raw.sequence,
            },
            watermark: Timestamp::from_nanos(raw.watermark_nanos),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_presence_reads_back_and_a_flood_of_neighbours_is_refused() {
        let neighbour = Neighbour {
            machine: MachineId::from_bytes([3; 32]),
            round_trip: Some(Duration::from_micros(250)),
        };
        let address = Address::new("/ip4/127.0.1.1/tcp/4001".to_owned()).expect("an address");
        let presence = Presence {
            addresses: vec![address],
            neighbours: vec![neighbour],
        };
        let raw = RawNeighbour {
            machine: vec![3; 32],
            round_trip_micros: None,
        };
        let flood = RawPresence {
            addresses: Vec::new(),
            neighbours: vec![raw; 65],
        };

        assert_eq!(Presence::from_payload(&presence.to_payload()), Ok(presence));
        assert!(Presence::from_payload(&flood.encode_to_vec()).is_err());
    }
}
