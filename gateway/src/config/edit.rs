//! Adding a peer to `strait.toml` without disturbing what people wrote there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use strait_transport::{PublicKey, SiteName};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

use super::errors::ConfigErrors;
use crate::datadir::{Access, lock_directory, write_over};

/// A peer to put into a configuration.
#[derive(Clone, Debug)]
pub struct PeerEdit {
    /// Its site.
    pub site: SiteName,
    /// Its key.
    pub key: PublicKey,
    /// Its addresses. Empty: leave those of a known peer as they are.
    pub addresses: Vec<String>,
    /// What the key is to a site that is a peer already, with another one.
    pub pin: Pin,
}

/// What becomes of a key that a known site had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// It stays: the new one is refused.
    Only,
    /// It stays, and the new one is pinned beside it: `next_key`.
    Next,
    /// The new one takes its place.
    Replace,
}

/// What became of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerChange {
    /// The site was not there before.
    Added,
    /// It was there, with another key or other addresses.
    Replaced,
    /// It was there just so; the file was not touched.
    Unchanged,
}

/// Why a peer was not put into a configuration. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The file has mistakes, or would have some with this peer in it.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The file is no TOML that can be edited.
    #[error("cannot edit {}: {source}", path.display())]
    Syntax {
        /// The configuration.
        path: PathBuf,
        /// Where it goes wrong.
        source: toml_edit::TomlError,
    },
    /// The site is pinned to another key.
    #[error(
        "{site} is already a peer, with another key ({pinned}). If {site} was rebuilt and has a \
             new key, run this again with --replace; if it was not, this token comes from \
             somebody else"
    )]
    OtherKey {
        /// The site.
        site: SiteName,
        /// The key that the file has for it.
        pinned: String,
    },
    /// The file could not be read or written.
    #[error("cannot edit {}: {source}", path.display())]
    Io {
        /// The configuration.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Puts a peer into the file at `path`: at its end if its site is new. Comments and order
/// stay; the file is replaced durably, and only by one that is free of mistakes. Two at a
/// time wait for each other.
pub fn put_peer(path: &Path, own_key: PublicKey, peer: &PeerEdit) -> Result<PeerChange, EditError> {
    let io = |source| EditError::Io {
        path: path.to_owned(),
        source,
    };
    let directory = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let _lock = lock_directory(directory.unwrap_or(Path::new("."))).map_err(io)?;
    super::load_for(path, Some(own_key))?;
    let text = fs::read_to_string(path).map_err(io)?;
    let mut document: DocumentMut = text.parse().map_err(|source| EditError::Syntax {
        path: path.to_owned(),
        source,
    })?;
    let change = change_document(&mut document, peer)?;
    if change != PeerChange::Unchanged {
        let text = document.to_string();
        super::parse(path, &text, Some(own_key))?;
        write_over(path, text.as_bytes(), Access::Same).map_err(io)?;
    }
    Ok(change)
}

fn change_document(document: &mut DocumentMut, peer: &PeerEdit) -> Result<PeerChange, EditError> {
    let peers = document
        .entry("peer")
        .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    if let Item::Value(inline) = peers {
        // `peer = [{ … }]` means the same; only the long form can be appended to.
        let taken = std::mem::replace(inline, toml_edit::Value::from(false));
        *peers = Item::Value(taken)
            .into_array_of_tables()
            .map_or_else(|item| item, Item::ArrayOfTables);
    }
    let Item::ArrayOfTables(tables) = peers else {
        // The file was just found free of mistakes, so `peer` is a list of tables.
        return Ok(PeerChange::Unchanged);
    };
    let is_this =
        |table: &Table| table.get("site").and_then(Item::as_str) == Some(peer.site.as_ref());
    if let Some(table) = tables.iter_mut().find(|table| is_this(table)) {
        return update(table, peer);
    }
    let mut table = new_table(peer);
    // At the very end, behind the comments that stand there.
    table.set_position(Some(isize::MAX));
    tables.push(table);
    let comments = document.trailing().as_str().unwrap_or_default().to_owned();
    document.set_trailing("");
    if let Some(table) = last_peer(document) {
        table.decor_mut().set_prefix(format!("{comments}\n"));
    }
    Ok(PeerChange::Added)
}

fn last_peer(document: &mut DocumentMut) -> Option<&mut Table> {
    let tables = document.get_mut("peer")?.as_array_of_tables_mut()?;
    let last = tables.len().checked_sub(1)?;
    tables.get_mut(last)
}

fn update(table: &mut Table, peer: &PeerEdit) -> Result<PeerChange, EditError> {
    let before = table.to_string();
    let pinned = table.get("key").and_then(Item::as_str).unwrap_or_default();
    if pinned.parse() != Ok(peer.key) {
        match peer.pin {
            Pin::Only => {
                return Err(EditError::OtherKey {
                    site: peer.site.clone(),
                    pinned: pinned.to_owned(),
                });
            }
            Pin::Next => set(table, "next_key", peer.key.to_string().into()),
            Pin::Replace => {
                set(table, "key", peer.key.to_string().into());
                table.remove("next_key");
            }
        }
    }
    let addresses = addresses_of(table);
    if !peer.addresses.is_empty() && peer.addresses != addresses {
        set(table, "addresses", list(&peer.addresses).into());
    }
    Ok(if table.to_string() == before {
        PeerChange::Unchanged
    } else {
        PeerChange::Replaced
    })
}

/// Sets a value and keeps what stands around it: the comment behind it above all.
fn set(table: &mut Table, key: &str, mut new: toml_edit::Value) {
    if let Some(old) = table.get(key).and_then(Item::as_value) {
        *new.decor_mut() = old.decor().clone();
    }
    table.insert(key, Item::Value(new));
}

fn addresses_of(table: &Table) -> Vec<String> {
    let array = table.get("addresses").and_then(Item::as_array);
    let items = array.into_iter().flatten();
    items
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

fn new_table(peer: &PeerEdit) -> Table {
    let mut table = Table::new();
    table.insert("site", value(peer.site.as_ref()));
    table.insert("key", value(peer.key.to_string()));
    table.insert("addresses", value(list(&peer.addresses)));
    table
}

fn list(addresses: &[String]) -> Array {
    addresses.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Template;

    struct File {
        dir: tempfile::TempDir,
    }

    impl File {
        fn new(text: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let file = Self { dir };
            fs::write(file.path(), text).unwrap();
            file
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("strait.toml")
        }

        fn text(&self) -> String {
            fs::read_to_string(self.path()).unwrap()
        }

        fn put(&self, peer: &PeerEdit) -> Result<PeerChange, EditError> {
            put_peer(&self.path(), PublicKey::from_bytes([1; 32]), peer)
        }
    }

    fn west(key: u8, address: &str) -> PeerEdit {
        PeerEdit {
            site: "west".parse().unwrap(),
            key: PublicKey::from_bytes([key; 32]),
            addresses: vec![address.to_owned()],
            pin: Pin::Only,
        }
    }

    #[test]
    fn a_peer_is_added_behind_all_that_was_written() {
        let text = Template::new("east".parse().unwrap()).render();
        let file = File::new(&text);
        let peer = west(2, "west.example:7440");
        assert_eq!(file.put(&peer).unwrap(), PeerChange::Added);
        assert!(file.text().starts_with(text.trim_end()), "{}", file.text());
        assert_eq!(file.put(&peer).unwrap(), PeerChange::Unchanged);
        let config = super::super::load(&file.path()).unwrap();
        assert_eq!(config.peers.len(), 1);
        assert_eq!(config.peers[0].key, peer.key);
        assert_eq!(config.peers[0].addresses, peer.addresses);
    }

    #[test]
    fn a_second_peer_goes_to_the_end_too() {
        let file = File::new("site = \"east\"\n");
        file.put(&west(2, "a:1")).unwrap();
        fs::write(
            file.path(),
            file.text() + "\n[grid]\nflush_ms = 9\n# the end\n",
        )
        .unwrap();
        let before = file.text();
        let north = PeerEdit {
            site: "north".parse().unwrap(),
            ..west(3, "b:2")
        };
        file.put(&north).unwrap();
        assert!(file.text().starts_with(&before), "{}", file.text());
        let config = super::super::load(&file.path()).unwrap();
        assert_eq!((config.peers.len(), config.grid.flush.as_millis()), (2, 9));
    }

    #[test]
    fn another_key_needs_to_be_asked_for_and_comments_stay() {
        let file = File::new("site = \"east\"\n");
        file.put(&west(2, "a:1")).unwrap();
        let commented = file.text().replace("\"west\"", "\"west\" # across the sea");
        let commented = commented.replace("key =", "rate = \"1Mbit/s\"\nkey =");
        fs::write(file.path(), &commented).unwrap();
        let other = west(3, "b:2");
        let error = file.put(&other).unwrap_err();
        assert!(matches!(error, EditError::OtherKey { .. }), "{error}");
        assert_eq!(file.text(), commented);
        let next = PeerEdit {
            pin: Pin::Next,
            ..other.clone()
        };
        assert_eq!(file.put(&next).unwrap(), PeerChange::Replaced);
        let config = super::super::load(&file.path()).unwrap();
        let both = [west(2, "").key, other.key];
        assert!(config.peers[0].keys().eq(both));
        let forced = PeerEdit {
            pin: Pin::Replace,
            ..other
        };
        assert_eq!(file.put(&forced).unwrap(), PeerChange::Replaced);
        let config = super::super::load(&file.path()).unwrap();
        assert!(config.peers[0].keys().eq([forced.key]));
        assert_eq!(config.peers[0].rate_bits_s, Some(1_000_000));
        assert!(file.text().contains("# across the sea"));
    }

    #[test]
    fn the_short_form_of_a_list_is_appended_to() {
        let key = PublicKey::from_bytes([7; 32]);
        let file = File::new(&format!(
            "site = \"east\"\npeer = [{{ site = \"north\", key = \"{key}\" }}]\n"
        ));
        file.put(&west(2, "a:1")).unwrap();
        assert_eq!(super::super::load(&file.path()).unwrap().peers.len(), 2);
    }

    #[test]
    fn nothing_is_written_that_would_not_load() {
        let file = File::new("site = \"east\"\n");
        let own = file.put(&west(1, "a:1")).unwrap_err();
        assert!(own.to_string().contains("own key"), "{own}");
        let broken = File::new("site = \"east\"\nlisten = 3\n");
        let error = broken.put(&west(2, "a:1")).unwrap_err();
        assert!(error.to_string().contains("strait.toml:2"), "{error}");
        assert_eq!(broken.text(), "site = \"east\"\nlisten = 3\n");
    }
}
