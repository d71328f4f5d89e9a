//! Mistakes that are planted in the shell around the engine, so that each looks to the rest of the
//! network like a mistake in the engine. A run that has one must fail, and hold without it.

use engine::CleanStop;
use gossip::{Message, Write};
use model::{Block, StateKey, StateVersion};
use wire::Frame;

use crate::disk::Op;
use crate::world::World;

/// Mistakes that a shell could make, switched in to show that the simulator finds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// The store says that something is safe before it was synced.
    AckBeforeSync,
    /// The uplink says that a record was uploaded before the sink has it.
    ProgressBeforeAck,
    /// The store says that a note on a command is safe before it was synced.
    RunBeforeNote,
    /// What a neighbour should no longer push is not told to it.
    LostPrune,
    /// A log is never asked for, so that its gaps stay.
    ForgottenGap,
    /// The answer of the store to a read is lost.
    LostRead,
    /// A crash counts as a stop in order: the epoch and its numbers go on.
    ReusedNumber,
    /// A block from a neighbour is stored whoever signed it.
    UncheckedSignature,
    /// What waits for a neighbour that does not read has no bound.
    UnboundedQueue,
    /// The first version of a state that a machine hears of stays.
    StaleState,
    /// A frontier counts the block that is being written.
    EarlyFrontier,
    /// Whoever has a neighbour dials nobody else.
    ClosedView,
}

impl World {
    /// Takes out of a frame what a planted mistake lets its sender forget, or puts in what it makes
    /// it claim.
    pub(crate) fn plant_in_sent(&self, from: usize, frame: Frame) -> Option<Frame> {
        let Some(plant) = self.plant else {
            return Some(frame);
        };
        match (plant, frame) {
            (Plant::LostPrune, Frame::Gossip(Message::Prune { .. })) => None,
            (Plant::ForgottenGap, Frame::Gossip(Message::Want { log, .. }))
                if log.machine == self.site.id(0) =>
            {
                None
            }
            (
                Plant::EarlyFrontier,
                Frame::Gossip(Message::Frontier {
                    entries,
                    urgent,
                    ages,
                    is_news,
                }),
            ) => {
                let disk = &self.machines[from].disk;
                let early = |mut entry: gossip::FrontierEntry| {
                    let is_written = disk.is_written(&entry.log, entry.end + 1);
                    entry.end += u64::from(is_written && entry.beyond.is_empty());
                    entry
                };
                let entries = entries.into_iter().map(early).collect();
                Some(Frame::Gossip(Message::Frontier {
                    entries,
                    urgent,
                    ages,
                    is_news,
                }))
            }
            (_, frame) => Some(frame),
        }
    }

    /// Takes out of a frame what a planted mistake hides from its receiver.
    pub(crate) fn plant_in_received(&mut self, to: usize, frame: Frame) -> Frame {
        match (self.plant, frame) {
            (Some(Plant::StaleState), Frame::Gossip(Message::States(mut states))) => {
                let life = self.machines[to].life;
                states.retain(|state| {
                    let name: (usize, u64, StateKey) = (to, life, state.key().clone());
                    let first: StateVersion = *self.first.entry(name).or_insert(state.version());
                    first >= state.version()
                });
                Frame::Gossip(Message::States(states))
            }
            (Some(Plant::UncheckedSignature), Frame::Gossip(Message::Block { block, pushed })) => {
                self.store_unchecked(to, &block);
                Frame::Gossip(Message::Block { block, pushed })
            }
            (_, frame) => frame,
        }
    }

    /// Takes in what the node refuses.
    fn store_unchecked(&mut self, machine: usize, block: &Block) {
        let network = self.site.trust().network();
        if identity::verify_block(&network, block).is_err() {
            let write = Write::Block(block.clone());
            self.write(machine, Op::Unasked(write));
            self.on_deliver(machine, block);
        }
    }

    /// Whether the answer to a read is lost.
    pub(crate) fn loses_read(&mut self) -> bool {
        self.plant == Some(Plant::LostRead) && self.faults.chance(LOST_READS_PERMILLE)
    }

    /// Whether a machine does not dial whom it should.
    pub(crate) fn loses_dial(&self, machine: usize) -> bool {
        let running = self.machines[machine].running.as_ref();
        self.plant == Some(Plant::ClosedView)
            && running.is_some_and(|running| !running.node.neighbours().is_empty())
    }

    /// Takes a crash for a stop in order.
    pub(crate) fn plant_in_crash(&mut self, machine: usize, stop: CleanStop) {
        if self.plant == Some(Plant::ReusedNumber) {
            self.machines[machine].disk.mark_clean(stop);
        }
    }
}

/// Unit: per mille.
const LOST_READS_PERMILLE: u32 = 50;
