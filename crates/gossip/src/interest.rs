//! Interest: what of the network a node replicates, and what it says of that to its neighbours.
//!
//! A site is the unit of full replication: everyone of a site holds everyone's log. Beyond that a
//! node holds the logs of the sites that it subscribes to, and what must reach everyone. A
//! neighbour says its interest first; until it does, it is taken for one that subscribes to
//! nothing.
//!
//! What of a state reaches whom goes by its kind:
//!
//! - everyone: who is thrown out, renewed or gets a key, which invitations are used up, and
//!   letters, because nobody knows where their target is;
//! - whoever wants the log: what a machine's blocks need to be read, where it is, what it is
//!   convicted of;
//! - the own site alone: candidacies, progress, watermarks. So nobody uploads another site's logs.
//!
//! A membership goes wherever something goes that it must be judged by.

use std::collections::BTreeMap;

use model::{Pattern, SeriesName, StateKind};

/// What a node replicates: its own site, and the sites whose names fit some patterns.
///
/// Without a name for its own site it takes every machine for one of its site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    site: Option<SeriesName>,
    /// By their text, so that equal interests are equal.
    patterns: BTreeMap<String, Pattern>,
}

/// Why something is no interest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InterestError {
    /// A name or a pattern of a site has one level and stands for no single machine.
    #[error("{0:?} names no site; give a site's name, or `*` for every site")]
    NotOneLevel(String),
    /// The name of a site is shorter.
    #[error("a site's name has at most {limit} bytes", limit = Interest::NAME_BYTES_MAX)]
    TooLong,
    /// There are too many patterns.
    #[error("at most {limit} sites can be named; `*` stands for every site", limit = Interest::PATTERNS_MAX)]
    TooMany,
}

impl Interest {
    /// Most patterns. Source: guess; each costs a match for each log and neighbour.
    pub const PATTERNS_MAX: usize = 16;
    /// Longest pattern or name of a site. Unit: bytes. Source: `identity::Grant`.
    pub const NAME_BYTES_MAX: usize = identity::Grant::NAME_BYTES_MAX;

    /// The interest of a machine of a site that subscribes to others.
    ///
    /// # Errors
    ///
    /// [`InterestError`] if the name or a pattern cannot be one of a site, or there are too many.
    pub fn new(
        site: Option<SeriesName>,
        patterns: impl IntoIterator<Item = Pattern>,
    ) -> Result<Self, InterestError> {
        let name = site.as_ref().map(SeriesName::as_str);
        name.map_or(Ok(()), check_name)?;
        let mut interest = Self {
            site,
            patterns: BTreeMap::new(),
        };
        for pattern in patterns {
            if interest.patterns.len() == Self::PATTERNS_MAX {
                return Err(InterestError::TooMany);
            }
            let text = pattern.to_string();
            if pattern.machine().is_some() {
                return Err(InterestError::NotOneLevel(text));
            }
            check_name(&text)?;
            interest.patterns.insert(text, pattern);
        }
        Ok(interest)
    }

    /// The same interest of a machine of a site.
    #[must_use]
    pub fn at(self, site: SeriesName) -> Self {
        Self {
            site: Some(site),
            ..self
        }
    }

    /// What everyone of the own site wants; `None` if this is no more than that.
    pub(crate) fn without_others(&self) -> Option<Self> {
        let site = self.site.clone();
        let patterns = BTreeMap::new();
        (!self.patterns.is_empty()).then_some(Self { site, patterns })
    }

    /// The own site.
    #[must_use]
    pub const fn site(&self) -> Option<&SeriesName> {
        self.site.as_ref()
    }

    /// The patterns of other sites, in order and each once.
    pub fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.patterns.values()
    }

    /// Whether a site is the own one.
    #[must_use]
    pub fn is_own(&self, site: &SeriesName) -> bool {
        self.site.as_ref().is_none_or(|own| own == site)
    }

    /// Whether the logs of a site are wanted.
    #[must_use]
    pub fn wants(&self, site: &SeriesName) -> bool {
        self.is_own(site) || self.patterns.values().any(|pattern| pattern.matches(site))
    }
}

fn check_name(name: &str) -> Result<(), InterestError> {
    if name.contains('/') {
        return Err(InterestError::NotOneLevel(name.to_owned()));
    }
    if name.len() > Interest::NAME_BYTES_MAX {
        return Err(InterestError::TooLong);
    }
    Ok(())
}

/// How far a state travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// To every machine of the network.
    Network,
    /// To whoever has to judge something that its origin says.
    Judges,
    /// To whoever wants the logs of its origin.
    Logs,
    /// To the origin's site.
    Site,
}

impl Reach {
    pub(crate) const fn of(kind: StateKind) -> Self {
        match kind {
            StateKind::Revocation
            | StateKind::Redemption
            | StateKind::Renewal
            | StateKind::NetworkKey
            | StateKind::Letter
            | StateKind::Reply => Self::Network,
            StateKind::Membership => Self::Judges,
            StateKind::Series | StateKind::Presence | StateKind::Equivocation => Self::Logs,
            StateKind::Watermark | StateKind::Candidacy | StateKind::Progress => Self::Site,
        }
    }
}
