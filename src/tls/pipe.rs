//! The pipe that the TLS library uses as its socket; [`Tls`](super::Tls) holds the other end. Knows nothing of TLS.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::rc::Rc;

use crate::protocol::buffer::Buffer;

/// The two directions of ciphertext.
#[derive(Debug, Default)]
pub(super) struct Ciphertext {
    pub(super) incoming: Buffer,
    pub(super) outgoing: Buffer,
}

/// The library's socket. Shared, because the library drops its end when a handshake fails, and the alert that it wrote
/// before must still be sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Pipe(pub(super) Rc<RefCell<Ciphertext>>);

impl Read for Pipe {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let mut cipher = self.0.borrow_mut();
        let count = target.len().min(cipher.incoming.len());
        // The library never sees the end of the carrier: only the peer can end TLS, by a close_notify, and a lost
        // carrier is not a failure of TLS.
        if count == 0 && !target.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        target[..count].copy_from_slice(&cipher.incoming.as_slice()[..count]);
        cipher.incoming.consume(count);
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, source: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().outgoing.extend(source)?;
        Ok(source.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
