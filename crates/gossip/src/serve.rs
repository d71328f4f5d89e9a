//! Answers to wants: from memory if the block came lately, else from the store, one read at a time
//! for each neighbour and none while its queue is full. What is of the past comes last, and no
//! faster than its budget allows.

use model::{Block, BlockId, LogId, MachineId};
use statemachine::{Instant, Ticket};

use crate::machine::{Effect, Timer};
use crate::neighbour::{Serving, WINDOW_MAX};
use crate::spread::as_u64;
use crate::{Fault, Gossip, Message, Output, Span};

impl Gossip {
    /// A neighbour wants blocks: queue what of it is held.
    pub(crate) fn on_want(
        &mut self,
        now: Instant,
        from: MachineId,
        log: LogId,
        spans: &[Span],
        is_past: bool,
    ) {
        if !spans.iter().all(Span::is_consistent) {
            self.misbehaved(from, Fault::Frontier);
            return;
        }
        let (Some(neighbour), Some(entry)) =
            (self.neighbours.get_mut(&from), self.frontier.get(&log))
        else {
            return;
        };
        for wanted in spans {
            for held in entry.spans() {
                let span = Span {
                    first: wanted.first.max(held.first),
                    last: wanted.last.min(held.last),
                };
                if span.first > span.last {
                    continue;
                }
                let max = if is_past {
                    SERVING_MAX
                } else {
                    2 * SERVING_MAX
                };
                if span.count() > as_u64(WINDOW_MAX) || neighbour.serving.len() >= max {
                    self.stats.wants_over_limit += 1; // No neighbour of our kind asks for so much.
                    continue;
                }
                let at = match is_past {
                    true => neighbour.serving.len(),
                    false => neighbour
                        .serving
                        .partition_point(|serving| !serving.is_past),
                };
                let serving = Serving { log, span, is_past };
                neighbour.serving.insert(at, serving);
            }
        }
        self.serve(now, from);
    }

    /// Sends what is in memory and reads what is not.
    pub(crate) fn serve(&mut self, now: Instant, machine: MachineId) {
        for _ in 0..SERVED_PER_CALL_MAX {
            let Some(serving) = self.next_to_serve(now, machine) else {
                return;
            };
            let id = BlockId {
                log: serving.log,
                sequence: serving.span.first,
            };
            let Some(block) = self.recent.get(&id).cloned() else {
                self.read(machine, serving);
                return;
            };
            self.keep_serving(machine, serving, id.sequence);
            self.send_wanted(now, machine, block, serving.is_past);
        }
        if let Some(serving) = self.next_to_serve(now, machine) {
            self.read(machine, serving); // Its answer takes up the rest.
        }
    }

    /// Takes out what a neighbour wants most, if it may be sent now.
    fn next_to_serve(&mut self, now: Instant, machine: MachineId) -> Option<Serving> {
        let neighbour = self.neighbours.get_mut(&machine)?;
        if neighbour.congested || neighbour.reading.is_some() {
            return None;
        }
        let next = neighbour.serving.front()?;
        let at = self.telling.ready_at(now);
        if next.is_past && at > now {
            self.timers.set(Timer::Telling(machine), at);
            return None;
        }
        neighbour.serving.pop_front()
    }

    /// The store read blocks for a neighbour; what it left out cannot be read.
    pub(crate) fn on_blocks_read(&mut self, now: Instant, ticket: Ticket, blocks: Vec<Block>) {
        let Some(Effect::Read(machine, serving)) = self.effects.remove(&ticket) else {
            return;
        };
        let Some(neighbour) = self.neighbours.get_mut(&machine) else {
            return;
        };
        if neighbour.reading != Some(ticket) {
            return; // It was away since it asked.
        }
        neighbour.reading = None;
        if let Some(last) = blocks.last() {
            self.keep_serving(machine, serving, last.header().sequence);
        }
        for block in blocks {
            self.send_wanted(now, machine, block, serving.is_past);
        }
        self.serve(now, machine);
    }

    fn read(&mut self, machine: MachineId, serving: Serving) {
        let ticket = self.ticket(Effect::Read(machine, serving));
        if let Some(neighbour) = self.neighbours.get_mut(&machine) {
            neighbour.reading = Some(ticket);
        }
        let is_limited = serving.is_past && self.telling.burst() < READ_BYTES_MAX;
        self.outputs.push_back(Output::Read {
            ticket,
            log: serving.log,
            span: serving.span,
            bytes_max: match is_limited {
                true => self.telling.burst(),
                false => READ_BYTES_MAX,
            },
        });
    }

    /// Puts back what of a span lies after `done`.
    fn keep_serving(&mut self, machine: MachineId, serving: Serving, done: u64) {
        if let Some(neighbour) = self.neighbours.get_mut(&machine)
            && done < serving.span.last
        {
            let first = done + 1;
            let last = serving.span.last;
            let span = Span { first, last };
            let at = match serving.is_past {
                true => neighbour.serving.partition_point(|other| !other.is_past),
                false => 0,
            };
            (neighbour.serving).insert(at, Serving { span, ..serving });
        }
    }

    fn send_wanted(&mut self, now: Instant, machine: MachineId, block: Block, is_past: bool) {
        let size = block.as_bytes().len();
        if is_past {
            self.telling.spend(now, size);
        }
        self.stats.blocks_served += 1;
        self.stats.bytes_served += as_u64(size);
        let pushed = false;
        self.send(machine, Message::Block { block, pushed });
    }
}

/// Most spans of the past that one neighbour may have waiting; as many of what is new. Source:
/// guess, four full wants.
const SERVING_MAX: usize = 4 * Message::SPANS_MAX;
/// Most blocks sent from memory in one call. Source: the window of whoever asks.
const SERVED_PER_CALL_MAX: usize = WINDOW_MAX;
/// Most bytes read at once. Unit: bytes. Source: the largest block.
const READ_BYTES_MAX: usize = Block::ENCODED_BYTES_MAX;
