//! `strait.toml`: read, checked and explained.
//!
//! The text goes raw → resolved in one pass: [`load`] gives a [`Config`] in which every
//! value has its type, its default and its bounds, or all the mistakes at once, each
//! with its line and its remedy. Nothing here reads the environment.

mod checks;
mod edit;
mod errors;
mod forwards;
mod keys;
mod listeners;
mod quantity;
mod resolved;
mod secret;
mod section;
mod syncs;
mod template;
#[cfg(test)]
mod tests;
mod token;
mod users;
mod values;
mod weekdays;
mod windows;

use std::path::Path;

use strait_transport::PublicKey;

pub use edit::{EditError, PeerChange, PeerEdit, Pin, put_peer};
pub use errors::{ConfigErrors, Mistake};
pub use quantity::{ByteSize, ParseQuantityError, Rate};
pub use resolved::{
    BulkSettings, CompressionLevel, Config, GridSettings, HistorySettings, ListenSettings, LogRule,
    OnFull, SnapshotSettings, TlsSettings, UserSettings, Window,
};
pub(crate) use secret::PASSWORD_BYTES_MAX;
pub use secret::{Password, Secret};
pub use template::Template;
pub use token::{PairToken, ParseTokenError, fingerprint};
pub use values::check_address;
pub use weekdays::Weekdays;

/// More than any honest configuration; a file beyond it is refused unread.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads and checks the configuration at `path`. Relative paths in it start from the
/// directory that it is in.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    load_for(path, None)
}

/// Like [`load`], and refuses a peer that has our own key.
pub fn load_for(path: &Path, own_key: Option<PublicKey>) -> Result<Config, ConfigErrors> {
    let unreadable = |what: String| ConfigErrors::unreadable(path, what);
    let length = std::fs::metadata(path)
        .map_err(|error| unreadable(error.to_string()))?
        .len();
    if length > FILE_BYTES_MAX {
        return Err(unreadable(format!(
            "it is larger than {FILE_BYTES_MAX} bytes"
        )));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    parse(path, &text, own_key)
}

/// Checks `text` as if it had been read from `path`.
pub fn parse(path: &Path, text: &str, own_key: Option<PublicKey>) -> Result<Config, ConfigErrors> {
    // Only a process without a current directory has no absolute paths.
    let path_absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let base = path_absolute.parent().unwrap_or(Path::new("/"));
    let mut report = errors::Report::new(path, text);
    let config = keys::read(text, base, own_key, &mut report);
    report.into_result(config)
}
