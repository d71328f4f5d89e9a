//! What a run is worth in numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use engine::Event;
use gossip::Stats;
use serde_json::json;

use crate::scenario::{Fault, Scenario};
use crate::trace::TraceHash;

/// Counts while a world runs.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    bytes: u64,
    copies: u64,
    copies_repeated: u64,
    readings: u64,
    latencies: Vec<Duration>,
    hops: Vec<u32>,
    revocations: Vec<Duration>,
    uploads: usize,
    uploads_repeated: u64,
    unserved: Duration,
    happened: BTreeMap<String, u64>,
    refused: u64,
    over_limit: u64,
    undecodable: u64,
    accusations: u64,
    doubts: u64,
    congestions: u64,
    survivors: Vec<Duration>,
    arrivals: Vec<Duration>,
    stretches: Vec<u64>,
    merges: Vec<Duration>,
    neighbours_won: u64,
    is_frozen: bool,
}

impl Meter {
    /// Counts from now on.
    pub(crate) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Counts no more.
    pub(crate) const fn freeze(&mut self) {
        self.is_frozen = true;
    }

    /// The first copy of a block has reached a machine so long after it was sealed, and so many
    /// thousandths of the shortest time.
    pub(crate) fn on_arrival(&mut self, taken: Duration, stretch_permille: u64) {
        self.arrivals.push(taken);
        self.stretches.push(stretch_permille);
    }

    /// A machine has the first new block of the other half so long after the link has returned.
    pub(crate) fn on_merged(&mut self, latency: Duration) {
        self.merges.push(latency);
    }

    /// A machine has a neighbour that it did not have.
    pub(crate) const fn on_neighbour(&mut self) {
        if !self.is_frozen {
            self.neighbours_won += 1;
        }
    }

    /// A machine has heard of a revocation, and closed its link to the outcast, so long after it
    /// was pushed.
    pub(crate) fn on_revoked(&mut self, latency: Duration) {
        self.revocations.push(latency);
    }

    /// A block has reached every survivor of a mass failure so long after it was sealed.
    pub(crate) fn on_reached_survivors(&mut self, latency: Duration) {
        self.survivors.push(latency);
    }

    /// The sink has so many records, and was given so many again.
    pub(crate) const fn on_end(&mut self, uploads: usize, repeated: u64) {
        (self.uploads, self.uploads_repeated) = (uploads, repeated);
    }

    /// Nobody has served an origin for so long.
    pub(crate) fn on_unserved(&mut self, unserved: Duration) {
        self.unserved = self.unserved.max(unserved);
    }

    /// Members with bad intent have done this so often.
    pub(crate) fn on_acts(&mut self, acts: &BTreeMap<&'static str, u64>) {
        for (what, count) in acts {
            *self.happened.entry((*what).to_owned()).or_default() += count;
        }
    }

    /// Something goes wrong.
    pub(crate) fn on_fault(&mut self, fault: Fault) {
        *self.happened.entry(format!("{fault:?}")).or_default() += 1;
    }

    /// What an honest machine has counted since it started.
    pub(crate) const fn on_stats(&mut self, stats: &Stats) {
        self.refused += stats.refused_invalid;
        self.over_limit += stats.wants_over_limit + stats.logs_over_limit;
        self.over_limit += stats.comparisons_over_limit;
    }

    /// A frame of an insider did not decode.
    pub(crate) const fn on_undecodable(&mut self) {
        self.undecodable += 1;
    }

    /// An honest machine has something to tell.
    pub(crate) fn on_event(&mut self, event: &Event) {
        self.accusations += u64::from(matches!(event, Event::Misbehaved(..)));
        self.doubts += u64::from(matches!(event, Event::Withholds(..)));
    }

    /// A send queue was full.
    pub(crate) const fn on_congestion(&mut self) {
        self.congestions += 1;
    }

    /// How often a send queue was full.
    pub(crate) const fn congestions(&self) -> u64 {
        self.congestions
    }

    /// Copies of blocks that machines had already, and first ones.
    pub(crate) const fn copies(&self) -> (u64, u64) {
        (self.copies_repeated, self.copies - self.copies_repeated)
    }

    /// A frame was sent.
    pub(crate) fn on_frame(&mut self, bytes: usize) {
        if self.is_frozen {
            return;
        }
        self.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    /// A copy of a block arrived at a machine, which had it already or not.
    pub(crate) const fn on_copy(&mut self, repeated: bool) {
        if self.is_frozen {
            return;
        }
        self.copies += 1;
        if repeated {
            self.copies_repeated += 1;
        }
    }

    /// A block of another machine was delivered.
    pub(crate) fn on_deliver(&mut self, latency: Duration, hops: u32, readings: u32) {
        if self.is_frozen {
            return;
        }
        self.readings += u64::from(readings);
        self.latencies.push(latency);
        self.hops.push(hops);
    }
}

/// The outcome of one seed.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which scenario.
    pub scenario: Scenario,
    /// How many machines.
    pub nodes: usize,
    /// Which seed.
    pub seed: u64,
    /// What went wrong, if anything.
    pub failure: Option<String>,
    /// How long it took after healing until everyone held everything.
    pub healed: Option<Duration>,
    /// Two runs of the seed had this trace.
    pub trace: TraceHash,
    /// Deliveries of blocks to other machines than their origins.
    pub delivered: usize,
    /// Copies of a block that a machine received beyond the first.
    pub redundancy: Option<f64>,
    /// From the return of the link between two halves until the first new block has got over.
    pub merged_first: Option<Duration>,
    /// The same, until every machine has one.
    pub merged_last: Option<Duration>,
    /// How often a machine won a neighbour.
    pub neighbours_won: u64,
    /// Bytes of frames that a machine sent in a second.
    pub bytes_per_node_s: Option<f64>,
    /// From the sealing of a block to its first copy elsewhere; only where growth is measured.
    pub arrival_p50: Option<Duration>,
    /// As `arrival_p50`.
    pub arrival_p99: Option<Duration>,
    /// The same, as a multiple of the shortest time over the links that stood.
    pub stretch_p50: Option<f64>,
    /// As `stretch_p50`.
    pub stretch_p99: Option<f64>,
    /// Bytes of frames for each reading delivered to another machine.
    pub bytes_per_reading: Option<f64>,
    /// From the call that published the first reading of a block to its delivery elsewhere.
    pub latency_p50: Option<Duration>,
    /// As `latency_p50`.
    pub latency_p99: Option<Duration>,
    /// Hops on the way of the first copy of a block.
    pub hops_p99: Option<u32>,
    /// From the push of a revocation until a machine has closed its link to the outcast. Partitions
    /// and restarts count.
    pub revoked_p99: Option<Duration>,
    /// From the sealing of a block after a mass failure until the last survivor has it, at worst.
    pub survivors_max: Option<Duration>,
    /// Records that the sink was given again: what a sink holds twice that cannot compare names.
    pub uploads_repeated: u64,
    /// Records that the sink has, by name.
    pub uploads: usize,
    /// Longest that nobody served an origin although a candidate was fit to.
    pub unserved_max: Duration,
    /// Faults, and acts of members with bad intent, by name.
    pub happened: BTreeMap<String, u64>,
    /// Blocks and states that honest machines refused because they are wrong.
    pub refused: u64,
    /// Wants, comparisons and logs that honest machines left aside because there were too many.
    pub over_limit: u64,
    /// How often a send queue was full, so that a frame was dropped.
    pub congestions: u64,
    /// Frames that did not decode; each costs its sender the link.
    pub undecodable: u64,
    /// How often an honest machine said that another one broke the protocol.
    pub accusations: u64,
    /// How often honest machines said of a neighbour that it withholds blocks.
    pub doubts: u64,
}

impl Report {
    /// The outcome of a run with these numbers.
    #[must_use]
    pub(crate) fn new(
        (scenario, nodes, seed): (Scenario, usize, u64),
        failure: Option<String>,
        healed: Option<Duration>,
        trace: TraceHash,
        meter: &Meter,
    ) -> Self {
        let plan = scenario.plan_for(nodes);
        let window = plan
            .measure_from
            .map(|from| plan.duration.saturating_sub(from));
        let first_copies = meter.copies - meter.copies_repeated;
        Self {
            scenario,
            nodes,
            seed,
            failure,
            healed,
            trace,
            delivered: meter.latencies.len(),
            redundancy: ratio(meter.copies_repeated, first_copies),
            bytes_per_node_s: window.and_then(|window| {
                let seconds = window.as_secs() * u64::try_from(nodes).unwrap_or(u64::MAX);
                ratio(meter.bytes, seconds)
            }),
            merged_first: meter.merges.iter().min().copied(),
            merged_last: meter.merges.iter().max().copied(),
            neighbours_won: meter.neighbours_won,
            arrival_p50: quantile(&meter.arrivals, 500),
            arrival_p99: quantile(&meter.arrivals, 990),
            stretch_p50: quantile(&meter.stretches, 500).and_then(|p| ratio(p, 1_000)),
            stretch_p99: quantile(&meter.stretches, 990).and_then(|p| ratio(p, 1_000)),
            bytes_per_reading: ratio(meter.bytes, meter.readings),
            latency_p50: quantile(&meter.latencies, 500),
            latency_p99: quantile(&meter.latencies, 990),
            hops_p99: quantile(&meter.hops, 990),
            revoked_p99: quantile(&meter.revocations, 990),
            survivors_max: meter.survivors.iter().max().copied(),
            uploads_repeated: meter.uploads_repeated,
            uploads: meter.uploads,
            unserved_max: meter.unserved,
            congestions: meter.congestions,
            happened: meter.happened.clone(),
            refused: meter.refused,
            over_limit: meter.over_limit,
            undecodable: meter.undecodable,
            accusations: meter.accusations,
            doubts: meter.doubts,
        }
    }

    /// The command that repeats this run.
    #[must_use]
    pub fn replay(&self) -> String {
        let Self {
            scenario,
            nodes,
            seed,
            ..
        } = self;
        format!("cargo run --release -p sim -- --scenario {scenario} --nodes {nodes} --seed {seed}")
    }

    /// As one JSON object.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let millis = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1e3);
        json!({
            "scenario": self.scenario.name(),
            "nodes": self.nodes,
            "seed": self.seed,
            "ok": self.failure.is_none(),
            "failure": self.failure,
            "delivered": self.delivered,
            "healed_s": self.healed.map(|time| time.as_secs_f64()),
            "redundancy": self.redundancy,
            "bytes_per_reading": self.bytes_per_reading,
            "merged_first_ms": millis(self.merged_first),
            "merged_last_ms": millis(self.merged_last),
            "neighbours_won": self.neighbours_won,
            "bytes_per_node_s": self.bytes_per_node_s,
            "arrival_p50_ms": millis(self.arrival_p50),
            "arrival_p99_ms": millis(self.arrival_p99),
            "stretch_p50": self.stretch_p50,
            "stretch_p99": self.stretch_p99,
            "latency_p50_ms": millis(self.latency_p50),
            "latency_p99_ms": millis(self.latency_p99),
            "hops_p99": self.hops_p99,
            "revoked_p99_ms": millis(self.revoked_p99),
            "survivors_max_ms": millis(self.survivors_max),
            "uploads": self.uploads,
            "uploads_repeated": self.uploads_repeated,
            "unserved_max_ms": self.unserved_max.as_secs_f64() * 1e3,
            "congestions": self.congestions,
            "happened": self.happened,
            "refused": self.refused,
            "over_limit": self.over_limit,
            "undecodable": self.undecodable,
            "accusations": self.accusations,
            "doubts": self.doubts,
            "trace": self.trace.to_string(),
        })
    }

    /// As lines for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "{} {} nodes seed {}: trace {}, {} deliveries",
            self.scenario, self.nodes, self.seed, self.trace, self.delivered
        );
        let mut add = |what: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(text, ", {what} {value}");
            }
        };
        add(
            "healed in",
            self.healed
                .map(|time| format!("{:.2} s", time.as_secs_f64())),
        );
        add("redundancy", self.redundancy.map(|r| format!("{r:.3}")));
        add(
            "bytes per reading",
            self.bytes_per_reading.map(|b| format!("{b:.1}")),
        );
        let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        add("latency p50", self.latency_p50.map(millis));
        add("p99", self.latency_p99.map(millis));
        add("first block over after", self.merged_first.map(millis));
        add("everyone's first after", self.merged_last.map(millis));
        add("first copy p50", self.arrival_p50.map(millis));
        add("p99", self.arrival_p99.map(millis));
        add("stretch p99", self.stretch_p99.map(|s| format!("{s:.2}")));
        add("revoked p99", self.revoked_p99.map(millis));
        add("every survivor after", self.survivors_max.map(millis));
        add("uploads", Some(self.uploads.to_string()));
        add("repeated", Some(self.uploads_repeated.to_string()));
        add("unserved at most", Some(millis(self.unserved_max)));
        if let Some(failure) = &self.failure {
            let _ = write!(text, "\nFAILED: {failure}\nreplay: {}", self.replay());
        }
        text
    }
}

fn ratio(a: u64, b: u64) -> Option<f64> {
    let f64_of = |n: u64| Duration::from_nanos(n).as_secs_f64();
    (b > 0).then(|| f64_of(a) / f64_of(b))
}

/// The smallest value that so many of a thousand do not exceed.
fn quantile<T: Copy + Ord>(values: &[T], permille: usize) -> Option<T> {
    let mut values = values.to_vec();
    values.sort_unstable();
    let rank = (values.len() * permille).div_ceil(1_000);
    values.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_smallest_value_that_enough_do_not_exceed() {
        let hundred: Vec<u32> = (1..=100).rev().collect();

        assert_eq!(quantile(&hundred, 500), Some(50));
        assert_eq!(quantile(&hundred, 990), Some(99));
        assert_eq!(quantile(&[7], 990), Some(7));
        assert_eq!(quantile::<u32>(&[], 500), None);
    }
}
