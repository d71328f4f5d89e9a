//! What a datagram looks like before any key is tried, and whether it may pass.
//!
//! QUIC answers some datagrams that nobody has proved anything with, and shows which versions it
//! speaks. So whatever is not of this network's version, or names connections otherwise than this
//! network does, ends at the socket; and so does what QUIC would say to it.

use handshake::{ConnectionIdKind, VERSION};
use model::MachineId;

/// Whether a datagram that has arrived is to be shown to QUIC.
pub(crate) fn may_enter(datagram: &[u8]) -> bool {
    match Header::read(datagram) {
        Some(Header::Short) => datagram.len() > ISSUED_BYTES,
        Some(Header::Long {
            version,
            is_initial,
            id_bytes,
        }) => {
            let is_first = is_initial && id_bytes == FIRST_BYTES;
            version == VERSION && (is_first || id_bytes == ISSUED_BYTES)
        }
        None => false,
    }
}

/// Whether a datagram that QUIC has made may leave.
///
/// Offers of versions never do, nor Initials that are not padded: what a client sends in this space
/// is padded, and what a server must say in it is as well. The rest closes or acknowledges what has
/// not been proved to come from a member.
pub(crate) fn may_leave(datagram: &[u8]) -> bool {
    match Header::read(datagram) {
        Some(Header::Short) => true,
        Some(Header::Long {
            version,
            is_initial,
            ..
        }) => version == VERSION && (!is_initial || datagram.len() >= INITIAL_BYTES_MIN),
        None => false,
    }
}

/// The destination of a datagram with a short header.
pub(crate) fn short_id(datagram: &[u8]) -> Option<&[u8]> {
    match Header::read(datagram)? {
        Header::Short => datagram.get(1..=ISSUED_BYTES),
        Header::Long { .. } => None,
    }
}

/// The part of a packet's header that no key protects. Source: RFC 8999 §5, RFC 9000 §17.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    Long {
        version: u32,
        is_initial: bool,
        /// Of the destination.
        id_bytes: usize,
    },
    Short,
}

impl Header {
    fn read(datagram: &[u8]) -> Option<Self> {
        let (&first, rest) = datagram.split_first()?;
        if first & LONG == 0 {
            return Some(Self::Short);
        }
        let (version, rest) = rest.split_first_chunk()?;
        let (&id_bytes, _) = rest.split_first()?;
        Some(Self::Long {
            version: u32::from_be_bytes(*version),
            is_initial: first & KIND == 0,
            id_bytes: usize::from(id_bytes),
        })
    }
}

/// Says that a header is a long one.
const LONG: u8 = 0x80;
/// The kind of a packet with a long header; zero is Initial.
const KIND: u8 = 0x30;
/// Shortest datagram with an Initial. Unit: bytes. Source: RFC 9000 §14.1.
const INITIAL_BYTES_MIN: usize = 1_200;
/// Length of the destination of a client's first datagrams. Unit: bytes.
const FIRST_BYTES: usize = ConnectionIdKind::First.id_bytes();
/// Length of every other destination. Unit: bytes.
pub(crate) const ISSUED_BYTES: usize =
    ConnectionIdKind::Issued(MachineId::from_bytes([0; 32])).id_bytes();

#[cfg(test)]
mod tests {
    use super::*;

    const INITIAL: u8 = 0x00;
    const HANDSHAKE: u8 = 0x20;
    const RETRY: u8 = 0x30;

    fn long(version: u32, kind: u8, id: &[u8], length: usize) -> Vec<u8> {
        let mut datagram = vec![LONG | 0x40 | kind];
        datagram.extend(version.to_be_bytes());
        datagram.push(u8::try_from(id.len()).expect("short"));
        datagram.extend(id);
        datagram.resize(length, 0);
        datagram
    }

    #[test]
    fn only_this_version_and_these_lengths_of_ids_enter() {
        let id = [7; FIRST_BYTES];

        assert!(may_enter(&long(VERSION, INITIAL, &id, 1_200)));
        for version in [0, 1, VERSION + 1, 0x0a1a_2a3a] {
            let datagram = long(version, INITIAL, &id, 1_200);
            assert!(!may_enter(&datagram), "{version:x}");
        }
        for length in 0..=20 {
            let id = vec![7; length];
            let enters = |kind| may_enter(&long(VERSION, kind, &id, 1_200));
            assert_eq!(enters(HANDSHAKE), length == ISSUED_BYTES, "{length}");
            let is_initials = length == ISSUED_BYTES || length == FIRST_BYTES;
            assert_eq!(enters(INITIAL), is_initials, "{length}");
        }
    }

    #[test]
    fn what_is_cut_short_does_not_enter() {
        let whole = long(VERSION, INITIAL, &[7; FIRST_BYTES], 6 + FIRST_BYTES);

        assert!(may_enter(&whole));
        for length in 0..6 {
            assert!(!may_enter(&whole[..length]), "{length}");
        }
        assert!(may_enter(&[0x40; ISSUED_BYTES + 1]));
        assert!(!may_enter(&[0x40; ISSUED_BYTES]));
    }

    #[test]
    fn neither_versions_nor_unpadded_initials_leave() {
        let id = [7; ISSUED_BYTES];

        assert!(may_leave(&long(VERSION, INITIAL, &id, 1_200)));
        assert!(!may_leave(&long(VERSION, INITIAL, &id, 1_199)));
        assert!(!may_leave(&long(0, RETRY, &id, 60)));
        assert!(may_leave(&long(VERSION, RETRY, &id, 60)));
        assert!(may_leave(&long(VERSION, HANDSHAKE, &id, 60)));
        assert!(may_leave(&[0x40; 30]));
    }
}
