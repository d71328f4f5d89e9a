//! How many handshakes are let in: so many at a time, and so many a second from one address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Stands before the first handshake message is read.
///
/// What it lets in has shown a connection id that only a member can make, or has copied one; so the
/// gate bounds what a thief of the network key and a recorder can cost, not what strangers can.
#[derive(Debug)]
pub(crate) struct Gate {
    half_open: Arc<Semaphore>,
    /// By address; those that are not here have a full bucket.
    buckets: BTreeMap<IpAddr, Bucket>,
    /// For addresses that there is no room for.
    rest: Bucket,
    /// When the log may be written to again, and what was not written.
    quiet_until: Duration,
    unlogged: u64,
}

/// Tokens that come back with time.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: u32,
    /// When the tokens were counted.
    at: Duration,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            half_open: Arc::new(Semaphore::new(HALF_OPEN_MAX)),
            buckets: BTreeMap::new(),
            rest: Bucket::full(Duration::ZERO),
            quiet_until: Duration::ZERO,
            unlogged: 0,
        }
    }

    /// Says who was not answered and why, but does not let anybody fill the log.
    pub(crate) fn say(&mut self, now: Duration, from: SocketAddr, reason: &str) {
        if now < self.quiet_until {
            self.unlogged += 1;
            return;
        }
        let unlogged_before = std::mem::take(&mut self.unlogged);
        tracing::info!(%from, reason, unlogged_before, "a handshake was not answered");
        self.quiet_until = now + QUIET_TIME;
    }

    /// Lets a handshake in, until the permit is given back; `None` if it is one too many.
    pub(crate) fn admit(&mut self, now: Duration, from: IpAddr) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.half_open).try_acquire_owned().ok()?;
        self.bucket(now, block(from)).take(now).then_some(permit)
    }

    fn bucket(&mut self, now: Duration, block: IpAddr) -> &mut Bucket {
        if !self.buckets.contains_key(&block) && self.buckets.len() >= BUCKETS_MAX {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            if self.buckets.len() >= BUCKETS_MAX {
                return &mut self.rest;
            }
        }
        self.buckets.entry(block).or_insert(Bucket::full(now))
    }
}

impl Bucket {
    const fn full(at: Duration) -> Self {
        Self {
            tokens: BURST_MAX,
            at,
        }
    }

    fn is_full(&self, now: Duration) -> bool {
        self.refilled(now).tokens == BURST_MAX
    }

    fn take(&mut self, now: Duration) -> bool {
        *self = self.refilled(now);
        let is_left = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        is_left
    }

    fn refilled(&self, now: Duration) -> Self {
        let since = now.saturating_sub(self.at);
        let earned = u32::try_from(since.as_nanos() / TOKEN_TIME.as_nanos()).unwrap_or(u32::MAX);
        let tokens = self.tokens.saturating_add(earned).min(BURST_MAX);
        let at = if tokens == BURST_MAX {
            now
        } else {
            self.at + TOKEN_TIME * earned
        };
        Self { tokens, at }
    }
}

/// What one party commonly owns: an IPv4 address, or 64 bits of IPv6.
fn block(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// Handshakes that may be under way. Source: `link.md`.
pub(crate) const HALF_OPEN_MAX: usize = 128;
/// Handshakes that one address may start at once. Source: guess, a site behind one address that
/// gets its power back.
const BURST_MAX: u32 = 64;
/// After how long it may start another one. Source: guess.
const TOKEN_TIME: Duration = Duration::from_millis(31);
/// Time between two lines in the log. Source: guess.
const QUIET_TIME: Duration = Duration::from_secs(10);
/// Most addresses that are told apart. Source: guess; 64 KiB.
const BUCKETS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
    const START: Duration = Duration::ZERO;

    /// How many of so many handshakes get in when each is over at once.
    fn admitted(gate: &mut Gate, now: Duration, from: IpAddr, count: usize) -> usize {
        (0..count)
            .filter(|_| gate.admit(now, from).is_some())
            .count()
    }

    #[test]
    fn so_many_handshakes_are_under_way_and_no_more() {
        let mut gate = Gate::new();
        let burst = usize::try_from(BURST_MAX).expect("small");

        let all = [ONE, OTHER].map(|from| {
            let held = (0..burst).filter_map(|_| gate.admit(START, from));
            held.collect::<Vec<_>>()
        });
        let more: IpAddr = [192, 0, 2, 3].into();

        assert_eq!(all.iter().map(Vec::len).sum::<usize>(), HALF_OPEN_MAX);
        assert!(gate.admit(START, more).is_none());
        drop(all);
        assert!(gate.admit(START, more).is_some());
    }

    #[test]
    fn adversarial_28_an_address_that_has_spent_its_burst_waits_and_others_do_not() {
        let mut gate = Gate::new();
        let burst = usize::try_from(BURST_MAX).expect("small");

        assert_eq!(admitted(&mut gate, START, ONE, burst + 10), burst);
        assert_eq!(admitted(&mut gate, START, OTHER, 1), 1);
        assert_eq!(admitted(&mut gate, START + TOKEN_TIME * 3, ONE, 10), 3);
    }

    #[test]
    fn more_addresses_than_there_is_room_for_share_one_bucket() {
        let mut gate = Gate::new();
        let count = u32::try_from(BUCKETS_MAX).expect("small");
        for number in 0..count {
            assert!(gate.admit(START, IpAddr::V4(number.into())).is_some());
        }

        let strangers = (0..200_u32).map(|number| IpAddr::V4((count + number).into()));
        let admitted = strangers.filter(|from| gate.admit(START, *from).is_some());

        assert_eq!(admitted.count(), usize::try_from(BURST_MAX).expect("small"));
        assert_eq!(gate.buckets.len(), BUCKETS_MAX);
        let later = START + TOKEN_TIME * 2;
        assert!(gate.admit(later, IpAddr::V4((count * 2).into())).is_some());
        assert_eq!(gate.buckets.len(), 1);
    }

    #[test]
    fn adversarial_28_addresses_of_one_ipv6_network_count_as_one() {
        let mut gate = Gate::new();
        let ip = |host: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, host]);

        let admitted = (0..100).filter(|host| gate.admit(START, ip(*host)).is_some());

        assert_eq!(admitted.count(), usize::try_from(BURST_MAX).expect("small"));
    }
}
