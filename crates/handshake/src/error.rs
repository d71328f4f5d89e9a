//! What can go wrong in a handshake.

use std::error::Error;

use model::MachineId;

use crate::{ALPN, MESSAGE_BYTES_MAX};

/// Why a handshake ended. The session is of no use afterwards.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// A message that announces more bytes than any has; seen before any of them was stored.
    #[error("handshake message of {0} bytes exceeds the limit of {limit}", limit = MESSAGE_BYTES_MAX)]
    TooLong(usize),
    /// Own transport parameters or credential that fit into no message.
    #[error("{what} of {length} bytes exceed the limit of {limit}")]
    OwnTooLong {
        /// Which of the two.
        what: &'static str,
        /// Unit: bytes.
        length: usize,
        /// Unit: bytes.
        limit: usize,
    },
    /// Not encrypted for this transcript: altered on the way, or another network key.
    #[error("handshake message is altered or of another network key")]
    Decrypt,
    /// A public key of small order, which would make the shared secret known to everyone.
    #[error("peer sent a public key of small order")]
    LowOrder,
    /// Decrypted, but it does not say what it must.
    #[error("malformed handshake message: {0}")]
    Malformed(&'static str),
    /// The peer speaks another protocol above the link.
    #[error("peer speaks another protocol than {ALPN}; run the same version on both")]
    OtherProtocol,
    /// Bytes where the peer has nothing to say: before its turn or after the end.
    #[error("handshake bytes out of turn")]
    OutOfTurn,
    /// Who answered is not who was dialled.
    #[error("dialled machine {} but {} answered", .expected.short(), .shown.short())]
    OtherMachine {
        /// Who was dialled.
        expected: MachineId,
        /// Who answered.
        shown: MachineId,
    },
    /// Dialled itself, or the peer reflects.
    #[error("the peer is this machine itself")]
    Itself,
    /// The signature is not the machine's over this session.
    #[error("peer did not prove to be machine {}", .0.short())]
    Signature(MachineId),
    /// The [`crate::Judge`] did not let the machine in.
    #[error("machine {} is refused: {reason}", .machine.short())]
    Refused {
        /// Who it is.
        machine: MachineId,
        /// What the judge said.
        #[source]
        reason: Box<dyn Error + Send + Sync>,
    },
    /// The responder did not confirm the handshake keys.
    #[error("responder did not confirm the handshake keys")]
    Confirmation,
    /// An earlier error ended this session.
    #[error("the handshake has failed before")]
    Failed,
}

/// Why no keying material is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// There are no keys yet.
    #[error("the handshake is not complete")]
    Handshaking,
    /// More than 255 times 32 bytes were asked for.
    #[error("too many bytes of keying material")]
    TooLong,
}

/// Why the bytes are no [`crate::ReplayGuard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// Written by another version, cut short, or altered.
    #[error("not the seen first flights of this version, or damaged")]
    Damaged,
}
