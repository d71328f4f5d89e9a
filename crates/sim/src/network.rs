//! The network between simulated machines: links that are reliable ordered streams, as TCP and QUIC
//! give them.
//!
//! A lost packet never loses a frame: it stalls its stream until it has been sent again, and now
//! and then breaks the link. During a partition frames pile up until the link breaks or the sides
//! meet again. A machine that loses power tells nobody; its peers find out when they wait too long.

use std::collections::{BTreeMap, VecDeque};
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
}

impl Weather {
    /// A quiet LAN.
    pub(crate) const CALM: Self = Self {
        delay_micros: (100, 400),
        loss_permille: 0,
        break_permille: 0,
    };
    /// Wireless on a bad day.
    pub(crate) const ROUGH: Self = Self {
        delay_micros: (200, 3_000),
        loss_permille: 10,
        break_permille: 20,
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

/// All links.
#[derive(Debug)]
pub(crate) struct Network {
    rng: Rng,
    weather: Weather,
    sides: Vec<u8>,
    links: BTreeMap<(usize, usize), Link>,
    opened: u64,
}

impl Network {
    /// A network of so many machines without a link.
    #[must_use]
    pub(crate) fn new(machines: usize, weather: Weather, rng: Rng) -> Self {
        Self {
            rng,
            weather,
            sides: vec![0; machines],
            links: BTreeMap::new(),
            opened: 0,
        }
    }

    /// Whether frames get from one machine to another.
    #[must_use]
    pub(crate) fn reaches(&self, a: usize, b: usize) -> bool {
        self.sides[a] == self.sides[b]
    }

    /// Opens a link. Returns the ends that still believed in the link before it, and how long a
    /// round trip takes.
    pub(crate) fn open(&mut self, now: Instant, a: usize, b: usize) -> (Vec<End>, Duration) {
        let key = pair(a, b);
        let stale = self
            .links
            .remove(&key)
            .map_or_else(Vec::new, |link| link.open_ends(key));
        let (least, spread) = self.weather.delay_micros;
        let delay = Duration::from_micros(least + self.rng.below(spread));
        self.opened += 1;
        let link = Link {
            number: LinkNumber(self.opened),
            delay,
            ends: [true; 2],
            streams: [Stream::new(now), Stream::new(now)],
        };
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
        if stream.in_flight + bytes.len() > QUEUE_BYTES_MAX {
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
        let mut at = now + link.delay + transfer(parcel.bytes.len());
        while self.rng.chance(weather.loss_permille) {
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
        let drained = stream.congested && stream.in_flight <= QUEUE_BYTES_MAX / 2;
        stream.congested &= !drained;
        (link.ends[usize::from(parcel.to > parcel.from)], drained)
    }

    /// Breaks a link if it is still there; returns the ends that believed in it.
    pub(crate) fn break_link(&mut self, number: LinkNumber) -> Vec<End> {
        let found = self.links.iter().find(|(_, link)| link.number == number);
        found
            .map(|(key, _)| *key)
            .map_or_else(Vec::new, |(a, b)| self.close(a, b))
    }

    /// Closes the link between two machines; returns the ends that believed in it.
    pub(crate) fn close(&mut self, a: usize, b: usize) -> Vec<End> {
        let key = pair(a, b);
        self.links
            .remove(&key)
            .map_or_else(Vec::new, |link| link.open_ends(key))
    }

    /// A machine is gone: its ends are closed. Returns when each of its links breaks at the other
    /// end, which hears of it soon if the machine's system is still `polite`.
    pub(crate) fn abandon(&mut self, machine: usize, polite: bool) -> Vec<(Duration, LinkNumber)> {
        let sides = &self.sides;
        let mut breaks = Vec::new();
        for ((a, b), link) in &mut self.links {
            if *a != machine && *b != machine {
                continue;
            }
            link.ends[usize::from(*b == machine)] = false;
            let delay = if polite && sides[*a] == sides[*b] {
                link.delay
            } else {
                timeout(&mut self.rng)
            };
            breaks.push((delay, link.number));
        }
        breaks
    }

    /// Frames get no further than a side from now on. Returns when each link between sides breaks.
    pub(crate) fn partition(&mut self, sides: Vec<u8>) -> Vec<(Duration, LinkNumber)> {
        self.sides = sides;
        let cut = self
            .links
            .iter()
            .filter(|((a, b), _)| self.sides[*a] != self.sides[*b]);
        let rng = &mut self.rng;
        cut.map(|(_, link)| (timeout(rng), link.number)).collect()
    }

    /// Everything reaches everyone again; what was held arrives. Breaks that were on their way find
    /// their links alive, see [`Self::is_cut`].
    pub(crate) fn heal(&mut self, now: Instant) -> Vec<(Instant, Parcel)> {
        self.sides.fill(0);
        let mut parcels = Vec::new();
        for link in self.links.values_mut() {
            let at = now + RESEND + self.rng.jitter(RESEND);
            for stream in &mut link.streams {
                for parcel in std::mem::take(&mut stream.held) {
                    parcels.push((stream.after(Lane::Live, at), parcel));
                }
            }
        }
        parcels
    }

    /// Whether a link leads nowhere, so that waiting for it ends: cut by a partition, or one of its
    /// ends is gone.
    #[must_use]
    pub(crate) fn is_cut(&self, number: LinkNumber) -> bool {
        let found = self.links.iter().find(|(_, link)| link.number == number);
        found.is_some_and(|((a, b), link)| {
            link.ends != [true; 2] || self.sides[*a] != self.sides[*b]
        })
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

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

fn timeout(rng: &mut Rng) -> Duration {
    rng.jitter(LINK_TIMEOUT)
}

/// How long so many bytes take.
fn transfer(bytes: usize) -> Duration {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    Duration::from_nanos(bytes.saturating_mul(NANOS_PER_BYTE))
}

/// Bytes that a sender may have on the way to one peer. Source: guess, as `swarm` has.
const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Time from a loss to the second arrival, as a mean with jitter on top. Source: Linux TCP needs
/// between a round trip and 200 ms.
const RESEND: Duration = Duration::from_millis(50);
/// Mean time until a dead connection is found dead. Source: guess, between QUIC's idle timeouts and
/// those of TCP with keep-alive.
const LINK_TIMEOUT: Duration = Duration::from_secs(5);
/// 100 Mbit/s. Unit: nanoseconds for each byte.
const NANOS_PER_BYTE: u64 = 80;
