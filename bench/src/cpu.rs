//! CPU time of this thread: on a machine that is busy with other work it says more than the wall
//! clock.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment in this thread's CPU time.
#[derive(Clone, Copy)]
pub(crate) struct CpuInstant(Duration);

impl CpuInstant {
    pub(crate) fn now() -> Self {
        Self(Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default())
    }

    pub(crate) fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}
