//! What candidates say to each other.

use model::MachineId;

/// Messages between candidates, over their kept links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The sender is alive.
    Heartbeat {
        /// Counts up from 1 in each life of the sender.
        counter: u64,
    },
    /// Is this machine alive, as far as you know? Sent to others when a candidate is suspected.
    Probe {
        /// Who is suspected.
        target: MachineId,
        /// Names the answer.
        nonce: u64,
    },
    /// The answer to a probe: the target has been heard since the probe came, or has not.
    ProbeReply {
        /// From the probe.
        nonce: u64,
        /// Whether the target was heard.
        alive: bool,
    },
    /// The sender stops in order: take its place now, do not wait for silence.
    Resign,
}
