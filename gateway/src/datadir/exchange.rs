//! Another key for a site, in steps that a power cut may come between.

use std::fs;
use std::io;

use strait_transport::Identity;

use super::durable::{give_to_owner, sync_directory};
use super::{DataDirError, Layout, check_format};

/// The key that the site will go over to: made now, unless there is one.
pub fn next_identity(layout: &Layout) -> Result<Identity, DataDirError> {
    check_format(layout)?;
    let path = layout.next_identity();
    if path.exists() {
        return Ok(Identity::load(&path)?);
    }
    let next = Identity::generate()?;
    next.save(&path)?;
    give_to_owner(&path).map_err(DataDirError::io("write", &path))?;
    sync_directory(layout.root()).map_err(DataDirError::io("fsync", layout.root()))?;
    Ok(next)
}

/// The next key takes the place of the present one, which is kept as the old one. `None`: there
/// is no next key.
pub fn exchange_identity(layout: &Layout) -> Result<Option<Identity>, DataDirError> {
    check_format(layout)?;
    let (path, next, old) = (
        layout.identity(),
        layout.next_identity(),
        layout.old_identity(),
    );
    if !next.exists() {
        return Ok(None);
    }
    // What does not load must not take the place of what does.
    let identity = Identity::load(&next)?;
    match fs::remove_file(&old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(DataDirError::io("remove", &old)(error));
        }
        Ok(()) | Err(_) => {}
    }
    fs::hard_link(&path, &old).map_err(DataDirError::io("write", &old))?;
    fs::rename(&next, &path).map_err(DataDirError::io("replace", &path))?;
    sync_directory(layout.root()).map_err(DataDirError::io("fsync", layout.root()))?;
    Ok(Some(identity))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datadir::{DataDir, read_identity};

    #[test]
    fn the_next_key_becomes_the_key_and_the_old_one_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let layout = DataDir::create(&dir.path().join("east"), "")
            .unwrap()
            .layout()
            .clone();
        let first = read_identity(&layout).unwrap().public_key();
        assert!(exchange_identity(&layout).unwrap().is_none());
        for _ in 0..2 {
            let before = read_identity(&layout).unwrap().public_key();
            let next = next_identity(&layout).unwrap().public_key();
            assert_eq!(next_identity(&layout).unwrap().public_key(), next);
            assert_eq!(read_identity(&layout).unwrap().public_key(), before);
            exchange_identity(&layout).unwrap().unwrap();
            assert_eq!(read_identity(&layout).unwrap().public_key(), next);
            let old = Identity::load(&layout.old_identity()).unwrap();
            assert_eq!(old.public_key(), before);
        }
        assert_ne!(read_identity(&layout).unwrap().public_key(), first);
    }
}
