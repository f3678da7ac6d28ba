//! The strict reader of requests, for servers: rejects a head that could be read in two ways. Knows no particular
//! method, target or header.

use std::fmt;

use super::head::{HeadFinder, LineEnds};
use super::headers::Headers;

/// The maximum length of a request's head, in bytes: request line, headers, blank line.
pub const MAX_HEAD: usize = 16 * 1024;

/// The maximum number of headers in a request.
pub const MAX_HEADERS: usize = 100;

/// The head of a request.
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
    /// The head is over [`MAX_HEAD`] bytes.
    TooLong,
    /// The head breaks the grammar of RFC 9112. Holds where.
    Malformed(String),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the head is over {MAX_HEAD} bytes"),
            Self::Malformed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for RequestError {}

/// Reads a request that arrives in pieces.
#[derive(Debug)]
pub struct RequestReader(HeadFinder);

impl Default for RequestReader {
    fn default() -> Self {
        Self(HeadFinder::new(LineEnds::Strict, MAX_HEAD))
    }
}

impl RequestReader {
    /// The request at the start of `input` and the length of its head in bytes, or `None` if it is incomplete. `input`
    /// is the previous call's with the bytes received since.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn read(&mut self, input: &[u8]) -> Result<Option<(Request, usize)>, RequestError> {
        match self.0.find(input) {
            Ok(None) => Ok(None),
            Ok(Some(length)) => parse(&input[..length]).map(|request| Some((request, length))),
            Err(_) => Err(RequestError::TooLong),
        }
    }
}

fn parse(head: &[u8]) -> Result<Request, RequestError> {
    let malformed = |why: &str| RequestError::Malformed(why.to_owned());
    let lines = head.split_inclusive(|byte| *byte == b'\n');
    if lines.into_iter().any(|line| !line.ends_with(b"\r\n")) {
        return Err(malformed("a line does not end with CR LF"));
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(malformed("the head is incomplete")),
        Err(error) => return Err(malformed(&error.to_string())),
    }
    Ok(Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().to_owned(),
        version: parsed.version.unwrap_or_default(),
        headers: Headers::from_httparse(parsed.headers),
    })
}
