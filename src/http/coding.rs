//! Content codings (RFC 9110 section 8.4.1): gzip, for responses. Knows nothing of who takes it.

use flate2::{Compress, Compression, FlushCompress, Status};

use crate::memory::{self, OutOfMemory};

/// The most bytes that the library needs.
const MEMORY: usize = 512 * 1024;

/// Room for what is compressed is made in pieces of this size at least, in bytes.
const PIECE: usize = 16 * 1024;

/// The largest window (RFC 1951), as a base-2 logarithm.
const WINDOW_BITS: u8 = 15;

/// The bytes as gzip has them.
///
/// # Errors
/// There is no memory.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>, OutOfMemory> {
    let mut compress = memory::made(MEMORY, || Compress::new_gzip(Compression::default(), WINDOW_BITS))?;
    let mut compressed = Vec::new();
    loop {
        memory::reserve(&mut compressed, PIECE)?;
        let rest = &bytes[compress.total_in() as usize..];
        match compress.compress_vec(rest, &mut compressed, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => return Ok(compressed),
            Ok(_) => {}
            // It cannot be: there is room, and the state is valid.
            Err(_) => return Err(OutOfMemory),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn what_is_compressed_is_what_was_given() {
        let varied =
            (0..200_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for bytes in [Vec::new(), b"a".to_vec(), vec![0; 100_000], vec![b'x'; 70_000], varied] {
            let mut back = Vec::new();
            GzDecoder::new(&gzip(&bytes).unwrap()[..]).read_to_end(&mut back).unwrap();
            assert_eq!(back, bytes);
        }
    }
}
