//! The directory that holds everything a gateway owns: its configuration, its key, its
//! incarnation, and the rooms of the grid, the history and the files.
//!
//! [`Layout`] knows where things are and touches nothing; [`DataDir`] is a directory
//! that this process has locked, so that no two gateways ever write into one.

mod durable;
mod exchange;
mod incarnation;
mod layout;
mod lock;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use parking_lot::RwLock;
use strait_transport::{Identity, IdentityError};

pub use durable::{Access, write_new, write_over};
pub(crate) use durable::{give_to_owner, sync_directory};
pub use exchange::{exchange_identity, next_identity};
pub use incarnation::Incarnation;
pub use layout::Layout;
pub(crate) use lock::{is_held, lock_directory};

use durable::give_like;
use lock::Lock;

/// What the file `FORMAT` says. It is written last when a directory is made, so a
/// directory without it is one whose making was interrupted.
const FORMAT: &str = "strait data directory, format 1\n";

/// A data directory that belongs to this process until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    layout: Layout,
    identity: Identity,
    incarnation: RwLock<Incarnation>,
    _lock: Lock,
}

/// Why a data directory cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// There is nothing at this path.
    #[error("there is no data directory {}; make one with `strait --data {} init --site NAME`", .0.display(), .0.display())]
    Absent(PathBuf),
    /// Something is there that this program did not put there completely.
    #[error("{} is not a complete data directory: its file FORMAT is missing; if `strait init` was \
             interrupted, remove the directory and run it again", .0.display())]
    Incomplete(PathBuf),
    /// A directory of another release.
    #[error("{} says {found:?}, and this release reads only format 1; use the release that made \
             it", path.display())]
    Format {
        /// The file `FORMAT`.
        path: PathBuf,
        /// Its first line.
        found: String,
    },
    /// `init` never writes into a directory that is in use.
    #[error("{} exists and is not empty; strait init makes a new directory and never touches \
             another", .0.display())]
    Exists(PathBuf),
    /// Another process holds the lock.
    #[error("{} is in use by another gateway{}; stop that one first", path.display(), running_as(.pid))]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// The other process, where it left its number.
        pid: Option<u32>,
    },
    /// The incarnation file is missing, or holds something else.
    #[error("{} holds no incarnation (16 hexadecimal digits); restore it from a backup of this very \
             directory, or remove the directory and start this site anew", .0.display())]
    Incarnation(PathBuf),
    /// As SSH does: a key that others may have read is not used unnoticed.
    #[error("{} can be read by others than its owner: chmod 600 it, and exchange it (`strait key \
             next`) if somebody did", .0.display())]
    KeyOpen(PathBuf),
    /// A configuration with a password that others can read.
    #[error("{} holds the password of grid.password, and can be read by others than its owner and group: \
             chmod 640 it, and change the password if somebody did", .0.display())]
    PasswordOpen(PathBuf),
    /// A command that writes what the gateway goes on with, run by another user.
    #[error("{} belongs to another user (uid {uid}): run this as that user, or the gateway could not read \
             what it leaves", path.display())]
    NotOwner {
        /// The data directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// The identity key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A file or directory could not be read or written.
    #[error("cannot {verb} {}: {source}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn running_as(pid: &Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

impl DataDirError {
    /// Wraps what the system said about `path`: for `map_err`.
    fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { verb, path, source }
    }
}

impl DataDir {
    /// Makes a new data directory with a new key, a new incarnation and this text as its
    /// `strait.toml`, all of it fsynced and readable by its owner alone. The path must
    /// not exist, or be an empty directory.
    pub fn create(path: &Path, config_text: &str) -> Result<Self, DataDirError> {
        make_empty(path)?;
        let layout = Layout::at(path);
        let lock = Lock::take(&layout)?;
        let identity = Identity::generate()?;
        identity.save(&layout.identity())?;
        let given = give_to_owner(&layout.identity());
        given.map_err(DataDirError::io("write", &layout.identity()))?;
        let incarnation = Incarnation::draw();
        let write = |path: PathBuf, text: &str| {
            write_new(&path, text.as_bytes()).map_err(DataDirError::io("write", &path))
        };
        write(layout.incarnation(), &incarnation.file_text())?;
        write(layout.config(), config_text)?;
        make_rooms(&layout)?;
        write(layout.format(), FORMAT)?;
        if let Some(parent) = parent_of(path) {
            sync_directory(&parent).map_err(DataDirError::io("fsync", &parent))?;
        }
        Ok(Self {
            layout,
            identity,
            incarnation: RwLock::new(incarnation),
            _lock: lock,
        })
    }

    /// Locks an existing data directory and reads its key and incarnation.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let layout = Layout::at(path);
        check_format(&layout)?;
        let lock = Lock::take(&layout)?;
        if let Err(error) = make_rooms(&layout) {
            // A start needs no disk that can be written.
            tracing::warn!(%error, "a folder of the data directory is missing");
        }
        Ok(Self {
            identity: load_identity(&layout.identity())?,
            incarnation: RwLock::new(Incarnation::load(&layout.incarnation())?),
            layout,
            _lock: lock,
        })
    }

    /// Where everything is.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// This site's key.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Which life of its site this directory is.
    pub fn incarnation(&self) -> Incarnation {
        *self.incarnation.read()
    }

    /// Begins another life of the site in the same directory, for when what it had written is not
    /// all there: what it counts from now on is kept apart from that.
    pub fn renew_incarnation(&self) -> Result<(), DataDirError> {
        self.set_incarnation(Incarnation::draw())
    }

    /// The same, with an incarnation that was drawn before.
    pub fn set_incarnation(&self, incarnation: Incarnation) -> Result<(), DataDirError> {
        let path = self.layout.incarnation();
        let text = incarnation.file_text();
        write_over(&path, text.as_bytes(), Access::Owner)
            .map_err(DataDirError::io("write", &path))?;
        *self.incarnation.write() = incarnation;
        Ok(())
    }
}

fn load_identity(path: &Path) -> Result<Identity, DataDirError> {
    let identity = Identity::load(path)?;
    let metadata = fs::metadata(path).map_err(DataDirError::io("read", path))?;
    match metadata.mode() & 0o077 {
        0 => Ok(identity),
        _ => Err(DataDirError::KeyOpen(path.to_owned())),
    }
}

/// Refuses another user than the directory's owner, root too.
pub fn check_owner(layout: &Layout) -> Result<(), DataDirError> {
    let path = layout.root().to_owned();
    let metadata = fs::metadata(&path).map_err(DataDirError::io("read", &path))?;
    match metadata.uid() {
        uid if uid == rustix::process::geteuid().as_raw() => Ok(()),
        uid => Err(DataDirError::NotOwner { path, uid }),
    }
}

/// Refuses a configuration with a password that everybody on this machine can read.
pub fn check_password_file(layout: &Layout) -> Result<(), DataDirError> {
    let mode = |path: &Path| -> Result<u32, DataDirError> {
        let metadata = fs::metadata(path).map_err(DataDirError::io("read", path))?;
        Ok(metadata.mode())
    };
    let path = layout.config();
    // Into a directory that is closed to them nobody comes.
    match mode(layout.root())? & 0o001 != 0 && mode(&path)? & 0o004 != 0 {
        true => Err(DataDirError::PasswordOpen(path)),
        false => Ok(()),
    }
}

/// Reads the public half of the key of a directory that a running gateway may hold.
pub fn read_identity(layout: &Layout) -> Result<Identity, DataDirError> {
    check_format(layout)?;
    Ok(Identity::load(&layout.identity())?)
}

/// Whether this release reads what is there.
pub fn check_format(layout: &Layout) -> Result<(), DataDirError> {
    if !layout.root().is_dir() {
        return Err(DataDirError::Absent(layout.root().to_owned()));
    }
    let path = layout.format();
    match fs::read_to_string(&path) {
        Ok(text) if text == FORMAT => Ok(()),
        Ok(text) => Err(DataDirError::Format {
            path,
            found: text
                .lines()
                .next()
                .unwrap_or_default()
                .chars()
                .take(80)
                .collect(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(DataDirError::Incomplete(layout.root().to_owned()))
        }
        Err(source) => Err(DataDirError::io("read", &path)(source)),
    }
}

fn make_empty(path: &Path) -> Result<(), DataDirError> {
    if let Some(parent) = parent_of(path) {
        fs::create_dir_all(&parent).map_err(DataDirError::io("make", &parent))?;
    }
    match private_directory().create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut entries = fs::read_dir(path).map_err(DataDirError::io("read", path))?;
            match entries.next() {
                None => Ok(()),
                Some(_) => Err(DataDirError::Exists(path.to_owned())),
            }
        }
        Err(source) => Err(DataDirError::io("make", path)(source)),
    }
}

fn make_rooms(layout: &Layout) -> Result<(), DataDirError> {
    for room in [layout.grid(), layout.history(), layout.snapshots()] {
        make_room(&room).map_err(DataDirError::io("make", &room))?;
    }
    Ok(())
}

/// Makes a folder of a data directory, for the directory's owner alone, unless it is there.
pub(crate) fn make_room(room: &Path) -> io::Result<()> {
    if room.is_dir() {
        return Ok(());
    }
    private_directory().create(room)?;
    // A gateway that runs as another user than the owner's goes on all the same.
    let parent = parent_of(room).unwrap_or_default();
    if let (Ok(room), Ok(owner)) = (fs::File::open(room), parent.metadata()) {
        drop(give_like(&room, &owner));
    }
    Ok(())
}

fn private_directory() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

fn parent_of(path: &Path) -> Option<PathBuf> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
        Some(parent) => Some(parent.to_owned()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_directory_is_private_and_opens_again_as_the_same_site() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep").join("east");
        let made = DataDir::create(&path, "site = \"east\"\n").unwrap();
        let (key, incarnation) = (made.identity().public_key(), made.incarnation());
        let layout = made.layout().clone();
        drop(made);
        assert_eq!(mode(&path), 0o700);
        for file in [layout.identity(), layout.config(), layout.incarnation()] {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
        let opened = DataDir::open(&path).unwrap();
        assert_eq!(opened.identity().public_key(), key);
        assert_eq!(opened.incarnation(), incarnation);
    }

    #[test]
    fn two_gateways_cannot_share_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("east");
        let first = DataDir::create(&path, "").unwrap();
        let error = DataDir::open(&path).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, DataDirError::Locked { .. }), "{text}");
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_gateway_that_is_about_to_be_gone_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("east");
        let dying = DataDir::create(&path, "").unwrap();
        std::thread::scope(|scope| {
            let next = scope.spawn(|| DataDir::open(&path));
            std::thread::sleep(std::time::Duration::from_millis(100));
            drop(dying);
            next.join().unwrap().unwrap();
        });
    }

    #[test]
    fn what_exists_is_never_made_anew_and_a_mount_point_is_accepted() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::create(dir.path(), "").unwrap());
        let again = DataDir::create(dir.path(), "").unwrap_err();
        assert!(matches!(again, DataDirError::Exists(_)));
    }

    #[test]
    fn what_is_wrong_with_a_directory_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("east");
        let open = || DataDir::open(&path).unwrap_err();
        assert!(matches!(open(), DataDirError::Absent(_)));
        let layout = DataDir::create(&path, "").unwrap().layout().clone();
        fs::write(layout.incarnation(), "east").unwrap();
        assert!(matches!(open(), DataDirError::Incarnation(_)));
        fs::remove_file(layout.incarnation()).unwrap();
        assert!(matches!(open(), DataDirError::Incarnation(_)));
        let open_to_all = fs::Permissions::from_mode(0o644);
        let incarnation = format!("{:016x}\n", 7);
        fs::write(layout.incarnation(), incarnation).unwrap();
        DataDir::open(&path).unwrap();
        fs::set_permissions(layout.identity(), open_to_all).unwrap();
        assert!(open().to_string().contains("chmod 600"));
        fs::set_permissions(layout.config(), fs::Permissions::from_mode(0o644)).unwrap();
        check_password_file(&layout).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let told = check_password_file(&layout).unwrap_err().to_string();
        assert!(told.contains("chmod 640"), "{told}");
        fs::write(layout.identity(), "no key").unwrap();
        assert!(open().to_string().contains("restore it from a backup"));
        fs::remove_file(layout.identity()).unwrap();
        assert!(open().to_string().contains("restore it from a backup"));
        fs::write(layout.format(), "strait data directory, format 9\n").unwrap();
        assert!(matches!(open(), DataDirError::Format { .. }));
        fs::remove_file(layout.format()).unwrap();
        assert!(matches!(open(), DataDirError::Incomplete(_)));
    }
}
