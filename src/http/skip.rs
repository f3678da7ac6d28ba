//! Skips a body without keeping it, to find what comes after it on the same connection (RFC 9112 sections 6 and 7.1).
//! Knows nothing of what the bytes mean.

use super::body::Framing;

/// The most bytes that are skipped, framing included. Another connection costs less than more of them.
const MOST: usize = 64 * 1024;

/// The longest line of the framing: the size of a chunk with its extensions, or a trailer.
const LONGEST_LINE: usize = 8 * 1024;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// This many bytes, and then the end.
    Rest(usize),
    /// The line with the size of a chunk.
    Size,
    /// This many bytes of a chunk and its line ending.
    Chunk(usize),
    /// The trailers, or the blank line after them.
    Trailer,
}

/// The body ends too late, nowhere, or is not valid; the connection is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endless;

/// Skips a body that arrives in pieces.
///
/// ```
/// use luws::http::body::Framing;
/// use luws::http::skip::Skipper;
///
/// let mut skipper = Skipper::new(Framing::Length(5))?;
/// assert_eq!(skipper.skip(b"abc")?, (3, false));
/// assert_eq!(skipper.skip(b"deHTTP/1.1 200 OK")?, (2, true));
/// # Ok::<_, luws::http::skip::Endless>(())
/// ```
#[derive(Debug)]
pub struct Skipper {
    part: Part,
    skipped: usize,
}

impl Skipper {
    /// # Errors
    /// It is known from the head that the body cannot be skipped.
    pub fn new(framing: Framing) -> Result<Self, Endless> {
        let part = match framing {
            Framing::Length(length) if length <= MOST => Part::Rest(length),
            Framing::Chunked => Part::Size,
            Framing::Length(_) | Framing::UntilEnd => return Err(Endless),
        };
        Ok(Self { part, skipped: 0 })
    }

    /// Returns how many bytes at the start of `input` belong to the body, and whether it ends there. The next call has
    /// the bytes after these.
    ///
    /// # Errors
    /// The body cannot be skipped.
    pub fn skip(&mut self, input: &[u8]) -> Result<(usize, bool), Endless> {
        let (mut used, mut is_over) = (0, false);
        while !is_over {
            let Some((count, next)) = self.step(&input[used..])? else { break };
            used += count;
            match next {
                None => is_over = true,
                Some(part) => self.part = part,
            }
            if used == input.len() {
                break;
            }
        }
        self.skipped += used;
        if self.skipped > MOST { Err(Endless) } else { Ok((used, is_over)) }
    }

    /// Takes some of a part: how much, and what comes after it, if it is not the end. `None` if more has to come first.
    fn step(&self, rest: &[u8]) -> Result<Option<(usize, Option<Part>)>, Endless> {
        Ok(match self.part {
            Part::Rest(length) if length <= rest.len() => Some((length, None)),
            Part::Rest(length) => Some((rest.len(), Some(Part::Rest(length - rest.len())))),
            Part::Chunk(length) if length <= rest.len() => Some((length, Some(Part::Size))),
            Part::Chunk(length) => Some((rest.len(), Some(Part::Chunk(length - rest.len())))),
            Part::Size => match httparse::parse_chunk_size(rest) {
                Ok(httparse::Status::Complete((length, 0))) => Some((length, Some(Part::Trailer))),
                Ok(httparse::Status::Complete((length, size))) if size <= MOST as u64 => {
                    Some((length, Some(Part::Chunk(size as usize + b"\r\n".len()))))
                }
                Ok(httparse::Status::Partial) if rest.len() <= LONGEST_LINE => None,
                _ => return Err(Endless),
            },
            Part::Trailer => match rest.iter().position(|byte| *byte == b'\n') {
                Some(at) if rest[..at].trim_ascii().is_empty() => Some((at + 1, None)),
                Some(at) => Some((at + 1, Some(Part::Trailer))),
                None if rest.len() <= LONGEST_LINE => None,
                None => return Err(Endless),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes are skipped in all, if the body ends; the input comes whole or byte by byte.
    fn skipped(framing: Framing, input: &[u8], bytewise: bool) -> Result<Option<usize>, Endless> {
        let (mut skipper, mut used) = (Skipper::new(framing)?, 0);
        for end in if bytewise { 0..=input.len() } else { input.len()..=input.len() } {
            let (count, is_over) = skipper.skip(&input[used..end])?;
            used += count;
            if is_over {
                return Ok(Some(used));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_body_ends_where_its_framing_says_however_it_arrives() {
        use Framing::{Chunked, Length, UntilEnd};
        let long_line = ["1;", &"x".repeat(LONGEST_LINE)].concat();
        let many = ["1000\r\n", &"x".repeat(0x1000), "\r\n"].concat().repeat(17);
        for (framing, input, expected) in [
            (Length(0), "next", Ok(Some(0))),
            (Length(5), "right and more", Ok(Some(5))),
            (Length(5), "rig", Ok(None)),
            (Length(MOST + 1), "", Err(Endless)),
            (UntilEnd, "", Err(Endless)),
            (Chunked, "5\r\nright\r\n0\r\n\r\nnext", Ok(Some(15))),
            (Chunked, "5;x=y\r\nright\r\n3\r\nand\r\n0\r\nA: b\r\nC: d\r\n\r\nnext", Ok(Some(39))),
            (Chunked, "5\r\nright\r\n0\r\nA: b\r\n", Ok(None)),
            (Chunked, "5\r\nright\r\n0\r\n", Ok(None)),
            (Chunked, "5\r\nrig", Ok(None)),
            (Chunked, "what\r\n", Err(Endless)),
            (Chunked, "10001\r\n", Err(Endless)),
            (Chunked, &long_line, Err(Endless)),
            (Chunked, &["0\r\n", &long_line].concat(), Err(Endless)),
            (Chunked, &many, Err(Endless)),
            (Chunked, &["0\r\n", &"A: b\r\n".repeat(20_000)].concat(), Err(Endless)),
        ] {
            for bytewise in [false, true] {
                let found = skipped(framing, input.as_bytes(), bytewise);
                assert_eq!(found, expected, "{framing:?} {:?}, {bytewise}", &input[..input.len().min(40)]);
            }
        }
    }
}
