//! What states say about machines and series, by subject.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use identity::{Equivocation, Membership, Redemption, Revocation, Roll};
use model::{Epoch, LogId, MachineId, SeriesDefinition, SeriesNumber, State, StateKind, Timestamp};

use crate::Presence;

/// What is known of a machine.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its membership.
    pub membership: Arc<Membership>,
    /// The state in which it said last where it is, as it travelled: of thousands of members few
    /// are ever asked for.
    presence: Option<State>,
}

impl Member {
    /// What it said last about where it is; `None` before that.
    #[must_use]
    pub fn presence(&self) -> Option<Presence> {
        let presence = Presence::from_payload(self.presence.as_ref()?.payload());
        presence.ok() // It decoded when it was taken in.
    }
}

/// Machines and series as the states of kinds `Membership`, `Presence`, `Series`, `Revocation`,
/// `Redemption` and `Equivocation` tell of them.
///
/// Bounded by what `gossip` keeps: it grows with accepted states only.
#[derive(Clone, Debug)]
pub struct Catalogue {
    roll: Roll,
    proved_past: Timestamp,
    members: BTreeMap<MachineId, Member>,
    series: BTreeMap<LogId, BTreeMap<SeriesNumber, Arc<SeriesDefinition>>>,
    equivocations: BTreeMap<MachineId, Equivocation>,
}

impl Catalogue {
    /// A catalogue that knows nobody yet.
    #[must_use]
    pub const fn new(roll: Roll) -> Self {
        Self {
            roll,
            proved_past: Timestamp::MIN,
            members: BTreeMap::new(),
            series: BTreeMap::new(),
            equivocations: BTreeMap::new(),
        }
    }

    /// Takes in what a state says; states of other kinds say nothing here. A payload that does not
    /// decode changes nothing.
    pub fn apply(&mut self, state: &State) {
        let origin = state.key().origin;
        match state.key().kind {
            StateKind::Membership => {
                let membership = self.roll.trust().read(state.payload().clone());
                let Ok(membership) = membership else {
                    return;
                };
                if membership.grant().machine != origin {
                    return;
                }
                self.note_signed(membership.issuer(), membership.grant().not_before);
                let presence = self
                    .members
                    .remove(&origin)
                    .and_then(|member| member.presence);
                self.members.insert(
                    origin,
                    Member {
                        membership: Arc::new(membership),
                        presence,
                    },
                );
            }
            StateKind::Presence => {
                if Presence::from_payload(state.payload()).is_err() {
                    return;
                }
                if let Some(member) = self.members.get_mut(&origin)
                    && !self.roll.is_revoked(&member.membership)
                {
                    member.presence = Some(state.clone());
                }
            }
            StateKind::Revocation => {
                if let Ok(revocation) = Revocation::from_state(state) {
                    let time = revocation.time.saturating_sub(OPERATOR_CLOCK_AHEAD_MAX);
                    self.note_signed(revocation.signer, time);
                    self.revoke(&revocation);
                }
            }
            StateKind::Redemption => {
                if let Ok(redemption) = Redemption::from_state(self.roll.trust(), state) {
                    self.redeem(&redemption);
                }
            }
            StateKind::Series => {
                let Some((log, number)) = Self::series_defined_by(state) else {
                    return;
                };
                let Ok(definition) = SeriesDefinition::from_payload(state.payload()) else {
                    return;
                };
                self.series
                    .entry(log)
                    .or_default()
                    .insert(number, Arc::new(definition));
            }
            StateKind::Watermark
            | StateKind::Candidacy
            | StateKind::Progress
            | StateKind::Renewal
            | StateKind::NetworkKey
            | StateKind::Letter
            | StateKind::Reply => {}
            StateKind::Equivocation => {
                if let Ok(proof) = Equivocation::from_state(&self.roll.trust().network(), state) {
                    self.equivocations.insert(origin, proof);
                }
            }
        }
    }

    /// The machines that have signed two different blocks of one number, each with the proof.
    #[must_use]
    pub const fn equivocations(&self) -> &BTreeMap<MachineId, Equivocation> {
        &self.equivocations
    }

    /// Where a machine is that was thrown out does not matter any more.
    fn revoke(&mut self, revocation: &Revocation) {
        self.roll.revoke(revocation);
        let machine = revocation.machine;
        for member in self.members.values_mut() {
            let (own, issuer) = (member.membership.machine(), member.membership.issuer());
            if (own == machine || issuer == machine) && self.roll.is_out(own, issuer) {
                member.presence = None;
            }
        }
    }

    /// The same for those who redeemed an invitation too late.
    fn redeem(&mut self, redemption: &Redemption) {
        self.roll.redeem(redemption);
        let redeemer = self.roll.redeemer(redemption.invitation());
        for machine in redeemer.into_iter().flat_map(|redeemer| redeemer.too_late) {
            if let Some(member) = self.members.get_mut(&machine)
                && self.roll.is_revoked(&member.membership)
            {
                member.presence = None;
            }
        }
    }

    /// A time that is past: the operator has signed something after it. A clock that shows an
    /// earlier one is not right.
    #[must_use]
    pub const fn proved_past(&self) -> Timestamp {
        self.proved_past
    }

    /// Only the operator's word on time counts.
    fn note_signed(&mut self, signer: MachineId, time: Timestamp) {
        if signer == self.roll.trust().operator() {
            self.proved_past = self.proved_past.max(time);
        }
    }

    /// Which series a state defines; `None` if it is of another kind or does not read.
    #[must_use]
    pub fn series_defined_by(state: &State) -> Option<(LogId, SeriesNumber)> {
        if state.key().kind != StateKind::Series {
            return None;
        }
        let (epoch, number) = series_subject(&state.key().subject)?;
        let machine = state.key().origin;
        Some((LogId { machine, epoch }, number))
    }

    /// What a series number of a log means.
    #[must_use]
    pub fn definition(&self, log: &LogId, number: SeriesNumber) -> Option<&Arc<SeriesDefinition>> {
        self.series.get(log)?.get(&number)
    }

    /// Every series of every log.
    pub fn series(&self) -> impl Iterator<Item = (&LogId, SeriesNumber, &Arc<SeriesDefinition>)> {
        self.series
            .iter()
            .flat_map(|(log, series)| series.iter().map(move |(n, def)| (log, *n, def)))
    }

    /// Every series of every log of a machine.
    pub fn series_of(
        &self,
        machine: &MachineId,
    ) -> impl Iterator<Item = (&LogId, SeriesNumber, &Arc<SeriesDefinition>)> {
        let first = LogId {
            machine: *machine,
            epoch: Epoch { counter: 0, tag: 0 },
        };
        let machine = *machine;
        let logs = self.series.range(first..);
        logs.take_while(move |(log, _)| log.machine == machine)
            .flat_map(|(log, series)| series.iter().map(move |(n, def)| (log, *n, def)))
    }

    /// What is known of a machine, also if it was thrown out.
    #[must_use]
    pub fn member(&self, machine: &MachineId) -> Option<&Member> {
        self.members.get(machine)
    }

    /// How many machines are known, also of those that were thrown out.
    #[must_use]
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// Every machine in the order of the ids, but those that were thrown out.
    pub fn members(&self) -> impl Iterator<Item = (&MachineId, &Member)> {
        let everyone = self.members.iter();
        everyone.filter(|(_, member)| !self.roll.is_revoked(&member.membership))
    }

    /// Every machine in the order of the ids, and whether it was thrown out.
    pub fn everyone(&self) -> impl Iterator<Item = (&Member, bool)> {
        let members = self.members.values();
        members.map(|member| (member, self.roll.is_revoked(&member.membership)))
    }

    /// A machine, unless it was thrown out.
    #[must_use]
    pub fn present_member(&self, machine: &MachineId) -> Option<&Member> {
        let member = self.members.get(machine);
        member.filter(|member| !self.roll.is_revoked(&member.membership))
    }

    /// Those whom a machine has admitted.
    pub(crate) fn admitted_by(&self, issuer: MachineId) -> impl Iterator<Item = MachineId> {
        let members = self.members.values().map(|member| &member.membership);
        let admitted = members.filter(move |membership| membership.issuer() == issuer);
        admitted.map(|membership| membership.machine())
    }

    /// The names that a machine answers to in patterns: its id and its display name.
    #[must_use]
    pub fn names(&self, machine: &MachineId) -> BTreeSet<String> {
        let name = self
            .members
            .get(machine)
            .map(|m| m.membership.grant().name.clone());
        name.into_iter().chain([machine.to_string()]).collect()
    }

    /// The display name of a machine, its id while the membership is not known.
    #[must_use]
    pub fn name(&self, machine: &MachineId) -> String {
        self.members.get(machine).map_or_else(
            || machine.to_string(),
            |m| m.membership.grant().name.clone(),
        )
    }

    /// When this machine's membership ends.
    #[must_use]
    pub fn not_after(&self, machine: &MachineId) -> Option<Timestamp> {
        self.members
            .get(machine)
            .map(|m| m.membership.grant().not_after)
    }
}

/// The subject of the state that defines a series: `EPOCH/NUMBER`.
pub(crate) fn series_subject_of(epoch: Epoch, number: SeriesNumber) -> String {
    format!("{epoch}/{}", number.0)
}

fn series_subject(subject: &str) -> Option<(Epoch, SeriesNumber)> {
    let (epoch, number) = subject.split_once('/')?;
    Some((epoch.parse().ok()?, SeriesNumber(number.parse().ok()?)))
}

/// How far the operator's clock may be ahead of the machines'. Source: guess, as long as
/// memberships begin before they are signed.
const OPERATOR_CLOCK_AHEAD_MAX: Duration = Duration::from_secs(3_600);
