//! Records at which the sink fails: not refused in so many words, but the connection ends whenever
//! one of them is sent. A broker that speaks MQTT 3.1.1 has no other way to say no.
//!
//! A batch at which the sink fails is halved until a record fails alone. If it does so again and
//! again while others get through in between, the sink is well and the record is the one that it
//! will never take.

use std::collections::BTreeMap;

/// Records that failed alone.
#[derive(Debug, Default)]
pub(crate) struct Suspects(BTreeMap<String, Suspicion>);

#[derive(Clone, Copy, Debug, Default)]
struct Suspicion {
    failures: u32,
    /// How many records had been delivered when it failed last.
    delivered: u64,
}

impl Suspects {
    /// A record has failed alone, when so many others had been delivered. Says how often it has
    /// failed, once that is enough to be sure.
    pub(crate) fn failed_alone(&mut self, key: &str, delivered: u64) -> Option<u32> {
        if self.0.len() >= SUSPECTS_MAX && !self.0.contains_key(key) {
            self.0.pop_first(); // It will be suspected again.
        }
        let suspicion = self.0.entry(key.to_owned()).or_default();
        if suspicion.failures == 0 || delivered > suspicion.delivered {
            suspicion.failures += 1;
            suspicion.delivered = delivered;
        }
        let failures = suspicion.failures;
        (failures >= FAILURES_ALONE).then(|| {
            self.0.remove(key);
            failures
        })
    }

    /// A record has been delivered, so it was not that one.
    pub(crate) fn delivered(&mut self, key: &str) {
        self.0.remove(key);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How often a record must fail alone, with others delivered in between. Source: guess: a sink that
/// is killed thrice in a row with the same record on its way is unlikely enough.
const FAILURES_ALONE: u32 = 3;
/// Most records that are suspected at once. Unit: records. Source: guess.
const SUSPECTS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_given_up_only_if_others_get_through_in_between() {
        let mut suspects = Suspects::default();

        let at_a_dead_sink: Vec<_> = (0..9).map(|_| suspects.failed_alone("a", 5)).collect();
        let at_a_living_one = [6, 7].map(|delivered| suspects.failed_alone("a", delivered));

        assert_eq!(at_a_dead_sink, [None; 9]);
        assert_eq!(at_a_living_one, [None, Some(3)]);
    }

    #[test]
    fn a_record_that_gets_through_is_no_suspect_any_more() {
        let mut suspects = Suspects::default();
        for delivered in [1, 2] {
            suspects.failed_alone("a", delivered);
        }

        suspects.delivered("a");

        assert!(suspects.is_empty());
        assert_eq!(suspects.failed_alone("a", 3), None);
    }
}
