//! Header fields (RFC 9110 section 5): received ones, and one to be sent. Knows no header by name.

use std::fmt;

use crate::memory::{self, OutOfMemory};

/// Headers as received, in order. Names are compared ignoring case.
///
/// ```
/// use luws::http::Headers;
///
/// let headers = Headers(vec![("Connection".into(), b"keep-alive, Upgrade".to_vec())]);
/// assert!(headers.lists("connection", "upgrade"));
/// assert_eq!(headers.single("Host"), Ok(None));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, Vec<u8>)>);

/// A header that may appear only once appears again. Holds its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateHeader(pub String);

impl fmt::Display for DuplicateHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than one {} header", self.0)
    }
}

impl std::error::Error for DuplicateHeader {}

impl Headers {
    /// Copies parsed headers.
    ///
    /// # Errors
    /// There is no memory.
    pub(super) fn from_httparse(headers: &[httparse::Header<'_>]) -> Result<Self, OutOfMemory> {
        let mut copies = Vec::new();
        memory::reserve(&mut copies, headers.len())?;
        for header in headers {
            copies.push((memory::text(header.name)?, unfolded(header.value)?));
        }
        Ok(Self(copies))
    }

    /// All values of the header, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_slice())
    }

    /// The elements of a header that is a comma-separated list (RFC 9110 section 5.6.1), from all its lines.
    pub fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.all(name).flat_map(|v| v.split(|b| *b == b',')).map(<[u8]>::trim_ascii).filter(|e| !e.is_empty())
    }

    /// Whether the header is a list that contains the token, ignoring case.
    #[must_use]
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.list(name).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The value of a header that may appear only once.
    ///
    /// # Errors
    /// The header appears more than once.
    pub fn single<'a>(&'a self, name: &'a str) -> Result<Option<&'a [u8]>, DuplicateHeader> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(DuplicateHeader(name.to_owned())),
            (value, None) => Ok(value.map(<[u8]>::trim_ascii)),
        }
    }
}

/// The value on one line: each line folding becomes a space (RFC 9112 section 5.2).
fn unfolded(value: &[u8]) -> Result<Vec<u8>, OutOfMemory> {
    if !value.contains(&b'\n') {
        return memory::copy(value);
    }
    let mut line = Vec::new();
    memory::reserve(&mut line, value.len())?;
    for part in value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|part| !part.is_empty()) {
        if !line.is_empty() {
            line.push(b' ');
        }
        line.extend_from_slice(part);
    }
    Ok(line)
}

/// A header that may be sent.
///
/// ```
/// use luws::http::Header;
///
/// assert_eq!(Header::new("X-Room", b"kitchen").unwrap().line(), b"X-Room: kitchen\r\n");
/// assert!(Header::new("X-Room", b"kitchen\r\nX-Other: 1").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    name: String,
    value: Vec<u8>,
}

/// Why a header may not be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// The name is not a token (RFC 9110 section 5.6.2).
    Name(String),
    /// The value of the header with this name contains a control character (section 5.5).
    Value(String),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "header name {name:?} is not a token"),
            Self::Value(name) => write!(f, "the value of header {name} has a control character in it"),
        }
    }
}

impl std::error::Error for HeaderError {}

impl Header {
    /// The name must be a token (RFC 9110 section 5.6.2), and the value must be on one line.
    ///
    /// # Errors
    /// See [`HeaderError`]. A value with CR, LF or NUL could smuggle in other headers.
    pub fn new(name: &str, value: &[u8]) -> Result<Self, HeaderError> {
        if !is_token(name) {
            return Err(HeaderError::Name(name.to_owned()));
        }
        if value.iter().any(|b| *b < 0x20 && *b != b'\t' || *b == 0x7f) {
            return Err(HeaderError::Value(name.to_owned()));
        }
        Ok(Self { name: name.to_owned(), value: value.to_vec() })
    }

    /// Whether this is its name, ignoring case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The header as a line of a head, including the line ending.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        [self.name.as_bytes(), b": ", &self.value, b"\r\n"].concat()
    }
}

/// Whether the text is a token (RFC 9110 section 5.6.2).
#[must_use]
pub fn is_token(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_cannot_smuggle_in_others() {
        for (name, value, ok) in [
            ("X-Key", "value", true),
            ("X-Key", "", true),
            ("X-Key", "tab\there", true),
            ("X-Key", "ümlaut", true),
            ("X Key", "value", false),
            ("", "value", false),
            ("X:", "value", false),
            ("X-Key\r\nEvil", "value", false),
            ("X-Key", "value\r\nEvil: 1", false),
            ("X-Key", "value\n", false),
            ("X-Key", "nul\0", false),
        ] {
            assert_eq!(Header::new(name, value.as_bytes()).is_ok(), ok, "{name:?}: {value:?}");
        }
    }

    #[test]
    fn a_folded_value_becomes_one_line() {
        for (value, line) in [
            ("one", "one"),
            ("one  two", "one  two"),
            ("one\r\n two", "one two"),
            ("one \n\t two", "one two"),
            ("one\r\n \r\n two", "one two"),
        ] {
            assert_eq!(unfolded(value.as_bytes()), Ok(line.into()), "{value:?}");
        }
    }
}
