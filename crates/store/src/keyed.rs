//! What is keyed, in sled: segment catalogue, newest states, address book, counters.
//!
//! Nothing here is needed to be safe. Memberships and series definitions are records of the
//! segments too and come back from there; contacts come back by discovery, upload progress costs
//! some repeated uploads. sled 0.34 is known to fail to open after power loss, by an error or by a
//! panic, so both set it aside and start an empty one.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;
use model::{MachineId, State, StateKey};
use overlay::{Address, Contact};
use prost::Message as _;

use crate::disk::{Disk, create_directory};
use crate::store::lock;
use crate::{IoError, OpenError, WriteError};

/// sled and its trees.
#[derive(Debug)]
pub(crate) struct Keyed {
    db: sled::Db,
    segments: sled::Tree,
    states: sled::Tree,
    contacts: sled::Tree,
    meta: sled::Tree,
    contacts_count: Mutex<usize>,
}

/// All rows, read once when it opens, which also shows whether it is sound.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// The newest states.
    pub(crate) states: BTreeMap<StateKey, State>,
    /// The address book.
    pub(crate) contacts: Vec<Contact>,
    /// Every segment that there should be.
    pub(crate) segments: BTreeMap<u32, SegmentRow>,
    /// Bytes written to flash so far.
    pub(crate) bytes_written: u64,
}

/// What the catalogue says about a segment.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct SegmentRow {
    /// Its length. Unit: bytes.
    #[prost(uint64, tag = "1")]
    pub(crate) bytes: u64,
    /// How many blocks it holds.
    #[prost(uint64, tag = "2")]
    pub(crate) blocks: u64,
}

/// [`Contact::addresses`] as written.
#[derive(Clone, PartialEq, prost::Message)]
struct RawContact {
    #[prost(string, repeated, tag = "1")]
    addresses: Vec<String>,
}

impl Keyed {
    /// Opens it and reads all rows; `true` if it had to be set aside.
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<(Self, Rows, bool), OpenError> {
        let failure = match Self::try_open(path) {
            Ok((keyed, rows)) => return Ok((keyed, rows, false)),
            Err(Failure::Environment(error)) => return Err(error.into()),
            Err(Failure::Broken(reason)) => reason,
        };
        let aside = set_aside(disk, path)?;
        tracing::warn!(
            reason = failure,
            aside = %aside.display(),
            "the index did not open; it was set aside and is built anew from the segments"
        );
        match Self::try_open(path) {
            Ok((keyed, rows)) => Ok((keyed, rows, true)),
            Err(Failure::Environment(error)) => Err(error.into()),
            Err(Failure::Broken(reason)) => Err(OpenError::Index {
                path: path.to_owned(),
                reason,
            }),
        }
    }

    fn try_open(path: &Path) -> Result<(Self, Rows), Failure> {
        create_directory(path)
            .map_err(|error| Failure::Environment(IoError::on("create", path)(error)))?;
        let opened = catch_unwind(AssertUnwindSafe(|| -> Result<_, Unreadable> {
            let keyed = Self::open_trees(path)?;
            let rows = keyed.rows()?;
            *lock(&keyed.contacts_count) = rows.contacts.len();
            Ok((keyed, rows))
        }));
        match opened {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(Unreadable::Sled(sled::Error::Io(error))))
                if IoError::is_environment(&error) =>
            {
                Err(Failure::Environment(IoError::on("open", path)(error)))
            }
            Ok(Err(Unreadable::Sled(error))) => Err(Failure::Broken(error.to_string())),
            Ok(Err(Unreadable::Row(what))) => Err(Failure::Broken(format!("unreadable {what}"))),
            Err(_) => Err(Failure::Broken("sled panicked".to_owned())),
        }
    }

    fn open_trees(path: &Path) -> sled::Result<Self> {
        let db = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::LowSpace)
            .open()?;
        Ok(Self {
            segments: db.open_tree("segments")?,
            states: db.open_tree("states")?,
            contacts: db.open_tree("contacts")?,
            meta: db.open_tree("meta")?,
            contacts_count: Mutex::new(0),
            db,
        })
    }

    fn rows(&self) -> Result<Rows, Unreadable> {
        let mut rows = Rows::default();
        for row in &self.states {
            let bytes = Bytes::copy_from_slice(&row?.1);
            let state = State::decode(bytes).map_err(|_| Unreadable::Row("state"))?;
            rows.states.insert(state.key().clone(), state);
        }
        for row in &self.contacts {
            let (key, value) = row?;
            let contact = decode_contact(&key, &value).ok_or(Unreadable::Row("contact"))?;
            rows.contacts.push(contact);
        }
        for row in &self.segments {
            let (key, value) = row?;
            let number = key.as_ref().try_into().map(u32::from_be_bytes);
            let number = number.map_err(|_| Unreadable::Row("segment"))?;
            let segment =
                SegmentRow::decode(value.as_ref()).map_err(|_| Unreadable::Row("segment"))?;
            rows.segments.insert(number, segment);
        }
        if let Some(value) = self.meta.get(BYTES_WRITTEN)? {
            let value = value.as_ref().try_into().map(u64::from_be_bytes);
            rows.bytes_written = value.map_err(|_| Unreadable::Row("counter"))?;
        }
        Ok(rows)
    }

    /// The state that is kept for a key.
    pub(crate) fn state(&self, key: &StateKey) -> Option<State> {
        let bytes = self.states.get(state_key(key)).ok()??;
        State::decode(Bytes::copy_from_slice(&bytes)).ok()
    }

    /// Keeps a state in place of the one before it.
    pub(crate) fn put_state(&self, state: &State) -> Result<(), WriteError> {
        put(&self.states, &state_key(state.key()), state.as_bytes())
    }

    /// Keeps a contact. Beyond [`CONTACTS_MAX`] it takes the place of the one whose key follows,
    /// which is as good as a random one.
    pub(crate) fn put_contact(&self, contact: &Contact) -> Result<(), WriteError> {
        let addresses = contact.addresses.iter();
        let raw = RawContact {
            addresses: addresses.map(|a| a.as_str().to_owned()).collect(),
        };
        let key = contact.machine.as_bytes();
        let mut count = lock(&self.contacts_count);
        let known = self.contacts.contains_key(key).map_err(index_error)?;
        if !known && *count >= CONTACTS_MAX {
            let next = self.contacts.get_gt(key).map_err(index_error)?;
            let next = match next {
                Some(next) => Some(next),
                None => self.contacts.first().map_err(index_error)?,
            };
            if let Some((other, _)) = next {
                self.contacts.remove(other).map_err(index_error)?;
                *count -= 1;
            }
        }
        put(&self.contacts, key, &raw.encode_to_vec())?;
        *count += usize::from(!known);
        Ok(())
    }

    /// Notes a sealed segment, so that a missing one is noticed.
    pub(crate) fn put_segment(&self, number: u32, row: SegmentRow) -> Result<(), WriteError> {
        put(&self.segments, &number.to_be_bytes(), &row.encode_to_vec())
    }

    /// Forgets a segment that is gone.
    pub(crate) fn remove_segment(&self, number: u32) -> Result<(), WriteError> {
        let removed = self.segments.remove(number.to_be_bytes());
        removed.map(drop).map_err(index_error)
    }

    /// Keeps the count of bytes written to flash.
    pub(crate) fn put_bytes_written(&self, bytes: u64) -> Result<(), WriteError> {
        put(&self.meta, BYTES_WRITTEN, &bytes.to_be_bytes())
    }

    /// Hands everything to the operating system.
    pub(crate) fn flush(&self) -> Result<(), WriteError> {
        self.db.flush().map(drop).map_err(index_error)
    }
}

/// Why it did not open.
enum Failure {
    /// Setting it aside would not help.
    Environment(IoError),
    /// What is there cannot be used.
    Broken(String),
}

enum Unreadable {
    Sled(sled::Error),
    Row(&'static str),
}

impl From<sled::Error> for Unreadable {
    fn from(error: sled::Error) -> Self {
        Self::Sled(error)
    }
}

fn put(tree: &sled::Tree, key: &[u8], value: &[u8]) -> Result<(), WriteError> {
    tree.insert(key, value).map(drop).map_err(index_error)
}

fn index_error(error: sled::Error) -> WriteError {
    if let sled::Error::Io(error) = error {
        return IoError::on("write to", Path::new("index"))(error).into();
    }
    WriteError::Index(error.to_string())
}

fn state_key(key: &StateKey) -> Vec<u8> {
    let mut bytes = key.origin.as_bytes().to_vec();
    bytes.push(key.kind.code());
    bytes.extend_from_slice(key.subject.as_bytes());
    bytes
}

fn decode_contact(key: &[u8], value: &[u8]) -> Option<Contact> {
    let raw = RawContact::decode(value).ok()?;
    let addresses = raw.addresses.into_iter().take(Contact::ADDRESSES_MAX);
    Some(Contact {
        machine: MachineId::from_bytes(key.try_into().ok()?),
        addresses: addresses.map(Address::new).collect::<Option<_>>()?,
    })
}

/// Renames the directory to the first free `index.broken-N`.
fn set_aside(disk: &dyn Disk, path: &Path) -> Result<PathBuf, IoError> {
    let name = |number: u32| path.with_extension(format!("broken-{number}"));
    let number = (1..u32::MAX).find(|number| !name(*number).exists());
    let number = number.unwrap_or(1);
    let aside = name(number);
    disk.rename(path, &aside)
        .map_err(IoError::on("set aside", path))?;
    Ok(aside)
}

const BYTES_WRITTEN: &[u8] = b"bytes-written";
/// Memory for sled's pages. Unit: bytes. Source: guess; everything in it fits.
const CACHE_BYTES: u64 = 4 << 20;
/// Most contacts that are kept. Source: guess, four times the overlay's largest passive view.
const CONTACTS_MAX: usize = 4_096;
