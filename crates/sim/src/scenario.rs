//! Scenarios: which faults a run has. What exactly happens when, the seed draws.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::insiders::Malice;
use crate::network::{QUEUE_BYTES_MAX, Weather};
use crate::{growth, halves, hours, sites};

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A process is killed and started again; its system closes its links.
    Kill,
    /// A machine loses power and comes back; its peers hear nothing.
    PowerCut,
    /// A node is told to stop, and started again when it has.
    Stop,
    /// A process is halted for a while.
    Pause,
    /// The relay of some origin is killed.
    KillRelay,
    /// The relay of some origin is halted for a while.
    PauseRelay,
    /// The network falls into two parts for a while.
    Partition,
    /// The sink does not answer for a while.
    SinkOutage,
    /// One candidate does not reach the sink for a while.
    UplinkCut,
    /// The operator throws out one machine, for good, through some other machine.
    Revoke,
    /// A machine that is no member yet redeems an invitation at some machine.
    Redeem,
    /// A process is killed, and comes back with a list of thrown-out machines from before.
    RollBack,
    /// The sink does not answer any more, until everything heals.
    SinkLost,
    /// The processes of all candidates are killed at once.
    KillCandidates,
    /// The network falls into two parts for a while, one of which still reaches the other.
    OneWay,
    /// Some machines are cut off one after the other, and come back in another order.
    Swizzle,
    /// The clock of a machine is set by hours, to 1970, or right.
    ClockStep,
    /// Blocks that other machines hold, too, turn bad on a disk while its process is down.
    BitRot,
    /// The same, but none of the machine's own: where neighbours may be out of reach when it starts
    /// again, what lies beyond a damaged own block is left behind.
    BitRotOfOthers,
    /// A machine gives up its oldest blocks, but for what an uplink needs.
    Retain,
    /// A machine comes back with an empty disk.
    Wipe,
    /// The last machine reads and syncs slowly, until everything heals.
    Slow,
    /// Machines that are switched off are started.
    SwitchOn,
    /// The last candidate loses power until it is switched on.
    SwitchOff,
    /// All machines lose power at once, and all but the first, whom all know, come back.
    Blackout,
    /// Most machines die at once, for good.
    MassFailure,
    /// The network falls into two halves for so long.
    Halves(Duration),
}

/// Whom a machine finds by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Discovery {
    /// A few machines, again and again, as over multicast.
    Segment,
    /// The first machine, once: the address in its settings.
    Bootstrap,
    /// The one before it, once.
    Line,
}

/// What a scenario is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How good the network is.
    pub(crate) weather: Weather,
    /// Mean time between faults; no fault without it.
    pub(crate) fault_every: Option<Duration>,
    /// From which one is drawn each time.
    pub(crate) faults: &'static [Fault],
    /// What members with bad intent do; all mean well without it.
    pub(crate) malice: Option<Malice>,
    /// Whom machines find by themselves.
    pub(crate) discovery: Discovery,
    /// The seed draws whom they find, and their settings within the legal ranges.
    pub(crate) is_varied: bool,
    /// Machines that are off until they are switched on. Unit: per mille.
    pub(crate) late_permille: usize,
    /// Bytes that a sender may have on the way to one peer.
    pub(crate) queue_bytes_max: usize,
    /// How long a new block may take to whoever is not concerned by any fault.
    pub(crate) live_max: Option<Duration>,
    /// Copies of a block beyond the first. Unit: per mille of all blocks.
    pub(crate) redundancy_max: Option<u64>,
    /// What happens at a set time after the warm-up, whatever is drawn beside it.
    pub(crate) set_faults: &'static [(Duration, Fault)],
    /// Answers of the sink that get lost. Unit: per mille.
    pub(crate) lost_answers_permille: u32,
    /// Mean time between the commands of one machine; none without it.
    pub(crate) command_every: Option<Duration>,
    /// So many sites there are.
    pub(crate) sites: usize,
    /// The seed draws who subscribes to what.
    pub(crate) draws_subscriptions: bool,
    /// Only so many machines publish, the first ones.
    pub(crate) publishers_max: usize,
    /// At most so many machines can be relays, the first ones; without any, nothing is uploaded.
    pub(crate) candidates_max: usize,
    /// How long machines have to find each other before anything is published.
    pub(crate) publish_from: Duration,
    /// Whether multicast finds machines also later than at their starts.
    pub(crate) discovers_again: bool,
    /// From when on what happens is measured, after everything has found its way; without it,
    /// everything is, from the beginning to the end.
    pub(crate) measure_from: Option<Duration>,
    /// How often an idle machine says how far time has come.
    pub(crate) watermark_interval: Duration,
    /// How often each machine repeats where it is.
    pub(crate) presence_interval: Duration,
    /// Mean time between batches of one machine.
    pub(crate) publish_every: Duration,
    /// How long windows are.
    pub(crate) window: Duration,
    /// How long nobody may serve an origin while a candidate is fit to.
    pub(crate) unserved_max: Duration,
    /// How long it goes on before everything heals.
    pub(crate) duration: Duration,
    /// How long everything may take to be whole again.
    pub(crate) settle_max: Duration,
}

impl Plan {
    /// How many of the machines can be relays: a third, and two at least, but for the limit.
    #[must_use]
    pub(crate) fn candidates(&self, machines: usize) -> usize {
        (machines / 3).max(2).min(machines).min(self.candidates_max)
    }
}

/// A named plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Nothing goes wrong.
    Steady,
    /// Machines come and go, links break, the sink has outages.
    Churn,
    /// The network falls apart and heals.
    Partition,
    /// Relays die.
    RelayDeath,
    /// A machine is thrown out, and nothing else happens.
    Revocation,
    /// Few invitations are redeemed by more machines, while the network falls apart.
    Enrolment,
    /// A machine is thrown out while the network falls apart and lists are rolled back.
    RollBack,
    /// Machines command each other while callers and targets crash.
    Commands,
    /// The sink is away for three days, and in the middle every relay is restarted.
    Outage,
    /// One machine reads and syncs slowly for ten minutes, under load.
    SlowNeighbour,
    /// The same for an hour.
    SlowHour,
    /// Members with bad intent say what they have heard first again when an hour has passed.
    ReplayHour,
    /// Machines start late, or were off while others published a lot.
    LateJoiner,
    /// Every machine publishes a hundred times a second.
    EveryonePublishes,
    /// Members with bad intent fill the view of one machine, and swallow blocks.
    Eclipse,
    /// A third of the machines swallow the blocks of others.
    Droppers,
    /// All machines lose power at once, and the one that all know stays away.
    ColdStart,
    /// A third of the machines forge, flood or replay.
    Insiders,
    /// A third of all packets is lost, and parts of the network are cut off in all ways.
    Storm,
    /// Everything that can go wrong by itself.
    Everything,
    /// Four of five machines die at once, for good.
    MassFailure,
    /// Two halves are apart for ten seconds, without anything but themselves to find each other.
    Halves,
    /// The same for ten minutes.
    HalvesLong,
    /// The same for a day.
    HalvesDay,
    /// Nothing goes wrong in halls that are far apart, and what it costs is measured once all trees
    /// have grown.
    Growth,
    /// Blocks turn bad on disks, own ones, too.
    BitRot,
    /// Several sites subscribe to each other, and everything goes wrong.
    Sites,
    /// Ever more sites of ten machines, and nothing goes wrong.
    ManySites,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Self; 28] = [
        Self::Steady,
        Self::Churn,
        Self::Partition,
        Self::RelayDeath,
        Self::Revocation,
        Self::Enrolment,
        Self::RollBack,
        Self::Commands,
        Self::Outage,
        Self::SlowNeighbour,
        Self::SlowHour,
        Self::ReplayHour,
        Self::LateJoiner,
        Self::EveryonePublishes,
        Self::Eclipse,
        Self::Droppers,
        Self::ColdStart,
        Self::Insiders,
        Self::Storm,
        Self::Everything,
        Self::MassFailure,
        Self::Halves,
        Self::HalvesLong,
        Self::HalvesDay,
        Self::Growth,
        Self::BitRot,
        Self::Sites,
        Self::ManySites,
    ];

    /// Whether one seed takes minutes.
    #[must_use]
    pub const fn takes_minutes(self) -> bool {
        matches!(
            self,
            Self::Outage
                | Self::HalvesLong
                | Self::HalvesDay
                | Self::SlowNeighbour
                | Self::SlowHour
                | Self::ReplayHour
                | Self::Growth
                | Self::ManySites
        )
    }

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Churn => "churn",
            Self::Partition => "partition",
            Self::RelayDeath => "relay-death",
            Self::Revocation => "revocation",
            Self::Enrolment => "enrolment",
            Self::RollBack => "roll-back",
            Self::Commands => "commands",
            Self::Outage => "outage",
            Self::SlowNeighbour => "slow-neighbour",
            Self::SlowHour => "slow-hour",
            Self::ReplayHour => "replay-hour",
            Self::LateJoiner => "late-joiner",
            Self::EveryonePublishes => "everyone-publishes",
            Self::Eclipse => "eclipse",
            Self::Droppers => "droppers",
            Self::ColdStart => "cold-start",
            Self::Insiders => "insiders",
            Self::Storm => "storm",
            Self::Everything => "everything",
            Self::MassFailure => "mass-failure",
            Self::Halves => "halves",
            Self::HalvesLong => "halves-long",
            Self::HalvesDay => "halves-day",
            Self::Growth => "growth",
            Self::BitRot => "bit-rot",
            Self::Sites => "sites",
            Self::ManySites => "many-sites",
        }
    }

    /// What it is made of.
    #[must_use]
    pub(crate) const fn plan(self) -> Plan {
        let steady = Plan {
            weather: Weather::CALM,
            fault_every: None,
            faults: &[],
            set_faults: &[],
            malice: None,
            discovery: Discovery::Segment,
            is_varied: false,
            late_permille: 0,
            queue_bytes_max: QUEUE_BYTES_MAX,
            live_max: None,
            redundancy_max: None,
            lost_answers_permille: 0,
            command_every: None,
            sites: 1,
            draws_subscriptions: false,
            publishers_max: usize::MAX,
            candidates_max: usize::MAX,
            publish_from: Duration::from_secs(1),
            discovers_again: true,
            measure_from: None,
            watermark_interval: Duration::from_secs(1),
            presence_interval: Duration::from_secs(10),
            publish_every: Duration::from_millis(250),
            window: Duration::from_secs(1),
            unserved_max: UNSERVED_MAX_CALM,
            duration: Duration::from_secs(20),
            settle_max: SETTLE_MAX,
        };
        match self {
            Self::Steady => steady,
            Self::Churn => Plan {
                weather: Weather::ROUGH,
                unserved_max: UNSERVED_MAX_ROUGH,
                fault_every: Some(Duration::from_millis(1_500)),
                faults: &[
                    Fault::Kill,
                    Fault::PowerCut,
                    Fault::Stop,
                    Fault::Pause,
                    Fault::SinkOutage,
                    Fault::UplinkCut,
                ],
                lost_answers_permille: 50,
                ..steady
            },
            Self::Partition => Plan {
                weather: Weather::ROUGH,
                unserved_max: UNSERVED_MAX_ROUGH,
                fault_every: Some(Duration::from_secs(3)),
                faults: &[
                    Fault::Partition,
                    Fault::Partition,
                    Fault::Kill,
                    Fault::UplinkCut,
                ],
                ..steady
            },
            Self::Revocation => Plan {
                fault_every: Some(Duration::from_secs(5)),
                faults: &[Fault::Revoke],
                ..steady
            },
            Self::Enrolment => Plan {
                weather: Weather::ROUGH,
                unserved_max: UNSERVED_MAX_ROUGH,
                fault_every: Some(Duration::from_millis(700)),
                faults: &[
                    Fault::Redeem,
                    Fault::Redeem,
                    Fault::Redeem,
                    Fault::Partition,
                    Fault::Kill,
                    Fault::PowerCut,
                ],
                ..steady
            },
            Self::RollBack => Plan {
                weather: Weather::ROUGH,
                unserved_max: UNSERVED_MAX_ROUGH,
                fault_every: Some(Duration::from_secs(2)),
                faults: &[
                    Fault::Partition,
                    Fault::Revoke,
                    Fault::RollBack,
                    Fault::Kill,
                ],
                ..steady
            },
            Self::Outage => Plan {
                set_faults: OUTAGE,
                lost_answers_permille: 50,
                publish_every: Duration::from_secs(10),
                window: Duration::from_mins(1),
                duration: Duration::from_mins(72 * 60 + 10),
                settle_max: Duration::from_mins(10),
                ..steady
            },
            Self::MassFailure => Plan {
                set_faults: MASS_FAILURE,
                publishers_max: 100,
                candidates_max: 0,
                publish_every: Duration::from_secs(2),
                duration: Duration::from_secs(20),
                ..steady
            },
            Self::Halves => halves::plan(steady, halves::SHORT, 10, 1),
            Self::HalvesLong => halves::plan(steady, halves::LONG, 600, 1),
            Self::HalvesDay => halves::plan(steady, halves::DAY, 86_400, 10),
            Self::Growth => Plan {
                weather: Weather::SPREAD,
                candidates_max: 0,
                watermark_interval: Duration::from_mins(1),
                presence_interval: Duration::from_mins(1),
                redundancy_max: Some(50), // Design, section 14, row b.
                publish_from: growth::GROWTH_START,
                ..steady
            },
            Self::RelayDeath => Plan {
                fault_every: Some(Duration::from_secs(2)),
                faults: &[
                    Fault::KillRelay,
                    Fault::KillRelay,
                    Fault::PauseRelay,
                    Fault::SinkOutage,
                ],
                lost_answers_permille: 50,
                ..steady
            },
            Self::Commands => Plan {
                weather: Weather::ROUGH,
                unserved_max: UNSERVED_MAX_ROUGH,
                fault_every: Some(Duration::from_millis(700)),
                faults: &[
                    Fault::Kill,
                    Fault::Kill,
                    Fault::PowerCut,
                    Fault::Stop,
                    Fault::Pause,
                    Fault::Partition,
                ],
                command_every: Some(Duration::from_millis(400)),
                ..steady
            },
            Self::SlowNeighbour => hours::slow(steady, Duration::from_mins(10)),
            Self::SlowHour => hours::slow(steady, hours::HOUR),
            Self::ReplayHour => hours::replay(steady),
            Self::LateJoiner => Plan {
                set_faults: LATE,
                late_permille: 300,
                live_max: Some(LIVE_MAX),
                unserved_max: UNSERVED_MAX_ROUGH,
                publish_every: Duration::from_millis(100),
                duration: Duration::from_secs(40),
                ..steady
            },
            Self::EveryonePublishes => Plan {
                publish_every: Duration::from_millis(10),
                live_max: Some(LIVE_MAX),
                redundancy_max: Some(REDUNDANCY_MAX),
                duration: Duration::from_secs(4),
                ..steady
            },
            Self::Eclipse => Plan {
                malice: Some(Malice::Surround),
                unserved_max: UNSERVED_MAX_ROUGH,
                settle_max: Duration::from_mins(5),
                ..steady
            },
            Self::Droppers => Plan {
                malice: Some(Malice::Drop),
                unserved_max: UNSERVED_MAX_ROUGH,
                ..steady
            },
            Self::ColdStart => Plan {
                set_faults: BLACKOUT,
                discovery: Discovery::Bootstrap,
                unserved_max: UNSERVED_MAX_ROUGH,
                duration: Duration::from_secs(40),
                ..steady
            },
            Self::Insiders => Plan {
                malice: Some(Malice::Mixed),
                unserved_max: UNSERVED_MAX_ROUGH,
                is_varied: true,
                ..steady
            },
            Self::Storm => Plan {
                weather: Weather::STORM,
                unserved_max: UNSERVED_MAX_STORM,
                is_varied: true,
                fault_every: Some(Duration::from_secs(2)),
                faults: &[
                    Fault::OneWay,
                    Fault::OneWay,
                    Fault::Swizzle,
                    Fault::Partition,
                ],
                ..steady
            },
            Self::Sites => sites::plan(steady, UNSERVED_MAX_STORM),
            Self::ManySites => sites::plan_of_many(steady),
            Self::BitRot => Plan {
                unserved_max: UNSERVED_MAX_ROUGH,
                fault_every: Some(Duration::from_secs(6)),
                faults: &[Fault::BitRot],
                duration: Duration::from_secs(30),
                ..steady
            },
            Self::Everything => Plan {
                weather: Weather::ROUGH,
                unserved_max: UNSERVED_MAX_STORM,
                is_varied: true,
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
                    Fault::Wipe,
                ],
                lost_answers_permille: 50,
                ..steady
            },
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL
            .into_iter()
            .find(|scenario| scenario.name() == text);
        found.ok_or_else(|| format!("no scenario {text:?}; there are {names}"))
    }
}

/// How long everything may take to be whole again. Source: guess, above what the longest backoff of
/// a dial and the timeouts of dead links add up to.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// How long nobody may serve an origin, once the candidates know each other. Source: design,
/// section 9, without the upload.
const UNSERVED_MAX_CALM: Duration = Duration::from_millis(440);
/// Where packets get lost and machines are late, relays are given up to six times the time.
/// Source: `election`, its patience and local health; 250 runs needed up to 2.1 s.
pub(crate) const UNSERVED_MAX_ROUGH: Duration = Duration::from_secs(3);
/// Where a third of the packets is lost, a relay is taken for dead again and again.
const UNSERVED_MAX_STORM: Duration = Duration::from_secs(60);
/// How late a new block may be where nothing is wrong: a push through a machine that has just died
/// is missed, asked of a dead one, and asked of another. Source: the timeouts of `gossip`, twice.
pub(crate) const LIVE_MAX: Duration = Duration::from_secs(5);
/// Source: design, section 14, row b, and as much again for the trees' first blocks in a run of
/// seconds.
const REDUNDANCY_MAX: u64 = 100;
/// Some machines start when the others have published a lot; one was there before.
const LATE: &[(Duration, Fault)] = &[
    (Duration::from_secs(5), Fault::SwitchOff),
    (Duration::from_secs(25), Fault::SwitchOn),
];
/// All lose power when they have known each other for a while.
const BLACKOUT: &[(Duration, Fault)] = &[(Duration::from_secs(15), Fault::Blackout)];
/// Machines know each other by then, and what follows is watched for some seconds.
const MASS_FAILURE: &[(Duration, Fault)] = &[(Duration::from_secs(12), Fault::MassFailure)];
/// The sink goes for 72 hours; every relay that could take notes in memory is killed on the way.
const OUTAGE: &[(Duration, Fault)] = &[
    (Duration::from_mins(10), Fault::SinkLost),
    (Duration::from_hours(36), Fault::KillCandidates),
];
