//! Finds the end of a body (RFC 9112 sections 6 and 7.1): after a number of bytes, after the last chunk, or when the
//! connection ends. Knows nothing of what the bytes mean.

use super::headers::Headers;

/// A body, as far as it has been received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    pub bytes: Vec<u8>,
    /// Whether it is complete.
    pub complete: bool,
}

/// How a body ends.
///
/// See [`Skipper`](super::skip::Skipper) for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After Content-Length, in bytes.
    Length(usize),
    /// After the last chunk.
    Chunked,
    /// When the connection ends.
    UntilEnd,
}

impl Framing {
    /// The framing of a response (section 6.3). A Content-Length that is not a number is ignored.
    #[must_use]
    pub fn of_response(status: u16, headers: &Headers) -> Self {
        if matches!(status, 100..=199 | 204 | 304) {
            return Self::Length(0);
        }
        if headers.lists("Transfer-Encoding", "chunked") {
            return Self::Chunked;
        }
        let length = headers.all("Content-Length").next().and_then(|value| std::str::from_utf8(value).ok());
        length.and_then(|text| text.trim().parse().ok()).map_or(Self::UntilEnd, Self::Length)
    }

    /// The body in `received`, the bytes after the head, but at most `most` bytes of it. With `ended`, nothing more will
    /// come.
    #[must_use]
    pub fn read(self, received: &[u8], ended: bool, most: usize) -> Body {
        let first = |length: usize| received[..received.len().min(length).min(most)].to_vec();
        match self {
            Self::Length(length) => Body { bytes: first(length), complete: received.len() >= length },
            Self::Chunked => chunks(received, most),
            Self::UntilEnd => Body { bytes: first(usize::MAX), complete: ended },
        }
    }
}

/// The data of the chunks, up to the last chunk or an invalid one, but at most `most` bytes.
fn chunks(mut rest: &[u8], most: usize) -> Body {
    let mut bytes = Vec::new();
    loop {
        let (start, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete((start, size))) => {
                (start, usize::try_from(size).unwrap_or(usize::MAX))
            }
            Ok(httparse::Status::Partial) => return Body { bytes, complete: false },
            Err(_) => return Body { bytes, complete: true },
        };
        if size == 0 {
            return Body { bytes, complete: true };
        }
        let data = &rest[start..];
        bytes.extend_from_slice(&data[..data.len().min(size).min(most - bytes.len())]);
        let Some(after) = data.get(size..).and_then(|after| after.get(b"\r\n".len()..)) else {
            return Body { bytes, complete: false };
        };
        rest = after;
    }
}
