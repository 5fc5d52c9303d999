//! A file that `strait pull` writes: under its name only when it is whole.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::bulk::path::{LinkTarget, NAME_BYTES_MAX};
use crate::bulk::printable;
use crate::bulk::store::FileMeta;
use crate::cli::output::tell;
use crate::datadir::sync_directory;

/// The file to be. Dropped before [`LocalFile::commit`], and also when the process
/// is killed, it leaves nothing behind where the file system knows nameless files,
/// else a hidden one beside the target.
#[derive(Debug)]
pub(super) struct LocalFile {
    target: PathBuf,
    file: File,
    /// The name it has until it is whole, on file systems that need one.
    named: Option<PathBuf>,
}

/// Where a file called `name` goes that is to be written to `target`: into it, if it is a folder.
pub(super) fn resolve(target: &Path, name: &str) -> anyhow::Result<PathBuf> {
    match std::fs::metadata(target) {
        Ok(meta) if meta.is_dir() => {
            let inner = target.join(name);
            if inner.is_dir() {
                bail!("{} is a folder", inner.display());
            }
            resolve(&inner, name)
        }
        // Through a link: the file behind it is replaced, not the link.
        Ok(meta) if meta.is_file() => Ok(target.canonicalize()?),
        Ok(_) => bail!(
            "{} is not a plain file: use `-` and redirect",
            target.display()
        ),
        Err(_) => Ok(target.to_owned()),
    }
}

/// Makes the folders between `root` and the file `target` that are missing.
pub(super) fn make_folder_of(target: &Path, root: &Path) -> anyhow::Result<()> {
    make_folder(target.parent().unwrap_or(root), root)
}

/// Makes a folder and those between it and `root` that are missing. A link in the place of one is
/// an error: what is pulled stays below `root`.
pub(super) fn make_folder(folder: &Path, root: &Path) -> anyhow::Result<()> {
    let below = folder.strip_prefix(root)?;
    std::fs::create_dir_all(root).with_context(|| format!("making {}", shown(root)))?;
    let mut folder = root.to_owned();
    for name in below.components() {
        folder.push(name);
        match std::fs::create_dir(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !std::fs::symlink_metadata(&folder)?.is_dir() {
                    bail!("{} is no folder", shown(&folder));
                }
            }
            Err(error) => return Err(error).with_context(|| format!("making {}", shown(&folder))),
        }
    }
    Ok(())
}

/// Makes a symbolic link, in place of a file or link that has the name.
pub(super) fn link(at: &Path, target: &LinkTarget) -> anyhow::Result<()> {
    let unready = hidden_name(at);
    std::os::unix::fs::symlink(target.as_str(), &unready)?;
    std::fs::rename(&unready, at).inspect_err(|_| drop(std::fs::remove_file(&unready)))?;
    Ok(sync_directory(folder_of(at))?)
}

fn shown(path: &Path) -> String {
    printable(&path.display().to_string())
}

impl LocalFile {
    /// Starts a file in the folder of `target`.
    pub(super) fn create(target: &Path) -> anyhow::Result<Self> {
        let folder = folder_of(target);
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let (file, named) = match rustix::fs::openat(CWD, folder, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => (File::from(file), None),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let name = hidden_name(target);
                let file = File::create_new(&name);
                (
                    file.with_context(|| format!("making {}", name.display()))?,
                    Some(name),
                )
            }
            Err(errno) => {
                return Err(errno).with_context(|| format!("writing to {}", folder.display()));
            }
        };
        Ok(Self {
            target: target.to_owned(),
            file,
            named,
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Makes the file durable and gives it its name.
    pub(super) fn commit(mut self, meta: FileMeta) -> anyhow::Result<()> {
        let target = self.target.clone();
        self.place(meta)
            .with_context(|| format!("writing {}", target.display()))
    }

    fn place(&mut self, meta: FileMeta) -> io::Result<()> {
        meta.apply(&self.file)?;
        self.file.sync_all()?;
        let name = match self.named.take() {
            Some(name) => name,
            None => self.give_name()?,
        };
        let renamed = std::fs::rename(&name, &self.target);
        if let Err(error) = renamed {
            std::fs::remove_file(&name)?;
            return Err(error);
        }
        sync_directory(folder_of(&self.target))
    }

    fn give_name(&self) -> io::Result<PathBuf> {
        let name = hidden_name(&self.target);
        let nameless = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        rustix::fs::linkat(CWD, nameless, CWD, &name, AtFlags::SYMLINK_FOLLOW)?;
        Ok(name)
    }
}

impl Drop for LocalFile {
    fn drop(&mut self) {
        if let Some(name) = &self.named
            && let Err(error) = std::fs::remove_file(name)
        {
            tell!("strait: {} was left behind: {error}", name.display());
        }
    }
}

fn folder_of(target: &Path) -> &Path {
    match target.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    }
}

/// Hidden beside the target, and no longer than a name may be.
fn hidden_name(target: &Path) -> PathBuf {
    let ending = format!(".strait-{:08x}", rand::random::<u32>());
    let own = target.file_name().unwrap_or_default().as_bytes();
    let room = NAME_BYTES_MAX.saturating_sub(1 + ending.len());
    let own = own.get(..room).unwrap_or(own);
    let mut name = OsString::from(".");
    name.push(OsStr::from_bytes(own));
    name.push(ending);
    target.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_committed_and_leaves_nothing_when_not() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("f");
        let mut file = LocalFile::create(&target).unwrap();
        file.write(b"abc").unwrap();
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        for content in ["one", "two"] {
            let mut file = LocalFile::create(&target).unwrap();
            file.write(content.as_bytes()).unwrap();
            file.commit(FileMeta::default()).unwrap();
            assert_eq!(std::fs::read_to_string(&target).unwrap(), content);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let longest = dir.path().join("ü".repeat(127));
        let mut file = LocalFile::create(&longest).unwrap();
        file.write(b"abc").unwrap();
        file.commit(FileMeta::default()).unwrap();
        assert!(longest.exists());
    }

    #[test]
    fn what_is_pulled_goes_through_no_link() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = root.path();
        std::os::unix::fs::symlink(outside.path(), root.join("inner")).unwrap();
        assert!(make_folder_of(&root.join("inner/f"), root).is_err());
        assert!(make_folder_of(&root.join("inner/deeper/f"), root).is_err());
        make_folder_of(&root.join("a/b/f"), root).unwrap();
        assert!(root.join("a/b").is_dir());
        let target = LinkTarget::within("../f", 1).unwrap();
        for _ in 0..2 {
            link(&root.join("a/link"), &target).unwrap();
        }
        let made = std::fs::read_link(root.join("a/link")).unwrap();
        assert_eq!(made, Path::new("../f"));
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn folders_take_the_name_and_devices_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(resolve(dir.path(), "n").unwrap(), dir.path().join("n"));
        assert_eq!(
            resolve(&dir.path().join("x"), "n").unwrap(),
            dir.path().join("x")
        );
        assert!(resolve(Path::new("/dev/null"), "n").is_err());
        std::fs::create_dir(dir.path().join("n")).unwrap();
        assert!(resolve(dir.path(), "n").is_err());
    }
}
