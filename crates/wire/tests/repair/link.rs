//! Two gossips, a link in virtual time, and what went over it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use gossip::{Gossip, Input, Message, Output, Write};
use model::{Block, BlockId};
use statemachine::{Instant, StateMachine as _};
use wire::{Frame, decode, encode};

use crate::site::{ENDS, OTHER, id};

pub(crate) struct Pair {
    gossips: [Gossip; 2],
    /// What either end has on disk.
    disks: [BTreeMap<BlockId, Block>; 2],
    now: Instant,
    delay: Duration,
    /// Unit: bytes a second, either way; no limit if `None`.
    rate: Option<u64>,
    /// When the last frame to either end has left.
    left: [Instant; 2],
    queue: BTreeMap<(Instant, usize), (usize, Bytes)>,
    frames: usize,
    /// Blocks that are pushed to the second end get lost.
    pub(crate) loses_pushes: bool,
    /// Frames and bytes since the last look, by kind and receiver.
    told: BTreeMap<String, (usize, usize)>,
    /// When the second end first wanted a block, and when it had it.
    wanted: BTreeMap<BlockId, Instant>,
    arrived: BTreeMap<BlockId, Instant>,
}

impl Pair {
    pub(crate) fn new(gossips: [Gossip; 2], delay: Duration, rate: Option<u64>) -> Self {
        Self {
            gossips,
            disks: [BTreeMap::new(), BTreeMap::new()],
            now: Instant::ZERO,
            delay,
            rate,
            left: [Instant::ZERO; 2],
            queue: BTreeMap::new(),
            frames: 0,
            loses_pushes: false,
            told: BTreeMap::new(),
            wanted: BTreeMap::new(),
            arrived: BTreeMap::new(),
        }
    }

    /// The first end has these on disk.
    pub(crate) fn store(&mut self, blocks: &[Block]) {
        self.disks[0].extend(blocks.iter().map(|block| (block.id(), block.clone())));
    }

    pub(crate) fn connect(&mut self) {
        self.input(0, Input::NeighbourUp(id(OTHER)));
        for end in [0, 1] {
            self.input(end, Input::NeighbourUp(id(ENDS[1 - end])));
        }
    }

    /// The first end has a block from its other neighbour before there is the link.
    pub(crate) fn push_to_first_before_the_link(&mut self, block: &Block) {
        if !self.disks[0].contains_key(&block.id()) {
            self.input(0, Input::NeighbourUp(id(OTHER)));
        }
        self.push_to_first(block);
    }

    /// The first end's other neighbour pushes a block to it.
    pub(crate) fn push_to_first(&mut self, block: &Block) {
        let block = block.clone();
        let pushed = true;
        let message = Message::Block { block, pushed };
        self.input(0, Input::Received(id(OTHER), message));
    }

    pub(crate) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let frame = self.queue.first_key_value().map(|((at, _), _)| *at);
            let timers = self.gossips.iter().map(|gossip| gossip.next_deadline());
            let timer = timers.flatten().map(|deadline| deadline.at).min();
            let Some(next) = frame.into_iter().chain(timer).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if frame == Some(next) {
                let (_, (to, bytes)) = self.queue.pop_first().expect("just seen");
                let Ok(Frame::Gossip(message)) = decode(bytes) else {
                    panic!("our own frame decodes");
                };
                self.input(to, Input::Received(id(ENDS[1 - to]), message));
            } else {
                for end in [0, 1] {
                    self.gossips[end].handle_timeout(self.now);
                    self.drain(end);
                }
            }
        }
        self.now = end;
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn gossip(&self, end: usize) -> &Gossip {
        &self.gossips[end]
    }

    pub(crate) fn wanted(&self, id: &BlockId) -> Instant {
        self.wanted[id]
    }

    pub(crate) fn arrived(&self, id: &BlockId) -> Instant {
        *self
            .arrived
            .get(id)
            .unwrap_or_else(|| panic!("{id} is not there"))
    }

    /// How many blocks came to the second end before this one.
    pub(crate) fn arrived_before(&self, id: &BlockId) -> usize {
        let at = self.arrived(id);
        self.arrived.values().filter(|other| **other < at).count()
    }

    /// All bytes over the link, either way.
    pub(crate) fn bytes(&self) -> usize {
        self.told.values().map(|(_, bytes)| bytes).sum()
    }

    pub(crate) fn forget_bytes(&mut self) {
        self.told.clear();
    }

    /// What went over the link, line by line.
    pub(crate) fn listing(&self) -> String {
        self.told
            .iter()
            .fold(String::new(), |mut text, (kind, told)| {
                let (count, bytes) = told;
                writeln!(text, "  {count} x {kind}: {bytes} bytes").expect("a string");
                text
            })
    }

    fn input(&mut self, end: usize, input: Input) {
        self.gossips[end].handle(self.now, input);
        self.drain(end);
    }

    fn drain(&mut self, end: usize) {
        while let Some(output) = self.gossips[end].poll_output() {
            match output {
                Output::Send(to, message) if to == id(ENDS[1 - end]) => {
                    self.transmit(1 - end, message);
                }
                Output::Send(..) | Output::DeliverState(_) => {}
                Output::Persist(ticket, write) => {
                    if let Write::Block(block) = write {
                        self.disks[end].insert(block.id(), block);
                    }
                    self.gossips[end].handle(self.now, Input::Persisted(ticket));
                }
                Output::Read {
                    ticket,
                    log,
                    span,
                    bytes_max,
                } => {
                    let name = |sequence| BlockId { log, sequence };
                    let held = self.disks[end].range(name(span.first)..=name(span.last));
                    let mut bytes = 0;
                    let blocks = held.map(|(_, block)| block).take_while(|block| {
                        let first = bytes == 0;
                        bytes += block.as_bytes().len();
                        first || bytes <= bytes_max
                    });
                    let blocks = blocks.cloned().collect();
                    self.gossips[end].handle(self.now, Input::BlocksRead(ticket, blocks));
                }
                Output::Deliver(block) | Output::Restored(block) => {
                    if end == 1 {
                        self.arrived.insert(block.id(), self.now);
                    }
                }
                wrong @ (Output::NotPersisted(_)
                | Output::Withholds(..)
                | Output::Misbehaved(..)) => panic!("{wrong:?}"),
            }
        }
    }

    fn transmit(&mut self, to: usize, message: Message) {
        if let Message::Want { log, spans, .. } = &message {
            for sequence in spans.iter().flat_map(|span| span.first..=span.last) {
                let id = BlockId {
                    log: *log,
                    sequence,
                };
                self.wanted.entry(id).or_insert(self.now);
            }
        }
        let is_pushed = matches!(message, Message::Block { pushed: true, .. });
        if is_pushed && self.loses_pushes {
            return;
        }
        let kind = format!("{message:?}");
        let kind = kind.split([' ', '(']).next().unwrap_or_default();
        let bytes = encode(&Frame::Gossip(message));
        let told = self.told.entry(format!("{kind} to {to}")).or_default();
        *told = (told.0 + 1, told.1 + bytes.len());
        let length = u64::try_from(bytes.len()).expect("a frame");
        let nanos = self.rate.map_or(0, |rate| length * 1_000_000_000 / rate);
        self.left[to] = self.left[to].max(self.now) + Duration::from_nanos(nanos);
        self.frames += 1;
        let at = self.left[to] + self.delay;
        self.queue.insert((at, self.frames), (to, bytes));
    }
}
