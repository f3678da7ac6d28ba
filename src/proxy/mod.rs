//! Negotiations with proxies, which come before everything else on a connection: what one is
//! ([`Negotiation`]), and one file for each kind of proxy. Knows no sockets, and nothing of what the
//! connection is for.

use std::fmt::{self, Debug};

pub mod sockproxy;

/// A conversation with a proxy, after which the proxy passes bytes on unchanged.
pub trait Negotiation: Debug {
    /// Takes the bytes that have come and were not used yet. The first call may have no input, for a negotiation that
    /// speaks first. There is no call after the one that is done.
    ///
    /// # Errors
    /// The negotiation has failed.
    fn feed(&mut self, input: &[u8]) -> Result<Progress, ProxyError>;

    /// The proxy's name, for messages.
    fn name(&self) -> &'static str;

    /// The name that the proxy has given this connection, if it gives names.
    fn detail(&self) -> Option<&str> {
        None
    }
}

/// How far a negotiation has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The bytes of the input that were used. The others are in the next input again.
    pub used: usize,
    /// To be sent to the proxy.
    pub answer: Vec<u8>,
    /// The proxy has agreed; input that was not used is not for it any more.
    pub done: bool,
}

/// Why a negotiation has failed, or cannot begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// The proxy refuses; in its own words.
    Refused(String),
    /// The answer is not in this proxy's language. Holds its beginning, escaped.
    Unexpected { proxy: &'static str, start: String },
    /// The proxy cannot be asked for that.
    Unsupported(&'static str),
}

impl ProxyError {
    /// The error for an answer that is not in the proxy's language.
    #[must_use]
    pub fn unexpected(proxy: &'static str, input: &[u8]) -> Self {
        Self::Unexpected { proxy, start: input[..input.len().min(60)].escape_ascii().to_string() }
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
