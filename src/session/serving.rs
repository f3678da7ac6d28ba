//! The requests that a server reads on one connection, one after the other (RFC 9112 section 9.3). Each waits for its
//! answer before the next one is read. Does not decide what is answered.

use crate::http::{self, BodyReader, Reply, RequestReader, Upload};
use crate::memory::OutOfMemory;
use crate::protocol::buffer::Buffer;
use crate::protocol::error::{HandshakeError, InvalidRequest};
use crate::protocol::handshake::{self, check_http};

/// The result of advancing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// More bytes are needed, or an answer.
    Waiting,
    /// The head of a request has come.
    Head,
    /// The request is complete.
    Complete,
}

#[derive(Debug)]
enum Stage {
    Head,
    /// It waits to be told whether it may have a body.
    Told(Box<http::Request>, Upload),
    Body(Box<http::Request>, BodyReader),
    /// It waits for its answer.
    Complete(Box<http::Request>, Vec<u8>),
    /// Nothing more is read. What comes is dropped.
    Over,
}

#[derive(Debug)]
pub(super) struct Serving {
    reader: RequestReader,
    stage: Stage,
}

impl Default for Serving {
    fn default() -> Self {
        Self { reader: RequestReader::default(), stage: Stage::Head }
    }
}

impl Serving {
    /// Takes a request from `input`, as far as it has come.
    ///
    /// # Errors
    /// It cannot be read, and nothing after it.
    pub(super) fn advance(&mut self, input: &mut Buffer) -> Result<Served, HandshakeError> {
        let result = match &mut self.stage {
            Stage::Head => self.read_head(input),
            Stage::Body(..) => self.read_body(input),
            Stage::Told(..) | Stage::Complete(..) => Ok(Served::Waiting),
            Stage::Over => {
                input.clear();
                Ok(Served::Waiting)
            }
        };
        result.map_err(|error| {
            self.stage = Stage::Over;
            HandshakeError::Request(error)
        })
    }

    fn read_head(&mut self, input: &mut Buffer) -> Result<Served, InvalidRequest> {
        let read = self.reader.read(input.as_slice()).map_err(InvalidRequest::Http)?;
        let Some((request, length)) = read else { return Ok(Served::Waiting) };
        input.consume(length);
        let upload = check_http(&request)?;
        self.stage = Stage::Told(Box::new(request), upload);
        Ok(Served::Head)
    }

    fn read_body(&mut self, input: &mut Buffer) -> Result<Served, InvalidRequest> {
        let Stage::Body(_, reader) = &mut self.stage else { return Ok(Served::Waiting) };
        let (used, is_complete) = reader.read(input.as_slice())?;
        input.consume(used);
        if !is_complete {
            return Ok(Served::Waiting);
        }
        if let Stage::Body(request, reader) = std::mem::replace(&mut self.stage, Stage::Over) {
            self.stage = Stage::Complete(request, reader.into_bytes());
        }
        Ok(Served::Complete)
    }

    /// The request, from its head until it is answered.
    pub(super) fn request(&self) -> Option<&http::Request> {
        match &self.stage {
            Stage::Told(request, _) | Stage::Body(request, _) | Stage::Complete(request, _) => Some(request),
            Stage::Head | Stage::Over => None,
        }
    }

    pub(super) fn body(&self) -> Option<&[u8]> {
        if let Stage::Complete(_, body) = &self.stage { Some(body) } else { None }
    }

    /// Has a body of at most `most` bytes read. A client that waits for that is told to go on (RFC 9110 section
    /// 10.1.1).
    ///
    /// # Errors
    /// The body is not one that is taken. The request is still to be answered.
    pub(super) fn take_body(&mut self, most: usize, output: &mut Buffer) -> Result<(), InvalidRequest> {
        let Stage::Told(request, upload) = &self.stage else { return Ok(()) };
        let reader = BodyReader::new(*upload, most)?;
        let waits = *upload != Upload::Length(0) && request.headers.lists("Expect", "100-continue");
        if waits && output.extend(b"HTTP/1.1 100 Continue\r\n\r\n").is_err() {
            return Err(InvalidRequest::Http(http::RequestError::OutOfMemory));
        }
        if let Stage::Told(request, _) = std::mem::replace(&mut self.stage, Stage::Over) {
            self.stage = Stage::Body(request, reader);
        }
        Ok(())
    }

    /// The upgrade that the request asks for.
    ///
    /// # Errors
    /// See [`handshake::Request::upgrade`].
    pub(super) fn upgrade(&self) -> Result<handshake::Request, InvalidRequest> {
        match &self.stage {
            Stage::Complete(request, _) => handshake::Request::upgrade((**request).clone()),
            _ => Err(InvalidRequest::NotUpgrade),
        }
    }

    /// Answers the request. Returns whether another one may follow.
    ///
    /// # Errors
    /// There is no memory for the answer.
    pub(super) fn reply(
        &mut self,
        reply: &Reply<'_>,
        body: &[u8],
        output: &mut Buffer,
    ) -> Result<bool, OutOfMemory> {
        // Of an incomplete request, the rest would be taken for the next one.
        let keeps_alive = reply.keeps_alive && matches!(self.stage, Stage::Complete(..));
        self.stage = if keeps_alive { Stage::Head } else { Stage::Over };
        output.extend(&Reply { keeps_alive, ..*reply }.head())?;
        output.extend(body)?;
        Ok(keeps_alive)
    }
}
