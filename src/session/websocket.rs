//! The plaintext end of a session: first the opening handshake, then the open connection. Knows nothing of the hops
//! below.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::asking::Asking;
use super::opening::OpeningHandshake;
use super::serving::Serving;
use crate::http::Response;
use crate::protocol::Role;
use crate::protocol::buffer::Buffer;
use crate::protocol::connection::{Config, Connection};
use crate::protocol::deflate::NegotiatedParameters;
use crate::protocol::handshake::Request;

#[expect(clippy::large_enum_variant, reason = "a session has one of them, and soon it is the large one")]
#[derive(Debug)]
pub(super) enum WebSocket {
    /// The opening handshake, even after it has failed or was refused.
    Opening { handshake: OpeningHandshake, input: Buffer, output: Buffer, rng: StdRng },
    /// The open connection, with the response that completed the upgrade; a server's is empty.
    Open { connection: Connection, response: Response },
}

impl WebSocket {
    pub(super) fn new(handshake: OpeningHandshake, rng: StdRng) -> Self {
        Self::Opening { handshake, input: Buffer::default(), output: Buffer::default(), rng }
    }

    /// Completes the upgrade: the remaining input is frames.
    pub(super) fn open(
        &mut self,
        role: Role,
        config: Config,
        response: Response,
        compression: Option<NegotiatedParameters>,
    ) {
        if let Self::Opening { input, output, rng, .. } = self {
            let (input, output) = (std::mem::take(input), std::mem::take(output));
            let rng = StdRng::from_rng(rng);
            let connection = Connection::new(role, config, compression, rng, input, output);
            *self = Self::Open { connection, response };
        }
    }

    /// Bytes received but not yet interpreted.
    pub(super) fn input(&mut self) -> &mut Buffer {
        match self {
            Self::Opening { input, .. } => input,
            Self::Open { connection, .. } => connection.input(),
        }
    }

    pub(super) fn input_len(&self) -> usize {
        match self {
            Self::Opening { input, .. } => input.len(),
            Self::Open { connection, .. } => connection.input_len(),
        }
    }

    /// Whether no received bytes are held, not even those of the last event.
    pub(super) fn is_input_empty(&self) -> bool {
        match self {
            Self::Opening { input, .. } => input.is_empty(),
            Self::Open { connection, .. } => connection.is_input_empty(),
        }
    }

    /// Bytes to be sent.
    pub(super) fn output(&mut self) -> &mut Buffer {
        match self {
            Self::Opening { output, .. } => output,
            Self::Open { connection, .. } => connection.output(),
        }
    }

    pub(super) fn output_len(&self) -> usize {
        match self {
            Self::Opening { output, .. } => output.len(),
            Self::Open { connection, .. } => connection.output_len(),
        }
    }

    pub(super) fn connection(&self) -> Option<&Connection> {
        match self {
            Self::Opening { .. } => None,
            Self::Open { connection, .. } => Some(connection),
        }
    }

    pub(super) fn connection_mut(&mut self) -> Option<&mut Connection> {
        match self {
            Self::Opening { .. } => None,
            Self::Open { connection, .. } => Some(connection),
        }
    }

    /// The requests of a server that answers all kinds of them, and where its answers go.
    pub(super) fn serving_mut(&mut self) -> Option<(&mut Serving, &mut Buffer)> {
        match self {
            Self::Opening { handshake: OpeningHandshake::Serving(serving), output, .. } => {
                Some((serving, output))
            }
            _ => None,
        }
    }

    pub(super) fn serving(&self) -> Option<&Serving> {
        match self {
            Self::Opening { handshake: OpeningHandshake::Serving(serving), .. } => Some(serving),
            _ => None,
        }
    }

    /// The requests of a client that makes such.
    pub(super) fn asking(&self) -> Option<&Asking> {
        match self {
            Self::Opening { handshake: OpeningHandshake::Asking(asking), .. } => Some(asking),
            _ => None,
        }
    }

    /// The request that waits to be accepted or refused.
    pub(super) fn request(&self) -> Option<&Request> {
        match self {
            Self::Opening { handshake: OpeningHandshake::Requested(request), .. } => Some(request),
            _ => None,
        }
    }

    /// Client only: the response that completed or refused the upgrade, or that answers the last request.
    pub(super) fn response(&self) -> Option<&Response> {
        match self {
            Self::Opening { handshake: OpeningHandshake::Asking(asking), .. } => asking.response(),
            Self::Open { response, .. }
            | Self::Opening { handshake: OpeningHandshake::Over(response), .. } => Some(response),
            Self::Opening { .. } => None,
        }
    }
}
