//! Frames on a stream: a kind, a length, that many bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::{AsyncRead, AsyncWrite};

/// What is said about a frame's bytes before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The application's; opaque here.
    Data = 0,
    /// Answer with the same bytes, at once.
    Ping = 1,
    /// The answer.
    Pong = 2,
    /// This connection is the link (see `links`); no bytes follow.
    Accept = 3,
    /// Nothing more comes on this stream; no bytes follow.
    End = 4,
    /// This connection takes the place of the link, which ends; no bytes follow.
    Succeed = 5,
    /// What follows comes over the connection that takes this one's place; no bytes follow.
    Moved = 6,
}

/// Why a stream is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("closed by the other side")]
    Closed,
    #[error("frame of {0} bytes exceeds the limit of {limit}", limit = wire::FRAME_BYTES_MAX)]
    TooLong(usize),
    #[error("frame of unknown kind {0}")]
    Kind(u8),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads frames. A frame's length is checked before memory is set aside for it, and memory grows
/// only as its bytes arrive.
#[derive(Debug, Default)]
pub(crate) struct FrameReader {
    header: [u8; HEADER_BYTES],
    header_filled: usize,
    /// The frame whose header is complete, and how many bytes it will have.
    body: Option<(Kind, BytesMut, usize)>,
}

impl FrameReader {
    /// Gives the next frame.
    pub(crate) fn poll<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<Result<(Kind, Bytes), StreamError>> {
        loop {
            match self.body.take() {
                None => {
                    ready!(self.poll_header(cx, stream))?;
                    self.body = Some(parse_header(self.header)?);
                    self.header_filled = 0;
                }
                Some((kind, bytes, length)) if bytes.len() == length => {
                    return Poll::Ready(Ok((kind, bytes.freeze())));
                }
                Some((kind, mut bytes, length)) => {
                    let polled = poll_body(cx, stream, &mut bytes, length);
                    self.body = Some((kind, bytes, length));
                    ready!(polled)?;
                }
            }
        }
    }

    fn poll_header<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<Result<(), StreamError>> {
        while self.header_filled < HEADER_BYTES {
            let rest = &mut self.header[self.header_filled..];
            let count = ready!(Pin::new(&mut *stream).poll_read(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(StreamError::Closed));
            }
            self.header_filled += count;
        }
        Poll::Ready(Ok(()))
    }
}

fn parse_header(header: [u8; HEADER_BYTES]) -> Result<(Kind, BytesMut, usize), StreamError> {
    let [kind, a, b, c, d] = header;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    let (kind, limit) = match kind {
        0 => (Kind::Data, wire::FRAME_BYTES_MAX),
        1 => (Kind::Ping, PING_BYTES),
        2 => (Kind::Pong, PING_BYTES),
        3 => (Kind::Accept, 0),
        4 => (Kind::End, 0),
        5 => (Kind::Succeed, 0),
        6 => (Kind::Moved, 0),
        unknown => return Err(StreamError::Kind(unknown)),
    };
    if length > limit {
        return Err(StreamError::TooLong(length));
    }
    let bytes = BytesMut::with_capacity(length.min(READ_BYTES));
    Ok((kind, bytes, length))
}

fn poll_body<S: AsyncRead + Unpin>(
    cx: &mut Context<'_>,
    stream: &mut S,
    bytes: &mut BytesMut,
    length: usize,
) -> Poll<Result<(), StreamError>> {
    let filled = bytes.len();
    bytes.resize(length.min(filled + READ_BYTES), 0);
    let polled = Pin::new(stream).poll_read(cx, &mut bytes[filled..]);
    let count = match &polled {
        Poll::Ready(Ok(count)) => *count,
        Poll::Ready(Err(_)) | Poll::Pending => 0,
    };
    bytes.truncate(filled + count);
    match ready!(polled)? {
        0 => Poll::Ready(Err(StreamError::Closed)),
        _ => Poll::Ready(Ok(())),
    }
}

/// Writes frames, several small ones at a time.
#[derive(Debug, Default)]
pub(crate) struct FrameWriter {
    staged: BytesMut,
    needs_flush: bool,
}

impl FrameWriter {
    /// Whether another frame may be staged before what is staged has been written.
    pub(crate) fn has_room(&self) -> bool {
        self.staged.len() < STAGED_BYTES_MAX
    }

    /// Whether everything that was staged is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        self.staged.is_empty() && !self.needs_flush
    }

    pub(crate) fn stage(&mut self, kind: Kind, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("a frame is far below 4 GiB");
        self.staged.reserve(HEADER_BYTES + bytes.len());
        self.staged.put_u8(kind as u8);
        self.staged.put_u32(length);
        self.staged.put_slice(bytes);
    }

    /// Writes and flushes what is staged.
    pub(crate) fn poll<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        while !self.staged.is_empty() {
            let count = ready!(Pin::new(&mut *stream).poll_write(cx, &self.staged))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.staged.advance(count);
            self.needs_flush = true;
        }
        if self.needs_flush {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }
}

/// Kind and length. Unit: bytes.
const HEADER_BYTES: usize = 5;
/// What a ping carries. Unit: bytes.
pub(crate) const PING_BYTES: usize = 8;
/// Most that is read, and set aside for reading, at a time. Unit: bytes. Source: one Yamux frame.
const READ_BYTES: usize = 16 * 1024;
/// No more frames are staged beyond this. Unit: bytes. Source: one Yamux frame.
const STAGED_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use futures::io::Cursor;

    use super::*;

    fn staged(kind: Kind, bytes: &[u8]) -> Vec<u8> {
        let mut writer = FrameWriter::default();
        writer.stage(kind, bytes);
        writer.staged.to_vec()
    }

    fn read(bytes: &[u8]) -> Vec<Result<(Kind, Bytes), String>> {
        let (mut reader, mut stream) = (FrameReader::default(), Cursor::new(bytes));
        let mut cx = Context::from_waker(Waker::noop());
        let mut frames = Vec::new();
        while let Poll::Ready(frame) = reader.poll(&mut cx, &mut stream) {
            let is_end = frame.is_err();
            frames.push(frame.map_err(|error| error.to_string()));
            if is_end {
                break;
            }
        }
        frames
    }

    #[test]
    fn frames_of_every_size_read_back() {
        for size in [0, 1, READ_BYTES, READ_BYTES + 1, wire::FRAME_BYTES_MAX] {
            let bytes = vec![7; size];
            let mut stream = staged(Kind::Data, &bytes);
            stream.extend(staged(Kind::Ping, &[1; PING_BYTES]));

            let frames = read(&stream);

            assert_eq!(frames[0], Ok((Kind::Data, bytes.into())));
            assert_eq!(
                frames[1],
                Ok((Kind::Ping, Bytes::from_static(&[1; PING_BYTES])))
            );
            assert_eq!(frames[2], Err("closed by the other side".to_owned()));
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_bytes_arrive() {
        let long = u32::try_from(wire::FRAME_BYTES_MAX + 1).expect("small");
        let header = |kind: u8, length: u32| [&[kind][..], &length.to_be_bytes()].concat();

        for header in [
            header(0, long),
            header(0, u32::MAX),
            header(1, 9),
            header(3, 1),
        ] {
            let frames = read(&header);
            let error = frames[0].as_ref().expect_err("refused");
            assert!(error.contains("exceeds the limit"), "{error}");
        }
        assert_eq!(
            read(&header(9, 0)),
            [Err("frame of unknown kind 9".to_owned())]
        );
    }
}
