//! Many machines over links with delay, loss and overtaking, all drawn from one seed.
//!
//! Frontiers and states of a link stay in order; blocks, wants, grafts and prunes may be lost or
//! overtake each other, as the crate promises to bear.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gossip::{
    Config, Frontier, FrontierEntry, Gossip, Input, Insertion, Message, Output, Recovered, Stats,
    Write,
};
use model::{Block, BlockId, MachineId, Sequence, State, StateKey, StateKind};
use statemachine::{Instant, Rng, StateMachine as _, Ticket};

use crate::site;

/// A machine with its disk.
struct Node {
    gossip: Option<Gossip>,
    /// Counts the starts; what the disk still did for an earlier life is not told to a later one.
    life: u64,
    blocks: BTreeMap<BlockId, Block>,
    states: BTreeMap<StateKey, State>,
    delivered: BTreeSet<BlockId>,
    published: Sequence,
}

enum Event {
    Message(u64, u8, u8, Message),
    Written(u8, u64, Ticket, Write),
    Read(u8, u64, Ticket, Vec<Block>),
}

struct Network {
    rng: Rng,
    now: Instant,
    nodes: BTreeMap<u8, Node>,
    /// The links that are up, lower machine first, with the number of the connection.
    links: BTreeMap<(u8, u8), u64>,
    connections: u64,
    queue: BTreeMap<(Instant, u64), Event>,
    queued: u64,
    /// When the last message that keeps its order arrives, by sender and receiver.
    in_order: BTreeMap<(u8, u8), Instant>,
    /// How many of a thousand messages that may be lost are lost.
    loss: u32,
    /// Machines that drop every block that they should push or serve.
    droppers: BTreeSet<u8>,
}

impl Network {
    /// Machines 1 to `count`, each linked to the next and to random others up to `degree`.
    fn new(seed: u64, count: u8, degree: usize) -> Self {
        let mut network = Self {
            rng: Rng::from_u64(seed),
            now: Instant::ZERO,
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            connections: 0,
            queue: BTreeMap::new(),
            queued: 0,
            in_order: BTreeMap::new(),
            loss: 0,
            droppers: BTreeSet::new(),
        };
        for n in 1..=count {
            network.add(n);
        }
        for n in 1..=count {
            network.link(n, n % count + 1);
        }
        for _ in 0..usize::from(count) * degree * 4 {
            let [a, b] = [(); 2].map(|()| {
                let draw = network.rng.below(u64::from(count));
                u8::try_from(draw).expect("below a byte") + 1
            });
            if a != b && [a, b].iter().all(|n| network.neighbours(*n).len() < degree) {
                network.link(a, b);
            }
        }
        network
    }

    fn add(&mut self, n: u8) {
        let node = Node {
            gossip: None,
            life: 0,
            blocks: BTreeMap::new(),
            states: BTreeMap::new(),
            delivered: BTreeSet::new(),
            published: 0,
        };
        self.nodes.insert(n, node);
        self.start(n);
        self.input(n, Input::PublishState(site::membership(n)));
    }

    /// Starts a machine with what its disk holds.
    fn start(&mut self, n: u8) {
        let rng = self.rng.fork("machine");
        let node = self.node(n);
        let mut frontier = Frontier::default();
        for id in node.blocks.keys() {
            assert_ne!(frontier.insert(*id), Insertion::NoRoom);
        }
        let recovered = Recovered {
            frontier: frontier.iter().cloned().collect::<Vec<FrontierEntry>>(),
            states: node.states.values().cloned().collect(),
        };
        node.life += 1;
        node.gossip = Some(Gossip::new(
            site::id(n),
            site::roll(),
            Config::default(),
            recovered,
            rng,
        ));
    }

    /// Ends a machine at once, with its links.
    fn kill(&mut self, n: u8) {
        self.node(n).gossip = None;
        for neighbour in self.neighbours(n) {
            self.unlink(n, neighbour);
        }
    }

    fn node(&mut self, n: u8) -> &mut Node {
        self.nodes.get_mut(&n).expect("a machine of this network")
    }

    fn neighbours(&self, n: u8) -> Vec<u8> {
        (self.links.keys())
            .filter_map(|(a, b)| match n {
                _ if n == *a => Some(*b),
                _ if n == *b => Some(*a),
                _ => None,
            })
            .collect()
    }

    fn link(&mut self, a: u8, b: u8) {
        let ends = (a.min(b), a.max(b));
        if a == b || self.links.contains_key(&ends) {
            return;
        }
        self.connections += 1;
        self.links.insert(ends, self.connections);
        self.input(a, Input::NeighbourUp(site::id(b)));
        self.input(b, Input::NeighbourUp(site::id(a)));
    }

    fn unlink(&mut self, a: u8, b: u8) {
        self.links.remove(&(a.min(b), a.max(b)));
        self.input(a, Input::NeighbourDown(site::id(b)));
        self.input(b, Input::NeighbourDown(site::id(a)));
    }

    fn publish(&mut self, n: u8) {
        let node = self.node(n);
        if node.gossip.is_some() {
            node.published += 1;
            let block = site::block(n, node.published);
            self.input(n, Input::Publish(block));
        }
    }

    fn input(&mut self, n: u8, input: Input) {
        let now = self.now;
        if let Some(gossip) = &mut self.node(n).gossip {
            gossip.handle(now, input);
            self.drain(n);
        }
    }

    fn drain(&mut self, n: u8) {
        while let Some(output) = (self.node(n).gossip.as_mut()).and_then(Gossip::poll_output) {
            self.perform(n, output);
        }
    }

    fn perform(&mut self, n: u8, output: Output) {
        let node = self.nodes.get_mut(&n).expect("a machine of this network");
        match output {
            Output::Send(to, message) => self.transmit(n, to, message),
            Output::Persist(ticket, write) => {
                let event = Event::Written(n, node.life, ticket, write);
                self.queue_in(1, 8, event);
            }
            Output::Read {
                ticket, log, span, ..
            } => {
                let blocks = (span.first..=span.last)
                    .filter_map(|sequence| node.blocks.get(&BlockId { log, sequence }).cloned())
                    .collect();
                let event = Event::Read(n, node.life, ticket, blocks);
                self.queue_in(1, 8, event);
            }
            Output::Deliver(block) => {
                assert!(node.blocks.contains_key(&block.id()), "not on disk");
                assert!(node.delivered.insert(block.id()), "delivered twice");
            }
            Output::Restored(block) => panic!("no disk loses blocks here: {}", block.id()),
            Output::DeliverState(_) => {}
            Output::NotPersisted(write) => panic!("the disk never fails: {write:?}"),
            Output::Withholds(who, _) => panic!("machine {n} doubts {who:?}, which is honest"),
            Output::Misbehaved(who, fault) => panic!("machine {n} accuses {who:?} of {fault:?}"),
        }
    }

    fn transmit(&mut self, from: u8, to: MachineId, message: Message) {
        let to = site::number(to);
        let Some(connection) = self.links.get(&(from.min(to), from.max(to))).copied() else {
            return;
        };
        let is_tree = matches!(message, Message::Graft { .. } | Message::Prune { .. });
        let is_kept = matches!(
            message,
            Message::Interest(_)
                | Message::Sums(..)
                | Message::Frontier { .. }
                | Message::StateSummary(_)
                | Message::StateWant(_)
                | Message::States(_)
        );
        let is_block = matches!(message, Message::Block { .. });
        let is_dropped = is_block && self.droppers.contains(&from);
        if is_dropped || (!is_kept && self.rng.chance(self.loss)) {
            return;
        }
        let mut at = self.now + Duration::from_micros(500 + self.rng.below(20_000));
        if is_kept || is_tree {
            let last = self.in_order.entry((from, to)).or_insert(at);
            at = at.max(*last);
            *last = at;
        }
        self.queue_at(at, Event::Message(connection, from, to, message));
    }

    fn queue_in(&mut self, millis: u64, spread: u64, event: Event) {
        let delay = Duration::from_millis(millis + self.rng.below(spread));
        self.queue_at(self.now + delay, event);
    }

    fn queue_at(&mut self, at: Instant, event: Event) {
        self.queued += 1;
        self.queue.insert((at, self.queued), event);
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let event = self.queue.first_key_value().map(|((at, _), _)| *at);
            let timer = (self.nodes.iter())
                .filter_map(|(n, node)| Some((node.gossip.as_ref()?.next_deadline()?.at, *n)))
                .min();
            match (event, timer) {
                (Some(at), timer) if at <= end && timer.is_none_or(|(due, _)| at <= due) => {
                    self.now = self.now.max(at);
                    let (_, event) = self.queue.pop_first().expect("just seen");
                    self.happen(event);
                }
                (_, Some((due, n))) if due <= end => {
                    self.now = self.now.max(due);
                    let now = self.now;
                    if let Some(gossip) = &mut self.node(n).gossip {
                        gossip.handle_timeout(now);
                        self.drain(n);
                    }
                }
                _ => break,
            }
        }
        self.now = end;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Message(connection, from, to, message) => {
                if self.links.get(&(from.min(to), from.max(to))) == Some(&connection) {
                    self.input(to, Input::Received(site::id(from), message));
                }
            }
            Event::Written(n, life, ticket, write) => {
                let node = self.node(n);
                if node.life == life {
                    match write {
                        Write::Block(block) => {
                            let twice = node.blocks.insert(block.id(), block);
                            assert_eq!(twice, None, "stored twice");
                        }
                        Write::State(state) => {
                            node.states.insert(state.key().clone(), state);
                        }
                    }
                    self.input(n, Input::Persisted(ticket));
                }
            }
            Event::Read(n, life, ticket, blocks) => {
                if self.node(n).life == life {
                    self.input(n, Input::BlocksRead(ticket, blocks));
                }
            }
        }
    }

    /// Lets each living machine publish once every `interval`, for `rounds` rounds.
    fn publish_rounds(&mut self, rounds: usize, interval: Duration) {
        let count = u32::try_from(self.nodes.len()).expect("few");
        for _ in 0..rounds {
            for n in self.nodes.keys().copied().collect::<Vec<_>>() {
                self.publish(n);
                self.run_for(interval / count);
            }
        }
    }

    /// How many blocks the living machines lack that any machine has on its disk.
    fn lacking(&self) -> usize {
        let all = (self.nodes.values())
            .flat_map(|node| node.blocks.keys())
            .collect::<BTreeSet<_>>();
        (self.nodes.values())
            .filter_map(|node| node.gossip.as_ref())
            .map(|gossip| {
                all.iter()
                    .filter(|id| !gossip.frontier().covers(id))
                    .count()
            })
            .sum()
    }

    /// Runs until nobody lacks anything; returns how long that took.
    fn settle(&mut self, at_most: Duration) -> Duration {
        let start = self.now;
        while self.lacking() > 0 {
            let elapsed = self.now - start;
            assert!(
                elapsed < at_most,
                "{} blocks lack after {elapsed:?}",
                self.lacking()
            );
            self.run_for(Duration::from_millis(50));
        }
        self.now - start
    }

    fn stats(&self) -> Vec<Stats> {
        let living = self.nodes.values().filter_map(|node| node.gossip.as_ref());
        living.map(|gossip| *gossip.stats()).collect()
    }

    /// Copies beyond the first that were received since `before`, by copies that were first.
    fn redundancy_since(&self, before: &[Stats]) -> f64 {
        let sum =
            |stats: &[Stats], count: fn(&Stats) -> u64| -> u64 { stats.iter().map(count).sum() };
        let after = self.stats();
        let [duplicate, first] = [(|s| s.blocks_duplicate) as fn(&Stats) -> u64, |s| {
            s.blocks_first
        }]
        .map(|count| sum(&after, count) - sum(before, count));
        f64::from(u32::try_from(duplicate).expect("few"))
            / f64::from(u32::try_from(first).expect("few"))
    }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn trees_form_so_that_hardly_any_block_comes_twice() {
    for seed in 1..=2 {
        let mut network = Network::new(seed, 25, 5);
        network.run_for(seconds(1));
        network.publish_rounds(5, seconds(1));
        let warm = network.stats();

        network.publish_rounds(15, seconds(1));

        let redundancy = network.redundancy_since(&warm);
        assert!(redundancy <= 0.05, "seed {seed}: {redundancy}");
        let cold = vec![Stats::default(); warm.len()];
        let overall = network.redundancy_since(&cold);
        assert!(overall > redundancy, "seed {seed}: nothing was pruned");
        network.settle(seconds(2));
        let wants: u64 = network.stats().iter().map(|stats| stats.wants_sent).sum();
        assert_eq!(wants, 0, "seed {seed}: pushes were slower than repair");
    }
}

#[test]
fn the_trees_of_a_small_clique_come_to_rest() {
    for seed in 1..=5 {
        let mut network = Network::new(seed, 4, 3);
        network.publish_rounds(200, millis(40)); // Each neighbour may prove sooner once.
        let warm = network.stats();

        network.publish_rounds(50, millis(40));

        let redundancy = network.redundancy_since(&warm);
        assert!(redundancy <= 0.05, "seed {seed}: {redundancy}");
        let changes = |stats: &[Stats]| -> u64 {
            let changes = stats.iter().map(|s| s.grafts_sent + s.prunes_sent);
            changes.sum()
        };
        let changed = changes(&network.stats()) - changes(&warm);
        assert_eq!(changed, 0, "seed {seed}: grafts and prunes go on");
    }
}

#[test]
fn everyone_gets_everything_under_loss_and_overtaking() {
    for seed in 1..=3 {
        let mut network = Network::new(seed, 12, 4);
        network.loss = 300;
        network.run_for(seconds(1));

        network.publish_rounds(20, millis(500));

        network.settle(seconds(60));
    }
}

#[test]
fn both_sides_of_a_partition_are_whole_soon_after_it_heals() {
    for seed in 1..=2 {
        let mut network = Network::new(seed, 12, 3);
        network.publish_rounds(5, seconds(1));
        let cut = (network.links.keys().copied())
            .filter(|(a, b)| (*a <= 6) != (*b <= 6))
            .collect::<Vec<_>>();
        for (a, b) in &cut {
            network.unlink(*a, *b);
        }
        network.publish_rounds(30, seconds(2));
        assert!(network.lacking() > 0);

        for (a, b) in &cut {
            network.link(*a, *b);
        }

        let took = network.settle(seconds(5));
        assert!(took <= seconds(3), "seed {seed}: {took:?}");
    }
}

#[test]
fn a_late_joiner_sees_the_present_at_once_and_the_past_soon() {
    let mut network = Network::new(1, 8, 4);
    network.publish_rounds(100, millis(100));
    network.add(9);
    for neighbour in [1, 4, 7] {
        network.link(9, neighbour);
    }

    network.run_for(millis(200));
    let newest = site::block_id(2, network.nodes[&2].published + 1);
    network.publish(2);
    network.run_for(millis(200));

    assert!(network.nodes[&9].delivered.contains(&newest));
    network.settle(seconds(10));
    assert_eq!(network.nodes[&9].delivered.len(), 8 * 100 + 1);
}

#[test]
fn a_machine_that_dies_between_announcing_and_sending_loses_nothing_that_others_have() {
    for seed in 1..=3 {
        let mut network = Network::new(seed, 10, 4);
        network.publish_rounds(5, millis(500));

        for victim in [3, 6, 9] {
            for n in 1..=10 {
                network.publish(n);
            }
            network.run_for(millis(70)); // Pushed and announced, not yet everywhere.
            network.kill(victim);
        }

        network.settle(seconds(10));
    }
}

#[test]
fn a_restarted_machine_goes_on_where_its_disk_ends() {
    let mut network = Network::new(1, 6, 3);
    network.publish_rounds(10, millis(500));
    let before = network.neighbours(4);
    network.kill(4);
    network.publish_rounds(10, millis(500));

    let held = network.nodes[&4].delivered.len();
    network.start(4);
    for neighbour in before {
        network.link(4, neighbour);
    }

    network.settle(seconds(5));
    assert!(network.nodes[&4].delivered.len() > held);
    let states = |n| {
        (network.nodes[&n].gossip.iter())
            .flat_map(Gossip::states)
            .count()
    };
    assert_eq!(states(4), states(1));
}

#[test]
fn adversarial_30_silent_droppers_do_not_keep_anything_from_the_others() {
    let mut network = Network::new(2, 12, 4);
    network.publish_rounds(3, seconds(1));
    network.droppers = BTreeSet::from([4, 8]);

    network.publish_rounds(20, seconds(1));

    let own = |id: &BlockId| [4, 8].iter().any(|n| id.log == site::log(*n, 1));
    for node in network.nodes.values_mut() {
        node.blocks.retain(|id, _| !own(id)); // They drop their own blocks too.
    }
    network.settle(seconds(20));
}

#[test]
fn states_reach_everyone_also_across_a_heal() {
    let mut network = Network::new(3, 10, 3);
    network.run_for(seconds(1));
    let cut = (network.links.keys().copied())
        .filter(|(a, b)| (*a <= 5) != (*b <= 5))
        .collect::<Vec<_>>();
    for (a, b) in &cut {
        network.unlink(*a, *b);
    }
    for n in 1..=10 {
        let candidacy = site::state(n, StateKind::Candidacy, "uplink", u64::from(n));
        network.input(n, Input::PublishState(candidacy));
    }
    network.run_for(seconds(1));

    for (a, b) in &cut {
        network.link(*a, *b);
    }
    network.run_for(seconds(1));

    for node in network.nodes.values() {
        let known = node.gossip.iter().flat_map(Gossip::states).count();
        assert_eq!(known, 20);
    }
}

#[test]
fn one_seed_is_one_run() {
    let run = || {
        let mut network = Network::new(7, 8, 3);
        network.loss = 100;
        network.publish_rounds(10, millis(300));
        (network.queued, network.stats())
    };

    assert_eq!(run(), run());
}
