use identity::{CredentialError, Revocation};

use super::*;
use crate::RefusalReason;

/// The roll after the operator has thrown out a machine.
fn roll_without(machine: MachineId) -> Roll {
    let mut roll = Roll::new(Trust::new(operator().machine()), Duration::ZERO);
    roll.revoke(&Revocation {
        machine,
        signer: operator().machine(),
        time: NOW,
        reason: String::new(),
    });
    roll
}

#[tokio::test]
async fn adversarial_32_a_revoked_machine_loses_its_link_at_once_and_gets_no_other() {
    for way in WAYS {
        expel_over(way).await;
    }
}

async fn expel_over(way: Way) {
    let mut host = Disk::of(1).start(|_| ());
    let mut member = Disk::of(2).start(|_| ());
    let mut outcast = Disk::of(3).start(|_| ());
    let contact = host.listen(way).await;
    outcast.swarm.dial(contact.clone());
    member.swarm.dial(contact.clone());
    run(&mut [&mut host, &mut member, &mut outcast], |nodes| {
        nodes[1].ups(nodes[0].machine) == 1 && nodes[2].ups(nodes[0].machine) == 1
    })
    .await;

    host.swarm.set_roll(roll_without(outcast.machine));
    host.swarm.expel(outcast.machine);
    run(&mut [&mut host, &mut member, &mut outcast], |nodes| {
        nodes[0].downs(nodes[2].machine) == 1 && nodes[2].downs(nodes[0].machine) == 1
    })
    .await;
    outcast.swarm.dial(contact);
    run(&mut [&mut host, &mut member, &mut outcast], |nodes| {
        nodes[2].failed_dials(nodes[0].machine) == 1 && nodes[0].swarm.stats().refusals > 0
    })
    .await;

    assert_eq!(host.ups(outcast.machine), 1);
    assert_eq!(host.downs(member.machine), 0);
    let revoked = RefusalReason::Credential(CredentialError::Revoked);
    let is_revoked =
        |event: &Event| matches!(event, Event::Refused { reason, .. } if *reason == revoked);
    assert_eq!(host.count(is_revoked), 1);
}
