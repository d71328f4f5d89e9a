//! Which addresses a listening socket has, now and as interfaces come and go.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::task::{Context, Poll};

use futures::StreamExt as _;
use if_watch::IfEvent;
use if_watch::tokio::IfWatcher;

/// A change of a listener's addresses.
#[derive(Debug)]
pub enum AddressChange {
    /// It can be reached here.
    Up(IpAddr),
    /// It cannot be reached here any more.
    Down(IpAddr),
}

/// Watches the interfaces for a listener on every one of them; a listener on one address has that.
#[derive(Debug)]
pub struct Interfaces {
    bound: IpAddr,
    watcher: Option<IfWatcher>,
    announced: BTreeSet<IpAddr>,
}

impl Interfaces {
    /// For a socket that is bound to this address. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the operating system does not tell its interfaces.
    pub fn new(bound: IpAddr) -> io::Result<Self> {
        let watcher = bound.is_unspecified().then(IfWatcher::new);
        Ok(Self {
            bound,
            watcher: watcher.transpose()?,
            announced: BTreeSet::new(),
        })
    }

    /// Waits for the next change.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<AddressChange>> {
        let Some(watcher) = &mut self.watcher else {
            if self.announced.insert(self.bound) {
                return Poll::Ready(Ok(AddressChange::Up(self.bound)));
            }
            return Poll::Pending;
        };
        while let Poll::Ready(Some(change)) = watcher.poll_next_unpin(cx) {
            match change {
                Ok(IfEvent::Up(net)) if is_useful(net.addr(), self.bound) => {
                    if self.announced.insert(net.addr()) {
                        return Poll::Ready(Ok(AddressChange::Up(net.addr())));
                    }
                }
                Ok(IfEvent::Down(net)) if self.announced.remove(&net.addr()) => {
                    return Poll::Ready(Ok(AddressChange::Down(net.addr())));
                }
                Ok(IfEvent::Up(_) | IfEvent::Down(_)) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Pending
    }
}

/// Whether others could reach a listener on every interface at this address.
fn is_useful(ip: IpAddr, bound: IpAddr) -> bool {
    let is_link_local = match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => ip.is_unicast_link_local(), // Means nothing without an interface.
    };
    ip.is_ipv4() == bound.is_ipv4() && !ip.is_loopback() && !is_link_local
}
