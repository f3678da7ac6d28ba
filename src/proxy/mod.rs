//! What may stand between a client and its server: negotiations that come before everything else on a
//! connection, without I/O, one file each; and the hop of a session that carries one out.

pub mod sockproxy;

use crate::protocol::buffer::Buffer;
use sockproxy::{ProxyError, SockProxy};

/// A negotiation and its own bytes in both directions. As long as it [`holds_the_wire`](Self::holds_the_wire),
/// nothing else may be sent.
#[derive(Debug)]
pub struct Hop {
    negotiation: SockProxy,
    error: Option<ProxyError>,
    input: Buffer,
    output: Buffer,
}

impl Hop {
    #[must_use]
    pub fn new(negotiation: SockProxy) -> Self {
        Self { negotiation, error: None, input: Buffer::default(), output: Buffer::default() }
    }

    /// Whether the proxy has agreed; all that comes is then for the next hop.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.negotiation.is_done()
    }

    /// Whether nothing but this negotiation may be sent.
    #[must_use]
    pub fn holds_the_wire(&self) -> bool {
        !self.is_done() || !self.output.is_empty()
    }

    /// What the proxy calls this connection.
    #[must_use]
    pub fn pid(&self) -> Option<&str> {
        self.negotiation.pid()
    }

    /// Why it failed, once.
    pub fn take_error(&mut self) -> Option<ProxyError> {
        self.error.take()
    }

    /// Has `read` put at most `max` bytes into a buffer, and goes on with the negotiation.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn receive_with<E>(
        &mut self,
        max: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let count = read(self.input.space(max))?;
        self.input.commit(count);
        while !self.is_done() {
            match self.negotiation.feed(self.input.as_slice()) {
                Ok((0, _)) => break,
                Ok((used, answer)) => {
                    self.output.extend(answer);
                    self.input.consume(used);
                }
                Err(error) => {
                    self.input.clear();
                    self.error.get_or_insert(error);
                    break;
                }
            }
        }
        Ok(count)
    }

    /// What came behind the negotiation, once that is done: the next hop's.
    pub fn take_rest(&mut self) -> Vec<u8> {
        if !self.is_done() {
            return Vec::new();
        }
        let rest = self.input.as_slice().to_vec();
        self.input.clear();
        rest
    }

    /// Has `write` take what is to be sent; returns how much it took.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn send_with<E>(&mut self, write: impl FnOnce(&[u8]) -> Result<usize, E>) -> Result<usize, E> {
        let count = write(self.output.as_slice())?;
        self.output.consume(count);
        Ok(count)
    }

    /// The bytes that wait to be sent.
    #[must_use]
    pub fn outgoing_len(&self) -> usize {
        self.output.len()
    }
}
