//! Blocks: what a reading costs in bytes, to seal, and to check and read.
//!
//! Sealing is all that happens to a block at its origin, signature included; reading is what every
//! other machine does with it: limits, signature, columns. Each block of the table is one sample.

use std::path::PathBuf;

use engine::NodeIdentity;
use fieldmesh::clock::Monotonic;
use identity::{Keypair, verify_block};
use model::{BlockHeader, Draft, Epoch, HashPrefix, LogId, NetworkId, Reading, Timestamp};

use crate::keys;
use crate::measure::{Measure, Report, Sample, length, number};
use crate::table::Table;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A CSV file, gzipped or not; the two wind turbines by default.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Ways through the table.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// What was measured of blocks of one size. Unit: nanoseconds per reading, but for the bytes.
#[derive(Default)]
struct Costs {
    bytes: Sample,
    seal: Sample,
    sign: Sample,
    open: Sample,
    verify: Sample,
    bytes_all: u64,
    readings_all: u64,
}

pub(crate) fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let table = Table::read(args.file.as_deref())?;
    let identity = keys::identity(1)?;
    let fixed = fixed_bytes(&identity)?;
    for size in SIZES {
        let mut costs = Costs::default();
        for _ in 0..args.rounds {
            for readings in table.machines.values() {
                for (sequence, readings) in (1..).zip(readings.chunks_exact(size)) {
                    let network = identity.trust.network();
                    costs.measure(&identity.keypair, &network, sequence, readings)?;
                }
            }
        }
        costs.report(size, fixed, report)?;
    }
    Ok(())
}

impl Costs {
    fn measure(
        &mut self,
        keypair: &Keypair,
        network: &NetworkId,
        sequence: u64,
        readings: &[Reading],
    ) -> anyhow::Result<()> {
        let draft = Draft {
            header: header(keypair, sequence, readings),
            readings: readings.to_vec(),
        };
        let count = length(readings.len());
        let timer = Monotonic::start();
        let nanos = || timer.uptime().as_secs_f64() * 1e9 / count;

        let began = nanos();
        let block = draft.seal(network, |digest| keypair.sign(digest))?;
        let sealed = nanos();
        let digest = block.hash(network).0;
        let hashed = nanos();
        std::hint::black_box(keypair.sign(&digest));
        let signed = nanos();
        let carried = block.as_bytes().clone();
        let before = nanos();
        let opened = model::Block::parse(carried)?;
        verify_block(network, &opened)?;
        let verified = nanos();
        let decoded = opened.readings()?;
        let read = nanos();

        anyhow::ensure!(decoded.len() == readings.len(), "a block lost readings");
        self.seal.push(sealed - began);
        self.sign.push(signed - hashed);
        self.verify.push(verified - before);
        self.open.push(read - before);
        self.bytes.push(length(block.as_bytes().len()) / count);
        self.bytes_all += u64::try_from(block.as_bytes().len())?;
        self.readings_all += u64::try_from(readings.len())?;
        Ok(())
    }

    fn report(&self, size: usize, fixed: usize, report: &mut Report) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.readings_all > 0,
            "the table has no machine with {size} readings"
        );
        let mean = number(self.bytes_all) / number(self.readings_all);
        let fixed = length(fixed) / length(size);
        report.add(
            BYTES,
            format!("blocks of {size}"),
            &self.bytes,
            format!(
                "{mean:.3} bytes over the whole table; header and signature are {fixed:.2} \
                 of them, the rest is what the values do not repeat"
            ),
        )?;
        let share = |part: &Sample, whole: &Sample| part.median() / whole.median() * 100.0;
        report.add(
            TIME,
            format!("seal, blocks of {size}"),
            &self.seal,
            format!(
                "one core; making the signature is {:.0} % of it, compression the rest",
                share(&self.sign, &self.seal)
            ),
        )?;
        report.add(
            TIME,
            format!("check and read, blocks of {size}"),
            &self.open,
            format!(
                "one core; hash and signature are {:.0} % of it, decompression the rest",
                share(&self.verify, &self.open)
            ),
        )
    }
}

/// What a block has besides its readings. Unit: bytes.
fn fixed_bytes(identity: &NodeIdentity) -> anyhow::Result<usize> {
    let keypair = &identity.keypair;
    let empty = Draft {
        header: header(keypair, 1, &[]),
        readings: Vec::new(),
    };
    let block = empty.seal(&identity.trust.network(), |digest| keypair.sign(digest))?;
    Ok(block.as_bytes().len())
}

/// A header in the middle of a log, sealed just after its newest reading.
pub(crate) fn header(keypair: &Keypair, sequence: u64, readings: &[Reading]) -> BlockHeader {
    let newest = readings.iter().map(|reading| reading.time).max();
    let newest = newest.unwrap_or_default().as_nanos();
    BlockHeader {
        log: LogId {
            machine: keypair.machine(),
            epoch: EPOCH,
        },
        sequence: sequence + SEQUENCE_FIRST,
        previous: HashPrefix([5; 16]),
        continues: None,
        sealed: Timestamp::from_nanos(newest + SEAL_DELAY_NANOS),
        watermark: Timestamp::from_nanos(newest),
        count: 0,
        urgent: false,
        publishers: Vec::new(),
    }
}

/// The epoch of all blocks here.
pub(crate) const EPOCH: Epoch = Epoch {
    counter: 3,
    tag: 0x9f2c_11aa,
};
const BYTES: Measure = Measure::lower("codec", "bytes/reading");
const TIME: Measure = Measure::lower("codec", "ns/reading");
/// A few seconds of one machine, the promise's size, and the largest.
const SIZES: [usize; 3] = [64, 512, 4_096];
/// Where the numbering begins, so that the header is as long as in an old log.
const SEQUENCE_FIRST: u64 = 1_000;
/// From the newest reading to the seal, with odd nanoseconds as a clock has them.
const SEAL_DELAY_NANOS: i64 = 3_123_456;
