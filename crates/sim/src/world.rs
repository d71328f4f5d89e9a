//! The world: machines, network, disks and sink under one clock, with one event at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::{Input, UploadId};
use model::{LogId, MachineId, Reading, SeriesDefinition, StateKey, StateVersion};
use statemachine::{Instant, Rng};

use crate::checker::Checker;
use crate::commands::Applications;
use crate::draw;
use crate::halves::Halves;
use crate::insiders::Insiders;
use crate::machine::{Machine, Site};
use crate::network::{LinkNumber, Network, Parcel};
use crate::newcomers::Newcomers;
use crate::oracle::{self, Blocks};
use crate::outcast::Outcast;
use crate::plants::Plant;
use crate::record::Lives;
use crate::report::Meter;
use crate::scenario::{Discovery, Fault, Plan};
use crate::shared::Shared;
use crate::sink::Sink;
use crate::stretch::Stretch;
use crate::survivors::Survivors;
use crate::trace::{Trace, TraceHash};
use crate::uploads::Service;

/// Something that happens at its time. What belongs to one life of a machine carries its number.
#[derive(Debug)]
pub(crate) enum Event {
    Frame(Parcel),
    LinkBreaks(LinkNumber, Cause),
    EndBreaks(LinkNumber, usize),
    Clog(usize),
    Unclog(usize),
    Malice(usize),
    LookWhole,
    Dialled(usize, u64, usize),
    Input(usize, u64, Input),
    Synced(usize, u64),
    Attempt(usize, u64, UploadId),
    Answered(usize, u64, UploadId),
    Clock(usize, u64),
    Discover(usize, u64),
    Resume(usize, u64),
    Start(usize),
    Publish(usize),
    Ask(usize),
    Fault,
    SetFault(Fault),
    HealNetwork,
    LookAtService,
    LookAtSurvivors,
    JoinHalves,
    LookAtHalves,
    Measure,
    SinkUp,
    UplinkUp(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// What was sent is lost: the link is gone.
    Loss,
    /// Nothing was heard for long; if the link was only cut off, it may have come back.
    Silence,
}

/// A simulated site.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) site: Site,
    pub(crate) plan: Plan,
    pub(crate) plant: Option<Plant>,
    pub(crate) faults: Rng,
    pub(crate) nodes: Rng,
    pub(crate) machines: Vec<Machine>,
    pub(crate) network: Network,
    pub(crate) shared: Shared,
    pub(crate) sink: Sink,
    pub(crate) checker: Checker,
    pub(crate) applications: Applications,
    pub(crate) meter: Meter,
    pub(crate) trace: Trace,
    pub(crate) publishing: bool,
    pub(crate) service: Service,
    pub(crate) outcast: Option<Outcast>,
    pub(crate) insiders: Insiders,
    pub(crate) discovery: Discovery,
    /// The machine that reads slowly.
    pub(crate) slow: Option<usize>,
    /// What was given up anywhere.
    pub(crate) given_up: Blocks,
    /// The first version of each state that a life of a machine has heard of, for a planted
    /// mistake.
    pub(crate) first: BTreeMap<(usize, u64, StateKey), StateVersion>,
    pub(crate) survivors: Option<Survivors>,
    pub(crate) stretch: Stretch,
    pub(crate) halves: Option<Halves>,
    pub(crate) newcomers: Newcomers,
    pub(crate) requests: u64,
    pub(crate) events: BTreeMap<(Instant, u64), Event>,
    pub(crate) scheduled: u64,
    pub(crate) timers: BTreeSet<(Instant, usize)>,
}

impl World {
    /// Draws a site and its fate from a seed; every machine starts at once. The trace is kept in
    /// words, too, if it shall be `readable`; the lives of one machine may be `recorded`.
    #[must_use]
    pub(crate) fn draw(
        plan: Plan,
        plant: Option<Plant>,
        nodes: usize,
        seed: u64,
        readable: bool,
        recorded: Option<&(usize, Lives)>,
    ) -> Self {
        let rng = Rng::from_u64(seed);
        let site = Site::new(nodes, &plan, rng.fork("sites"));
        let machine = |m| {
            let recorded = recorded.filter(|(machine, _)| *machine == m);
            let lives = recorded.map(|(_, lives)| lives.clone());
            Machine::new(m, &plan, &rng.fork(&format!("machine {m}")), lives)
        };
        let mut world = Self {
            now: Instant::ZERO,
            machines: (0..nodes).map(machine).collect(),
            network: Network::new(
                nodes,
                draw::weather(&plan, &mut rng.fork("weather")),
                plan.queue_bytes_max,
                rng.fork("network"),
            ),
            shared: Shared::default(),
            sink: Sink::new(plan.lost_answers_permille, rng.fork("sink")),
            checker: Checker::new(site.trust().network()),
            applications: Applications::new(rng.fork("applications")),
            meter: Meter::default(),
            trace: Trace::new(readable),
            faults: rng.fork("faults"),
            nodes: rng.fork("nodes"),
            site,
            plan,
            plant,
            publishing: true,
            service: Service::default(),
            outcast: None,
            insiders: Insiders::draw(plan.malice, nodes, rng.fork("insiders")),
            discovery: match plan.is_varied {
                true => draw::discovery(&mut rng.fork("discovery")),
                false => plan.discovery,
            },
            slow: None,
            given_up: Blocks::new(),
            first: BTreeMap::new(),
            survivors: None,
            stretch: Stretch::default(),
            halves: None,
            newcomers: Newcomers::default(),
            requests: 0,
            events: BTreeMap::new(),
            scheduled: 0,
            timers: BTreeSet::new(),
        };
        if plant == Some(Plant::UnboundedQueue) {
            world.network.forget_bounds();
        }
        let late = nodes * plan.late_permille / 1_000;
        for machine in 0..nodes {
            world.machines[machine].is_off = machine >= nodes - late;
            world.start(machine);
            if machine < world.plan.publishers_max {
                world.after(plan.publish_from, Event::Publish(machine));
            }
            world.after(plan.publish_from, Event::Ask(machine));
        }
        if let Some(from) = world.plan.measure_from {
            world.after(from, Event::Measure);
        }
        if world.plan.candidates(nodes) > 0 {
            world.after(plan.publish_from, Event::LookAtService);
        }
        for machine in world.insiders.machines().collect::<Vec<_>>() {
            world.after(plan.publish_from, Event::Malice(machine));
        }
        for (at, fault) in world.plan.set_faults {
            world.after(plan.publish_from + *at, Event::SetFault(*fault));
        }
        if let Some(every) = world.plan.fault_every {
            world.after(plan.publish_from + every, Event::Fault);
        }
        world
    }

    /// Lets time pass, as long as nothing is wrong.
    pub(crate) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.checker.failure().is_none() && self.step(end) {}
        self.now = self.now.max(end);
    }

    /// Ends all faults and all publishing, and waits until everyone holds everything and the sink
    /// has every window. Returns how long that took.
    pub(crate) fn settle(&mut self, limit: Duration) -> Option<Duration> {
        let start = self.now;
        self.calm();
        while self.checker.failure().is_none() {
            let lacking = match self.lacking() {
                None => return Some(self.now.since(start)),
                Some(lacking) => lacking,
            };
            if self.now.since(start) >= limit {
                self.checker
                    .fail(format!("{limit:?} after healing, {lacking}"));
            }
            self.run_for(SETTLE_STEP);
        }
        None
    }

    /// Whether what happens now is what was waited for, after everything has found its way.
    pub(crate) fn is_measuring(&self) -> bool {
        let from = self.plan.measure_from;
        self.publishing && from.is_some_and(|from| self.now.since(Instant::ZERO) >= from)
    }

    /// The checks that need the whole.
    pub(crate) fn finish(&mut self) {
        let (commands, runs) = (self.plan.command_every, self.applications.runs());
        self.checker.require(commands.is_none() || runs > 0, || {
            "no command was ever carried out".to_owned()
        });
        let letters = self.applications.runs_of_letters();
        self.checker.require(commands.is_none() || letters > 0, || {
            "no letter was ever carried out".to_owned()
        });
        self.meter
            .on_end(self.sink.records().len(), self.sink.copies());
        self.meter.on_acts(self.insiders.acts());
        for machine in self.honest() {
            if let Some(running) = &self.machines[machine].running {
                self.meter.on_stats(running.node.gossip_stats());
            }
        }
        self.check_malice();
        self.check_slowness();
        self.check_redundancy();
        let blocks = self.all_blocks();
        for machine in self.honest() {
            self.checker.on_crash(machine, &self.machines[machine].disk);
            let canonical = oracle::canonical(&blocks, self.site.id(machine));
            self.checker.on_end(machine, &canonical, &blocks);
        }
    }

    /// What is wrong.
    #[must_use]
    pub(crate) fn failure(&self) -> Option<&str> {
        self.checker.failure()
    }

    /// What was measured.
    #[must_use]
    pub(crate) const fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The run as one number.
    #[must_use]
    pub(crate) fn trace(&self) -> TraceHash {
        self.trace.hash()
    }

    /// The trace in words, if it was asked for.
    pub(crate) fn into_lines(self) -> Vec<String> {
        self.trace.into_lines()
    }

    /// One event, if one happens before `end`. Timers go first, as in the loop of a real node.
    fn step(&mut self, end: Instant) -> bool {
        let timer = self.timers.first().copied();
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        match timer {
            Some((at, machine)) if at <= end && event.is_none_or(|event| at <= event) => {
                self.now = self.now.max(at);
                self.fire(machine);
                true
            }
            _ if event.is_some_and(|at| at <= end) => {
                let Some(((at, _), event)) = self.events.pop_first() else {
                    return false;
                };
                self.now = self.now.max(at);
                self.happen(event);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    pub(crate) fn at(&mut self, at: Instant, event: Event) {
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Frame(parcel) => self.on_frame(&parcel),
            Event::LinkBreaks(number, cause) => {
                if cause == Cause::Loss || self.network.is_cut(number) {
                    let ends = self.network.break_link(number);
                    self.tell_link_down(&ends);
                }
            }
            Event::EndBreaks(number, at) => self.on_end_breaks(number, at),
            Event::Clog(machine) => self.clog(machine),
            Event::Unclog(machine) => self.unclog(machine),
            Event::Malice(machine) => self.act(machine),
            Event::LookWhole => self.look_whole(),
            Event::Dialled(from, life, to) => self.on_dialled(from, life, to),
            Event::Input(machine, life, input) => {
                if self.machines[machine].life == life {
                    self.input(machine, input);
                }
            }
            Event::Synced(machine, life) => self.on_synced(machine, life),
            Event::Attempt(machine, life, id) => self.on_attempt(machine, life, id),
            Event::Answered(machine, life, id) => self.on_answered(machine, life, id),
            Event::Clock(machine, life) => {
                if self.machines[machine].life == life {
                    self.tell_time(machine);
                }
            }
            Event::Discover(machine, life) => {
                if self.machines[machine].life == life {
                    self.discover(machine);
                }
            }
            Event::Resume(machine, life) => {
                if self.machines[machine].life == life {
                    self.resume(machine);
                }
            }
            Event::Start(machine) => self.start(machine),
            Event::Publish(machine) => self.publish(machine),
            Event::Ask(machine) => self.ask(machine),
            Event::Fault => self.draw_fault(),
            Event::SetFault(fault) => self.strike(fault),
            Event::HealNetwork => self.heal_network(),
            Event::LookAtService => self.look_at_service(),
            Event::Measure => self.meter.restart(),
            Event::JoinHalves => self.join_halves(),
            Event::LookAtHalves => self.look_at_halves(),
            Event::LookAtSurvivors => self.look_at_survivors(),
            Event::SinkUp => self.set_sink(true),
            Event::UplinkUp(machine) => self.set_uplink(machine, true),
        }
    }
}

impl World {
    /// What the series of readings are, as some machine knows it.
    pub(crate) fn definitions<'a>(
        &'a self,
    ) -> Option<impl Fn(&LogId, &Reading) -> Option<&'a SeriesDefinition>> {
        let catalogues_of = |site: usize| {
            let machines = self.machines.iter().skip(site).step_by(self.plan.sites);
            let running = machines.filter_map(|machine| machine.running.as_ref());
            let catalogues = running.map(|running| running.node.catalogue());
            Some(catalogues.collect::<Vec<_>>()).filter(|catalogues| !catalogues.is_empty())
        };
        let catalogues = (0..self.plan.sites).map(catalogues_of);
        let catalogues = catalogues.collect::<Option<Vec<_>>>()?;
        Some(move |log: &LogId, reading: &Reading| {
            let origin = self.site.number(&log.machine)?;
            let mut catalogues = catalogues[self.site.sites().of(origin)].iter();
            let definition = catalogues.find_map(|known| known.definition(log, reading.series));
            definition.map(std::sync::Arc::as_ref)
        })
    }

    pub(crate) fn show(
        &self,
        (origin, series, start): &(MachineId, model::SeriesName, i64),
    ) -> String {
        let machine = self.site.number(origin);
        format!("{series} of machine {machine:?} at {start}")
    }
}

/// How often is looked whether everything is there.
const SETTLE_STEP: Duration = Duration::from_millis(250);
