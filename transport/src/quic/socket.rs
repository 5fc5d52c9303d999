//! UDP sockets with room for a long fat link.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Once;

use socket2::{Domain, Protocol, Socket, Type};

/// What we ask the system for, each way.
const BUFFER_BYTES: usize = 8 << 20;
/// With less than this, a link of 400 Mbit/s loses packets when its reader is scheduled
/// 20 ms late.
const BUFFER_BYTES_ENOUGH: usize = 1 << 20;

/// Binds a UDP socket and reads back how much buffer it got.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    let asked = socket
        .set_recv_buffer_size(BUFFER_BYTES)
        .and_then(|()| socket.set_send_buffer_size(BUFFER_BYTES));
    let got = socket.recv_buffer_size()?.min(socket.send_buffer_size()?);
    if asked.is_err() || got < BUFFER_BYTES_ENOUGH {
        warn_once(got);
    }
    Ok(socket.into())
}

fn warn_once(got_bytes: usize) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            got_bytes,
            "the system gives UDP sockets small buffers, which costs packets on fast links: \
             set sysctl net.core.rmem_max={BUFFER_BYTES} net.core.wmem_max={BUFFER_BYTES}"
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_both_families() {
        assert!(bind(([127, 0, 0, 1], 0).into()).is_ok());
        if let Ok(socket) = bind((std::net::Ipv6Addr::UNSPECIFIED, 0).into()) {
            assert!(socket.local_addr().unwrap().is_ipv6());
        }
    }
}
