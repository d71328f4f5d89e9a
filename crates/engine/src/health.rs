//! Health: how well this machine's uplinks have worked lately, as its candidacies say it.
//!
//! Each time that an uplink stops working costs it, and time heals. So of two ways the one that
//! flaps loses its place to the one that does not, and stays behind it until it has held for a
//! while.

use std::collections::BTreeMap;
use std::time::Duration;

use election::{Candidacy, UplinkId};
use statemachine::Instant;

/// How well one uplink has worked.
#[derive(Clone, Copy, Debug)]
struct Health {
    reachable: bool,
    /// How much it had lost at `at`. Unit: percent.
    lost: u32,
    at: Instant,
}

/// All uplinks that were heard of.
#[derive(Debug, Default)]
pub(crate) struct Uplinks {
    by_id: BTreeMap<UplinkId, Health>,
}

impl Uplinks {
    /// An uplink can be reached from now on, or cannot.
    pub(crate) fn set_reachable(&mut self, now: Instant, uplink: &UplinkId, reachable: bool) {
        let health = self.by_id.entry(uplink.clone()).or_insert(Health {
            reachable,
            lost: 0,
            at: now,
        });
        if health.reachable && !reachable {
            health.lost = (health.lost_at(now) + OUTAGE_COST).min(LOST_MAX);
            health.at = now;
        }
        health.reachable = reachable;
    }

    /// The uplinks that were heard of: whether each can be reached, and its health in percent.
    pub(crate) fn iter(&self, now: Instant) -> impl Iterator<Item = (&UplinkId, bool, u8)> {
        self.by_id.iter().map(move |(id, health)| {
            let lost = u8::try_from(health.lost_at(now)).unwrap_or(Candidacy::PERCENT_MAX);
            let percent = Candidacy::PERCENT_MAX.saturating_sub(lost);
            (id, health.reachable, percent)
        })
    }
}

impl Health {
    fn lost_at(&self, now: Instant) -> u32 {
        let healed = now.since(self.at).as_nanos() / HEAL_INTERVAL.as_nanos();
        self.lost
            .saturating_sub(u32::try_from(healed).unwrap_or(u32::MAX))
    }
}

/// What an outage costs. Unit: percent. Two of them outweigh the hysteresis of the election by
/// three times. Source: guess.
const OUTAGE_COST: u32 = 20;
/// Most that can be lost. Unit: percent.
const LOST_MAX: u32 = 100;
/// Time that heals a percent: an outage is forgotten after four minutes. Source: guess.
const HEAL_INTERVAL: Duration = Duration::from_secs(12);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn each_outage_costs_and_time_heals() {
        let cloud: UplinkId = "cloud".parse().expect("an id");
        let mut uplinks = Uplinks::default();
        let said = |uplinks: &Uplinks, now| {
            uplinks
                .iter(now)
                .map(|(_, reachable, health)| (reachable, health))
                .next()
        };

        uplinks.set_reachable(at(0), &cloud, false);
        assert_eq!(
            said(&uplinks, at(0)),
            Some((false, 100)),
            "it has never worked"
        );
        for second in [10, 20] {
            uplinks.set_reachable(at(second), &cloud, true);
            uplinks.set_reachable(at(second + 1), &cloud, false);
        }
        uplinks.set_reachable(at(22), &cloud, false);

        assert_eq!(said(&uplinks, at(22)), Some((false, 60)));
        assert_eq!(said(&uplinks, at(21 + 120)), Some((false, 70)));
        assert_eq!(said(&uplinks, at(10_000)), Some((false, 100)));
    }
}
