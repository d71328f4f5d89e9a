//! One copy of each block and state, however many machines hold it.

use std::collections::BTreeMap;

use bytes::Bytes;
use gossip::Message;
use model::{Block, State};
use wire::Frame;

/// Every block and state that has travelled, by its bytes.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    blocks: BTreeMap<Bytes, Block>,
    states: BTreeMap<Bytes, State>,
}

impl Shared {
    /// Puts the copies that are known in place of the equal ones that were just decoded.
    pub(crate) fn share(&mut self, frame: &mut Frame) {
        match frame {
            Frame::Gossip(Message::Block { block, .. }) => {
                let known = self.blocks.entry(block.as_bytes().clone());
                *block = known.or_insert_with(|| block.clone()).clone();
            }
            Frame::Gossip(Message::States(states)) => {
                for state in states {
                    let known = self.states.entry(state.as_bytes().clone());
                    *state = known.or_insert_with(|| state.clone()).clone();
                }
            }
            Frame::Gossip(_) | Frame::Overlay(_) | Frame::Election(_) | Frame::Command(_) => {}
        }
    }
}
