//! The codec of the gRPC services: prost's, with a bound on what a message may become.
//!
//! Two bytes on the wire can become a message of some 200 bytes in memory, so a request within its
//! size limit could still take a hundred times as much. Counting the fields at the top level before
//! decoding bounds that: what lies deeper is kept in maps (where empty entries are one) or replaces
//! what came before, and prost itself ends at a nesting of 100.

use std::marker::PhantomData;

use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// Sends `T`, receives `U`.
#[derive(Debug)]
pub(crate) struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(ProstCodec::<T, U>::default().decoder())
    }
}

/// Decodes a message of at most [`FIELDS_MAX`] fields.
#[derive(Debug)]
pub(crate) struct BoundedDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        check(bytes::Buf::chunk(message))?;
        self.0.decode(message)
    }
}

/// Counts the fields at the top level. A message that is cut short is left to the decoder.
fn check(mut message: &[u8]) -> Result<(), Status> {
    for _ in 0..FIELDS_MAX {
        let Ok((tag, kind)) = decode_key(&mut message) else {
            return Ok(());
        };
        if skip_field(kind, tag, &mut message, DecodeContext::default()).is_err() {
            return Ok(());
        }
    }
    if message.is_empty() {
        return Ok(());
    }
    Err(Status::invalid_argument(format!(
        "the message has more than {FIELDS_MAX} fields; split it"
    )))
}

/// Most fields at the top level of a message. Source: guess, above every message of the services,
/// the largest of which has some 4,100 (a full request of readings).
const FIELDS_MAX: usize = 8_192;
