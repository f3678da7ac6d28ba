//! UTF-8 in pieces: a text message is checked as its bytes arrive, and fails at the first byte that no valid
//! continuation could follow (RFC 6455 section 8.1), wherever the pieces are cut.
//!
//! Keeps at most three bytes: the beginning of an incomplete character.

/// The bytes are not UTF-8, and no further bytes could make them so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUtf8;

/// Text is scanned for ASCII in blocks of this size, in bytes.
const BLOCK: usize = 128;

/// Whether a whole text is UTF-8.
#[must_use]
pub fn is_valid(text: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let bits = |words: &[[u8; 8]]| words.iter().fold(0, |bits, word| bits | u64::from_ne_bytes(*word));
    let mut rest = text;
    while let Some((block, after)) = rest.split_first_chunk::<BLOCK>() {
        if bits(block.as_chunks().0) & HIGH != 0 {
            return simdutf8::basic::from_utf8(rest).is_ok();
        }
        rest = after;
    }
    let (words, tail) = rest.as_chunks();
    let tail = tail.iter().fold(0, |bits, octet| bits | octet);
    bits(words) & HIGH == 0 && tail < 0x80 || simdutf8::basic::from_utf8(rest).is_ok()
}

/// The same for bytes that may well be something else: the first that is not UTF-8 ends it.
#[must_use]
pub fn is_text(bytes: &[u8]) -> bool {
    simdutf8::compat::from_utf8(bytes).is_ok()
}

/// Checks text that comes in pieces.
///
/// ```
/// use luws::protocol::utf8::Validator;
///
/// let mut validator = Validator::default();
/// validator.push(b"caf\xc3")?; // a character may be cut
/// validator.push(b"\xa9")?;
/// validator.finish()?;
/// assert!(validator.push(b"\xff").is_err());
/// # Ok::<_, luws::protocol::utf8::NotUtf8>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Validator {
    partial: [u8; 4],
    length: usize,
}

impl Validator {
    /// Checks the next piece.
    ///
    /// # Errors
    /// [`NotUtf8`]. The validator cannot be used then until [`reset`](Self::reset).
    pub fn push(&mut self, piece: &[u8]) -> Result<(), NotUtf8> {
        let mut rest = piece;
        while self.length > 0 {
            let Some((&octet, after)) = rest.split_first() else { return Ok(()) };
            rest = after;
            self.partial[self.length] = octet;
            self.length += 1;
            match std::str::from_utf8(&self.partial[..self.length]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_some() => return Err(NotUtf8),
                Err(_) => {}
            }
        }
        let Err(error) = simdutf8::compat::from_utf8(rest) else { return Ok(()) };
        if error.error_len().is_some() {
            return Err(NotUtf8);
        }
        let tail = &rest[error.valid_up_to()..];
        self.partial[..tail.len()].copy_from_slice(tail);
        self.length = tail.len();
        Ok(())
    }

    /// Ends the text, which must not leave a character unfinished, and resets the validator.
    ///
    /// # Errors
    /// [`NotUtf8`] if the last character is incomplete.
    pub fn finish(&mut self) -> Result<(), NotUtf8> {
        let complete = self.length == 0;
        self.reset();
        if complete { Ok(()) } else { Err(NotUtf8) }
    }

    pub fn reset(&mut self) {
        self.length = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&[u8]]) -> Result<(), NotUtf8> {
        let mut validator = Validator::default();
        for piece in pieces {
            validator.push(piece)?;
        }
        validator.finish()
    }

    #[test]
    fn agrees_with_std_at_every_cut() {
        let texts: &[&[u8]] = &[
            b"",
            b"plain",
            "κόσμε €uro 😀 end".as_bytes(),
            b"\xed\xa0\x80",     // a surrogate
            b"\xf4\x90\x80\x80", // above U+10FFFF
            b"\xc0\xaf",         // overlong
            b"ok\xf0\x9f\x98",   // cut off
            b"\xff",
            b"a\x80b",
        ];
        for text in texts {
            let expected = std::str::from_utf8(text).is_ok();
            for i in 0..=text.len() {
                for j in i..=text.len() {
                    let cut = check(&[&text[..i], &text[i..j], &text[j..]]);
                    assert_eq!(cut.is_ok(), expected, "{text:x?} cut at {i} and {j}");
                }
            }
        }
    }

    #[test]
    fn fails_at_the_first_impossible_byte() {
        let mut validator = Validator::default();
        assert_eq!(validator.push(b"\xf4"), Ok(()));
        assert_eq!(validator.push(b"\x90"), Err(NotUtf8)); // only 0x80..0x8F may follow 0xF4
    }
}
