//! The lenient reader of responses, for clients: accepts everything that RFC 9112 allows a client to accept. Knows no
//! particular header except those that measure a body.
//!
//! Section 2.2 allows LF alone as a line ending, section 4 more than one space in the status line, section 5.1 spaces
//! before a colon, and section 5.2 folded lines. As in browsers, empty lines may come before the status line, and the
//! name of HTTP may be in lower case. The size of the head is limited, the number of headers is not.

use std::borrow::Cow;
use std::{fmt, iter};

use httparse::ParserConfig;

use super::body::{Body, Framing};
use super::head::{FreshLines, HeadFinder, LineEnds};
use super::headers::Headers;
use crate::memory::{self, OutOfMemory};
use crate::text::excerpt;

/// The maximum length of a response's head, in bytes: status line, headers, blank line.
pub const MAX_HEAD: usize = 64 * 1024;

/// The head of a response.
///
/// See [`ResponseReader`] for an example.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The minor version of HTTP/1.
    pub version: u8,
    pub status: u16,
    pub reason: String,
    pub headers: Headers,
}

impl Response {
    /// The first line, such as `HTTP/1.1 404 Not Found`.
    #[must_use]
    pub fn status_line(&self) -> String {
        format!("HTTP/1.{} {} {}", self.version, self.status, self.reason).trim_end().to_owned()
    }

    /// The body, as far as it has come, but at most `most` bytes of it. `received` holds the bytes after the head; with
    /// `ended`, nothing more will come.
    #[must_use]
    pub fn body(&self, received: &[u8], ended: bool, most: usize) -> Body {
        let framing = Framing::of_response(self.status, &self.headers);
        framing.unwrap_or(Framing::UntilEnd).read(received, ended, most)
    }
}

/// Why a response cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// The answer is a TLS alert, not HTTP.
    Tls,
    /// The answer is not HTTP/1. Holds its beginning, escaped.
    NotHttp(String),
    /// The head is over [`MAX_HEAD`] bytes.
    TooLong,
    /// The head breaks the grammar of RFC 9112. Holds where.
    Malformed(String),
    /// There is no memory for the headers.
    OutOfMemory,
}

impl From<OutOfMemory> for ResponseError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls => f.write_str("the answer is TLS"),
            Self::NotHttp(start) => write!(f, "the answer is not HTTP: \"{start}\""),
            Self::TooLong => write!(f, "the head is over {MAX_HEAD} bytes"),
            Self::Malformed(why) => f.write_str(why),
            Self::OutOfMemory => OutOfMemory.fmt(f),
        }
    }
}

impl std::error::Error for ResponseError {}

/// Reads responses that arrive in pieces.
///
/// ```
/// use luws::http::ResponseReader;
///
/// let (response, _length) = ResponseReader::default().read(b"HTTP/1.1 404 Not Found\r\n\r\n")?.unwrap();
/// assert_eq!(response.status, 404);
/// # Ok::<_, luws::http::ResponseError>(())
/// ```
#[derive(Debug)]
pub struct ResponseReader {
    finder: HeadFinder,
    lines: FreshLines,
}

impl Default for ResponseReader {
    fn default() -> Self {
        Self { finder: HeadFinder::new(LineEnds::Lenient, MAX_HEAD), lines: FreshLines::default() }
    }
}

impl ResponseReader {
    /// The response at the start of `input` and the length of its head in bytes, or `None` if it is incomplete. `input`
    /// is the previous call's with the bytes received since; after a response, it starts after that one's head.
    ///
    /// # Errors
    /// See [`ResponseError`]. Anything other than HTTP is detected at its first byte, and a faulty line when it is
    /// complete, not by a time-out.
    pub fn read(&mut self, input: &[u8]) -> Result<Option<(Response, usize)>, ResponseError> {
        let blank = input.iter().take_while(|byte| b"\r\n".contains(byte)).count();
        let head = &input[blank..];
        check_start(head)?;
        let found = self.finder.find(head);
        if let Ok(Some(length)) = found {
            self.lines = FreshLines::default();
            let response = parse(&head[..length])?;
            let response =
                response.ok_or_else(|| ResponseError::Malformed("the head is incomplete".into()))?;
            return Ok(Some((response, blank + length)));
        }
        let (count, lines) = self.lines.take(&head[..head.len().min(MAX_HEAD)]);
        let before: &[u8] = match count {
            0 => b"",
            1 => b"HTTP/1.1 200\r\n",
            _ => b"HTTP/1.1 200\r\nX:\r\n", // the first of these lines may be a fold of the one before it
        };
        parse(&[before, lines].concat())?;
        if found.is_err() || input.len() > MAX_HEAD { Err(ResponseError::TooLong) } else { Ok(None) }
    }
}

/// Fails as soon as the bytes cannot become an HTTP/1 response.
fn check_start(input: &[u8]) -> Result<(), ResponseError> {
    const START: &[u8] = b"HTTP/1.";
    /// The first byte of an alert, which answers what was read as a ClientHello (RFC 8446 section 5.1).
    const TLS_ALERT: u8 = 0x15;
    let count = input.len().min(START.len());
    if input[..count].eq_ignore_ascii_case(&START[..count]) {
        return Ok(());
    }
    if input.first() == Some(&TLS_ALERT) {
        return Err(ResponseError::Tls);
    }
    let line = input.split(|b| *b == b'\r' || *b == b'\n').next().unwrap_or_default();
    Err(ResponseError::NotHttp(excerpt(line, 60)))
}

/// The response whose head this is; `None` if it is incomplete.
fn parse(head: &[u8]) -> Result<Option<Response>, ResponseError> {
    // Every header takes at least one line.
    let lines = head.split(|byte| *byte == b'\n').count();
    let head = in_upper_case(head);
    let mut headers = memory::collect(iter::repeat_n(httparse::EMPTY_HEADER, lines))?;
    let mut parsed = httparse::Response::new(&mut headers);
    let result = ParserConfig::default()
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .parse_response(&mut parsed, &head);
    let status = result.map_err(|error| ResponseError::Malformed(error.to_string()))?;
    if status != httparse::Status::Complete(head.len()) {
        return Ok(None);
    }
    Ok(Some(Response {
        version: parsed.version.unwrap_or_default(),
        status: parsed.code.unwrap_or_default(),
        reason: memory::text(parsed.reason.unwrap_or_default())?,
        headers: Headers::from_httparse(parsed.headers)?,
    }))
}

/// The head with the name of HTTP in upper case, which is the only one that the parser knows.
fn in_upper_case(head: &[u8]) -> Cow<'_, [u8]> {
    const NAME: &[u8] = b"HTTP";
    match head.get(..NAME.len()) {
        Some(name) if name != NAME => [NAME, &head[NAME.len()..]].concat().into(),
        _ => head.into(),
    }
}
