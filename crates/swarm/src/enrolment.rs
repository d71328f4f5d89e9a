//! Enrolment: what follows when a machine has shown the claim of an invitation in the handshake.
//!
//! Nothing is left to ask: the machine that was dialled answers with one message, and the
//! connection ends. It never reaches the swarm, so nothing but that can be done over it.
//!
//! # Not here
//!
//! Whether a claim is redeemed (`engine`), the other side (`join`).

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use identity::{Claim, Membership, NetworkKeys, file};
use libp2p::Multiaddr;
use libp2p::core::ConnectedPoint;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use zeroize::Zeroizing;

/// Names a machine that waits for the answer to its claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EnrolmentId(u64);

/// What a machine is told about its claim.
#[derive(Clone)]
pub enum Answer {
    /// It is a member.
    Admitted {
        /// Its membership, as carried.
        membership: bytes::Bytes,
        /// The network's keys now; the one in its token may be older.
        network_keys: NetworkKeys,
    },
    /// It is not, and why.
    Refused(String),
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admitted { .. } => f.write_str("Admitted"),
            Self::Refused(why) => f.debug_tuple("Refused").field(why).finish(),
        }
    }
}

/// Where claims are brought to, from whichever transport.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    claims: mpsc::Sender<Knock>,
    places: Arc<Semaphore>,
}

/// A machine that waits.
#[derive(Debug)]
pub(crate) struct Knock {
    claim: Claim,
    address: Multiaddr,
    answer: oneshot::Sender<Answer>,
}

impl Door {
    /// Has a claim decided, and tells the machine. Ends in bounded time, whatever the other side
    /// does, and at once if too many wait.
    pub(crate) async fn serve<S>(&self, claim: Claim, endpoint: &ConnectedPoint, mut stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Ok(_place) = self.places.try_acquire() else {
            tracing::debug!("too many machines want to join at a time");
            return;
        };
        let answer = self.decide(claim, endpoint).await;
        let told = async {
            write(&mut stream, &answer).await?;
            // What was written is lost if the connection ends before it has been read.
            stream.read(&mut [0]).await
        };
        match timeout(TELLING_TIME_MAX, told).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the answer to a claim may not have arrived"),
            Err(_) => tracing::debug!("a machine does not read the answer to its claim"),
        }
    }

    async fn decide(&self, claim: Claim, endpoint: &ConnectedPoint) -> Answer {
        let (answer, answered) = oneshot::channel();
        let knock = Knock {
            claim,
            address: endpoint.get_remote_address().clone(),
            answer,
        };
        if self.claims.try_send(knock).is_err() {
            return Answer::Refused(BUSY.to_owned());
        }
        match timeout(DECIDING_TIME_MAX, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Answer::Refused(BUSY.to_owned()),
        }
    }
}

/// The claims that wait, as the swarm sees them.
#[derive(Debug)]
pub(crate) struct Knocks {
    received: mpsc::Receiver<Knock>,
    /// At most as many as there are places.
    waiting: BTreeMap<EnrolmentId, oneshot::Sender<Answer>>,
    last: EnrolmentId,
}

impl Knocks {
    pub(crate) fn new() -> (Door, Self) {
        let (claims, received) = mpsc::channel(WAITING_MAX);
        let door = Door {
            claims,
            places: Arc::new(Semaphore::new(WAITING_MAX)),
        };
        let knocks = Self {
            received,
            waiting: BTreeMap::new(),
            last: EnrolmentId(0),
        };
        (door, knocks)
    }

    /// Waits for the next one. Losing the future loses nothing.
    pub(crate) async fn next(&mut self) -> (EnrolmentId, Claim, Multiaddr) {
        let Some(knock) = self.received.recv().await else {
            return std::future::pending().await;
        };
        self.waiting.retain(|_, waiting| !waiting.is_closed());
        self.last.0 += 1;
        self.waiting.insert(self.last, knock.answer);
        (self.last, knock.claim, knock.address)
    }

    pub(crate) fn answer(&mut self, enrolment: EnrolmentId, answer: Answer) {
        if let Some(waiting) = self.waiting.remove(&enrolment)
            && waiting.send(answer).is_err()
        {
            tracing::debug!("a machine did not wait for the answer to its claim");
        }
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), answer: &Answer) -> io::Result<()> {
    let mut bytes = Zeroizing::new(Vec::new());
    match answer {
        Answer::Admitted {
            membership,
            network_keys,
        } => {
            bytes.push(ADMITTED);
            put(&mut bytes, membership);
            put(
                &mut bytes,
                file::write_network_keys(network_keys).as_bytes(),
            );
        }
        Answer::Refused(why) => {
            bytes.push(REFUSED);
            let end = why.floor_char_boundary(REASON_BYTES_MAX);
            put(&mut bytes, &why.as_bytes()[..end]);
        }
    }
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// Reads what [`write`] wrote: the bytes of a membership are not checked here.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Answer> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let mut kind = [0];
    stream.read_exact(&mut kind).await?;
    match kind {
        [ADMITTED] => {
            let membership = take(stream, Membership::BYTES_MAX).await?;
            let keys = take(stream, file::TEXT_BYTES_MAX).await?;
            let keys = std::str::from_utf8(&keys).map_err(|_| malformed())?;
            Ok(Answer::Admitted {
                membership: membership.to_vec().into(),
                network_keys: file::read_network_keys(keys).map_err(|_| malformed())?,
            })
        }
        [REFUSED] => {
            let why = take(stream, REASON_BYTES_MAX).await?;
            let why = String::from_utf8(why.to_vec());
            Ok(Answer::Refused(why.map_err(|_| malformed())?))
        }
        _ => Err(malformed()),
    }
}

fn put(bytes: &mut Vec<u8>, field: &[u8]) {
    let length = u16::try_from(field.len()).expect("a membership, two keys or a sentence");
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(field);
}

async fn take(
    stream: &mut (impl AsyncRead + Unpin),
    bytes_max: usize,
) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > bytes_max {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut field = Zeroizing::new(vec![0; length]);
    stream.read_exact(&mut field).await?;
    Ok(field)
}

const REFUSED: u8 = 0;
const ADMITTED: u8 = 1;
/// Machines that may wait for an answer at a time. Source: guess.
const WAITING_MAX: usize = 16;
/// Source: guess, above a slow disk's sync.
const DECIDING_TIME_MAX: Duration = Duration::from_secs(5);
/// Source: guess, some retransmissions.
const TELLING_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest reason of a refusal. Unit: bytes. Source: guess, a few sentences.
const REASON_BYTES_MAX: usize = 512;
const BUSY: &str = "this machine is busy; try again in some seconds";
