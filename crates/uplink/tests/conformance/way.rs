//! The way to a server: a TCP relay that can lose what comes back, and cut connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::suite::PATIENCE;

/// A relay in front of a port of this computer; ends with this value.
pub(crate) struct Way {
    port: u16,
    faults: Arc<Faults>,
    cut: watch::Sender<u64>,
    _task: JoinSet<()>,
}

#[derive(Default)]
struct Faults {
    loses_answers: AtomicBool,
    answer_lost: Notify,
}

impl Way {
    pub(crate) async fn to(url: &str) -> Self {
        let (_, port) = url.rsplit_once(':').expect("a port");
        let port = port
            .split('?')
            .next()
            .expect("digits")
            .parse()
            .expect("a number");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let own = listener.local_addr().expect("an address").port();
        let faults = Arc::new(Faults::default());
        let (cut, cuts) = watch::channel(0);
        let mut task = JoinSet::new();
        let shared = Arc::clone(&faults);
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.expect("accepted");
                connections.spawn(relay(near, port, Arc::clone(&shared), cuts.clone()));
            }
        });
        Self {
            port: own,
            faults,
            cut,
            _task: task,
        }
    }

    /// The URL of a server, led over this way.
    pub(crate) fn url(&self, url: &str) -> String {
        let (start, port) = url.rsplit_once(':').expect("a port");
        let path = port.trim_start_matches(|c: char| c.is_ascii_digit());
        format!("{start}:{}{path}", self.port)
    }

    /// Loses whatever the server says from now on, in all connections.
    pub(crate) fn lose_answers(&self) {
        self.faults.loses_answers.store(true, Ordering::SeqCst);
    }

    /// Waits until the server has said something that was lost.
    pub(crate) async fn until_an_answer_is_lost(&self) {
        let lost = self.faults.answer_lost.notified();
        timeout(PATIENCE, lost).await.expect("an answer is lost");
    }

    /// Cuts all connections; new ones are as good as any.
    pub(crate) fn cut(&self) {
        self.faults.loses_answers.store(false, Ordering::SeqCst);
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

async fn relay(near: TcpStream, port: u16, faults: Arc<Faults>, mut cuts: watch::Receiver<u64>) {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let Ok(far) = TcpStream::connect(address).await else {
        return;
    };
    cuts.mark_unchanged();
    let (from_near, to_near) = near.into_split();
    let (from_far, to_far) = far.into_split();
    tokio::select! {
        () = copy(from_near, to_far, None) => {}
        () = copy(from_far, to_near, Some(&faults)) => {}
        _ = cuts.changed() => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, faults: Option<&Faults>) {
    let mut chunk = vec![0; 65_536];
    loop {
        let Ok(length @ 1..) = from.read(&mut chunk).await else {
            return;
        };
        if let Some(faults) = faults
            && faults.loses_answers.load(Ordering::SeqCst)
        {
            faults.answer_lost.notify_one();
            continue;
        }
        if to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}
