//! The frames that wait to be sent over one connection.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use bytes::Bytes;
use wire::Lane;

/// What became of a frame that was given to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Sending {
    /// It is queued.
    Sent,
    /// There is no room and it was dropped; [`crate::Event::Drained`] says when there is.
    Full,
    /// There is no link to that machine.
    NoLink,
}

/// One queue for each lane, filled by the swarm and emptied by the connection's task.
#[derive(Debug)]
pub(crate) struct Outbox {
    frames_max: usize,
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    live: Queue,
    bulk: Queue,
    command: Queue,
    /// A frame was dropped, and the swarm has not been told yet that there is room again.
    is_congested: bool,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl Outbox {
    pub(crate) fn new(frames_max: usize, bytes_max: usize) -> Self {
        Self {
            frames_max,
            bytes_max,
            state: Mutex::default(),
        }
    }

    /// Queues a frame if there is room, and wakes the task that sends.
    pub(crate) fn push(&self, lane: Lane, frame: Bytes) -> Sending {
        let mut state = self.lock();
        let queue = state.queue(lane);
        let fits = queue.frames.len() < self.frames_max
            && queue.bytes.saturating_add(frame.len()) <= self.bytes_max;
        if !fits && !queue.frames.is_empty() {
            state.is_congested = true;
            return Sending::Full;
        }
        queue.bytes += frame.len();
        queue.frames.push_back(frame);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        Sending::Sent
    }

    /// Takes the oldest frame of a lane.
    pub(crate) fn pop(&self, lane: Lane) -> Option<Bytes> {
        let mut state = self.lock();
        let queue = state.queue(lane);
        let frame = queue.frames.pop_front()?;
        queue.bytes -= frame.len();
        Some(frame)
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.lock();
        let queues = [&state.live, &state.bulk, &state.command];
        queues.into_iter().all(|queue| queue.frames.is_empty())
    }

    /// Has `cx` woken when a frame is queued.
    pub(crate) fn wake_on_push(&self, cx: &Context<'_>) {
        self.lock().waker = Some(cx.waker().clone());
    }

    /// Whether there is room again after a frame was dropped; says so once.
    pub(crate) fn take_drained(&self) -> bool {
        let mut state = self.lock();
        let has_room = |queue: &Queue| {
            queue.frames.len() <= self.frames_max / 2 && queue.bytes <= self.bytes_max / 2
        };
        let is_drained = state.is_congested
            && [&state.live, &state.bulk, &state.command]
                .into_iter()
                .all(has_room);
        if is_drained {
            state.is_congested = false;
        }
        is_drained
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics halfway, so what a poisoned lock guards is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn queue(&mut self, lane: Lane) -> &mut Queue {
        match lane {
            Lane::Live => &mut self.live,
            Lane::Bulk => &mut self.bulk,
            Lane::Command => &mut self.command,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Bytes = Bytes::from_static(b"four");

    #[test]
    fn a_full_lane_drops_and_says_once_that_there_is_room_again() {
        let outbox = Outbox::new(4, 1_000);

        let queued = [(); 5].map(|()| outbox.push(Lane::Bulk, FRAME));
        assert_eq!(queued[3..], [Sending::Sent, Sending::Full]);
        assert_eq!(outbox.push(Lane::Live, FRAME), Sending::Sent);
        assert!(!outbox.take_drained());

        outbox.pop(Lane::Bulk);
        assert!(!outbox.take_drained());
        outbox.pop(Lane::Bulk);

        assert!(outbox.take_drained());
        assert!(!outbox.take_drained());
    }

    #[test]
    fn bytes_are_bounded_but_a_single_frame_always_fits() {
        let outbox = Outbox::new(100, 6);

        assert_eq!(
            outbox.push(Lane::Live, Bytes::from_static(b"0123456789")),
            Sending::Sent
        );
        assert_eq!(outbox.push(Lane::Live, FRAME), Sending::Full);
        assert_eq!(outbox.push(Lane::Bulk, FRAME), Sending::Sent);
        assert_eq!(outbox.push(Lane::Bulk, FRAME), Sending::Full);
    }
}
