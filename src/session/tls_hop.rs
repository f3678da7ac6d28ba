//! A TLS hop of a session, to the server or to a proxy: remembers whether the handshake was ever complete, and which
//! hop its failures are blamed on. Knows nothing of what the plaintext means.

use super::failure::{Failure, Hop, Kind};
use crate::protocol::buffer::Buffer;
use crate::tls::{Tls, TlsError};

#[derive(Debug)]
pub(super) struct TlsHop {
    tls: Tls,
    /// The hop that failures are blamed on: TLS, or the proxy that it leads to.
    hop: Hop,
    /// The handshake was complete at some time, whatever came after it.
    was_open: bool,
}

fn failure(hop: Hop, error: &TlsError) -> Failure {
    let kind = match error {
        TlsError::OutOfMemory => Kind::Memory,
        error if error.is_untimely() => Kind::Untimely,
        error if error.is_of_certificate() => Kind::Certificate,
        _ => Kind::Tls,
    };
    match hop {
        Hop::Proxy => Failure::new(hop, kind, &format!("TLS: {error}")),
        _ => Failure::new(hop, kind, error),
    }
}

impl TlsHop {
    pub(super) fn new(tls: Result<Tls, TlsError>, hop: Hop) -> Result<Self, Failure> {
        let tls = tls.map_err(|error| failure(hop, &error))?;
        Ok(Self { tls, hop, was_open: false })
    }

    pub(super) fn hop(&self) -> Hop {
        self.hop
    }

    pub(super) fn tls(&self) -> &Tls {
        &self.tls
    }

    /// TLS, which holds the ciphertext of both directions.
    pub(super) fn tls_mut(&mut self) -> &mut Tls {
        &mut self.tls
    }

    /// Whether the handshake is or was complete.
    pub(super) fn was_open(&self) -> bool {
        self.was_open
    }

    /// Appends at most `max` bytes of plaintext to `plain`. May queue the handshake's answers.
    ///
    /// # Errors
    /// TLS has failed.
    pub(super) fn decrypt(&mut self, plain: &mut Buffer, max: usize) -> Result<(), Failure> {
        let result = self.tls.decrypt(plain, max);
        self.was_open |= self.tls.is_open();
        result.map_err(|error| failure(self.hop, &error))
    }

    /// Encrypts `plain`, once the handshake is complete, until `most` bytes of ciphertext wait to be sent.
    ///
    /// # Errors
    /// TLS has failed.
    pub(super) fn encrypt(&mut self, plain: &mut Buffer, most: usize) -> Result<(), Failure> {
        self.tls.encrypt(plain, most).map_err(|error| failure(self.hop, &error))
    }
}
