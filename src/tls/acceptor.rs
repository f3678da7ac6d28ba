//! Makes a server's TLS connections. Knows nothing of a particular connection.

use std::sync::Arc;

use super::error::{OptionsError, clear_error_queue};
use super::library::{self, Accept};
use super::options::{Clients, ServerOptions};

/// The acceptor of a server, with its options. Copies are cheap, and threads may share one.
///
/// See [`ServerOptions`] for an example.
#[derive(Clone, Debug)]
pub struct Acceptor {
    pub(super) library: Arc<dyn Accept>,
    /// Whether the library verifies the certificates of clients that have one.
    pub(super) verifies: bool,
}

impl ServerOptions {
    /// Makes the acceptor for these options.
    ///
    /// # Errors
    /// See [`OptionsError`]. If it is about one of the [`named`](Self::named) identities, holds the name as well.
    pub fn acceptor(&self) -> Result<Acceptor, (OptionsError, Option<&str>)> {
        clear_error_queue();
        let library = library::acceptor(self)?.into();
        Ok(Acceptor { library, verifies: self.clients != Clients::Anonymous })
    }
}
