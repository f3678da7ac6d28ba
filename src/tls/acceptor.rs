//! Makes a server's TLS connections. Knows nothing of a particular connection.

use std::fmt;

use native_tls::TlsAcceptor;

use super::error::{OptionsError, clear_error_queue, reason};
use super::identity::Identity;

/// The acceptor of a server, with its certificate and key. Copies are cheap, and threads may share one.
#[derive(Clone)]
pub struct Acceptor {
    pub(super) native: TlsAcceptor,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

impl Acceptor {
    /// An acceptor with this identity, for every TLS version that the library accepts by default.
    ///
    /// # Errors
    /// The certificate or the key is not valid. Holds why.
    pub fn new(identity: &Identity) -> Result<Self, OptionsError> {
        clear_error_queue();
        let native = TlsAcceptor::new(identity.to_native()?);
        native.map(|native| Self { native }).map_err(|error| OptionsError::Certificate(reason(error)))
    }
}
