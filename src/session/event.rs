//! What a session tells its owner.

use std::fmt;

use crate::protocol::connection;
use crate::protocol::error::{HandshakeError, ProtocolError};
use crate::protocol::handshake::{Request, Response};
use crate::proxy::sockproxy::ProxyError;
use crate::tls::TlsError;

/// Why a session is over, by the hop that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The system has no random numbers to give.
    Random(String),
    Proxy(ProxyError),
    Tls(TlsError),
    Handshake(HandshakeError),
    Protocol(ProtocolError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(error) => write!(f, "no random numbers: {error}"),
            Self::Proxy(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
            Self::Handshake(error) => error.fmt(f),
            Self::Protocol(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

/// What has happened. Borrowed from the session: use it before the next call.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A server's first event: answer with [`Session::accept`](super::Session::accept) or
    /// [`Session::refuse`](super::Session::refuse).
    Request(&'a Request),
    /// A client's first event: the upgrade is complete.
    Open(&'a Response),
    /// What the peer sent.
    Received(connection::Event<'a>),
}

/// How much a read has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intake {
    /// Bytes on the wire.
    pub wire: usize,
    /// Bytes of plaintext, for TLS may hold back an incomplete record, or have held one back before.
    pub plain: usize,
}
