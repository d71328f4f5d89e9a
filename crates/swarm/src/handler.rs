//! One connection: its three streams, what is queued for it, and whether it is alive.
//!
//! The dialler opens the streams, once. Nothing but the acceptance, pings and their answers, all on
//! the live stream, and the end of each stream is added to the application's frames.
//!
//! A link that is released says on all streams that it ends, and the other side closes the
//! connection when it has read this. Whoever closed first would lose what it had sent last: a
//! socket that is closed answers with a reset, which takes unread bytes with it.
//!
//! A link that moves to another connection ends on the old one in the same way, but what still
//! comes over it is handed on, and the new one is not read before the old one has ended. So every
//! frame arrives, and in its order.
//!
//! # Not here
//!
//! Which of several connections is the link (`links`).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future as _, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use libp2p::Stream;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol};
use tokio::time::{Sleep, sleep};
use wire::Lane;

use crate::frame::{FrameReader, FrameWriter, Kind, StreamError};
use crate::outbox::Outbox;
use crate::pulse::{Beat, Pulse};

/// What the connection is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// This connection is the link: tell the other side.
    Accept,
    /// This connection takes the place of the link: tell the other side, and read nothing yet.
    Succeed,
    /// The connection whose place this one takes has ended: read.
    Proceed,
    /// Find out soon whether the other side is still there.
    Probe,
    /// Another connection takes this one's place: send what is queued, and hand on what still
    /// comes.
    Yield,
    /// Send what is queued, and let the other side close.
    Finish,
}

/// What the connection tells.
#[derive(Debug)]
pub(crate) enum Report {
    /// All streams are open.
    Open,
    /// The other side says that this connection is the link.
    Accepted,
    /// The other side says that this connection takes the place of the link.
    Succeeds,
    /// After [`Order::Yield`]: the other side has said everything.
    Yielded,
    /// A frame of the application.
    Received(Bytes),
    /// There is room again after a frame was dropped.
    Drained,
    /// A ping was answered.
    RoundTrip(Duration),
    /// The other side had time enough to close after [`Order::Finish`] or [`Order::Yield`], or has
    /// finished as well.
    Finished,
    /// The connection is of no use any more.
    Failed(Failure),
}

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the other side has gone silent")]
    Silent,
    #[error("released by the other side")]
    Released,
    #[error("did not become the link in time")]
    NotAccepted,
    #[error("a stream could not be opened: {0}")]
    Opening(String),
    #[error("the other side broke the protocol: {0}")]
    Protocol(&'static str),
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// How long the connection waits for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
}

/// The connection.
pub(crate) struct Handler {
    phase: Phase,
    timing: Timing,
    outbox: Arc<Outbox>,
    live: Option<Channel>,
    bulk: Option<Channel>,
    command: Option<Channel>,
    to_open: Vec<Lane>,
    reports: VecDeque<Report>,
    /// Ends [`Phase::Opening`], [`Phase::Open`], [`Phase::Yielding`] and [`Phase::Finishing`].
    deadline: Pin<Box<Sleep>>,
    /// Beats in [`Phase::Linked`].
    pulse: Pulse,
    /// The connection whose place this one takes has not ended yet, so nothing is read.
    is_held: bool,
    /// The last ping that is not answered yet.
    pong: Option<Bytes>,
    /// Frames of the other streams that were read since the bulk stream had its turn.
    front_run: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The streams are being opened.
    Opening,
    /// It is being decided whether this connection is the link.
    Open,
    Linked,
    /// Another connection has taken this one's place; both sides say what they still have to say.
    Yielding,
    /// What is queued is sent and nothing more is taken; the other side closes.
    Finishing,
    /// The connection ends.
    Done,
}

struct Channel {
    stream: Stream,
    reader: FrameReader,
    writer: FrameWriter,
    /// Whether the last frame has been read, or staged.
    is_read: bool,
    is_written: bool,
}

impl Handler {
    pub(crate) fn new(is_dialler: bool, timing: Timing, outbox: Arc<Outbox>) -> Self {
        let to_open = if is_dialler {
            vec![Lane::Command, Lane::Bulk, Lane::Live]
        } else {
            Vec::new()
        };
        Self {
            phase: Phase::Opening,
            timing,
            outbox,
            live: None,
            bulk: None,
            command: None,
            to_open,
            reports: VecDeque::new(),
            deadline: Box::pin(sleep(DECISION_TIME_MAX)),
            pulse: Pulse::new(timing.ping_interval, timing.ping_timeout),
            is_held: false,
            pong: None,
            front_run: 0,
        }
    }

    fn fail(&mut self, failure: Failure) {
        if self.phase != Phase::Done {
            self.phase = Phase::Done;
            self.reports.push_back(Report::Failed(failure));
        }
    }

    fn on_stream(&mut self, lane: Lane, stream: Stream) {
        let channel = match lane {
            Lane::Live => &mut self.live,
            Lane::Bulk => &mut self.bulk,
            Lane::Command => &mut self.command,
        };
        if channel.is_some() {
            self.fail(Failure::Protocol("a second stream for one lane"));
            return;
        }
        *channel = Some(Channel {
            stream,
            reader: FrameReader::default(),
            writer: FrameWriter::default(),
            is_read: false,
            is_written: false,
        });
        let channels = [&self.live, &self.bulk, &self.command];
        if channels.into_iter().all(Option::is_some) && self.phase == Phase::Opening {
            self.phase = Phase::Open;
            self.reports.push_back(Report::Open);
        }
    }

    fn poll_timers(&mut self, cx: &mut Context<'_>) {
        match self.phase {
            Phase::Opening | Phase::Open => {
                if self.deadline.as_mut().poll(cx).is_ready() {
                    self.fail(Failure::NotAccepted);
                }
            }
            Phase::Linked => match self.pulse.poll(cx) {
                Poll::Ready(Beat::Ping(bytes)) => {
                    if let Some(live) = &mut self.live {
                        live.writer.stage(Kind::Ping, &bytes);
                    }
                    // Registers the timer that was set with the ping.
                    cx.waker().wake_by_ref();
                }
                Poll::Ready(Beat::Silent) => self.fail(Failure::Silent),
                Poll::Pending => {}
            },
            Phase::Yielding | Phase::Finishing => {
                if self.deadline.as_mut().poll(cx).is_ready() {
                    self.finish();
                }
            }
            Phase::Done => {}
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), StreamError> {
        let last = match self.phase {
            Phase::Linked => None,
            Phase::Yielding => Some(Kind::Moved),
            Phase::Finishing => Some(Kind::End),
            Phase::Opening | Phase::Open | Phase::Done => return Ok(()),
        };
        self.outbox.wake_on_push(cx);
        if let Some(live) = &mut self.live {
            if let Some(pong) = self.pong.take() {
                live.writer.stage(Kind::Pong, &pong);
            }
            live.write_all(cx, &self.outbox, Lane::Live, last)?;
        }
        if let Some(bulk) = &mut self.bulk {
            bulk.write_all(cx, &self.outbox, Lane::Bulk, last)?;
        }
        if let Some(command) = &mut self.command {
            command.write_all(cx, &self.outbox, Lane::Command, last)?;
        }
        if self.outbox.take_drained() {
            self.reports.push_back(Report::Drained);
        }
        Ok(())
    }

    /// Reads until there is something to report. Bulk comes last, but cannot be starved.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<(), StreamError> {
        while self.reports.is_empty() {
            let is_bulks_turn = self.front_run >= FRONT_RUN_MAX;
            if is_bulks_turn {
                self.front_run = 0;
            } else if self.poll_read_front(cx)? {
                self.front_run += 1;
                continue;
            }
            if !self.poll_read_data(cx, Lane::Bulk)? && !is_bulks_turn {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Live and command by turns. Whether there was a frame.
    fn poll_read_front(&mut self, cx: &mut Context<'_>) -> Result<bool, StreamError> {
        let is_commands_turn = self.front_run % 2 == 1;
        if is_commands_turn && self.poll_read_data(cx, Lane::Command)? {
            return Ok(true);
        }
        if self.poll_read_live(cx)? {
            return Ok(true);
        }
        Ok(!is_commands_turn && self.poll_read_data(cx, Lane::Command)?)
    }

    /// Whether there was a frame.
    fn poll_read_live(&mut self, cx: &mut Context<'_>) -> Result<bool, StreamError> {
        let is_read = self.phase == Phase::Open || self.reads_data();
        let live = self.live.as_mut().filter(|live| is_read && !live.is_read);
        let Some(live) = live else {
            return Ok(false);
        };
        let Poll::Ready(frame) = live.reader.poll(cx, &mut live.stream) else {
            return Ok(false);
        };
        let (kind, bytes) = frame?;
        self.pulse.on_heard();
        match (kind, self.phase) {
            (Kind::Accept, Phase::Open) => {
                self.phase = Phase::Linked;
                self.reports.push_back(Report::Accepted);
            }
            (Kind::Succeed, Phase::Open) => {
                self.phase = Phase::Linked;
                self.is_held = true;
                self.reports.push_back(Report::Succeeds);
            }
            (Kind::Data, Phase::Linked | Phase::Yielding) => {
                self.reports.push_back(Report::Received(bytes));
            }
            (Kind::Ping, Phase::Linked) => {
                self.pong = Some(bytes);
                cx.waker().wake_by_ref(); // Writing comes before reading.
            }
            (Kind::Pong, Phase::Linked) => {
                if let Some(round_trip) = self.pulse.on_pong(&bytes) {
                    self.reports.push_back(Report::RoundTrip(round_trip));
                }
            }
            (Kind::End | Kind::Moved, Phase::Linked | Phase::Yielding | Phase::Finishing) => {
                live.is_read = true;
                self.on_end(kind);
            }
            (Kind::Ping | Kind::Pong, Phase::Yielding)
            | (Kind::Data | Kind::Ping | Kind::Pong, Phase::Finishing) => {}
            _ => self.fail(Failure::Protocol("a frame out of turn")),
        }
        Ok(true)
    }

    /// Whether there was a frame on a lane that carries nothing else than the application's.
    /// Nothing is read before this connection is the link.
    fn poll_read_data(&mut self, cx: &mut Context<'_>, lane: Lane) -> Result<bool, StreamError> {
        let is_read = self.reads_data();
        let channel = match lane {
            Lane::Live => &mut self.live,
            Lane::Bulk => &mut self.bulk,
            Lane::Command => &mut self.command,
        };
        let channel = channel.as_mut().filter(|c| is_read && !c.is_read);
        let Some(channel) = channel else {
            return Ok(false);
        };
        let Poll::Ready(frame) = channel.reader.poll(cx, &mut channel.stream) else {
            return Ok(false);
        };
        let (kind, bytes) = frame?;
        self.pulse.on_heard();
        match kind {
            Kind::Data if self.phase == Phase::Finishing => {}
            Kind::Data => self.reports.push_back(Report::Received(bytes)),
            Kind::End | Kind::Moved => {
                channel.is_read = true;
                self.on_end(kind);
            }
            Kind::Ping | Kind::Pong | Kind::Accept | Kind::Succeed => {
                self.fail(Failure::Protocol("a frame on the wrong lane"));
            }
        }
        Ok(true)
    }

    /// Whether the application's frames are read.
    fn reads_data(&self) -> bool {
        match self.phase {
            Phase::Linked => !self.is_held,
            Phase::Yielding | Phase::Finishing => true,
            Phase::Opening | Phase::Open | Phase::Done => false,
        }
    }

    /// The other side has said on one stream that it ends, and how.
    fn on_end(&mut self, kind: Kind) {
        if !self.is_all_read() {
            return;
        }
        match (self.phase, kind) {
            (Phase::Finishing, _) => self.finish(),
            (_, Kind::Moved) => {
                self.reports.push_back(Report::Yielded);
                // What this side has said may still be on its way.
                self.deadline = Box::pin(sleep(FINISHING_TIME_MAX));
            }
            _ => self.fail(Failure::Released),
        }
    }

    fn is_all_read(&self) -> bool {
        let is_read = |channel: &Option<Channel>| channel.as_ref().is_some_and(|c| c.is_read);
        let channels = [&self.live, &self.bulk, &self.command];
        channels.into_iter().all(is_read)
    }

    fn finish(&mut self) {
        self.phase = Phase::Done;
        self.reports.push_back(Report::Finished);
    }
}

impl Channel {
    /// Writes what is staged and queued, as far as it goes, and then the last frame, if there is
    /// one.
    fn write_all(
        &mut self,
        cx: &mut Context<'_>,
        outbox: &Outbox,
        lane: Lane,
        last: Option<Kind>,
    ) -> Result<(), StreamError> {
        loop {
            while self.writer.has_room()
                && let Some(frame) = outbox.pop(lane)
            {
                self.writer.stage(Kind::Data, &frame);
            }
            if let Some(last) = last
                && !self.is_written
                && self.writer.has_room()
            {
                self.writer.stage(last, &[]);
                self.is_written = true;
            }
            if self.writer.is_idle() {
                return Ok(());
            }
            match self.writer.poll(cx, &mut self.stream) {
                Poll::Ready(written) => written?,
                Poll::Pending => return Ok(()),
            }
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Order;
    type ToBehaviour = Report;
    type InboundProtocol = Lanes;
    type OutboundProtocol = Lanes;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Lanes> {
        SubstreamProtocol::new(Lanes(&[Lane::Live, Lane::Bulk, Lane::Command]), ())
    }

    /// The swarm says when a connection ends.
    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Lanes, (), Report>> {
        if let Some(report) = self.reports.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report));
        }
        if let Some(lane) = self.to_open.pop() {
            let lanes = match lane {
                Lane::Live => Lanes(&[Lane::Live]),
                Lane::Bulk => Lanes(&[Lane::Bulk]),
                Lane::Command => Lanes(&[Lane::Command]),
            };
            let protocol = SubstreamProtocol::new(lanes, ());
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        self.poll_timers(cx);
        let polled = self.poll_write(cx).and_then(|()| self.poll_read(cx));
        if let Err(error) = polled {
            self.fail(error.into());
        }
        match self.reports.pop_front() {
            Some(report) => Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report)),
            None => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, order: Order) {
        match (order, self.phase) {
            (Order::Accept, Phase::Open) => {
                self.phase = Phase::Linked;
                if let Some(live) = &mut self.live {
                    live.writer.stage(Kind::Accept, &[]);
                }
            }
            (Order::Succeed, Phase::Open) => {
                self.phase = Phase::Linked;
                self.is_held = true;
                if let Some(live) = &mut self.live {
                    live.writer.stage(Kind::Succeed, &[]);
                }
            }
            (Order::Proceed, _) => self.is_held = false,
            (Order::Yield, Phase::Linked) => {
                self.phase = Phase::Yielding;
                let time = if self.is_all_read() {
                    FINISHING_TIME_MAX
                } else {
                    YIELDING_TIME_MAX
                };
                self.deadline = Box::pin(sleep(time));
            }
            (Order::Probe, Phase::Linked) => {
                self.pulse
                    .probe(PROBE_TIME_MAX.min(self.timing.ping_timeout));
            }
            (Order::Finish, Phase::Linked) => {
                self.phase = Phase::Finishing;
                self.deadline = Box::pin(sleep(FINISHING_TIME_MAX));
            }
            _ => {} // The connection has failed meanwhile, and its report is on the way.
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "neither addresses nor protocols change, and inbound streams cannot fail"
    )]
    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Lanes, Lanes>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol, ..
            })
            | ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol, ..
            }) => {
                let (lane, stream) = protocol;
                self.on_stream(lane, stream);
            }
            ConnectionEvent::DialUpgradeError(error) => {
                self.fail(Failure::Opening(error.error.to_string()));
            }
            _ => {}
        }
    }
}

/// The streams that may be opened, each a protocol of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lanes(&'static [Lane]);

/// [`Lane`] as libp2p sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneProtocol(Lane);

impl AsRef<str> for LaneProtocol {
    fn as_ref(&self) -> &str {
        match self.0 {
            Lane::Live => "/fieldmesh/wire/1/live",
            Lane::Bulk => "/fieldmesh/wire/1/bulk",
            Lane::Command => "/fieldmesh/wire/1/command",
        }
    }
}

impl UpgradeInfo for Lanes {
    type Info = LaneProtocol;
    type InfoIter = Vec<LaneProtocol>;

    fn protocol_info(&self) -> Vec<LaneProtocol> {
        self.0.iter().copied().map(LaneProtocol).collect()
    }
}

impl InboundUpgrade<Stream> for Lanes {
    type Output = (Lane, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: LaneProtocol) -> Self::Future {
        ready(Ok((protocol.0, stream)))
    }
}

impl OutboundUpgrade<Stream> for Lanes {
    type Output = (Lane, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, protocol: LaneProtocol) -> Self::Future {
        ready(Ok((protocol.0, stream)))
    }
}

/// How long a connection may wait to become the link. Source: guess, above [`PROBE_TIME_MAX`].
const DECISION_TIME_MAX: Duration = Duration::from_secs(5);
/// How long an old link has to prove that it is alive when a new connection is there.
/// Source: guess, above two retransmissions in a local network.
const PROBE_TIME_MAX: Duration = Duration::from_secs(2);
/// How long both sides may take to say the rest on a connection that another one takes the place
/// of. Source: guess, above what is on the way at a quiet moment, below the silence that ends a
/// link.
const YIELDING_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the other side may take to read what is left and to close. Source: guess.
const FINISHING_TIME_MAX: Duration = Duration::from_secs(1);
/// Frames that may be read in a row before bulk has its turn. Source: guess.
const FRONT_RUN_MAX: u8 = 16;
