//! An allocator that refuses one large allocation, chosen by its number.
#![expect(
    unsafe_code,
    reason = "the trait of allocators is unsafe; this one counts and leaves the rest to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

/// What is smaller than this, in bytes, is never refused.
const LARGE: usize = 4096;

struct Refusing;

#[cfg_attr(not(feature = "lua"), global_allocator)]
#[cfg_attr(feature = "lua", expect(dead_code, reason = "the module has an allocator of its own"))]
static REFUSING: Refusing = Refusing;

thread_local! {
    /// How many large allocations of this thread succeed before the one that is refused; `None` while none is.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    static REFUSED: Cell<bool> = const { Cell::new(false) };
    static COUNTS: Cell<bool> = const { Cell::new(false) };
}

fn is_refused(size: usize) -> bool {
    if size < LARGE || !COUNTS.try_with(Cell::get).unwrap_or(false) {
        return false;
    }
    let Some(left) = LEFT.get() else { return false };
    LEFT.set(left.checked_sub(1));
    if left == 0 {
        REFUSED.set(true);
    }
    left == 0
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the promises, or refused.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) { ptr::null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) { ptr::null_mut() } else { unsafe { System.alloc_zeroed(layout) } }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > layout.size() && is_refused(size) {
            ptr::null_mut()
        } else {
            unsafe { System.realloc(pointer, layout, size) }
        }
    }
}

/// Chooses the large allocation to refuse, counted from 0 over all `work` from now on.
pub(crate) fn choose(number: usize) {
    LEFT.set(Some(number));
    REFUSED.set(false);
}

/// Does something whose allocations count, if it is `ours`.
pub(crate) fn counted<R>(ours: bool, work: impl FnOnce() -> R) -> R {
    let before = COUNTS.replace(ours);
    let result = work();
    COUNTS.set(before);
    result
}

/// Whether the chosen allocation has come.
pub(crate) fn was_refused() -> bool {
    REFUSED.get()
}
