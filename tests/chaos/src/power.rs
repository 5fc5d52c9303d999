//! A power cut for a mounted file system.

#![allow(
    unsafe_code,
    reason = "the one ioctl that makes a file system forget has no safe wrapper"
)]

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// `EXT4_IOC_SHUTDOWN`, the same number as `XFS_IOC_GOINGDOWN`.
const SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);
/// Nothing more is written, the file system's own journal included.
const WITHOUT_FLUSH: u32 = 2;

/// From now on the file system at `mount` writes nothing and answers every call with an error.
/// Mounted again, it holds what was on its disk at this moment.
pub(crate) fn cut(mount: &Path) -> io::Result<()> {
    let root = File::open(mount)?;
    // SAFETY: the opcode takes a pointer to a u32, reads it and writes nothing.
    unsafe { ioctl(&root, Setter::<SHUTDOWN, u32>::new(WITHOUT_FLUSH)) }?;
    Ok(())
}
