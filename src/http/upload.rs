//! A body that is read to its end (RFC 9112 sections 6 and 7.1): strictly, up to a limit, and in whatever pieces it
//! arrives; that of a request, as a server reads it, or of a response. Knows nothing of what the bytes mean.

use std::fmt;

use super::body::{self, Framing};
use super::headers::Headers;
use crate::memory::{self, OutOfMemory};

/// The longest line of the framing of chunks: a size with its extensions, or a trailer.
const LONGEST_LINE: usize = 1024;

/// The most bytes of trailers, which are read and dropped.
const MOST_TRAILERS: usize = 8 * 1024;

/// Why a body is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// There is one, and none is taken.
    Unwanted,
    /// It is over the limit. Holds that, in bytes.
    TooLarge(usize),
    /// Content-Length does not say one number.
    Length,
    /// There is a Content-Length beside Transfer-Encoding: others may read the request in another way.
    TwoLengths,
    /// A transfer coding other than chunked.
    Coding,
    /// The chunks break the grammar.
    Chunks,
    OutOfMemory,
}

impl BodyError {
    /// The HTTP status that refuses the request.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::TooLarge(_) => 413,
            Self::Coding => 501,
            Self::OutOfMemory => 503,
            Self::Unwanted | Self::Length | Self::TwoLengths | Self::Chunks => 400,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwanted => f.write_str("the request has a body"),
            Self::TooLarge(most) => write!(f, "the body is over {most} bytes"),
            Self::Length => f.write_str("Content-Length is not one number"),
            Self::TwoLengths => f.write_str("both Content-Length and Transfer-Encoding"),
            Self::Coding => f.write_str("Transfer-Encoding is not chunked"),
            Self::Chunks => f.write_str("the chunks of the body are malformed"),
            Self::OutOfMemory => OutOfMemory.fmt(f),
        }
    }
}

impl std::error::Error for BodyError {}

impl From<OutOfMemory> for BodyError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// How the head of a request says that its body ends.
///
/// See [`BodyReader`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upload {
    /// After this many bytes; 0 for no body.
    Length(usize),
    Chunked,
}

impl Upload {
    /// Reads the headers (section 6.3).
    ///
    /// # Errors
    /// They can be read in more than one way.
    pub fn of(headers: &Headers) -> Result<Self, BodyError> {
        let mut lengths = headers.all("Content-Length");
        let (length, other) = (lengths.next(), lengths.next());
        let mut codings = headers.all("Transfer-Encoding").peekable();
        if codings.peek().is_some() {
            if length.is_some() {
                return Err(BodyError::TwoLengths);
            }
            let mut codings = headers.list("Transfer-Encoding");
            let is_chunked = codings.next().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"))
                && codings.next().is_none();
            return if is_chunked { Ok(Self::Chunked) } else { Err(BodyError::Coding) };
        }
        if other.is_some() {
            return Err(BodyError::Length);
        }
        let Some(value) = length else { return Ok(Self::Length(0)) };
        body::length(value).map(Self::Length).ok_or(BodyError::Length)
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// This many bytes of data, and then the end.
    Rest(usize),
    /// Data until the connection ends.
    UntilEnd,
    /// The line with the size of a chunk.
    Size,
    /// This many bytes of a chunk, and its line end.
    Chunk(usize),
    ChunkEnd,
    /// A trailer, or the blank line after them; this many bytes of trailers have come.
    Trailer(usize),
}

/// Reads a body that arrives in pieces.
///
/// ```
/// use luws::http::{BodyReader, Upload};
///
/// let mut reader = BodyReader::new(Upload::Chunked, 1000)?;
/// let (used, complete) = reader.read(b"2\r\nhi\r\n0\r\n\r\n")?;
/// assert_eq!((used, complete), (12, true));
/// assert_eq!(reader.into_bytes(), b"hi");
/// # Ok::<_, luws::http::BodyError>(())
/// ```
#[derive(Debug)]
pub struct BodyReader {
    part: Part,
    bytes: Vec<u8>,
    most: usize,
}

impl BodyReader {
    /// A reader for a body of at most `most` bytes; none is taken if that is 0.
    ///
    /// # Errors
    /// It is known from the head that the body cannot be taken.
    pub fn new(upload: Upload, most: usize) -> Result<Self, BodyError> {
        let part = match upload {
            Upload::Length(0) => Part::Rest(0),
            _ if most == 0 => return Err(BodyError::Unwanted),
            Upload::Length(length) if length > most => return Err(BodyError::TooLarge(most)),
            Upload::Length(length) => Part::Rest(length),
            Upload::Chunked => Part::Size,
        };
        Ok(Self { part, bytes: Vec::new(), most })
    }

    /// A reader for the body of a response, of at most `most` bytes. `framing` is what [`Framing::of_response`] says.
    ///
    /// # Errors
    /// It is known from the head that the body is larger, or that it has no end.
    pub fn of_response(framing: Option<Framing>, most: usize) -> Result<Self, BodyError> {
        let part = match framing.ok_or(BodyError::Length)? {
            Framing::Length(length) if length > most => return Err(BodyError::TooLarge(most)),
            Framing::Length(length) => Part::Rest(length),
            Framing::Chunked => Part::Size,
            Framing::UntilEnd => Part::UntilEnd,
        };
        Ok(Self { part, bytes: Vec::new(), most })
    }

    /// Whether only the end of the connection ends the body: then [`read`](Self::read) does not tell of it.
    #[must_use]
    pub fn is_until_end(&self) -> bool {
        self.part == Part::UntilEnd
    }

    /// Takes what belongs to the body from the start of `input`. Returns how many bytes those are, and whether the body
    /// is complete. The next call has the bytes after these.
    ///
    /// # Errors
    /// The body cannot be taken.
    pub fn read(&mut self, input: &[u8]) -> Result<(usize, bool), BodyError> {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            match self.part {
                Part::Rest(left) => {
                    let count = self.take(rest, left)?;
                    self.part = Part::Rest(left - count);
                    return Ok((used + count, left == count));
                }
                Part::UntilEnd => {
                    if rest.len() > self.most - self.bytes.len() {
                        return Err(BodyError::TooLarge(self.most));
                    }
                    return Ok((used + self.take(rest, rest.len())?, false));
                }
                Part::Chunk(left) => {
                    let count = self.take(rest, left)?;
                    used += count;
                    if count < left {
                        self.part = Part::Chunk(left - count);
                        return Ok((used, false));
                    }
                    self.part = Part::ChunkEnd;
                }
                Part::ChunkEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        used += 2;
                        self.part = Part::Size;
                    }
                    [] | [b'\r'] => return Ok((used, false)),
                    _ => return Err(BodyError::Chunks),
                },
                Part::Size => {
                    let Some(line) = line_of(rest)? else { return Ok((used, false)) };
                    used += line.len() + 2;
                    let size = size_of(line)?;
                    if size > self.most - self.bytes.len() {
                        return Err(BodyError::TooLarge(self.most));
                    }
                    self.part = if size == 0 { Part::Trailer(0) } else { Part::Chunk(size) };
                }
                Part::Trailer(before) => {
                    let Some(line) = line_of(rest)? else { return Ok((used, false)) };
                    used += line.len() + 2;
                    if line.is_empty() {
                        return Ok((used, true));
                    }
                    let length = before + line.len();
                    if length > MOST_TRAILERS {
                        return Err(BodyError::Chunks);
                    }
                    self.part = Part::Trailer(length);
                }
            }
        }
    }

    /// What has come.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn take(&mut self, rest: &[u8], most: usize) -> Result<usize, OutOfMemory> {
        let taken = &rest[..rest.len().min(most)];
        memory::reserve(&mut self.bytes, taken.len())?;
        self.bytes.extend_from_slice(taken);
        Ok(taken.len())
    }
}

/// The line at the start, without its end; `None` if that has not come.
fn line_of(bytes: &[u8]) -> Result<Option<&[u8]>, BodyError> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    if end.unwrap_or(bytes.len()) > LONGEST_LINE {
        return Err(BodyError::Chunks);
    }
    let Some(end) = end else { return Ok(None) };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(BodyError::Chunks)?;
    let is_text = line.iter().all(|byte| !byte.is_ascii_control() || *byte == b'\t');
    if is_text { Ok(Some(line)) } else { Err(BodyError::Chunks) }
}

/// The size at the start of a line, before its extensions.
fn size_of(line: &[u8]) -> Result<usize, BodyError> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let is_alone = matches!(line[digits..].trim_ascii_start().first(), None | Some(b';'));
    let size = std::str::from_utf8(&line[..digits]).ok().filter(|_| is_alone && (1..=16).contains(&digits));
    size.and_then(|digits| usize::from_str_radix(digits, 16).ok()).ok_or(BodyError::Chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> Headers {
        Headers(lines.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect())
    }

    #[test]
    fn the_length_of_a_body_can_be_read_in_one_way_only() {
        for (lines, expected) in [
            (&[][..], Ok(Upload::Length(0))),
            (&[("content-length", "0")], Ok(Upload::Length(0))),
            (&[("Content-Length", " 12 ")], Ok(Upload::Length(12))),
            (&[("Content-Length", "99999999999999999999999")], Ok(Upload::Length(usize::MAX))),
            (&[("Content-Length", "1, 1")], Err(BodyError::Length)),
            (&[("Content-Length", "1"), ("Content-Length", "1")], Err(BodyError::Length)),
            (&[("Content-Length", "+1")], Err(BodyError::Length)),
            (&[("Content-Length", "")], Err(BodyError::Length)),
            (&[("Transfer-Encoding", "Chunked")], Ok(Upload::Chunked)),
            (&[("Transfer-Encoding", "gzip, chunked")], Err(BodyError::Coding)),
            (&[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")], Err(BodyError::Coding)),
            (&[("Transfer-Encoding", "")], Err(BodyError::Coding)),
            (&[("Transfer-Encoding", "chunked"), ("Content-Length", "3")], Err(BodyError::TwoLengths)),
        ] {
            assert_eq!(Upload::of(&headers(lines)), expected, "{lines:?}");
        }
    }

    fn all(
        upload: Upload,
        most: usize,
        input: &[u8],
        piece: usize,
    ) -> Result<(String, usize, bool), BodyError> {
        let mut reader = BodyReader::new(upload, most)?;
        let (mut used, mut over) = (0, false);
        for end in (piece..=input.len()).step_by(piece) {
            let (count, is_over) = reader.read(&input[used..end])?;
            used += count;
            over = over || is_over;
            if over {
                break;
            }
        }
        Ok((String::from_utf8(reader.into_bytes()).unwrap(), used, over))
    }

    #[test]
    fn a_body_is_read_up_to_its_end_however_it_arrives() {
        let whole = |text: &str, used| Ok((text.to_owned(), used, true));
        for (upload, most, input, expected) in [
            (Upload::Length(0), 0, "rest", whole("", 0)),
            (Upload::Length(3), 3, "abcrest", whole("abc", 3)),
            (Upload::Length(4), 3, "", Err(BodyError::TooLarge(3))),
            (Upload::Length(4), 0, "", Err(BodyError::Unwanted)),
            (Upload::Chunked, 0, "", Err(BodyError::Unwanted)),
            (Upload::Chunked, 9, "0\r\n\r\nrest", whole("", 5)),
            (Upload::Chunked, 9, "3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nT: 1\r\n\r\nrest", whole("abcd", 29)),
            (Upload::Chunked, 3, "3\r\nabc\r\n1\r\n", Err(BodyError::TooLarge(3))),
            (Upload::Chunked, 9, "ffffffffffffffff\r\n", Err(BodyError::TooLarge(9))),
            (Upload::Chunked, 9, "3\nabc", Err(BodyError::Chunks)),
            (Upload::Chunked, 9, "3\r\nabcd\r\n", Err(BodyError::Chunks)),
            (Upload::Chunked, 9, "x\r\n", Err(BodyError::Chunks)),
            (Upload::Chunked, 9, "\r\n", Err(BodyError::Chunks)),
            (Upload::Chunked, 9, "1 1\r\n", Err(BodyError::Chunks)),
            (Upload::Chunked, 9, "1;\0\r\n", Err(BodyError::Chunks)),
        ] {
            for piece in [input.len().max(1), 1] {
                let read = match all(upload, most, input.as_bytes(), piece) {
                    // Without input there is nothing to read.
                    Ok((text, used, over)) => Ok((text, used, over || upload == Upload::Length(0))),
                    Err(error) => Err(error),
                };
                assert_eq!(read, expected, "{upload:?} {input:?} {piece}");
            }
        }
    }

    #[test]
    fn framing_without_an_end_is_refused() {
        let line = "1;".to_owned() + &"x".repeat(LONGEST_LINE);
        assert_eq!(all(Upload::Chunked, 9, line.as_bytes(), 1), Err(BodyError::Chunks));
        let trailers = "0\r\n".to_owned() + &"T: 1\r\n".repeat(MOST_TRAILERS / 4 + 2);
        assert_eq!(all(Upload::Chunked, 9, trailers.as_bytes(), 100), Err(BodyError::Chunks));
    }
}
