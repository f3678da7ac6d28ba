//! The masking transformation of RFC 6455 section 5.3: octet `i` of the payload is XORed with octet
//! `i mod 4` of the masking key. It is its own inverse.
//!
//! Knows nothing of frames. The loops work on fixed blocks so that the compiler turns them into vector instructions of
//! the baseline processor.

const BLOCK: usize = 32;

/// The key repeated over a block, starting with the octet for payload offset `offset`.
fn pattern(key: [u8; 4], offset: usize) -> [u8; BLOCK] {
    std::array::from_fn(|i| key[(offset + i) % 4])
}

/// Masks or unmasks `data` in place; `offset` is the position of its first octet in the payload.
pub fn apply(key: [u8; 4], offset: usize, data: &mut [u8]) {
    let pattern = pattern(key, offset);
    let mut blocks = data.chunks_exact_mut(BLOCK);
    for block in &mut blocks {
        for (octet, key) in block.iter_mut().zip(&pattern) {
            *octet ^= key;
        }
    }
    for (octet, key) in blocks.into_remainder().iter_mut().zip(&pattern) {
        *octet ^= key;
    }
}

/// Writes a masked copy of `source`, a whole payload, to `target`, which has the same length.
pub fn copy(key: [u8; 4], source: &[u8], target: &mut [u8]) {
    debug_assert_eq!(source.len(), target.len());
    let pattern = pattern(key, 0);
    let mut from = source.chunks_exact(BLOCK);
    let mut to = target.chunks_exact_mut(BLOCK);
    for (to, from) in (&mut to).zip(&mut from) {
        for ((to, from), key) in to.iter_mut().zip(from).zip(&pattern) {
            *to = from ^ key;
        }
    }
    let rest = to.into_remainder().iter_mut().zip(from.remainder());
    for ((to, from), key) in rest.zip(&pattern) {
        *to = from ^ key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Section 5.3, octet by octet.
    fn by_definition(key: [u8; 4], offset: usize, data: &[u8]) -> Vec<u8> {
        data.iter().enumerate().map(|(i, octet)| octet ^ key[(offset + i) % 4]).collect()
    }

    #[test]
    fn agrees_with_the_definition_at_every_length_and_offset() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for length in 0..200 {
            let data: Vec<u8> = (0..length).map(|i| (i * 31 % 251) as u8).collect();
            for offset in 0..5 {
                let mut masked = data.clone();
                apply(key, offset, &mut masked);
                assert_eq!(masked, by_definition(key, offset, &data));
            }
            let mut copied = vec![0; data.len()];
            copy(key, &data, &mut copied);
            assert_eq!(copied, by_definition(key, 0, &data));
        }
    }

    #[test]
    fn the_example_of_section_5_7_is_unmasked() {
        let mut hello = *b"Hello";
        apply([0x37, 0xfa, 0x21, 0x3d], 0, &mut hello);
        assert_eq!(hello, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }
}
