//! Finds the end of a body (RFC 9112 sections 6 and 7.1): after a number of bytes, after the last chunk, or when the
//! connection ends. Knows nothing of what the bytes mean.

use super::headers::Headers;
use super::reply::has_body;

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
    /// The framing of a response (section 6.3); `None` if Content-Length does not say one number: nobody knows where
    /// such a body ends.
    #[must_use]
    pub fn of_response(status: u16, headers: &Headers) -> Option<Self> {
        if !has_body(status) {
            return Some(Self::Length(0));
        }
        if let Some(coding) = headers.list("Transfer-Encoding").last() {
            let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
            return Some(if is_chunked { Self::Chunked } else { Self::UntilEnd });
        }
        // A server may say the same number more than once.
        let mut lengths =
            headers.all("Content-Length").flat_map(|value| value.split(|byte| *byte == b',')).map(length);
        let Some(first) = lengths.next() else { return Some(Self::UntilEnd) };
        first.filter(|_| lengths.all(|other| other == first)).map(Self::Length)
    }

    /// The body in `received`, the bytes after the head, but at most `most` bytes of it. With `ended`, nothing more
    /// will come.
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

/// The number that is written here, in digits only; one that is too large to be one is over every limit.
pub(super) fn length(value: &[u8]) -> Option<usize> {
    let digits = value.trim_ascii();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
    Some(number.parse().unwrap_or(usize::MAX))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_of_a_response_ends_where_its_head_says() {
        use Framing::{Chunked, Length, UntilEnd};
        const TE: &str = "Transfer-Encoding";
        const CL: &str = "content-length";
        for (status, lines, expected) in [
            (200, &[][..], Some(UntilEnd)),
            (200, &[(CL, "5")], Some(Length(5))),
            (200, &[(CL, " 5 ")], Some(Length(5))),
            (200, &[(CL, "99999999999999999999999")], Some(Length(usize::MAX))),
            (200, &[(CL, "5"), (CL, "5")], Some(Length(5))),
            (200, &[(CL, "5, 5")], Some(Length(5))),
            (200, &[(CL, "2"), (CL, "5")], None),
            (200, &[(CL, "5, 2")], None),
            (200, &[(CL, "+5")], None),
            (200, &[(CL, "-5")], None),
            (200, &[(CL, "five")], None),
            (200, &[(CL, "")], None),
            (204, &[(CL, "five")], Some(Length(0))),
            (304, &[(CL, "5")], Some(Length(0))),
            (200, &[(TE, "Chunked")], Some(Chunked)),
            (200, &[(TE, "gzip, chunked"), (CL, "5")], Some(Chunked)),
            (200, &[(TE, "gzip"), (TE, "chunked")], Some(Chunked)),
            (200, &[(TE, "gzip"), (CL, "5")], Some(UntilEnd)),
            (200, &[(TE, "chunked, gzip")], Some(UntilEnd)),
        ] {
            let copies =
                lines.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
            assert_eq!(Framing::of_response(status, &Headers(copies)), expected, "{status} {lines:?}");
        }
    }
}
