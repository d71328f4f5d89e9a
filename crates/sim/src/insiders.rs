//! Members with bad intent: a shell around the real engine that swallows, forges, replays or adds
//! frames. Everyone else is honest, and what is promised is promised to them.
//!
//! An insider has a valid membership and its own key, and no other: what it says in another
//! machine's name cannot be signed. Whatever it does, no honest machine may fall, give anything
//! wrong to its application, or lack what an honest machine has published.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use gossip::{FrontierEntry, Holdings, Message, SEQUENCE_MAX, Span, Sums};
use model::{
    Block, BlockHeader, Draft, Epoch, HashPrefix, LogId, Quality, Reading, SeriesNumber, Timestamp,
    Value,
};
use overlay::{Hops, Message as Overlay};
use statemachine::{Instant, Rng};
use wire::Frame;

use crate::hours::HOUR;
use crate::world::{Event, World};

/// What a member with bad intent does beside what its node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malice {
    /// It takes part in everything, but swallows the blocks of others.
    Drop,
    /// Together with others it fills the view of one machine, tells it of nobody else, and swallows
    /// blocks.
    Surround,
    /// It sends blocks in others' names, with bits flipped, with the last of all numbers, and with
    /// readings from the far future.
    Forge,
    /// It announces, grafts, prunes, wants and shuffles without end.
    Flood,
    /// It sends what it has heard before again.
    Replay,
    /// It keeps what it hears first, and sends it again when an hour has passed.
    Hoard,
    /// Each does one of the three before.
    Mixed,
}

/// Who means ill, and what they did.
#[derive(Debug)]
pub(crate) struct Insiders {
    rng: Rng,
    roles: BTreeMap<usize, Malice>,
    /// Who is surrounded.
    victim: Option<usize>,
    /// What each has heard and may say again.
    heard: BTreeMap<usize, Vec<Frame>>,
    /// Whose blocks were swallowed.
    swallowed: BTreeSet<usize>,
    /// How often each thing was done.
    acts: BTreeMap<&'static str, u64>,
}

impl Insiders {
    /// Draws who of so many machines means ill: a third of them, never the first; half of them
    /// surround the last one.
    #[must_use]
    pub(crate) fn draw(malice: Option<Malice>, machines: usize, mut rng: Rng) -> Self {
        let (mut roles, mut victim) = (BTreeMap::new(), None);
        let mut others: Vec<usize> = (1..machines).collect();
        let count = match malice {
            None => 0,
            Some(Malice::Surround) => {
                victim = others.pop();
                machines / 2
            }
            Some(_) => (machines / 3).max(1),
        };
        rng.shuffle(&mut others);
        for machine in others.into_iter().take(count) {
            let mixed = [Malice::Forge, Malice::Flood, Malice::Replay];
            let role = match malice {
                Some(Malice::Mixed) => rng.choose(&mixed).copied(),
                _ => malice,
            };
            roles.extend(role.map(|role| (machine, role)));
        }
        Self {
            rng,
            roles,
            victim,
            heard: BTreeMap::new(),
            swallowed: BTreeSet::new(),
            acts: BTreeMap::new(),
        }
    }

    /// Who they are.
    pub(crate) fn machines(&self) -> impl Iterator<Item = usize> {
        self.roles.keys().copied()
    }

    /// Whether a machine is one of them.
    #[must_use]
    pub(crate) fn contains(&self, machine: usize) -> bool {
        self.roles.contains_key(&machine)
    }

    /// Whose blocks they have swallowed.
    #[must_use]
    pub(crate) const fn swallowed(&self) -> &BTreeSet<usize> {
        &self.swallowed
    }

    /// What they did beside swallowing, and how often.
    #[must_use]
    pub(crate) const fn acts(&self) -> &BTreeMap<&'static str, u64> {
        &self.acts
    }

    /// Whether they swallow blocks.
    #[must_use]
    pub(crate) fn swallow(&self) -> bool {
        let swallows = |role: &Malice| matches!(role, Malice::Drop | Malice::Surround);
        self.roles.values().any(swallows)
    }

    /// Whom a machine finds, if they decide that: three times of four the surrounded one finds
    /// nobody else.
    pub(crate) fn found_by(&mut self, machine: usize) -> Option<usize> {
        let surrounded = self.victim == Some(machine) && !self.rng.chance(250);
        let machines: Vec<usize> = self.roles.keys().copied().collect();
        self.rng.choose(&machines).copied().filter(|_| surrounded)
    }
}

impl World {
    /// The machines that belong to the network and mean well.
    pub(crate) fn honest(&self) -> impl Iterator<Item = usize> + use<> {
        let bad: BTreeSet<usize> = self.insiders.machines().collect();
        self.members().filter(move |machine| !bad.contains(machine))
    }

    /// What leaves a machine instead of a frame of its node.
    pub(crate) fn twist(&mut self, from: usize, to: usize, frame: Frame) -> Option<Frame> {
        let Some(role) = self.insiders.roles.get(&from) else {
            return Some(frame);
        };
        match (role, frame) {
            (Malice::Drop | Malice::Surround, Frame::Gossip(Message::Block { block, .. }))
                if block.header().origin() != self.site.id(from) =>
            {
                let origin = self.site.number(&block.header().origin());
                self.insiders.swallowed.extend(origin);
                None
            }
            (
                Malice::Drop | Malice::Surround,
                Frame::Gossip(Message::Frontier {
                    entries,
                    urgent,
                    is_news: is_news @ true,
                    ..
                }),
            ) => {
                // It wants to be on the way of everything.
                let ages = entries.iter().map(claimed_age).collect();
                Some(Frame::Gossip(Message::Frontier {
                    entries,
                    urgent,
                    ages,
                    is_news,
                }))
            }
            (Malice::Surround, Frame::Overlay(message)) => self.surrounding(to, message),
            (_, frame) => Some(frame),
        }
    }

    /// What is said instead of a message about neighbours: nobody but insiders is worth knowing,
    /// and the surrounded one is never let go.
    fn surrounding(&mut self, to: usize, message: Overlay) -> Option<Frame> {
        let contacts = self.insiders.machines().map(|m| self.site.contact(m));
        let contacts: Vec<_> = contacts.take(Overlay::SAMPLE_MAX).collect();
        let to_victim = self.insiders.victim == Some(to);
        let message = match message {
            Overlay::Shuffle { origin, ttl, .. } => Overlay::Shuffle {
                origin,
                sample: contacts,
                ttl,
            },
            Overlay::ShuffleReply { .. } => Overlay::ShuffleReply { sample: contacts },
            Overlay::ForwardJoin { ttl, .. } if to_victim => {
                let joiner = self.insiders.rng.choose(&contacts)?.clone();
                Overlay::ForwardJoin { joiner, ttl }
            }
            Overlay::NeighbourReply { .. } if to_victim => {
                Overlay::NeighbourReply { accepted: true }
            }
            Overlay::Disconnect if to_victim => return None,
            message @ (Overlay::Join { .. }
            | Overlay::ForwardJoin { .. }
            | Overlay::Neighbour { .. }
            | Overlay::NeighbourReply { .. }
            | Overlay::Disconnect) => message,
        };
        Some(Frame::Overlay(message))
    }

    /// A frame has reached an insider, which may use it later.
    pub(crate) fn overhear(&mut self, machine: usize, frame: &Frame) {
        let Some(role) = self.insiders.roles.get(&machine) else {
            return;
        };
        let keeps = match role {
            Malice::Replay => !matches!(frame, Frame::Command(_)),
            Malice::Hoard => matches!(frame, Frame::Gossip(_) | Frame::Overlay(_)),
            Malice::Forge => match frame {
                // What it signs of its own twice is found by `gossip`, see its tests.
                Frame::Gossip(Message::Block { block, .. }) => {
                    block.header().origin() != self.site.id(machine)
                }
                Frame::Gossip(_) | Frame::Overlay(_) | Frame::Election(_) | Frame::Command(_) => {
                    false
                }
            },
            Malice::Drop | Malice::Surround | Malice::Flood | Malice::Mixed => false,
        };
        if !keeps {
            return;
        }
        let heard = self.insiders.heard.entry(machine).or_default();
        if heard.len() < HEARD_MAX {
            heard.push(frame.clone());
        } else if *role != Malice::Hoard
            && let Some(place) = self.insiders.rng.index(HEARD_MAX)
        {
            heard[place] = frame.clone();
        }
    }

    /// An insider does what it does on its own account, and goes on.
    pub(crate) fn act(&mut self, machine: usize) {
        let Some(role) = self.insiders.roles.get(&machine).copied() else {
            return;
        };
        let pause = self.insiders.rng.jitter(ACT_INTERVAL);
        self.after(pause, Event::Malice(machine));
        if !self.machines[machine].answers() {
            return;
        }
        let linked: Vec<usize> = self.network.linked_with(machine).collect();
        let to = self.insiders.rng.choose(&linked).copied();
        match (role, to) {
            (Malice::Surround, _) => self.press(machine),
            (Malice::Forge, Some(to)) => self.forge(machine, to),
            (Malice::Flood, Some(to)) => self.flood(machine, to),
            (Malice::Hoard, _) if self.now.since(Instant::ZERO) < HOUR => {}
            (Malice::Replay | Malice::Hoard, Some(to)) => {
                let heard = self.insiders.heard.get(&machine);
                let frame = heard.and_then(|heard| self.insiders.rng.choose(heard));
                if let Some(frame) = frame.cloned() {
                    self.slip(machine, to, "replay", &wire::encode(&frame));
                }
            }
            (Malice::Drop | Malice::Mixed, _) | (_, None) => {}
        }
    }

    /// Asks the surrounded machine for a place, and takes no for no answer.
    fn press(&mut self, machine: usize) {
        let Some(victim) = self.insiders.victim else {
            return;
        };
        if !self.network.is_linked(machine, victim) {
            self.dial(machine, victim);
            return;
        }
        let contact = self.site.contact(machine);
        let urgent = Overlay::Neighbour {
            contact,
            urgent: true,
        };
        self.slip(
            machine,
            victim,
            "press",
            &wire::encode(&Frame::Overlay(urgent)),
        );
    }

    fn forge(&mut self, machine: usize, to: usize) {
        let heard = self.insiders.heard.get(&machine);
        let known = heard.and_then(|heard| self.insiders.rng.choose(heard).cloned());
        let way = self.insiders.rng.below(4);
        let (what, block) = match (way, known) {
            (0, Some(frame)) => {
                let mut bytes = wire::encode(&frame).to_vec();
                if let Some(at) = self.insiders.rng.index(bytes.len() * 8) {
                    bytes[at / 8] ^= 1 << (at % 8);
                }
                return self.slip(machine, to, "flip", &Bytes::from(bytes));
            }
            (1, Some(Frame::Gossip(Message::Block { block, .. }))) => {
                ("forge", self.forged(machine, &block))
            }
            (2, _) => {
                let block = self.block_of_the_future(machine, SEQUENCE_MAX, u64::MAX);
                ("last number", block)
            }
            _ => {
                let sequence = 1 + self.insiders.rng.below(64);
                let counter = 1_000 + self.insiders.rng.below(4);
                let block = self.block_of_the_future(machine, sequence, counter);
                ("future", block)
            }
        };
        let pushed = self.insiders.rng.chance(500);
        let frame = Frame::Gossip(Message::Block { block, pushed });
        self.slip(machine, to, what, &wire::encode(&frame));
    }

    /// Other readings under the name of another machine's block, or of its next one.
    fn forged(&mut self, machine: usize, block: &Block) -> Block {
        let mut header = block.header().clone();
        header.sequence += self.insiders.rng.below(2);
        let readings = vec![reading(header.sealed, 666.0)];
        self.seal(machine, Draft { header, readings })
    }

    /// A block of the insider's own, signed as it should be: from a time that is far ahead, with a
    /// number and an epoch that leave no room for more.
    fn block_of_the_future(&mut self, machine: usize, sequence: u64, counter: u64) -> Block {
        let far = Timestamp::from_nanos(i64::MAX - 1);
        let header = BlockHeader {
            log: LogId {
                machine: self.site.id(machine),
                epoch: Epoch { counter, tag: 7 },
            },
            sequence,
            previous: HashPrefix::NONE,
            continues: None,
            sealed: far,
            watermark: far,
            count: 1,
            urgent: false,
            publishers: Vec::new(),
        };
        let readings = vec![reading(far, 667.0)];
        self.seal(machine, Draft { header, readings })
    }

    fn seal(&self, machine: usize, draft: Draft) -> Block {
        let (network, keypair) = (self.site.trust().network(), self.site.keypair(machine));
        let sealed = draft.seal(&network, |hash| keypair.sign(hash));
        sealed.expect("one reading fits into a block")
    }

    /// Many small messages at once, each of them legal.
    fn flood(&mut self, machine: usize, to: usize) {
        let whose = self.insiders.rng.index(self.site.len()).unwrap_or(0);
        let origin = self.site.id(whose);
        let rng = &mut self.insiders.rng;
        let counter = rng.below(3);
        let frame = match rng.below(7) {
            0 => Frame::Gossip(Message::Graft { origin }),
            1 => Frame::Gossip(Message::Prune { origin }),
            2 | 3 => {
                let entry = |rng: &mut Rng| FrontierEntry {
                    log: random_log(origin, counter, rng),
                    floor: 1,
                    end: SEQUENCE_MAX,
                    beyond: Vec::new(),
                };
                let entries: Vec<_> = (0..FLOOD_ENTRIES).map(|_| entry(rng)).collect();
                let all = Span {
                    first: 1,
                    last: SEQUENCE_MAX,
                };
                let urgent = vec![(random_log(origin, counter, rng), all); Message::URGENT_MAX];
                let is_news = rng.chance(900);
                Frame::Gossip(Message::Frontier {
                    urgent,
                    ages: entries.iter().map(claimed_age).collect(),
                    entries,
                    is_news,
                })
            }
            4 => {
                // All that the other one holds of some log, again and again.
                let held: Vec<LogId> = self.machines[to].disk.blocks().keys().copied().collect();
                let known = rng.choose(&held).copied();
                let log = known.unwrap_or_else(|| random_log(origin, counter, rng));
                let spans = vec![
                    Span {
                        first: 1,
                        last: 256
                    };
                    Message::SPANS_MAX
                ];
                let is_past = rng.chance(500);
                Frame::Gossip(Message::Want {
                    log,
                    spans,
                    is_past,
                })
            }
            5 => {
                let of = [Holdings::Logs, Holdings::States][rng.index(2).unwrap_or(0)];
                Frame::Gossip(Message::Sums(of, Sums::default()))
            }
            _ => {
                let contact = self.site.contact(machine);
                Frame::Overlay(Overlay::Shuffle {
                    origin: contact.clone(),
                    sample: vec![contact; Overlay::SAMPLE_MAX],
                    ttl: Hops::MAX,
                })
            }
        };
        let bytes = wire::encode(&frame);
        for _ in 0..FLOOD_REPEATS {
            self.slip(machine, to, "flood", &bytes);
        }
    }

    /// Sends what the node of the sender knows nothing of.
    fn slip(&mut self, from: usize, to: usize, what: &'static str, bytes: &Bytes) {
        *self.insiders.acts.entry(what).or_default() += 1;
        let words = || format!("to machine {to}");
        self.trace.note_bytes(self.now, from, what, bytes, words);
        self.transmit(from, to, wire::Lane::Live, bytes.clone());
    }
}

fn reading(time: Timestamp, value: f64) -> Reading {
    Reading {
        series: SeriesNumber(0),
        time,
        value: Value::F64(value),
        quality: Quality::GOOD,
    }
}

fn random_log(machine: model::MachineId, counter: u64, rng: &mut Rng) -> LogId {
    let tag = u32::try_from(rng.below(u64::from(u32::MAX))).unwrap_or(0);
    LogId {
        machine,
        epoch: Epoch { counter, tag },
    }
}

/// An insider says that it has had the newest block of a log for long.
fn claimed_age(entry: &FrontierEntry) -> (LogId, Duration) {
    (entry.log, AGE_CLAIMED)
}

/// How long an insider says that it has had a block.
const AGE_CLAIMED: Duration = Duration::from_secs(9);
/// Most frames that an insider keeps.
const HEARD_MAX: usize = 256;
/// Mean time between two acts of an insider.
const ACT_INTERVAL: Duration = Duration::from_millis(100);
/// Logs in one message of a flood.
const FLOOD_ENTRIES: usize = 64;
/// How often each message of a flood is said.
const FLOOD_REPEATS: usize = 32;
