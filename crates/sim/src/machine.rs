//! One simulated machine: what outlives its node, and the node while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aggregate::Config as WindowsConfig;
use command::{Allowance, Policy};
use election::UplinkId;
use engine::{Config, Input, Node, NodeIdentity, UplinkConfig};
use identity::{
    Claim, Delegation, Grant, InvitationId, Issuer, Keypair, Membership, Revocation, Role, Terms,
    Trust,
};
use model::{BlockId, ClockState, MachineId, State, Timestamp};
use overlay::{Address, Contact};
use recording::Recorded;
use statemachine::{Instant, Rng};

use crate::disk::Disk;
use crate::draw;
use crate::record::Lives;
use crate::scenario::Plan;
use crate::signatures::Remembered;
use crate::sink::Outbox;
use crate::sites::{self, Sites};
use crate::workload::Publisher;

/// Who the machines are: the same for all runs with one number of machines.
#[derive(Debug)]
pub(crate) struct Site {
    operator: Keypair,
    /// The first so many machines are candidates.
    candidates: usize,
    plan: Plan,
    sites: Sites,
    machines: Vec<MachineId>,
    numbers: BTreeMap<MachineId, usize>,
    memberships: Vec<Membership>,
    signatures: Arc<Remembered>,
}

impl Site {
    /// A site of so many machines.
    #[must_use]
    pub(crate) fn new(machines: usize, plan: &Plan, rng: Rng) -> Self {
        let sites = Sites::draw(machines, plan, rng);
        let candidates = plan.candidates(machines);
        let machines: Vec<_> = (0..machines).map(|m| keypair(m).machine()).collect();
        let operator = keypair(usize::MAX);
        let memberships = (machines.iter().enumerate())
            .map(|(number, id)| membership(&operator, number, *id, &sites))
            .collect();
        let numbers = machines
            .iter()
            .enumerate()
            .map(|(number, id)| (*id, number))
            .collect();
        Self {
            operator,
            candidates,
            plan: *plan,
            sites,
            machines,
            numbers,
            memberships,
            signatures: Arc::default(),
        }
    }

    /// Whom the machines trust.
    #[must_use]
    pub(crate) fn trust(&self) -> Trust {
        Trust::new(self.operator.machine())
    }

    /// How many machines there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.machines.len()
    }

    /// The id of a machine.
    #[must_use]
    pub(crate) fn id(&self, machine: usize) -> MachineId {
        self.machines[machine]
    }

    /// The membership of a machine.
    #[must_use]
    pub(crate) fn membership(&self, machine: usize) -> Membership {
        self.memberships[machine].clone()
    }

    /// The operator's word that a machine is thrown out.
    ///
    /// # Panics
    ///
    /// Never: there is no reason that could be too long.
    #[must_use]
    pub(crate) fn revocation(&self, machine: usize) -> State {
        let (network, time) = (self.trust().network(), Timestamp::from_nanos(EPOCH_NANOS));
        let revocation = Revocation::sign(&self.operator, &network, self.id(machine), time, "");
        revocation.expect("no reason is given")
    }

    /// Which machine is of which site.
    #[must_use]
    pub(crate) const fn sites(&self) -> &Sites {
        &self.sites
    }

    /// The key of a machine.
    #[must_use]
    #[expect(clippy::unused_self, reason = "keys are the site's to give away")]
    pub(crate) fn keypair(&self, machine: usize) -> Keypair {
        keypair(machine)
    }

    /// The claim of a machine that is no member yet on an invitation of the operator's.
    ///
    /// # Panics
    ///
    /// Never: the terms and the name are good.
    #[must_use]
    pub(crate) fn claim(&self, invitation: usize, newcomer: usize) -> Claim {
        let secret = keypair(SECRETS_FROM + invitation);
        let terms = Terms {
            site: sites::name(0),
            roles: [Role::Publish].into(),
            commands: Vec::new(),
            lifetime: LIFETIME,
            not_after: Timestamp::MAX,
        };
        let issuer = Issuer::operator(&self.operator);
        let invited = issuer.invite(InvitationId::of(&secret), terms);
        let (invited, trust) = (invited.expect("good terms"), self.trust());
        let machine = keypair(NEWCOMERS_FROM + newcomer).machine();
        let name = format!("newcomer-{newcomer}");
        Claim::sign(trust, invited, &secret, machine, &name).expect("a good name")
    }

    /// The machine with an id, if it belongs to the site.
    #[must_use]
    pub(crate) fn number(&self, id: &MachineId) -> Option<usize> {
        self.numbers.get(id).copied()
    }

    /// Whether a machine can be a relay.
    #[must_use]
    pub(crate) const fn is_candidate(&self, machine: usize) -> bool {
        machine < self.candidates
    }

    /// Where a machine can be dialled.
    ///
    /// # Panics
    ///
    /// Never: the address is short.
    #[must_use]
    pub(crate) fn contact(&self, machine: usize) -> Contact {
        let address = Address::new(format!("/sim/{machine}")).expect("a short address");
        Contact {
            machine: self.id(machine),
            addresses: vec![address],
        }
    }

    fn identity(&self, machine: usize) -> NodeIdentity {
        NodeIdentity {
            keypair: keypair(machine),
            membership: self.membership(machine),
            trust: self.trust(),
        }
    }

    /// Few neighbours, so that most pairs are several hops apart; in a large site as many as nodes
    /// have by themselves.
    fn active_max(&self) -> usize {
        if self.len() / self.sites.count() <= SMALL_MAX {
            ACTIVE_MAX_SMALL
        } else {
            overlay::Config::default().active_max
        }
    }

    fn config(&self, machine: usize) -> Config {
        let uplink = UplinkConfig {
            id: uplink(),
            windows: WindowsConfig {
                lengths: vec![self.plan.window],
                allowed_lateness: ALLOWED_LATENESS,
                windows_max: 10_000,
            },
            patterns: Vec::new(),
            raw: Vec::new(),
            exclude: Vec::new(),
            priority: 10,
            cost_class: 0,
            partial_after: PARTIAL_AFTER,
        };
        Config {
            overlay: overlay::Config {
                active_max: self.active_max(),
                ..overlay::Config::default()
            },
            gossip: gossip::Config {
                interest: self.sites.interest(machine).clone(),
                ..gossip::Config::default()
            },
            quiet: machine >= self.plan.publishers_max,
            watermark_interval: self.plan.watermark_interval,
            presence_interval: self.plan.presence_interval,
            policy: Policy {
                maintenance: false,
                allow: vec![Allowance::everyone("**".parse().expect("a pattern"))],
            },
            signatures: self.signatures.clone(),
            uplinks: if self.is_candidate(machine) {
                vec![uplink]
            } else {
                Vec::new()
            },
            ..Config::default()
        }
    }
}

/// The one uplink of a site.
///
/// # Panics
///
/// Never: the name is good.
#[must_use]
pub(crate) fn uplink() -> UplinkId {
    "cloud".parse().expect("an uplink id")
}

/// A running node.
#[derive(Debug)]
pub(crate) struct Running {
    /// The node.
    pub(crate) node: Recorded,
    /// When it started: its own zero of time.
    pub(crate) started: Instant,
    /// What arrived while the process is paused; `None` while it is not.
    pub(crate) paused: Option<Vec<Input>>,
    /// It was told to stop.
    pub(crate) stopping: bool,
    /// Records that wait for the sink.
    pub(crate) outbox: Outbox,
    /// When it wants to be called, as the world's timers have it.
    pub(crate) due: Option<Instant>,
}

/// One machine.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Counts its starts: what was asked for in one life is answered in no other.
    pub(crate) life: u64,
    /// Its node, while it runs.
    pub(crate) running: Option<Running>,
    /// Its disk.
    pub(crate) disk: Disk,
    /// What publishes on it.
    pub(crate) publisher: Publisher,
    /// How far its clock is ahead of the true time, or behind it. Unit: nanoseconds.
    pub(crate) skew: i64,
    /// What it knows of its clock.
    pub(crate) clock: ClockState,
    /// It is switched off.
    pub(crate) is_off: bool,
    /// When it was switched on last.
    pub(crate) joined: Instant,
    /// It died and does not come back.
    pub(crate) is_gone: bool,
    /// Whether it reaches the sink, if the sink is up.
    pub(crate) reaches_sink: bool,
    /// How many hops each block had come when it got here first.
    pub(crate) hops: BTreeMap<BlockId, u32>,
    /// What its settings are drawn from, if they are.
    settings: Option<Rng>,
    /// Where each of its lives is written down, if somebody wants that.
    recorded: Option<Lives>,
}

impl Machine {
    /// A machine that never ran.
    #[must_use]
    pub(crate) fn new(machine: usize, plan: &Plan, rng: &Rng, recorded: Option<Lives>) -> Self {
        let mut skew = rng.fork("skew");
        Self {
            life: 0,
            running: None,
            disk: Disk::new(rng.fork("disk")),
            publisher: Publisher::new(machine, plan.publish_every, rng.fork("publisher")),
            skew: i64::try_from(skew.below(1_000_000_000)).unwrap_or(0),
            clock: ClockState::Synchronised,
            is_off: false,
            joined: Instant::ZERO,
            is_gone: false,
            reaches_sink: true,
            hops: BTreeMap::new(),
            settings: plan.is_varied.then(|| rng.fork("settings")),
            recorded,
        }
    }

    /// Starts the next life on what the disk has kept.
    pub(crate) fn start(&mut self, now: Instant, site: &Site, machine: usize, rng: &Rng) {
        self.life += 1;
        let rng = rng.fork(&format!("node {machine} life {}", self.life));
        let recovered = self.disk.recover(site.id(machine), &site.trust().network());
        let (identity, mut config) = (site.identity(machine), site.config(machine));
        if let Some(settings) = &self.settings {
            config = draw::settings(config, &mut settings.fork("settings"));
        }
        let node = match &self.recorded {
            Some(lives) => Recorded::start(identity, config, recovered, rng.seed(), lives.next()),
            None => Recorded::not(Node::new(identity, config, recovered, rng)),
        };
        self.running = Some(Running {
            node,
            started: now,
            paused: None,
            stopping: false,
            outbox: Outbox::default(),
            due: None,
        });
    }

    /// Whether its process runs and is not paused.
    #[must_use]
    pub(crate) fn answers(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.paused.is_none())
    }

    /// What its clock says.
    #[must_use]
    pub(crate) fn wall(&self, now: Instant) -> Timestamp {
        let since_start = Duration::from_nanos(now.as_nanos());
        let time = Timestamp::from_nanos(EPOCH_NANOS).saturating_add(since_start);
        Timestamp::from_nanos(time.as_nanos().saturating_add(self.skew))
    }
}

fn membership(operator: &Keypair, number: usize, machine: MachineId, sites: &Sites) -> Membership {
    let roles: BTreeSet<Role> = sites::roles(number, sites.count()).into_iter().collect();
    let grant = Grant {
        machine,
        name: format!("machine-{number}"),
        site: sites::name(sites.of(number)),
        delegation: roles.contains(&Role::Admit).then(|| Delegation {
            roles: [Role::Publish].into(),
            commands: Vec::new(),
            lifetime: LIFETIME,
        }),
        roles,
        commands: vec!["**".to_owned()],
        not_before: Timestamp::MIN,
        not_after: Timestamp::MAX,
    };
    Membership::issue(operator, grant).expect("the names are good")
}

fn keypair(machine: usize) -> Keypair {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&u64::try_from(machine).unwrap_or(u64::MAX).to_le_bytes());
    Keypair::from_seed(&seed)
}

/// How long a membership is valid.
const LIFETIME: Duration = Duration::from_secs(86_400);
/// Numbers of keys: secrets of invitations, and machines that are no members yet.
const SECRETS_FROM: usize = 1_000_000;
const NEWCOMERS_FROM: usize = 2_000_000;
/// Shorter than some readings are late, so that windows are computed from the log again.
pub(crate) const ALLOWED_LATENESS: Duration = Duration::from_secs(1);
/// Silence after which windows are given as they are; below the time that a machine may be down.
const PARTIAL_AFTER: Duration = Duration::from_secs(3);
/// Neighbours in a small site.
const ACTIVE_MAX_SMALL: usize = 3;
/// Most machines of a small site.
const SMALL_MAX: usize = 48;
/// When every run begins: 2026-01-01. Unit: nanoseconds since the Unix epoch.
pub(crate) const EPOCH_NANOS: i64 = 1_767_225_600_000_000_000;
