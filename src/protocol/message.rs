//! Fragments to messages (RFC 6455 section 5.4): order, decompression, size limit, UTF-8 as the bytes arrive.
//!
//! Takes payload bytes as they come, in whole frames or parts of frames. Knows neither masks nor control
//! frames.

use super::buffer::KEEP;
use super::deflate::Inflater;
use super::error::{ProtocolError, ReceiveError, Text};
use super::frame::{FrameHeader, Opcode};
use super::utf8::Validator;

/// Storage is reserved ahead of the bytes up to this size, however long a header says that its
/// payload will be: a promise alone must not cost memory.
const RESERVE: u64 = 1024 * 1024;

#[derive(Debug, Default)]
pub struct Assembler {
    /// The opcode of the message whose fragments are arriving.
    opcode: Option<Opcode>,
    /// Its bytes are to be inflated (RFC 7692 section 6.2).
    compressed: bool,
    inflater: Option<Inflater>,
    limit: usize,
    data: Vec<u8>,
    /// Of the messages that were released since storage was given back.
    longest: usize,
    /// How long the last message was.
    last: usize,
    utf8: Validator,
    /// The message that is arriving is not wanted any more; it is followed to its end for the sake of what
    /// comes after it (and of the inflater, which must see all of it), and then not delivered.
    forgotten: bool,
}

impl Assembler {
    /// Compressed messages can be taken only with an inflater.
    #[must_use]
    pub fn new(inflater: Option<Inflater>) -> Self {
        Self { inflater, ..Self::default() }
    }

    /// A data frame begins: checks the order of fragments and the size of the message so far and to come.
    ///
    /// # Errors
    /// 1002 for a continuation of nothing or a new message inside another, 1009 for a message that
    /// will be over `limit` bytes.
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
        let room = limit.saturating_sub(self.data.len());
        // What a compressed frame becomes shows only as it is inflated.
        if !self.compressed && !self.forgotten && header.payload_length > room as u64 {
            // Of a message in fragments, only the last header completes the sum.
            let length = header.fin.then(|| header.payload_length.saturating_add(self.data.len() as u64));
            return Err(ReceiveError::TooBig { limit, length });
        }
        Ok(())
    }

    /// Payload of the frame that was begun, in order.
    ///
    /// # Errors
    /// 1007 if a text message can no longer be UTF-8 or a compressed one is not DEFLATE, 1009 for one that
    /// inflates to more than the limit. `expected` is how much of the frame is to
    /// come, this piece included. Returns how many bytes it has inflated to.
    pub fn push(&mut self, piece: &[u8], expected: u64) -> Result<usize, ReceiveError> {
        let before = self.data.len();
        let mut result = Ok(());
        match &mut self.inflater {
            Some(inflater) if self.compressed => result = inflater.push(piece, &mut self.data, self.limit),
            _ if self.forgotten => {}
            _ => {
                let (length, needed) = (self.data.len(), piece.len().max(expected.min(RESERVE) as usize));
                if self.data.capacity() - length < needed {
                    // To grow is to copy, and a long message is often as long as the last one was.
                    let hint = if length as u64 >= RESERVE { self.last.saturating_sub(length) } else { 0 };
                    self.data.reserve(needed.max(hint));
                }
                self.data.extend_from_slice(piece);
            }
        }
        let inflated = if self.is_inflating() { self.data.len() - before } else { 0 };
        // What was inflated before a fault came first, however the bytes have come.
        self.check_text(before)?;
        result.map(|()| inflated)
    }

    /// Checks what has been added to a text after its first `before` bytes.
    fn check_text(&mut self, before: usize) -> Result<(), ReceiveError> {
        if self.forgotten {
            self.data.clear();
            return Ok(());
        }
        if self.opcode == Some(Opcode::Text) && self.utf8.push(&self.data[before..]).is_err() {
            return Err(ProtocolError::NotUtf8(Text::Message).into());
        }
        Ok(())
    }

    /// The frame that ends the message is complete: the message's opcode, or `None` if it was forgotten. Its
    /// data stays readable by [`data`](Self::data) until [`release`](Self::release).
    ///
    /// # Errors
    /// 1007 if a text message ends within a character, and what [`push`](Self::push) says.
    pub fn finish(&mut self) -> Result<Option<Opcode>, ReceiveError> {
        if let Some(inflater) = self.inflater.as_mut().filter(|_| self.compressed) {
            let before = self.data.len();
            let result = inflater.finish(&mut self.data, self.limit);
            self.check_text(before)?;
            result?;
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

    /// No message is arriving.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.opcode.is_none()
    }

    /// The message that is arriving is compressed.
    #[must_use]
    pub fn is_inflating(&self) -> bool {
        self.compressed && self.inflater.is_some()
    }

    /// A message is arriving that will not be delivered.
    #[must_use]
    pub fn is_forgetting(&self) -> bool {
        self.forgotten
    }

    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Forgets the data of a message that was delivered. Its storage is kept for the next one, within bounds.
    pub fn release(&mut self) {
        self.last = self.data.len();
        self.longest = self.longest.max(self.last);
        self.data.clear();
        if self.data.capacity() > KEEP {
            self.data = Vec::new();
        }
    }

    /// Takes `spare` for the storage of the next message, if none is arriving and `spare` is the larger one.
    pub fn borrow(&mut self, spare: &mut Vec<u8>) {
        if self.data.is_empty() && self.data.capacity() < spare.capacity() {
            std::mem::swap(&mut self.data, spare);
        }
    }

    /// Makes its storage the spare one, whether it was borrowed or has grown, unless a message is arriving. Returns how
    /// long the longest message was since the last time.
    pub fn give_back(&mut self, spare: &mut Vec<u8>) -> usize {
        if self.data.is_empty() {
            let storage = std::mem::take(&mut self.data);
            if spare.capacity() < storage.capacity() {
                *spare = storage;
            }
        }
        std::mem::take(&mut self.longest)
    }

    /// Forgets a message that has partly arrived; what still comes of it will not be delivered.
    pub fn forget(&mut self) {
        self.forgotten = self.opcode.is_some();
        self.utf8.reset();
        self.release();
    }

    /// Forgets everything: what comes next begins a message.
    pub fn reset(&mut self) {
        self.forget();
        self.opcode = None;
        self.forgotten = false;
        if let Some(inflater) = &mut self.inflater {
            inflater.forget();
        }
    }
}
