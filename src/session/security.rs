//! The hop of a session that is TLS: it says what TLS has to say, holds back what must wait for it, and keeps a
//! peer from making it say too much.

use crate::protocol::buffer::Buffer;
use crate::tls::{Tls, TlsError};

/// More than this TLS may not have to say of its own accord while the peer does not read: a peer can ask for
/// answers (key updates) without end.
const BACKLOG: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Security {
    tls: Tls,
    error: Option<TlsError>,
    /// Bytes that TLS has queued in answer to what it received, since the queue was last empty.
    answers: usize,
}

impl Security {
    pub(super) fn new(tls: Tls) -> Self {
        Self { tls, error: None, answers: 0 }
    }

    pub(super) fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Why it failed, until that is taken.
    pub(super) fn error(&self) -> Option<&TlsError> {
        self.error.as_ref()
    }

    /// Why it failed, once.
    pub(super) fn take_error(&mut self) -> Option<TlsError> {
        self.error.take()
    }

    /// Has `read` put at most `max` bytes of ciphertext into a buffer; they are still to be decrypted.
    pub(super) fn receive_with<E>(
        &mut self,
        max: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        self.tls.receive_with(max, read)
    }

    /// The ciphertext has ended; what came before may still hold plaintext.
    pub(super) fn receive_end(&mut self, plain: &mut Buffer) {
        self.tls.receive_end();
        let before = self.error.clone();
        self.decrypt(plain);
        // A peer that ends without close_notify is a lost connection, which is what the caller knows already,
        // and not an error of TLS.
        self.error = before;
    }

    pub(super) fn send_with<E>(&mut self, write: impl FnOnce(&[u8]) -> Result<usize, E>) -> Result<usize, E> {
        self.tls.send_with(write)
    }

    /// Ciphertext that has come is appended to `plain`; the handshake may have an answer to send.
    pub(super) fn decrypt(&mut self, plain: &mut Buffer) {
        let (before, was_open) = (self.tls.outgoing_len(), self.tls.is_open());
        let mut result = self.tls.decrypt(plain);
        self.answers = if before == 0 { 0 } else { self.answers };
        if was_open {
            // The handshake's are what it takes, and it has a deadline.
            self.answers += self.tls.outgoing_len().saturating_sub(before);
        }
        if self.answers > BACKLOG && result.is_ok() {
            result = Err(self.tls.give_up("the peer asks for more answers than it reads"));
        }
        if let Err(error) = result {
            self.error.get_or_insert(error);
        }
    }

    /// What is in `plain` becomes ciphertext, as soon as TLS is agreed upon.
    pub(super) fn encrypt(&mut self, plain: &mut Buffer) {
        if let Err(error) = self.tls.encrypt(plain) {
            self.error.get_or_insert(error);
        }
    }

    pub(super) fn shutdown(&mut self) {
        self.tls.shutdown();
    }
}
