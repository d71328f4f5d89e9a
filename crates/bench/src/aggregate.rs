//! Aggregation: readings that one core folds into windows, all functions included.
//!
//! What a relay does with blocks that are decoded: the fold of `aggregate`, with the records that
//! come out of it. Decoding is measured by `codec`. Each pass over the log is one sample.

use std::collections::BTreeMap;
use std::time::Duration;

use ::aggregate::{Config, Windows};
use fieldmesh::clock::Monotonic;
use identity::Keypair;
use model::{
    BlockHeader, Epoch, HashPrefix, Labels, LogId, MachineId, Quality, Reading, SeriesDefinition,
    SeriesNumber, Timestamp, Unit, Value, ValueType,
};

use crate::keys;
use crate::measure::{Measure, Report, Sample, number};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Blocks of 4,096 readings in the log.
    #[arg(long, default_value_t = 100)]
    blocks: u64,
    /// Ways through the log.
    #[arg(long, default_value_t = 11)]
    rounds: u32,
}

/// A log whose blocks are decoded.
struct Log {
    machine: MachineId,
    blocks: Vec<(BlockHeader, Vec<Reading>)>,
    series: BTreeMap<SeriesNumber, SeriesDefinition>,
}

/// A kind of load.
struct Case {
    name: &'static str,
    /// Series that a block holds readings of.
    series: u32,
    lengths: &'static [u64],
}

pub(crate) fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let identity = keys::identity(1)?;
    let network = identity.trust.network();
    for case in CASES {
        let log = Log::new(&identity.keypair, args.blocks, case.series)?;
        let lengths: Vec<_> = case
            .lengths
            .iter()
            .copied()
            .map(Duration::from_secs)
            .collect();
        let (mut sample, mut records) = (Sample::default(), 0);
        for _ in 0..args.rounds {
            let config = Config {
                lengths: lengths.clone(),
                allowed_lateness: LATENESS,
                windows_max: WINDOWS_MAX,
            };
            let mut windows = Windows::new(network, log.machine, config);
            let timer = Monotonic::start();
            records = 0;
            for (header, readings) in &log.blocks {
                let applied = windows.apply(header, readings, |number| log.series.get(&number))?;
                records += applied.records.len();
            }
            let readings = number(args.blocks * READINGS);
            sample.push(readings / timer.uptime().as_secs_f64());
        }
        let note = format!(
            "one core, {} series of one machine at {RATE} readings/s, windows of {:?} s, {records} \
             records with all functions; limited by the means and the sketch of each reading",
            case.series, case.lengths
        );
        report.add(RATE_OF_FOLD, case.name, &sample, note)?;
    }
    Ok(())
}

impl Log {
    /// Values wander as those of a machine do: each is near the one before.
    fn new(keypair: &Keypair, blocks: u64, series: u32) -> anyhow::Result<Self> {
        let machine = keypair.machine();
        let log = LogId {
            machine,
            epoch: EPOCH,
        };
        let step = 1_000_000_000 / RATE;
        let (mut time, mut walk) = (BEGINNING_NANOS, 0x9e37_79b9_7f4a_7c15_u64);
        let mut made = Vec::new();
        for sequence in 1..=blocks {
            let mut readings = Vec::new();
            let each = READINGS / u64::from(series);
            for number in 0..series {
                for index in 0..READINGS / u64::from(series) {
                    walk = walk.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let noise = f64::from(u16::try_from(walk >> 48)?) / f64::from(u16::MAX);
                    let index = i64::try_from(index)?;
                    let spread = step * i64::from(series);
                    readings.push(Reading {
                        series: SeriesNumber(number),
                        time: Timestamp::from_nanos(time + index * spread),
                        value: Value::F64(40.0 + f64::from(number) + noise),
                        quality: Quality::GOOD,
                    });
                }
            }
            time += i64::try_from(each)? * step * i64::from(series);
            let header = BlockHeader {
                log,
                sequence,
                previous: HashPrefix::NONE,
                continues: None,
                sealed: Timestamp::from_nanos(time),
                watermark: Timestamp::from_nanos(time),
                count: u32::try_from(readings.len())?,
                urgent: false,
                publishers: Vec::new(),
            };
            made.push((header, readings));
        }
        let define = |number: u32| -> anyhow::Result<_> {
            let definition = SeriesDefinition {
                name: format!("bench/{number}").parse()?,
                unit: Unit::default(),
                value_type: ValueType::F64,
                labels: Labels::default(),
            };
            Ok((SeriesNumber(number), definition))
        };
        let series = (0..series).map(define).collect::<anyhow::Result<_>>()?;
        Ok(Self {
            machine,
            blocks: made,
            series,
        })
    }
}

const RATE_OF_FOLD: Measure = Measure::higher("aggregate", "readings/s");
const CASES: [Case; 3] = [
    Case {
        name: "one series, one length",
        series: 1,
        lengths: &[10],
    },
    Case {
        name: "64 series, one length",
        series: 64,
        lengths: &[10],
    },
    Case {
        name: "64 series, three lengths",
        series: 64,
        lengths: &[1, 10, 60],
    },
];
/// Readings of a block. Source: design, section 2, the most that one holds.
const READINGS: u64 = 4_096;
/// Readings of the machine. Unit: per second. Source: guess, a busy machine.
const RATE: i64 = 1_000;
const LATENESS: Duration = Duration::from_secs(60);
const WINDOWS_MAX: usize = 10_000;
const EPOCH: Epoch = Epoch {
    counter: 3,
    tag: 0x9f2c_11aa,
};
/// 2026-01-01. Unit: nanoseconds since the Unix epoch.
const BEGINNING_NANOS: i64 = 1_767_225_600_000_000_000;
