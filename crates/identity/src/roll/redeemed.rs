//! Which invitations have been redeemed, and which of several redemptions counts.
//!
//! Admitters that do not hear each other may redeem one invitation for two machines. Then the
//! earliest redemption counts, by the admitters' clocks; of two at the same time the one of the
//! smaller machine id. A machine whose redemptions at an admitter were all too late is out with
//! that admitter. Both are functions of what was redeemed, in whatever order it became known, so
//! every node comes to the same.

use std::collections::{BTreeMap, BTreeSet};

use model::{MachineId, Timestamp};

use crate::{InvitationId, Redemption};

/// Who has redeemed an invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redeemer {
    /// The machine that it has made a member.
    pub machine: MachineId,
    /// Who has admitted that machine by it; several if it had to ask again elsewhere.
    pub admitters: BTreeSet<MachineId>,
    /// Machines that were admitted by it too, later: what they got does not count.
    pub too_late: BTreeSet<MachineId>,
}

/// Every redemption that is known. Grows only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Redeemed {
    /// Time, machine, admitter.
    of_invitation: BTreeMap<InvitationId, BTreeSet<(Timestamp, MachineId, MachineId)>>,
    /// By machine and admitter: which invitations, and whether in time.
    of_machine: BTreeMap<(MachineId, MachineId), BTreeMap<InvitationId, bool>>,
}

impl Redeemed {
    pub(crate) const fn new() -> Self {
        Self {
            of_invitation: BTreeMap::new(),
            of_machine: BTreeMap::new(),
        }
    }

    /// Returns whether it is news.
    pub(crate) fn add(&mut self, redemption: &Redemption) -> bool {
        let (machine, admitter) = (redemption.machine(), redemption.admitter());
        let invitation = redemption.invitation();
        let all = self.of_invitation.entry(invitation).or_default();
        let is_news = all.insert((redemption.time(), machine, admitter));
        let first = all.first().map(|(_, machine, _)| *machine);
        for (_, machine, admitter) in all.iter() {
            let redeemed = self.of_machine.entry((*machine, *admitter)).or_default();
            redeemed.insert(invitation, Some(*machine) == first);
        }
        is_news
    }

    pub(crate) fn redeemer(&self, invitation: InvitationId) -> Option<Redeemer> {
        let all = self.of_invitation.get(&invitation)?;
        let (_, first, _) = *all.first()?;
        let (its, others): (Vec<_>, Vec<_>) =
            all.iter().partition(|(_, machine, _)| *machine == first);
        Some(Redeemer {
            machine: first,
            admitters: its.iter().map(|(_, _, admitter)| *admitter).collect(),
            too_late: others.iter().map(|(_, machine, _)| *machine).collect(),
        })
    }

    /// Whether whatever the machine has redeemed at this admitter was another machine's before.
    pub(crate) fn is_late(&self, machine: MachineId, admitter: MachineId) -> bool {
        let redeemed = self.of_machine.get(&(machine, admitter));
        redeemed.is_some_and(|redeemed| !redeemed.values().any(|is_in_time| *is_in_time))
    }
}
