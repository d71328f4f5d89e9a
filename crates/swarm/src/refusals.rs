//! Who was refused and why: reported, counted, and logged without letting strangers fill the log.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use futures::FutureExt as _;
use handshake::HandshakeError;
use libp2p::Multiaddr;
use libp2p::core::ConnectedPoint;
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

/// Reports refusals, wherever connections are judged.
#[derive(Clone, Debug)]
pub(crate) struct Refuser(mpsc::Sender<Refusal>);

impl Refuser {
    /// Reports why a connection does not stand, unless a dial has only failed on the way. `machine`
    /// is who it was, if that was proved. Reports that there is no room for are dropped.
    pub(crate) fn refuse(
        &self,
        endpoint: &ConnectedPoint,
        machine: Option<MachineId>,
        reason: RefusalReason,
    ) {
        let is_on_the_way = matches!(reason, RefusalReason::TimedOut | RefusalReason::Closed);
        if endpoint.is_dialer() && is_on_the_way {
            return;
        }
        let refusal = Refusal {
            machine,
            address: endpoint.get_remote_address().clone(),
            reason,
        };
        if let Err(error) = self.0.try_send(refusal) {
            tracing::debug!(%error, "refusal not reported");
        }
    }

    /// [`Self::refuse`], for what QUIC says.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "whatever else ends a connection, this machine has not refused it"
    )]
    pub(crate) fn refuse_quic(&self, endpoint: &ConnectedPoint, error: &transport::Error) {
        let (machine, reason) = match error {
            transport::Error::Refused(refused) => match &**refused {
                // Dialled in vain: whoever dialled is told, and has refused nobody.
                HandshakeError::Itself | HandshakeError::OtherMachine { .. } => return,
                refused => of_handshake(refused),
            },
            transport::Error::TimedOut => (None, RefusalReason::TimedOut),
            _ => (None, RefusalReason::Closed),
        };
        self.refuse(endpoint, machine, reason);
    }
}

/// Who was refused in a handshake, if that was proved, and why.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else is wrong with a handshake proves nobody"
)]
fn of_handshake(error: &HandshakeError) -> (Option<MachineId>, RefusalReason) {
    match error {
        HandshakeError::Refused { machine, reason } => {
            let known = reason.downcast_ref::<RefusalReason>().cloned();
            let other = || RefusalReason::Handshake(reason.to_string());
            (Some(*machine), known.unwrap_or_else(other))
        }
        error => (None, RefusalReason::Handshake(error.to_string())),
    }
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
    /// The collector, and what refusals are given to.
    pub(crate) fn new() -> (Refuser, Self) {
        let (sender, received) = mpsc::channel(WAITING_MAX);
        let collector = Self {
            received,
            quiet: None,
            unlogged: 0,
        };
        (Refuser(sender), collector)
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
