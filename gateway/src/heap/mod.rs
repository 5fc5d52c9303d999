//! The process's heap: how much of it is in use, and when what is free of it goes back to the system.

mod glibc;

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::observe::process;

pub use glibc::limit_arenas;

/// So much may stay free in the heap: what is taken and given back all the time.
const FREE_BYTES_KEPT: u64 = 16 << 20;
/// The heap is not looked at more often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A look that takes longer, as the heap is large and in pieces, comes this much rarer: whoever waits
/// for it does so a hundredth of the time.
const PAUSE_PER_LOOK: u32 = 100;

/// The process's memory at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heap {
    pub(crate) resident_bytes: u64,
    /// Of it, pages of files: the program itself.
    pub(crate) file_bytes: u64,
    /// Allocated; none where the C library does not say.
    pub(crate) live_bytes: Option<u64>,
}

impl Heap {
    fn read() -> Option<Self> {
        // In this order: what is taken in between does not look free.
        let live_bytes = glibc::live_bytes();
        let (resident_bytes, file_bytes) = process::resident()?;
        Some(Self {
            resident_bytes,
            file_bytes,
            live_bytes,
        })
    }

    /// Resident and no page of a file.
    pub(crate) fn own_bytes(&self) -> u64 {
        self.resident_bytes.saturating_sub(self.file_bytes)
    }

    /// Resident and not allocated: what the heap has free, and the stacks of threads.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        let live = self.live_bytes?;
        Some(self.own_bytes().saturating_sub(live))
    }

    /// Not counting so many bytes that are allocated and, as nobody has touched them, not resident.
    pub(crate) fn without(self, untouched: u64) -> Self {
        Self {
            live_bytes: self.live_bytes.map(|live| live.saturating_sub(untouched)),
            ..self
        }
    }
}

/// Looks at the heap, and gives back what is free of it.
#[derive(Debug, Default)]
pub(crate) struct HeapWatch(Mutex<Option<Look>>);

#[derive(Clone, Copy, Debug)]
struct Look {
    heap: Heap,
    at: Instant,
    /// Time of the processor, not of the clock: that says how busy others are.
    took: Duration,
}

/// What this thread has taken of the processor's time.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

impl Look {
    fn is_fresh(&self, now: Instant) -> bool {
        let pause = LOOK_EVERY.max(self.took.saturating_mul(PAUSE_PER_LOOK));
        now.saturating_duration_since(self.at) < pause
    }
}

impl HeapWatch {
    /// As it is, or was when it was last looked at.
    pub(crate) fn look(&self) -> Option<Heap> {
        let mut last = self.0.lock();
        let at = Instant::now();
        if let Some(look) = last.filter(|look| look.is_fresh(at)) {
            return Some(look.heap);
        }
        let begun = thread_time();
        let heap = Heap::read()?;
        let took = thread_time().saturating_sub(begun);
        *last = Some(Look { heap, at, took });
        Some(heap)
    }

    /// Gives free memory back to the system, where there is much of it; so many bytes that are allocated
    /// are not resident. Blocks.
    pub(crate) fn give_back(&self, untouched: u64) {
        let heap = self.look().map(|heap| heap.without(untouched));
        let free = heap.and_then(|heap| heap.free_bytes());
        if free.is_none_or(|free| free <= FREE_BYTES_KEPT) {
            return;
        }
        let begun = thread_time();
        glibc::give_back();
        let Some(heap) = Heap::read() else { return };
        tracing::debug!(
            before = free,
            after = heap.without(untouched).free_bytes(),
            "gave free memory back"
        );
        let (at, took) = (Instant::now(), thread_time().saturating_sub(begun));
        *self.0.lock() = Some(Look { heap, at, took });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// As a burst leaves it: much was taken and given back to the heap, with something on top.
    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn what_a_burst_leaves_free_goes_back() {
        let watch = HeapWatch::default();
        let piece = || vec![1_u8; 16 << 10];
        let mut burst: Vec<_> = (0..8192).map(|_| piece()).collect();
        let top = piece();
        let full = Heap::read().unwrap();
        assert!(full.own_bytes() > 128 * MIB && full.live_bytes.unwrap() > 128 * MIB);
        burst.clear();
        watch.give_back(0);
        let after = watch.look().unwrap();
        assert!(
            after.resident_bytes + 100 * MIB < full.resident_bytes,
            "{full:?} then {after:?}"
        );
        drop(top);
    }

    #[test]
    fn a_look_that_took_long_is_not_taken_again_soon() {
        let at = Instant::now();
        let look = Look {
            heap: Heap::default(),
            at,
            took: Duration::from_millis(50),
        };
        assert!(look.is_fresh(at + Duration::from_secs(4)));
        assert!(!look.is_fresh(at + Duration::from_secs(6)));
    }
}
