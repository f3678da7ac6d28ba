//! A request that a client sends (RFC 9112 section 3). Knows no particular method, target or header, except those that
//! say where the message ends.

use std::fmt;

use super::headers::{Header, is_token};

/// A request without its body. A value that exists is valid.
///
/// ```
/// use luws::http::Outgoing;
///
/// let request = Outgoing::new("GET", "example.com", "/").unwrap();
/// assert!(request.head(0).starts_with(b"GET / HTTP/1.1\r\nHost: example.com\r\n"));
/// ```
#[derive(Clone, Debug)]
pub struct Outgoing {
    method: String,
    host: String,
    resource: String,
    headers: Vec<Header>,
}

/// Which part of a request cannot be sent. Holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutgoingError {
    Method(String),
    Host(String),
    Resource(String),
}

impl fmt::Display for OutgoingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method(method) => write!(f, "method {method:?} is not a token"),
            Self::Host(host) => write!(f, "host {host:?} has a forbidden character in it"),
            Self::Resource(resource) => write!(f, "resource {resource:?} has a forbidden character in it"),
        }
    }
}

impl std::error::Error for OutgoingError {}

impl Outgoing {
    /// Takes the method, the value of the Host header, and path and query.
    ///
    /// # Errors
    /// See [`OutgoingError`].
    pub fn new(method: &str, host: &str, resource: &str) -> Result<Self, OutgoingError> {
        let visible = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        if !is_token(method) {
            return Err(OutgoingError::Method(method.to_owned()));
        }
        if host.is_empty() || !visible(host) {
            return Err(OutgoingError::Host(host.to_owned()));
        }
        if !resource.starts_with('/') || !visible(resource) {
            return Err(OutgoingError::Resource(resource.to_owned()));
        }
        Ok(Self { method: method.into(), host: host.into(), resource: resource.into(), headers: Vec::new() })
    }

    /// Adds a header, which is none of those that say where the message ends.
    pub fn add(&mut self, header: Header) {
        self.headers.push(header);
    }

    /// Whether the response has no body, whatever its headers say (RFC 9112 section 6.3).
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// The head, for a body of this many bytes, up to its blank line. If there is none, the length is only told for the
    /// methods that usually have one (RFC 9110 section 8.6).
    #[must_use]
    pub fn head(&self, length: usize) -> Vec<u8> {
        let Self { method, host, resource, .. } = self;
        let mut head = format!("{method} {resource} HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
        head.extend(self.headers.iter().flat_map(Header::line));
        if length > 0 || ["POST", "PUT", "PATCH"].contains(&method.as_str()) {
            head.extend(format!("Content-Length: {length}\r\n").into_bytes());
        }
        head.extend(b"\r\n");
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_says_where_the_message_ends() {
        for (method, length, expected) in [
            ("GET", 0, "GET /a?b HTTP/1.1\r\nHost: h:1\r\nX: y\r\n\r\n"),
            ("GET", 2, "GET /a?b HTTP/1.1\r\nHost: h:1\r\nX: y\r\nContent-Length: 2\r\n\r\n"),
            ("POST", 0, "POST /a?b HTTP/1.1\r\nHost: h:1\r\nX: y\r\nContent-Length: 0\r\n\r\n"),
        ] {
            let mut request = Outgoing::new(method, "h:1", "/a?b").unwrap();
            request.add(Header::new("X", b"y").unwrap());
            assert_eq!(request.head(length), expected.as_bytes(), "{method} {length}");
        }
    }

    #[test]
    fn what_would_be_another_request_is_refused() {
        for (method, host, resource, expected) in [
            ("GET /", "h", "/", OutgoingError::Method("GET /".into())),
            ("", "h", "/", OutgoingError::Method(String::new())),
            ("GET", "", "/", OutgoingError::Host(String::new())),
            ("GET", "h\r\nX: y", "/", OutgoingError::Host("h\r\nX: y".into())),
            ("GET", "h", "x", OutgoingError::Resource("x".into())),
            ("GET", "h", "/ HTTP/1.1", OutgoingError::Resource("/ HTTP/1.1".into())),
        ] {
            assert_eq!(Outgoing::new(method, host, resource).unwrap_err(), expected);
        }
    }
}
