//! Failures of a session: which hop failed, how, and in what words; and whether the owner has been told.
//! Knows nothing of what happened before a failure.

use std::fmt;

use crate::protocol::close_code::CloseCode;

/// The parts of a session that come one after the other.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The system has no random numbers to give.
    Random,
    Proxy,
    Tls,
    /// A client's: an HTTP response other than 101.
    Refused,
    /// The answer to the opening handshake, or the request for it, is not valid.
    Handshake,
    /// A rule of the framing was broken.
    Protocol,
    /// A text is not UTF-8, or a compressed message is not DEFLATE (1007).
    Encoding,
    /// A message is over our own limit.
    TooBig,
}

impl Kind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Proxy => "proxy",
            Self::Tls => "tls",
            Self::Refused => "refused",
            Self::Handshake => "handshake",
            Self::Protocol => "protocol",
            Self::Encoding => "encoding",
            Self::TooBig => "too_big",
        }
    }
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub hop: Hop,
    pub kind: Kind,
    /// The code of the close frame that was sent about it.
    pub close_code: Option<CloseCode>,
    pub text: String,
}

impl Failure {
    /// One about which no close frame was sent.
    pub(super) fn new(hop: Hop, kind: Kind, error: &impl ToString) -> Self {
        Self { hop, kind, close_code: None, text: error.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// Whether a session has failed, and whether its owner has been told. It fails only once.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    failure: Option<Failure>,
    is_told: bool,
}

impl Verdict {
    pub(super) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Takes note of a failure, if there was one and it is the first.
    pub(super) fn note(&mut self, result: Result<(), Failure>) {
        if let Err(failure) = result {
            self.failure.get_or_insert(failure);
        }
    }

    /// Takes note of a failure that comes before one that was not told yet, and is told now.
    pub(super) fn told(&mut self, failure: Failure) -> Failure {
        self.is_told = true;
        self.failure.insert(failure).clone()
    }

    /// Whether there is a failure that its owner has not been told.
    pub(super) fn is_untold(&self) -> bool {
        self.failure.is_some() && !self.is_told
    }

    /// # Errors
    /// The failure, if its owner has not been told.
    pub(super) fn tell(&mut self) -> Result<(), Failure> {
        match &self.failure {
            Some(failure) if !std::mem::replace(&mut self.is_told, true) => Err(failure.clone()),
            _ => Ok(()),
        }
    }
}
