//! The address of the control socket, which the kernel limits to 107 bytes. Data directories may lie
//! deeper.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Paths of up to this many bytes are used as they are.
const DIRECT_BYTES_MAX: usize = 100;

/// A path of a socket that is short enough, as long as this lives.
#[derive(Debug)]
pub(super) struct SocketPath {
    path: PathBuf,
    _folder: Option<File>,
}

impl SocketPath {
    /// The socket at `path`, which need not be there yet. A deep one is reached through its open
    /// folder.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let parts = path.parent().zip(path.file_name());
        let Some((folder, name)) = parts.filter(|_| path.as_os_str().len() > DIRECT_BYTES_MAX)
        else {
            return Ok(Self {
                path: path.to_owned(),
                _folder: None,
            });
        };
        let folder = File::open(folder)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        Ok(Self {
            path,
            _folder: Some(folder),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_socket_deep_down_is_bound_and_reached() {
        let dir = tempfile::tempdir().unwrap();
        for depth in [0, 3] {
            let folder = dir.path().join(vec!["x".repeat(60); depth].join("/"));
            std::fs::create_dir_all(&folder).unwrap();
            let path = folder.join("strait.sock");
            let _listener = UnixListener::bind(SocketPath::of(&path).unwrap().path()).unwrap();
            assert!(path.exists());
            UnixStream::connect(SocketPath::of(&path).unwrap().path()).unwrap();
        }
    }
}
