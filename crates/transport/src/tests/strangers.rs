//! What strangers may send, and that they hear nothing: `adversarial.md`, by its numbers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use handshake::{ConnectionIdKind, VERSION, connection_id};
use quinn::crypto::rustls::QuicClientConfig;

use super::node::*;
use super::wire::{Stranger, Way, Wire};
use crate::Stats;

/// Has a stranger send this to a machine, and a member get through afterwards.
async fn nothing_is_answered_to(datagrams: impl IntoIterator<Item = Vec<u8>>) -> Stats {
    let (mut member, mut machine) = (Node::new(1), Node::new(2));
    let at = machine.listen().await;
    let stranger = Stranger::new().await;

    for datagram in datagrams {
        stranger.send(at, &datagram).await;
    }
    let wire = Wire::to(at).await;
    let _kept = connect(&mut member, &mut machine, wire.at).await;

    let heard = stranger.heard(QUIET).await;
    let bytes: usize = heard.iter().map(Vec::len).sum();
    assert_eq!(bytes, 0, "{heard:?}");
    assert!(wire.bytes(Way::Back) > 1_200);
    machine.handle.stats()
}

/// Numbers without a pattern, the same in every run.
struct Noise(u64);

impl Noise {
    /// Source: Marsaglia, "Xorshift RNGs", 2003.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit).expect("small")).expect("small")
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let words = (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes());
        words.take(length).collect()
    }
}

/// The start of a packet with a long header.
fn long(first: u8, version: u32, id: &[u8]) -> Vec<u8> {
    let mut datagram = vec![first];
    datagram.extend(version.to_be_bytes());
    datagram.push(u8::try_from(id.len()).expect("short"));
    datagram.extend(id);
    datagram
}

fn filled(mut datagram: Vec<u8>, noise: &mut Noise, length: usize) -> Vec<u8> {
    let missing = length.saturating_sub(datagram.len());
    datagram.extend(noise.bytes(missing));
    datagram
}

#[tokio::test]
async fn adversarial_01_a_million_random_datagrams_get_no_answer() {
    let mut noise = Noise(1);
    let blank = noise.bytes(1_500);
    let datagrams = (0..1_000_000).map(|number: u32| {
        let length = 1 + noise.below(1_500);
        let mut datagram = blank[..length].to_vec();
        let head = length.min(24);
        datagram[..head].copy_from_slice(&noise.bytes(head));
        // One in four begins like a first datagram of this network.
        if number.is_multiple_of(4) && length > 6 {
            datagram[0] = 0xc0 | (datagram[0] & 0x3f);
            datagram[1..5].copy_from_slice(&VERSION.to_be_bytes());
            datagram[5] = 16;
        }
        datagram
    });

    let stats = nothing_is_answered_to(datagrams).await;
    // Half have a short header, and the kernel may have lost some.
    assert!(stats.datagrams_foreign > 300_000, "{stats:?}");
}

#[tokio::test]
async fn adversarial_02_probes_for_versions_get_no_answer() {
    let mut noise = Noise(2);
    let versions = [
        0,
        1,
        0x6b33_43cf,
        0xff00_001d,
        0x1a2a_3a4a,
        VERSION ^ 1,
        u32::MAX,
    ];
    let probes = versions.into_iter().flat_map(|version| {
        [0xc0, 0xd0, 0xe0, 0xf0].map(|first| {
            let id = noise.bytes(16);
            filled(long(first, version, &id), &mut noise, 1_200)
        })
    });

    let stats = nothing_is_answered_to(probes.collect::<Vec<_>>()).await;
    assert_eq!(stats.datagrams_foreign, 7 * 4);
}

#[tokio::test]
async fn adversarial_03_short_headers_get_no_answer() {
    let mut noise = Noise(3);
    let random = (0..1_000).map(|_| {
        let length = 20 + noise.below(1_400);
        let mut datagram = noise.bytes(length);
        datagram[0] = 0x40 | (datagram[0] & 0x3f);
        datagram
    });
    let mut datagrams: Vec<_> = random.collect();
    // Ids that were guessed right, whose connections do not exist.
    let ring = ring(NETWORK_KEY);
    let issued = ConnectionIdKind::Issued(local(2).machine());
    datagrams.extend((0..1_000_u64).map(|number| {
        let id = connection_id(ring.current(), issued, number.to_le_bytes());
        let mut datagram = vec![0x40];
        datagram.extend(id);
        filled(datagram, &mut noise, 1_200)
    }));

    nothing_is_answered_to(datagrams).await;
}

#[tokio::test]
async fn adversarial_04_initials_to_ids_of_every_length_get_no_answer() {
    let mut noise = Noise(4);
    let initials = (0..=20).flat_map(|length| {
        [1, VERSION].map(|version| {
            let id = noise.bytes(length);
            filled(long(0xc0, version, &id), &mut noise, 1_200)
        })
    });

    let stats = nothing_is_answered_to(initials.collect::<Vec<_>>()).await;
    assert_eq!(stats.datagrams_foreign, 21 + 19); // Of ours, 12 and 16 bytes look right.
}

#[tokio::test]
async fn adversarial_05_a_valid_initial_of_quic_with_tls_gets_no_answer() {
    let (mut member, mut machine) = (Node::new(1), Node::new(2));
    let at = machine.listen().await;
    let (of_tls, of_member) = (Wire::to(at).await, Wire::to(at).await);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring knows TLS 1.3")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let tls = QuicClientConfig::try_from(tls).expect("a suite for Initials");
    let anywhere: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let client = quinn::Endpoint::client(anywhere).expect("a socket");
    let config = quinn::ClientConfig::new(Arc::new(tls));

    let connecting = client.connect_with(config, of_tls.at, "localhost");
    let connecting = connecting.expect("a dial");
    let answered = tokio::time::timeout(Duration::from_secs(2), connecting).await;
    let _kept = connect(&mut member, &mut machine, of_member.at).await;

    assert!(answered.is_err(), "{answered:?}");
    assert!(of_tls.bytes(Way::There) >= 1_200);
    assert_eq!(of_tls.bytes(Way::Back), 0);
    assert!(of_member.bytes(Way::Back) > 1_200);
}

#[tokio::test]
async fn adversarial_09_forged_answers_do_not_disturb_a_dial() {
    let mut noise = Noise(9);
    let (mut from, mut to) = (Node::new(1), Node::new(2));
    let at = to.listen().await;
    // Before each answer come an offer of versions, a Retry and a reset. Whoever forges has seen
    // the ids on the way.
    let mut ids = (Vec::new(), Vec::new());
    let wire = Wire::with(at, move |way, datagram| {
        if way == Way::There {
            if ids.0.is_empty() {
                let (to, rest) = split_id(&datagram[5..]);
                ids = (to, split_id(rest).0);
            }
            return vec![datagram.to_vec()];
        }
        let mut offer = long(0x80, 0, &ids.1);
        offer.push(u8::try_from(ids.0.len()).expect("short"));
        offer.extend(&ids.0);
        offer.extend([1_u32, 0x1a2a_3a4a].map(u32::to_be_bytes).concat());
        let mut retry = long(0xf0, VERSION, &ids.1);
        retry.push(12);
        let retry = filled(retry, &mut noise, 80);
        let mut reset = vec![0x40];
        reset.extend(&ids.1);
        let reset = filled(reset, &mut noise, 60);
        vec![offer, retry, reset, datagram.to_vec()]
    })
    .await;

    let _kept = connect(&mut from, &mut to, wire.at).await;
}

/// An id after its length, and what follows.
fn split_id(bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let (id, rest) = bytes[1..].split_at(usize::from(bytes[0]));
    (id.to_vec(), rest)
}

#[tokio::test]
async fn adversarial_10_a_first_flight_is_answered_with_one_datagram_below_three_times_it() {
    let (mut from, mut to) = (Node::new(1), Node::new(2));
    let at = to.listen().await;
    // The client is not heard after its first datagram, so nothing proves its address.
    let mut is_first = true;
    let wire = Wire::with(at, move |way, datagram| {
        let passes = way == Way::Back || std::mem::take(&mut is_first);
        passes.then(|| datagram.to_vec()).into_iter().collect()
    })
    .await;

    let dialling = from.dial(wire.at, Some(to.machine));
    let _ = soon(async { tokio::join!(dialling, async { to.incoming().await.await.err() }) }).await;

    let first_flight = wire.passed(Way::There)[0].len();
    let answers = wire.passed(Way::Back);
    assert!(answers[0].len() <= 1_200, "{}", answers[0].len());
    let bytes: usize = answers.iter().map(Vec::len).sum();
    assert!(bytes <= 3 * first_flight, "{bytes} for {first_flight}");
    // With retransmissions over three seconds; the first flight itself takes one datagram.
    let complete = Wire::to(at).await;
    let _kept = connect(&mut from, &mut to, complete.at).await;
    let second = complete
        .order()
        .iter()
        .skip(1)
        .position(|way| *way == Way::There);
    assert_eq!(second, Some(1), "{:?}", complete.order());
}

#[tokio::test]
async fn adversarial_11_garbage_behind_good_packets_disturbs_nobody() {
    let mut noise = Noise(11);
    let (mut from, mut to) = (Node::new(1), Node::new(2));
    let at = to.listen().await;
    let wire = Wire::with(at, move |_, datagram| {
        let kind = noise.below(3);
        let bad = match kind {
            0 => long(0xc0, 1, &noise.bytes(8)),
            1 => long(0xe0, VERSION, &noise.bytes(12)),
            _ => vec![0x40],
        };
        let is_long = datagram[0] & 0x80 != 0;
        let bad = filled(bad, &mut noise, 60);
        // A packet with a short header reaches to the end of its datagram.
        vec![if is_long {
            [datagram, &bad].concat()
        } else {
            datagram.to_vec()
        }]
    })
    .await;

    let _kept = connect(&mut from, &mut to, wire.at).await;
}

/// How long a stranger listens for an answer. Source: guess, above a retransmission.
const QUIET: Duration = Duration::from_millis(300);
