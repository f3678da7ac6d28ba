//! The strict reader of requests, for servers: rejects a head that could be read in two ways, as soon as the line that
//! shows it has come. Knows no particular method, target or header.

use std::fmt;

use super::head::{FreshLines, HeadFinder, LineEnds};
use super::headers::Headers;
use crate::memory::OutOfMemory;

/// The maximum length of a request's head, in bytes: request line, headers, blank line.
pub const MAX_HEAD: usize = 16 * 1024;

/// The maximum number of headers in a request.
pub const MAX_HEADERS: usize = 100;

/// The head of a request.
///
/// See [`RequestReader`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// As sent: usually path and query (RFC 9112 section 3.2).
    pub target: String,
    /// The minor version of HTTP/1.
    pub version: u8,
    pub headers: Headers,
}

/// Why a request cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// A TLS ClientHello, not HTTP.
    Tls,
    /// The head is over [`MAX_HEAD`] bytes.
    TooLong,
    /// The first line alone is that long.
    TargetTooLong,
    /// The head breaks the grammar of RFC 9112. Holds where.
    Malformed(String),
    /// There is no memory for the headers.
    OutOfMemory,
}

impl From<OutOfMemory> for RequestError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls => f.write_str("the request is TLS"),
            Self::TooLong => write!(f, "the head is over {MAX_HEAD} bytes"),
            Self::TargetTooLong => write!(f, "the request line is over {MAX_HEAD} bytes"),
            Self::Malformed(why) => f.write_str(why),
            Self::OutOfMemory => OutOfMemory.fmt(f),
        }
    }
}

impl std::error::Error for RequestError {}

/// Reads a request that arrives in pieces.
///
/// ```
/// use luws::http::RequestReader;
///
/// let mut reader = RequestReader::default();
/// assert_eq!(reader.read(b"GET / HTTP/1.1\r\nHost:")?, None); // more is needed
/// let (request, length) = reader.read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest")?.unwrap();
/// assert_eq!((request.method.as_str(), length), ("GET", 27));
/// # Ok::<_, luws::http::RequestError>(())
/// ```
#[derive(Debug)]
pub struct RequestReader {
    finder: HeadFinder,
    lines: FreshLines,
}

impl Default for RequestReader {
    fn default() -> Self {
        Self { finder: HeadFinder::new(LineEnds::Strict, MAX_HEAD), lines: FreshLines::default() }
    }
}

impl RequestReader {
    /// The request at the start of `input` and the length of its head in bytes, or `None` if it is incomplete. `input`
    /// is the previous call's with the bytes received since; after a request, it starts after that one's head.
    ///
    /// # Errors
    /// See [`RequestError`]. What cannot become a request is detected as it comes, not by a time-out.
    pub fn read(&mut self, input: &[u8]) -> Result<Option<(Request, usize)>, RequestError> {
        /// The first byte of a record with a ClientHello (RFC 8446 section 5.1).
        const TLS_HANDSHAKE: u8 = 0x16;
        if input.first() == Some(&TLS_HANDSHAKE) {
            return Err(RequestError::Tls);
        }
        // RFC 9112 section 2.2: empty lines before a request are ignored.
        let blank =
            input.chunks(2).take_while(|chunk| b"\r\n".starts_with(chunk)).map(<[u8]>::len).sum::<usize>();
        let head = &input[blank..];
        let found = self.finder.find(head);
        if let Ok(Some(length)) = found {
            self.lines = FreshLines::default();
            let request = parse(&head[..length], MAX_HEADERS)?;
            let request = request.ok_or_else(|| malformed("the head is incomplete"))?;
            return Ok(Some((request, blank + length)));
        }
        let (count, lines) = self.lines.take(&head[..head.len().min(MAX_HEAD)]);
        let before: &[u8] = if count == 0 { b"" } else { b"GET / HTTP/1.1\r\n" };
        // All lines but the first are headers.
        parse(&[before, lines].concat(), MAX_HEADERS.saturating_sub(count.saturating_sub(1)))?;
        if found.is_ok() && input.len() <= MAX_HEAD {
            return Ok(None);
        }
        let has_line = head.iter().take(MAX_HEAD).any(|byte| *byte == b'\n');
        Err(if has_line { RequestError::TooLong } else { RequestError::TargetTooLong })
    }
}

fn malformed(why: &str) -> RequestError {
    RequestError::Malformed(why.to_owned())
}

/// The request whose head this is, with at most `most` headers; `None` if it is incomplete.
fn parse(head: &[u8], most: usize) -> Result<Option<Request>, RequestError> {
    let lines = head.split_inclusive(|byte| *byte == b'\n');
    let is_strict = |line: &&[u8]| !line.ends_with(b"\n") || line.ends_with(b"\r\n");
    let strict = lines.take_while(is_strict).map(<[u8]>::len).sum::<usize>();
    // What is wrong in a line comes before its wrong end, as it does if the line arrives in pieces.
    let end = head[strict..].iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers[..most]);
    let status = parsed.parse(&head[..strict + end]).map_err(|error| malformed(&error.to_string()))?;
    if strict < head.len() {
        return Err(malformed("a line does not end with CR LF"));
    }
    if status != httparse::Status::Complete(head.len()) {
        return Ok(None);
    }
    Ok(Some(Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().to_owned(),
        version: parsed.version.unwrap_or_default(),
        headers: Headers::from_httparse(parsed.headers)?,
    }))
}
