//! The service `Admin` through a real client over loopback.

use std::time::Duration;

use engine::{AdminError, AdminRequest, Rights};
use gossip::RelayError;
use identity::{CredentialError, Keypair, Revocation, Role};
use model::{NetworkId, State, StateDraft, StateKey, StateKind, Timestamp};
use proto::v1::admit_request;
use proto::v1::revoke_request::How;
use proto::v1::{self as pb};
use tonic::Code;

use crate::support::{Running, machine, membership};

/// What `fieldmesh network revoke` signs.
fn revocation() -> State {
    let (key, network) = (Keypair::from_seed(&[1; 32]), NetworkId::from_bytes([2; 32]));
    Revocation::sign(&key, &network, machine(), Timestamp::from_nanos(5), "lost").expect("signed")
}

async fn revoke(node: &Running, how: Option<How>) -> Result<bool, tonic::Status> {
    let answer = node.admin().revoke(pb::RevokeRequest { how }).await;
    answer.map(|answer| answer.into_inner().news)
}

#[tokio::test]
async fn a_revocation_that_was_signed_elsewhere_is_handed_to_the_node_as_it_is() {
    let node = Running::start().await;

    let signed = How::Signed(revocation().as_bytes().to_vec());
    let news = revoke(&node, Some(signed)).await.expect("taken");

    assert!(news);
    assert_eq!(node.memory.asked(), [AdminRequest::Relay(revocation())]);
}

#[tokio::test]
async fn a_node_is_asked_to_sign_a_revocation_itself() {
    let node = Running::start().await;

    let outcast = pb::Outcast {
        machine_id: machine().to_string(),
        reason: "lost".to_owned(),
    };
    revoke(&node, Some(How::Outcast(outcast)))
        .await
        .expect("taken");

    let asked = AdminRequest::Revoke {
        machine: machine(),
        reason: "lost".to_owned(),
    };
    assert_eq!(node.memory.asked(), [asked]);
}

#[tokio::test]
async fn what_is_no_revocation_never_reaches_the_node() {
    let node = Running::start().await;
    let mut other = revocation().as_bytes().to_vec();
    other.truncate(20);
    let stranger = pb::Outcast {
        machine_id: "12D3KooW".to_owned(),
        ..Default::default()
    };

    for how in [
        None,
        Some(How::Signed(other)),
        Some(How::Signed(vec![0; State::BYTES_MAX + 1])),
        Some(How::Outcast(stranger)),
    ] {
        let status = revoke(&node, how).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    assert_eq!(node.memory.asked(), []);
    assert_eq!(StateKind::Revocation, revocation().key().kind);
}

#[tokio::test]
async fn what_the_operator_has_signed_is_pushed_and_what_a_machine_says_of_itself_is_not() {
    let node = Running::start().await;
    let push = async |state: &State| {
        let signed = state.as_bytes().to_vec();
        let answer = node.admin().push(pb::PushRequest { signed }).await;
        answer.map(|answer| answer.into_inner().news)
    };
    let presence = StateDraft {
        key: StateKey {
            kind: StateKind::Presence,
            ..revocation().key().clone()
        },
        version: revocation().version(),
        payload: revocation().payload().clone(),
    };
    let presence = presence.seal(&NetworkId::from_bytes([2; 32]), |digest| {
        Keypair::from_seed(&[1; 32]).sign(digest)
    });

    let refused = push(&presence).await.expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert!(push(&revocation()).await.expect("taken"));
    assert_eq!(node.memory.asked(), [AdminRequest::Relay(revocation())]);
}

#[tokio::test]
async fn refusals_say_what_to_do_with_a_fitting_code() {
    let node = Running::start().await;
    let machine = machine();
    let cases = [
        (
            RelayError::NotPermitted.into(),
            Code::PermissionDenied,
            "operator",
        ),
        (
            RelayError::Invalid.into(),
            Code::InvalidArgument,
            "sign it anew",
        ),
        (RelayError::Full.into(), Code::ResourceExhausted, "no room"),
        (
            CredentialError::NotAdmitter.into(),
            Code::PermissionDenied,
            "operator",
        ),
        (
            AdminError::NotAdmittedHere { machine },
            Code::PermissionDenied,
            "operator",
        ),
    ];
    for (error, code, advice) in cases {
        node.memory.refuse(Some(error.into()));

        let signed = How::Signed(revocation().as_bytes().to_vec());
        let status = revoke(&node, Some(signed)).await.expect_err("refused");

        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(advice), "{status:?}");
    }
}

#[tokio::test]
async fn the_members_are_what_the_node_says() {
    let node = Running::start().await;

    let answer = node.admin().list_members(pb::ListMembersRequest {}).await;

    let members = answer.expect("answered").into_inner().members;
    assert_eq!(members[0].name, "machine-1");
}

#[tokio::test]
async fn as_many_audit_records_come_as_were_asked_for_and_a_number_without_end_is_refused() {
    let node = Running::start().await;
    let ask = async |limit| {
        let answer = node
            .admin()
            .list_audit(pb::ListAuditRequest {
                limit,
                category: String::new(),
            })
            .await;
        answer.map(|answer| answer.into_inner().records.len())
    };

    assert_eq!(ask(0).await.expect("answered"), 100);
    assert_eq!(ask(7).await.expect("answered"), 7);
    let refused = ask(10_001).await.expect_err("too many");
    assert_eq!(refused.code(), Code::InvalidArgument);
}

fn rights(role: &str, seconds: i64) -> Option<pb::Rights> {
    Some(pb::Rights {
        roles: vec![role.to_owned()],
        commands: vec!["light/**".to_owned()],
        lifetime: Some(prost_types::Duration { seconds, nanos: 0 }),
    })
}

#[tokio::test]
async fn a_machine_is_admitted_as_asked_and_its_membership_comes_back_as_carried() {
    let node = Running::start().await;
    let candidate = pb::Candidate {
        machine_id: machine().to_string(),
        name: "press-7".to_owned(),
        rights: rights("publish", 3_600),
    };
    let how = Some(admit_request::How::Candidate(candidate));

    let answer = node.admin().admit(pb::AdmitRequest { how }).await;

    let answer = answer.expect("admitted").into_inner();
    assert_eq!(answer.membership, membership().as_bytes().to_vec());
    let asked = AdminRequest::Admit {
        machine: machine(),
        name: "press-7".to_owned(),
        rights: Rights {
            roles: [Role::Publish].into(),
            commands: vec!["light/**".to_owned()],
            lifetime: Duration::from_secs(3_600),
        },
    };
    assert_eq!(node.memory.asked(), [asked]);
}

#[tokio::test]
async fn rights_that_make_no_sense_never_reach_the_node() {
    let node = Running::start().await;
    let hour = Some(prost_types::Duration {
        seconds: 3_600,
        nanos: 0,
    });

    for (rights, open_for) in [
        (None, hour),
        (rights("emperor", 60), hour),
        (rights("publish", 0), hour),
        (rights("publish", -60), hour),
        (rights("publish", 60), None),
    ] {
        let request = pb::CreateInvitationRequest { rights, open_for };
        let refused = node.admin().create_invitation(request).await;
        assert_eq!(refused.expect_err("refused").code(), Code::InvalidArgument);
    }
    let request = pb::CreateInvitationRequest {
        rights: rights("publish", 60),
        open_for: hour,
    };
    let invited = node.admin().create_invitation(request).await;
    let token = invited.expect("the control").into_inner().token;
    assert_eq!(token, "1 roles for 3600 s");
}
