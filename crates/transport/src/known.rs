//! Where members are known to be, and to whom a connection that is not known may therefore be
//! reset.
//!
//! A machine that has restarted gets datagrams of connections that it knows nothing of. A stateless
//! reset ends them at once; but whoever recorded a datagram could learn by it that this machine
//! runs again. So a reset goes only to an address at which a member has proved itself to this
//! process: most neighbours are dialled right after the start.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shared by the sockets, which see addresses, and the generator of ids, which is asked about ids.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    members: BTreeSet<SocketAddr>,
    /// The same, the oldest first.
    order: VecDeque<SocketAddr>,
    /// Ids in the datagrams of the last batch that came from anywhere else.
    doubtful: BTreeSet<Vec<u8>>,
}

impl Known {
    /// A member has proved itself there.
    pub(crate) fn add(&self, address: SocketAddr) {
        let mut state = self.state();
        if !state.members.insert(address) {
            return;
        }
        state.order.push_back(address);
        if state.order.len() > MEMBERS_MAX
            && let Some(oldest) = state.order.pop_front()
        {
            state.members.remove(&oldest);
        }
    }

    /// A new batch of datagrams was read.
    pub(crate) fn start_batch(&self) {
        self.state().doubtful.clear();
    }

    /// A datagram with this id came from there, in this batch.
    pub(crate) fn note(&self, from: SocketAddr, id: &[u8]) {
        let mut state = self.state();
        if !state.members.contains(&from) {
            state.doubtful.insert(id.to_vec());
        }
    }

    /// Whether a connection of this id, which came in this batch, may be reset.
    pub(crate) fn may_reset(&self, id: &[u8]) -> bool {
        !self.state().doubtful.contains(id)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Addresses that are remembered. Source: guess, some for each link.
const MEMBERS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> SocketAddr {
        let port = u16::try_from(number).expect("small");
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_connection_is_reset_only_towards_members_of_this_batch() {
        let known = Known::default();
        known.add(address(1));

        known.start_batch();
        known.note(address(1), b"from a member");
        known.note(address(2), b"from elsewhere");
        known.note(address(1), b"from both");
        known.note(address(2), b"from both");

        assert!(known.may_reset(b"from a member"));
        assert!(!known.may_reset(b"from elsewhere"));
        assert!(!known.may_reset(b"from both"));
    }

    #[test]
    fn the_oldest_address_makes_room_for_a_new_one() {
        let known = Known::default();
        for number in 0..=MEMBERS_MAX {
            known.add(address(number));
        }

        known.note(address(0), b"forgotten");
        known.note(address(1), b"remembered");

        assert!(!known.may_reset(b"forgotten"));
        assert!(known.may_reset(b"remembered"));
    }
}
