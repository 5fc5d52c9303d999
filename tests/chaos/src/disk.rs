//! A disk of a site's own: an ext4 image on a loop device, whose power can be cut and which can
//! be filled to the last block.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::process::geteuid;
use strait_tests::eventually;

use crate::power;

const IMAGE_BYTES: u64 = 768 * 1024 * 1024;
/// The smallest hole that the ballast is to leave.
const BLOCK_BYTES: u64 = 4096;

/// Mounted at a folder; unmounted when dropped. The image stays.
#[derive(Debug)]
pub(crate) struct Disk {
    image: PathBuf,
    mount: PathBuf,
    options: &'static str,
}

impl Disk {
    /// `None` without root.
    pub(crate) fn new(folder: &Path, ordered: bool) -> Option<Self> {
        if !geteuid().is_root() {
            return None;
        }
        let disk = Self {
            image: folder.join("disk.img"),
            mount: folder.join("disk"),
            options: match ordered {
                true => "loop,data=ordered",
                // Lengths of files may reach the disk before their bytes.
                false => "loop,data=writeback",
            },
        };
        fs::create_dir_all(&disk.mount).expect("a folder to mount at");
        let image = File::create(&disk.image).expect("an image");
        image.set_len(IMAGE_BYTES).expect("a sparse file");
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0"])
            .arg(&disk.image));
        disk.mount();
        Some(disk)
    }

    /// Where files of the site go.
    pub(crate) fn folder(&self) -> &Path {
        &self.mount
    }

    fn mount(&self) {
        run(Command::new("mount")
            .args(["-o", self.options])
            .arg(&self.image)
            .arg(&self.mount));
    }

    /// The power is gone: what was not fsynced never comes back.
    pub(crate) fn cut_power(&self) {
        power::cut(&self.mount).expect("ext4 can be shut down");
    }

    /// Power is back. Whoever used the disk must have ended.
    pub(crate) fn restore_power(&mut self) {
        // A `strait push` that has not noticed yet may hold it.
        eventually("nobody uses the disk", 20, || {
            let unmounted = Command::new("umount").arg(&self.mount).output();
            unmounted
                .expect("umount(8) is there")
                .status
                .success()
                .then_some(())
        });
        self.mount();
        if fs::read(self.mount.join("data/FORMAT")).is_err() {
            self.mount_copy();
        }
    }

    /// A mount namespace of somebody else still has the file system without power, so that it would
    /// be mounted once more as it is: a copy of the image is another one.
    fn mount_copy(&mut self) {
        run(Command::new("umount").arg(&self.mount));
        let copy = self.image.with_extension("copy");
        let mut cp = Command::new("cp");
        run(cp.args(["--sparse=always"]).arg(&self.image).arg(&copy));
        fs::remove_file(&self.image).expect("an image that can be removed");
        fs::rename(copy, &self.image).expect("an image that can be renamed");
        self.mount();
    }

    /// Leaves no block free.
    pub(crate) fn fill(&self) {
        let ballast = File::create(self.ballast()).expect("a file that takes all room");
        let mut at = 0;
        let mut step = statvfs(&self.mount).expect("figures of the disk").f_bavail * BLOCK_BYTES;
        while step >= BLOCK_BYTES {
            match fallocate(&ballast, FallocateFlags::empty(), at, step) {
                Ok(()) => at += step,
                Err(_) => step /= 2,
            }
        }
    }

    /// There is room again.
    pub(crate) fn empty(&self) {
        fs::remove_file(self.ballast()).expect("the ballast can be removed");
    }

    fn ballast(&self) -> PathBuf {
        self.mount.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The end of a round that failed may still hold it.
        drop(Command::new("umount").arg("-l").arg(&self.mount).status());
    }
}

fn run(command: &mut Command) {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
}
