//! Settings of which none is what it is by default, and one input of each kind.

use std::collections::BTreeMap;
use std::time::Duration;

use command::{
    Allowance, Argument, Call, CallId, Code, CommandId, HandlerId, Lineage, Offer, Policy, Range,
    RunId, Status,
};
use engine::{
    AdminRequest, CommandInput, Config, Input, Output, Recovered, RequestId, Rights, UplinkConfig,
    UploadId,
};
use identity::{Claim, InvitationId, Issuer, Keypair, Revocation, Role, Terms};
use model::{Block, ClockState, Timestamp};
use statemachine::Ticket;
use wire::Frame;

use super::machines::{
    Memory, NOON, SECOND, contact, identity, live, membership, operator, other, publish, trust,
};
use crate::Recorded;

/// Settings of which none is what it is by default.
pub(crate) fn settings() -> Config {
    let pattern = |text: &str| text.parse::<model::Pattern>().expect("a pattern");
    let words = ["fast".to_owned(), "slow".to_owned()].into();
    let number = Range::new(Some(0.5), None, [].into()).expect("a range");
    let words = Range::new(None, None, words).expect("a range");
    let mut settings = Config {
        quiet: true,
        gather: Duration::from_millis(3),
        watermark_delay: Duration::from_millis(301),
        recovery: Duration::from_millis(40),
        policy: Policy {
            maintenance: true,
            allow: vec![Allowance {
                pattern: pattern("press-2:heating/**"),
                callers: vec!["press-3".to_owned()],
                arguments: BTreeMap::from([
                    ("speed".to_owned(), words),
                    ("power".to_owned(), number),
                ]),
            }],
        },
        uplinks: vec![UplinkConfig {
            id: "cloud".parse().expect("an id"),
            windows: aggregate::Config {
                lengths: vec![SECOND, SECOND * 60],
                allowed_lateness: SECOND * 2,
                windows_max: 77,
            },
            patterns: vec![pattern("press/**")],
            raw: vec![pattern("press-1:alarm/*")],
            exclude: vec![pattern("**/debug")],
            priority: 9,
            cost_class: 2,
            partial_after: SECOND * 3,
        }],
        ..Config::default()
    };
    settings.overlay.active_max = 3;
    settings.gossip.past_bytes_per_second = Some(1_000);
    settings.gossip.interest =
        gossip::Interest::new(None, [pattern("hall-4")]).expect("an interest");
    settings.election.hysteresis = 51;
    settings.commands.dials_max = 4;
    settings
}

pub(crate) fn block() -> Block {
    let memory = Memory::default();
    let sink = Box::new(memory);
    let mut node = Recorded::start(identity(), settings(), Recovered::default(), [7; 32], sink);
    let given = live(&mut node, 3);
    let mut blocks = given.into_iter().filter_map(|output| {
        let Output::Deliver(block) = output else {
            return None;
        };
        Some(block)
    });
    blocks.next().expect("a block")
}

pub(crate) fn call() -> Call {
    let argument = [
        ("speed".to_owned(), Argument::I64(-3)),
        (
            "list".to_owned(),
            Argument::List(vec![Argument::Bool(true)]),
        ),
    ];
    Call {
        target: other(),
        id: CommandId::from_bytes([9; 16]),
        is_repeat: true,
        name: "conveyor/stop".parse().expect("a name"),
        argument: Argument::Map(argument.into()),
        lineage: Lineage::new(vec![1, 2]).expect("short"),
        deadline: SECOND * 5,
    }
}

pub(crate) fn command_inputs() -> Vec<CommandInput> {
    let offer = Offer {
        commands: vec![("conveyor/stop".parse().expect("a name"), true)],
        concurrent: 3,
    };
    vec![
        CommandInput::Call(CallId(1), call()),
        CommandInput::Post(CallId(2), call()),
        CommandInput::Abandon(CallId(3)),
        CommandInput::HandlerUp(HandlerId(4), offer),
        CommandInput::HandlerDown(HandlerId(4)),
        CommandInput::Item(RunId(5), Argument::F64(-0.0)),
        CommandInput::Ended(RunId(5), Status::new(Code::OutOfRange, "too fast")),
        CommandInput::Policy(settings().policy),
    ]
}

pub(crate) fn admin_inputs() -> Vec<AdminRequest> {
    let secret = Keypair::from_seed(&[8; 32]);
    let terms = Terms {
        site: "hall-3".to_owned(),
        roles: [Role::Publish].into(),
        commands: Vec::new(),
        lifetime: SECOND * 60,
        not_after: Timestamp::MAX,
    };
    let (operator, id) = (operator(), InvitationId::of(&secret));
    let invitation = Issuer::operator(&operator).invite(id, terms);
    let invitation = invitation.expect("an invitation");
    let claim = Claim::sign(trust(), invitation, &secret, other(), "press-9").expect("a claim");
    let network = trust().network();
    let revocation = Revocation::sign(&operator, &network, other(), NOON, "stolen");
    let rights = Rights {
        roles: [Role::Publish, Role::Observe].into(),
        commands: vec!["heating/*".to_owned()],
        lifetime: SECOND * 9,
    };
    vec![
        AdminRequest::Relay(revocation.expect("a revocation")),
        AdminRequest::Revoke {
            machine: other(),
            reason: "sold".to_owned(),
        },
        AdminRequest::Admit {
            machine: other(),
            name: "press-9".to_owned(),
            rights: rights.clone(),
        },
        AdminRequest::Invite {
            id,
            rights,
            open_for: SECOND,
        },
        AdminRequest::Redeem(Box::new(claim)),
    ]
}

/// One input of each kind.
pub(crate) fn inputs() -> Vec<Input> {
    let membership = || Box::new(membership(other(), "press-2"));
    let (block, ticket, uplink) = (
        block(),
        Ticket::from_number(7),
        settings().uplinks.remove(0).id,
    );
    let id = block.header().id();
    let frame = Frame::Gossip(gossip::Message::Block {
        block: block.clone(),
        pushed: true,
    });
    let mut inputs = vec![
        Input::WallClock(NOON, ClockState::Coarse),
        Input::OwnAddresses(contact().addresses),
        Input::Discovered(contact()),
        Input::LinkUp(membership()),
        Input::LinkMoved(membership()),
        Input::LinkDown(other()),
        Input::DialFailed(other()),
        Input::RoundTrip(other(), Duration::from_micros(1_234)),
        Input::Received(other(), frame),
        Input::Congested(other()),
        Input::Drained(other()),
        publish(3, -0.0),
        Input::Persisted(ticket),
        Input::PersistFailed(ticket),
        Input::BlocksRead(ticket, vec![block.clone(), block.clone()]),
        Input::BlocksFound(ticket, vec![block], 9),
        Input::UplinkReachable(uplink.clone(), true),
        Input::Load(99),
        Input::Uploaded(uplink.clone(), vec![UploadId(1), UploadId(2)]),
        Input::UploadLost(uplink, vec![UploadId(3)]),
        Input::FloorMoved(id.log, 4),
        Input::Lost(vec![id]),
        Input::Stop,
    ];
    inputs.extend(command_inputs().into_iter().map(Input::Command));
    let request = |asked| Input::Admin(RequestId(6), Box::new(asked));
    inputs.extend(admin_inputs().into_iter().map(request));
    inputs
}
