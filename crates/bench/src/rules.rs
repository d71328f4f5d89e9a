//! Rules: readings per second that one core brings to its rules and judges.
//!
//! Each round gives every series its next reading, as blocks bring them; conditions are near their
//! thresholds, so that rules become active and end as they do in a plant.

use std::sync::Arc;
use std::time::Duration;

use fieldmesh::clock::Monotonic;
use model::{
    Epoch, Labels, LogId, MachineId, Quality, Reading, SeriesDefinition, SeriesNumber, Timestamp,
    Value, ValueType,
};
use rule::{Draft, DraftAction, Input, Limit, Recovered, Rule, Rules};
use statemachine::{Instant, StateMachine as _};

use crate::measure::{Measure, Report, Sample, length};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many rules, each of a series of its own.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rules: u32,
    /// How many rounds of 512 readings.
    #[arg(long, default_value_t = 10_000)]
    rounds: u32,
}

pub(crate) fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    for (case, condition) in CASES {
        let mut bench = Bench::new(args.rules, condition)?;
        let mut speeds = Sample::default();
        for round in 0..args.rounds {
            speeds.push(bench.round(round));
        }
        report.add(
            SPEED,
            format!("{} rules, {case}", args.rules),
            &speeds,
            format!(
                "one core, blocks of {BLOCK}; {} acts and ends; limited by walking the tree of \
                 the expression, which boxes every value",
                bench.outputs
            ),
        )?;
    }
    Ok(())
}

/// Rules and what they hear.
struct Bench {
    rules: Rules,
    log: LogId,
    series: u32,
    next: u32,
    outputs: u64,
}

impl Bench {
    fn new(count: u32, condition: &str) -> anyhow::Result<Self> {
        let own = MachineId::from_bytes([7; 32]);
        let epoch = Epoch { counter: 1, tag: 1 };
        let log = LogId {
            machine: own,
            epoch,
        };
        let mut rules = Rules::new(own, Recovered::default());
        rules.handle(Instant::ZERO, Input::WallClock(START));
        let drafts = (0..count).map(|n| draft(n, condition));
        let checked: Result<Vec<Rule>, _> = drafts.map(Rule::check).collect();
        rules.handle(Instant::ZERO, Input::Rules(checked?));
        for n in 0..count {
            let definition = SeriesDefinition {
                name: format!("s/{n}").parse()?,
                unit: "Cel".parse()?,
                value_type: ValueType::F64,
                labels: Labels::default(),
            };
            let names = [own.to_string()].into();
            let input = Input::Series((log, SeriesNumber(n)), Arc::new(definition), names);
            rules.handle(Instant::ZERO, input);
        }
        Ok(Self {
            rules,
            log,
            series: count,
            next: 0,
            outputs: 0,
        })
    }

    /// Gives a block of readings. Returns how many a second that makes.
    fn round(&mut self, round: u32) -> f64 {
        let passed = BLOCK_INTERVAL * round;
        let readings: Vec<Reading> = (0..BLOCK).map(|_| self.reading(passed)).collect();
        let count = length(readings.len());
        let input = Input::Readings {
            log: self.log,
            readings,
            is_past: false,
        };
        let timer = Monotonic::start();
        self.rules.handle(Instant::ZERO + passed, input);
        while self.rules.poll_output().is_some() {
            self.outputs += 1;
        }
        count / timer.uptime().as_secs_f64()
    }

    fn reading(&mut self, passed: Duration) -> Reading {
        let n = self.next;
        self.next = self.next.wrapping_add(1);
        // A saw that crosses the threshold once in a thousand readings of a series.
        let saw = (n / self.series + n) % 1_000;
        Reading {
            series: SeriesNumber(n % self.series),
            time: START.saturating_add(passed),
            value: Value::F64(f64::from(saw) / 10.0),
            quality: Quality::GOOD,
        }
    }
}

fn draft(n: u32, condition: &str) -> Draft {
    Draft {
        name: format!("rule-{n}"),
        when: Some(condition.replace("SERIES", &format!("s/{n}"))),
        until: None,
        hold: Duration::ZERO,
        cooldown: Duration::ZERO,
        stale_after: Duration::from_secs(60),
        limit: Limit {
            count: 1_000_000,
            per: Duration::from_secs(60),
        },
        dry_run: false,
        action: DraftAction::Alarm {
            priority: "high".to_owned(),
            text: "too hot".to_owned(),
        },
    }
}

const SPEED: Measure = Measure::higher("rules", "readings/s");
/// Readings of a block.
const BLOCK: u32 = 512;
/// What a machine with a million readings a second seals.
const BLOCK_INTERVAL: Duration = Duration::from_micros(512);
/// 2026-01-01.
const START: Timestamp = Timestamp::from_nanos(1_767_225_600_000_000_000);
/// What rules look like.
const CASES: [(&str, &str); 3] = [
    ("a threshold", r#"last("SERIES") > 90.0"#),
    ("a mean", r#"avg("SERIES", "10s") > 90.0"#),
    (
        "five operators",
        r#"last("SERIES") > 90.0 && rate("SERIES", "10s") > 0.0 || max("SERIES", "10s") > 99.8"#,
    ),
];
