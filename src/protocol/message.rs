//! Assembles fragments into messages (RFC 6455 section 5.4): their order, decompression, the size limit, and UTF-8 as
//! the bytes arrive.
//!
//! Takes payload bytes as they come, in whole frames or parts of frames. Knows nothing of masks or control frames.

use super::buffer::KEEP;
use super::deflate::Inflater;
use super::error::{ProtocolError, ReceiveError, Text};
use super::frame::{FrameHeader, Opcode};
use super::utf8::Validator;
use crate::memory;

/// Storage is reserved in advance only up to this size in bytes, however long the header says that the payload is: a
/// promise alone must not cost memory.
const RESERVE: u64 = 1024 * 1024;

/// The message being received, or the last one. A [`Connection`](super::connection::Connection) has one.
///
/// ```
/// use luws::protocol::frame::{FrameHeader, Lengths, Opcode};
/// use luws::protocol::message::Assembler;
///
/// let mut assembler = Assembler::new(None, true);
/// for (frame, payload) in [(&b"\x01\x02"[..], &b"he"[..]), (b"\x80\x03", b"llo")] {
///     let (header, _) = FrameHeader::parse(frame, Lengths::Shortest)?.unwrap();
///     assembler.begin_frame(&header, 100)?;
///     assembler.push(payload, header.payload_length)?;
/// }
/// assert_eq!(assembler.finish()?, Some(Opcode::Text));
/// assert_eq!(assembler.data(), b"hello");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Assembler {
    /// The opcode of the message being received.
    opcode: Option<Opcode>,
    /// Its bytes must be inflated (RFC 7692 section 6.2).
    compressed: bool,
    inflater: Option<Box<Inflater>>,
    limit: usize,
    data: Vec<u8>,
    /// The length of the pieces of the message being received that were released.
    delivered: usize,
    /// The length of the longest message released since storage was given back.
    longest: usize,
    /// The length of the last message.
    last: usize,
    utf8: Validator,
    /// Whether text must be UTF-8.
    validate_utf8: bool,
    /// The message being received is no longer wanted. The rest of it is parsed, because other frames follow it and the
    /// inflater must see all of it, but it is not delivered.
    forgotten: bool,
}

impl Assembler {
    /// Without an inflater, compressed messages cannot be read.
    #[must_use]
    pub fn new(inflater: Option<Box<Inflater>>, validate_utf8: bool) -> Self {
        Self { inflater, validate_utf8, ..Self::default() }
    }

    /// Begins a data frame: checks the order of fragments, and the size of the message with this frame and with the
    /// pieces that were delivered.
    ///
    /// # Errors
    /// 1002 for a continuation without a message or a new message inside another, 1009 for a message that will be over
    /// `limit` bytes.
    pub fn begin_frame(&mut self, header: &FrameHeader, limit: usize) -> Result<(), ReceiveError> {
        self.limit = limit;
        match (header.opcode, self.opcode) {
            (Opcode::Continuation, None) => {
                return Err(ProtocolError::UnexpectedContinuation.into());
            }
            (Opcode::Continuation, Some(_)) => {}
            (_, Some(_)) => {
                return Err(ProtocolError::InterleavedMessage.into());
            }
            (opcode, None) => {
                self.opcode = Some(opcode);
                self.compressed = header.is_compressed();
            }
        }
        let before = self.received();
        // The size of a compressed message is known only as it is inflated.
        let is_known = !self.compressed && !self.forgotten && limit < usize::MAX;
        if is_known && header.payload_length > limit.saturating_sub(before) as u64 {
            // The total length of a fragmented message is known only at its last header.
            let length = header.fin.then(|| header.payload_length.saturating_add(before as u64));
            return Err(ReceiveError::TooBig { limit, length });
        }
        Ok(())
    }

    /// Takes payload of the current frame, in order. `expected` is how much of the frame is still to come, including
    /// this piece. Returns how many bytes were inflated.
    ///
    /// # Errors
    /// 1007 if a text message can no longer be UTF-8 or a compressed one is not DEFLATE, 1009 if one inflates to more
    /// than the limit, or if there is no memory.
    pub fn push(&mut self, piece: &[u8], expected: u64) -> Result<usize, ReceiveError> {
        let before = self.data.len();
        let mut result = Ok(());
        match &mut self.inflater {
            Some(inflater) if self.compressed => result = inflater.push(piece, &mut self.data, self.limit),
            _ if self.forgotten => {}
            _ => {
                let (length, needed) = (self.data.len(), piece.len().max(expected.min(RESERVE) as usize));
                if self.data.capacity() - length < needed {
                    // Growing means copying, and a long message is often as long as the previous one.
                    let hint = if length as u64 >= RESERVE { self.last.saturating_sub(length) } else { 0 };
                    memory::reserve(&mut self.data, needed.max(hint))
                        .or_else(|_| memory::reserve(&mut self.data, piece.len()))?;
                }
                self.data.extend_from_slice(piece);
            }
        }
        let inflated = if self.is_inflating() { self.data.len() - before } else { 0 };
        // Text inflated before a fault comes first, however the bytes were delivered.
        self.check_text(before)?;
        result?;
        self.check_size()?;
        Ok(inflated)
    }

    /// How much of the message being received has come, with the pieces that were delivered.
    fn received(&self) -> usize {
        self.delivered.saturating_add(self.data.len())
    }

    /// Checks the size of what has come, which is known by the header already if it is not compressed.
    fn check_size(&self) -> Result<(), ReceiveError> {
        if self.delivered > 0 && self.received() > self.limit {
            return Err(ReceiveError::TooBig { limit: self.limit, length: None });
        }
        Ok(())
    }

    /// Checks what was added to a text after its first `before` bytes.
    fn check_text(&mut self, before: usize) -> Result<(), ReceiveError> {
        if self.forgotten {
            self.data.clear();
            return Ok(());
        }
        let is_checked = self.opcode == Some(Opcode::Text) && self.validate_utf8;
        if is_checked && self.utf8.push(&self.data[before..]).is_err() {
            return Err(ProtocolError::NotUtf8(Text::Message).into());
        }
        Ok(())
    }

    /// Ends the message, after its last frame. Returns its opcode, or `None` if it was forgotten. [`data`](Self::data)
    /// returns its data until [`release`](Self::release).
    ///
    /// # Errors
    /// 1007 if a text message ends within a character, and the errors of [`push`](Self::push).
    pub fn finish(&mut self) -> Result<Option<Opcode>, ReceiveError> {
        if let Some(inflater) = self.inflater.as_mut().filter(|_| self.compressed) {
            let before = self.data.len();
            let result = inflater.finish(&mut self.data, self.limit);
            self.check_text(before)?;
            result?;
            self.check_size()?;
        }
        let opcode = self.opcode.take();
        if std::mem::take(&mut self.forgotten) {
            return Ok(None);
        }
        if self.utf8.finish().is_err() {
            return Err(ProtocolError::NotUtf8(Text::Message).into());
        }
        Ok(opcode)
    }

    /// Whether no message is being received.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.opcode.is_none()
    }

    /// Whether the message being received is compressed.
    #[must_use]
    pub fn is_inflating(&self) -> bool {
        self.compressed && self.inflater.is_some()
    }

    /// Whether the message being received will not be delivered.
    #[must_use]
    pub fn is_forgetting(&self) -> bool {
        self.forgotten
    }

    /// The data of the message being received, as far as they have come; then, until [`release`](Self::release), of the
    /// finished one.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Forgets the data of a message, or of a piece of one, that was delivered. Its storage is kept for the next one,
    /// up to a limit.
    pub fn release(&mut self) {
        let goes_on = self.opcode.is_some() && !self.forgotten;
        self.delivered = if goes_on { self.received() } else { 0 };
        self.last = self.data.len();
        self.longest = self.longest.max(self.last);
        self.data.clear();
        if self.data.capacity() > KEEP {
            self.data = Vec::new();
        }
    }

    /// Takes `spare` as storage for the next message, if none is being received and `spare` is larger.
    pub fn borrow(&mut self, spare: &mut Vec<u8>) {
        if self.data.is_empty() && self.data.capacity() < spare.capacity() {
            std::mem::swap(&mut self.data, spare);
        }
    }

    /// Gives its storage away as the spare one, whether it was borrowed or has grown, unless a message is being
    /// received. Returns the length of the longest message since the last call.
    pub fn give_back(&mut self, spare: &mut Vec<u8>) -> usize {
        if self.data.is_empty() {
            let storage = std::mem::take(&mut self.data);
            if spare.capacity() < storage.capacity() {
                *spare = storage;
            }
        }
        std::mem::take(&mut self.longest)
    }

    /// Forgets a partly received message; the rest of it will not be delivered.
    pub fn forget(&mut self) {
        self.forgotten = self.opcode.is_some();
        self.utf8.reset();
        self.release();
    }

    /// Drops the data of a message that will not be completed.
    pub fn discard(&mut self) {
        self.data.clear();
        if self.data.capacity() > KEEP {
            self.data = Vec::new();
        }
    }

    /// Forgets everything: the next frame begins a message.
    pub fn reset(&mut self) {
        self.forget();
        self.opcode = None;
        self.forgotten = false;
        if let Some(inflater) = &mut self.inflater {
            inflater.forget();
        }
    }
}
