use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::IpAddr;
use std::time::Duration;

use futures::future::BoxFuture;
use handshake::{ConnectionIdKind, VERSION};

use super::*;
use crate::BoxedStream;

/// A socket on which this arrives: datagrams of one size (but the last) in one buffer.
#[derive(Debug, Default)]
struct Arriving {
    buffers: Mutex<VecDeque<Vec<Vec<u8>>>>,
    sent: Mutex<Vec<(Vec<u8>, Option<usize>)>>,
}

impl AsyncUdpSocket for Arriving {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        unreachable!("always writable")
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let entry = (transmit.contents.to_vec(), transmit.segment_size);
        self.sent.lock().expect("not poisoned").push(entry);
        Ok(())
    }

    fn poll_recv(
        &self,
        _: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let next = self.buffers.lock().expect("not poisoned").pop_front();
        let Some(datagrams) = next else {
            return Poll::Pending;
        };
        let whole = datagrams.concat();
        buffers[0][..whole.len()].copy_from_slice(&whole);
        metas[0] = RecvMeta {
            addr: REMOTE,
            len: whole.len(),
            stride: datagrams[0].len(),
            ecn: None,
            dst_ip: None,
        };
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(REMOTE)
    }
}

const REMOTE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

/// What becomes of whatever arrives.
struct Layer(Passage);

impl SocketLayer for Layer {
    fn admit_dial(&self, _: IpAddr) -> BoxFuture<'static, io::Result<()>> {
        unreachable!("of TCP")
    }

    fn wrap(&self, _: IpAddr, _: BoxedStream) -> BoxedStream {
        unreachable!("of TCP")
    }

    fn arriving(&self, _: IpAddr) -> Passage {
        self.0
    }

    fn is_leaving(&self, _: IpAddr, _: usize) -> bool {
        self.0 != Passage::Lost
    }
}

fn socket(layer: Option<Passage>, buffers: &[&[Vec<u8>]]) -> (QuietSocket, Arc<Arriving>) {
    let arriving = Arc::new(Arriving::default());
    let buffers = buffers.iter().map(|datagrams| datagrams.to_vec());
    *arriving.buffers.lock().expect("not poisoned") = buffers.collect();
    let layer = layer.map(|passage| Arc::new(Layer(passage)) as Arc<dyn SocketLayer>);
    let socket = QuietSocket::new(
        Arc::clone(&arriving) as Arc<dyn AsyncUdpSocket>,
        Arc::default(),
        Arc::default(),
        layer,
    );
    (socket, arriving)
}

/// What quinn would see: the datagrams of the next buffer.
async fn receive(socket: &QuietSocket) -> Vec<Vec<u8>> {
    let mut bytes = vec![0; 65_536];
    let mut metas = [RecvMeta::default()];
    let count = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut bytes)], &mut metas));
    let count = tokio::time::timeout(Duration::from_secs(10), count).await;
    let count = count.expect("something comes").expect("no error");
    assert_eq!(count, 1);
    let received = bytes[..metas[0].len].chunks(metas[0].stride.max(1));
    received.map(<[u8]>::to_vec).collect()
}

/// An Initial to a client's first destination, or of another version.
fn initial(version: u32, mark: u8, length: usize) -> Vec<u8> {
    let id = [mark; ConnectionIdKind::First.id_bytes()];
    let mut datagram = vec![0xc0];
    datagram.extend(version.to_be_bytes());
    datagram.push(u8::try_from(id.len()).expect("short"));
    datagram.extend(id);
    datagram.resize(length, 0);
    datagram
}

#[tokio::test]
async fn adversarial_11_of_what_the_kernel_merged_the_bad_is_taken_out_wherever_it_stands() {
    let (good, bad) = (VERSION, 1);
    for pattern in 0..32_u8 {
        let is_good = |n: u8| pattern & (1 << n) != 0;
        let datagram = |n: u8| {
            let length = if n == 4 { 900 } else { 1_200 };
            initial(if is_good(n) { good } else { bad }, n, length)
        };
        let merged: Vec<_> = (0..5).map(datagram).collect();
        let expected: Vec<_> = (0..5).filter(|n| is_good(*n)).map(datagram).collect();
        let (socket, _) = socket(None, &[&merged]);

        assert_eq!(receive(&socket).await, expected, "{pattern:05b}");
    }
}

#[tokio::test]
async fn of_what_quinn_merged_only_what_may_leave_is_sent() {
    let (socket, sent) = socket(None, &[]);
    let transmit = |contents, segment_size| Transmit {
        destination: REMOTE,
        ecn: None,
        contents,
        segment_size,
        src_ip: None,
    };
    let whole = [initial(VERSION, 1, 1_200), initial(VERSION, 2, 1_200)].concat();
    let mixed = [initial(0, 1, 1_200), initial(VERSION, 2, 1_200)].concat();
    let short = initial(VERSION, 3, 1_199);

    for (contents, size) in [(&whole, Some(1_200)), (&mixed, Some(1_200)), (&short, None)] {
        socket
            .try_send(&transmit(contents, size))
            .expect("it is taken");
    }

    let sent = sent.sent.lock().expect("not poisoned").clone();
    assert_eq!(
        sent,
        [(whole, Some(1_200)), (mixed[1_200..].to_vec(), None)]
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_layer_holds_back_comes_late_and_in_order() {
    let delay = Duration::from_millis(250);
    let datagrams = [initial(VERSION, 1, 1_200), initial(VERSION, 2, 1_200)];
    let (socket, _) = socket(Some(Passage::After(delay)), &[&datagrams]);
    let start = now();

    assert_eq!(receive(&socket).await, Vec::<Vec<u8>>::new());
    assert_eq!(now(), start);
    assert_eq!(receive(&socket).await, datagrams[..1]);
    assert!(now() - start >= delay);
    assert_eq!(receive(&socket).await, datagrams[1..]);
}

#[tokio::test]
async fn what_a_layer_loses_neither_comes_nor_goes() {
    let (socket, sent) = socket(Some(Passage::Lost), &[&[initial(VERSION, 1, 1_200)]]);

    assert_eq!(receive(&socket).await, Vec::<Vec<u8>>::new());
    let contents = initial(VERSION, 1, 1_200);
    let gone = socket.try_send(&Transmit {
        destination: REMOTE,
        ecn: None,
        contents: &contents,
        segment_size: None,
        src_ip: None,
    });

    assert!(gone.is_ok());
    assert!(sent.sent.lock().expect("not poisoned").is_empty());
}
