//! Makes a client's TLS connections. Knows nothing of a particular connection.

use std::rc::Rc;

use super::error::{OptionsError, clear_error_queue};
use super::fingerprint::Fingerprint;
use super::library::{self, Connect};
use super::options::{TlsOptions, Verify};

/// The connector of a client, with its options. Copies are cheap.
///
/// See [`TlsOptions`] for an example.
#[derive(Clone, Debug)]
pub struct Connector {
    pub(super) library: Rc<dyn Connect>,
    /// Whether the library verifies the peer's certificate.
    pub(super) verifies: bool,
    pub(super) fingerprints: Rc<[Fingerprint]>,
}

impl TlsOptions {
    /// Makes the connector for these options. This is expensive (with the system's authorities 50 ms were measured),
    /// but a connector can be reused.
    ///
    /// # Errors
    /// See [`OptionsError`].
    pub fn connector(&self) -> Result<Connector, OptionsError> {
        clear_error_queue();
        let library = library::connector(self)?.into();
        let verifies = self.verify != Verify::Nothing;
        Ok(Connector { library, verifies, fingerprints: self.fingerprints.as_slice().into() })
    }
}
