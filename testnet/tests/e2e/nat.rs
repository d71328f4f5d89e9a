//! Two machines behind routers that translate addresses find each other through a third one.

use std::time::Duration;

use crate::behind::Site;
use crate::gate;
use crate::namespaces::Place;
use crate::wait::until;

#[tokio::test]
async fn machines_behind_two_routers_link_and_stay_linked_without_the_machine_between() {
    let _turn = gate::beside_others();
    let site = Site::new().await;
    let open = site.start(Place::Open).await;
    let _left = site.start(Place::Left).await;
    let _right = site.start(Place::Right).await;

    until("left and right are linked", LINKED_LIMIT, async || {
        site.is_linked(Place::Left, Place::Right).await
    })
    .await;
    until("the link is direct", DIRECT_LIMIT, async || {
        let path = site.path_between(Place::Left, Place::Right).await?;
        if path == "quic" { Ok(()) } else { Err(path) }
    })
    .await;
    drop(open);

    site.publish_at(Place::Left, 21.5).await;
    until(
        "the reading is at the other side",
        SPREAD_LIMIT,
        async || site.has(Place::Right, 21.5).await,
    )
    .await;
    let path = site.path_between(Place::Right, Place::Left).await;
    assert_eq!(path.as_deref(), Ok("quic"));
}

/// Until others have tried to dial, a circuit is reserved, and its address has spread. Source:
/// guess, a few probes.
const LINKED_LIMIT: Duration = Duration::from_secs(90);
/// Source: guess, three attempts of punching.
const DIRECT_LIMIT: Duration = Duration::from_secs(30);
/// Source: guess.
const SPREAD_LIMIT: Duration = Duration::from_secs(5);
