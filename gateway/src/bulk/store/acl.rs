//! Permission bits of what has a POSIX ACL.
//!
//! There the group's bits of a mode are the ACL's mask: all that a named user or group may have at
//! most. An ACL does not cross, so the group's bits must come from its own entry.
//! The form of the attribute is that of Linux (`include/uapi/linux/posix_acl_xattr.h`).

use rustix::io::Errno;

/// The attribute that holds an ACL.
pub(super) const NAME: &str = "system.posix_acl_access";

const VERSION: u32 = 2;
const HEADER_BYTES: usize = 4;
const ENTRY_BYTES: usize = 8;
/// Room for 63 entries. Of a file with more its group may nothing where it arrives.
const ACL_BYTES_MAX: usize = HEADER_BYTES + 63 * ENTRY_BYTES;

const GROUP_OBJ: u16 = 0x04;
const MASK: u16 = 0x10;

const GROUP_BITS: u32 = 0o070;

/// `mode` with the bits that the owning group really has; `read` reads the attribute.
pub(super) fn mode(mode: u32, read: impl FnOnce(&mut [u8]) -> rustix::io::Result<usize>) -> u32 {
    if mode & GROUP_BITS == 0 {
        return mode;
    }
    let mut acl = [0; ACL_BYTES_MAX];
    let group = match read(&mut acl) {
        Ok(length) => acl.get(..length).and_then(group_bits).unwrap_or(0),
        // There is none, or the file system knows of none.
        Err(Errno::NODATA | Errno::OPNOTSUPP) => return mode,
        Err(_) => 0,
    };
    mode & (!GROUP_BITS | group)
}

/// The bits that an ACL gives the owning group; `None` if it is none.
fn group_bits(acl: &[u8]) -> Option<u32> {
    let (version, entries) = acl.split_first_chunk()?;
    if u32::from_le_bytes(*version) != VERSION {
        return None;
    }
    let (mut group, mut mask) = (None, 0o7);
    for entry in entries.chunks_exact(ENTRY_BYTES) {
        let [tag_low, tag_high, low, high, ..] = *entry else {
            return None;
        };
        let permissions = u32::from(u16::from_le_bytes([low, high])) & 0o7;
        match u16::from_le_bytes([tag_low, tag_high]) {
            GROUP_OBJ => group = Some(permissions),
            MASK => mask = permissions,
            _ => {}
        }
    }
    group.map(|group| (group & mask) << 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16)]) -> Vec<u8> {
        let mut acl = VERSION.to_le_bytes().to_vec();
        for (tag, permissions) in entries {
            acl.extend(tag.to_le_bytes());
            acl.extend(permissions.to_le_bytes());
            acl.extend(u32::MAX.to_le_bytes());
        }
        acl
    }

    fn seen(mode: u32, acl: rustix::io::Result<Vec<u8>>) -> u32 {
        super::mode(mode, |into| {
            let acl = acl?;
            let there = into.get_mut(..acl.len()).ok_or(Errno::RANGE)?;
            there.copy_from_slice(&acl);
            Ok(acl.len())
        })
    }

    #[test]
    fn a_mask_is_not_taken_for_what_the_group_may() {
        // user::rw-, user:other:rw-, group::r--, mask::rw-, other::---
        let named = acl(&[(1, 6), (2, 6), (GROUP_OBJ, 4), (MASK, 6), (0x20, 0)]);
        assert_eq!(seen(0o660, Ok(named)), 0o640);
        let nothing = acl(&[(1, 6), (2, 6), (GROUP_OBJ, 0), (MASK, 6), (0x20, 0)]);
        assert_eq!(seen(0o660, Ok(nothing)), 0o600);
        let masked = acl(&[(1, 7), (2, 6), (GROUP_OBJ, 7), (MASK, 4), (0x20, 5)]);
        assert_eq!(seen(0o745, Ok(masked)), 0o745);
    }

    #[test]
    fn what_cannot_be_read_gives_the_group_nothing() {
        assert_eq!(seen(0o664, Err(Errno::NODATA)), 0o664);
        assert_eq!(seen(0o664, Err(Errno::OPNOTSUPP)), 0o664);
        assert_eq!(seen(0o664, Err(Errno::ACCESS)), 0o604);
        let long = acl(&[(2, 6); 64]);
        assert_eq!(seen(0o664, Ok(long)), 0o604);
        assert_eq!(seen(0o664, Ok(vec![3, 0, 0, 0])), 0o604);
    }
}
