//! Content codings (RFC 9110 section 8.4.1): gzip, for responses. Knows nothing of who takes it.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::memory::{self, OutOfMemory};

/// The bytes as gzip has them.
///
/// # Errors
/// There is no memory.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>, OutOfMemory> {
    let mut compressed = Vec::new();
    memory::reserve(&mut compressed, bytes.len() / 2 + 64)?;
    let mut encoder = GzEncoder::new(compressed, Compression::default());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.map_err(|_| OutOfMemory)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn what_is_compressed_is_what_was_given() {
        for bytes in [Vec::new(), b"a".to_vec(), vec![0; 100_000], vec![b'x'; 70_000]] {
            let mut back = Vec::new();
            GzDecoder::new(&gzip(&bytes).unwrap()[..]).read_to_end(&mut back).unwrap();
            assert_eq!(back, bytes);
        }
    }
}
