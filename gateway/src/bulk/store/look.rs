//! What stands under many paths.

use std::os::fd::OwnedFd;

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use super::tree::stat_at;
use super::{FileMeta, Store, StoreError, links};
use crate::bulk::bounds;
use crate::bulk::path::SitePath;

/// A file or a symbolic link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    File {
        length: u64,
        meta: FileMeta,
        /// BLAKE3, if it was asked for.
        digest: Option<[u8; 32]>,
    },
    Link {
        /// As it says, relative and within `bulk.dir`.
        #[serde(deserialize_with = "bounds::path")]
        target: String,
    },
}

/// Looks at one path after the other. Those of one folder had better come together.
#[derive(Debug)]
pub struct Look<'a> {
    store: &'a Store,
    /// The last one, which stays open.
    folder: Option<(SitePath, OwnedFd)>,
}

impl<'a> Look<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self {
            store,
            folder: None,
        }
    }

    /// What stands there, under a name that is durable.
    pub fn at(&mut self, path: &SitePath) -> Result<Standing, StoreError> {
        let (folder, name) = path.split_last()?;
        let last = self.folder.take().filter(|(last, _)| *last == folder);
        let (folder, opened) = match last {
            Some(last) => self.folder.insert(last),
            None => {
                let opened = self.store.open_folder(&folder)?;
                // A transfer may have got as far as its rename.
                rustix::fs::fsync(&opened).map_err(|e| StoreError::io("flushing a folder", e))?;
                self.folder.insert((folder, opened))
            }
        };
        let stat = stat_at(&*opened, name)?.ok_or(StoreError::NotFound)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Standing::File {
                length: u64::try_from(stat.st_size).unwrap_or(0),
                meta: FileMeta::of_stat_at(&stat, &*opened, name),
                digest: None,
            }),
            FileType::Symlink => {
                let target = links::target(opened, name, folder.names().count())?;
                Ok(Standing::Link { target })
            }
            FileType::Directory => Err(StoreError::IsFolder),
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Err(StoreError::NotAFile),
        }
    }
}
