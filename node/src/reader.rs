//! The thread that reads blocks for the loop, so that the loop never waits for the disk.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use engine::Input;
use gossip::Span;
use model::{LogId, Timestamp};
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
    /// What of them.
    pub choice: Choice,
    /// Most encoded bytes.
    pub bytes_max: usize,
}

/// Which blocks of a span are read.
#[derive(Clone, Copy, Debug)]
pub enum Choice {
    /// All of them, as far as they can be read.
    All,
    /// Those with readings of some times, up to the first that cannot be read.
    Times(Option<(Timestamp, Timestamp)>),
}

impl Read {
    /// The answer to a read that found nothing.
    #[must_use]
    pub fn nothing(&self) -> Input {
        match self.choice {
            Choice::All => Input::BlocksRead(self.ticket, Vec::new()),
            Choice::Times(_) => {
                Input::BlocksFound(self.ticket, Vec::new(), self.span.first.saturating_sub(1))
            }
        }
    }
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
    pub fn start(store: Store, answers: mpsc::Sender<Input>) -> std::io::Result<Self> {
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
    /// The read.
    pub fn read(&self, read: Read) -> Result<(), Box<Read>> {
        self.reads.try_send(read).map_err(|error| match error {
            TrySendError::Full(read) | TrySendError::Disconnected(read) => Box::new(read),
        })
    }
}

fn serve(store: &Store, queue: &Receiver<Read>, answers: &mpsc::Sender<Input>) {
    while let Ok(read) = queue.recv() {
        if answers.blocking_send(answer(store, &read)).is_err() {
            return;
        }
    }
}

fn answer(store: &Store, read: &Read) -> Input {
    match read.choice {
        Choice::All => {
            let found = store.read(read.log, read.span, read.bytes_max);
            Input::BlocksRead(read.ticket, found.blocks)
        }
        Choice::Times(times) => {
            let found = store.search(read.log, read.span, times, read.bytes_max);
            Input::BlocksFound(read.ticket, found.blocks, found.searched)
        }
    }
}

/// Reads that wait for the disk. Source: guess, 64 neighbours with a few each.
const READS_MAX: usize = 256;
