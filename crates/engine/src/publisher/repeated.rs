//! Publishers that number their batches: what they send again is stored once.

use model::{Position, PublisherMark};

use super::Publisher;
use super::batch::{Mark, Waiting};
use crate::AckLevel;

impl Publisher {
    /// A repeated batch is answered when the block that holds it is as safe as was asked for.
    pub(super) fn wait_for(&mut self, block: Option<Position>, waiting: Waiting) {
        if waiting.level == AckLevel::Accepted {
            self.effects.push(waiting.reply(Ok(())));
            return;
        }
        let Some(block) = block else {
            self.gathered.waiting.push(waiting);
            return;
        };
        if let Some(others) = self.unsynced.get_mut(&block) {
            others.push(waiting);
        } else if waiting.level == AckLevel::Durable || block.sequence == 0 {
            self.effects.push(waiting.reply(Ok(())));
        } else {
            self.unreplicated.wait(block, waiting, &mut self.effects);
        }
    }

    pub(super) fn note_mark(&mut self, mark: PublisherMark) {
        if self.marks.len() >= MARKS_MAX && !self.marks.contains_key(&mark.publisher) {
            let stored = self.marks.iter().filter(|(_, mark)| mark.block.is_some());
            let oldest = stored.min_by_key(|(_, mark)| mark.block);
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                self.marks.remove(&name);
            }
        }
        self.gathered
            .marks
            .insert(mark.publisher.clone(), mark.sequence);
        self.marks.insert(
            mark.publisher,
            Mark {
                sequence: mark.sequence,
                block: None,
            },
        );
    }
}

/// Numbering publishers that are remembered; beyond it the one that was quiet longest is not.
/// Source: guess.
const MARKS_MAX: usize = 4_096;
