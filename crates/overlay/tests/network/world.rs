//! A small seeded network of overlays: links take time, break unevenly and lose what they carry.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::MachineId;
use overlay::{Address, Config, Contact, Input, Message, Output, Overlay, Recovered};
use statemachine::{Instant, Rng, StateMachine};
use testkit::Lawful;

/// One end of a link learns of its end later than the other; until then it still counts.
type LinkId = u64;

enum Event {
    /// A dial reaches its target, or not.
    Dialled { from: usize, to: usize },
    /// A dial into nowhere runs out of patience.
    DialTimedOut { from: usize, to: usize },
    /// A machine learns that a link stands.
    Opened {
        at: usize,
        peer: usize,
        link: LinkId,
    },
    /// A machine learns that a link is gone.
    Closed {
        at: usize,
        peer: usize,
        link: LinkId,
    },
    /// A message arrives, if its link still stands.
    Arrived {
        from: usize,
        to: usize,
        link: LinkId,
        message: Message,
    },
}

/// A machine that runs.
struct Node {
    overlay: Lawful<Overlay>,
    /// Links by peer, as this machine sees them.
    links: BTreeMap<usize, BTreeSet<LinkId>>,
    /// Counted from the outputs.
    neighbours: BTreeSet<MachineId>,
}

/// Machines and the network between them.
pub(crate) struct World {
    pub(crate) now: Instant,
    config: Config,
    rng: Rng,
    nodes: Vec<Option<Node>>,
    /// What each machine has on its disk.
    address_books: Vec<BTreeMap<MachineId, Contact>>,
    boots: u64,
    /// Links that stand, with both ends.
    links: BTreeMap<LinkId, (usize, usize)>,
    links_opened: LinkId,
    /// Machines are spread over so many halls, between which messages take [`FAR_MILLIS`] longer.
    halls: usize,
    /// Machines in different parts cannot reach each other.
    parts: Vec<usize>,
    events: BTreeMap<(Instant, u64), Event>,
    events_made: u64,
    /// When the last message on its way between two machines arrives, so that none overtakes.
    last_arrival: BTreeMap<(usize, usize), Instant>,
}

impl World {
    pub(crate) fn new(seed: u64, size: usize, active_max: usize) -> Self {
        let config = Config {
            active_max,
            ..Config::default()
        };
        let mut world = Self {
            now: Instant::ZERO,
            config,
            rng: Rng::from_u64(seed),
            nodes: Vec::new(),
            address_books: vec![BTreeMap::new(); size],
            boots: 0,
            links: BTreeMap::new(),
            links_opened: 0,
            halls: 1,
            parts: vec![0; size],
            events: BTreeMap::new(),
            events_made: 0,
            last_arrival: BTreeMap::new(),
        };
        world.nodes.resize_with(size, || None);
        world
    }

    /// All machines started within two seconds, each knowing the first one only.
    pub(crate) fn bootstrapped(seed: u64, size: usize, active_max: usize) -> Self {
        Self::spread(seed, size, active_max, 1)
    }

    /// The same, over so many halls.
    pub(crate) fn spread(seed: u64, size: usize, active_max: usize, halls: usize) -> Self {
        let mut world = Self::new(seed, size, active_max);
        world.halls = halls;
        for index in 0..size {
            world.start(index);
            if index > 0 {
                world.input(index, Input::Discovered(contact(0)));
            }
            let pause = Duration::from_millis(world.rng.below(4_000) / size as u64);
            world.run_for(pause);
        }
        world
    }

    /// Starts a machine with what is on its disk.
    pub(crate) fn start(&mut self, index: usize) {
        self.boots += 1;
        let rng = self.rng.fork(&format!("boot {}", self.boots));
        let contacts: Vec<Contact> = self.address_books[index].values().cloned().collect();
        let make = || {
            let recovered = Recovered {
                contacts: contacts.clone(),
            };
            Overlay::new(id(index), self.config.clone(), recovered, rng.clone())
        };
        self.nodes[index] = Some(Node {
            overlay: Lawful::new(make),
            links: BTreeMap::new(),
            neighbours: BTreeSet::new(),
        });
        self.input(index, Input::OwnAddresses(contact(index).addresses));
    }

    /// Ends a machine at once; others notice within a second.
    pub(crate) fn kill(&mut self, index: usize) {
        self.nodes[index] = None;
        self.cut(|(a, b), _| a == index || b == index);
    }

    /// Puts each machine into a part; links between parts break within a second and a half.
    pub(crate) fn partition(&mut self, part: impl Fn(usize) -> usize) {
        self.parts = (0..self.nodes.len()).map(part).collect();
        self.cut(|(a, b), parts| parts[a] != parts[b]);
    }

    pub(crate) fn heal(&mut self) {
        self.parts.fill(0);
    }

    /// Breaks one random link, noticed by both ends at different times.
    pub(crate) fn break_one(&mut self) {
        let ids: Vec<LinkId> = self.links.keys().copied().collect();
        if let Some(broken) = self.rng.choose(&ids).copied() {
            self.close(broken, 1_000);
        }
    }

    fn cut(&mut self, which: impl Fn((usize, usize), &[usize]) -> bool) {
        let cut: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, ends)| which(**ends, &self.parts))
            .map(|(link, _)| *link)
            .collect();
        for link in cut {
            self.close(link, 1_500);
        }
    }

    fn close(&mut self, link: LinkId, noticed_within_millis: u64) {
        if let Some((a, b)) = self.links.remove(&link) {
            for (at, peer) in [(a, b), (b, a)] {
                let delay = self.rng.below(noticed_within_millis);
                self.after_millis(delay, Event::Closed { at, peer, link });
            }
        }
    }

    /// Lets time pass.
    pub(crate) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
        self.now = end;
    }

    /// Lets time pass until `done`, at most for `limit`; returns how long that took.
    pub(crate) fn run_until(
        &mut self,
        limit: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Option<Duration> {
        let start = self.now;
        while !done(self) {
            if !self.step(start + limit) {
                return None;
            }
        }
        Some(self.now - start)
    }

    /// Does what is next, if that is due until `end`.
    fn step(&mut self, end: Instant) -> bool {
        let event_at = self.events.first_key_value().map(|((at, _), _)| *at);
        let timer = (0..self.nodes.len())
            .filter_map(|index| {
                let deadline = self.nodes[index].as_ref()?.overlay.next_deadline()?;
                Some((deadline.at.max(self.now), index))
            })
            .min();
        match (event_at, timer) {
            (Some(at), timer) if at <= end && timer.is_none_or(|(due, _)| at <= due) => {
                self.now = at;
                let (_, event) = self.events.pop_first().expect("seen just now");
                self.perform(event);
                true
            }
            (_, Some((due, index))) if due <= end => {
                self.now = due;
                let node = self.nodes[index].as_mut().expect("it has a timer");
                node.overlay.handle_timeout(due);
                self.drain(index);
                true
            }
            _ => false,
        }
    }

    fn perform(&mut self, event: Event) {
        match event {
            Event::Dialled { from, to } => self.on_dialled(from, to),
            Event::DialTimedOut { from, to } => self.input(from, Input::DialFailed(id(to))),
            Event::Opened { at, peer, link } => {
                let Some(node) = self.nodes[at].as_mut() else {
                    return;
                };
                let links = node.links.entry(peer).or_default();
                links.insert(link);
                if links.len() == 1 {
                    self.input(at, Input::LinkUp(id(peer)));
                }
                let round_trip = Duration::from_millis(2 * (1 + self.far_millis(at, peer)));
                self.input(at, Input::RoundTrip(id(peer), round_trip));
            }
            Event::Closed { at, peer, link } => {
                let Some(links) = self.nodes[at].as_mut().and_then(|n| n.links.get_mut(&peer))
                else {
                    return;
                };
                if links.remove(&link) && links.is_empty() {
                    self.input(at, Input::LinkDown(id(peer)));
                }
            }
            Event::Arrived {
                from,
                to,
                link,
                message,
            } => {
                if self.links.contains_key(&link) {
                    self.input(to, Input::Received(id(from), message));
                }
            }
        }
    }

    fn on_dialled(&mut self, from: usize, to: usize) {
        if self.nodes[from].is_none() {
            return;
        }
        if self.parts[from] != self.parts[to] {
            self.after_millis(1_000, Event::DialTimedOut { from, to });
        } else if self.nodes[to].is_none() {
            self.input(from, Input::DialFailed(id(to)));
        } else {
            self.links_opened += 1;
            let link = self.links_opened;
            self.links.insert(link, (from, to));
            // A link layer tells of a link before it hands on what came over it.
            let delay = self.rng.below(10);
            for (at, peer) in [(from, to), (to, from)] {
                self.after_millis(delay, Event::Opened { at, peer, link });
            }
        }
    }

    fn input(&mut self, index: usize, input: Input) {
        if let Some(node) = self.nodes[index].as_mut() {
            node.overlay.handle(self.now, input);
            self.drain(index);
        }
    }

    fn drain(&mut self, index: usize) {
        while let Some(output) = self.nodes[index]
            .as_mut()
            .and_then(|node| node.overlay.poll_output())
        {
            self.on_output(index, output);
        }
    }

    fn on_output(&mut self, index: usize, output: Output) {
        match output {
            Output::Dial(contact) => {
                let to = index_of(&contact.machine);
                assert_eq!(contact, self::contact(to), "dials where the machine is");
                let delay = 1 + self.rng.below(20);
                self.after_millis(delay, Event::Dialled { from: index, to });
            }
            Output::Send(to, message) => self.transmit(index, index_of(&to), message),
            Output::NeighbourUp(machine) => {
                assert!(self.node(index).neighbours.insert(machine), "came twice");
            }
            Output::NeighbourDown(machine) => {
                assert!(self.node(index).neighbours.remove(&machine), "went twice");
            }
            Output::Release(machine) => {
                let peer = index_of(&machine);
                let links: Vec<LinkId> = self
                    .node(index)
                    .links
                    .get(&peer)
                    .map_or_else(Vec::new, |links| links.iter().copied().collect());
                links.into_iter().for_each(|link| self.close(link, 10));
            }
            Output::Learned(contact) => {
                self.address_books[index].insert(contact.machine, contact);
            }
            Output::Doubted(machine) => panic!("{:?} doubts {machine:?}", id(index)),
            Output::Misbehaved(machine, fault) => {
                panic!("{:?} accuses {machine:?} of {fault:?}", id(index));
            }
        }
    }

    /// Sends over the newest link that the sender sees; what goes into a broken one is lost.
    fn transmit(&mut self, from: usize, to: usize, message: Message) {
        let link = self
            .node(from)
            .links
            .get(&to)
            .and_then(|links| links.last());
        let link = *link.expect("a message needs a link");
        let millis = 1 + self.rng.below(5) + self.far_millis(from, to);
        let earliest = self.now + Duration::from_millis(millis);
        let last = self.last_arrival.entry((from, to)).or_default();
        *last = earliest.max(*last);
        let at = *last;
        let arrived = Event::Arrived {
            from,
            to,
            link,
            message,
        };
        self.at(at, arrived);
    }

    /// How much longer a message takes because its ends are in different halls.
    const fn far_millis(&self, a: usize, b: usize) -> u64 {
        if a % self.halls == b % self.halls {
            0
        } else {
            FAR_MILLIS
        }
    }

    /// Of a hundred places in active views, how many have a machine of the same hall.
    pub(crate) fn near_percent(&self) -> usize {
        let views = self.views();
        let places = || {
            let of = |(machine, view): (&usize, &BTreeSet<usize>)| {
                view.iter()
                    .map(|peer| self.far_millis(*machine, *peer))
                    .collect::<Vec<_>>()
            };
            views.iter().flat_map(of)
        };
        places().filter(|far| *far == 0).count() * 100 / places().count().max(1)
    }

    fn after_millis(&mut self, millis: u64, event: Event) {
        self.at(self.now + Duration::from_millis(millis), event);
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.events_made += 1;
        self.events.insert((at, self.events_made), event);
    }

    fn node(&mut self, index: usize) -> &mut Node {
        self.nodes[index].as_mut().expect("only running ones speak")
    }

    /// The neighbours of each machine that runs.
    pub(crate) fn views(&self) -> BTreeMap<usize, BTreeSet<usize>> {
        let running = self.nodes.iter().enumerate();
        running
            .filter_map(|(index, node)| {
                let node = node.as_ref()?;
                let view: BTreeSet<MachineId> = node.overlay.inner().neighbours().collect();
                assert_eq!(view, node.neighbours, "outputs tell the view");
                Some((index, view.iter().map(index_of).collect()))
            })
            .collect()
    }

    /// Whether all running machines reach each other over links that both ends agree on.
    pub(crate) fn is_connected(&self) -> bool {
        let views = self.views();
        let Some(first) = views.keys().next().copied() else {
            return true;
        };
        let mut reached = BTreeSet::from([first]);
        let mut open = vec![first];
        while let Some(machine) = open.pop() {
            for next in &views[&machine] {
                let mutual = views.get(next).is_some_and(|view| view.contains(&machine));
                if mutual && self.parts[machine] == self.parts[*next] && reached.insert(*next) {
                    open.push(*next);
                }
            }
        }
        reached.len() == views.len()
    }

    /// Pairs of which one sees a neighbour and the other does not.
    pub(crate) fn disagreements(&self) -> Vec<(usize, usize)> {
        let views = self.views();
        let sees = |a: usize, b: usize| views.get(&a).is_some_and(|view| view.contains(&b));
        let pairs = views
            .iter()
            .flat_map(|(a, view)| view.iter().map(|b| (*a, *b)));
        pairs.filter(|(a, b)| !sees(*b, *a)).collect()
    }

    /// Fewest and most neighbours of a running machine.
    pub(crate) fn degrees(&self) -> (usize, usize) {
        let views = self.views();
        let sizes = || views.values().map(BTreeSet::len);
        (sizes().min().unwrap_or(0), sizes().max().unwrap_or(0))
    }

    /// Links that stand.
    pub(crate) fn links(&self) -> usize {
        self.links.len()
    }
}

/// Between halls. Unit: milliseconds.
const FAR_MILLIS: u64 = 20;

/// The machine with this index.
pub(crate) fn id(index: usize) -> MachineId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(index as u64).to_be_bytes());
    MachineId::from_bytes(bytes)
}

fn index_of(machine: &MachineId) -> usize {
    machine.as_bytes()[..8]
        .iter()
        .fold(0, |index, byte| index * 256 + usize::from(*byte))
}

/// The one address that a machine has.
fn contact(index: usize) -> Contact {
    let address = Address::new(format!("/ip4/10.0.0.{index}/tcp/4001")).expect("short");
    Contact {
        machine: id(index),
        addresses: vec![address],
    }
}
