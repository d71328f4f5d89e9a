//! The network between simulated machines: links that are reliable ordered streams, as TCP and QUIC
//! give them.
//!
//! A lost packet never loses a frame: it stalls its stream until it has been sent again, and now
//! and then breaks the link. During a partition frames pile up until the link breaks or the sides
//! meet again. A machine that loses power tells nobody; its peers find out when they wait too long.
//!
//! # What that leaves of loss, duplication and reordering
//!
//! - Frames are lost when a link breaks with them on their way, when the sender's queue is full,
//!   and when the other end has closed already.
//! - The two ends of a link end at different times: each waits for its own silence. In a partition
//!   of one direction the deaf end gives up first, and the other one hears of that.
//! - A link that one end still believes in is replaced by a fresh one.
//! - Frames of one lane arrive in order; those of different lanes overtake each other.
//! - No frame arrives twice over a link. A member with bad intent sends twice, see `insiders`;
//!   flipped bits are its work, too, because links are authenticated.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use statemachine::{Instant, Rng};
use wire::Lane;

/// How good the network is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// One way, without what a pair of machines adds. Unit: microseconds, least and spread.
    pub(crate) delay_micros: (u64, u64),
    /// Frames that are lost at first. Unit: per mille.
    pub(crate) loss_permille: u32,
    /// Losses that break the link. Unit: per mille of them.
    pub(crate) break_permille: u32,
    /// Only what goes to a machine with a greater number is lost.
    pub(crate) is_one_way: bool,
    /// One way from one end of the site to the other, on top. Unit: microseconds.
    pub(crate) across_micros: u64,
}

impl Weather {
    /// A quiet LAN.
    pub(crate) const CALM: Self = Self {
        delay_micros: (100, 400),
        loss_permille: 0,
        break_permille: 0,
        is_one_way: false,
        across_micros: 0,
    };
    /// Quiet LANs in halls that are far apart: up to 20 ms, as from one end of a country to
    /// another.
    pub(crate) const SPREAD: Self = Self {
        across_micros: 20_000,
        ..Self::CALM
    };
    /// Wireless on a bad day.
    pub(crate) const ROUGH: Self = Self {
        delay_micros: (200, 3_000),
        loss_permille: 10,
        break_permille: 20,
        is_one_way: false,
        across_micros: 0,
    };
    /// Three frames of ten are lost at first.
    pub(crate) const STORM: Self = Self {
        delay_micros: (200, 20_000),
        loss_permille: 300,
        break_permille: 2,
        is_one_way: false,
        across_micros: 0,
    };
}

/// Names one link in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkNumber(u64);

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The machine that has it.
    pub(crate) at: usize,
    /// The machine at the other end.
    pub(crate) to: usize,
}

/// A frame on its way.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    /// Over which link.
    pub(crate) link: LinkNumber,
    /// Who sent it.
    pub(crate) from: usize,
    /// Who gets it.
    pub(crate) to: usize,
    /// What it is.
    pub(crate) bytes: Bytes,
}

/// What became of a frame.
#[derive(Debug)]
pub(crate) enum Sent {
    /// It arrives then.
    At(Instant, Parcel),
    /// It waits for the partition to end.
    Held,
    /// The sender's queue was full; the frame is gone.
    Full,
    /// There was no link; the frame is gone.
    Nowhere,
    /// It was lost, and with it the link.
    Broken(LinkNumber),
}

#[derive(Debug)]
struct Stream {
    /// When the last frame of each lane arrives.
    last: [Instant; 3],
    in_flight: usize,
    congested: bool,
    held: VecDeque<Parcel>,
}

#[derive(Debug)]
struct Link {
    number: LinkNumber,
    delay: Duration,
    /// Which ends think that it stands: the smaller and the greater machine's.
    ends: [bool; 2],
    /// From the smaller to the greater machine and back.
    streams: [Stream; 2],
}

/// Where one machine is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    side: u8,
    /// Nothing comes in or gets out.
    is_clogged: bool,
    /// What is sent to it trickles in.
    is_slow: bool,
}

/// All links.
#[derive(Debug)]
pub(crate) struct Network {
    rng: Rng,
    weather: Weather,
    /// Bytes that a sender may have on the way to one peer.
    queue_bytes_max: usize,
    /// Whether senders keep to that.
    is_bounded: bool,
    spots: Vec<Spot>,
    places: Vec<Place>,
    /// The smaller side still reaches the greater one.
    is_one_way: bool,
    links: BTreeMap<(usize, usize), Link>,
    /// Between whom each of them is.
    pairs: BTreeMap<LinkNumber, (usize, usize)>,
    /// With whom each machine has one.
    peers: Vec<BTreeSet<usize>>,
    opened: u64,
}

impl Network {
    /// A network of so many machines without a link.
    #[must_use]
    pub(crate) fn new(machines: usize, weather: Weather, queue_bytes_max: usize, rng: Rng) -> Self {
        Self {
            spots: spots(machines, &rng),
            rng,
            weather,
            queue_bytes_max,
            is_bounded: true,
            places: vec![Place::default(); machines],
            is_one_way: false,
            links: BTreeMap::new(),
            pairs: BTreeMap::new(),
            peers: vec![BTreeSet::new(); machines],
            opened: 0,
        }
    }

    /// Whether frames get from one machine to another.
    #[must_use]
    pub(crate) fn reaches(&self, from: usize, to: usize) -> bool {
        reaches(&self.places, self.is_one_way, from, to)
    }

    /// Whether frames get from one machine to another and back.
    #[must_use]
    pub(crate) fn meets(&self, a: usize, b: usize) -> bool {
        self.reaches(a, b) && self.reaches(b, a)
    }

    /// Opens a link. Returns the ends that still believed in the link before it, and how long a
    /// round trip takes.
    pub(crate) fn open(&mut self, now: Instant, a: usize, b: usize) -> (Vec<End>, Duration) {
        let key = pair(a, b);
        let stale = self.close(a, b);
        let (least, spread) = self.weather.delay_micros;
        let far = self.spots[a].distance(self.spots[b]) * self.weather.across_micros / PLANE;
        let delay = Duration::from_micros(least + self.rng.below(spread) + far);
        self.opened += 1;
        let link = Link {
            number: LinkNumber(self.opened),
            delay,
            ends: [true; 2],
            streams: [Stream::new(now), Stream::new(now)],
        };
        self.pairs.insert(link.number, key);
        self.peers[a].insert(b);
        self.peers[b].insert(a);
        self.links.insert(key, link);
        (stale, delay * 2)
    }

    /// Whether both ends think that a link stands.
    #[must_use]
    pub(crate) fn is_linked(&self, a: usize, b: usize) -> bool {
        self.links
            .get(&pair(a, b))
            .is_some_and(|link| link.ends == [true; 2])
    }

    /// Puts a frame on its way.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        from: usize,
        to: usize,
        lane: Lane,
        bytes: Bytes,
    ) -> Sent {
        let (reaches, weather) = (self.reaches(from, to), self.weather);
        let Some(link) = self.links.get_mut(&pair(from, to)) else {
            return Sent::Nowhere;
        };
        if !link.ends[usize::from(from > to)] {
            return Sent::Nowhere;
        }
        let number = link.number;
        let stream = &mut link.streams[usize::from(from > to)];
        if self.is_bounded && stream.in_flight + bytes.len() > self.queue_bytes_max {
            stream.congested = true;
            return Sent::Full;
        }
        stream.in_flight += bytes.len();
        let parcel = Parcel {
            link: number,
            from,
            to,
            bytes,
        };
        if !reaches {
            stream.held.push_back(parcel);
            return Sent::Held;
        }
        let sent = if self.places[to].is_slow {
            // What waits there already goes first.
            transfer(stream.in_flight, NANOS_PER_BYTE_SLOW)
        } else {
            transfer(parcel.bytes.len(), NANOS_PER_BYTE)
        };
        let mut at = now + link.delay + sent;
        let loses = !weather.is_one_way || from < to;
        while loses && self.rng.chance(weather.loss_permille) {
            at = at + RESEND + self.rng.jitter(RESEND);
            if self.rng.chance(weather.break_permille) {
                return Sent::Broken(number);
            }
        }
        Sent::At(stream.after(lane, at), parcel)
    }

    /// A frame arrives. Returns whether anybody is there to take it, and whether the sender's queue
    /// has room again after it had been full.
    pub(crate) fn arrive(&mut self, parcel: &Parcel) -> (bool, bool) {
        let Some(link) = self.links.get_mut(&pair(parcel.from, parcel.to)) else {
            return (false, false);
        };
        if link.number != parcel.link {
            return (false, false);
        }
        let stream = &mut link.streams[usize::from(parcel.from > parcel.to)];
        stream.in_flight = stream.in_flight.saturating_sub(parcel.bytes.len());
        let drained = stream.congested && stream.in_flight <= self.queue_bytes_max / 2;
        stream.congested &= !drained;
        (link.ends[usize::from(parcel.to > parcel.from)], drained)
    }

    /// Over which links that both ends believe in a machine reaches others now, and in what time a
    /// frame of so many bytes.
    pub(crate) fn ways(
        &self,
        from: usize,
        bytes: usize,
    ) -> impl Iterator<Item = (usize, Duration)> {
        self.peers[from].iter().filter_map(move |to| {
            let link = self.links.get(&pair(from, *to))?;
            let stands = link.ends == [true; 2] && self.reaches(from, *to);
            stands.then(|| (*to, link.delay + transfer(bytes, NANOS_PER_BYTE)))
        })
    }

    /// Breaks a link if it is still there; returns the ends that believed in it.
    pub(crate) fn break_link(&mut self, number: LinkNumber) -> Vec<End> {
        let found = self.pairs.get(&number).copied();
        found.map_or_else(Vec::new, |(a, b)| self.close(a, b))
    }

    /// Closes the link between two machines; returns the ends that believed in it.
    pub(crate) fn close(&mut self, a: usize, b: usize) -> Vec<End> {
        let key = pair(a, b);
        let Some(link) = self.links.remove(&key) else {
            return Vec::new();
        };
        self.pairs.remove(&link.number);
        self.peers[a].remove(&b);
        self.peers[b].remove(&a);
        link.open_ends(key)
    }

    /// One end of a link gives up; returns it, and how long it takes until the other end hears of
    /// it.
    pub(crate) fn close_end(&mut self, number: LinkNumber, at: usize) -> Option<(End, Duration)> {
        let key = *self.key_of(number)?;
        let to = if key.0 == at { key.1 } else { key.0 };
        let is_heard = self.reaches(at, to);
        let rng = &mut self.rng;
        let link = self.links.get_mut(&key)?;
        let end = &mut link.ends[usize::from(at > to)];
        if !std::mem::take(end) {
            return None;
        }
        let heard = if is_heard { link.delay } else { timeout(rng) };
        Some((End { at, to }, heard))
    }

    /// A machine is gone: its ends are closed. Returns when each of its links breaks at the other
    /// end, which hears of it soon if the machine's system is still `polite`.
    pub(crate) fn abandon(&mut self, machine: usize, polite: bool) -> Vec<(Duration, LinkNumber)> {
        let (places, is_one_way) = (&self.places, self.is_one_way);
        let mut breaks = Vec::new();
        for peer in &self.peers[machine] {
            let Some(link) = self.links.get_mut(&pair(machine, *peer)) else {
                continue;
            };
            link.ends[usize::from(machine > *peer)] = false;
            let delay = if polite && reaches(places, is_one_way, machine, *peer) {
                link.delay
            } else {
                timeout(&mut self.rng)
            };
            breaks.push((delay, link.number));
        }
        breaks
    }

    /// Frames get no further than a side from now on, or, if it is `one_way`, none from the greater
    /// to the smaller. Returns which ends of links are deaf, and when each finds that out.
    pub(crate) fn partition(
        &mut self,
        sides: &[u8],
        one_way: bool,
    ) -> Vec<(Duration, LinkNumber, usize)> {
        for (place, side) in self.places.iter_mut().zip(sides) {
            place.side = *side;
        }
        self.is_one_way = one_way;
        self.deaf_ends(|_| true)
    }

    /// Nothing reaches a machine or leaves it. Returns what [`Self::partition`] does.
    pub(crate) fn clog(&mut self, machine: usize) -> Vec<(Duration, LinkNumber, usize)> {
        self.places[machine].is_clogged = true;
        self.deaf_ends(|(a, b)| *a == machine || *b == machine)
    }

    /// A machine is as well connected as the others; what was held arrives.
    pub(crate) fn unclog(&mut self, now: Instant, machine: usize) -> Vec<(Instant, Parcel)> {
        self.places[machine].is_clogged = false;
        self.let_go(now)
    }

    /// Whether what is sent to a machine trickles in.
    pub(crate) fn set_slow(&mut self, machine: usize, is_slow: bool) {
        self.places[machine].is_slow = is_slow;
    }

    /// Senders forget their bound: a mistake to be found.
    pub(crate) const fn forget_bounds(&mut self) {
        self.is_bounded = false;
    }

    /// What a sender has on its way to a peer, if that is more than it may.
    #[must_use]
    pub(crate) fn over_bounds(&self, from: usize, to: usize) -> Option<usize> {
        let link = self.links.get(&pair(from, to))?;
        let in_flight = link.streams[usize::from(from > to)].in_flight;
        (in_flight > self.queue_bytes_max).then_some(in_flight)
    }

    fn deaf_ends(
        &mut self,
        concerns: impl Fn(&(usize, usize)) -> bool,
    ) -> Vec<(Duration, LinkNumber, usize)> {
        let (places, is_one_way, rng) = (&self.places, self.is_one_way, &mut self.rng);
        let concerned = self.links.iter().filter(|(key, _)| concerns(key));
        let ends =
            concerned.flat_map(|((a, b), link)| [(link.number, *a, *b), (link.number, *b, *a)]);
        ends.filter(|(_, at, to)| !reaches(places, is_one_way, *to, *at))
            .map(|(link, at, _)| (timeout(rng), link, at))
            .collect()
    }

    /// Everything reaches everyone again; what was held arrives. Breaks that were on their way find
    /// their links alive, see [`Self::is_cut`].
    pub(crate) fn heal(&mut self, now: Instant) -> Vec<(Instant, Parcel)> {
        for place in &mut self.places {
            (place.side, place.is_clogged) = (0, false);
        }
        self.is_one_way = false;
        self.let_go(now)
    }

    /// What was held and gets through now arrives.
    fn let_go(&mut self, now: Instant) -> Vec<(Instant, Parcel)> {
        let mut parcels = Vec::new();
        for ((a, b), link) in &mut self.links {
            let at = now + RESEND + self.rng.jitter(RESEND);
            for (stream, (from, to)) in link.streams.iter_mut().zip([(*a, *b), (*b, *a)]) {
                if !reaches(&self.places, self.is_one_way, from, to) {
                    continue;
                }
                for parcel in std::mem::take(&mut stream.held) {
                    parcels.push((stream.after(Lane::Live, at), parcel));
                }
            }
        }
        parcels
    }

    /// Whether a link leads nowhere, so that waiting for it ends: one of its ends is gone or deaf.
    #[must_use]
    pub(crate) fn is_cut(&self, number: LinkNumber) -> bool {
        let found = self
            .key_of(number)
            .and_then(|key| Some((key, self.links.get(key)?)));
        found.is_some_and(|((a, b), link)| link.ends != [true; 2] || !self.meets(*a, *b))
    }

    /// The machines that have a link with a machine which both ends believe in.
    pub(crate) fn linked_with(&self, machine: usize) -> impl Iterator<Item = usize> {
        let peers = self.peers[machine].iter().copied();
        peers.filter(move |peer| self.is_linked(machine, *peer))
    }

    fn key_of(&self, number: LinkNumber) -> Option<&(usize, usize)> {
        self.pairs.get(&number)
    }

    /// From now on the network is as good as this.
    pub(crate) fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }
}

impl Link {
    fn open_ends(&self, (a, b): (usize, usize)) -> Vec<End> {
        let ends = [End { at: a, to: b }, End { at: b, to: a }];
        let open = ends.into_iter().zip(self.ends).filter(|(_, open)| *open);
        open.map(|(end, _)| end).collect()
    }
}

impl Stream {
    fn new(now: Instant) -> Self {
        Self {
            last: [now; 3],
            in_flight: 0,
            congested: false,
            held: VecDeque::new(),
        }
    }

    /// A frame that could arrive at `at` arrives after those before it on its lane.
    fn after(&mut self, lane: Lane, at: Instant) -> Instant {
        let last = &mut self.last[match lane {
            Lane::Live => 0,
            Lane::Bulk => 1,
            Lane::Command => 2,
        }];
        *last = at.max(*last);
        *last
    }
}

/// Where a machine stands on a plane of [`PLANE`] by [`PLANE`].
#[derive(Clone, Copy, Debug)]
struct Spot {
    x: u64,
    y: u64,
}

impl Spot {
    fn distance(self, other: Self) -> u64 {
        let (x, y) = (self.x.abs_diff(other.x), self.y.abs_diff(other.y));
        (x * x + y * y).isqrt()
    }
}

/// Each machine near the middle of one of the halls.
fn spots(machines: usize, rng: &Rng) -> Vec<Spot> {
    let mut rng = rng.fork("spots");
    let mut draw = |size| Spot {
        x: rng.below(size),
        y: rng.below(size),
    };
    let halls: Vec<Spot> = (0..HALLS).map(|_| draw(PLANE)).collect();
    let within = |machine: usize| {
        let (hall, spot) = (halls[machine % HALLS], draw(HALL));
        Spot {
            x: hall.x + spot.x,
            y: hall.y + spot.y,
        }
    };
    (0..machines).map(within).collect()
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

fn timeout(rng: &mut Rng) -> Duration {
    rng.jitter(LINK_TIMEOUT)
}

/// How long so many bytes take.
fn transfer(bytes: usize, nanos_per_byte: u64) -> Duration {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    Duration::from_nanos(bytes.saturating_mul(nanos_per_byte))
}

fn reaches(places: &[Place], is_one_way: bool, from: usize, to: usize) -> bool {
    let (from, to) = (places[from], places[to]);
    let crosses = from.side == to.side || (is_one_way && from.side < to.side);
    crosses && !from.is_clogged && !to.is_clogged
}

/// Bytes that a sender may have on the way to one peer. Source: guess, as `swarm` has.
pub(crate) const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Time from a loss to the second arrival, as a mean with jitter on top. Source: Linux TCP needs
/// between a round trip and 200 ms.
const RESEND: Duration = Duration::from_millis(50);
/// Mean time until a dead connection is found dead. Source: guess, between QUIC's idle timeouts and
/// those of TCP with keep-alive.
const LINK_TIMEOUT: Duration = Duration::from_secs(5);
/// Halls of a site that is spread. Source: guess.
const HALLS: usize = 16;
/// How wide the site is. Unit: none, a grid.
const PLANE: u64 = 1_000;
/// How wide a hall is on that grid.
const HALL: u64 = 10;
/// 100 Mbit/s. Unit: nanoseconds for each byte.
const NANOS_PER_BYTE: u64 = 80;
/// 2 kbit/s, which is less than a neighbour says to it. Unit: nanoseconds for each byte.
const NANOS_PER_BYTE_SLOW: u64 = 4_000_000;
