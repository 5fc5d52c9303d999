//! Where a start of the grid writes, tests have the disk refuse.

use std::io;

/// Asked before each write of a start. Always good but in tests.
#[cfg(not(test))]
pub(super) fn before_write() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
thread_local! {
    /// How many more writes of this thread the disk takes, if there is a limit.
    static LEFT: std::cell::Cell<Option<u32>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
pub(super) fn before_write() -> io::Result<()> {
    match LEFT.get() {
        Some(0) => Err(io::ErrorKind::StorageFull.into()),
        Some(left) => {
            LEFT.set(Some(left - 1));
            Ok(())
        }
        None => Ok(()),
    }
}

/// Runs `work` on a disk that takes `writes` and no more. Also says whether it asked for more.
#[cfg(test)]
pub(super) fn with_disk_for<T>(writes: u32, work: impl FnOnce() -> T) -> (T, bool) {
    LEFT.set(Some(writes));
    let done = work();
    let full = LEFT.take() == Some(0);
    (done, full)
}
