//! What it costs to grow: one line for each number of machines, and how fast each figure grows.

use std::time::Duration;

use crate::report::Report;
use crate::scenario::{Plan, Scenario};
use crate::sites::{MANY_MACHINES, count_of};

/// The figures of runs with ever more machines.
#[derive(Clone, Debug, Default)]
pub struct Growth {
    rows: Vec<(f64, [Option<f64>; COLUMNS.len()])>,
}

impl Growth {
    /// 10, 100 and so on, or 2, 8 and so on sites of ten, up to a largest number of machines.
    pub fn sizes(scenario: Scenario, nodes_max: usize) -> impl Iterator<Item = usize> {
        let (first, step) = match scenario == Scenario::ManySites {
            true => (2 * MANY_MACHINES, 4),
            false => (10, 10),
        };
        std::iter::successors(Some(first), move |nodes: &usize| nodes.checked_mul(step))
            .take_while(move |nodes| *nodes <= nodes_max)
    }

    /// Takes a run in, and returns its line, under the heads of the columns if it is the first.
    pub fn add(&mut self, report: &Report) -> String {
        let millis = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1e3);
        let figures = [
            millis(report.arrival_p50),
            millis(report.arrival_p99),
            report.stretch_p99,
            report.hops_p99.map(f64::from),
            report.redundancy,
            report.bytes_per_node_s,
            report.bytes_per_reading,
            millis(report.revoked_p99),
        ];
        let head = if self.rows.is_empty() {
            format!(
                "{:>10}{}\n",
                "machines",
                COLUMNS.map(|c| format!("{c:>16}")).concat()
            )
        } else {
            String::new()
        };
        self.rows.push((ratio_of(report.nodes), figures));
        let failure = report.failure.as_ref();
        let failure = failure.map_or_else(String::new, |what| format!("  FAILED: {what}"));
        format!("{head}{:>10}{}{failure}", report.nodes, line(&figures))
    }

    /// The last line: by which power of the number of machines each figure grows.
    #[must_use]
    pub fn exponents(&self) -> String {
        let mut slopes = [None; COLUMNS.len()];
        for (column, slope) in slopes.iter_mut().enumerate() {
            let points = self.rows.iter().filter_map(|(nodes, figures)| {
                let figure = figures[column].filter(|figure| *figure > 0.0)?;
                Some((nodes.ln(), figure.ln()))
            });
            *slope = slope_of(&points.collect::<Vec<_>>());
        }
        format!("{:>10}{}", "exponent", line(&slopes))
    }
}

impl Scenario {
    /// What it is made of for so many machines. Many publish less before most of them die, so that
    /// it can be computed. When the cost of growth is measured, they publish as much together
    /// whatever their number, each of them at least twice before that.
    #[must_use]
    pub(crate) fn plan_for(self, nodes: usize) -> Plan {
        let mut plan = self.plan();
        if self == Self::Sites {
            plan.sites = count_of(nodes);
        } else if self == Self::ManySites {
            plan.sites = (nodes / MANY_MACHINES).max(1);
        }
        if self == Self::MassFailure && nodes > MANY {
            let publish_every = plan.publish_every * 5;
            return Plan {
                publish_every,
                ..plan
            };
        }
        if self != Self::Growth {
            return plan;
        }
        let publishers = if nodes > ALL_PUBLISH_MAX {
            PUBLISHERS_OF_MANY
        } else {
            nodes
        };
        let publish_every = GROWTH_BATCH_EVERY * u32::try_from(publishers).unwrap_or(u32::MAX);
        let measure_from = publish_every * 5 / 2 + GROWTH_START;
        Plan {
            publishers_max: publishers,
            publish_every,
            measure_from: Some(measure_from),
            duration: measure_from + GROWTH_WINDOW,
            ..plan
        }
    }
}

fn line(figures: &[Option<f64>]) -> String {
    let word = |figure: &Option<f64>| {
        let figure = figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.3}"));
        format!("{figure:>16}")
    };
    figures.iter().map(word).collect()
}

/// The slope of the straight line that fits best, by least squares.
fn slope_of(points: &[(f64, f64)]) -> Option<f64> {
    let count = ratio_of(points.len());
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|p| p.0), mean(|p| p.1));
    let products = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean));
    let squares: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    (points.len() > 1 && squares > 0.0).then(|| products.sum::<f64>() / squares)
}

fn ratio_of(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// What is shown.
const COLUMNS: [&str; 8] = [
    "first copy p50",
    "p99, ms",
    "stretch p99",
    "hops p99",
    "redundancy",
    "B/s per node",
    "B per reading",
    "revoked p99, ms",
];

/// Beyond so many machines, each publishes less.
const MANY: usize = 200;
/// Most machines of which all publish when the cost of growth is measured.
const ALL_PUBLISH_MAX: usize = 1_000;
/// How many publish of more machines than that.
const PUBLISHERS_OF_MANY: usize = 100;
/// Mean time between batches of all machines together when the cost of growth is measured.
const GROWTH_BATCH_EVERY: Duration = Duration::from_millis(50);
/// How long machines have to find each other, and near ones, before that.
pub(crate) const GROWTH_START: Duration = Duration::from_mins(30);
/// How long it is measured.
const GROWTH_WINDOW: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_of_a_power_law_is_its_exponent() {
        let law = |x: f64| (x.ln(), (3.0 * x.powf(0.5)).ln());

        let slope = slope_of(&[law(10.0), law(100.0), law(1_000.0)]);

        assert!(slope.is_some_and(|slope| (slope - 0.5).abs() < 1e-9));
        assert_eq!(slope_of(&[law(10.0)]), None);
    }
}
