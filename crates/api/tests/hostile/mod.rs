//! What a hostile client of the gRPC port can do: nothing to the others.
//!
//! The frames are written by hand (RFC 9113), because no client library sends them. In every test
//! an honest client beside the hostile one is served until the end.

use std::time::Duration;

use crate::support::{Running, reading, request, series};
use futures::stream;
use proto::v1 as pb;
use proto::v1::value::Kind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

/// A client that writes its own frames.
struct Hostile(TcpStream);

impl Hostile {
    async fn connect(node: &Running) -> Self {
        let mut stream = TcpStream::connect(node.address())
            .await
            .expect("a listener");
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        stream.write_all(preface).await.expect("written");
        let mut hostile = Self(stream);
        assert!(hostile.send(SETTINGS, 0, 0, &[]).await);
        hostile
    }

    /// Whether the server still took it.
    async fn send(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) -> bool {
        let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
        let head = [&length[1..], &[kind, flags], &id.to_be_bytes()].concat();
        self.0.write_all(&[&head, payload].concat()).await.is_ok()
    }

    /// Reads until the server ends the connection; the error code of its GOAWAY, if it sent one.
    async fn read_to_the_end(&mut self) -> Option<u32> {
        let mut code = None;
        loop {
            let mut head = [0; 9];
            if self.0.read_exact(&mut head).await.is_err() {
                return code;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).expect("a length")];
            if self.0.read_exact(&mut payload).await.is_err() {
                return code;
            }
            if head[3] == GOAWAY {
                let bytes = payload[4..8].try_into().expect("four bytes");
                code = Some(u32::from_be_bytes(bytes));
            }
        }
    }
}

/// An honest client is answered, and at once.
async fn is_served(node: &Running) {
    let one = request(vec![reading("a", Some(Kind::Integer(1)))]);
    let answers = timeout(Duration::from_secs(5), node.publish([one]));
    let answers = answers.await.expect("in time").expect("taken");
    assert_eq!(answers[0].acknowledged, 1);
}

#[tokio::test]
async fn adversarial_34_streams_opened_and_reset_at_once_end_the_connection() {
    let node = Running::start().await;
    let mut hostile = Hostile::connect(&node).await;
    let cancel = 8_u32.to_be_bytes();

    for stream in (1..20_000).step_by(2) {
        let opened = hostile.send(HEADERS, END_HEADERS, stream, GET).await;
        if !opened || !hostile.send(RST_STREAM, 0, stream, &cancel).await {
            break;
        }
    }
    let ended = timeout(Duration::from_secs(10), hostile.read_to_the_end());

    let code = ended.await.expect("the server ends it");
    assert!(matches!(code, None | Some(ENHANCE_YOUR_CALM)), "{code:?}");
    is_served(&node).await;
}

#[tokio::test]
async fn adversarial_34_headers_without_end_end_the_connection() {
    let node = Running::start().await;
    let mut hostile = Hostile::connect(&node).await;
    assert!(hostile.send(HEADERS, 0, 1, GET).await);
    // A literal header field without indexing, name and value of 8 bytes each.
    let field = [&[0, 8], &b"x-filler"[..], &[8], &b"xxxxxxxx"[..]].concat();
    let many = field.repeat(800);

    let mut sent = 0;
    while sent < 64 * 1024 * 1024 && hostile.send(CONTINUATION, 0, 1, &many).await {
        sent += many.len();
    }

    assert!(sent < 64 * 1024 * 1024, "64 MiB of headers were taken");
    is_served(&node).await;
}

#[tokio::test]
async fn adversarial_34_a_watcher_that_never_reads_costs_its_queue_and_no_more() {
    let node = Running::start().await;
    let watch = pb::WatchRequest {
        pattern: "**".to_owned(),
        since: None,
    };
    let idle = node
        .readings()
        .watch(watch.clone())
        .await
        .expect("watching");
    let mut honest = node
        .readings()
        .watch(watch)
        .await
        .expect("watching")
        .into_inner();
    let block = series("a", 4_096);

    let mut seen = 0;
    for _ in 0..200 {
        node.memory.feed.push(&block);
        let wanted = seen + block.len();
        while seen < wanted {
            let part = timeout(Duration::from_secs(5), honest.message()).await;
            seen += part
                .expect("in time")
                .expect("open")
                .expect("a part")
                .readings
                .len();
        }
    }

    assert_eq!(seen, 200 * 4_096, "whoever reads gets everything");
    let mut idle = idle.into_inner();
    let mut kept = 0;
    let status = loop {
        match idle.message().await {
            Ok(part) => kept += part.expect("an error comes first").readings.len(),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::ResourceExhausted);
    // Its queue, and what HTTP/2 let through before its windows were full.
    assert!(kept < 100 * 4_096, "{kept} readings were kept for it");
}

#[tokio::test]
async fn adversarial_34_a_request_that_would_grow_a_hundredfold_is_refused_before_it_is_decoded() {
    let node = Running::start().await;
    // Field 1, a reading, of no bytes: 2 bytes here, some 200 in memory.
    let empties = Raw([0x0a, 0].repeat(500_000));

    let status = raw_publish(&node, empties).await.expect_err("refused");

    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("8192 fields"), "{status}");
    assert_eq!(node.memory.batches(), []);
    is_served(&node).await;
}

#[tokio::test]
async fn adversarial_34_a_message_nested_ten_thousand_deep_is_refused() {
    let node = Running::start().await;
    // Groups, which may be nested in any unknown field.
    let nested = Raw([[0xfb, 0x07].repeat(10_000), [0xfc, 0x07].repeat(10_000)].concat());

    let status = raw_publish(&node, nested).await.expect_err("refused");

    assert!(
        matches!(status.code(), Code::Internal | Code::InvalidArgument),
        "{status}"
    );
    assert_eq!(node.memory.batches(), []);
    is_served(&node).await;
}

/// Bytes that are sent as if they were a message.
#[derive(Clone, Debug, Default)]
struct Raw(Vec<u8>);

impl prost::Message for Raw {
    fn encode_raw(&self, buf: &mut impl bytes::BufMut) {
        buf.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        _: u32,
        _: prost::encoding::WireType,
        _: &mut impl bytes::Buf,
        _: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// Publishes one request of any bytes, and reads the first answer.
async fn raw_publish(node: &Running, message: Raw) -> Result<(), tonic::Status> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", node.address()));
    let channel = endpoint
        .expect("an address")
        .connect()
        .await
        .expect("connected");
    let mut client = Grpc::new(channel);
    client.ready().await.expect("ready");
    let codec = ProstCodec::<Raw, pb::PublishResponse>::default();
    let path = "/fieldmesh.v1.Readings/Publish".parse().expect("a path");
    let requests = tonic::Request::new(stream::iter([message]));
    let answers = client.streaming(requests, path, codec).await?;
    answers.into_inner().message().await.map(|_| ())
}

/// `GET` and `/`, from the static table of HPACK (RFC 7541, appendix A), and the scheme `http`.
const GET: &[u8] = &[0x82, 0x84, 0x86];
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// Flag of [`HEADERS`].
const END_HEADERS: u8 = 4;
/// Error code of a peer that asks for too much.
const ENHANCE_YOUR_CALM: u32 = 11;
