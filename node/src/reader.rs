//! The thread that reads blocks for the loop, so that the loop never waits for the disk.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use gossip::Span;
use model::{Block, LogId};
use statemachine::Ticket;
use store::Store;
use tokio::sync::mpsc;

/// One read.
#[derive(Debug)]
pub struct Read {
    /// Names the answer.
    pub ticket: Ticket,
    /// Whose blocks.
    pub log: LogId,
    /// Which ones.
    pub span: Span,
    /// Most encoded bytes.
    pub bytes_max: usize,
}

/// The reading thread. It ends when this and what it has queued is gone.
#[derive(Debug)]
pub struct Reader {
    reads: SyncSender<Read>,
}

impl Reader {
    /// Starts the thread; answers go to `answers`.
    ///
    /// # Errors
    ///
    /// If the operating system gives no thread.
    pub fn start(
        store: Store,
        answers: mpsc::Sender<(Ticket, Vec<Block>)>,
    ) -> std::io::Result<Self> {
        let (reads, queue) = sync_channel(READS_MAX);
        thread::Builder::new()
            .name("store-reader".to_owned())
            .spawn(move || serve(&store, &queue, &answers))?;
        Ok(Self { reads })
    }

    /// Queues a read, or gives it back if too many wait: the asker tries again later.
    ///
    /// # Errors
    ///
    /// The ticket of the read.
    pub fn read(&self, read: Read) -> Result<(), Ticket> {
        self.reads.try_send(read).map_err(|error| match error {
            TrySendError::Full(read) | TrySendError::Disconnected(read) => read.ticket,
        })
    }
}

fn serve(store: &Store, queue: &Receiver<Read>, answers: &mpsc::Sender<(Ticket, Vec<Block>)>) {
    while let Ok(read) = queue.recv() {
        let found = store.read(read.log, read.span, read.bytes_max);
        for id in found.damaged {
            tracing::warn!(block = %id, "a stored block is damaged; neighbours are asked for it");
        }
        if answers.blocking_send((read.ticket, found.blocks)).is_err() {
            return;
        }
    }
}

/// Reads that wait for the disk. Source: guess, 64 neighbours with a few each.
const READS_MAX: usize = 256;
