//! The C library's heap: how many parts it has, how much of it is in use, and how what is free goes back
//! to the system. C libraries other than glibc keep little that is free, and do not say how much.
#![allow(
    unsafe_code,
    reason = "mallopt, mallinfo2 and malloc_trim have no safe form"
)]

/// Threads that allocate at the same time get parts of the heap of their own, and what is free in one
/// part is of no use to the others. glibc would make eight for each core.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS_MAX: usize = 4;

/// Has the heap stay in few parts: to be called before there are threads.
pub fn limit_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // SAFETY: it takes two numbers and sets one of the allocator's own. When it refuses, the
        // allocator goes on with what it had.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, cores.min(ARENAS_MAX) as libc::c_int) };
    }
}

/// Bytes in use, with their share of the allocator's own; none where the C library does not say.
///
/// Goes through the lists of what is free, part by part, while no thread allocates from that part.
pub(super) fn live_bytes() -> Option<u64> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: it takes nothing and returns numbers.
        let info = unsafe { libc::mallinfo2() };
        Some((info.uordblks + info.hblkhd) as u64)
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    None
}

/// Gives every whole page that is free back to the system. Takes as long as [`live_bytes`], and the
/// time of the system for what goes.
pub(super) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes a number and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
