//! What a command and the gateway say to each other.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::frame::Frame;
use crate::bulk::bounds;
use crate::bulk::failure::Failure;
use crate::bulk::limit::Limit;
use crate::bulk::message::Cost;
use crate::bulk::store::{FileMeta, Mtime, Page, Standing, Trailer};

/// Raised when an older gateway or client could not make sense of it.
pub(super) const VERSION: u32 = 1;

/// The first message from a client.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Opening {
    pub(super) version: u32,
    pub(super) request: Request,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) site: String,
    #[serde(deserialize_with = "bounds::path")]
    pub(super) path: String,
    /// How long to wait for the link to come up.
    pub(super) wait_s: u64,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// After [`Reply::Ready`] comes [`Begin`], then the file's bytes, then [`Ending`].
    Push {
        length: Option<u64>,
        meta: FileMeta,
        resume: bool,
        /// Fail where another file has the path.
        #[serde(default)]
        no_replace: bool,
        limit: Option<Limit>,
    },
    Pull {
        limit: Option<Limit>,
    },
    List {
        #[serde(deserialize_with = "bounds::path")]
        after: String,
    },
    Remove,
    /// What stands under each of these paths; `path` says nothing.
    Describe {
        #[serde(deserialize_with = "bounds::paths")]
        paths: Vec<String>,
        digests: bool,
    },
    /// Make a symbolic link.
    Link {
        #[serde(deserialize_with = "bounds::path")]
        target: String,
        mtime: Option<Mtime>,
        /// Fail where something else has the path.
        #[serde(default)]
        no_replace: bool,
    },
    /// Make folders; `path` says nothing.
    MakeFolders {
        #[serde(deserialize_with = "bounds::paths_with")]
        folders: Vec<(String, FileMeta)>,
    },
    /// Mode and time of folders; `path` says nothing.
    Folders {
        #[serde(deserialize_with = "bounds::paths")]
        paths: Vec<String>,
    },
    /// Something of the gateway itself; `site` and `path` say nothing.
    Gateway(Ask),
}

/// A question to the gateway itself, or an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Its status document, as JSON.
    Status,
    /// Whether it is there. The answer is empty.
    Alive,
    /// Compare all counters and logs with those of a peer; what was found, as JSON.
    Compare { site: String },
    /// Read keys and peers anew.
    Reload,
    /// After [`Reply::Speak`] the connection speaks the Redis protocol.
    Grid,
}

/// Where the bytes of a pushed file begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begin {
    pub(super) offset: u64,
}

/// How the bytes of a pushed file end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ending {
    Whole(Sum),
    Aborted(String),
}

/// Length and BLAKE3 digest (lower-case hex) of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sum {
    length: u64,
    blake3: String,
}

/// What the gateway answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// Push: begin. What an earlier push of this file left there.
    Ready {
        kept: Option<Sum>,
    },
    /// Push, now and then.
    Progress(Progress),
    /// Push: the file is durable in its place.
    Done {
        cost: Cost,
    },
    /// Pull: the bytes follow.
    File {
        length: u64,
        meta: FileMeta,
    },
    /// Pull: that was all.
    Whole {
        sum: Sum,
        cost: Cost,
    },
    Listed(Page),
    Removed,
    Described(Vec<Result<Standing, Failure>>),
    Linked,
    FoldersMade(Vec<Result<(), Failure>>),
    Folders(Vec<Result<FileMeta, Failure>>),
    /// The gateway's answer was in the bytes before this.
    Told,
    /// Go on in the Redis protocol.
    Speak,
    /// The gateway cannot do what [`Ask`] says, for this reason.
    Refused(String),
    /// It is over.
    Failed(Failure),
}

/// How far a push is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// File bytes that the peer has.
    pub arrived_bytes: u64,
    pub cost: Cost,
}

impl Sum {
    /// The trailer; `None` if the digest is none.
    pub(super) fn trailer(&self) -> Option<Trailer> {
        let digest = blake3::Hash::from_hex(&self.blake3).ok()?;
        Some(Trailer {
            length: self.length,
            digest,
        })
    }
}

impl From<Trailer> for Sum {
    fn from(trailer: Trailer) -> Self {
        Self {
            length: trailer.length,
            blake3: trailer.digest.to_hex().to_string(),
        }
    }
}

pub(super) fn encode(message: &impl Serialize) -> Frame {
    // Writing to a vector cannot fail for these types.
    Frame::Message(serde_json::to_vec(message).unwrap_or_default().into())
}

/// `None` for data, and for what is no such message.
pub(super) fn decode<T: DeserializeOwned>(frame: &Frame) -> Option<T> {
    match frame {
        Frame::Message(json) => serde_json::from_slice(json).ok(),
        Frame::Data(_) => None,
    }
}
