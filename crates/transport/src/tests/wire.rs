//! A way between two machines on which a test sees, keeps and loses datagrams.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From whoever dials to whoever listens.
    There,
    Back,
}

type Record = Arc<Mutex<Vec<(Way, Vec<u8>)>>>;

/// A way to a listener, for one dialler. Ends when dropped.
pub(super) struct Wire {
    /// What to dial instead of the listener.
    pub(super) at: SocketAddr,
    passed: Record,
    _task: JoinSet<()>,
}

impl Wire {
    /// Everything passes.
    pub(super) async fn to(listener: SocketAddr) -> Self {
        Self::with(listener, |_, datagram| vec![datagram.to_vec()]).await
    }

    /// What comes out for each datagram, `fate` says. What went in is written down.
    pub(super) async fn with(
        listener: SocketAddr,
        fate: impl FnMut(Way, &[u8]) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Self {
        let near = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let far = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let at = near.local_addr().expect("it is bound");
        let passed = Arc::new(Mutex::new(Vec::new()));
        let mut task = JoinSet::new();
        task.spawn(run(near, far, listener, fate, Arc::clone(&passed)));
        Self {
            at,
            passed,
            _task: task,
        }
    }

    /// What went in at one end so far.
    pub(super) fn passed(&self, way: Way) -> Vec<Vec<u8>> {
        let passed = self.passed.lock().expect("not poisoned");
        let of_way = passed.iter().filter(|(its, _)| *its == way);
        of_way.map(|(_, datagram)| datagram.clone()).collect()
    }

    /// Which way each datagram went.
    pub(super) fn order(&self) -> Vec<Way> {
        let passed = self.passed.lock().expect("not poisoned");
        passed.iter().map(|(way, _)| *way).collect()
    }

    pub(super) fn bytes(&self, way: Way) -> usize {
        self.passed(way).iter().map(Vec::len).sum()
    }
}

async fn run(
    near: UdpSocket,
    far: UdpSocket,
    listener: SocketAddr,
    mut fate: impl FnMut(Way, &[u8]) -> Vec<Vec<u8>>,
    passed: Record,
) {
    let (mut there, mut back) = ([0; 65_536], [0; 65_536]);
    let mut dialler = None;
    loop {
        let (way, datagram) = tokio::select! {
            received = near.recv_from(&mut there) => {
                let (length, from) = received.expect("a datagram");
                dialler = Some(from);
                (Way::There, &there[..length])
            }
            received = far.recv_from(&mut back) => {
                let (length, _) = received.expect("a datagram");
                (Way::Back, &back[..length])
            }
        };
        let entry = (way, datagram.to_vec());
        passed.lock().expect("not poisoned").push(entry);
        for datagram in fate(way, datagram) {
            let sent = match (way, dialler) {
                (Way::There, _) => far.send_to(&datagram, listener).await,
                (Way::Back, Some(dialler)) => near.send_to(&datagram, dialler).await,
                (Way::Back, None) => continue,
            };
            sent.expect("loopback takes it");
        }
    }
}

/// What strangers send from, and would hear answers with.
pub(super) struct Stranger(UdpSocket);

impl Stranger {
    pub(super) async fn new() -> Self {
        Self(UdpSocket::bind("127.0.0.1:0").await.expect("a free port"))
    }

    /// Sends, and lets whoever listens in this thread read it.
    pub(super) async fn send(&self, to: SocketAddr, datagram: &[u8]) {
        self.0
            .send_to(datagram, to)
            .await
            .expect("loopback takes it");
        tokio::task::yield_now().await;
    }

    /// What has come within a while.
    pub(super) async fn heard(&self, within: Duration) -> Vec<Vec<u8>> {
        let mut buffer = [0; 2_048];
        let mut heard = Vec::new();
        let listening = async {
            loop {
                let length = self.0.recv(&mut buffer).await.expect("a datagram");
                heard.push(buffer[..length].to_vec());
            }
        };
        let _: Result<(), _> = tokio::time::timeout(within, listening).await;
        heard
    }
}
