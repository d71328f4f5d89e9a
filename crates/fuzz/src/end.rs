//! One end of a handshake as quinn drives it.

use handshake::{HandshakeError, KeyChange, KeySet, Session, UpdateChain};

use crate::world::Lenient;

/// The packet spaces that carry a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Space {
    Initial,
    Handshake,
}

/// A session with the keys that it has given out, and all that it has said.
pub(crate) struct End {
    pub(crate) session: Session,
    pub(crate) handshake: Option<KeySet>,
    pub(crate) one_rtt: Option<(KeySet, UpdateChain)>,
    /// Bytes of the Initial space and of the Handshake space, in order.
    pub(crate) said: [Vec<u8>; 2],
}

impl End {
    /// Starts a session; one that dials speaks at once.
    pub(crate) fn start(session: Session) -> Self {
        let mut end = Self {
            session,
            handshake: None,
            one_rtt: None,
            said: [Vec::new(), Vec::new()],
        };
        end.write();
        end
    }

    /// Reads, and writes until nothing more comes.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), HandshakeError> {
        self.session.read(bytes, &Lenient)?;
        self.write();
        Ok(())
    }

    /// Which space CRYPTO bytes are read from now.
    pub(crate) const fn reads_from(&self) -> Space {
        match self.handshake {
            None => Space::Initial,
            Some(_) => Space::Handshake,
        }
    }

    fn write(&mut self) {
        loop {
            let said = match self.handshake {
                None => &mut self.said[0],
                Some(_) => &mut self.said[1],
            };
            let before = said.len();
            let keys = self.session.write(said);
            if said.len() == before && keys.is_none() {
                return;
            }
            match keys {
                Some(KeyChange::Handshake(keys)) => self.handshake = Some(keys),
                Some(KeyChange::OneRtt(keys, chain)) => self.one_rtt = Some((keys, chain)),
                None => {}
            }
        }
    }
}

/// Whether what one side sends with is what the other side receives with, both ways.
pub(crate) fn agree(one: &KeySet, other: &KeySet) -> bool {
    let pairs = [(&one.local, &other.remote), (&one.remote, &other.local)];
    pairs.iter().all(|(one, other)| {
        one.packet.key == other.packet.key
            && one.packet.iv == other.packet.iv
            && one.header == other.header
    })
}
