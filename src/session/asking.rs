//! The requests that a client makes on one connection, one after the other (RFC 9112 section 9.3): the counterpart of
//! [`serving`](super::serving). Does not decide what a response means.

use crate::http::body::Framing;
use crate::http::response::{MAX_HEAD, ResponseError};
use crate::http::{BodyError, BodyReader, Headers, Outgoing, Response, ResponseReader};
use crate::memory::OutOfMemory;
use crate::protocol::buffer::Buffer;
use crate::protocol::error::InvalidResponse;

#[derive(Debug)]
enum Stage {
    Head,
    Body(Box<Response>, BodyReader),
    /// The response has come, and another request may follow if `true`.
    Complete(Box<Response>, Vec<u8>, bool),
    Over,
}

#[derive(Debug)]
pub(super) struct Asking {
    reader: ResponseReader,
    stage: Stage,
    /// The most bytes of a body.
    most: usize,
    /// Whether the present response has no body, whatever its headers say.
    is_head: bool,
    /// The bytes of informational responses before the present one.
    informational: usize,
}

impl Asking {
    pub(super) fn new(request: &Outgoing, most: usize) -> Self {
        Self {
            reader: ResponseReader::default(),
            stage: Stage::Head,
            most,
            is_head: request.is_head(),
            informational: 0,
        }
    }

    /// Takes the response from `input`, as far as it has come. With `ended`, nothing more will. Returns whether it is
    /// complete now and was not before.
    ///
    /// # Errors
    /// It cannot be read, and nothing after it.
    pub(super) fn advance(&mut self, input: &mut Buffer, ended: bool) -> Result<bool, InvalidResponse> {
        if matches!(self.stage, Stage::Head) && !self.read_head(input)? {
            return Ok(false);
        }
        let Stage::Body(_, reader) = &mut self.stage else { return Ok(false) };
        let (used, is_complete) = reader.read(input.as_slice()).map_err(InvalidResponse::Body)?;
        input.consume(used);
        if !(is_complete || ended && reader.is_until_end()) {
            return Ok(false);
        }
        if let Stage::Body(response, reader) = std::mem::replace(&mut self.stage, Stage::Over) {
            let has = |name| response.headers.all(name).next().is_some();
            // With both, somebody before us may have seen another end (RFC 9112 section 6.3).
            let is_ambiguous = has("Transfer-Encoding") && has("Content-Length");
            let keeps_alive = response.version == 1
                && !response.headers.lists("Connection", "close")
                && !reader.is_until_end()
                && !is_ambiguous;
            self.stage = Stage::Complete(response, reader.into_bytes(), keeps_alive);
        }
        Ok(true)
    }

    /// Returns whether the head of the final response has come.
    fn read_head(&mut self, input: &mut Buffer) -> Result<bool, InvalidResponse> {
        loop {
            let read = self.reader.read(input.as_slice()).map_err(|error| match error {
                ResponseError::Tls => InvalidResponse::Tls,
                error => InvalidResponse::Http(error),
            })?;
            let Some((response, length)) = read else { return Ok(false) };
            input.consume(length);
            match response.status {
                // Nobody has asked for it.
                101 => return Err(InvalidResponse::Switched),
                // Informational responses may come before the final one (RFC 9110 section 15.2).
                100..=199 => {
                    self.informational += length;
                    if self.informational > MAX_HEAD {
                        return Err(InvalidResponse::TooManyInformational);
                    }
                }
                status => {
                    let framing = if self.is_head {
                        Some(Framing::Length(0))
                    } else {
                        Framing::of_response(status, &response.headers)
                    };
                    if framing != Some(Framing::Length(0)) && has_coding(&response.headers) {
                        return Err(InvalidResponse::Body(BodyError::Coding));
                    }
                    let reader =
                        BodyReader::of_response(framing, self.most).map_err(InvalidResponse::Body)?;
                    self.stage = Stage::Body(Box::new(response), reader);
                    return Ok(true);
                }
            }
        }
    }

    pub(super) fn response(&self) -> Option<&Response> {
        if let Stage::Complete(response, ..) = &self.stage { Some(response) } else { None }
    }

    pub(super) fn body(&self) -> Option<&[u8]> {
        if let Stage::Complete(_, body, _) = &self.stage { Some(body) } else { None }
    }

    pub(super) fn keeps_alive(&self) -> bool {
        matches!(self.stage, Stage::Complete(.., true))
    }
}

/// Whether a body is in another transfer coding than chunked. No request asks for one (RFC 9112 section 7.4), and its
/// bytes would not be those of the resource.
fn has_coding(headers: &Headers) -> bool {
    // "identity" is RFC 2616's word for no coding.
    let mut codings =
        headers.list("Transfer-Encoding").filter(|coding| !coding.eq_ignore_ascii_case(b"identity"));
    let first = codings.next();
    first.is_some_and(|first| !first.eq_ignore_ascii_case(b"chunked")) || codings.next().is_some()
}

/// Queues a request.
pub(super) fn queue(request: &Outgoing, body: &[u8], output: &mut Buffer) -> Result<(), OutOfMemory> {
    output.extend(&request.head(body.len()))?;
    output.extend(body)
}
