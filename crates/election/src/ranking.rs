//! Ranking: pure functions from shared facts to relays, the same on every machine.
//!
//! Incumbency is a fact, too: each candidate says in its own state whether it serves, so machines
//! that hold the same states take the same relays, and two relays that meet after a partition agree
//! within one exchange of states which of them goes on. So do those of a start at the same time.

use std::cmp::Reverse;

use model::MachineId;
use sha2::{Digest as _, Sha256};

use crate::{Candidacy, UplinkId};

/// A candidate's place in the order of preference; the smallest goes first.
///
/// A relay that works and a challenger that has settled come before one that has not, so that a
/// machine in a restart loop displaces nobody. Then the score counts, to which an incumbent adds
/// the hysteresis; of equal ones the smaller id goes first.
pub(crate) fn rank(
    machine: MachineId,
    candidacy: &Candidacy,
    hysteresis: u32,
) -> (Reverse<(bool, u32, bool)>, MachineId) {
    let bonus = if candidacy.serving { hysteresis } else { 0 };
    let score = candidacy.score().saturating_add(bonus);
    let steady = candidacy.serving || candidacy.settled;
    (Reverse((steady, score, candidacy.serving)), machine)
}

/// A relay, and what its way costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Relay {
    pub(crate) machine: MachineId,
    pub(crate) cost_class: u8,
}

/// The relay that serves an origin: weighted rendezvous hashing (Thaler and Ravishankar 1998;
/// weights after Schindelhauer and Schomaker 2005), so that a lost relay moves only its own
/// origins.
///
/// Each relay draws −log₂(hash / 2⁶⁴) / weight for the origin and the smallest draw wins. A wired
/// way weighs twice a wireless one and four times a metered one. Load does not weigh: serving makes
/// load, and origins would wander after it.
pub(crate) fn relay_of(
    uplink: &UplinkId,
    origin: &MachineId,
    relays: &[Relay],
) -> Option<MachineId> {
    match relays {
        [only] => Some(only.machine),
        relays => relays
            .iter()
            .min_by_key(|relay| (draw(uplink, origin, relay), relay.machine))
            .map(|relay| relay.machine),
    }
}

fn draw(uplink: &UplinkId, origin: &MachineId, relay: &Relay) -> u128 {
    let digest = Sha256::new()
        .chain_update(b"fieldmesh-rendezvous-v1")
        .chain_update(origin.as_bytes())
        .chain_update(relay.machine.as_bytes())
        .chain_update(uplink.as_str())
        .finalize();
    let (first, _) = digest
        .split_first_chunk::<8>()
        .expect("SHA-256 gives 32 bytes");
    u128::from(log2_negated(u64::from_be_bytes(*first))) << relay.cost_class
}

/// Returns −log₂(x / 2⁶⁴), with zero taken for one. Unit: 2⁻³². Rounded up, exact for powers of
/// two.
///
/// The fraction is found bit by bit: squaring a mantissa in [1, 2) doubles its logarithm, and the
/// square exceeds 2 where the next bit is one. Integers only, so every platform agrees.
fn log2_negated(x: u64) -> u64 {
    let x = x.max(1);
    let zeros = x.leading_zeros();
    let mut mantissa = u128::from(x << zeros);
    let mut log2 = u64::from(63 - zeros);
    for _ in 0..FRACTION_BITS {
        mantissa = (mantissa * mantissa) >> 63;
        let bit = mantissa >> 64;
        mantissa >>= bit;
        log2 = (log2 << 1) | u64::from(bit != 0);
    }
    (64 << FRACTION_BITS) - log2
}

/// Bits after the point of a draw. With 32, two of 10,000 origins' draws hardly ever tie.
const FRACTION_BITS: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(n: u16) -> MachineId {
        MachineId::from_bytes(Sha256::digest(n.to_le_bytes()).into())
    }

    fn cloud() -> UplinkId {
        "cloud".parse().expect("an id")
    }

    fn wired(n: u16) -> Relay {
        let machine = machine(n);
        Relay {
            machine,
            cost_class: 0,
        }
    }

    fn placed(relays: &[Relay]) -> Vec<MachineId> {
        (1_000..2_000)
            .filter_map(|origin| relay_of(&cloud(), &machine(origin), relays))
            .collect()
    }

    #[test]
    fn the_logarithm_is_exact_for_powers_of_two_and_close_elsewhere() {
        assert_eq!(log2_negated(0), 64 << 32);
        assert_eq!(log2_negated(1), 64 << 32);
        assert_eq!(log2_negated(1 << 63), 1 << 32);

        for x in [3_u64, 12_345, u64::MAX / 3, u64::MAX] {
            let exact = 64.0 - (x as f64).log2();
            let ours = log2_negated(x) as f64 / 2_f64.powi(32);
            assert!((exact - ours).abs() < 1e-9, "{x}: {exact} and {ours}");
        }
    }

    #[test]
    fn a_lost_relay_moves_only_its_own_origins() {
        let before = placed(&[wired(1), wired(2), wired(3)]);
        let after = placed(&[wired(1), wired(3)]);

        for (before, after) in before.iter().zip(&after) {
            assert!(before == after || *before == machine(2));
        }
        assert!(before.contains(&machine(2)));
    }

    #[test]
    fn relays_share_the_work_by_weight() {
        let metered = Relay {
            cost_class: 2,
            ..wired(3)
        };

        let placed = placed(&[wired(1), wired(2), metered]);

        // Weights 4, 4 and 1 of 1,000 origins: 444, 444 and 111, within four standard deviations.
        let count = |n| placed.iter().filter(|relay| **relay == machine(n)).count();
        assert!((381..=507).contains(&count(1)), "{}", count(1));
        assert!((381..=507).contains(&count(2)), "{}", count(2));
        assert!((71..=151).contains(&count(3)), "{}", count(3));
    }

    #[test]
    fn nobody_serves_without_a_relay() {
        assert_eq!(relay_of(&cloud(), &machine(1), &[]), None);
    }

    #[test]
    fn an_incumbent_keeps_its_place_against_an_equal_and_up_to_the_hysteresis() {
        let incumbent = Candidacy {
            serving: true,
            health: 90,
            ..Candidacy::default()
        };
        let level = Candidacy {
            serving: false,
            settled: true,
            load: 0,
            health: 95,
            ..incumbent
        };
        let better = Candidacy {
            health: 100,
            ..level.clone()
        };
        let (low, high) = (machine(1).min(machine(2)), machine(1).max(machine(2)));

        assert!(rank(high, &incumbent, 20) < rank(low, &level, 20));
        assert!(rank(high, &incumbent, 20) > rank(low, &better, 20));
    }

    #[test]
    fn a_challenger_that_has_not_settled_takes_no_place() {
        let incumbent = Candidacy {
            serving: true,
            ..Candidacy::default()
        };
        let challenger = Candidacy {
            priority: 255,
            health: 100,
            ..Candidacy::default()
        };

        assert!(rank(machine(1), &incumbent, 0) < rank(machine(2), &challenger, 0));
    }
}
