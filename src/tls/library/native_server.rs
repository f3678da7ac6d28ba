//! A server's side of `native-tls`, on systems where OpenSSL is not the library below it. They know none of the special
//! options.

use std::fmt;

use native_tls::TlsAcceptor;

use super::contract::{Accept, Progress};
use super::native::progress;
use crate::tls::error::{OptionsError, TlsError, reason};
use crate::tls::options::ServerOptions;
use crate::tls::pipe::Pipe;

pub(super) struct Acceptor(TlsAcceptor);

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

impl Acceptor {
    pub(super) fn new(options: &ServerOptions) -> Result<Self, OptionsError> {
        let mut builder = TlsAcceptor::builder(options.identity.to_native()?);
        builder
            .min_protocol_version(Some(options.min.into()))
            .max_protocol_version(options.max.map(Into::into));
        // Nothing else can fail here: the library has found the certificate too weak.
        builder.build().map(Self).map_err(|error| OptionsError::Certificate(reason(error)))
    }
}

impl Accept for Acceptor {
    fn accept(&self, pipe: Pipe) -> Result<Progress, TlsError> {
        progress(self.0.accept(pipe), false)
    }
}
