//! Negotiations with proxies, which come before everything else on a connection: the trait [`Negotiation`], and a file
//! for each kind of proxy. Knows nothing of sockets, or of what the connection is for.

use std::fmt::Debug;

pub mod address;
mod bypass;
mod error;
pub mod http_connect;
pub mod sockproxy;
pub mod socks;

pub use bypass::bypasses;
pub use error::{ProxyError, SocksError};

use crate::http::auth::Tried;

/// A conversation with a proxy, after which the proxy passes bytes on unchanged.
///
/// ```
/// use luws::proxy::Negotiation;
/// use luws::proxy::http_connect::{HttpConnect, Options};
///
/// let mut proxy = HttpConnect::new(Options {
///     host: "example.com".into(),
///     port: 443,
///     headers: vec![],
///     identity: None,
///     retry: None,
/// });
/// assert!(proxy.feed(b"")?.answer.starts_with(b"CONNECT example.com:443 HTTP/1.1\r\n"));
/// assert!(proxy.feed(b"HTTP/1.1 200 OK\r\n\r\n")?.done);
/// # Ok::<_, luws::proxy::ProxyError>(())
/// ```
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

    /// What another negotiation is to say at once, over another connection, if this connection ends now or the
    /// negotiation has failed with [`ProxyError::Again`].
    fn retry(&self) -> Option<&Retry> {
        None
    }
}

/// What a negotiation has learnt for the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The value of Proxy-Authorization.
    pub authorization: Vec<u8>,
    pub tried: Tried,
}

/// The progress of a negotiation.
///
/// See [`Negotiation`] for an example.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The number of input bytes that were used. The others are passed in again.
    pub used: usize,
    /// To be sent to the proxy.
    pub answer: Vec<u8>,
    /// Whether the proxy has agreed. Unused input is then not for it any more.
    pub done: bool,
}
