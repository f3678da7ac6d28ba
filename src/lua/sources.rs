//! The sources of the driver, compiled in so that the library is a single file. They are compressed, because they would
//! be a sixth of it. Knows nothing of Lua.

use std::ffi::CStr;

use flate2::{Decompress, FlushDecompress, Status};

use crate::memory::{self, OutOfMemory};

/// A file of the driver.
pub(super) struct Source {
    /// Its name without the folder and the extension: `wires/native` for `lua/luws/wires/native.lua`.
    pub(super) name: &'static CStr,
    /// Its name in error messages.
    pub(super) chunk_name: &'static CStr,
    /// How long its text is, in bytes.
    pub(super) length: usize,
    /// The text, compressed (RFC 1951).
    packed: &'static [u8],
}

// `SOURCES`, by build.rs.
include!(concat!(env!("OUT_DIR"), "/sources.rs"));

/// How much memory it takes to unpack a source, in bytes.
const UNPACKING: usize = 64 * 1024;

impl Source {
    /// Writes the text into storage of its length.
    pub(super) fn unpack(&self, text: &mut [u8]) -> Result<(), OutOfMemory> {
        let mut decompress = memory::made(UNPACKING, || Decompress::new(false))?;
        match decompress.decompress(self.packed, text, FlushDecompress::Finish) {
            Ok(Status::StreamEnd) => Ok(()),
            _ => Err(OutOfMemory), // what build.rs has packed can be unpacked
        }
    }
}
