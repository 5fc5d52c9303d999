//! Why a transfer, or a question about files, failed: said once, carried over the
//! link and the control socket, shown to a person at the end.

use serde::{Deserialize, Serialize};
use strait_transport::{SendError, WireVersion};

use super::bounds;
use super::message::RESERVE;
use super::path::{PATH_BYTES_MAX, PathError};
use super::store::StoreError;

/// Longest free text of ours that is carried, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// A reason that can be sent. `Display` says what failed, [`Failure::remedy`] what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    #[error("path refused: {0}")]
    Path(PathError),
    #[error("no such file")]
    NotFound,
    #[error("that is a folder, not a file")]
    IsFolder,
    #[error("the path leads through something that is not a folder")]
    NotAFolder,
    #[error("not a plain file (a link, device, pipe or socket)")]
    NotAFile,
    #[error("the disk under bulk.dir is full: {bytes_free} bytes free")]
    DiskFull { bytes_free: u64 },
    #[error("bulk.dir has reached its cap: bulk.bytes_max = {bytes_max} bytes")]
    CapReached { bytes_max: u64 },
    #[error("{received} bytes arrived of {declared}: not kept")]
    LengthDiffers { declared: u64, received: u64 },
    #[error("what arrived does not have the file's digest: not kept")]
    DigestDiffers,
    #[error("nothing of that file is kept any more")]
    NothingKept,
    #[error("the file changed while it was being read")]
    Changed,
    #[error("the sender gave up: {}", printable(.0))]
    Aborted(#[serde(deserialize_with = "bounds::reason")] String),
    #[error("too many transfers at once")]
    Busy,
    #[error("{}", printable(.0))]
    Io(#[serde(deserialize_with = "bounds::reason")] String),
    #[error("the peer broke the protocol: {}", printable(.0))]
    Protocol(#[serde(deserialize_with = "bounds::reason")] String),
    #[error("a gateway restarted in the middle")]
    SessionReset,
    #[error("the link is down ({})", printable(.0))]
    LinkDown(#[serde(deserialize_with = "bounds::reason")] String),
    #[error("no such site in this gateway's configuration; its peers: {}", printable(.0))]
    UnknownSite(#[serde(deserialize_with = "bounds::reason")] String),
    /// The answer to [`Header::PushNew`](super::message::Header::PushNew) and
    /// [`Question::LinkNew`](super::message::Question::LinkNew) alone.
    #[error("another file is there")]
    Exists,
    /// Never sent: said by a gateway of its peer.
    #[error("the far gateway's release does not know this yet")]
    TooOld,
    /// From [`RESERVE`](super::message::RESERVE) on.
    #[error(
        "the disk under bulk.dir has {bytes_free} bytes left, and {bytes_min} stay free for what \
         else is on it (bulk.free_bytes_min)"
    )]
    ReserveReached { bytes_free: u64, bytes_min: u64 },
}

impl Failure {
    /// What the person who ran the command can do about it.
    pub fn remedy(&self) -> Option<&'static str> {
        let remedy = match self {
            Self::DiskFull { .. } | Self::ReserveReached { .. } => {
                "free some space at the far site and run the same command again"
            }
            Self::CapReached { .. } => {
                "remove files there or raise bulk.bytes_max in its strait.toml, then run the same \
                 command again"
            }
            Self::LengthDiffers { .. } | Self::DigestDiffers => {
                "run the same command again; if it repeats, check both machines' memory and disks"
            }
            Self::NothingKept => "run the same command again",
            Self::Changed => "run the same command when nothing writes to the file",
            Self::Busy => "run the same command again in a moment",
            Self::SessionReset => {
                "run the same command again: what has crossed already costs next to nothing"
            }
            Self::LinkDown(_) => {
                "see `strait status`; wait longer with --wait SECONDS, or run the same command again"
            }
            Self::UnknownSite(_) => "add the site with `strait pair`",
            Self::NotFound => "list what is there with `strait ls SITE:`",
            Self::IsFolder => "end it with a slash to mean what is in it",
            Self::Path(_)
            | Self::NotAFolder
            | Self::NotAFile
            | Self::Aborted(_)
            | Self::Io(_)
            | Self::Protocol(_)
            | Self::Exists
            | Self::TooOld => return None,
        };
        Some(remedy)
    }

    /// The same, as a peer of this version understands it.
    pub(super) fn for_peer(self, version: WireVersion) -> Self {
        if let Self::ReserveReached { bytes_free, .. } = self
            && version < RESERVE
        {
            return Self::DiskFull { bytes_free };
        }
        self
    }

    pub(super) fn io(error: impl ToString) -> Self {
        Self::Io(shortened(&error.to_string()))
    }

    pub(super) fn protocol(what: impl ToString) -> Self {
        Self::Protocol(shortened(&what.to_string()))
    }

    pub(super) fn aborted(why: &str) -> Self {
        Self::Aborted(shortened(why))
    }

    pub(super) fn link_down(why: &str) -> Self {
        Self::LinkDown(shortened(why))
    }
}

/// What a peer or a file name says, safe to show on a terminal.
pub fn printable(text: &str) -> String {
    let safe = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(safe).take(PATH_BYTES_MAX).collect()
}

fn shortened(text: &str) -> String {
    bounds::cut(text, TEXT_BYTES_MAX).to_owned()
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Path(error) => Self::Path(error),
            StoreError::NotFound => Self::NotFound,
            StoreError::IsFolder => Self::IsFolder,
            StoreError::NotAFolder => Self::NotAFolder,
            StoreError::NotAFile => Self::NotAFile,
            StoreError::DiskFull { bytes_free } => Self::DiskFull { bytes_free },
            StoreError::ReserveReached {
                bytes_free,
                bytes_min,
            } => Self::ReserveReached {
                bytes_free,
                bytes_min,
            },
            StoreError::CapReached { bytes_max } => Self::CapReached { bytes_max },
            StoreError::LengthDiffers { declared, received } => {
                Self::LengthDiffers { declared, received }
            }
            StoreError::DigestDiffers => Self::DigestDiffers,
            StoreError::NothingKept => Self::NothingKept,
            StoreError::Exists => Self::Exists,
            StoreError::Io { .. } => Self::io(error),
        }
    }
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        Self::Path(error)
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::SessionReset | SendError::Closed => Self::SessionReset,
            SendError::TooManyStreams => Self::Busy,
            SendError::TooLarge => Self::protocol("a batch too large"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_words_cannot_drive_a_terminal_or_grow() {
        let failure = Failure::io("\x1b[2Jé".repeat(100));
        let Failure::Io(text) = &failure else {
            panic!()
        };
        assert!(text.len() <= TEXT_BYTES_MAX);
        assert!(!failure.to_string().contains('\x1b'));
    }
}
