//! What machines do with each other when nobody disturbs them.

use super::node::*;
use super::wire::{Way, Wire};

#[tokio::test]
async fn two_members_connect_and_both_open_streams() {
    let (mut from, mut to) = (Node::new(1), Node::new(2));
    let at = to.listen().await;

    let (mut dialler, mut listener) = connect(&mut from, &mut to, at).await;

    let long = vec![7; 3_000_000];
    assert_eq!(ask(&mut dialler, &mut listener, &long).await, long);
    assert_eq!(ask(&mut listener, &mut dialler, &long).await, long);
    let (there, back) = (from.handle.stats(), to.handle.stats());
    for bytes in [there.bytes_sent, back.bytes_received] {
        assert!(
            (6_000_000..9_000_000).contains(&bytes),
            "{there:?} {back:?}"
        );
    }
}

#[tokio::test]
async fn adversarial_06_another_network_key_gets_no_byte_while_a_member_gets_through() {
    let mut to = Node::new(2);
    let at = to.listen().await;
    let (mut member, mut stranger) = (Node::new(1), Node::with(stranger_config(3)));
    let (of_member, of_stranger) = (Wire::to(at).await, Wire::to(at).await);

    let refused = stranger.dial(of_stranger.at, Some(to.machine));
    let refused = soon(async {
        tokio::select! {
            refused = refused => refused,
            _ = to.accept() => panic!("a stranger got in"),
        }
    })
    .await;
    let _kept = connect(&mut member, &mut to, of_member.at).await;

    assert!(
        matches!(refused, Err(crate::Error::TimedOut)),
        "{refused:?}"
    );
    assert!(of_stranger.bytes(Way::There) > 2 * 1_200);
    assert_eq!(of_stranger.bytes(Way::Back), 0);
    assert!(of_member.bytes(Way::Back) > 1_200);
}
