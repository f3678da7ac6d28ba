//! Compressors and an inflater that wait for the next message, for all connections that share them and keep no window
//! between messages.
//!
//! Each has 50 to 300 KiB. Taking that from the system for each message and giving it back costs time. Above all it
//! leaves holes: it is aligned, and the C library (glibc before 2.38) does not find the place again from which such an
//! allocation was taken. A hundred connections came to take 100 MiB.

use std::sync::{Arc, Mutex, MutexGuard};

use flate2::{Compress, Compression, Decompress};

use crate::memory::{self, OutOfMemory};

/// The most bytes that the library needs for each.
const DEFLATE_MEMORY: usize = 512 * 1024;
const INFLATE_MEMORY: usize = 64 * 1024;

/// How a compressor was made: the level, and the bits of its window.
pub(super) type Kind = (u32, u8);

/// The most compressors that wait, one of each kind: the peers choose the bits, 9 to 15.
const MOST: usize = 7;

#[derive(Debug, Default)]
struct Waiting {
    compressors: Vec<(Kind, Compress)>,
    inflater: Option<Decompress>,
}

/// What connections without context takeover compress and inflate with, if they share it; clones are the same. By
/// default nothing is kept between messages.
///
/// ```
/// use luws::protocol::connection::Config;
/// use luws::protocol::spare::Spares;
///
/// let spares = Spares::shared();
/// let config = Config { spares: spares.clone(), ..Config::default() };
/// let another = Config { spares, ..Config::default() };
/// # let _ = (config, another);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Spares(Option<Arc<Mutex<Waiting>>>);

impl Spares {
    /// For all connections that are given a clone of it. It keeps up to 2 MiB.
    #[must_use]
    pub fn shared() -> Self {
        Self(Some(Arc::default()))
    }

    /// What waits; `None` as well if somebody has panicked meanwhile.
    fn waiting(&self) -> Option<MutexGuard<'_, Waiting>> {
        self.0.as_ref()?.lock().ok()
    }

    /// A compressor with an empty window.
    ///
    /// # Errors
    /// There is no memory.
    pub(super) fn compressor(&self, kind: Kind) -> Result<Compress, OutOfMemory> {
        let kept = self.waiting().and_then(|mut waiting| {
            let place = waiting.compressors.iter().position(|(of, _)| *of == kind)?;
            Some(waiting.compressors.remove(place).1)
        });
        kept.map_or_else(
            || {
                memory::made(DEFLATE_MEMORY, || {
                    Compress::new_with_window_bits(Compression::new(kind.0), false, kind.1)
                })
            },
            Ok,
        )
    }

    /// Keeps a compressor, which must have compressed its message to the end: zlib-rs panics after a reset otherwise.
    pub(super) fn keep_compressor(&self, kind: Kind, mut compress: Compress) {
        let Some(mut waiting) = self.waiting() else { return };
        compress.reset();
        waiting.compressors.retain(|(of, _)| *of != kind);
        if waiting.compressors.len() == MOST {
            waiting.compressors.remove(0); // which was not used for the longest time
        }
        waiting.compressors.push((kind, compress));
    }

    /// An inflater with an empty window.
    ///
    /// # Errors
    /// There is no memory.
    pub(super) fn inflater(&self) -> Result<Decompress, OutOfMemory> {
        let kept = self.waiting().and_then(|mut waiting| waiting.inflater.take());
        kept.map_or_else(|| memory::made(INFLATE_MEMORY, || Decompress::new(false)), Ok)
    }

    /// Keeps an inflater.
    pub(super) fn keep_inflater(&self, mut decompress: Decompress) {
        let Some(mut waiting) = self.waiting() else { return };
        decompress.reset(false);
        waiting.inflater = Some(decompress);
    }
}
