//! The bounded fan-out behind `Watch`.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::{self, StreamExt as _};
use model::Pattern;
use tokio::sync::mpsc;

use crate::{HeldReading, ReadingStream, Refusal};

/// Hands delivered readings to watchers.
///
/// [`Feed::push`] never waits. Each watcher has a queue of at most `QUEUE_READINGS_MAX` readings;
/// when it is full the watcher is given what was queued and then [`Refusal::FellBehind`].
#[derive(Default)]
pub struct Feed {
    watchers: Mutex<Vec<Watcher>>,
}

struct Watcher {
    pattern: Pattern,
    /// `None` once it has fallen behind.
    queue: Option<mpsc::Sender<Vec<HeldReading>>>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Readings in the queue.
    queued: AtomicUsize,
    /// Readings dropped since the queue was full.
    missed: AtomicU64,
}

impl Feed {
    /// Watches from now on. The watcher is forgotten when the stream is dropped.
    ///
    /// # Errors
    ///
    /// [`Refusal::TooManyWatchers`] if there are `WATCHERS_MAX`.
    pub fn watch(&self, pattern: Pattern) -> Result<ReadingStream, Refusal> {
        let (sender, receiver) = mpsc::channel(QUEUE_BATCHES_MAX);
        let counts = Arc::new(Counts::default());
        let mut watchers = self.watchers();
        watchers.retain(Watcher::is_watched);
        if watchers.len() >= WATCHERS_MAX {
            return Err(Refusal::TooManyWatchers(WATCHERS_MAX));
        }
        watchers.push(Watcher {
            pattern,
            queue: Some(sender),
            counts: Arc::clone(&counts),
        });
        Ok(drain(receiver, counts))
    }

    /// Whether anybody watches, so that readings need not be prepared for nobody.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.watchers().iter().any(Watcher::is_watched)
    }

    /// Hands readings to whoever watches their series.
    pub fn push(&self, readings: &[HeldReading]) {
        let mut watchers = self.watchers();
        watchers.retain(Watcher::is_watched);
        for watcher in &mut *watchers {
            watcher.push(readings);
        }
    }

    fn watchers(&self) -> std::sync::MutexGuard<'_, Vec<Watcher>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let watchers = self.watchers().len();
        f.debug_struct("Feed").field("watchers", &watchers).finish()
    }
}

impl Watcher {
    fn is_watched(&self) -> bool {
        Arc::strong_count(&self.counts) > 1
    }

    fn push(&mut self, readings: &[HeldReading]) {
        let fits = |held: &&HeldReading| held.origin.fits(&self.pattern, &held.series);
        let batch: Vec<_> = readings.iter().filter(fits).cloned().collect();
        let count = batch.len();
        if count == 0 {
            return;
        }
        let queued = self.counts.queued.fetch_add(count, Ordering::Relaxed);
        let sent = queued == 0 || queued + count <= QUEUE_READINGS_MAX;
        let queue = self.queue.take().filter(|_| sent);
        self.queue = queue.filter(|queue| queue.try_send(batch).is_ok());
        if self.queue.is_none() {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            self.counts.missed.fetch_add(count, Ordering::Relaxed);
        }
    }
}

fn drain(receiver: mpsc::Receiver<Vec<HeldReading>>, counts: Arc<Counts>) -> ReadingStream {
    let state = Some((receiver, counts));
    let parts = stream::unfold(state, |state| async move {
        let (mut receiver, counts) = state?;
        if let Some(batch) = receiver.recv().await {
            counts.queued.fetch_sub(batch.len(), Ordering::Relaxed);
            return Some((Ok(batch), Some((receiver, counts))));
        }
        match counts.missed.load(Ordering::Relaxed) {
            0 => None, // The node is gone.
            missed => Some((Err(Refusal::FellBehind { missed }), None)),
        }
    });
    parts.boxed()
}

/// Most readings that wait for one watcher; a batch that comes to an empty queue may be larger.
/// Source: guess, four full blocks.
const QUEUE_READINGS_MAX: usize = 4 * model::Block::READINGS_MAX;

/// Most batches that wait for one watcher. Source: guess.
const QUEUE_BATCHES_MAX: usize = 1_024;

/// Most watchers of one node. Source: guess; at some 200 bytes a reading 64 full queues hold 200
/// MB.
const WATCHERS_MAX: usize = 64;
