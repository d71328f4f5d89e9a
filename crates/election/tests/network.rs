//! Elections of several machines over a simulated network: how soon a successor serves, and how
//! rarely somebody is taken for dead who is not.
//!
//! Links are reliable ordered streams: a lost packet holds up what follows until it was sent again,
//! which the next heartbeat makes happen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use election::{Candidacy, Config, Election, Input, Message, Output, Profile, UplinkId};
use model::MachineId;
use statemachine::{Instant, Rng, StateMachine as _};

const ORIGINS: u8 = 20;

enum Event {
    Input(usize, Input),
    /// A state on its way, with its version.
    State(usize, usize, u64, Candidacy),
    /// A message on a link, with the link's number.
    Message(usize, usize, u64, Message),
    /// A dial from one to the other ends.
    Dialled(usize, usize),
}

struct Node {
    election: Election,
    running: bool,
    /// What arrived while it was stopped.
    queue: Vec<Input>,
    serves: BTreeSet<MachineId>,
}

/// What lies between any two machines.
#[derive(Clone, Copy)]
struct Way {
    /// One way, least and greatest.
    delay: (Duration, Duration),
    /// How long a dial and its handshake take.
    dial: Duration,
    /// How long states take, from one to all.
    gossip: (Duration, Duration),
}

impl Way {
    const LAN: Self = Self {
        delay: (Duration::from_micros(500), Duration::from_micros(4_500)),
        dial: ms(10),
        gossip: (ms(2), ms(32)),
    };
    const WAN: Self = Self {
        delay: (ms(10), ms(75)),
        dial: ms(300),
        gossip: (ms(20), ms(500)),
    };
    const THIN: Self = Self {
        delay: (ms(200), ms(1_000)),
        dial: ms(4_000),
        gossip: (ms(500), ms(5_000)),
    };
}

struct Network {
    now: Instant,
    way: Way,
    rng: Rng,
    loss_permille: u32,
    config: Config,
    nodes: Vec<Option<Node>>,
    /// Which side of a partition each machine is on.
    sides: Vec<u8>,
    /// Open links by (smaller, greater) with their number.
    links: BTreeMap<(usize, usize), u64>,
    links_opened: u64,
    /// When the last packet of each direction arrives.
    streams: BTreeMap<(usize, usize), Instant>,
    events: BTreeMap<(Instant, u64), Event>,
    scheduled: u64,
    /// What each machine announced last, and what each has seen of the others.
    announced: Vec<(u64, Candidacy)>,
    seen: BTreeMap<(usize, usize), u64>,
    takeovers: u64,
    /// Messages that were sent over links.
    messages: u64,
}

fn id(n: usize) -> MachineId {
    let n = u8::try_from(n).expect("few machines");
    MachineId::from_bytes([n + 1; 32])
}

fn index(machine: MachineId) -> usize {
    usize::from(machine.as_bytes()[0] - 1)
}

fn cloud() -> UplinkId {
    "cloud".parse().expect("an id")
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn way() -> Candidacy {
    Candidacy {
        standing: true,
        priority: 10,
        health: 100,
        ..Candidacy::default()
    }
}

impl Network {
    /// So many candidates on a LAN, started together, five seconds later.
    fn of(count: usize, seed: u64, config: Config) -> Self {
        Self::over(Way::LAN, count, seed, config)
    }

    /// The same somewhere else, a hundred heartbeats later.
    fn over(way: Way, count: usize, seed: u64, config: Config) -> Self {
        let warm_up = config.heartbeat_interval * 100;
        let mut network = Self {
            now: Instant::ZERO,
            way,
            rng: Rng::from_u64(seed),
            loss_permille: 0,
            config,
            nodes: Vec::new(),
            sides: vec![0; count],
            links: BTreeMap::new(),
            links_opened: 0,
            streams: BTreeMap::new(),
            events: BTreeMap::new(),
            scheduled: 0,
            announced: vec![(0, Candidacy::default()); count],
            seen: BTreeMap::new(),
            takeovers: 0,
            messages: 0,
        };
        network.nodes.resize_with(count, || None);
        for n in 0..count {
            network.start(n);
        }
        network.run_for(warm_up);
        network
    }

    fn start(&mut self, n: usize) {
        let rng = self.rng.fork(&format!("{n} at {}", self.now));
        self.nodes[n] = Some(Node {
            election: Election::new(id(n), self.config.clone(), rng),
            running: true,
            queue: Vec::new(),
            serves: BTreeSet::new(),
        });
        for other in 0..self.nodes.len() {
            self.seen.remove(&(n, other));
        }
        for origin in 0..ORIGINS {
            self.input(n, Input::Origin(MachineId::from_bytes([200 + origin; 32])));
        }
        self.input(n, Input::OwnCandidacy(cloud(), way()));
    }

    /// The process ends; the others' links to it close.
    fn kill(&mut self, n: usize) {
        self.nodes[n] = None;
        self.cut(n, |_| true, false);
    }

    /// The process halts; its links stay open.
    fn stop(&mut self, n: usize) {
        self.nodes[n].as_mut().expect("a live node").running = false;
    }

    fn resume(&mut self, n: usize) {
        let node = self.nodes[n].as_mut().expect("a live node");
        node.running = true;
        let queue = std::mem::take(&mut node.queue);
        self.fire(n); // As the shell does: timers before what lies in the queue.
        for input in queue {
            self.input(n, input);
        }
    }

    /// Frames between the sides get lost from now on; nobody is told.
    fn partition(&mut self, sides: &[u8]) {
        self.sides = sides.to_vec();
    }

    /// The sides meet again: links that hung are found dead and dialled anew.
    fn heal(&mut self) {
        let before = std::mem::replace(&mut self.sides, vec![0; self.nodes.len()]);
        for n in 0..self.nodes.len() {
            self.cut(n, |other| before[other] != before[n], true);
        }
        for from in 0..self.nodes.len() {
            for to in 0..self.nodes.len() {
                self.gossip(from, to);
            }
        }
    }

    /// Closes the links of a machine to others.
    fn cut(&mut self, n: usize, others: impl Fn(usize) -> bool, both_told: bool) {
        let keys: Vec<_> = self.links.keys().copied().collect();
        for (a, b) in keys {
            if (a == n && others(b)) || (b == n && others(a)) {
                self.links.remove(&(a, b));
                let other = if a == n { b } else { a };
                let delay = ms(1 + self.rng.below(3));
                self.schedule(delay, Event::Input(other, Input::LinkDown(id(n))));
                if both_told {
                    self.schedule(delay, Event::Input(n, Input::LinkDown(id(other))));
                }
            }
        }
    }

    fn schedule(&mut self, delay: Duration, event: Event) {
        self.schedule_at(self.now + delay, event);
    }

    fn schedule_at(&mut self, at: Instant, event: Event) {
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), event);
    }

    fn run_for(&mut self, duration: Duration) {
        self.run_until(duration, |_| false);
    }

    /// Runs until something holds or the time is over; returns how long it took.
    fn run_until(&mut self, limit: Duration, holds: impl Fn(&Self) -> bool) -> Option<Duration> {
        let (start, end) = (self.now, self.now + limit);
        loop {
            if holds(self) {
                return Some(self.now.since(start));
            }
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let running = self.nodes.iter().enumerate().filter_map(|(n, node)| {
                let node = node.as_ref().filter(|node| node.running)?;
                Some((node.election.next_deadline()?.at, n))
            });
            let timer = running.min();
            let next = event.into_iter().chain(timer.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return None;
            };
            self.now = self.now.max(next);
            match timer {
                Some((at, n)) if event.is_none_or(|event| at <= event) => self.fire(n),
                _ => {
                    let ((_, _), event) = self.events.pop_first().expect("an event");
                    self.happen(event);
                }
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input(n, input) => self.input(n, input),
            Event::State(to, origin, version, candidacy) => {
                let seen = self.seen.entry((to, origin)).or_default();
                if *seen < version {
                    *seen = version;
                    self.input(to, Input::Candidacy(id(origin), cloud(), candidacy));
                }
            }
            Event::Message(from, to, link, message) => {
                let key = (from.min(to), from.max(to));
                if self.links.get(&key) == Some(&link) {
                    self.input(to, Input::Received(id(from), message));
                }
            }
            Event::Dialled(a, b) => {
                let key = (a.min(b), a.max(b));
                let up = |n: usize| self.nodes[n].as_ref().is_some_and(|node| node.running);
                if up(a)
                    && up(b)
                    && self.sides[a] == self.sides[b]
                    && !self.links.contains_key(&key)
                {
                    self.links_opened += 1;
                    self.links.insert(key, self.links_opened);
                    self.input(a, Input::LinkUp(id(b)));
                    self.input(b, Input::LinkUp(id(a)));
                }
            }
        }
    }

    fn fire(&mut self, n: usize) {
        let node = self.nodes[n].as_mut().expect("a live node");
        node.election.handle_timeout(self.now);
        self.drain(n);
    }

    fn input(&mut self, n: usize, input: Input) {
        let Some(node) = &mut self.nodes[n] else {
            return;
        };
        if !node.running {
            node.queue.push(input);
            return;
        }
        node.election.handle(self.now, input);
        self.drain(n);
    }

    fn drain(&mut self, n: usize) {
        loop {
            let Some(output) = self.nodes[n]
                .as_mut()
                .and_then(|n| n.election.poll_output())
            else {
                return;
            };
            match output {
                Output::Send(to, message) => self.send(n, index(to), message),
                Output::KeepLink(to) => self.schedule(self.way.dial, Event::Dialled(n, index(to))),
                Output::Reread => {
                    for other in 0..self.nodes.len() {
                        self.gossip(other, n);
                    }
                    let listen = self.config.listen_time;
                    self.schedule(listen, Event::Input(n, Input::StatesRead));
                }
                Output::Announce(_, candidacy) => {
                    self.announced[n] = (self.announced[n].0 + 1, candidacy);
                    for other in 0..self.nodes.len() {
                        self.gossip(n, other);
                    }
                }
                Output::Serve(_, origin) => {
                    self.takeovers += 1;
                    assert!(self.serves(n).insert(origin));
                }
                Output::Yield(_, origin) => assert!(self.serves(n).remove(&origin)),
                Output::Misbehaved(peer, fault) => panic!("{peer:?} did {fault:?}"),
                Output::ReleaseLink(_) | Output::Relays(..) | Output::Suspected(_) => {}
            }
        }
    }

    fn serves(&mut self, n: usize) -> &mut BTreeSet<MachineId> {
        &mut self.nodes[n].as_mut().expect("a live node").serves
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        let Some(&link) = self.links.get(&(from.min(to), from.max(to))) else {
            return;
        };
        self.messages += 1;
        if self.sides[from] != self.sides[to] {
            return;
        }
        let mut at = self.now + between(&mut self.rng, self.way.delay);
        // A lost packet holds its stream up until the next heartbeat shows the loss.
        while self.rng.chance(self.loss_permille) {
            at = at + self.config.heartbeat_interval + self.way.delay.1;
        }
        let stream = self.streams.entry((from, to)).or_default();
        *stream = at.max(*stream);
        let at = *stream;
        self.schedule_at(at, Event::Message(from, to, link, message));
    }

    /// A state reaches everyone on the same side by way of others.
    fn gossip(&mut self, from: usize, to: usize) {
        if from != to && self.sides[from] == self.sides[to] && self.announced[from].0 > 0 {
            let (version, candidacy) = self.announced[from].clone();
            let delay = between(&mut self.rng, self.way.gossip);
            self.schedule(delay, Event::State(to, from, version, candidacy));
        }
    }

    /// How many running machines serve each origin, at least and at most, on a side.
    fn servers(&self, side: u8) -> (usize, usize) {
        let count = |origin: u8| {
            let serves = |n: usize| {
                let node = self.nodes[n].as_ref().filter(|node| node.running);
                let serves = node.is_some_and(|node| {
                    node.serves
                        .contains(&MachineId::from_bytes([200 + origin; 32]))
                });
                serves && self.sides[n] == side
            };
            (0..self.nodes.len()).filter(|n| serves(*n)).count()
        };
        let counts: Vec<_> = (0..ORIGINS).map(count).collect();
        (
            *counts.iter().min().expect("origins"),
            *counts.iter().max().expect("origins"),
        )
    }

    /// The machine that serves the first origin.
    fn relay(&self) -> usize {
        let first = MachineId::from_bytes([200; 32]);
        let serves = |node: &Node| node.running && node.serves.contains(&first);
        let found = self
            .nodes
            .iter()
            .position(|node| node.as_ref().is_some_and(serves));
        found.expect("somebody serves")
    }

    fn deaths(&self) -> u64 {
        let nodes = self.nodes.iter().flatten();
        nodes.map(|node| node.election.stats().deaths).sum()
    }
}

fn between(rng: &mut Rng, (least, greatest): (Duration, Duration)) -> Duration {
    let spread = u64::try_from((greatest - least).as_micros()).expect("short");
    least + Duration::from_micros(rng.below(spread))
}

#[test]
fn each_origin_has_one_server_once_the_candidates_know_each_other() {
    for (seed, count) in [(1, 1), (2, 2), (3, 3), (4, 5), (5, 12)] {
        for relays_count in [1, 3] {
            let config = Config {
                relays_count,
                ..Config::default()
            };
            let mut network = Network::of(count, seed, config);

            for _ in 0..200 {
                network.run_for(ms(100));
                assert_eq!(network.servers(0), (1, 1), "seed {seed}");
            }
        }
    }
}

#[test]
fn a_successor_serves_within_the_budget_of_a_closed_link() {
    for seed in 0..50 {
        let mut network = Network::of(
            2 + usize::try_from(seed % 4).expect("small"),
            seed,
            Config::default(),
        );
        let relay = network.relay();

        network.kill(relay);
        let took = network.run_until(ms(1_000), |network| network.servers(0).0 == 1);

        // Up to 3 ms for the link to close, 40 ms for probes.
        assert!(
            took.is_some_and(|took| took <= ms(45)),
            "seed {seed}: {took:?}"
        );
        network.run_for(ms(1_000));
        assert_eq!(network.servers(0), (1, 1), "seed {seed}");
    }
}

#[test]
fn adversarial_41_a_successor_serves_within_the_budget_of_silence_and_the_stopped_relay_steps_back()
{
    for seed in 0..50 {
        let mut network = Network::of(
            2 + usize::try_from(seed % 4).expect("small"),
            seed,
            Config::default(),
        );
        let relay = network.relay();

        network.stop(relay);
        let took = network.run_until(ms(1_000), |network| network.servers(0).0 == 1);

        assert!(
            took.is_some_and(|took| took <= ms(345)),
            "seed {seed}: {took:?}"
        );
        network.run_for(ms(2_000));
        let successor = network.relay();
        network.resume(relay);
        assert_eq!(
            network.servers(0),
            (1, 1),
            "seed {seed}: served before it had read"
        );
        network.run_for(ms(3_000));
        assert_eq!(network.servers(0), (1, 1), "seed {seed}");
        assert_eq!(network.relay(), successor, "seed {seed}");
    }
}

#[test]
fn adversarial_42_each_side_of_a_partition_has_its_own_relay_and_one_remains_after_healing() {
    for seed in 0..50 {
        let mut network = Network::of(6, seed, Config::default());

        network.partition(&[0, 1, 0, 1, 0, 1]);
        let took = network.run_until(ms(1_000), |n| {
            n.servers(0) == (1, 1) && n.servers(1) == (1, 1)
        });
        assert!(
            took.is_some_and(|took| took <= ms(345)),
            "seed {seed}: {took:?}"
        );
        network.run_for(ms(60_000));
        assert_eq!(network.servers(0), (1, 1), "seed {seed}");
        assert_eq!(network.servers(1), (1, 1), "seed {seed}");
        network.heal();

        let never_none = network.run_until(ms(200), |n| n.servers(0).0 == 0);
        assert_eq!(never_none, None, "seed {seed}: nobody served after healing");
        let healed = network.run_until(ms(1_000), |n| n.servers(0) == (1, 1));
        assert!(healed.is_some(), "seed {seed}");
    }
}

/// What `Config::suspect_after` documents.
#[test]
fn a_day_of_ten_percent_loss_moves_the_work_of_a_living_relay_at_most_once() {
    let mut network = Network::of(3, 1, Config::default());
    let before = network.takeovers;
    network.loss_permille = 100;

    network.run_for(Duration::from_secs(24 * 3_600));

    let moves = (network.takeovers - before) / u64::from(ORIGINS);
    assert!(moves <= 1, "{moves} false failovers in a day");
    network.loss_permille = 0;
    network.run_for(ms(5_000));
    assert_eq!(network.servers(0), (1, 1));
}

#[test]
fn each_profile_bears_the_network_that_it_is_for() {
    let profiles = [
        (Profile::Lan, Way::LAN),
        (Profile::Wan, Way::WAN),
        (Profile::Thin, Way::THIN),
    ];
    for (profile, way) in profiles {
        let config = Config::of(profile);
        let budget = config.suspect_after * 2 + config.probe_timeout;
        let mut network = Network::over(way, 4, 5, config.clone());
        let before = network.takeovers;
        network.loss_permille = 20;

        network.run_for(config.heartbeat_interval * 50_000);
        assert_eq!(
            (network.deaths(), network.takeovers),
            (0, before),
            "{profile:?}"
        );
        let relay = network.relay();
        network.stop(relay);
        let took = network.run_until(budget, |network| network.servers(0).0 == 1);

        assert!(took.is_some(), "{profile:?}");
    }
}

/// Twenty heartbeats a second to each of the others from each relay, and nothing else.
#[test]
fn what_the_candidates_cost_grows_with_the_relays_and_not_with_the_square_of_the_candidates() {
    for (candidates, relays_count) in [(2, 1), (16, 1), (16, 2)] {
        let config = Config {
            relays_count,
            ..Config::default()
        };
        let mut network = Network::of(candidates, 1, config);
        let before = network.messages;

        network.run_for(Duration::from_secs(10));

        let a_second = (network.messages - before) / 10;
        let relays = u64::try_from(relays_count).expect("few");
        let others = u64::try_from(candidates - 1).expect("few");
        assert_eq!(a_second, relays * others * 20, "{candidates} candidates");
    }
}

#[test]
fn an_hour_of_one_percent_loss_kills_nobody() {
    let mut network = Network::of(5, 1, Config::default());
    let (relay, before) = (network.relay(), network.takeovers);
    network.loss_permille = 10;

    network.run_for(Duration::from_secs(3_600));

    assert_eq!(network.deaths(), 0);
    assert_eq!((network.relay(), network.takeovers), (relay, before));
}

#[test]
fn adversarial_48_a_candidate_in_a_restart_loop_moves_nothing() {
    let mut network = Network::of(3, 7, Config::default());
    let flapping = (network.relay() + 1) % 3;
    let before = network.takeovers;

    for _ in 0..50 {
        network.kill(flapping);
        network.run_for(ms(400));
        network.start(flapping);
        network.run_for(ms(5_000));
    }

    assert_eq!(network.takeovers, before);
    assert_eq!(network.servers(0), (1, 1));
}

#[test]
fn adversarial_48_a_relay_that_flaps_is_replaced_once() {
    let mut network = Network::of(3, 8, Config::default());
    let flapping = network.relay();
    let before = network.takeovers;

    for _ in 0..50 {
        network.kill(flapping);
        network.run_for(ms(400));
        network.start(flapping);
        network.run_for(ms(5_000));
    }

    assert_eq!(network.takeovers, before + u64::from(ORIGINS));
    assert_eq!(network.servers(0), (1, 1));
}
