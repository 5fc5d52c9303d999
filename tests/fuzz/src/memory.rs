//! Counts what each thread holds of the heap.
#![allow(
    unsafe_code,
    reason = "a global allocator can't be written without; it hands everything to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes taken less bytes given back by this thread, and the most of it since last asked.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

struct Counting;

fn count(bytes: isize) {
    // A thread that is ending counts no more.
    let _gone = HELD.try_with(|held| {
        let now = held.get().0.wrapping_add(bytes);
        held.set((now, held.get().1.max(now)));
    });
}

// SAFETY: every call is the system allocator's, with the caller's own arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes of the heap that this thread has taken and not given back.
pub fn held_bytes() -> isize {
    HELD.with(|held| held.get().0)
}

/// What this thread holds now; from here on the most is counted.
pub(crate) fn begin() -> isize {
    HELD.with(|held| {
        let now = held.get().0;
        held.set((now, now));
        now
    })
}

/// The most bytes that this thread held at once since `begin`, beyond what it held then.
pub(crate) fn most_since(before: isize) -> usize {
    HELD.with(|held| usize::try_from(held.get().1 - before).unwrap_or(0))
}
