//! Notes: what the target writes down, so that no crash makes a command run twice.

use std::time::Duration;

use bytes::Bytes;
use model::MachineId;
use prost::Message as _;

use crate::{Code, CommandId, NoteError, Status};

/// Names a command among those of all callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallKey {
    /// Who sent it.
    pub caller: MachineId,
    /// What the caller calls it.
    pub id: CommandId,
}

impl CallKey {
    /// Not after any key of this caller.
    pub(crate) const fn first_of(caller: MachineId) -> Self {
        Self {
            caller,
            id: CommandId::from_bytes([0; 16]),
        }
    }
}

/// What is noted of one command. A later note of a key replaces an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Which command.
    pub key: CallKey,
    /// SHA-256 over its name and the beginning of its argument: the same id must be the same
    /// command.
    pub digest: [u8; 32],
    /// How long the id must be kept, counted from when it was noted; after a restart, once more
    /// from then, because nobody knows how long this machine was away.
    pub keep: Duration,
    /// How it ended; `None` before that.
    pub answer: Option<Answer>,
}

/// What is kept of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How the command ended.
    pub status: Status,
    /// How many values the answer has.
    pub items_total: u32,
    /// The values, encoded; none if there were too many bytes to keep.
    pub items: Vec<Bytes>,
}

/// What to do to the file of notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoteWrite {
    /// Add a note at the end.
    Append(Note),
    /// Put these notes into the place of all before.
    Replace(Vec<Note>),
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawNote {
    #[prost(bytes = "bytes", tag = "1")]
    caller: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    id: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    digest: Bytes,
    #[prost(uint64, tag = "4")]
    keep_millis: u64,
    #[prost(message, optional, tag = "5")]
    answer: Option<RawAnswer>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawAnswer {
    #[prost(uint32, tag = "1")]
    code: u32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(uint32, tag = "3")]
    items_total: u32,
    #[prost(bytes = "bytes", repeated, tag = "4")]
    items: Vec<Bytes>,
}

impl From<&Answer> for RawAnswer {
    fn from(answer: &Answer) -> Self {
        Self {
            code: answer.status.code.number().into(),
            message: answer.status.message.clone(),
            items_total: answer.items_total,
            items: answer.items.clone(),
        }
    }
}

impl TryFrom<RawAnswer> for Answer {
    type Error = NoteError;

    fn try_from(raw: RawAnswer) -> Result<Self, NoteError> {
        let code = Code::from_number(raw.code).ok_or(NoteError("code"))?;
        Ok(Self {
            status: Status::new(code, raw.message),
            items_total: raw.items_total,
            items: raw.items,
        })
    }
}

impl Answer {
    /// An end without values.
    #[must_use]
    pub const fn of(status: Status) -> Self {
        Self {
            status,
            items_total: 0,
            items: Vec::new(),
        }
    }

    /// Its bytes, as a letter carries them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        RawAnswer::from(self).encode_to_vec()
    }

    /// Reads an answer that somebody else has written.
    ///
    /// # Errors
    ///
    /// [`NoteError`] if it does not decode or has a status that there is not.
    pub fn decode(bytes: &[u8]) -> Result<Self, NoteError> {
        let raw = RawAnswer::decode(bytes).map_err(|_| NoteError("answer"))?;
        Self::try_from(raw)
    }
}

impl Note {
    /// Its bytes, as they stand in a record of the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        RawNote {
            caller: Bytes::copy_from_slice(self.key.caller.as_bytes()),
            id: Bytes::copy_from_slice(&self.key.id.to_bytes()),
            digest: Bytes::copy_from_slice(&self.digest),
            keep_millis: u64::try_from(self.keep.as_millis()).unwrap_or(u64::MAX),
            answer: self.answer.as_ref().map(RawAnswer::from),
        }
        .encode_to_vec()
    }

    /// Reads a note from this machine's own file.
    ///
    /// # Errors
    ///
    /// [`NoteError`] if it does not decode or a field is missing.
    pub fn decode(bytes: &[u8]) -> Result<Self, NoteError> {
        let raw = RawNote::decode(bytes).map_err(|_| NoteError("note"))?;
        let caller = <[u8; 32]>::try_from(raw.caller.as_ref());
        let id = <[u8; 16]>::try_from(raw.id.as_ref());
        let digest = <[u8; 32]>::try_from(raw.digest.as_ref());
        let answer = raw.answer.map(Answer::try_from);
        Ok(Self {
            key: CallKey {
                caller: MachineId::from_bytes(caller.map_err(|_| NoteError("caller"))?),
                id: CommandId::from_bytes(id.map_err(|_| NoteError("id"))?),
            },
            digest: digest.map_err(|_| NoteError("digest"))?,
            keep: Duration::from_millis(raw.keep_millis),
            answer: answer.transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_back_as_it_was_written_and_half_of_it_does_not() {
        let answer = Answer {
            status: Status::new(Code::OutOfRange, "too hot"),
            items_total: 2,
            items: vec![Bytes::from_static(&[0]), Bytes::from_static(&[2])],
        };
        let note = Note {
            key: CallKey {
                caller: MachineId::from_bytes([7; 32]),
                id: CommandId::from_bytes([9; 16]),
            },
            digest: [3; 32],
            keep: Duration::from_millis(35_000),
            answer: Some(answer),
        };
        let bytes = note.encode();

        assert_eq!(Note::decode(&bytes), Ok(note));
        assert!(Note::decode(&bytes[..bytes.len() / 2]).is_err());
        assert!(Note::decode(&[]).is_err());
    }
}
