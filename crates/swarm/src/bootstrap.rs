//! Addresses to look for machines at while there is no link.

use std::collections::BTreeMap;
use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use overlay::Address;
use statemachine::Rng;
use tokio::time::{Sleep, sleep};

use crate::StartError;
use crate::address::parse;

/// When to dial which bootstrap address.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    addresses: Vec<(Multiaddr, Option<PeerId>)>,
    /// Dials under way.
    dials: BTreeMap<ConnectionId, Multiaddr>,
    /// Rounds since there was a link.
    rounds: u32,
    /// When the next round starts; `None` while there is a link.
    timer: Option<Pin<Box<Sleep>>>,
    rng: Rng,
}

impl Bootstrap {
    /// Starts with a round at once.
    pub(crate) fn new(addresses: &[Address], rng: Rng) -> Result<Self, StartError> {
        let parsed = addresses
            .iter()
            .map(|address| parse(address).ok_or_else(|| StartError::Bootstrap(address.clone())));
        Ok(Self {
            addresses: parsed.collect::<Result<_, _>>()?,
            dials: BTreeMap::new(),
            rounds: 0,
            timer: Some(Box::pin(sleep(Duration::ZERO))),
            rng,
        })
    }

    /// Waits until the next round is due. Losing the future loses nothing.
    pub(crate) async fn due(&mut self) {
        match &mut self.timer {
            Some(timer) if !self.addresses.is_empty() => timer.as_mut().await,
            Some(_) | None => pending().await,
        }
    }

    /// Starts a round: gives what is to be dialled, and sets the time of the next one.
    pub(crate) fn start_round(&mut self) -> Vec<(Multiaddr, Option<PeerId>)> {
        let pause = PAUSE_MIN.saturating_mul(1 << self.rounds.min(16));
        self.rounds = self.rounds.saturating_add(1);
        self.timer = Some(Box::pin(sleep(self.rng.jitter(pause.min(PAUSE_MAX)))));
        let is_idle = |address: &Multiaddr| self.dials.values().all(|dialled| dialled != address);
        let idle = self
            .addresses
            .iter()
            .filter(|(address, _)| is_idle(address));
        idle.cloned().collect()
    }

    pub(crate) fn on_dialled(&mut self, connection: ConnectionId, address: Multiaddr) {
        self.dials.insert(connection, address);
    }

    /// A dial has ended; gives its address if it was one of these.
    pub(crate) fn on_dial_ended(&mut self, connection: ConnectionId) -> Option<Multiaddr> {
        self.dials.remove(&connection)
    }

    /// The address turned out to be this machine's own.
    pub(crate) fn forget(&mut self, own: &Multiaddr) {
        self.addresses.retain(|(address, _)| address != own);
    }

    /// The number of links has changed.
    pub(crate) fn on_links(&mut self, count: usize) {
        if count > 0 {
            self.timer = None;
            self.rounds = 0;
        } else if self.timer.is_none() {
            self.timer = Some(Box::pin(sleep(self.rng.jitter(PAUSE_MIN))));
        }
    }
}

/// Mean pause after the first round. Source: guess.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest mean pause. Source: guess; a site that regains power is whole soon after.
const PAUSE_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn bootstrap(addresses: &[&str]) -> Result<Bootstrap, StartError> {
        let to_address = |text: &&str| Address::new((*text).to_owned()).expect("short");
        let addresses: Vec<Address> = addresses.iter().map(to_address).collect();
        Bootstrap::new(&addresses, Rng::from_u64(1))
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_read_stops_the_start() {
        let refused = bootstrap(&["192.0.2.7:4001"]).expect_err("no multiaddress");

        assert!(refused.to_string().contains("192.0.2.7:4001"), "{refused}");
    }

    #[tokio::test]
    async fn an_address_is_dialled_once_at_a_time_and_never_again_when_it_is_our_own() {
        let mut bootstrap =
            bootstrap(&["/ip4/127.0.1.1/tcp/1", "/ip4/127.0.1.2/tcp/2"]).expect("two addresses");
        let (connection, address) = (
            ConnectionId::new_unchecked(1),
            bootstrap.start_round()[0].0.clone(),
        );

        bootstrap.on_dialled(connection, address.clone());
        assert_eq!(bootstrap.start_round().len(), 1);

        assert_eq!(bootstrap.on_dial_ended(connection), Some(address.clone()));
        assert_eq!(bootstrap.start_round().len(), 2);
        bootstrap.forget(&address);
        assert_eq!(bootstrap.start_round().len(), 1);
    }
}
