//! Failures of a session: which hop failed, how, in what words, and whether the owner has been told. Knows nothing of
//! what happened before a failure.

use std::fmt;

use crate::memory::OutOfMemory;
use crate::protocol::close_code::CloseCode;
use crate::text::shown;

/// The parts of a session, in their order.
///
/// See [`Failure`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    Proxy,
    Tls,
    /// The opening handshake.
    Upgrade,
    /// The open connection.
    Frames,
}

impl Hop {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::Upgrade => "upgrade",
            Self::Frames => "frames",
        }
    }
}

/// The kinds of failures that a caller may want to tell apart.
///
/// See [`Failure`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The system provides no random numbers.
    Random,
    Proxy,
    /// The proxy lets nobody in with this password, or does not allow this connection.
    Denied,
    /// The proxy cannot reach the server at this address.
    Unreachable,
    /// The proxy is to be asked again, over another connection.
    Again,
    Tls,
    /// The peer's certificate is not accepted, or ours is not.
    Certificate,
    /// The peer's certificate has expired or is not valid yet, by our clock.
    Untimely,
    /// Client only: an HTTP response other than 101.
    Refused,
    /// The response or the request of the opening handshake is not valid.
    Handshake,
    /// A rule of the framing was broken.
    Protocol,
    /// A text is not UTF-8, or a compressed message is not DEFLATE (1007).
    Encoding,
    /// A message is over our own limit.
    TooBig,
    /// There is no memory for what the peer sends.
    Memory,
}

impl Kind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Proxy => "proxy",
            Self::Denied => "denied",
            Self::Unreachable => "unreachable",
            Self::Again => "again",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::Untimely => "untimely",
            Self::Refused => "refused",
            Self::Handshake => "handshake",
            Self::Protocol => "protocol",
            Self::Encoding => "encoding",
            Self::TooBig => "too_big",
            Self::Memory => "memory",
        }
    }
}

/// Why a session has failed.
///
/// ```
/// use luws::protocol::connection::Config;
/// use luws::session::{Hop, Session};
///
/// let mut server = Session::server(None, Config::default())?;
/// server.receive(b"this is not HTTP\r\n\r\n");
/// let failure = server.next_event().unwrap_err();
/// assert_eq!(failure.hop, Hop::Upgrade);
/// assert!(server.sendable_len() > 0); // the refusal
/// # Ok::<_, luws::session::Failure>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub hop: Hop,
    pub kind: Kind,
    /// The code of the close frame that reported it.
    pub close_code: Option<CloseCode>,
    /// Server only: the status of the HTTP response that reported it.
    pub status: Option<u16>,
    pub text: String,
}

impl Failure {
    /// A failure that was not reported to the peer. What the error repeats of the peer's words is escaped.
    pub(super) fn new(hop: Hop, kind: Kind, error: &impl ToString) -> Self {
        Self { hop, kind, close_code: None, status: None, text: shown(error.to_string().as_bytes()) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// The failure of a hop that has no memory for what it is given.
pub(super) fn out_of_memory(hop: Hop, error: OutOfMemory) -> Failure {
    Failure::new(hop, Kind::Memory, &error)
}

/// The failure of a session, and whether its owner has been told. A session fails only once.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    failure: Option<Failure>,
    is_told: bool,
}

impl Verdict {
    pub(super) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Records a failure, if there is one and it is the first.
    pub(super) fn note(&mut self, result: Result<(), Failure>) {
        if let Err(failure) = result {
            self.failure.get_or_insert(failure);
        }
    }

    /// Records a failure that is returned to the owner now; it replaces one that has not been returned yet.
    pub(super) fn told(&mut self, failure: Failure) -> Failure {
        self.is_told = true;
        self.failure.insert(failure).clone()
    }

    /// Has the owner told of this failure, even if it was told before.
    pub(super) fn retell(&mut self, failure: Failure) {
        *self = Self { failure: Some(failure), is_told: false };
    }

    /// Whether there is a failure that the owner has not been told about.
    pub(super) fn is_untold(&self) -> bool {
        self.failure.is_some() && !self.is_told
    }

    /// Returns the failure, once.
    ///
    /// # Errors
    /// The failure, if the owner has not been told about it.
    pub(super) fn tell(&mut self) -> Result<(), Failure> {
        match &self.failure {
            Some(failure) if !std::mem::replace(&mut self.is_told, true) => Err(failure.clone()),
            _ => Ok(()),
        }
    }
}
