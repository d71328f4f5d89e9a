//! Links over ways that lose, reorder and split: `adversarial.md`, by its numbers.

use std::time::Duration;

use super::node::*;
use super::wire::{Way, Wire};

#[tokio::test]
async fn adversarial_13_each_packet_may_be_lost() {
    // Packets, not datagrams: the server's first flight has two of them in one.
    for way in [Way::There, Way::Back] {
        for lost in 0..6 {
            let (mut from, mut to) = (Node::new(1), Node::new(2));
            let at = to.listen().await;
            let mut number = 0;
            let wire = Wire::with(at, move |its_way, datagram| {
                if its_way != way {
                    return vec![datagram.to_vec()];
                }
                let mut kept = Vec::new();
                for packet in packets(datagram) {
                    if number != lost {
                        kept.extend(packet);
                    }
                    number += 1;
                }
                [kept].into_iter().filter(|kept| !kept.is_empty()).collect()
            })
            .await;

            let _kept = connect(&mut from, &mut to, wire.at).await;
        }
    }
}

/// The packets of a datagram. Source: RFC 9000 §17.2.
fn packets(mut datagram: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    while !datagram.is_empty() {
        let length = match datagram[0] & 0xf0 {
            0xc0 => Some(true),
            0xe0 => Some(false),
            _ => None,
        }
        .map_or(datagram.len(), |has_token| long_length(datagram, has_token));
        let (packet, rest) = datagram.split_at(length);
        packets.push(packet);
        datagram = rest;
    }
    packets
}

/// Of a packet with a long header.
fn long_length(packet: &[u8], has_token: bool) -> usize {
    let mut at = 5;
    for _ in 0..2 {
        at += 1 + usize::from(packet[at]);
    }
    if has_token {
        let (token, bytes) = var(&packet[at..]);
        at += bytes + token;
    }
    let (length, bytes) = var(&packet[at..]);
    (at + bytes + length).min(packet.len())
}

/// A number of variable length, and how long it is. Source: RFC 9000 §16.
fn var(bytes: &[u8]) -> (usize, usize) {
    let length = 1 << (bytes[0] >> 6);
    let first = usize::from(bytes[0] & 0x3f);
    let value = bytes[1..length]
        .iter()
        .fold(first, |value, byte| (value << 8) | usize::from(*byte));
    (value, length)
}

#[tokio::test]
async fn adversarial_13_a_link_gets_through_a_third_of_all_packets_lost() {
    for seed in 0..10_u32 {
        let (mut from, mut to) = (Node::new(1), Node::new(2));
        let at = to.listen().await;
        let mut number = seed.wrapping_mul(2_654_435_761);
        let wire = Wire::with(at, move |_, datagram| {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let is_lost = (number >> 16) % 3 == 0;
            (!is_lost).then(|| datagram.to_vec()).into_iter().collect()
        })
        .await;

        // A handshake has three seconds, which unlucky ones exceed; the next dial gets through.
        let (mut attempts, machine) = (0, to.machine);
        let (mut dialler, mut listener) = loop {
            attempts += 1;
            assert!(attempts <= 4, "no connection for seed {seed}");
            let accepting = tokio::time::timeout(Duration::from_secs(4), to.accept());
            let dialling = from.dial(wire.at, Some(machine));
            if let (Ok((_, dialler)), Ok((_, listener))) = tokio::join!(dialling, accepting) {
                break (dialler, listener);
            }
        };
        let question = vec![7; 2_000];
        assert_eq!(ask(&mut dialler, &mut listener, &question).await, question);
    }
}

#[tokio::test]
async fn adversarial_20_keys_are_updated_every_ten_packets_among_reordered_ones() {
    let (mut from, mut to) = (Node::new(1), Node::new(2));
    let at = to.listen().await;
    // Every third datagram of a direction comes after the one that follows it.
    let mut held: [Option<Vec<u8>>; 2] = [None, None];
    let mut number = 0_u32;
    let wire = Wire::with(at, move |way, datagram| {
        number += 1;
        let held = &mut held[usize::from(way == Way::Back)];
        if let Some(before) = held.take() {
            return vec![datagram.to_vec(), before];
        }
        if number.is_multiple_of(3) && datagram[0] & 0x80 == 0 {
            *held = Some(datagram.to_vec());
            return Vec::new();
        }
        vec![datagram.to_vec()]
    })
    .await;
    let (mut dialler, mut listener) = connect(&mut from, &mut to, wire.at).await;

    let question = vec![7; 3_000];
    let (mut updated_at, mut updates) = (0, 0);
    for _ in 0..200 {
        let packets = wire.passed(Way::There).len() + wire.passed(Way::Back).len();
        if packets >= updated_at + 10 {
            dialler.update_keys();
            (updated_at, updates) = (packets, updates + 1);
        }
        assert_eq!(ask(&mut dialler, &mut listener, &question).await, question);
    }

    assert!(updates >= 40, "{updates}");
}
