use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk with little room, over a folder. Unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `size` as mount(8) takes it for a tmpfs. `None`, and it says so, without root.
    pub fn over(folder: &Path, size: &str) -> Option<Self> {
        let mounted = mount(
            folder,
            &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"],
        );
        mounted.then(|| Self(folder.to_owned()))
    }

    /// Makes room.
    pub fn grow(&self, size: &str) {
        self.remount(&format!("size={size}"));
    }

    /// Changes an option, as mount(8) takes it: `ro`, say.
    pub fn remount(&self, option: &str) {
        assert!(mount(&self.0, &["-o", &format!("remount,{option}")]));
    }
}

fn mount(folder: &Path, options: &[&str]) -> bool {
    let mounted = Command::new("mount").args(options).arg(folder).output();
    let mounted = mounted.expect("mount(8) is there");
    if !mounted.status.success() {
        eprintln!("SKIPPED: a small disk needs root: {mounted:?}");
    }
    mounted.status.success()
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A gateway may still look at it.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}
