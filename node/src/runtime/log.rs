//! What happened to the node, as lines of the log. What others can make happen in every frame is
//! written now and then, see `complaints`.

use engine::Event;
use identity::Revocation;
use model::MachineId;
use statemachine::Instant;

use super::complaints::Complaints;

/// The log of what the node says.
#[derive(Debug, Default)]
pub struct Log {
    misbehaved: Complaints,
    withheld: Complaints,
}

impl Log {
    /// Writes what happened, or counts it.
    pub(super) fn write(&mut self, now: Instant, event: Event) {
        if let Event::Misbehaved(machine, how) = &event
            && self.misbehaved.hear(now, *machine, how)
        {
            tracing::warn!(neighbour = %machine, how, "a neighbour broke the protocol");
        } else if let Event::Withholds(machine) = &event
            && self.withheld.hear(now, *machine, "")
        {
            tracing::warn!(
                neighbour = %machine,
                "a neighbour does not give the blocks that it says it holds, another one gets its \
                 place; look after its disk, or revoke it"
            );
        }
        write(event);
    }

    /// Writes of what was counted how much it was.
    pub(super) fn write_counted(&mut self, now: Instant) {
        for (machine, untold) in self.misbehaved.due(now) {
            let (neighbour, count, how) = (shown(machine), untold.count, untold.last);
            tracing::warn!(
                neighbour,
                count,
                how,
                "a neighbour broke the protocol again, so often since the last line; revoke it with \
                 `fieldmesh network revoke` if it goes on"
            );
        }
        for (machine, untold) in self.withheld.due(now) {
            let (neighbour, count) = (shown(machine), untold.count);
            tracing::warn!(
                neighbour,
                count,
                "a neighbour still does not give the blocks that it says it holds"
            );
        }
    }

    /// How often a neighbour broke a protocol.
    pub(super) const fn misbehaved(&self) -> u64 {
        self.misbehaved.total()
    }
}

fn shown(machine: Option<MachineId>) -> String {
    machine.map_or_else(|| "many others".to_owned(), |machine| machine.to_string())
}

fn write(event: Event) {
    match event {
        Event::Revoked(Revocation {
            machine,
            signer,
            reason,
            ..
        }) => tracing::warn!(%machine, by = %signer, reason, "a machine was thrown out"),
        Event::RedeemedTwice {
            invitation,
            counts,
            too_late,
        } => tracing::warn!(
            %invitation, %counts, %too_late,
            "an invitation was redeemed twice; only the first machine is a member by it"
        ),
        Event::Equivocated(proof) => tracing::warn!(
            machine = %proof.block().log.machine, block = %proof.block(),
            "a machine has signed two different blocks of one number: its key is used twice or stolen; \
             find the copy, then revoke the key with `fieldmesh network revoke`"
        ),
        Event::Expelled(machine, why) => {
            tracing::warn!(neighbour = %machine, %why, "a link was closed");
        }
        Event::Renewed(until) => tracing::info!(%until, "this machine has a newer membership"),
        Event::MembershipEnds(until) => tracing::warn!(
            %until,
            "this machine's membership ends soon; the operator renews it with `fieldmesh network renew`"
        ),
        Event::NetworkKeyRefused(why) => tracing::warn!(
            why,
            "the operator's newer network key cannot be opened; `fieldmesh network rotate-key` makes another"
        ),
        Event::NeighbourUp(machine) => tracing::info!(neighbour = %machine, "neighbour up"),
        Event::NeighbourDown(machine) => tracing::info!(neighbour = %machine, "neighbour down"),
        Event::Relays(uplink, relays) => {
            let relays: Vec<String> = relays.iter().map(MachineId::short).collect();
            tracing::info!(%uplink, relays = relays.join(" "), "relays changed");
        }
        Event::Serving(uplink, origin) => {
            tracing::info!(%uplink, origin = %origin.short(), "serving an origin");
        }
        Event::Yielded(uplink, origin) => {
            tracing::info!(%uplink, origin = %origin.short(), "no longer serving an origin");
        }
        Event::Fenced => tracing::info!("uploads wait until the states of neighbours are read"),
        Event::Misbehaved(..) | Event::Withholds(_) => {} // Complaints.
        Event::NotPersisted(what) => tracing::warn!(what, "could not be written to disk"),
        Event::Rewound(uplink, origin) => {
            tracing::info!(%uplink, origin = %origin.short(), "aggregation starts over");
        }
    }
}
