//! The node's own address, where none was given.

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::net::{IpAddr, UdpSocket};

/// The address that the default route would use, else the first of an interface that is up.
pub(crate) fn discover() -> Option<IpAddr> {
    by_route().or_else(by_interface)
}

/// A connected UDP socket sends nothing, but shows the address that packets would have.
fn by_route() -> Option<IpAddr> {
    const ANYWHERE: &str = "192.0.2.1:9";
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect(ANYWHERE).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified() && !ip.is_loopback())
}

fn by_interface() -> Option<IpAddr> {
    let up = getifaddrs().ok()?.filter(|interface| {
        interface.flags.contains(InterfaceFlags::IFF_UP) && !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK)
    });
    up.filter_map(|interface| interface.address?.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()))).next()
}
