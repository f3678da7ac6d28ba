//! The hop of a session that is the opening handshake, of either role, as far as it has come.

use crate::protocol::buffer::Buffer;
use crate::protocol::error::HandshakeError;
use crate::protocol::handshake::{Accepted, ClientHandshake, Request, Response, ServerHandshake};

#[derive(Debug)]
pub(super) enum Upgrade {
    Client(ClientHandshake),
    Server(ServerHandshake),
    /// A request that waits for the server's decision.
    Requested(Request),
    /// Done, refused, or failed; a client's view of a refusal is the response.
    Over(Response),
}

/// How it went on.
#[derive(Debug)]
pub(super) enum Step {
    /// The head is not complete, or nothing is left to come.
    Wait,
    /// A server's: the request is [`Upgrade::Requested`] now.
    Requested,
    /// A client's: what follows are frames.
    Accepted(Accepted),
}

impl Upgrade {
    /// Takes the head from `input` that the other end has sent, if it is complete.
    ///
    /// # Errors
    /// It is over. What is left of the input is then the body of the response, if there was one.
    pub(super) fn step(&mut self, input: &mut Buffer) -> Result<Step, HandshakeError> {
        let result = match self {
            Self::Client(handshake) => handshake.parse(input.as_slice()).map(|found| match found {
                Some(accepted) => {
                    input.consume(accepted.length);
                    Step::Accepted(accepted)
                }
                None => Step::Wait,
            }),
            Self::Server(handshake) => handshake.parse(input.as_slice()).map(|found| match found {
                Some((request, length)) => {
                    input.consume(length);
                    *self = Self::Requested(request);
                    Step::Requested
                }
                None => Step::Wait,
            }),
            Self::Requested(_) | Self::Over(_) => Ok(Step::Wait),
        };
        result.inspect_err(|error| {
            let response = match (error, &*self) {
                (HandshakeError::Refused(response), Self::Client(handshake)) => {
                    input.consume(handshake.body_start());
                    (**response).clone()
                }
                _ => Response::default(),
            };
            *self = Self::Over(response);
        })
    }
}
