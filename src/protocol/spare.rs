//! Compressors and an inflater that wait for the next message, for all connections of a thread that keep no window
//! between messages.
//!
//! Each has 50 to 300 KiB. Taking that from the system for each message and giving it back costs time. Above all it
//! leaves holes: it is aligned, and the C library (glibc before 2.38) does not find the place again from which such an
//! allocation was taken. A hundred connections came to take 100 MiB.

use std::cell::{Cell, RefCell};

use flate2::{Compress, Compression, Decompress};

use crate::memory::{self, OutOfMemory};

/// The most bytes that the library needs for each.
const DEFLATE_MEMORY: usize = 512 * 1024;
const INFLATE_MEMORY: usize = 64 * 1024;

/// How a compressor was made: the level, and the bits of its window.
pub(super) type Kind = (u32, u8);

/// The most compressors that wait, one of each kind: the peers choose the bits, 9 to 15.
const MOST: usize = 7;

thread_local! {
    static COMPRESSORS: RefCell<Vec<(Kind, Compress)>> = const { RefCell::new(Vec::new()) };
    static INFLATER: Cell<Option<Decompress>> = const { Cell::new(None) };
}

/// A compressor with an empty window.
///
/// # Errors
/// There is no memory.
pub(super) fn compressor(kind: Kind) -> Result<Compress, OutOfMemory> {
    // When a thread ends, its thread-locals are gone, and nothing is kept any more.
    let kept = COMPRESSORS.try_with(|spares| {
        let mut spares = spares.borrow_mut();
        spares.iter().position(|(of, _)| *of == kind).map(|place| spares.remove(place).1)
    });
    match kept {
        Ok(Some(compress)) => Ok(compress),
        _ => memory::made(DEFLATE_MEMORY, || {
            Compress::new_with_window_bits(Compression::new(kind.0), false, kind.1)
        }),
    }
}

/// Keeps a compressor, which must have compressed its message to the end: zlib-rs panics after a reset otherwise.
pub(super) fn keep_compressor(kind: Kind, mut compress: Compress) {
    compress.reset();
    let _ = COMPRESSORS.try_with(|spares| {
        let mut spares = spares.borrow_mut();
        spares.retain(|(of, _)| *of != kind);
        if spares.len() == MOST {
            spares.remove(0); // which was not used for the longest time
        }
        spares.push((kind, compress));
    });
}

/// An inflater with an empty window.
///
/// # Errors
/// There is no memory.
pub(super) fn inflater() -> Result<Decompress, OutOfMemory> {
    match INFLATER.try_with(Cell::take) {
        Ok(Some(decompress)) => Ok(decompress),
        _ => memory::made(INFLATE_MEMORY, || Decompress::new(false)),
    }
}

/// Keeps an inflater.
pub(super) fn keep_inflater(mut decompress: Decompress) {
    decompress.reset(false);
    let _ = INFLATER.try_with(|spare| spare.set(Some(decompress)));
}
