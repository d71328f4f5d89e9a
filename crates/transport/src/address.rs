//! Addresses of the link: `/ip4/192.0.2.7/udp/4001/quic/noise`, and nothing else.

use std::net::{IpAddr, SocketAddr};

use libp2p::Multiaddr;
use libp2p::PeerId;
use libp2p::multiaddr::Protocol;

/// The socket that an address names, and the peer that must answer there if it names one.
pub(crate) fn to_socket(address: &Multiaddr) -> Option<(SocketAddr, Option<PeerId>)> {
    let mut protocols = address.iter();
    let ip: IpAddr = match protocols.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        Some(_) | None => return None,
    };
    let Some(Protocol::Udp(port)) = protocols.next() else {
        return None;
    };
    let (Some(Protocol::Quic), Some(Protocol::Noise)) = (protocols.next(), protocols.next()) else {
        return None;
    };
    let peer = match protocols.next() {
        None => None,
        Some(Protocol::P2p(peer)) => Some(peer),
        Some(_) => return None,
    };
    let is_over = protocols.next().is_none();
    is_over.then_some((SocketAddr::new(ip, port), peer))
}

/// The inverse of [`to_socket`], without a peer.
pub(crate) fn from_socket(socket: SocketAddr) -> Multiaddr {
    Multiaddr::from(socket.ip())
        .with(Protocol::Udp(socket.port()))
        .with(Protocol::Quic)
        .with(Protocol::Noise)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(SocketAddr, Option<PeerId>)> {
        to_socket(&text.parse().expect("a multiaddress"))
    }

    #[test]
    fn only_quic_with_noise_is_an_address_of_the_link() {
        let socket = SocketAddr::from(([127, 0, 1, 1], 4001));

        assert_eq!(
            read("/ip4/127.0.1.1/udp/4001/quic/noise"),
            Some((socket, None))
        );
        for other in [
            "/ip4/127.0.1.1/udp/4001",
            "/ip4/127.0.1.1/udp/4001/quic",
            "/ip4/127.0.1.1/udp/4001/quic-v1",
            "/ip4/127.0.1.1/tcp/4001",
            "/ip4/127.0.1.1/udp/4001/quic/noise/ws",
            "/dns4/example.com/udp/4001/quic/noise",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
        let text = "/ip4/127.0.1.1/udp/4001/quic/noise";
        assert_eq!(from_socket(socket).to_string(), text);
    }

    #[test]
    fn an_address_may_name_who_must_answer() {
        let peer = PeerId::random();
        let text = format!("/ip6/::1/udp/1/quic/noise/p2p/{peer}");

        let (_, named) = read(&text).expect("an address");

        assert_eq!(named, Some(peer));
    }
}
