//! TUN devices: the one place that needs a system call without a safe wrapper.
#![allow(unsafe_code, reason = "TUNSETIFF is an ioctl, which has no safe form")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

/// `struct ifreq` of netdevice(7), as TUNSETIFF reads it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; 22],
}

/// Makes a TUN device; each read and write of the file, which never blocks, is one IP packet.
pub(super) fn open(name: &str) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    let mut request = InterfaceRequest {
        name: [0; libc::IFNAMSIZ],
        flags: (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short,
        rest: [0; 22],
    };
    let bytes = name.as_bytes();
    let room = request.name.get_mut(..bytes.len());
    let room = room.filter(|room| room.len() < libc::IFNAMSIZ);
    let room = room.ok_or_else(|| io::Error::other("the device's name is too long"))?;
    room.copy_from_slice(bytes);
    // SAFETY: the descriptor is open, and the request is as large as the kernel's ifreq (40
    // bytes) and lives until the call returns.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    match result {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}
