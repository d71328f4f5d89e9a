//! Retry packets that only members can make.
//!
//! TLS keys the integrity tag of a Retry packet with a public constant; ours comes from the network
//! key, so a stranger cannot send a dialling machine elsewhere.

use hkdf::hmac::{Hmac, Mac as _};
use identity::LinkKeys;
use sha2::Sha256;

use crate::connection_id::keyed;

/// The integrity tag of a Retry packet: over the destination id that the client used first, and the
/// packet before its tag, which may come in pieces.
#[must_use]
pub fn retry_tag(keys: &LinkKeys, original_destination: &[u8], packet: &[&[u8]]) -> [u8; 16] {
    let mac = retry_mac(keys, original_destination, packet);
    let mut tag = [0; 16];
    tag.copy_from_slice(&mac.finalize().into_bytes()[..16]);
    tag
}

/// Whether a Retry packet, tag included, was made by somebody with these keys for this dial.
#[must_use]
pub fn check_retry(keys: &LinkKeys, original_destination: &[u8], packet: &[&[u8]]) -> bool {
    let Some((last, first)) = packet.split_last() else {
        return false;
    };
    let Some((body, tag)) = last.split_last_chunk::<16>() else {
        return false;
    };
    let mut pieces = first.to_vec();
    pieces.push(body);
    let mac = retry_mac(keys, original_destination, &pieces);
    mac.verify_truncated_left(tag).is_ok()
}

fn retry_mac(keys: &LinkKeys, original_destination: &[u8], packet: &[&[u8]]) -> Hmac<Sha256> {
    // An id of QUIC version 1 has at most 20 bytes, so its length is a byte.
    let length = original_destination.len().to_be_bytes();
    let mac = keyed(keys.retry())
        .chain_update(length)
        .chain_update(original_destination);
    packet
        .iter()
        .fold(mac, |mac, piece| mac.chain_update(piece))
}
