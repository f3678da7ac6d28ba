//! Whose the plaintext of a session is: the opening handshake's, and then the frames'.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::upgrade::Upgrade;
use crate::protocol::Role;
use crate::protocol::buffer::Buffer;
use crate::protocol::connection::{Config, Connection};
use crate::protocol::deflate::Agreement;
use crate::protocol::handshake::Response;

#[expect(clippy::large_enum_variant, reason = "a session has one of them, and soon it is the large one")]
#[derive(Debug)]
pub(super) enum Stage {
    /// Or what is left of it, when it has failed or was refused.
    Opening { upgrade: Upgrade, input: Buffer, output: Buffer, rng: StdRng },
    /// The response completed the upgrade; a server's is empty.
    Open { connection: Connection, response: Response },
}

impl Stage {
    pub(super) fn new(upgrade: Upgrade, rng: StdRng) -> Self {
        Self::Opening { upgrade, input: Buffer::default(), output: Buffer::default(), rng }
    }

    /// The upgrade is complete: what came behind it are frames.
    pub(super) fn open(
        &mut self,
        role: Role,
        config: Config,
        response: Response,
        compression: Option<Agreement>,
    ) {
        if let Self::Opening { input, output, rng, .. } = self {
            let (input, output) = (std::mem::take(input), std::mem::take(output));
            let rng = StdRng::from_rng(rng);
            let connection = Connection::new(role, config, compression, rng, input, output);
            *self = Self::Open { connection, response };
        }
    }

    /// What came and was not interpreted yet.
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

    /// What is to be sent.
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

    /// A client's view: the response that completed the upgrade or refused it.
    pub(super) fn response(&self) -> Option<&Response> {
        match self {
            Self::Open { response, .. } | Self::Opening { upgrade: Upgrade::Over(response), .. } => {
                Some(response)
            }
            Self::Opening { .. } => None,
        }
    }
}
