//! Which network keys count now.

use std::sync::Arc;

use identity::LinkKeys;

use crate::connection_id::{ConnectionIdKind, check_connection_id};

/// The link's keys of the current epoch, and of the one before while machines change over.
///
/// A machine dials with the current keys first and answers under both.
#[derive(Clone, Debug)]
pub struct KeyRing {
    current: Arc<LinkKeys>,
    previous: Option<Arc<LinkKeys>>,
}

impl KeyRing {
    /// A ring of one epoch or two.
    #[must_use]
    pub fn new(current: LinkKeys, previous: Option<LinkKeys>) -> Self {
        Self {
            current: Arc::new(current),
            previous: previous.map(Arc::new),
        }
    }

    /// What to dial with.
    #[must_use]
    pub const fn current(&self) -> &Arc<LinkKeys> {
        &self.current
    }

    /// What to dial with where the current keys are not known yet.
    #[must_use]
    pub const fn previous(&self) -> Option<&Arc<LinkKeys>> {
        self.previous.as_ref()
    }

    /// Every epoch's keys, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<LinkKeys>> {
        [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
    }

    /// The keys under which a connection id was made, if any.
    #[must_use]
    pub fn find(&self, kind: ConnectionIdKind, id: &[u8]) -> Option<&Arc<LinkKeys>> {
        self.iter().find(|keys| check_connection_id(keys, kind, id))
    }
}
