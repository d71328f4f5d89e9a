//! When the link over a connection moves to a fresh one.
//!
//! Key updates bring no new Diffie-Hellman, so whoever learns a connection's secrets reads all that
//! follows on it. Therefore a link goes on over a fresh connection, with both memberships judged
//! anew, before it is a day old: at a quiet moment within the last hour, or else at the end of it.
//! And a link over TCP looks for QUIC from time to time.
//!
//! Whoever dialled the old connection dials the fresh one, since it knows where to. It looks
//! whether it is time whenever a round trip was measured; so this needs no timer of its own.

use std::time::Duration;

use tokio::time::Instant;

use crate::Config;
use crate::ways::Way;

/// How old links become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ages {
    /// At most.
    link_max: Duration,
    /// How often a link over TCP looks for QUIC.
    quic_probe_interval: Duration,
}

/// What to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dial {
    /// The same address again.
    Same,
    /// Where the machine listens for QUIC.
    Quic,
}

/// A connection's age.
#[derive(Debug)]
pub(crate) struct Renewal {
    made: Instant,
    /// When its successor was last dialled.
    dialled: Option<Instant>,
}

impl Ages {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            link_max: config.link_age_max,
            quic_probe_interval: config.quic_probe_interval,
        }
    }
}

impl Renewal {
    /// Of a connection that has just been made.
    pub(crate) fn new() -> Self {
        Self {
            made: now(),
            dialled: None,
        }
    }

    /// What the side that dialled this connection is to dial now, if anything; it is taken to do
    /// so.
    pub(crate) fn due(&mut self, ages: Ages, way: Way, is_quiet: bool) -> Option<Dial> {
        let now = now();
        let age = now - self.made;
        let since = now - self.dialled.unwrap_or(self.made);
        let hour = ages.link_max / HOURS;
        let is_old = age >= ages.link_max || (is_quiet && age >= ages.link_max - hour);
        let is_again = self.dialled.is_none() || since >= hour / TRIES;
        let dial = if is_old && is_again {
            Dial::Same
        } else if way == Way::Tcp && since >= ages.quic_probe_interval {
            Dial::Quic
        } else {
            return None;
        };
        self.dialled = Some(now);
        Some(dial)
    }

    /// Whether this connection is so old that another one to the same machine was made to take its
    /// place, and may.
    pub(crate) fn may_succeed(&self, ages: Ages, is_quiet: bool) -> bool {
        let age = now() - self.made;
        age >= ages.link_max || (is_quiet && age >= ages.link_max / 2)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the age of a connection is known where connections are made; nothing else is timed by it"
)]
fn now() -> Instant {
    Instant::now()
}

/// The last of so many parts of a link's life has its quiet moment: an hour of a day. Source:
/// guess.
const HOURS: u32 = 24;
/// How often a successor is dialled in this time. Source: guess.
const TRIES: u32 = 12;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::advance;

    use super::*;
    use crate::WallClock;

    const HOUR: Duration = Duration::from_secs(3_600);
    const MINUTE: Duration = Duration::from_secs(60);

    fn ages() -> Ages {
        Ages::new(&Config::new(WallClock(Arc::new(|| None))))
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_is_made_anew_at_a_quiet_moment_of_its_last_hour_or_after_a_day() {
        let mut renewal = Renewal::new();
        let mut due = |is_quiet| renewal.due(ages(), Way::Quic, is_quiet);

        advance(23 * HOUR - MINUTE).await;
        assert_eq!(due(true), None);
        advance(MINUTE).await;
        assert_eq!(due(false), None);
        assert_eq!(due(true), Some(Dial::Same));
        assert_eq!(due(true), None, "it is being dialled");
        advance(5 * MINUTE).await;
        assert_eq!(due(false), None);
        assert_eq!(due(true), Some(Dial::Same), "the first dial led to nothing");
        advance(HOUR).await;
        assert_eq!(due(false), Some(Dial::Same));
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_over_tcp_looks_for_quic_every_ten_minutes_and_others_do_not() {
        for (way, dial) in [
            (Way::Tcp, Some(Dial::Quic)),
            (Way::Quic, None),
            (Way::Circuit, None),
        ] {
            let mut renewal = Renewal::new();

            for _ in 0..3 {
                advance(9 * MINUTE).await;
                assert_eq!(renewal.due(ages(), way, true), None);
                advance(MINUTE).await;
                assert_eq!(renewal.due(ages(), way, true), dial);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_young_link_does_not_give_way_nor_does_a_busy_one_before_its_time() {
        let renewal = Renewal::new();

        advance(11 * HOUR).await;
        assert!(!renewal.may_succeed(ages(), true));
        advance(HOUR).await;
        assert!(renewal.may_succeed(ages(), true));
        assert!(!renewal.may_succeed(ages(), false));
        advance(12 * HOUR).await;
        assert!(renewal.may_succeed(ages(), false));
    }
}
