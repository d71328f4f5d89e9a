use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::*;
use crate::{BoxedStream, Passage, SocketLayer};

/// A cable that can be cut: for all connections, or for those that exist.
pub(super) struct Cable {
    cut: Mutex<watch::Sender<bool>>,
    /// Cables that stay cut.
    severed: Mutex<Vec<watch::Sender<bool>>>,
    remotes: Mutex<BTreeSet<IpAddr>>,
    /// The largest datagram that passes.
    datagram_bytes_max: AtomicUsize,
}

impl Cable {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            cut: Mutex::new(watch::Sender::new(false)),
            severed: Mutex::default(),
            remotes: Mutex::default(),
            datagram_bytes_max: AtomicUsize::new(usize::MAX),
        })
    }

    fn cut(&self) {
        self.cut.lock().expect("not poisoned").send_replace(true);
    }

    fn heal(&self) {
        self.cut.lock().expect("not poisoned").send_replace(false);
    }

    /// Cuts the connections that exist, for ever, and no others.
    fn sever(&self) {
        let mut cut = self.cut.lock().expect("not poisoned");
        let old = std::mem::replace(&mut *cut, watch::Sender::new(false));
        old.send_replace(true);
        self.severed.lock().expect("not poisoned").push(old);
    }

    fn subscribe(&self) -> watch::Receiver<bool> {
        self.cut.lock().expect("not poisoned").subscribe()
    }

    /// Nothing larger passes over UDP from now on.
    pub(super) fn limit_datagrams(&self, bytes_max: usize) {
        self.datagram_bytes_max.store(bytes_max, Ordering::SeqCst);
    }

    pub(super) fn lay(self: &Arc<Self>) -> impl Fn(&mut Config) + use<> {
        let cable = Arc::clone(self);
        move |config| {
            config.socket_layer = Some(Arc::clone(&cable) as Arc<dyn SocketLayer>);
            config.ping_interval = Duration::from_millis(50);
            config.ping_timeout = Duration::from_millis(400);
            config.dial_timeout = Duration::from_millis(400);
            config.idle_timeout = Duration::from_millis(600);
        }
    }
}

async fn healed(mut cut: watch::Receiver<bool>) {
    let _ = cut.wait_for(|is_cut| !is_cut).await;
}

impl SocketLayer for Cable {
    fn admit_dial(&self, _: IpAddr) -> BoxFuture<'static, io::Result<()>> {
        let cut = self.subscribe();
        Box::pin(async move {
            healed(cut).await;
            Ok(())
        })
    }

    fn wrap(&self, remote: IpAddr, stream: BoxedStream) -> BoxedStream {
        self.remotes.lock().expect("not poisoned").insert(remote);
        let cut = self.subscribe();
        Box::new(Wire {
            stream,
            healed: Box::pin(healed(cut.clone())),
            cut,
        })
    }

    fn arriving(&self, remote: IpAddr) -> Passage {
        self.remotes.lock().expect("not poisoned").insert(remote);
        if *self.subscribe().borrow() {
            return Passage::Lost;
        }
        Passage::Through
    }

    fn is_leaving(&self, _: IpAddr, bytes: usize) -> bool {
        let bytes_max = self.datagram_bytes_max.load(Ordering::SeqCst);
        bytes <= bytes_max && !*self.subscribe().borrow()
    }
}

struct Wire {
    stream: BoxedStream,
    cut: watch::Receiver<bool>,
    healed: BoxFuture<'static, ()>,
}

impl Wire {
    fn poll_healed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if *self.cut.borrow() {
            self.healed = Box::pin(healed(self.cut.clone()));
            return self.healed.as_mut().poll(cx);
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_healed(cx));
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        // The cable may have been cut while this waited; then nothing has come through.
        if *self.cut.borrow() {
            buffer.set_filled(before);
            return self.poll_healed(cx).map(Ok);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_healed(cx));
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_healed(cx));
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_healed(cx));
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_cut_cable_is_noticed_and_a_healed_one_carries_a_new_link() {
    for way in WAYS {
        let cable = Cable::new();
        let (mut first, mut second, contact) = linked(way, true, cable.lay()).await;
        let (from, to) = (first.machine, second.machine);

        cable.cut();
        assert_eq!(first.send(to, Lane::Live, b"lost"), Sending::Sent);
        run(&mut [&mut first, &mut second], |nodes| {
            nodes[0].downs(to) == 1 && nodes[1].downs(from) == 1
        })
        .await;
        first.swarm.dial(contact.clone());
        run(&mut [&mut first, &mut second], |nodes| {
            nodes[0].failed_dials(to) == 1
        })
        .await;
        assert_eq!(second.received(from), Vec::<Bytes>::new());

        cable.heal();
        first.swarm.dial(contact);
        run(&mut [&mut first, &mut second], |nodes| {
            nodes[0].ups(to) == 2 && nodes[1].ups(from) == 2
        })
        .await;
        assert_eq!(first.send(to, Lane::Live, b"through"), Sending::Sent);
        run(&mut [&mut first, &mut second], |nodes| {
            !nodes[1].received(from).is_empty()
        })
        .await;
        assert_eq!(second.received(from), [Bytes::from_static(b"through")]);
    }
}

#[tokio::test]
async fn a_machine_that_lost_power_and_came_back_replaces_its_dead_link() {
    for way in WAYS {
        for is_survivor_smaller in [true, false] {
            let cable = Cable::new();
            let patient = |config: &mut Config| {
                cable.lay()(config);
                config.ping_interval = Duration::from_secs(600);
                config.ping_timeout = Duration::from_secs(600);
            };
            let (mut survivor, mut lost, _) = linked(way, is_survivor_smaller, patient).await;
            let (peer, to_survivor) = (lost.machine, survivor.listen(way).await);
            run(&mut [&mut survivor, &mut lost], |nodes| {
                nodes[0].round_trips() == 1
            })
            .await;

            cable.sever(); // So that the survivor hears nothing of the end.
            drop(lost);
            let disk = [Disk::of(1), Disk::of(2)]
                .into_iter()
                .find(|disk| disk.machine_key.machine() == peer)
                .expect("one of the two");
            let mut back = disk.start(|_| ());
            back.swarm.dial(to_survivor);
            let seen = |node: &Node| (node.ups(peer), node.downs(peer));
            assert_eq!(seen(&survivor), (1, 0));

            run(&mut [&mut survivor, &mut back], |nodes| {
                nodes[0].ups(peer) == 2
            })
            .await;

            assert_eq!(seen(&survivor), (2, 1));
        }
    }
}

#[tokio::test]
async fn a_machine_dials_from_the_loopback_address_that_it_listens_on() {
    for way in WAYS {
        let cable = Cable::new();
        let mut host = Disk::of(1).start(cable.lay());
        let mut node = Disk::of(2).start(|_| ());
        let contact = host
            .listen_at(&anywhere(way).replace("127.0.0.1", "127.0.1.1"))
            .await;
        node.listen_at(&anywhere(way).replace("127.0.0.1", "127.0.1.2"))
            .await;

        node.swarm.dial(contact);
        run(&mut [&mut host, &mut node], |nodes| {
            nodes[0].ups(nodes[1].machine) == 1
        })
        .await;

        let remotes = cable.remotes.lock().expect("not poisoned").clone();
        assert_eq!(remotes, [IpAddr::from([127, 0, 1, 2])].into());
    }
}
