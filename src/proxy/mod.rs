//! Negotiations with proxies, which come before everything else on a connection: the trait [`Negotiation`], and a file
//! for each kind of proxy. Knows nothing of sockets, or of what the connection is for.

use std::fmt::{self, Debug};

use crate::text::excerpt;

pub mod sockproxy;

/// A conversation with a proxy, after which the proxy passes bytes on unchanged.
pub trait Negotiation: Debug {
    /// Takes the bytes received and not used yet. The first call may have no input, for a negotiation that speaks
    /// first. It is not called again after it is done.
    ///
    /// # Errors
    /// The negotiation has failed.
    fn feed(&mut self, input: &[u8]) -> Result<Progress, ProxyError>;

    /// The name of the kind of proxy, for messages.
    fn name(&self) -> &'static str;

    /// The proxy's identifier of this connection, if it has one.
    fn detail(&self) -> Option<&str> {
        None
    }
}

/// The progress of a negotiation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The number of input bytes that were used. The others are passed in again.
    pub used: usize,
    /// To be sent to the proxy.
    pub answer: Vec<u8>,
    /// Whether the proxy has agreed. Unused input is then not for it any more.
    pub done: bool,
}

/// Why a negotiation has failed, or cannot begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// The proxy refuses. Holds its own words, escaped.
    Refused(String),
    /// The answer is not in this proxy's protocol. Holds its beginning, escaped.
    Unexpected { proxy: &'static str, start: String },
    /// The proxy cannot do what the options ask for. Holds why.
    Unsupported(&'static str),
}

impl ProxyError {
    /// The error for an answer that is not in the proxy's protocol.
    #[must_use]
    pub fn unexpected(proxy: &'static str, input: &[u8]) -> Self {
        Self::Unexpected { proxy, start: excerpt(input, 60) }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => f.write_str(why),
            Self::Unexpected { proxy, start } => write!(f, "this is not {proxy}: \"{start}\""),
            Self::Unsupported(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ProxyError {}
