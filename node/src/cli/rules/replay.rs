//! `rules test`: recorded readings through rules, with the times that they had.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Write};
use std::sync::Arc;

use ingest::line::{Defaults, Format, LineReader};
use model::{
    Epoch, LogId, MachineId, NewReading, Reading, SeriesDefinition, SeriesNumber, Timestamp, Unit,
};
use rule::{Event, Input, Output as Said, Recovered, Rules, SeriesKey};
use serde::Deserialize;
use serde_json::json;
use statemachine::{Instant, StateMachine as _};

use super::super::args::Output;
use super::super::failure::{Failure, Kind};
use super::super::local::failed;
use super::super::mesh::print_json;
use super::super::render::{escape, time};
use super::super::rules_args::RulesTestArgs;
use crate::config;

/// Whose a recorded reading is.
#[derive(Deserialize)]
struct Whose {
    #[serde(default)]
    machine_id: String,
    #[serde(default)]
    machine: String,
}

/// A machine of the data: its id and its name, as they stand there.
type Names = (String, String);

/// A recorded reading.
struct Recorded {
    of: Names,
    reading: NewReading,
}

/// `fieldmesh rules test`
pub(crate) fn test(
    args: &RulesTestArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut rules = config::load_rules(&args.file).map_err(failed)?;
    if let Some(wanted) = &args.rule {
        rules.retain(|rule| rule.name() == wanted);
        if rules.is_empty() {
            let problem = format!("{} has no rule {wanted}", args.file.display());
            return Err(Failure::new(Kind::Usage, escape(&problem)));
        }
    }
    let recorded = read(args)?;
    let Some(first) = recorded.first() else {
        let problem = format!("{} has no readings", args.against.display());
        return Err(Failure::new(Kind::Failed, problem));
    };
    let own = own_machine(args, &recorded)?;
    let mut replay = Replay::new(rules, &own, first.reading.time, output, out);
    for Recorded { of, reading } in &recorded {
        replay.until(reading.time)?;
        replay.hear(of, reading)?;
    }
    replay.finish(recorded.len())
}

/// The readings of the data in the order of their times.
fn read(args: &RulesTestArgs) -> Result<Vec<Recorded>, Failure> {
    let path = args.against.display();
    let input = File::open(&args.against)
        .map_err(|error| Failure::new(Kind::Failed, format!("cannot read {path}: {error}")))?;
    let mut lines = LineReader::new(BufReader::new(input));
    let defaults = Defaults {
        now: Timestamp::MIN,
        value_type: None,
        unit: Unit::default(),
    };
    let mut recorded = Vec::new();
    while let Some(line) = lines.next_line()? {
        let (number, line) = line.map_err(failed)?;
        let readings = Format::Ndjson
            .parse(number, line, &defaults)
            .map_err(failed)?;
        for reading in readings {
            let whose: Whose = serde_json::from_str(line).map_err(failed)?;
            if reading.time == Timestamp::MIN {
                let problem = format!("line {number} of {path}: a recorded reading needs a time");
                return Err(Failure::new(Kind::Failed, problem));
            }
            let of = (whose.machine_id, whose.machine);
            recorded.push(Recorded { of, reading });
        }
    }
    recorded.sort_by_key(|recorded| recorded.reading.time);
    Ok(recorded)
}

/// The machine on which the rules run.
fn own_machine(args: &RulesTestArgs, recorded: &[Recorded]) -> Result<Names, Failure> {
    let mut machines: Vec<&Names> = recorded.iter().map(|recorded| &recorded.of).collect();
    machines.sort_unstable();
    machines.dedup();
    let Some(wanted) = &args.machine else {
        let [only] = machines[..] else {
            let problem =
                "the data is of several machines; say with --machine whose rules these are";
            return Err(Failure::new(Kind::Usage, problem.to_owned()));
        };
        return Ok(only.clone());
    };
    let known = machines
        .into_iter()
        .find(|(id, name)| wanted == id || wanted == name);
    // A machine that only listens has no readings of its own.
    Ok(known
        .cloned()
        .unwrap_or_else(|| (String::new(), wanted.clone())))
}

/// Rules that are told what was recorded.
struct Replay<'a, W> {
    rules: Rules,
    start: Timestamp,
    /// Where time has come to.
    now: Instant,
    logs: BTreeMap<Names, LogId>,
    series: BTreeMap<(LogId, Arc<SeriesDefinition>), SeriesNumber>,
    own: Names,
    /// How often each rule acted, or would have.
    acts: BTreeMap<String, u64>,
    output: Output,
    out: &'a mut W,
}

impl<'a, W: Write> Replay<'a, W> {
    fn new(
        rules: Vec<rule::Rule>,
        own: &Names,
        start: Timestamp,
        output: Output,
        out: &'a mut W,
    ) -> Self {
        let acts = rules
            .iter()
            .map(|rule| (rule.name().to_owned(), 0))
            .collect();
        let mut machine = Rules::new(machine_of(0), Recovered::default());
        machine.handle(Instant::ZERO, Input::WallClock(start));
        machine.handle(Instant::ZERO, Input::Rules(rules));
        Self {
            rules: machine,
            start,
            now: Instant::ZERO,
            logs: [(own.clone(), log_of(0))].into(),
            series: BTreeMap::new(),
            own: own.clone(),
            acts,
            output,
            out,
        }
    }

    /// Lets time pass.
    fn until(&mut self, time: Timestamp) -> Result<(), Failure> {
        let then = Instant::ZERO + time.since(self.start);
        while let Some(due) = self.rules.next_deadline()
            && due.at <= then
        {
            self.now = self.now.max(due.at);
            self.rules.handle_timeout(self.now);
            self.tell()?;
        }
        self.now = self.now.max(then);
        Ok(())
    }

    fn hear(&mut self, of: &Names, reading: &NewReading) -> Result<(), Failure> {
        let (log, series) = self.key_of(of, &reading.series);
        let readings = vec![Reading {
            series,
            time: reading.time,
            value: reading.value.clone(),
            quality: reading.quality,
        }];
        let is_past = false;
        let input = Input::Readings {
            log,
            readings,
            is_past,
        };
        self.rules.handle(self.now, input);
        self.tell()
    }

    fn key_of(&mut self, of: &Names, definition: &Arc<SeriesDefinition>) -> SeriesKey {
        let count = u32::try_from(self.logs.len()).unwrap_or(u32::MAX);
        let log = *self.logs.entry(of.clone()).or_insert_with(|| log_of(count));
        let next = u32::try_from(self.series.len()).unwrap_or(u32::MAX);
        let known = (log, Arc::clone(definition));
        if let Some(number) = self.series.get(&known) {
            return (log, *number);
        }
        let number = SeriesNumber(next);
        self.series.insert(known, number);
        let names = [of.0.clone(), of.1.clone()].into();
        let input = Input::Series((log, number), Arc::clone(definition), names);
        self.rules.handle(self.now, input);
        (log, number)
    }

    /// Prints what the rules say; what they derive, they hear themselves.
    fn tell(&mut self) -> Result<(), Failure> {
        while let Some(said) = self.rules.poll_output() {
            match said {
                Said::Command {
                    rule,
                    machine,
                    name,
                    argument,
                    ..
                } => self.print(&rule, "command", &format!("{machine} {name} {argument:?}"))?,
                Said::Publish(reading) => {
                    let rule = label_of(&reading, "rule");
                    let text = format!("{} = {:?}", reading.series.name, reading.value);
                    self.print(&rule, "publish", &text)?;
                    let own = self.own.clone();
                    self.hear(&own, &reading)?;
                }
                Said::Keep(_) => {}
                Said::Event(rule, event) => {
                    if matches!(event, Event::Acted | Event::ActedSafely | Event::WouldAct) {
                        *self.acts.entry(rule.clone()).or_default() += 1;
                    }
                    let (what, detail) = describe(&event);
                    self.print(&rule, what, detail)?;
                }
            }
        }
        Ok(())
    }

    fn print(&mut self, rule: &str, what: &str, detail: &str) -> Result<(), Failure> {
        let at = self.start.saturating_add(self.now.since(Instant::ZERO));
        let at = time(Some(&api::to_timestamp(at)));
        if self.output == Output::Json {
            let line = json!({ "time": at, "rule": rule, "event": what, "detail": detail });
            return Ok(print_json(self.out, &line)?);
        }
        let (rule, detail) = (escape(rule), escape(detail));
        let line = format!("{at}  {rule:<20}  {what:<10}  {detail}");
        Ok(writeln!(self.out, "{}", line.trim_end())?)
    }

    fn finish(self, readings: usize) -> Result<(), Failure> {
        if self.output == Output::Table {
            for (rule, acts) in &self.acts {
                writeln!(self.out, "{} acted {acts} times", escape(rule))?;
            }
            writeln!(self.out, "{readings} readings")?;
        }
        Ok(())
    }
}

fn label_of(reading: &NewReading, wanted: &str) -> String {
    let mut labels = reading.series.labels.iter();
    let label = labels.find(|(key, _)| *key == wanted);
    label.map(|(_, text)| text.to_owned()).unwrap_or_default()
}

fn describe(event: &Event) -> (&'static str, &str) {
    match event {
        Event::Acted => ("acted", ""),
        Event::ActedSafely => ("acted", "with its safe value"),
        Event::WouldAct => ("would act", "it is a dry run"),
        Event::Ended => ("ended", ""),
        Event::Blind(why) => ("blind", why),
        Event::Failed(why) => ("failed", why),
        Event::Limited => ("limited", "it may not act so often"),
        Event::Crowded => ("limited", "it listens to more series than are heard"),
        Event::Circle => ("stopped", "it is part of a circle of rules"),
    }
}

/// Stands for a machine of the data, whose key does not matter here.
fn machine_of(number: u32) -> MachineId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    MachineId::from_bytes(bytes)
}

fn log_of(number: u32) -> LogId {
    LogId {
        machine: machine_of(number),
        epoch: Epoch { counter: 1, tag: 0 },
    }
}
