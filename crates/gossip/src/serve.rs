//! Answers to wants: from memory if the block came lately, else from the store, one read at a time
//! for each neighbour and none while its queue is full.

use model::{Block, BlockId, LogId, MachineId};
use statemachine::Ticket;

use crate::machine::Effect;
use crate::neighbour::WINDOW_MAX;
use crate::spread::as_u64;
use crate::{Fault, Gossip, Message, Output, Span};

impl Gossip {
    /// A neighbour wants blocks: queue what of it is held.
    pub(crate) fn on_want(&mut self, from: MachineId, log: LogId, spans: &[Span]) {
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
                if span.count() > as_u64(WINDOW_MAX) || neighbour.serving.len() >= SERVING_MAX {
                    self.stats.wants_over_limit += 1; // No neighbour of our kind asks for so much.
                    continue;
                }
                neighbour.serving.push_back((log, span));
            }
        }
        self.serve(from);
    }

    /// Sends what is in memory and reads what is not.
    pub(crate) fn serve(&mut self, machine: MachineId) {
        for _ in 0..SERVED_PER_CALL_MAX {
            let Some(neighbour) = self.neighbours.get_mut(&machine) else {
                return;
            };
            if neighbour.congested || neighbour.reading.is_some() {
                return;
            }
            let Some((log, span)) = neighbour.serving.pop_front() else {
                return;
            };
            let id = BlockId {
                log,
                sequence: span.first,
            };
            let Some(block) = self.recent.get(&id).cloned() else {
                self.read(machine, log, span);
                return;
            };
            self.keep_serving(machine, log, span, span.first);
            self.send_wanted(machine, block);
        }
        let Some(neighbour) = self.neighbours.get_mut(&machine) else {
            return;
        };
        if let Some((log, span)) = neighbour.serving.pop_front() {
            self.read(machine, log, span); // Its answer takes up the rest.
        }
    }

    /// The store read blocks for a neighbour; what it left out cannot be read.
    pub(crate) fn on_blocks_read(&mut self, ticket: Ticket, blocks: Vec<Block>) {
        let Some(Effect::Read(machine, log, span)) = self.effects.remove(&ticket) else {
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
            self.keep_serving(machine, log, span, last.header().sequence);
        }
        for block in blocks {
            self.send_wanted(machine, block);
        }
        self.serve(machine);
    }

    fn read(&mut self, machine: MachineId, log: LogId, span: Span) {
        let ticket = self.ticket(Effect::Read(machine, log, span));
        if let Some(neighbour) = self.neighbours.get_mut(&machine) {
            neighbour.reading = Some(ticket);
        }
        self.outputs.push_back(Output::Read {
            ticket,
            log,
            span,
            bytes_max: READ_BYTES_MAX,
        });
    }

    /// Puts back what of a span lies after `done`.
    fn keep_serving(&mut self, machine: MachineId, log: LogId, span: Span, done: u64) {
        if let Some(neighbour) = self.neighbours.get_mut(&machine)
            && done < span.last
        {
            let first = done + 1;
            let last = span.last;
            (neighbour.serving).push_front((log, Span { first, last }));
        }
    }

    fn send_wanted(&mut self, machine: MachineId, block: Block) {
        self.stats.blocks_served += 1;
        self.stats.bytes_served += as_u64(block.as_bytes().len());
        let pushed = false;
        self.send(machine, Message::Block { block, pushed });
    }
}

/// Most spans that one neighbour may have waiting. Source: guess, four full wants.
const SERVING_MAX: usize = 4 * Message::SPANS_MAX;
/// Most blocks sent from memory in one call. Source: the window of whoever asks.
const SERVED_PER_CALL_MAX: usize = WINDOW_MAX;
/// Most bytes read at once. Unit: bytes. Source: the largest block.
const READ_BYTES_MAX: usize = Block::ENCODED_BYTES_MAX;
