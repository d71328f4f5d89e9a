use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{BufMut as _, Bytes};
use gossip::{FrontierEntry, Holdings, Interest, Message as Gossip, Span, Sum, Sums};
use model::{
    Block, BlockHeader, Draft, Epoch, HashPrefix, LogId, MachineId, NetworkId, Quality, Reading,
    SeriesNumber, Signature, State, StateDraft, StateKey, StateKind, StateVersion, Timestamp,
    Value,
};
use overlay::{Address, Contact, Hops, Message as Overlay};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{FRAME_BYTES_MAX, Frame, FrameError, Lane, decode, encode};

const HOLDINGS: [Holdings; 4] = [
    Holdings::Logs,
    Holdings::States,
    Holdings::SharedLogs,
    Holdings::SharedStates,
];
const NETWORK: NetworkId = NetworkId::from_bytes([9; 32]);

prop_compose! {
    fn machine()(bytes: [u8; 32]) -> MachineId { MachineId::from_bytes(bytes) }
}
prop_compose! {
    fn contact()(
        machine in machine(),
        texts in vec("[a-z0-9/.]{1,128}", 0..=Contact::ADDRESSES_MAX),
    ) -> Contact {
        let addresses = texts.into_iter().map(|text| Address::new(text).expect("not empty"));
        Contact { machine, addresses: addresses.collect() }
    }
}
prop_compose! {
    fn hops()(hops in 0..=Hops::MAX.0) -> Hops { Hops(hops) }
}
prop_compose! {
    fn log()(machine in machine(), counter: u64, tag: u32) -> LogId {
        LogId { machine, epoch: Epoch { counter, tag } }
    }
}
prop_compose! {
    fn span()(first in 1..u64::MAX, more: u64) -> Span {
        Span { first, last: first.saturating_add(more) }
    }
}
prop_compose! {
    fn entry()(
        log in log(),
        floor in 1..u64::MAX / 2,
        held in 0..u64::MAX / 4,
        islands in vec((2..1_u64 << 50, 0..1_u64 << 50), 0..=FrontierEntry::BEYOND_MAX),
    ) -> FrontierEntry {
        let end = floor - 1 + held;
        let beyond = islands.into_iter().scan(end, |last, (gap, more)| {
            let first = *last + gap;
            *last = first + more;
            Some(Span { first, last: *last })
        });
        FrontierEntry { log, floor, end, beyond: beyond.collect() }
    }
}
prop_compose! {
    fn sums()(
        ranges in proptest::collection::btree_map(0..1_u16 << Sums::BITS_MAX, any::<u128>(), 0..40),
    ) -> Sums {
        let ranges = ranges.into_iter().map(|(range, sum)| (range, Sum(sum))).collect();
        Sums { bits: Sums::BITS_MAX, ranges }
    }
}
prop_compose! {
    fn interest()(
        site in "([a-z0-9-]{1,63})?",
        patterns in vec("[a-z0-9-]{1,63}|[*]{1,2}", 0..=Interest::PATTERNS_MAX),
    ) -> Interest {
        let site = (!site.is_empty()).then(|| site.parse().expect("a name"));
        let patterns = patterns.into_iter().map(|pattern| pattern.parse().expect("a pattern"));
        Interest::new(site, patterns).expect("within the limits")
    }
}
prop_compose! {
    fn state_key()(
        origin in machine(),
        kind in proptest::sample::select(StateKind::ALL.as_slice()),
        subject in "[a-z0-9/]{0,128}",
    ) -> StateKey {
        StateKey { origin, kind, subject }
    }
}
prop_compose! {
    fn version()(epoch: u64, counter: u64) -> StateVersion { StateVersion { epoch, counter } }
}
prop_compose! {
    fn state()(
        key in state_key(), version in version(), payload in vec(any::<u8>(), 0..200),
    ) -> State {
        StateDraft { key, version, payload: payload.into() }.seal(&NETWORK, |_| Signature([3; 64]))
    }
}
prop_compose! {
    fn block()(log in log(), sequence in 1_u64.., values in vec(any::<f64>(), 1..50)) -> Block {
        block_of(log, sequence, values.into_iter().map(Value::F64))
    }
}

fn block_of(log: LogId, sequence: u64, values: impl Iterator<Item = Value>) -> Block {
    let readings = values.map(|value| Reading {
        series: SeriesNumber(1),
        time: Timestamp::from_nanos(1),
        value,
        quality: Quality::GOOD,
    });
    let header = BlockHeader {
        log,
        sequence,
        previous: HashPrefix::NONE,
        continues: None,
        sealed: Timestamp::from_nanos(2),
        watermark: Timestamp::from_nanos(1),
        count: 0,
        urgent: false,
        publishers: Vec::new(),
    };
    let readings = readings.collect();
    let draft = Draft { header, readings };
    draft
        .seal(&NETWORK, |_| Signature([5; 64]))
        .expect("fits into a block")
}

fn overlay() -> impl Strategy<Value = Overlay> {
    let sample = || vec(contact(), 0..=Overlay::SAMPLE_MAX);
    prop_oneof![
        contact().prop_map(|contact| Overlay::Join { contact }),
        (contact(), hops()).prop_map(|(joiner, ttl)| Overlay::ForwardJoin { joiner, ttl }),
        (contact(), any::<bool>())
            .prop_map(|(contact, urgent)| Overlay::Neighbour { contact, urgent }),
        any::<bool>().prop_map(|accepted| Overlay::NeighbourReply { accepted }),
        Just(Overlay::Disconnect),
        (contact(), sample(), hops()).prop_map(|(origin, sample, ttl)| Overlay::Shuffle {
            origin,
            sample,
            ttl
        }),
        sample().prop_map(|sample| Overlay::ShuffleReply { sample }),
    ]
}

fn age(tenths: u32) -> Duration {
    Duration::from_micros(100) * tenths
}

fn gossip() -> impl Strategy<Value = Gossip> {
    prop_oneof![
        (
            vec(entry(), 0..20),
            vec((log(), span()), 0..4),
            vec(0..u32::MAX, 0..4),
            any::<bool>()
        )
            .prop_map(|(entries, urgent, ages, is_news)| Gossip::Frontier {
                ages: entries
                    .iter()
                    .map(|e| e.log)
                    .zip(ages.into_iter().map(age))
                    .collect(),
                entries,
                urgent,
                is_news
            }),
        (0..HOLDINGS.len(), sums()).prop_map(|(of, sums)| Gossip::Sums(HOLDINGS[of], sums)),
        interest().prop_map(Gossip::Interest),
        (block(), any::<bool>()).prop_map(|(block, pushed)| Gossip::Block { block, pushed }),
        (log(), vec(span(), 0..=Gossip::SPANS_MAX), any::<bool>()).prop_map(
            |(log, spans, is_past)| Gossip::Want {
                log,
                spans,
                is_past
            }
        ),
        machine().prop_map(|origin| Gossip::Graft { origin }),
        machine().prop_map(|origin| Gossip::Prune { origin }),
        vec((state_key(), version()), 0..20).prop_map(Gossip::StateSummary),
        vec(state_key(), 0..20).prop_map(Gossip::StateWant),
        vec(state(), 0..=Gossip::STATES_MAX).prop_map(Gossip::States),
    ]
}

fn election() -> impl Strategy<Value = election::Message> {
    use election::Message;
    prop_oneof![
        any::<u64>().prop_map(|counter| Message::Heartbeat { counter }),
        (machine(), any::<u64>()).prop_map(|(target, nonce)| Message::Probe { target, nonce }),
        (any::<u64>(), any::<bool>())
            .prop_map(|(nonce, alive)| Message::ProbeReply { nonce, alive }),
        Just(Message::Resign),
    ]
}

fn command() -> impl Strategy<Value = command::Message> {
    use command::{Code, CommandId, Lineage, Message, Status};
    let id = || any::<[u8; 16]>().prop_map(CommandId::from_bytes);
    let chunk = || vec(any::<u8>(), 0..200);
    let lineage = vec(any::<u32>(), 0..=Lineage::RULES_MAX);
    let lineage = lineage.prop_map(|rules| Lineage::new(rules).expect("as many as may be"));
    let code = proptest::sample::select(Code::ALL.as_slice());
    prop_oneof![
        (
            id(),
            "[a-z]{1,9}",
            0..=3_600_000_000_u64,
            lineage,
            any::<u32>(),
            chunk()
        )
            .prop_map(|(id, name, micros, lineage, have, chunk)| Message::Call {
                id,
                name: name.parse().expect("a name"),
                remaining: Duration::from_micros(micros),
                lineage,
                have,
                size: chunk.len(),
                chunk: chunk.into(),
            }),
        (id(), chunk()).prop_map(|(id, chunk)| Message::Part(id, chunk.into())),
        id().prop_map(Message::Cancel),
        (id(), any::<u32>(), chunk()).prop_map(|(id, index, value)| Message::Item {
            id,
            index,
            value: value.into(),
        }),
        (id(), any::<u32>(), code, ".{0,40}").prop_map(|(id, items, code, text)| {
            let status = Status::new(code, text);
            Message::Done { id, items, status }
        }),
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        overlay().prop_map(Frame::Overlay),
        gossip().prop_map(Frame::Gossip),
        election().prop_map(Frame::Election),
        command().prop_map(Frame::Command),
    ]
}

proptest! {
    #[test]
    fn every_frame_reads_back_as_it_was_written(frame in frame()) {
        let bytes = encode(&frame);

        prop_assert_eq!(decode(bytes).expect("our own frame"), frame);
    }

    #[test]
    fn arbitrary_bytes_never_panic(kind in 0_u8..6, body in vec(any::<u8>(), 0..300)) {
        let bytes = [&[1, kind], &body[..]].concat();

        let _ = decode(bytes.into());
    }

    #[test]
    fn what_a_damaged_frame_decodes_to_is_within_limits(
        frame in frame(),
        damage in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = encode(&frame).to_vec();
        for (index, byte) in damage {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);

        // Whatever decodes keeps the limits, so it encodes and is read back again.
        if let Ok(decoded) = decode(bytes.into()) {
            prop_assert_eq!(decode(encode(&decoded)).expect("within limits"), decoded);
        }
    }
}

/// A frame of `kind` with one message field `tag`, which repeats an empty field `inner` `count`
/// times.
fn repeated(kind: u8, tag: u8, inner: u8, count: usize) -> Bytes {
    let body = [inner << 3 | 2, 0].repeat(count);
    let mut bytes = vec![1, kind, tag << 3 | 2];
    prost::encoding::encode_varint(u64::try_from(body.len()).expect("small"), &mut bytes);
    bytes.put_slice(&body);
    bytes.into()
}

#[test]
fn counts_over_the_limit_are_refused_before_they_are_decoded() {
    let cases = [
        (1, 6, 2, Overlay::SAMPLE_MAX),
        (1, 7, 1, Overlay::SAMPLE_MAX),
        (2, 1, 1, Gossip::FRONTIER_ENTRIES_MAX),
        (2, 3, 2, Gossip::SPANS_MAX),
        (2, 6, 1, Gossip::SUMMARY_MAX),
        (2, 9, 1, Gossip::SUMMARY_MAX),
        (2, 8, 3, Sums::RANGES_MAX),
        (2, 10, 2, Interest::PATTERNS_MAX),
        (2, 1, 3, Gossip::URGENT_MAX),
        (2, 7, 1, Gossip::STATES_MAX),
    ];
    for (kind, tag, inner, max) in cases {
        let refused = decode(repeated(kind, tag, inner, max + 1));

        let Err(FrameError::TooMany { limit, .. }) = refused else {
            panic!("kind {kind}, field {tag}: {refused:?}");
        };
        assert_eq!(limit, max);
    }
}

#[test]
fn a_message_given_in_two_parts_is_refused_so_that_its_limits_count_once() {
    let half = repeated(2, 3, 2, Gossip::SPANS_MAX);
    let twice = [&half[..], &half[2..]].concat();

    let refused = decode(twice.into());

    assert!(matches!(refused, Err(FrameError::TooMany { limit: 1, .. })));
}

#[test]
fn the_largest_of_every_message_fits_into_a_frame() {
    let machine = MachineId::from_bytes([255; 32]);
    let epoch = Epoch {
        counter: u64::MAX,
        tag: u32::MAX,
    };
    let log = LogId { machine, epoch };
    let wide = 1 << 56;
    let beyond = (0..16_u64).map(|i| Span {
        first: (1 << 63) + 2 * i * wide + wide,
        last: (1 << 63) + (2 * i + 2) * wide - 1,
    });
    let entry = FrontierEntry {
        log,
        floor: 1 << 62,
        end: (1 << 63) - 1,
        beyond: beyond.collect(),
    };
    let widest = Span {
        first: 1,
        last: u64::MAX - 1,
    };
    let sums = Sums {
        bits: Sums::BITS_MAX,
        ranges: (0..1 << Sums::BITS_MAX)
            .map(|range| (range, Sum(u128::MAX)))
            .collect(),
    };
    let contact = Contact {
        machine,
        addresses: vec![Address::new("a".repeat(128)).expect("an address"); 8],
    };
    let key = StateKey {
        origin: machine,
        kind: StateKind::Progress,
        subject: "s".repeat(State::SUBJECT_BYTES_MAX),
    };
    let version = StateVersion {
        epoch: u64::MAX,
        counter: u64::MAX,
    };
    let state = StateDraft {
        key: key.clone(),
        version,
        payload: vec![1; State::PAYLOAD_BYTES_MAX].into(),
    };
    let state = state.seal(&NETWORK, |_| Signature([1; 64]));
    let text = Value::Text("noise".repeat(Value::BYTES_MAX / 5));
    let messages = [
        Frame::Gossip(Gossip::Frontier {
            entries: vec![entry; Gossip::FRONTIER_ENTRIES_MAX],
            urgent: vec![(log, widest); Gossip::URGENT_MAX],
            ages: BTreeMap::from([(log, age(u32::MAX))]),
            is_news: true,
        }),
        Frame::Gossip(Gossip::Sums(Holdings::States, sums)),
        Frame::Gossip(Gossip::StateWant(vec![key.clone(); Gossip::SUMMARY_MAX])),
        Frame::Gossip(Gossip::StateSummary(vec![
            (key, version);
            Gossip::SUMMARY_MAX
        ])),
        Frame::Gossip(Gossip::States(vec![state; Gossip::STATES_MAX])),
        Frame::Gossip(Gossip::Block {
            block: block_of(log, u64::MAX, std::iter::repeat_n(text, 3)),
            pushed: true,
        }),
        Frame::Overlay(Overlay::Shuffle {
            origin: contact.clone(),
            sample: vec![contact; Overlay::SAMPLE_MAX],
            ttl: Hops::MAX,
        }),
    ];
    for message in messages {
        let bytes = encode(&message); // Panics if it does not fit.

        assert!(bytes.len() <= FRAME_BYTES_MAX);
        assert_eq!(decode(bytes).expect("within limits"), message);
    }
}

#[test]
fn a_block_shares_the_memory_of_its_frame_but_keeps_no_padding_alive() {
    let log = LogId {
        machine: MachineId::from_bytes([1; 32]),
        epoch: Epoch { counter: 1, tag: 1 },
    };
    let block = block_of(log, 1, (0..100).map(Value::I64));
    let pushed = true;
    let plain = encode(&Frame::Gossip(Gossip::Block { block, pushed }));
    // An unknown field 15 of 64 KiB, as a newer node or a hostile one may send.
    let mut padded = plain.to_vec();
    padded.put_slice(&[15 << 3 | 2, 0x80, 0x80, 0x04]);
    padded.resize(padded.len() + 65_536, 0);
    let padded = Bytes::from(padded);

    assert!(inside(&block_in(plain.clone()), &plain));
    assert!(!inside(&block_in(padded.clone()), &padded));
}

fn block_in(frame: Bytes) -> Bytes {
    match decode(frame) {
        Ok(Frame::Gossip(Gossip::Block { block, .. })) => block.as_bytes().clone(),
        other => panic!("no block: {other:?}"),
    }
}

fn inside(part: &Bytes, whole: &Bytes) -> bool {
    whole.as_ptr_range().contains(&part.as_ptr())
}

#[test]
fn frames_of_another_time_or_size_are_refused_by_name() {
    let refused = |bytes: &[u8]| decode(Bytes::copy_from_slice(bytes)).expect_err("no frame");

    assert!(matches!(refused(&[]), FrameError::TooShort(0)));
    assert!(matches!(refused(&[2, 1]), FrameError::Version(2)));
    assert!(matches!(refused(&[1, 9]), FrameError::Kind(9)));
    assert!(matches!(refused(&[1, 1]), FrameError::Field(_)));
    assert!(matches!(refused(&[1, 2, 0xff]), FrameError::Malformed(..)));
    let long = vec![1; FRAME_BYTES_MAX + 1];
    assert!(matches!(refused(&long), FrameError::TooLong(_)));
}

#[test]
fn only_wanted_blocks_take_the_bulk_lane() {
    let log = LogId {
        machine: MachineId::from_bytes([1; 32]),
        epoch: Epoch { counter: 1, tag: 1 },
    };
    let block = block_of(log, 1, std::iter::once(Value::Bool(true)));
    let lane = |pushed| {
        let block = block.clone();
        Frame::Gossip(Gossip::Block { block, pushed }).lane()
    };

    assert_eq!(lane(true), Lane::Live);
    assert_eq!(lane(false), Lane::Bulk);
    assert_eq!(
        Frame::Election(election::Message::Resign).lane(),
        Lane::Live
    );
}

#[test]
fn an_interest_that_names_no_sites_is_refused() {
    use prost::Message as _;
    let said = |site: &str, patterns: &[&str]| {
        let interest = proto::wire::v1::gossip::Interest {
            site: site.to_owned(),
            patterns: patterns.iter().map(|text| (*text).to_owned()).collect(),
        };
        let message = Some(proto::wire::v1::gossip::Message::Interest(interest));
        let gossip = proto::wire::v1::Gossip { message };
        decode([&[1, 2], &gossip.encode_to_vec()[..]].concat().into())
    };
    let is_refused =
        |site: &str, patterns: &[&str]| matches!(said(site, patterns), Err(FrameError::Field(_)));

    let long = "h".repeat(64);

    assert!(said("hall-1", &["hall-2", "*"]).is_ok() && said("", &[]).is_ok());
    assert!(is_refused("hall/1", &[]) && is_refused(&long, &[]));
    assert!(is_refused("hall-1", &["hall-*"]) && is_refused("hall-1", &["hall/2"]));
    assert!(is_refused("hall-1", &["press:hall-2"]) && is_refused("hall-1", &[""]));
    assert!(is_refused("hall-1", &[&long]) && is_refused("*", &[]));
}

#[test]
fn a_command_beyond_its_limits_is_refused() {
    use command::{Argument, CommandId, Lineage, Message};
    let call = |remaining, size, chunk: usize| {
        let call = Message::Call {
            id: CommandId::from_bytes([1; 16]),
            name: "stop".parse().expect("a name"),
            remaining,
            lineage: Lineage::default(),
            have: 0,
            size,
            chunk: vec![0; chunk].into(),
        };
        decode(encode(&Frame::Command(call)))
    };
    let second = Duration::from_secs(1);

    assert!(call(second, Argument::BYTES_MAX, Message::CHUNK_BYTES_MAX).is_ok());
    assert!(call(2 * Message::REMAINING_MAX, 1, 1).is_err());
    assert!(call(second, Argument::BYTES_MAX + 1, 1).is_err());
    assert!(call(second, 1, 2).is_err());
    assert!(call(second, Argument::BYTES_MAX, Message::CHUNK_BYTES_MAX + 1).is_err());
}
