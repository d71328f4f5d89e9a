//! The service `Admin` through a real client over loopback.

use engine::{AdminError, AdminRequest};
use gossip::RelayError;
use identity::{CredentialError, Keypair, Revocation};
use model::{NetworkId, State, StateKind, Timestamp};
use proto::v1::revoke_request::How;
use proto::v1::{self as pb};
use tonic::Code;

use crate::support::{Running, machine};

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
            .list_audit(pb::ListAuditRequest { limit })
            .await;
        answer.map(|answer| answer.into_inner().records.len())
    };

    assert_eq!(ask(0).await.expect("answered"), 100);
    assert_eq!(ask(7).await.expect("answered"), 7);
    let refused = ask(10_001).await.expect_err("too many");
    assert_eq!(refused.code(), Code::InvalidArgument);
}
