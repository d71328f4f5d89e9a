//! What a member may do to Yamux, over TCP: `adversarial.md`, by its numbers.
//!
//! The member writes frames by hand. Over TCP no stream has gaps, so what is held open is read by
//! nobody instead.

use futures::future::poll_fn;
use libp2p::core::muxing::StreamMuxerExt as _;
use libp2p::core::upgrade::{InboundConnectionUpgrade as _, UpgradeInfo as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_util::compat::TokioAsyncReadCompatExt as _;

use crate::admission::{STREAMS_MAX, yamux_config};

/// Source: <https://github.com/hashicorp/yamux/blob/master/spec.md>.
const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 1;
const PING: u8 = 2;
const GO_AWAY: u8 = 3;
const SYN: u16 = 1;
const ACK: u16 = 2;
const RST: u16 = 8;
const HEADER_BYTES: usize = 12;
/// What may be sent on a stream before it is read. Unit: bytes. Source: the same.
const WINDOW_BYTES: usize = 256 * 1024;

fn header(kind: u8, flags: u16, stream: usize, length: usize) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).expect("small").to_be_bytes();
    let mut header = vec![0, kind];
    header.extend(flags.to_be_bytes());
    header.extend(number(stream));
    header.extend(number(length));
    header
}

/// Opens a stream, of which this is the number, with so many bytes on it.
fn open(number: usize, bytes: usize) -> Vec<u8> {
    let mut frame = header(DATA, SYN, 2 * number + 1, bytes);
    frame.resize(HEADER_BYTES + bytes, 7);
    frame
}

/// Whether a connection takes all that a member sends; nothing on its streams is read. What it does
/// not take it answers with the wish to part, and keeps none of it.
async fn takes(frames: impl IntoIterator<Item = Vec<u8>>) -> bool {
    let (ours, theirs) = duplex(64 * 1024);
    let config = yamux_config();
    let protocol = config.protocol_info().next().expect("there is one");
    let muxer = config.upgrade_inbound(ours.compat(), protocol).await;
    let mut muxer = muxer.expect("nothing is exchanged");
    let (mut from, mut to) = tokio::io::split(theirs);
    let serving = async {
        let mut held = Vec::new();
        while let Ok(stream) = poll_fn(|cx| muxer.poll_inbound_unpin(cx)).await {
            held.push(stream);
        }
    };
    let sending = async {
        for frame in frames {
            if to.write_all(&frame).await.is_err() {
                return;
            }
        }
        let _ = to.write_all(&header(PING, SYN, 0, 9)).await; // It may have ended.
    };
    let reading = async {
        let mut answer = [0; HEADER_BYTES];
        while from.read_exact(&mut answer).await.is_ok() && answer[1] != GO_AWAY {
            if answer[..] == header(PING, ACK, 0, 9) {
                return true;
            }
        }
        false
    };
    let all = async {
        tokio::select! {
            taken = reading => taken,
            () = async { tokio::join!(serving, sending); } => false,
        }
    };
    let limit = std::time::Duration::from_secs(10);
    tokio::time::timeout(limit, all).await.expect("an end")
}

#[tokio::test]
async fn adversarial_33_streams_that_nobody_reads_cost_their_windows_and_no_more() {
    let full = || (0..STREAMS_MAX).map(|number| open(number, WINDOW_BYTES));
    let more = || {
        let mut frame = header(DATA, 0, 1, 1);
        frame.push(7);
        frame
    };

    assert!(takes(full()).await);
    assert!(!takes(full().chain([more()])).await);
}

#[tokio::test]
async fn adversarial_34_more_streams_than_allowed_are_refused() {
    let streams = |count: usize| (0..count).map(|number| open(number, 0));

    assert!(takes(streams(STREAMS_MAX)).await);
    assert!(!takes(streams(STREAMS_MAX + 1)).await);
}

#[tokio::test]
async fn adversarial_34_streams_reset_at_once_count_until_they_are_let_go() {
    let storm = |count: usize| {
        (0..count).flat_map(|number| {
            let reset = header(DATA, RST, 2 * number + 1, 0);
            [open(number, 0), reset]
        })
    };

    assert!(takes(storm(STREAMS_MAX)).await);
    assert!(!takes(storm(10_000)).await);
}

#[tokio::test]
async fn adversarial_34_lengths_and_windows_beyond_all_bounds_are_refused() {
    let huge = usize::try_from(u32::MAX).expect("64 bits");
    let too_long = header(DATA, SYN, 1, huge);
    let first_window = header(WINDOW_UPDATE, SYN, 1, huge);
    let second_window = header(WINDOW_UPDATE, 0, 1, huge);
    let window = || header(WINDOW_UPDATE, SYN, 1, WINDOW_BYTES);

    assert!(!takes([too_long]).await);
    assert!(!takes([first_window]).await);
    assert!(!takes([window(), second_window]).await);
    assert!(takes([window()]).await);
}
