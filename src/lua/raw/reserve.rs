//! A reserve for small allocations. Rust ends the process if there is no memory for one, and with it the host program;
//! [`memory`](crate::memory) is for allocations that may be large, and there are many more small ones than could be
//! checked.
//!
//! The reserve is put away while there is memory. It is given back to the system as soon as a small allocation fails,
//! which then succeeds. From then on no call begins before there is a new reserve, so that a call never runs out of it
//! half-way: it needs much less.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Allocations up to this size, in bytes, may use the reserve.
const SMALL: usize = 16 * 1024;

/// The reserve, in pieces that the system's allocator takes from its heap, so that they serve small allocations. Pages
/// that are never written to cost no memory.
const PIECES: usize = 4;
const PIECE: Layout = match Layout::from_size_align(64 * 1024, 16) {
    Ok(layout) => layout,
    Err(_) => panic!("no layout"),
};

static RESERVE: [AtomicPtr<u8>; PIECES] = [const { AtomicPtr::new(ptr::null_mut()) }; PIECES];
static IS_FULL: AtomicBool = AtomicBool::new(false);

/// The system's allocator, with a reserve.
struct Reserving;

#[global_allocator]
static ALLOCATOR: Reserving = Reserving;

// SAFETY: every call is passed on unchanged to the system's allocator, perhaps twice if the first one has failed.
unsafe impl GlobalAlloc for Reserving {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { or_again(layout.size(), || System.alloc(layout)) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { or_again(layout.size(), || System.alloc_zeroed(layout)) }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe { or_again(size, || System.realloc(pointer, layout, size)) }
    }
}

/// Calls `allocate`, and once more with what was in the reserve if that fails and is small.
#[inline]
fn or_again(size: usize, allocate: impl Fn() -> *mut u8) -> *mut u8 {
    let pointer = allocate();
    if pointer.is_null() && size <= SMALL && release() { allocate() } else { pointer }
}

/// Gives the reserve back. Returns whether there was one.
#[cold]
fn release() -> bool {
    IS_FULL.store(false, Ordering::Relaxed);
    let mut has_any = false;
    for piece in &RESERVE {
        let pointer = piece.swap(ptr::null_mut(), Ordering::AcqRel);
        if !pointer.is_null() {
            // SAFETY: it was allocated by `fill` with this layout, and nobody else has it now.
            unsafe { System.dealloc(pointer, PIECE) };
            has_any = true;
        }
    }
    has_any
}

/// Whether there is a reserve, or memory for one. Every call begins with this, except those that allocate nothing.
#[inline]
pub(super) fn is_ready() -> bool {
    IS_FULL.load(Ordering::Relaxed) || fill()
}

#[cold]
fn fill() -> bool {
    for piece in &RESERVE {
        if !piece.load(Ordering::Acquire).is_null() {
            continue;
        }
        // SAFETY: the layout has a size above 0.
        let pointer = unsafe { System.alloc(PIECE) };
        if pointer.is_null() {
            return false;
        }
        if piece.compare_exchange(ptr::null_mut(), pointer, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: it was allocated with this layout; another thread was faster.
            unsafe { System.dealloc(pointer, PIECE) };
        }
    }
    IS_FULL.store(true, Ordering::Relaxed);
    true
}

/// Has the system's allocator give back pages that are free. It does so by itself only at the end of its heap.
pub(in crate::lua) fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        malloc_trim(0);
    }
}
