//! The thread that reads stored blocks again, slowly, so that damage is found while neighbours
//! still have what was lost.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use store::{Scrub, Store};

/// The thread. It ends when this is gone.
#[derive(Debug)]
pub struct Scrubber {
    _running: SyncSender<()>,
}

impl Scrubber {
    /// Starts it; it reads so many bytes a second. `None` for none.
    ///
    /// # Errors
    ///
    /// If the operating system gives no thread.
    pub fn start(store: Store, bytes_per_second: u64) -> std::io::Result<Option<Self>> {
        if bytes_per_second == 0 {
            return Ok(None);
        }
        let (running, stopped) = sync_channel(0);
        thread::Builder::new()
            .name("store-scrub".to_owned())
            .spawn(move || run(&mut Scrub::new(store), bytes_per_second, &stopped))?;
        Ok(Some(Self { _running: running }))
    }
}

fn run(scrub: &mut Scrub, bytes_per_second: u64, stopped: &Receiver<()>) {
    let mut pause = STEP;
    while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let is_over = scrub.step(bytes_per_second) < bytes_per_second;
        pause = if is_over { ROUND_PAUSE } else { STEP };
    }
}

/// Time between two steps.
const STEP: Duration = Duration::from_secs(1);
/// Time between two rounds. Source: guess; a small store needs no reading all day.
const ROUND_PAUSE: Duration = Duration::from_secs(3_600);
