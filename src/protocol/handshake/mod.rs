//! The opening handshake of RFC 6455 section 4, both ends of it: HTTP heads in, HTTP heads out.
//!
//! The HTTP grammar is the `httparse` crate's; what the heads must say is judged here. Knows no
//! URLs and no frames. This file has what both ends need, each end has its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::{Digest, Sha1};

use super::error::HandshakeError;
use super::extensions::{self, Extension};

mod client;
mod server;

pub use client::{Accepted, ClientHandshake, Response, UpgradeRequest};
pub use server::{Request, ServerHandshake, refusal};

/// The longest head that is accepted, in bytes: request or response line, headers, blank line.
pub const MAX_HEAD: usize = 16 * 1024;

/// The most headers that are accepted.
pub const MAX_HEADERS: usize = 100;

/// Section 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Headers as they stood on the wire, in order. Names are compared without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, Vec<u8>)>);

impl Headers {
    fn from_httparse(headers: &[httparse::Header<'_>]) -> Self {
        Self(headers.iter().map(|header| (header.name.to_owned(), header.value.to_vec())).collect())
    }

    /// Every value of the header, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_slice())
    }

    /// The elements of a header that is a comma-separated list, over all its lines.
    fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.all(name).flat_map(|v| v.split(|b| *b == b',')).map(<[u8]>::trim_ascii).filter(|e| !e.is_empty())
    }

    /// What stands in Sec-WebSocket-Extensions, over all its lines (section 9.1).
    fn extensions(&self) -> Result<Vec<Extension>, String> {
        let lines: Vec<_> = self.all("Sec-WebSocket-Extensions").map(String::from_utf8_lossy).collect();
        extensions::parse(&lines.join(",")).map_err(|why| format!("Sec-WebSocket-Extensions: {why}"))
    }

    fn lists(&self, name: &str, token: &str) -> bool {
        self.list(name).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The value of a header that may stand only once.
    fn single<'a>(&'a self, name: &'a str) -> Result<Option<&'a [u8]>, String> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(format!("more than one {name} header")),
            (value, None) => Ok(value.map(<[u8]>::trim_ascii)),
        }
    }
}

/// A header that may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    name: String,
    value: Vec<u8>,
}

impl Header {
    /// The name must be a token (RFC 9110 section 5.6.2), the value stand on one line.
    ///
    /// # Errors
    /// Says what is wrong; with CR, LF or NUL in it, one header could smuggle in others.
    pub fn new(name: &str, value: &[u8]) -> Result<Self, String> {
        if !is_token(name) {
            return Err(format!("header name {name:?} is not a token"));
        }
        if value.iter().any(|b| *b < 0x20 && *b != b'\t' || *b == 0x7f) {
            return Err(format!("the value of header {name} has a control character in it"));
        }
        Ok(Self { name: name.to_owned(), value: value.to_vec() })
    }
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}

/// Sec-WebSocket-Accept for a key as it stood in the request (section 4.2.2, item 5.4).
fn accept_value(key: &[u8]) -> String {
    BASE64.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// The length of the head at the start of `input`, its blank line included. `scanned` remembers
/// how far earlier calls have looked, so that a head that drips in costs no more than another.
fn find_head(input: &[u8], scanned: &mut usize) -> Result<Option<usize>, HandshakeError> {
    let from = scanned.saturating_sub(3).min(input.len());
    let end = input[from..].windows(4).position(|w| w == b"\r\n\r\n").map(|at| from + at + 4);
    *scanned = input.len();
    if end.unwrap_or(input.len()) > MAX_HEAD {
        return Err(HandshakeError::invalid(format!("the head is over {MAX_HEAD} bytes")));
    }
    Ok(end)
}
