//! What sinks cost on the wire, as far as that can be told from above TCP.

/// Counts bytes in both directions, with what TLS, TCP and IP add to them.
#[derive(Debug, Default)]
pub(crate) struct Traffic(u64);

impl Traffic {
    /// A new connection.
    pub(crate) fn connect(&mut self, tls: bool) {
        self.0 += of_connection(tls);
    }

    /// Bytes that went there and came back, each way in one go.
    pub(crate) fn exchange(&mut self, there: usize, back: usize) {
        self.0 += on_the_wire(there) + on_the_wire(back);
    }

    /// What was counted since this was called last. Unit: bytes.
    pub(crate) fn take(&mut self) -> u64 {
        std::mem::take(&mut self.0)
    }
}

/// What opening a connection costs. Unit: bytes.
pub(crate) const fn of_connection(tls: bool) -> u64 {
    3 * HEADERS + if tls { TLS_HANDSHAKE } else { 0 }
}

/// What some bytes become on their way: segments, each with its headers and, at worst, with an
/// acknowledgement of its own. Unit: bytes.
pub(crate) const fn on_the_wire(bytes: usize) -> u64 {
    let bytes = bytes as u64;
    let segments = bytes / SEGMENT + 1;
    bytes + TLS_RECORD + segments * 2 * HEADERS
}

/// IPv4 and TCP with time stamps, as Linux sends them. Unit: bytes. Source: RFC 791, 9293, 7323.
const HEADERS: u64 = 52;
/// Payload of a segment on a path of 1,400 bytes. Unit: bytes. Source: guess, a cellular tunnel.
const SEGMENT: u64 = 1_348;
/// Header, content type and tag of a TLS 1.3 record. Unit: bytes. Source: RFC 8446, section 5.2.
const TLS_RECORD: u64 = 22;
/// A handshake of TLS 1.3 with certificates of both sides, in full. Unit: bytes. Source: guess, two
/// chains of two certificates.
const TLS_HANDSHAKE: u64 = 8_000;
