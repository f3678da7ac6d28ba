//! Memory whose amount a peer or a caller determines. If the system refuses it, that is an error like others; Rust's
//! own way, which is to end the process, would take the host program down.
//!
//! Small allocations of fixed size are made in Rust's way.

use std::collections::TryReserveError;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The system has refused memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Lua has the same words for it.
        f.write_str("not enough memory")
    }
}

impl std::error::Error for OutOfMemory {}

impl From<TryReserveError> for OutOfMemory {
    fn from(_: TryReserveError) -> Self {
        Self
    }
}

impl From<OutOfMemory> for io::Error {
    fn from(_: OutOfMemory) -> Self {
        io::ErrorKind::OutOfMemory.into()
    }
}

/// What grows to this size, in bytes, must leave the process this margin: what is small, in Lua as well, is still to
/// find memory when a message takes all that it can get.
const LARGE: usize = 1024 * 1024;
const MARGIN: usize = 256 * 1024;

/// Makes room for `count` more elements; for more than that if there is memory, so that growing in small steps costs
/// little.
///
/// # Errors
/// There is no memory. Nothing has changed.
#[inline]
pub fn reserve<T>(elements: &mut Vec<T>, count: usize) -> Result<(), OutOfMemory> {
    if elements.capacity() - elements.len() < count { grow(elements, count) } else { Ok(()) }
}

#[inline(never)]
fn grow<T>(elements: &mut Vec<T>, count: usize) -> Result<(), OutOfMemory> {
    let before = elements.capacity();
    if elements.try_reserve(count).is_ok() && leaves_margin(elements) {
        return Ok(());
    }
    elements.shrink_to(before);
    reserve_exact(elements, count)
}

/// Makes room for `count` more elements, and no more than that.
///
/// # Errors
/// See [`reserve`].
pub fn reserve_exact<T>(elements: &mut Vec<T>, count: usize) -> Result<(), OutOfMemory> {
    let before = elements.capacity();
    elements.try_reserve_exact(count)?;
    if leaves_margin(elements) {
        return Ok(());
    }
    elements.shrink_to(before);
    Err(OutOfMemory)
}

fn leaves_margin<T>(elements: &Vec<T>) -> bool {
    elements.capacity() * size_of::<T>() < LARGE || probe(MARGIN).is_ok()
}

/// Appends a copy of `bytes`.
///
/// # Errors
/// See [`reserve`].
pub fn extend(data: &mut Vec<u8>, bytes: &[u8]) -> Result<(), OutOfMemory> {
    reserve(data, bytes.len())?;
    data.extend_from_slice(bytes);
    Ok(())
}

/// A copy of `bytes`.
///
/// # Errors
/// See [`reserve`].
pub fn copy(bytes: &[u8]) -> Result<Vec<u8>, OutOfMemory> {
    let mut data = Vec::new();
    reserve_exact(&mut data, bytes.len())?;
    data.extend_from_slice(bytes);
    Ok(data)
}

/// A copy of `text`.
///
/// # Errors
/// See [`reserve`].
pub fn text(text: &str) -> Result<String, OutOfMemory> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len())?;
    copy.push_str(text);
    Ok(copy)
}

/// `length` zeros.
///
/// # Errors
/// See [`reserve`].
pub fn zeros(length: usize) -> Result<Vec<u8>, OutOfMemory> {
    let mut data = Vec::new();
    reserve_exact(&mut data, length)?;
    data.resize(length, 0);
    Ok(data)
}

/// Appends an element.
///
/// # Errors
/// See [`reserve`].
pub fn push<T>(elements: &mut Vec<T>, element: T) -> Result<(), OutOfMemory> {
    reserve(elements, 1)?;
    elements.push(element);
    Ok(())
}

/// The elements of an iterator.
///
/// # Errors
/// See [`reserve`].
pub fn collect<T>(iterator: impl IntoIterator<Item = T>) -> Result<Vec<T>, OutOfMemory> {
    let iterator = iterator.into_iter();
    let mut elements = Vec::new();
    reserve(&mut elements, iterator.size_hint().0)?;
    for element in iterator {
        push(&mut elements, element)?;
    }
    Ok(elements)
}

/// Asks for memory and gives it back, before code that does not check for it needs up to `size` bytes.
///
/// # Errors
/// There is no memory.
pub fn probe(size: usize) -> Result<(), OutOfMemory> {
    let mut probe = Vec::<u8>::new();
    probe.try_reserve_exact(size)?;
    drop(std::hint::black_box(probe));
    Ok(())
}

/// What `make` makes, of another library, which needs up to `size` bytes for it and panics without them. A panic is
/// printed, so that memory is asked for before.
///
/// # Errors
/// There is no memory.
pub fn made<T>(size: usize, make: impl FnOnce() -> T) -> Result<T, OutOfMemory> {
    probe(size)?;
    catch_unwind(AssertUnwindSafe(make)).map_err(|_| OutOfMemory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_nobody_has_is_an_error() {
        let mut data = vec![7_u8; 3];
        assert_eq!(reserve(&mut data, usize::MAX), Err(OutOfMemory));
        assert_eq!(reserve(&mut data, isize::MAX as usize), Err(OutOfMemory));
        assert_eq!(data, [7; 3]);
        assert_eq!(zeros(isize::MAX as usize), Err(OutOfMemory));
        assert_eq!(made(isize::MAX as usize, || 7), Err(OutOfMemory));
    }

    #[test]
    fn a_library_that_panics_for_want_of_memory_has_made_nothing() {
        assert_eq!(made(1, || 7), Ok(7));
        assert_eq!(made(1, || assert_ne!(1, 1, "as zlib-rs does")), Err(OutOfMemory));
    }

    #[test]
    fn room_is_made_ahead_so_that_small_steps_are_cheap() {
        let mut data = Vec::new();
        let mut moves = 0;
        for _ in 0..100_000 {
            let before = data.capacity();
            push(&mut data, 7_u8).unwrap();
            moves += usize::from(data.capacity() != before);
        }
        assert!(moves < 20, "{moves}");
    }
}
