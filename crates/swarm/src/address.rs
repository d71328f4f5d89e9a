//! Our names for machines and addresses, and libp2p's.

use std::net::{IpAddr, SocketAddr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use model::MachineId;
use overlay::Address;

/// libp2p's name of a machine; `None` if its key is no point of the curve.
pub(crate) fn peer_of(machine: MachineId) -> Option<PeerId> {
    PeerId::from_bytes(&machine.to_peer_id_bytes()).ok()
}

/// The machine that libp2p names; `None` if it has another kind of key than ours.
pub(crate) fn machine_of(peer: &PeerId) -> Option<MachineId> {
    MachineId::from_peer_id_bytes(&peer.to_bytes())
}

/// Reads an address, with the machine that must answer there if it names one.
pub(crate) fn parse(address: &Address) -> Option<(Multiaddr, Option<PeerId>)> {
    address.as_str().parse().ok().map(split_peer)
}

/// Takes `/p2p/MACHINE` off the end.
pub(crate) fn split_peer(mut address: Multiaddr) -> (Multiaddr, Option<PeerId>) {
    let Some(Protocol::P2p(peer)) = address.iter().last() else {
        return (address, None);
    };
    address.pop();
    (address, Some(peer))
}

/// The address as others are told it; `None` if it is too long.
pub(crate) fn to_ours(address: &Multiaddr) -> Option<Address> {
    Address::new(address.to_string())
}

/// The socket that `/ip4/…/tcp/…` or `/ip6/…/tcp/…` names, and nothing else.
pub(crate) fn to_socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut protocols = address.iter();
    let ip: IpAddr = match protocols.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        Some(_) | None => return None,
    };
    let Some(Protocol::Tcp(port)) = protocols.next() else {
        return None;
    };
    match (protocols.next(), protocols.next()) {
        (None, _) | (Some(Protocol::P2p(_)), None) => Some(SocketAddr::new(ip, port)),
        (Some(_), _) => None,
    }
}

/// Where whoever listens there for TCP listens for QUIC unless it is told otherwise: the same port.
pub(crate) fn quic_beside(address: &Multiaddr) -> Option<Multiaddr> {
    let socket = to_socket(address)?;
    let udp = Multiaddr::from(socket.ip()).with(Protocol::Udp(socket.port()));
    Some(udp.with(Protocol::Quic).with(Protocol::Noise))
}

/// The inverse of [`to_socket`].
pub(crate) fn from_socket(socket: SocketAddr) -> Multiaddr {
    Multiaddr::from(socket.ip()).with(Protocol::Tcp(socket.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<SocketAddr> {
        to_socket(&text.parse().expect("a multiaddress"))
    }

    #[test]
    fn only_tcp_over_ip_is_a_socket() {
        let socket = SocketAddr::from(([127, 0, 1, 1], 4001));

        assert_eq!(read("/ip4/127.0.1.1/tcp/4001"), Some(socket));
        assert_eq!(read("/ip4/127.0.1.1/udp/4001"), None);
        assert_eq!(read("/ip4/127.0.1.1/tcp/4001/ws"), None);
        let machine = MachineId::from_bytes([7; 32]);
        let direct = format!("/ip4/127.0.1.1/tcp/4001/p2p/{machine}");
        assert_eq!(read(&direct), Some(socket));
        assert_eq!(read(&format!("{direct}/p2p-circuit")), None);
        assert_eq!(read("/dns4/example.com/tcp/4001"), None);
        assert_eq!(from_socket(socket).to_string(), "/ip4/127.0.1.1/tcp/4001");
    }

    #[test]
    fn the_machine_is_taken_off_the_end() {
        let machine = MachineId::from_bytes([7; 32]);
        let text = format!("/ip4/127.0.1.1/tcp/4001/p2p/{machine}");

        let (address, peer) = split_peer(text.parse().expect("a multiaddress"));

        assert_eq!(address.to_string(), "/ip4/127.0.1.1/tcp/4001");
        assert_eq!(peer.as_ref().and_then(machine_of), Some(machine));
    }
}
