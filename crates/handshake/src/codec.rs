//! Fixed-width fields and length-prefixed bytes, big-endian.

use crate::{HandshakeError, PARAMETERS_BYTES_MAX};

/// Reads fields from the front of a message; every field is bounded by what is left.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) const fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], HandshakeError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(*field)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, HandshakeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, HandshakeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Bytes after their length, which has two bytes.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], HandshakeError> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        let (field, rest) = self.0.split_at_checked(length).ok_or(CUT_SHORT)?;
        self.0 = rest;
        Ok(field)
    }

    /// The peer's transport parameters.
    pub(crate) fn parameters(&mut self) -> Result<Vec<u8>, HandshakeError> {
        let parameters = self.bytes()?;
        if parameters.len() > PARAMETERS_BYTES_MAX {
            return Err(HandshakeError::Malformed("too long transport parameters"));
        }
        Ok(parameters.to_vec())
    }

    /// Checks that nothing is left.
    pub(crate) fn finish(self) -> Result<(), HandshakeError> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(HandshakeError::Malformed("bytes after the last field"))
    }
}

/// Appends bytes after their length, which has two bytes.
///
/// # Panics
///
/// If they are longer than 65,535 bytes; callers have bounded them.
pub(crate) fn put_bytes(message: &mut Vec<u8>, field: &[u8]) {
    let length = u16::try_from(field.len()).expect("fields are bounded before they are written");
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(field);
}

const CUT_SHORT: HandshakeError = HandshakeError::Malformed("cut short");
