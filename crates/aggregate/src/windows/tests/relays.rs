//! Whatever happens to relays, together they give what one that nothing happens to gives.

use super::*;

fn any_reading() -> impl Strategy<Value = (u32, i64, Value, Quality)> {
    let value = prop_oneof![
        8 => (-100.0..100.0f64).prop_map(Value::F64),
        1 => Just(Value::F64(f64::NAN)),
        1 => Just(Value::F64(-0.0)),
        1 => Just(Value::Null),
        1 => any::<i32>().prop_map(|value| Value::I64(value.into())),
        1 => any::<bool>().prop_map(Value::Bool),
    ];
    let quality = prop_oneof![
        6 => Just(Quality::GOOD),
        1 => Just(Quality::new(QualityLevel::Uncertain, QualityReason::None)),
        1 => Just(Quality::new(QualityLevel::Bad, QualityReason::TimeAhead)),
    ];
    // Offsets against the block's own time, mostly late and a little ahead. Unit: milliseconds.
    let offset = prop_oneof![6 => -1_500..500i64, 1 => -9_000..9_000i64];
    (
        prop_oneof![Just(0), Just(1), Just(10)],
        offset,
        value,
        quality,
    )
}

/// Logs of up to two epochs, in which time goes on by about half a second a block, and now and then
/// steps back.
fn any_log() -> impl Strategy<Value = Vec<TestBlock>> {
    let readings = prop::collection::vec(any_reading(), 0..8);
    let step = prop_oneof![19 => 0..1_000i64, 1 => -8_000..0i64];
    let blocks = prop::collection::vec((readings, step, -2_500..200i64), 1..40);
    (blocks, 0..40usize).prop_map(|(blocks, second_epoch)| {
        let mut log: Vec<TestBlock> = Vec::new();
        let mut now = 0;
        for (index, (readings, step, behind)) in blocks.into_iter().enumerate() {
            now += step;
            let mut at = log.last().map_or(position(1, 1), |block| {
                let at = block.header.id().position();
                position(at.epoch.counter, at.sequence + 1)
            });
            let starts_epoch = index > 0 && index == second_epoch;
            if starts_epoch {
                at = position(2, 1);
            }
            let mut readings: Vec<Reading> = readings
                .into_iter()
                .map(|(series, offset, value, quality)| Reading {
                    series: SeriesNumber(series),
                    time: Timestamp::from_nanos((now + offset) * 1_000_000),
                    value: if series == 10 {
                        Value::Text(format!("{value:?}"))
                    } else {
                        value
                    },
                    quality,
                })
                .collect();
            readings.sort_by_key(|reading| reading.series);
            let watermark = Timestamp::from_nanos((now + behind) * 1_000_000);
            let watermark = log
                .last()
                .map_or(watermark, |l| watermark.max(l.header.watermark));
            let mut next = block(at, watermark, readings);
            next.header.sealed = Timestamp::from_nanos(now * 1_000_000);
            next.header.continues = log
                .last()
                .map(|block| block.header.id().position())
                .filter(|_| starts_epoch);
            log.push(next);
        }
        log
    })
}

/// What happens to a fold between two blocks.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Nothing,
    /// Cold windows are computed.
    Scan,
    /// The origin says that it is idle, with a watermark so far before its last block's time.
    Pass(i64),
    /// It is taken for silent.
    GiveUp,
    /// Another relay takes over where this one stands.
    Succession,
    /// Another relay begins with the progress that was told last.
    OldSuccession,
}

fn any_happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        20 => Just(Happening::Nothing),
        3 => Just(Happening::Scan),
        3 => (-2_000..500i64).prop_map(Happening::Pass),
        1 => Just(Happening::GiveUp),
        2 => Just(Happening::Succession),
        1 => Just(Happening::OldSuccession),
    ]
}

/// A relay and its successors.
struct Relays {
    config: Config,
    windows: Windows,
    /// The progress that was told last: every record given before is at the sink.
    told: Option<Progress>,
    records: Vec<WindowRecord>,
}

impl Relays {
    fn take(&mut self, applied: Applied) {
        assert_eq!(applied.windows_lost, 0);
        self.records.extend(applied.records);
    }

    fn happen(&mut self, happening: Happening, log: &[TestBlock]) {
        let last = &log[log.len() - 1].header;
        match happening {
            Happening::Nothing => {}
            Happening::Scan => {
                let scanned = scan_all(&mut self.windows, log);
                self.take(scanned);
            }
            Happening::Pass(behind) => {
                let watermark = last.sealed.as_nanos() + behind * 1_000_000;
                let watermark = Timestamp::from_nanos(watermark);
                let passed = self.windows.pass(last.id().position(), watermark);
                self.take(passed);
            }
            Happening::GiveUp => {
                let given = self.windows.give_up();
                self.take(given);
            }
            Happening::Succession => {
                self.told = self.windows.progress().or(self.told);
                self.succeed(log);
            }
            Happening::OldSuccession => self.succeed(log),
        }
    }

    /// Reads the log again from where the last progress says, to where it was.
    fn succeed(&mut self, log: &[TestBlock]) {
        let config = self.config.clone();
        let (windows, start) = match self.told {
            Some(progress) => {
                let is_resume = |block: &TestBlock| block.header.id().position() == progress.resume;
                let start = log.iter().position(is_resume).expect("a block of the log");
                (
                    Windows::resume_from(NETWORK, MACHINE, config, progress),
                    start,
                )
            }
            None => (Windows::new(NETWORK, MACHINE, config), 0),
        };
        self.windows = windows;
        let again = fold(&mut self.windows, &log[start..]);
        self.take(again);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_relay_gives_the_exact_windows_whatever_happens(
        log in any_log(),
        happenings in prop::collection::vec(any_happening(), 40),
        windows_max in prop_oneof![Just(3_usize), Just(12), Just(10_000)],
    ) {
        let config = Config { windows_max, ..config() };
        let windows = Windows::new(NETWORK, MACHINE, config.clone());
        let mut relays = Relays { config, windows, told: None, records: Vec::new() };

        for (index, happening) in (0..log.len()).zip(happenings) {
            let applied = apply(&mut relays.windows, &log[index]).expect("in order");
            relays.take(applied);
            relays.happen(happening, &log[..=index]);
        }
        let last = log[log.len() - 1].header.id().position();
        let end = relays.windows.pass(last, Timestamp::from_nanos(i64::MAX / 2));
        relays.take(end);
        relays.happen(Happening::Scan, &log);

        exact::check_all(&relays.config, &log, &relays.records)?;
    }
}
