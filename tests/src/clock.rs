//! A clock of a gateway's own, by Debian's `faketime`.

use std::fs;
use std::path::PathBuf;

use crate::Site;

/// Says how far a gateway's wall clock is ahead of the machine's. It is read once a second.
#[derive(Debug)]
pub struct Clock(PathBuf);

impl Clock {
    /// For all starts of `site` from now on. `None`, and it says so, without `faketime`.
    pub fn of(site: &mut Site) -> Option<Self> {
        let Some(library) = library() else {
            eprintln!("SKIPPED: a clock of a gateway's own needs Debian's faketime");
            return None;
        };
        let clock = Self(site.beside_log("clock"));
        clock.set_ahead(0);
        let file = clock.0.to_string_lossy().into_owned();
        let environment = [
            ("LD_PRELOAD", library.to_string_lossy().into_owned()),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ];
        for (name, value) in environment {
            site.set_environment(name, &value);
        }
        Some(clock)
    }

    /// Sets it so many seconds ahead of the machine's clock, behind it if negative.
    pub fn set_ahead(&self, seconds: i64) {
        fs::write(&self.0, format!("{seconds:+}")).expect("a clock that can be set");
    }
}

fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    let libraries = folders.flatten().map(|folder| {
        let folder = folder.path();
        folder.join("faketime/libfaketimeMT.so.1")
    });
    libraries.into_iter().find(|library| library.exists())
}
