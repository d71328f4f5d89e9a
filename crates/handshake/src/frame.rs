//! From a stream of bytes in arbitrary pieces to whole messages.

use crate::codec::put_bytes;
use crate::{HandshakeError, MESSAGE_BYTES_MAX};

/// One message in the making: its length in two bytes, then the message.
#[derive(Debug, Default)]
pub(crate) struct Frame(Vec<u8>);

impl Frame {
    /// Takes bytes from the front of `input` until a message is whole; the rest stays in `input`.
    ///
    /// Holds at most one message of [`MESSAGE_BYTES_MAX`].
    pub(crate) fn take(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, HandshakeError> {
        self.fill(input, LENGTH_BYTES);
        let Some(length) = self.0.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > MESSAGE_BYTES_MAX {
            return Err(HandshakeError::TooLong(length));
        }
        self.fill(input, LENGTH_BYTES + length);
        if self.0.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        let mut whole = std::mem::take(&mut self.0);
        Ok(Some(whole.split_off(LENGTH_BYTES)))
    }

    fn fill(&mut self, input: &mut &[u8], until: usize) {
        let missing = until.saturating_sub(self.0.len()).min(input.len());
        let (taken, rest) = input.split_at(missing);
        self.0.extend_from_slice(taken);
        *input = rest;
    }
}

/// A message as it travels.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + message.len());
    put_bytes(&mut bytes, message);
    bytes
}

/// Unit: bytes.
pub(crate) const LENGTH_BYTES: usize = 2;
