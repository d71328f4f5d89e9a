//! The first packet of a client, judged where it is decrypted: before anything is kept of it.
//!
//! What comes out of it wrong is, to QUIC, a packet that does not decrypt, and so is dropped
//! without a word. Only one first message, whole and never seen, makes a connection.

use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use handshake::Freshness;
use quinn::crypto::{CryptoError, PacketKey};
use quinn::{ConnectionId, VarInt};
use quinn_proto::coding::Codec as _;

use crate::datagram::ISSUED_BYTES;
use crate::member::Member;

/// A key that opens a client's first packet, and nothing that must not be answered.
pub(crate) struct FirstPacketKey {
    inner: Box<dyn PacketKey>,
    member: Arc<Member>,
    destination: ConnectionId,
}

impl FirstPacketKey {
    pub(crate) const fn new(
        inner: Box<dyn PacketKey>,
        member: Arc<Member>,
        destination: ConnectionId,
    ) -> Self {
        Self {
            inner,
            member,
            destination,
        }
    }

    fn judge(&self, frames: &[u8]) -> Result<(), CryptoError> {
        let crypto = read_crypto(frames).ok_or(CryptoError)?;
        // Issued ids come back in first packets after a Retry alone.
        let is_address_validated = self.destination.len() == ISSUED_BYTES;
        match self.member.judge_first(&crypto, is_address_validated) {
            Ok(Freshness::Fresh) => return Ok(()),
            Ok(Freshness::Challenge) => self.member.challenge(&self.destination),
            Ok(freshness) => {
                self.member.counters.first_flights_repeated.add();
                tracing::debug!(?freshness, "first flight dropped");
            }
            Err(error) => {
                self.member.counters.first_flights_foreign.add();
                tracing::debug!(%error, "first flight dropped");
            }
        }
        Err(CryptoError)
    }
}

impl PacketKey for FirstPacketKey {
    fn encrypt(&self, packet: u64, buffer: &mut [u8], header_length: usize) {
        self.inner.encrypt(packet, buffer, header_length);
    }

    fn decrypt(
        &self,
        packet: u64,
        header: &[u8],
        payload: &mut BytesMut,
    ) -> Result<(), CryptoError> {
        self.inner.decrypt(packet, header, payload)?;
        self.judge(payload)
    }

    fn tag_len(&self) -> usize {
        self.inner.tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        self.inner.confidentiality_limit()
    }

    fn integrity_limit(&self) -> u64 {
        self.inner.integrity_limit()
    }
}

/// The CRYPTO bytes from the start, if the frames are what a client's first packet has: those in
/// order, padding and pings. Source: RFC 9000 §19.
fn read_crypto(mut frames: &[u8]) -> Option<Vec<u8>> {
    let mut crypto = Vec::new();
    while frames.has_remaining() {
        match frames.get_u8() {
            PADDING | PING => {}
            CRYPTO => {
                let offset =
                    usize::try_from(VarInt::decode(&mut frames).ok()?.into_inner()).ok()?;
                let length =
                    usize::try_from(VarInt::decode(&mut frames).ok()?.into_inner()).ok()?;
                let (bytes, rest) = frames.split_at_checked(length)?;
                if offset != crypto.len() {
                    return None;
                }
                crypto.extend_from_slice(bytes);
                frames = rest;
            }
            _ => return None,
        }
    }
    (!crypto.is_empty()).then_some(crypto)
}

const PADDING: u8 = 0x00;
const PING: u8 = 0x01;
const CRYPTO: u8 = 0x06;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crypto_in_order_between_padding_and_pings_is_read() {
        assert_eq!(
            read_crypto(&[1, 0, 6, 0, 3, 7, 8, 9, 0, 0]),
            Some(vec![7, 8, 9])
        );
        assert_eq!(
            read_crypto(&[6, 0, 2, 7, 8, 1, 6, 2, 1, 9]),
            Some(vec![7, 8, 9])
        );
    }

    #[test]
    fn adversarial_12_crypto_with_gaps_or_overlaps_is_no_first_packet() {
        for frames in [
            &[][..],
            &[0, 0],
            &[1],
            &[6, 1, 1, 7],
            &[6, 0, 1, 7, 6, 0, 1, 7],
            &[6, 0, 2, 7],
            &[6, 0],
            &[6],
            &[6, 0, 1, 7, 2, 0, 0, 0, 0],
            &[6, 0, 1, 7, 0x1c, 0, 0, 0],
            &[6, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 7],
        ] {
            assert_eq!(read_crypto(frames), None, "{frames:?}");
        }
    }
}
