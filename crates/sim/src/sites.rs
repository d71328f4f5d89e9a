//! Several sites in one network: who belongs where, who subscribes to what, and what must hold of
//! that. Each machine holds all of its own site and of those that it subscribes to, and nothing of
//! the others; what must reach everyone does, whatever site it comes from.

use std::time::Duration;

use aggregate::Record;
use gossip::Interest;
use identity::Role;
use model::{MachineId, Pattern, StateKind};
use statemachine::Rng;

use crate::network::Weather;
use crate::scenario::{Fault, Plan};
use crate::world::World;

/// Which machine is of which site, and what each replicates.
#[derive(Debug)]
pub(crate) struct Sites {
    count: usize,
    interests: Vec<Interest>,
}

impl Sites {
    /// Draws what machines subscribe to, if there are several sites; the machines belong to them in
    /// turn.
    #[must_use]
    pub(crate) fn draw(machines: usize, plan: &Plan, mut rng: Rng) -> Self {
        let count = plan.sites;
        let of_site: Vec<Option<usize>> = (0..count)
            .map(|_| rng.index(count).filter(|_| rng.chance(SITES_PERMILLE)))
            .collect();
        let interests = (0..machines).map(|machine| {
            let (site, mut others) = (machine % count, Vec::new());
            if plan.draws_subscriptions {
                others.extend(of_site[site].map(name));
                let alone = rng.index(count).filter(|_| rng.chance(MACHINES_PERMILLE));
                others.extend(alone.map(name));
                others.extend(rng.chance(ALL_PERMILLE).then(|| "*".to_owned()));
            } else if machine < count && count > 1 {
                others.push(name((site + 1) % count));
            }
            interest(site, &others)
        });
        Self {
            count,
            interests: interests.collect(),
        }
    }

    /// How many sites there are.
    #[must_use]
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// The number of a machine's site.
    #[must_use]
    pub(crate) const fn of(&self, machine: usize) -> usize {
        machine % self.count
    }

    /// Whether two machines are of one site.
    #[must_use]
    pub(crate) const fn are_together(&self, a: usize, b: usize) -> bool {
        self.of(a) == self.of(b)
    }

    /// What a machine replicates.
    #[must_use]
    pub(crate) fn interest(&self, machine: usize) -> &Interest {
        &self.interests[machine]
    }

    /// Whether a machine wants the log of another one.
    #[must_use]
    pub(crate) fn wants(&self, machine: usize, origin: usize) -> bool {
        let site = name(self.of(origin)).parse();
        site.is_ok_and(|site| self.interests[machine].wants(&site))
    }
}

/// The name of a site.
#[must_use]
pub(crate) fn name(site: usize) -> String {
    match site {
        0 => FIRST.to_owned(),
        _ => format!("{FIRST}-{site}"),
    }
}

fn interest(site: usize, others: &[String]) -> Interest {
    let patterns = others
        .iter()
        .filter_map(|text| text.parse::<Pattern>().ok());
    let site = name(site).parse().ok();
    Interest::new(site, patterns).unwrap_or_default()
}

impl World {
    /// Whether a machine is to hold the log of an origin.
    pub(crate) fn wants_log(&self, machine: usize, origin: &MachineId) -> bool {
        let origin = self.site.number(origin);
        origin.is_some_and(|origin| self.site.sites().wants(machine, origin))
    }

    /// What a machine holds or has not heard of, against its interest.
    pub(crate) fn lacking_of_sites(&self) -> Option<String> {
        let honest: Vec<usize> = self.honest().collect();
        for number in &honest {
            let disk = &self.machines[*number].disk;
            let mut logs = disk
                .blocks()
                .iter()
                .filter(|(_, blocks)| !blocks.is_empty());
            if let Some((log, _)) = logs.find(|(log, _)| !self.wants_log(*number, &log.machine)) {
                return Some(format!(
                    "machine {number} holds {log}, which it does not want"
                ));
            }
            let node = &self.machines[*number].running.as_ref()?.node;
            for state in node.states() {
                let (origin, kind) = (&state.key().origin, state.key().kind);
                let Some(from) = self.site.number(origin) else {
                    continue;
                };
                let is_near = self.site.sites().are_together(*number, from);
                let concerns = match kind {
                    StateKind::Series | StateKind::Presence => self.wants_log(*number, origin),
                    StateKind::Watermark | StateKind::Candidacy | StateKind::Progress => is_near,
                    StateKind::Membership
                    | StateKind::Revocation
                    | StateKind::Redemption
                    | StateKind::Renewal
                    | StateKind::NetworkKey
                    | StateKind::Letter
                    | StateKind::Equivocation
                    | StateKind::Reply => true,
                };
                if !concerns {
                    let key = state.key();
                    return Some(format!("machine {number} keeps {key:?} of another site"));
                }
            }
            let lacks = |origin: &&usize| {
                let wants = self.site.sites().wants(*number, **origin);
                let is_quiet = **origin >= self.plan.publishers_max;
                let has_said = self.machines[**origin].life > 0 && !is_quiet;
                let known = node.catalogue().member(&self.site.id(**origin));
                wants && has_said && known.is_none()
            };
            if let Some(origin) = honest.iter().find(lacks) {
                return Some(format!("machine {number} does not know machine {origin}"));
            }
        }
        None
    }

    /// A relay uploads what its own site publishes, and nothing else, whatever it subscribes to.
    pub(crate) fn check_upload(&mut self, machine: usize, record: &Record) {
        let origin = match record {
            Record::Window(window) => window.key.machine,
            Record::Raw(raw) => raw.key.machine,
        };
        let origin = self.site.number(&origin);
        let is_near = origin.is_some_and(|origin| self.site.sites().are_together(machine, origin));
        self.checker.require(is_near, || {
            format!("machine {machine} uploads what machine {origin:?} of another site has said")
        });
    }
}

/// What a machine of a network may do: where there are several sites, one machine of each admits
/// others.
pub(crate) fn roles(machine: usize, sites: usize) -> Vec<Role> {
    let all = [Role::Publish, Role::Relay, Role::Command, Role::Admit];
    let is_granted = |role: &Role| sites == 1 || machine < sites || *role != Role::Admit;
    all.into_iter().filter(is_granted).collect()
}

/// Sites of at least three machines, at most four, whose machines subscribe to what the seed draws,
/// while everything goes wrong that can by itself, and a machine is thrown out.
pub(crate) const fn plan(steady: Plan, unserved_max: Duration) -> Plan {
    Plan {
        weather: Weather::ROUGH,
        unserved_max,
        fault_every: Some(Duration::from_millis(700)),
        faults: &[
            Fault::Kill,
            Fault::PowerCut,
            Fault::Stop,
            Fault::Pause,
            Fault::Partition,
            Fault::OneWay,
            Fault::Swizzle,
            Fault::SinkOutage,
            Fault::UplinkCut,
            Fault::ClockStep,
            Fault::BitRotOfOthers,
            Fault::Retain,
            Fault::Revoke,
        ],
        lost_answers_permille: 50,
        draws_subscriptions: true,
        presence_interval: Duration::from_secs(2),
        settle_max: Duration::from_mins(10),
        ..steady
    }
}

/// Sites of ten machines, one of which subscribes to the next site: nothing goes wrong, and what a
/// machine costs is measured, and how fast a revocation crosses all sites.
pub(crate) const fn plan_of_many(steady: Plan) -> Plan {
    Plan {
        candidates_max: 0,
        publish_from: MANY_START,
        publish_every: Duration::from_secs(1),
        set_faults: MANY_REVOKE,
        measure_from: Some(MANY_MEASURED_FROM),
        duration: MANY_END,
        settle_max: Duration::from_mins(30), // A site of 32 is found by trying contacts.
        ..steady
    }
}

/// So many sites there are of so many machines of the scenario `sites`.
pub(crate) fn count_of(machines: usize) -> usize {
    (machines / 3).clamp(1, 4)
}

/// The name of the first site.
const FIRST: &str = "plant";
/// Sites all of whose machines subscribe to another site. Unit: per mille.
const SITES_PERMILLE: u32 = 400;
/// Machines that do so by themselves. Unit: per mille.
const MACHINES_PERMILLE: u32 = 250;
/// Machines that subscribe to everything. Unit: per mille.
const ALL_PERMILLE: u32 = 60;
/// Machines of a site where cost is measured by the number of sites.
pub(crate) const MANY_MACHINES: usize = 10;
/// How long machines have to find each other before that.
const MANY_START: Duration = Duration::from_mins(5);
/// When trees have grown.
const MANY_MEASURED_FROM: Duration = Duration::from_secs(330);
/// When it has been measured.
const MANY_END: Duration = Duration::from_secs(360);
/// When a machine is thrown out, counted from the first reading.
const MANY_REVOKE: &[(Duration, Fault)] = &[(Duration::from_secs(50), Fault::Revoke)];
