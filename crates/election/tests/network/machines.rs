//! Candidates and what lies between them.
//!
//! Links are reliable ordered streams: a lost packet holds up what follows until it was sent again,
//! which the next heartbeat makes happen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use election::{Candidacy, Config, Election, Input, Message, Output, UplinkId};
use model::MachineId;
use statemachine::{Instant, Rng, StateMachine as _};

pub(crate) const ORIGINS: u8 = 20;

pub(crate) enum Event {
    Input(usize, Input),
    /// A state on its way, with its version.
    State(usize, usize, u64, Candidacy),
    /// A message on a link, with the link's number.
    Message(usize, usize, u64, Message),
    /// A dial from one to the other ends.
    Dialled(usize, usize),
}

pub(crate) struct Node {
    pub(crate) election: Election,
    pub(crate) running: bool,
    /// What arrived while it was stopped.
    pub(crate) queue: Vec<Input>,
    pub(crate) serves: BTreeSet<MachineId>,
}

/// What lies between any two machines.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    /// One way, least and greatest.
    pub(crate) delay: (Duration, Duration),
    /// How long a dial and its handshake take.
    pub(crate) dial: Duration,
    /// How long states take, from one to all.
    pub(crate) gossip: (Duration, Duration),
}

impl Way {
    pub(crate) const LAN: Self = Self {
        delay: (Duration::from_micros(500), Duration::from_micros(4_500)),
        dial: ms(10),
        gossip: (ms(2), ms(32)),
    };
    pub(crate) const WAN: Self = Self {
        delay: (ms(10), ms(75)),
        dial: ms(300),
        gossip: (ms(20), ms(500)),
    };
    pub(crate) const THIN: Self = Self {
        delay: (ms(200), ms(1_000)),
        dial: ms(4_000),
        gossip: (ms(500), ms(5_000)),
    };
}

pub(crate) struct Network {
    pub(crate) now: Instant,
    pub(crate) way: Way,
    pub(crate) rng: Rng,
    pub(crate) loss_permille: u32,
    pub(crate) config: Config,
    pub(crate) nodes: Vec<Option<Node>>,
    /// Which side of a partition each machine is on.
    pub(crate) sides: Vec<u8>,
    /// Open links by (smaller, greater) with their number.
    pub(crate) links: BTreeMap<(usize, usize), u64>,
    pub(crate) links_opened: u64,
    /// When the last packet of each direction arrives.
    pub(crate) streams: BTreeMap<(usize, usize), Instant>,
    pub(crate) events: BTreeMap<(Instant, u64), Event>,
    pub(crate) scheduled: u64,
    /// What each machine announced last, and what each has seen of the others.
    pub(crate) announced: Vec<(u64, Candidacy)>,
    pub(crate) seen: BTreeMap<(usize, usize), u64>,
    pub(crate) takeovers: u64,
    /// Messages that were sent over links.
    pub(crate) messages: u64,
}

pub(crate) fn id(n: usize) -> MachineId {
    let n = u8::try_from(n).expect("few machines");
    MachineId::from_bytes([n + 1; 32])
}

pub(crate) fn index(machine: MachineId) -> usize {
    usize::from(machine.as_bytes()[0] - 1)
}

pub(crate) fn cloud() -> UplinkId {
    "cloud".parse().expect("an id")
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn way() -> Candidacy {
    Candidacy {
        standing: true,
        priority: 10,
        health: 100,
        ..Candidacy::default()
    }
}

impl Network {
    /// So many candidates on a LAN, started together, five seconds later.
    pub(crate) fn of(count: usize, seed: u64, config: Config) -> Self {
        Self::over(Way::LAN, count, seed, config)
    }

    /// The same somewhere else, a hundred heartbeats later.
    pub(crate) fn over(way: Way, count: usize, seed: u64, config: Config) -> Self {
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

    pub(crate) fn start(&mut self, n: usize) {
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
    pub(crate) fn kill(&mut self, n: usize) {
        self.nodes[n] = None;
        self.cut(n, |_| true, false);
    }

    /// The process halts; its links stay open.
    pub(crate) fn stop(&mut self, n: usize) {
        self.nodes[n].as_mut().expect("a live node").running = false;
    }

    pub(crate) fn resume(&mut self, n: usize) {
        let node = self.nodes[n].as_mut().expect("a live node");
        node.running = true;
        let queue = std::mem::take(&mut node.queue);
        self.fire(n); // As the shell does: timers before what lies in the queue.
        for input in queue {
            self.input(n, input);
        }
    }

    /// Frames between the sides get lost from now on; nobody is told.
    pub(crate) fn partition(&mut self, sides: &[u8]) {
        self.sides = sides.to_vec();
    }

    /// The sides meet again: links that hung are found dead and dialled anew.
    pub(crate) fn heal(&mut self) {
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
    pub(crate) fn cut(&mut self, n: usize, others: impl Fn(usize) -> bool, both_told: bool) {
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

    pub(crate) fn schedule(&mut self, delay: Duration, event: Event) {
        self.schedule_at(self.now + delay, event);
    }

    pub(crate) fn schedule_at(&mut self, at: Instant, event: Event) {
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), event);
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        self.run_until(duration, |_| false);
    }

    /// Runs until something holds or the time is over; returns how long it took.
    pub(crate) fn run_until(
        &mut self,
        limit: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> Option<Duration> {
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

    pub(crate) fn happen(&mut self, event: Event) {
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

    pub(crate) fn fire(&mut self, n: usize) {
        let node = self.nodes[n].as_mut().expect("a live node");
        node.election.handle_timeout(self.now);
        self.drain(n);
    }

    pub(crate) fn input(&mut self, n: usize, input: Input) {
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

    pub(crate) fn drain(&mut self, n: usize) {
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

    pub(crate) fn serves(&mut self, n: usize) -> &mut BTreeSet<MachineId> {
        &mut self.nodes[n].as_mut().expect("a live node").serves
    }

    pub(crate) fn send(&mut self, from: usize, to: usize, message: Message) {
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
    pub(crate) fn gossip(&mut self, from: usize, to: usize) {
        if from != to && self.sides[from] == self.sides[to] && self.announced[from].0 > 0 {
            let (version, candidacy) = self.announced[from].clone();
            let delay = between(&mut self.rng, self.way.gossip);
            self.schedule(delay, Event::State(to, from, version, candidacy));
        }
    }

    /// How many running machines serve each origin, at least and at most, on a side.
    pub(crate) fn servers(&self, side: u8) -> (usize, usize) {
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
    pub(crate) fn relay(&self) -> usize {
        let first = MachineId::from_bytes([200; 32]);
        let serves = |node: &Node| node.running && node.serves.contains(&first);
        let found = self
            .nodes
            .iter()
            .position(|node| node.as_ref().is_some_and(serves));
        found.expect("somebody serves")
    }

    pub(crate) fn deaths(&self) -> u64 {
        let nodes = self.nodes.iter().flatten();
        nodes.map(|node| node.election.stats().deaths).sum()
    }
}

pub(crate) fn between(rng: &mut Rng, (least, greatest): (Duration, Duration)) -> Duration {
    let spread = u64::try_from((greatest - least).as_micros()).expect("short");
    least + Duration::from_micros(rng.below(spread))
}
