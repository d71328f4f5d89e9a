//! Which way gets through to a machine: QUIC, or TCP where UDP is blocked.
//!
//! Both are tried, QUIC first: TCP waits until QUIC has failed or has had its head start. Where
//! QUIC did not get through, that is remembered, and TCP waits no more; QUIC is tried beside it all
//! the same, and answers in fewer round trips as soon as it gets through again.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::watch;
use tokio::time::timeout;

/// What a connection is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// QUIC with a Noise handshake.
    Quic,
    /// TCP with pnet, Noise and Yamux.
    Tcp,
    /// The same over a third machine.
    Circuit,
}

impl Way {
    /// Its name on the command line, in JSON and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::Circuit => "circuit",
        }
    }

    /// The way of an address.
    pub(crate) fn of(address: &Multiaddr) -> Self {
        let has = |sought| address.iter().any(|part| part == sought);
        if has(Protocol::P2pCircuit) {
            Self::Circuit
        } else if has(Protocol::Quic) {
            Self::Quic
        } else {
            Self::Tcp
        }
    }
}

/// Whom an address leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Peer(PeerId),
    /// For addresses that do not say who answers there.
    Ip(IpAddr),
}

impl Target {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "no other part of an address says whom it leads to"
    )]
    fn of(address: &Multiaddr) -> Option<Self> {
        let (mut ip, mut peer) = (None, None);
        for part in address {
            match part {
                Protocol::Ip4(v4) => ip = Some(Self::Ip(v4.into())),
                Protocol::Ip6(v6) => ip = Some(Self::Ip(v6.into())),
                Protocol::P2p(named) => peer = Some(Self::Peer(named)),
                _ => {}
            }
        }
        peer.or(ip)
    }
}

/// What is known of the ways to machines.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    state: Mutex<State>,
    fallbacks: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Dials over QUIC that are under way: how many; watchers hear when there are none left.
    dialling: BTreeMap<Target, watch::Sender<usize>>,
    /// Where TCP got through and QUIC did not, the last time.
    blocked: BTreeMap<Target, ()>,
}

impl Ways {
    /// Notes a dial over QUIC, until what is given is dropped.
    pub(crate) fn dial_quic(self: &Arc<Self>, address: &Multiaddr) -> QuicDial {
        let target = Target::of(address);
        if let Some(target) = target {
            let mut state = self.state();
            let count = state.dialling.entry(target);
            let count = count.or_insert_with(|| watch::Sender::new(0));
            count.send_modify(|count| *count += 1);
        }
        QuicDial {
            ways: Arc::clone(self),
            target,
        }
    }

    /// Waits until a dial over TCP may start. Tells whether QUIC is or was being tried.
    pub(crate) async fn turn_of_tcp(&self, address: &Multiaddr) -> bool {
        let Some(target) = Target::of(address) else {
            return false;
        };
        let (mut dialling, is_blocked) = {
            let state = self.state();
            let Some(dialling) = state.dialling.get(&target) else {
                return false;
            };
            (dialling.subscribe(), state.blocked.contains_key(&target))
        };
        if !is_blocked {
            let failed = dialling.wait_for(|count| *count == 0);
            let _ = timeout(HEAD_START, failed).await;
        }
        true
    }

    /// TCP got through while QUIC did not.
    pub(crate) fn fell_back(&self, address: &Multiaddr) {
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
        let Some(target) = Target::of(address) else {
            return;
        };
        let mut state = self.state();
        if state.blocked.len() >= BLOCKED_MAX {
            state.blocked.pop_first();
        }
        if state.blocked.insert(target, ()).is_none() {
            drop(state);
            tracing::info!(%address, "QUIC does not get through, using TCP; is UDP blocked?");
        }
    }

    /// How often TCP got through while QUIC did not.
    pub(crate) fn fallbacks(&self) -> u64 {
        self.fallbacks.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A dial over QUIC that is under way.
#[derive(Debug)]
pub(crate) struct QuicDial {
    ways: Arc<Ways>,
    target: Option<Target>,
}

impl QuicDial {
    /// It got through.
    pub(crate) fn succeed(self) {
        let blocked = self.target.and_then(|target| {
            let mut state = self.ways.state();
            state.blocked.remove(&target)
        });
        if blocked.is_some() {
            tracing::info!(target = ?self.target, "QUIC gets through again");
        }
    }
}

impl Drop for QuicDial {
    fn drop(&mut self) {
        let Some(target) = self.target else { return };
        let mut state = self.ways.state();
        let Some(count) = state.dialling.get(&target) else {
            return;
        };
        count.send_modify(|count| *count = count.saturating_sub(1));
        if *count.borrow() == 0 {
            state.dialling.remove(&target);
        }
    }
}

/// How long TCP waits for QUIC. Source: RFC 8305 §5, Connection Attempt Delay.
const HEAD_START: Duration = Duration::from_millis(250);
/// Machines of which is remembered that QUIC does not get through. Source: guess.
const BLOCKED_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().expect("a multiaddress")
    }

    fn addresses() -> (Multiaddr, Multiaddr) {
        (
            address("/ip4/127.0.1.1/udp/4001/quic/noise"),
            address("/ip4/127.0.1.1/tcp/4001"),
        )
    }

    async fn waited(ways: &Ways, tcp: &Multiaddr) -> (bool, Duration) {
        let start = now();
        (ways.turn_of_tcp(tcp).await, now() - start)
    }

    #[expect(clippy::disallowed_methods, reason = "the paused clock of a test")]
    fn now() -> Instant {
        Instant::now()
    }

    #[tokio::test(start_paused = true)]
    async fn tcp_waits_for_quics_head_start_and_not_without_quic() {
        let ways = Arc::new(Ways::default());
        let (quic, tcp) = addresses();

        assert_eq!(waited(&ways, &tcp).await, (false, Duration::ZERO));
        let dial = ways.dial_quic(&quic);
        let (is_tried, time) = waited(&ways, &tcp).await;
        assert!(is_tried && time >= HEAD_START, "{time:?}");
        drop(dial);
        assert_eq!(waited(&ways, &tcp).await, (false, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn tcp_does_not_wait_for_quic_that_has_failed() {
        let ways = Arc::new(Ways::default());
        let (quic, tcp) = addresses();
        let dials = [ways.dial_quic(&quic), ways.dial_quic(&quic)];

        let failing = async {
            tokio::time::sleep(HEAD_START / 5).await;
            drop(dials);
        };
        let ((is_tried, time), ()) = tokio::join!(waited(&ways, &tcp), failing);

        assert!(is_tried && time < HEAD_START, "{time:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn where_quic_did_not_get_through_tcp_waits_no_more_until_it_does() {
        let ways = Arc::new(Ways::default());
        let (quic, tcp) = addresses();
        ways.fell_back(&tcp);

        let dial = ways.dial_quic(&quic);
        assert_eq!(waited(&ways, &tcp).await, (true, Duration::ZERO));
        dial.succeed();
        let _dial = ways.dial_quic(&quic);
        let (_, time) = waited(&ways, &tcp).await;

        assert!(time >= HEAD_START, "{time:?}");
        assert_eq!(ways.fallbacks(), 1);
    }
}
