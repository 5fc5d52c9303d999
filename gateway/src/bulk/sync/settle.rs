//! When a file is whole: two looks, far enough apart by a clock that nobody sets, have found it
//! the same. The time that a file says it was changed at proves nothing: it is its file server's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::look::State;

/// Since when each file that is to be shipped has been as it is.
#[derive(Debug)]
pub(super) struct Settling {
    settle: Duration,
    since: HashMap<PathBuf, (State, Instant)>,
}

impl Settling {
    pub(super) fn new(settle: Duration) -> Self {
        let since = HashMap::new();
        Self { settle, since }
    }

    /// A look that `began` and `ended` then found a file in this state; whether it is whole.
    pub(super) fn is_whole(
        &mut self,
        path: &Path,
        state: State,
        (began, ended): (Instant, Instant),
    ) -> bool {
        match self.since.get(path) {
            Some((same, since)) if *same == state => {
                began.saturating_duration_since(*since) >= self.settle
            }
            Some(_) | None => {
                self.since.insert(path.to_owned(), (state, ended));
                self.settle.is_zero()
            }
        }
    }

    pub(super) fn keep(&mut self, mut kept: impl FnMut(&Path) -> bool) {
        self.since.retain(|path, _| kept(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_whole_once_two_looks_far_enough_apart_found_it_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dump");
        std::fs::write(&path, "rows").unwrap();
        let file = std::fs::File::options().append(true).open(&path).unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        file.set_modified(long_ago).unwrap();
        let state = || State::of(&std::fs::symlink_metadata(&path).unwrap());

        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut settling = Settling::new(Duration::from_secs(1));
        let mut look = |state, ms| settling.is_whole(&path, state, (at(ms), at(ms + 10)));
        let old = state();
        assert!(
            !look(old, 0),
            "its time of change is long ago, and says nothing"
        );
        assert!(!look(old, 1000), "the first look took 10 ms");
        assert!(look(old, 1010));

        // Other bytes under the same length and time of change: only its ctime is another.
        while state() == old {
            std::fs::write(&path, "ROWS").unwrap();
            file.set_modified(long_ago).unwrap();
        }
        assert!(!look(state(), 3000), "it begins anew");
        assert!(look(state(), 4010));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(!look(state(), 5100), "another mode");

        let mut at_once = Settling::new(Duration::ZERO);
        assert!(at_once.is_whole(&path, old, (at(0), at(10))));
    }
}
