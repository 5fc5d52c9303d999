//! Whether what has something to do still comes round: what `/livez` and `/readyz` say of threads that
//! hang. A thread that waits for the disk does not hang: a restart makes no disk faster.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What has something to do and does not come round for so long hangs.
pub const HANGS_AFTER: Duration = Duration::from_secs(60);

/// Of one thread or task. It shows a thread that has panicked in the middle, too.
#[derive(Debug, Default)]
pub struct Heartbeat(Mutex<Doing>);

/// What it has done, and since when.
#[derive(Clone, Copy, Debug, Default)]
enum Doing {
    #[default]
    Nothing,
    Work(Instant),
    /// Waits for the disk.
    Disk(Instant),
}

/// For how long something has not come round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// It hangs.
    Working(Duration),
    /// It waits for the disk.
    OnDisk(Duration),
}

impl Heartbeat {
    /// There is something to do, or the next piece of it.
    pub fn beat(&self) {
        *self.0.lock() = Doing::Work(Instant::now());
    }

    /// There is nothing to do.
    pub fn rest(&self) {
        *self.0.lock() = Doing::Nothing;
    }

    /// Does something that may wait for the disk however long. Without anything to do before it, it
    /// counts for nobody.
    pub fn on_disk<T>(&self, work: impl FnOnce() -> T) -> T {
        self.go_on(Doing::Disk);
        let result = work();
        self.go_on(Doing::Work);
        result
    }

    fn go_on(&self, to: fn(Instant) -> Doing) {
        let mut doing = self.0.lock();
        if !matches!(*doing, Doing::Nothing) {
            *doing = to(Instant::now());
        }
    }

    /// Whether it has not come round for `after` or longer, with something to do.
    pub fn late(&self, after: Duration) -> Option<Late> {
        let doing = *self.0.lock();
        let late = match doing {
            Doing::Nothing => None,
            Doing::Work(since) => Some((since.elapsed(), Late::Working as fn(_) -> _)),
            Doing::Disk(since) => Some((since.elapsed(), Late::OnDisk as fn(_) -> _)),
        };
        late.filter(|(since, _)| *since >= after)
            .map(|(since, of)| of(since))
    }
}

/// Something is being done until this is dropped.
#[derive(Debug)]
pub struct Busy<'a>(&'a Heartbeat);

impl Heartbeat {
    /// [`Heartbeat::beat`] now and [`Heartbeat::rest`] when it is dropped: for a task that may be aborted.
    pub fn busy(&self) -> Busy<'_> {
        self.beat();
        Busy(self)
    }

    /// The same, of something that may wait for the disk.
    pub fn busy_on_disk(&self) -> Busy<'_> {
        *self.0.lock() = Doing::Disk(Instant::now());
        Busy(self)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.rest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn only_what_has_something_to_do_is_late() {
        let heartbeat = Heartbeat::default();
        assert_eq!(heartbeat.late(NOW), None);
        heartbeat.on_disk(|| assert_eq!(heartbeat.late(NOW), None, "nobody waits"));
        heartbeat.beat();
        assert!(matches!(heartbeat.late(NOW), Some(Late::Working(_))));
        assert_eq!(heartbeat.late(HANGS_AFTER), None);
        heartbeat.on_disk(|| assert!(matches!(heartbeat.late(NOW), Some(Late::OnDisk(_)))));
        assert!(matches!(heartbeat.late(NOW), Some(Late::Working(_))));
        heartbeat.rest();
        assert_eq!(heartbeat.late(NOW), None);
        let busy = heartbeat.busy_on_disk();
        assert!(matches!(heartbeat.late(NOW), Some(Late::OnDisk(_))));
        drop(busy);
        assert_eq!(heartbeat.late(NOW), None);
    }
}
