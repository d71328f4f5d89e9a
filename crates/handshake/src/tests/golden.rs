//! Bytes that were said once are said the same for ever, so that the protocol cannot change unseen.
//!
//! `golden/link-v1.txt` is never changed: it stands for the machines out there. A new version of
//! the link gets a new file beside it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::common::{
    ALICE, BOB, CLIENT_PARAMETERS, End, NOW, Part, SERVER_PARAMETERS, keys, machine, ring, run,
    showing_bytes,
};
use crate::{ConnectionIdKind, Session, Side, connection_id, initial_keys, retry_tag};

const GOLDEN: &str = include_str!("golden/link-v1.txt");

#[test]
fn version_1_of_the_link_says_what_it_always_said() {
    let golden = read(GOLDEN);
    let local = |seed, name: &str| showing_bytes(seed, golden[name].clone().into());
    let client = Session::initiate(
        local(ALICE, "credential of the client"),
        &keys(2),
        Some(machine(BOB)),
        CLIENT_PARAMETERS,
        Some(NOW),
        [0xa1; 32],
    );
    let server = local(BOB, "credential of the server");
    let server = Session::respond(server, ring(), SERVER_PARAMETERS, [0xb0; 32]);
    let mut client = End::new(client.expect("short parameters"));
    let mut server = End::new(server);

    let said = run(&mut client, &mut server).expect("an honest handshake");

    let (one_rtt, mut updates) = client.one_rtt.expect("1-RTT keys");
    let handshake = client.handshake.expect("handshake keys");
    let update = updates.advance();
    let mut exported = vec![0; 16];
    let exports = client.session.export(b"label", b"context", &mut exported);
    exports.expect("16 bytes");
    let initial = initial_keys(&keys(2), b"destination", Side::Initiator);
    let issued = ConnectionIdKind::Issued(machine(BOB));
    let mut found: BTreeMap<String, Vec<u8>> = [
        ("C1", said[&Part::C1].clone()),
        ("S1a", said[&Part::S1a].clone()),
        ("S1b", said[&Part::S1b].clone()),
        ("C2", said[&Part::C2].clone()),
        ("updated key of the client", update.local.key.to_vec()),
        ("updated iv of the server", update.remote.iv.to_vec()),
        ("exported", exported),
        (
            "first id",
            connection_id(&keys(2), ConnectionIdKind::First, *b"nonce-of"),
        ),
        ("issued id", connection_id(&keys(2), issued, *b"nonce-of")),
        (
            "retry tag",
            retry_tag(&keys(2), b"destination", &[b"packet"]).to_vec(),
        ),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into();
    for (space, keys) in [
        ("initial", initial),
        ("handshake", handshake),
        ("1-RTT", one_rtt),
    ] {
        for (side, keys) in [("client", keys.local), ("server", keys.remote)] {
            for (part, bytes) in [
                ("key", &keys.packet.key[..]),
                ("iv", &keys.packet.iv[..]),
                ("header key", &keys.header[..]),
            ] {
                found.insert(format!("{space} {part} of the {side}"), bytes.to_vec());
            }
        }
    }
    found.extend(
        golden
            .clone()
            .into_iter()
            .filter(|(name, _)| name.starts_with("credential")),
    );
    assert_eq!(write(&found), write(&golden));
}

/// Reads lines of a name, a colon and hexadecimal digits; lines that go on are indented.
fn read(text: &str) -> BTreeMap<String, Vec<u8>> {
    let unfolded = text.replace("\n    ", "");
    let lines = unfolded.lines().filter_map(|line| line.split_once(": "));
    let bytes_of = |digits: &str| {
        let pairs = digits.as_bytes().chunks(2);
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        pairs.map(byte).collect::<Option<Vec<u8>>>()
    };
    lines
        .map(|(name, digits)| (name.to_owned(), bytes_of(digits).expect("hexadecimal")))
        .collect()
}

/// The reverse of [`read`].
fn write(named: &BTreeMap<String, Vec<u8>>) -> String {
    let mut text = String::new();
    for (name, bytes) in named {
        write!(text, "{name}: ").expect("a string grows");
        for (index, line) in bytes.chunks(40).enumerate() {
            let digits: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
            let fold = if index > 0 { "\n    " } else { "" };
            write!(text, "{fold}{digits}").expect("a string grows");
        }
        text.push('\n');
    }
    text
}
