//! What one simulated machine takes in, recorded as a real node records it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use recording::{Sink, Unrecordable};

/// The recordings of a machine's lives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lives(Arc<Mutex<Vec<Vec<u8>>>>);

impl Lives {
    /// Where the next life is written to.
    pub(crate) fn next(&self) -> Box<dyn Sink> {
        self.lock().push(Vec::new());
        Box::new(self.clone())
    }

    /// Takes all of them.
    pub(crate) fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Lives {
    fn begin(&mut self, bytes: Vec<u8>) -> bool {
        self.put(bytes)
    }

    fn put(&mut self, bytes: Vec<u8>) -> bool {
        if let Some(life) = self.lock().last_mut() {
            life.extend(bytes);
        }
        true
    }

    /// # Panics
    ///
    /// Always: nothing that a simulated machine is told has no place in a recording.
    fn give_up(&mut self, why: Unrecordable) {
        panic!("a simulated machine is told something that cannot be recorded: {why}");
    }
}
