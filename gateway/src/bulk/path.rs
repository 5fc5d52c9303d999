//! Names of files under `bulk.dir`, as people type them and peers send them.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strait_transport::SiteName;

use super::bounds;

/// Longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 1024;
/// Longest single name, in bytes: what Linux file systems allow.
pub const NAME_BYTES_MAX: usize = 255;
/// Most names in a path.
pub const PATH_DEPTH_MAX: usize = 32;
/// The folder that holds files still being received. No path leads into it.
pub const PARTIAL_DIR: &str = ".strait-partial";
/// The folder under which peers read the snapshots of a site's counters. Nothing is written there.
pub const SNAPSHOTS_DIR: &str = ".strait-snapshots";

/// A path below `bulk.dir`: plain names joined by `/`. The empty path is
/// `bulk.dir` itself.
///
/// There is no way to make one that climbs out (`..`), starts elsewhere (`/`),
/// leads into [`PARTIAL_DIR`] or breaks a line on a terminal. Symbolic links are
/// the store's business: it follows none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SitePath(String);

/// Why a path is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum PathError {
    #[error("an absolute path: paths start at the site's bulk.dir, so leave out the leading /")]
    Absolute,
    #[error("“{0}” in a path: only plain names are allowed, nothing outside bulk.dir is reachable")]
    DotName(#[serde(deserialize_with = "bounds::path")] String),
    #[error("an empty name in the path (two slashes in a row, or one at the end)")]
    EmptyName,
    #[error("a control character in the path")]
    ControlCharacter,
    #[error("a name longer than {NAME_BYTES_MAX} bytes")]
    NameTooLong,
    #[error("a path longer than {PATH_BYTES_MAX} bytes")]
    TooLong,
    #[error("more than {PATH_DEPTH_MAX} names in the path")]
    TooDeep,
    #[error("{PARTIAL_DIR} is where unfinished files are kept: choose another name")]
    Reserved,
    #[error("{SNAPSHOTS_DIR} is for reading alone: choose another name")]
    Snapshots,
    #[error("no file name: say which file below bulk.dir")]
    NoFileName,
    #[error("a symbolic link that leads out of its folder")]
    LeadsOut,
}

impl SitePath {
    /// `bulk.dir` itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// The folder of this name: names of sites are plain names.
    pub fn of_site(site: &SiteName) -> Self {
        Self(site.to_string())
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names from `bulk.dir` down.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }

    /// What a path that begins with [`SNAPSHOTS_DIR`] names in that folder.
    pub fn in_snapshots(&self) -> Option<SitePath> {
        let rest = self.0.strip_prefix(SNAPSHOTS_DIR)?;
        match rest.strip_prefix('/') {
            Some(inner) => Some(Self(inner.to_owned())),
            None => rest.is_empty().then(Self::root),
        }
    }

    /// An error if nothing may be made or removed there.
    pub fn check_writable(&self) -> Result<(), PathError> {
        match self.in_snapshots() {
            Some(_) => Err(PathError::Snapshots),
            None => Ok(()),
        }
    }

    /// The folder and the name in it; an error for the root, which is no file.
    pub fn split_last(&self) -> Result<(SitePath, &str), PathError> {
        match self.0.rsplit_once('/') {
            Some((folder, name)) => Ok((SitePath(folder.to_owned()), name)),
            None if self.0.is_empty() => Err(PathError::NoFileName),
            None => Ok((SitePath::root(), &self.0)),
        }
    }

    /// The path of `name` in this folder.
    pub fn join(&self, name: &str) -> Result<SitePath, PathError> {
        if self.is_root() {
            name.parse()
        } else {
            format!("{}/{name}", self.0).parse()
        }
    }
}

impl FromStr for SitePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Ok(Self::root());
        }
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        if text.starts_with('/') {
            return Err(PathError::Absolute);
        }
        for (depth, name) in text.split('/').enumerate() {
            if depth >= PATH_DEPTH_MAX {
                return Err(PathError::TooDeep);
            }
            check_name(name)?;
            if depth == 0 && name == PARTIAL_DIR {
                return Err(PathError::Reserved);
            }
        }
        Ok(Self(text.to_owned()))
    }
}

/// Where a symbolic link leads: to a place in the tree of files that it stands in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTarget(String);

impl LinkTarget {
    /// What a link says that stands in a folder `depth` folders below the tree's root; an error
    /// if it leads out of the tree. All `..` must come first: one behind a name would lead up from
    /// wherever that name leads.
    pub fn within(text: &str, depth: usize) -> Result<Self, PathError> {
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        if text.is_empty() || text.starts_with('/') {
            return Err(PathError::LeadsOut);
        }
        let (mut up, mut named) = (0, false);
        for name in text.split('/').filter(|name| !matches!(*name, "" | ".")) {
            match name {
                ".." if named || up == depth => return Err(PathError::LeadsOut),
                ".." => up += 1,
                name => {
                    check_name(name)?;
                    named = true;
                }
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// What the link at `path` says; `None` if that leads out, cannot be spelled, or cannot be read.
    pub fn read(path: &Path, depth: usize) -> Option<Self> {
        let text = std::fs::read_link(path).ok()?;
        Self::within(text.to_str()?, depth).ok()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_name(name: &str) -> Result<(), PathError> {
    match name {
        "" => Err(PathError::EmptyName),
        "." | ".." => Err(PathError::DotName(name.to_owned())),
        _ if name.len() > NAME_BYTES_MAX => Err(PathError::NameTooLong),
        _ if name.chars().any(char::is_control) => Err(PathError::ControlCharacter),
        _ => Ok(()),
    }
}

impl fmt::Display for SitePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SitePath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        text.parse()
    }
}

impl From<SitePath> for String {
    fn from(path: SitePath) -> String {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_leads_out_is_refused() {
        let refused = [
            ("/etc/passwd", PathError::Absolute),
            ("../up", PathError::DotName("..".into())),
            ("a/../../b", PathError::DotName("..".into())),
            ("a/./b", PathError::DotName(".".into())),
            ("a//b", PathError::EmptyName),
            ("a/", PathError::EmptyName),
            ("a\nb", PathError::ControlCharacter),
            ("a\0b", PathError::ControlCharacter),
            ("a\x1b[2Jb", PathError::ControlCharacter),
            (".strait-partial/x", PathError::Reserved),
            (".strait-partial", PathError::Reserved),
        ];
        for (text, error) in refused {
            assert_eq!(text.parse::<SitePath>(), Err(error), "{text:?}");
        }
        assert_eq!(
            "n".repeat(256).parse::<SitePath>(),
            Err(PathError::NameTooLong)
        );
        assert_eq!(
            "n/".repeat(600).parse::<SitePath>(),
            Err(PathError::TooLong)
        );
        assert_eq!(
            ["n"; 33].join("/").parse::<SitePath>(),
            Err(PathError::TooDeep)
        );
    }

    #[test]
    fn folders_and_names() {
        let path: SitePath = "db/2026/dump.sql".parse().unwrap();
        assert_eq!(
            path.split_last().unwrap(),
            ("db/2026".parse().unwrap(), "dump.sql")
        );
        assert_eq!(SitePath::root().join("a").unwrap().as_str(), "a");
        assert_eq!(
            path.split_last().unwrap().0.join("b").unwrap().as_str(),
            "db/2026/b"
        );
        assert_eq!(SitePath::root().split_last(), Err(PathError::NoFileName));
    }

    #[test]
    fn links_stay_in_their_tree() {
        for (text, depth) in [
            ("name", 0),
            ("./a/b/", 0),
            ("../a", 1),
            (".././../a", 2),
            ("..", 1),
        ] {
            assert!(LinkTarget::within(text, depth).is_ok(), "{text}");
        }
        for (text, depth) in [
            ("", 0),
            ("/etc/passwd", 9),
            ("..", 0),
            ("../../a", 1),
            ("a/../b", 9),
            ("a/../../../b", 9),
        ] {
            let refused = LinkTarget::within(text, depth);
            assert_eq!(refused, Err(PathError::LeadsOut), "{text}");
        }
        let control = LinkTarget::within("a\nb", 0);
        assert_eq!(control, Err(PathError::ControlCharacter));
    }

    proptest! {
        #[test]
        fn an_accepted_path_stays_below_and_survives(text in "[a./\\n\u{7f}é-]{0,40}") {
            if let Ok(path) = text.parse::<SitePath>() {
                prop_assert!(path.names().all(|name| name != ".." && name != "." && !name.is_empty()));
                prop_assert!(!path.as_str().chars().any(char::is_control));
                let wire = postcard::to_stdvec(&path).unwrap();
                prop_assert_eq!(postcard::from_bytes::<SitePath>(&wire).unwrap(), path);
            } else {
                let wire = postcard::to_stdvec(&text).unwrap();
                prop_assert!(postcard::from_bytes::<SitePath>(&wire).is_err());
            }
        }
    }
}
