//! Counts the memory that a thread has allocated.
#![expect(
    unsafe_code,
    reason = "the trait of allocators is unsafe; this one counts and leaves the rest to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[cfg_attr(not(feature = "lua"), global_allocator)]
#[cfg_attr(feature = "lua", expect(dead_code, reason = "the module has an allocator of its own"))]
static COUNTING: Counting = Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// When a thread ends, its thread-locals are gone, and there is nothing to count.
fn count(bytes: isize) {
    let _ = NOW.try_with(|now| {
        now.set(now.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

// SAFETY: every call is passed on unchanged to the system allocator, which keeps the promises.
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

/// The most memory that this thread had allocated during `work`, compared to before, in bytes.
pub(crate) fn peak_of(work: impl FnOnce()) -> usize {
    let before = NOW.get();
    PEAK.set(before);
    work();
    (PEAK.get() - before) as usize
}

#[test]
fn what_is_allocated_is_counted() {
    let bytes = peak_of(|| {
        let mut data = vec![0_u8; 1000];
        data.reserve_exact(5000);
        drop(std::hint::black_box(data));
        drop(std::hint::black_box(vec![1_u8; 3000]));
    });
    assert_eq!(bytes, 6000);
}
