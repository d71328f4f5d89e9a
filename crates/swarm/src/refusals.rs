//! Who was refused and why: reported, counted, and logged without letting strangers fill the log.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use futures::FutureExt as _;
use libp2p::Multiaddr;
use model::MachineId;
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};

use crate::RefusalReason;

/// A connection that was refused before it reached the swarm.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Who it is, if it proved that much.
    pub(crate) machine: Option<MachineId>,
    /// Where it came from, or where it was dialled.
    pub(crate) address: Multiaddr,
    pub(crate) reason: RefusalReason,
}

/// Collects refusals from the connections that are being admitted.
#[derive(Debug)]
pub(crate) struct Refusals {
    received: mpsc::Receiver<Refusal>,
    /// Set after a line was logged; until it elapses, refusals are only counted.
    quiet: Option<Pin<Box<Sleep>>>,
    unlogged: u64,
}

impl Refusals {
    /// The collector, and what refusals are given to; those that it has no room for are dropped.
    pub(crate) fn new() -> (mpsc::Sender<Refusal>, Self) {
        let (sender, received) = mpsc::channel(WAITING_MAX);
        let collector = Self {
            received,
            quiet: None,
            unlogged: 0,
        };
        (sender, collector)
    }

    /// Waits for the next one. Losing the future loses nothing.
    pub(crate) async fn next(&mut self) -> Refusal {
        let Some(refusal) = self.received.recv().await else {
            return pending().await;
        };
        self.log(&refusal);
        refusal
    }

    fn log(&mut self, refusal: &Refusal) {
        if let Some(quiet) = &mut self.quiet
            && quiet.as_mut().now_or_never().is_none()
        {
            self.unlogged += 1;
            return;
        }
        let machine = refusal.machine.map(|machine| machine.to_string());
        tracing::info!(
            machine = machine.as_deref().unwrap_or("unknown"),
            address = %refusal.address,
            reason = %refusal.reason,
            unlogged_before = std::mem::take(&mut self.unlogged),
            "connection refused"
        );
        self.quiet = Some(Box::pin(sleep(QUIET_TIME)));
    }
}

/// Refusals that may wait to be reported. Source: guess, as many as may be admitted at a time.
const WAITING_MAX: usize = 128;
/// Time between two lines in the log. Source: guess.
const QUIET_TIME: Duration = Duration::from_secs(1);
