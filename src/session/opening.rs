//! The opening-handshake hop of a session, for either role. Knows nothing of the hops below it.

use super::asking::Asking;
use super::failure::{Failure, Hop, Kind};
use super::serving::{Served, Serving};
use crate::http::Response;
use crate::protocol::buffer::Buffer;
use crate::protocol::error::HandshakeError;
use crate::protocol::handshake::{self, Accepted, ClientHandshake, Request, ServerHandshake};

#[derive(Debug)]
pub(super) enum OpeningHandshake {
    Client(ClientHandshake),
    Server(ServerHandshake),
    /// A server that answers requests of all kinds, one after the other.
    Serving(Serving),
    /// A client that makes requests, one after the other.
    Asking(Asking),
    /// A request that waits for the server's decision.
    Requested(Request),
    /// Refused or failed. For a client that was refused, holds the response.
    Over(Response),
}

/// The result of advancing the handshake.
#[derive(Debug)]
pub(super) enum Progress {
    /// The head is not complete, or the handshake is over.
    Waiting,
    /// Server only: the request is [`OpeningHandshake::Requested`] now.
    Requested,
    /// Client only: frames follow.
    Accepted(Accepted),
    /// [`OpeningHandshake::Serving`] only: the head of a request has come, or all of it.
    Head,
    Body,
    /// [`OpeningHandshake::Asking`] only: the response has come.
    Response,
}

impl OpeningHandshake {
    /// Takes the peer's head from `input`, if it is complete. A server's answer to an invalid one is added to `output`.
    /// With `ended`, nothing more will come.
    ///
    /// # Errors
    /// The handshake is over. The rest of the input is then the body of the response, if there was one.
    pub(super) fn advance(
        &mut self,
        input: &mut Buffer,
        output: &mut Buffer,
        ended: bool,
    ) -> Result<Progress, Failure> {
        let result = match self {
            Self::Client(handshake) => handshake.parse(input.as_slice()).map(|accepted| match accepted {
                Some(accepted) => {
                    input.consume(accepted.length);
                    Progress::Accepted(accepted)
                }
                None => Progress::Waiting,
            }),
            Self::Server(handshake) => handshake.parse(input.as_slice()).map(|request| match request {
                Some((request, length)) => {
                    input.consume(length);
                    *self = Self::Requested(request);
                    Progress::Requested
                }
                None => Progress::Waiting,
            }),
            Self::Serving(serving) => serving.advance(input).map(|served| match served {
                Served::Waiting => Progress::Waiting,
                Served::Head => Progress::Head,
                Served::Complete => Progress::Body,
            }),
            Self::Asking(asking) => match asking.advance(input, ended) {
                Ok(true) => Ok(Progress::Response),
                Ok(false) => Ok(Progress::Waiting),
                Err(error) => Err(HandshakeError::Response(error)),
            },
            Self::Requested(_) | Self::Over(_) => Ok(Progress::Waiting),
        };
        result.map_err(|error| self.end(error, input, output))
    }

    fn end(&mut self, error: HandshakeError, input: &mut Buffer, output: &mut Buffer) -> Failure {
        let kind = if matches!(error, HandshakeError::Refused(_)) { Kind::Refused } else { Kind::Handshake };
        let mut failure = Failure::new(Hop::Upgrade, kind, &error);
        if let HandshakeError::Request(error) = &error {
            failure.status = Some(error.status());
            // Without memory for it, the peer sees only the end of the connection.
            let _ = output.extend(&handshake::refusal(error.status(), &failure.text));
        }
        match self {
            Self::Client(handshake) => input.consume(handshake.body_start()),
            Self::Serving(_) => return failure, // it drops what still comes
            _ => {}
        }
        *self = Self::Over(match error {
            HandshakeError::Refused(response) => *response,
            HandshakeError::Response(_) | HandshakeError::Request(_) => Response::default(),
        });
        failure
    }
}
