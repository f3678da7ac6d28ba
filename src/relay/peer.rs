//! A peer's side of a relay: TLS, if there is any, the framing of what the peer sends, and what waits to be written to
//! it. Its owner reads and writes.

use std::io;

use super::framing::Framer;
use crate::memory::OutOfMemory;
use crate::protocol::buffer::Buffer;
use crate::tls::Tls;

/// The smallest read for TLS, in bytes: the longest record with its header (RFC 8446 section 5.2).
const WIRE_READ: usize = 17 * 1024;

/// Plaintext is encrypted until this much ciphertext waits to be written.
const CIPHERTEXT: usize = 64 * 1024;

/// What a read has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Bytes for the framing.
    pub count: usize,
    /// There may be more now.
    pub more: bool,
    /// The peer has ended its side, and nothing more will come.
    pub ended: bool,
}

/// The peer of a bridge's connection.
///
/// ```
/// use luws::relay::Rule;
/// use luws::relay::framing::Framer;
/// use luws::relay::peer::Peer;
///
/// let mut peer = Peer::new(Framer::new(Rule::Fixed(2), 100), None, Vec::new());
/// let read = peer.receive_with(10, |space| std::io::Read::read(&mut &b"abc"[..], space))?;
/// assert_eq!((read.count, read.ended), (3, false));
/// assert_eq!(peer.framer().next_message().unwrap().map(|(_, data)| data), Some(&b"ab"[..]));
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Peer {
    tls: Option<Tls>,
    framer: Framer,
    /// What goes before everything else, TLS included.
    preface: Vec<u8>,
    output: Buffer,
}

impl Peer {
    #[must_use]
    pub fn new(framer: Framer, tls: Option<Tls>, preface: Vec<u8>) -> Self {
        Self { tls, framer, preface, output: Buffer::default() }
    }

    /// The messages of what was read.
    pub fn framer(&mut self) -> &mut Framer {
        &mut self.framer
    }

    /// Whether messages can be exchanged: TLS is ready.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tls.as_ref().is_none_or(Tls::is_open)
    }

    /// Has `read` bring bytes, of which the framing gets at most `max`.
    ///
    /// # Errors
    /// The errors of `read`, those of TLS, and that there is no memory.
    pub fn receive_with(
        &mut self,
        max: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<Read> {
        let Some(tls) = &mut self.tls else {
            let input = self.framer.input();
            let count = read(input.space(max)?)?;
            input.commit(count);
            return Ok(Read { count, more: count == max, ended: count == 0 });
        };
        let input = self.framer.input();
        let before = input.len();
        if tls.holds_more() {
            tls.decrypt(input, max).map_err(io::Error::other)?;
        }
        let held = input.len() - before;
        if held >= max {
            return Ok(Read { count: held, more: true, ended: false });
        }
        let most = max.max(WIRE_READ);
        let wire = match tls.receive_with(most, read)? {
            Err(error) if held == 0 => return Err(error),
            // The next read meets it again.
            Err(_) => return Ok(Read { count: held, more: false, ended: false }),
            Ok(wire) => wire,
        };
        tls.decrypt(input, max - held).map_err(io::Error::other)?;
        let count = input.len() - before;
        let ended = count == 0 && (wire == 0 || tls.is_ended());
        Ok(Read { count, more: wire == most || count >= max || tls.is_ended(), ended })
    }

    /// Queues bytes to be written.
    ///
    /// # Errors
    /// There is no memory.
    pub fn queue(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        self.output.extend(bytes)
    }

    /// Whether bytes that are written to the wire now are what the peer gets next.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.tls.is_none() && self.waiting() == 0
    }

    /// The bytes that wait to be written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.preface.len() + self.output.len() + self.tls.as_ref().map_or(0, Tls::outgoing_len)
    }

    /// Has `write` take what waits, until that is all. What TLS cannot encrypt yet goes on waiting.
    ///
    /// # Errors
    /// The errors of `write`, and those of TLS.
    pub fn send_with(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        while !self.preface.is_empty() {
            let count = write(&self.preface)?;
            self.preface.drain(..count);
        }
        let Some(tls) = &mut self.tls else {
            while !self.output.is_empty() {
                let count = write(self.output.as_slice())?;
                self.output.consume(count);
            }
            return Ok(());
        };
        loop {
            tls.encrypt(&mut self.output, CIPHERTEXT).map_err(io::Error::other)?;
            if tls.outgoing_len() == 0 {
                return Ok(());
            }
            tls.send_with(&mut write)?;
        }
    }

    /// Queues the end of TLS.
    pub fn shutdown(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.shutdown();
        }
    }

    /// Uses this storage for what is read, until [`give_back`](Self::give_back).
    pub fn borrow_input(&mut self, spare: &mut Vec<u8>) {
        self.framer.input().borrow(spare);
    }

    /// Gives back the storage for what is read, and for what is written, as far as it is not needed now.
    pub fn give_back(&mut self, input: &mut Vec<u8>, output: &mut Vec<u8>) {
        self.framer.input().give_back(input);
        self.output.give_back(output);
    }
}
