//! What a TLS connection asks of the library below it.
//!
//! A library's socket is a [`Pipe`]. When the pipe is empty, `read` and `write` return `WouldBlock`.

use std::fmt::Debug;
use std::io;

use crate::tls::error::TlsError;
use crate::tls::pipe::Pipe;

/// How far a handshake is.
#[derive(Debug)]
pub(in crate::tls) enum Progress {
    /// More has to be received.
    Pending(Box<dyn Handshake>),
    Complete(Box<dyn Stream>),
}

/// A handshake that has begun.
pub(in crate::tls) trait Handshake: Debug {
    /// Goes on with what has been received.
    fn advance(self: Box<Self>) -> Result<Progress, TlsError>;
}

/// A library's own handshake, and how it goes on.
#[derive(Debug)]
pub(super) struct Pending<P> {
    pub(super) handshake: P,
    pub(super) verifies: bool,
    pub(super) advance: fn(P, bool) -> Result<Progress, TlsError>,
}

impl<P: Debug> Handshake for Pending<P> {
    fn advance(self: Box<Self>) -> Result<Progress, TlsError> {
        (self.advance)(self.handshake, self.verifies)
    }
}

/// A connection whose handshake is complete.
pub(in crate::tls) trait Stream: Debug {
    /// `Ok(0)`: the peer has sent close_notify.
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize>;
    fn write(&mut self, source: &[u8]) -> io::Result<usize>;
    /// Queues a close_notify. If the library cannot send one, there is nobody to tell.
    fn shutdown(&mut self);
    /// The number of decrypted bytes that wait to be read.
    fn pending(&self) -> usize;
    /// The peer's certificate, in DER.
    fn certificate(&self) -> Option<Vec<u8>>;
    /// The application protocol that was agreed on.
    fn alpn(&self) -> Option<Vec<u8>>;
}

/// Begins a client's handshakes.
pub(in crate::tls) trait Connect: Debug {
    /// `host` is the name to send and to find in the certificate.
    fn connect(&self, host: &str, pipe: Pipe) -> Result<Progress, TlsError>;
}

/// Begins a server's handshakes.
pub(in crate::tls) trait Accept: Debug + Send + Sync {
    fn accept(&self, pipe: Pipe) -> Result<Progress, TlsError>;
}
