use std::path::{Path, PathBuf};

/// Where things are in a data directory. Touches nothing and locks nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of the data directory at `root`.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The configuration, for people to edit.
    pub fn config(&self) -> PathBuf {
        self.root.join("strait.toml")
    }

    /// The site's private key (PKCS#8).
    pub fn identity(&self) -> PathBuf {
        self.root.join("identity.key")
    }

    /// The key that the site will go over to, while there is one.
    pub fn next_identity(&self) -> PathBuf {
        self.root.join("identity.next.key")
    }

    /// The key that the site had before.
    pub fn old_identity(&self) -> PathBuf {
        self.root.join("identity.old.key")
    }

    /// Which life of its site this directory is.
    pub fn incarnation(&self) -> PathBuf {
        self.root.join("incarnation")
    }

    /// The version of this layout.
    pub fn format(&self) -> PathBuf {
        self.root.join("FORMAT")
    }

    /// Locked while a gateway runs; holds its process number.
    pub fn lock(&self) -> PathBuf {
        self.root.join("LOCK")
    }

    /// Journal of the grid.
    pub fn grid(&self) -> PathBuf {
        self.root.join("grid")
    }

    /// Snapshots of the counters.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// Segments of the history.
    pub fn history(&self) -> PathBuf {
        self.root.join("history")
    }

    /// Where `bulk.dir` was when it was last in use.
    pub fn bulk_seen(&self) -> PathBuf {
        self.root.join("bulk.seen")
    }

    /// Unix socket on which the running gateway takes commands.
    pub fn socket(&self) -> PathBuf {
        self.root.join("strait.sock")
    }
}
