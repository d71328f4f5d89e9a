//! What went through the sockets, and what was dropped without a word, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a transport has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// UDP payload that left. Unit: bytes.
    pub bytes_sent: u64,
    /// UDP payload that came, strangers' included. Unit: bytes.
    pub bytes_received: u64,
    /// Datagrams of another protocol or version.
    pub datagrams_foreign: u64,
    /// First datagrams to ids that no member made, or that no member sealed.
    pub first_flights_foreign: u64,
    /// First messages that were seen before, or are too old or from the future to be new.
    pub first_flights_repeated: u64,
    /// Handshakes that were one too many, at a time or from one address.
    pub handshakes_over_limit: u64,
    /// Retries sent: the one answer to somebody who may have recorded what a member said.
    pub retries: u64,
}

/// [`Stats`], as they are counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_sent: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) datagrams_foreign: Counter,
    pub(crate) first_flights_foreign: Counter,
    pub(crate) first_flights_repeated: Counter,
    pub(crate) handshakes_over_limit: Counter,
    pub(crate) retries: Counter,
}

impl Counters {
    pub(crate) fn read(&self) -> Stats {
        Stats {
            bytes_sent: self.bytes_sent.read(),
            bytes_received: self.bytes_received.read(),
            datagrams_foreign: self.datagrams_foreign.read(),
            first_flights_foreign: self.first_flights_foreign.read(),
            first_flights_repeated: self.first_flights_repeated.read(),
            handshakes_over_limit: self.handshakes_over_limit.read(),
            retries: self.retries.read(),
        }
    }
}

/// Counts up, from any thread.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.add_all(1);
    }

    pub(crate) fn add_all(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
