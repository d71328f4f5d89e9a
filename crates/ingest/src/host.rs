//! Metrics of the machine itself: the source that works everywhere.
//!
//! | series | unit | type |
//! | --- | --- | --- |
//! | `cpu/usage` | `%` | f64, of all cores together |
//! | `memory/used`, `memory/total`, `swap/used` | `By` | i64 |
//! | `disk/MOUNT/used`, `disk/MOUNT/total` | `By` | i64 |
//! | `network/INTERFACE/received`, `…/transmitted` | `By` | i64, since the interface came up |
//! | `temperature/SENSOR` | `Cel` | f64 |
//! | `uptime` | `s` | i64 |
//!
//! All under the source's prefix. Names of devices are made by [`crate::level`], the root of the
//! file system is `root`, and a second device whose name comes out equal gets `_2`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::{
    Labels, NewReading, Quality, SeriesDefinition, SeriesName, Timestamp, Value, ValueType,
};
use sysinfo::{Components, Disks, Networks, System};
use tokio::time::MissedTickBehavior;

use crate::{Clock, Readings, SourceError, level};

/// What to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What the names start with, usually `host`.
    pub prefix: SeriesName,
    /// How often. Range: 100 ms and more, since CPU usage is a difference.
    pub interval: Duration,
}

/// Measures until nobody listens.
///
/// Measuring blocks for some milliseconds, and on a dead network file system for longer, so it runs
/// on tokio's blocking threads; a measurement that takes longer than the interval leaves ticks out.
///
/// # Errors
///
/// [`SourceError`] if the interval is too short or the operating system tells nothing.
pub async fn run(config: Config, clock: Clock, readings: Readings) -> Result<(), SourceError> {
    if config.interval < INTERVAL_MIN {
        return Err(SourceError::Setting(
            "the interval of a host source is below 100 ms; give 100ms or more",
        ));
    }
    let mut ticks = tokio::time::interval(config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let prefix = config.prefix;
    let mut host = on_blocking_thread(move || Host::new(prefix)).await??;
    loop {
        ticks.tick().await;
        let clock = Arc::clone(&clock);
        let (measured, batch) = on_blocking_thread(move || {
            let batch = host.measure(&clock);
            (host, batch)
        })
        .await?;
        host = measured;
        if readings.send(batch).await.is_err() {
            return Ok(());
        }
    }
}

async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SourceError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| SourceError::Host(error.to_string()))
}

/// The machine, and the series that it has.
struct Host {
    prefix: SeriesName,
    system: System,
    disks: Disks,
    networks: Networks,
    components: Components,
    series: BTreeMap<String, Arc<SeriesDefinition>>,
}

impl Host {
    fn new(prefix: SeriesName) -> Result<Self, SourceError> {
        let failed = |error: sysinfo::Error| SourceError::Host(error.to_string());
        let mut host = Self {
            prefix,
            system: System::new().map_err(failed)?,
            disks: Disks::new().map_err(failed)?,
            networks: Networks::new().map_err(failed)?,
            components: Components::new().map_err(failed)?,
            series: BTreeMap::new(),
        };
        // CPU usage is a difference: this is what the first one is taken from.
        host.system.refresh_cpu_usage();
        Ok(host)
    }

    fn measure(&mut self, clock: &Clock) -> Vec<NewReading> {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        self.disks.refresh(true);
        self.networks.refresh(true);
        self.components.refresh(true);
        let mut batch = Batch {
            prefix: &self.prefix,
            series: &mut self.series,
            time: clock(),
            readings: Vec::new(),
        };
        let system = &self.system;
        batch.push_f64("cpu/usage", "%", f64::from(system.global_cpu_usage()));
        batch.push_count("memory/used", "By", system.used_memory());
        batch.push_count("memory/total", "By", system.total_memory());
        batch.push_count("swap/used", "By", system.used_swap());
        if let Ok(uptime) = System::uptime() {
            batch.push_count("uptime", "s", uptime);
        }
        let disks = self.disks.iter().filter(|disk| disk.mount_point().is_dir());
        let disks = disks.map(|disk| (mount_name(disk.mount_point()), disk));
        for (name, disk) in distinct(disks) {
            let used = disk.total_space().saturating_sub(disk.available_space());
            batch.push_count(&format!("disk/{name}/used"), "By", used);
            batch.push_count(&format!("disk/{name}/total"), "By", disk.total_space());
        }
        // In the order of their names, so that numbers of equal ones stay.
        let networks: BTreeMap<_, _> = self.networks.iter().collect();
        let networks = networks.into_iter();
        let networks = networks.map(|(name, network)| (level(&name.to_string_lossy()), network));
        for (name, network) in distinct(networks) {
            let (received, sent) = (network.total_received(), network.total_transmitted());
            batch.push_count(&format!("network/{name}/received"), "By", received);
            batch.push_count(&format!("network/{name}/transmitted"), "By", sent);
        }
        let sensors = self.components.iter();
        let sensors = sensors.filter_map(|sensor| {
            let celsius = sensor.temperature().filter(|celsius| celsius.is_finite())?;
            Some((level(sensor.label()), celsius))
        });
        for (name, celsius) in distinct(sensors) {
            batch.push_f64(&format!("temperature/{name}"), "Cel", f64::from(celsius));
        }
        batch.readings
    }
}

/// The readings of one moment.
struct Batch<'a> {
    prefix: &'a SeriesName,
    series: &'a mut BTreeMap<String, Arc<SeriesDefinition>>,
    time: Timestamp,
    readings: Vec<NewReading>,
}

impl Batch<'_> {
    fn push_f64(&mut self, name: &str, unit: &str, value: f64) {
        self.push(name, unit, ValueType::F64, Value::F64(value));
    }

    fn push_count(&mut self, name: &str, unit: &str, value: u64) {
        let value = Value::I64(i64::try_from(value).unwrap_or(i64::MAX));
        self.push(name, unit, ValueType::I64, value);
    }

    /// A name that is too long under this prefix is left out.
    fn push(&mut self, name: &str, unit: &str, value_type: ValueType, value: Value) {
        if !self.series.contains_key(name) {
            let Ok(full) = format!("{}/{name}", self.prefix).parse() else {
                return;
            };
            let definition = SeriesDefinition {
                name: full,
                unit: unit.parse().expect("our own units are valid"),
                value_type,
                labels: Labels::default(),
            };
            self.series.insert(name.to_owned(), Arc::new(definition));
        }
        self.readings.push(NewReading {
            series: Arc::clone(&self.series[name]),
            time: self.time,
            value,
            quality: Quality::GOOD,
        });
    }
}

fn mount_name(path: &Path) -> String {
    if path == Path::new("/") {
        return "root".to_owned();
    }
    level(&path.to_string_lossy())
}

/// Numbers equal names apart, in the order given, and takes the first [`DEVICES_MAX`].
fn distinct<T>(devices: impl Iterator<Item = (String, T)>) -> Vec<(String, T)> {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut named = Vec::new();
    for (name, device) in devices.take(DEVICES_MAX) {
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        let name = match *count {
            1 => name,
            count => format!("{name}_{count}"),
        };
        named.push((name, device));
    }
    named
}

/// Most devices of one kind. Source: guess; a server with many containers has many interfaces.
const DEVICES_MAX: usize = 64;
/// Shortest interval. Source: `sysinfo` wants 200 ms between two looks at the CPU to be exact.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn the_machine_tells_its_load_memory_and_uptime_with_units() {
        let config = Config {
            prefix: "host".parse().expect("a name"),
            interval: INTERVAL_MIN,
        };
        let clock: Clock = Arc::new(|| Timestamp::from_nanos(7));
        let (sender, mut batches) = mpsc::channel(1);

        let listen = async {
            let batch = batches.recv().await.expect("a batch");
            batches.close();
            batch
        };
        let (ended, batch) = tokio::join!(run(config, clock, sender), listen);

        assert!(ended.is_ok());
        let unit = |name: &str| {
            let found = batch.iter().find(|r| r.series.name.as_str() == name);
            found.map(|reading| reading.series.unit.as_str().to_owned())
        };
        assert_eq!(unit("host/cpu/usage").as_deref(), Some("%"));
        assert_eq!(unit("host/memory/used").as_deref(), Some("By"));
        assert_eq!(unit("host/uptime").as_deref(), Some("s"));
        assert!(
            batch
                .iter()
                .all(|reading| reading.time == Timestamp::from_nanos(7))
        );
    }

    #[test]
    fn devices_whose_names_come_out_equal_are_numbered() {
        let devices = ["a b", "a_b", "c"].map(|name| (level(name), ()));

        let names: Vec<String> = distinct(devices.into_iter())
            .into_iter()
            .map(|d| d.0)
            .collect();

        assert_eq!(names, ["a_b", "a_b_2", "c"]);
    }
}
