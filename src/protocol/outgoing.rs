//! Turns messages into frames (RFC 6455 sections 5.3 to 5.6): the order of fragments, UTF-8, compression, masking.
//!
//! Does not know whether anything may be sent at all: [`connection`](super::connection) does.

use rand::Rng;
use rand::rngs::StdRng;

use super::buffer::Buffer;
use super::config::Config;
use super::deflate::Deflater;
use super::error::SendError;
use super::frame::{self, FrameHeader, MAX_CONTROL_PAYLOAD, MAX_HEADER, Opcode, RSV1, Trace};
use super::utf8::{self, Validator};
use crate::memory::OutOfMemory;

/// A message whose remaining fragments are still to be sent.
#[derive(Clone, Debug)]
struct Unfinished {
    /// It is text that must be UTF-8.
    is_checked: bool,
    is_compressed: bool,
    utf8: Validator,
}

/// Which connections turn a message into the same frames, if they have the same settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Those that do not compress it.
    Plain,
    /// Those that compress each message by itself, with a window of so many bits.
    Compressed(u8),
}

/// The sending half of a connection: appends frames to a queue of bytes.
#[derive(Debug)]
pub(super) struct Outgoing {
    queue: Buffer,
    keys: Option<StdRng>,
    deflater: Option<Box<Deflater>>,
    /// Whether messages are compressed, if the ends have agreed on compression.
    compresses: bool,
    fragment_size: usize,
    validate_utf8: bool,
    unfinished: Option<Unfinished>,
    trace: Trace,
}

impl Outgoing {
    /// Frames are appended to `queue`, and masked with numbers from `keys` if there are any.
    pub(super) fn new(
        queue: Buffer,
        keys: Option<StdRng>,
        deflater: Option<Box<Deflater>>,
        config: &Config,
    ) -> Self {
        let &Config { fragment_size, validate_utf8, .. } = config;
        let trace = Trace::default();
        Self {
            queue,
            keys,
            deflater,
            compresses: true,
            fragment_size,
            validate_utf8,
            unfinished: None,
            trace,
        }
    }

    /// Sets whether the messages that begin from now on are compressed. Returns whether they were.
    pub(super) fn set_compression(&mut self, on: bool) -> bool {
        std::mem::replace(&mut self.compresses, on)
    }

    /// The bytes to be written.
    pub(super) fn queue(&mut self) -> &mut Buffer {
        &mut self.queue
    }

    /// From now on, text is not checked: it is known to be UTF-8.
    pub(super) fn trust_text(&mut self) {
        self.validate_utf8 = false;
    }

    /// The record of sent headers.
    pub(super) fn trace(&mut self) -> &mut Trace {
        &mut self.trace
    }

    pub(super) fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// The length of the frames for this much data, without compression.
    pub(super) fn frame_len(&self, data: usize) -> usize {
        let (payload, frames) = match self.fragment_size {
            0 => (data, 1),
            size => (data.min(size), data.div_ceil(size).max(1)),
        };
        let header = frame::header_len(payload, self.keys.is_some());
        frames.saturating_mul(header).saturating_add(data)
    }

    /// With whom it shares the frames of a message; `None` for a client, whose masks are its own, for one that
    /// compresses with what it has sent before, and while each frame is to be noted.
    pub(super) fn sharing(&self) -> Option<Sharing> {
        if self.keys.is_some() || self.trace.is_on() {
            return None;
        }
        match &self.deflater {
            Some(deflater) if self.compresses => deflater.independent_window().map(Sharing::Compressed),
            _ => Some(Sharing::Plain),
        }
    }

    /// Sends the frames of a whole message that another connection has made, with which it [shares](Self::sharing)
    /// them.
    ///
    /// # Errors
    /// A message is in progress, or there is no memory.
    pub(super) fn encoded(&mut self, frames: &[u8]) -> Result<(), SendError> {
        if self.unfinished.is_some() {
            return Err(SendError::MessageInProgress);
        }
        Ok(self.queue.extend(frames)?)
    }

    /// Sends a ping, a pong or a close frame.
    ///
    /// # Errors
    /// [`SendError::ControlTooLong`] for more than 125 bytes, [`SendError::OutOfMemory`].
    pub(super) fn control(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), SendError> {
        if payload.len() > MAX_CONTROL_PAYLOAD {
            return Err(SendError::ControlTooLong(payload.len()));
        }
        Ok(self.write_frame(true, 0, opcode, payload)?)
    }

    /// Sends a text or binary message; without `fin`, its first fragment, which [`Opcode::Continuation`] continues.
    ///
    /// # Errors
    /// Fragments out of order, text that is not UTF-8, or no memory. Nothing was sent then, and the state is unchanged.
    pub(super) fn data(&mut self, opcode: Opcode, data: &[u8], fin: bool) -> Result<(), SendError> {
        if fin && opcode != Opcode::Continuation && self.unfinished.is_none() && self.deflater.is_none() {
            // The usual message.
            if opcode == Opcode::Text && self.validate_utf8 && !utf8::is_valid(data) {
                return Err(SendError::TextNotUtf8);
            }
            return Ok(self.write_fragments(0, opcode, data, true)?);
        }
        let mut message = match (&self.unfinished, opcode) {
            (None, Opcode::Continuation) => return Err(SendError::Opcode(0)),
            (Some(_), Opcode::Text | Opcode::Binary) => return Err(SendError::MessageInProgress),
            (Some(unfinished), _) => unfinished.clone(),
            (None, _) => Unfinished {
                is_checked: opcode == Opcode::Text && self.validate_utf8,
                is_compressed: self.compresses
                    && self.deflater.as_ref().is_some_and(|d| d.wants(data.len(), fin)),
                utf8: Validator::default(),
            },
        };
        message.check(data, fin)?;
        // Taken out of `self`, because its output is borrowed while the frames are written.
        let mut deflater = self.deflater.take();
        let result = match deflater.as_mut().filter(|_| message.is_compressed) {
            None => self.write_fragments(0, opcode, data, fin),
            Some(deflater) => self.write_compressed(deflater, opcode, data, fin),
        };
        self.deflater = deflater;
        result?;
        self.unfinished = (!fin).then_some(message);
        Ok(())
    }

    /// Gives the frame of a whole message to `write`, if it is made of the data as they are and nothing waits: its
    /// header and the data. Queues what `write` has not taken, which returns how many bytes it has. Returns that as
    /// well; `None` if this message has to be queued by [`data`](Self::data), and nothing was done.
    ///
    /// # Errors
    /// Text that is not UTF-8, or no memory. Nothing was sent then.
    pub(super) fn data_at_once(
        &mut self,
        opcode: Opcode,
        data: &[u8],
        write: impl FnOnce(&[u8], &[u8]) -> usize,
    ) -> Result<Option<usize>, SendError> {
        let is_whole = self.fragment_size == 0 || data.len() <= self.fragment_size;
        let is_plain = self.sharing() == Some(Sharing::Plain);
        let is_message = matches!(opcode, Opcode::Text | Opcode::Binary);
        if !is_message || !is_whole || !is_plain || self.unfinished.is_some() || !self.queue.is_empty() {
            return Ok(None);
        }
        if opcode == Opcode::Text && self.validate_utf8 && !utf8::is_valid(data) {
            return Err(SendError::TextNotUtf8);
        }
        let payload_length = data.len() as u64;
        let header = FrameHeader { fin: true, rsv: 0, opcode, masking_key: None, payload_length };
        let (bytes, length) = header.bytes();
        let header = &bytes[..length];
        // There is room for all of it, so that a frame that was begun can be ended.
        self.queue.space(header.len() + data.len())?;
        let count = write(header, data).min(header.len() + data.len());
        self.queue.extend(&header[count.min(header.len())..])?;
        self.queue.extend(&data[count.saturating_sub(header.len())..])?;
        Ok(Some(count))
    }

    fn write_compressed(
        &mut self,
        deflater: &mut Deflater,
        opcode: Opcode,
        data: &[u8],
        fin: bool,
    ) -> Result<(), OutOfMemory> {
        // RFC 7692 section 6.1: on the first frame only
        let rsv = if opcode == Opcode::Continuation { 0 } else { RSV1 };
        let result = if opcode == Opcode::Continuation || !fin {
            self.write_fragments(rsv, opcode, deflater.fragment(data, fin)?, fin)
        } else if let Some(compressed) = deflater.message(data)? {
            self.write_fragments(rsv, opcode, compressed, true)
        } else {
            self.write_fragments(0, opcode, data, true)
        };
        result.inspect_err(|_| deflater.forget())
    }

    /// Writes one frame, or several if the user wants fragments.
    fn write_fragments(
        &mut self,
        rsv: u8,
        opcode: Opcode,
        data: &[u8],
        fin: bool,
    ) -> Result<(), OutOfMemory> {
        let size = self.fragment_size;
        if size == 0 || data.len() <= size {
            return self.write_frame(fin, rsv, opcode, data);
        }
        // Room for all of them, so that none is written if there is not enough memory.
        let header = match size {
            0..=125 => 6,
            126..=0xffff => 8,
            _ => MAX_HEADER,
        };
        self.queue.space(data.len() + data.len().div_ceil(size) * header + MAX_HEADER)?;
        let (mut rsv, mut opcode, mut rest) = (rsv, opcode, data);
        while !rest.is_empty() {
            let (fragment, after) = rest.split_at(size.min(rest.len()));
            self.write_frame(fin && after.is_empty(), rsv, opcode, fragment)?;
            (rsv, opcode, rest) = (0, Opcode::Continuation, after);
        }
        Ok(())
    }

    fn write_frame(&mut self, fin: bool, rsv: u8, opcode: Opcode, payload: &[u8]) -> Result<(), OutOfMemory> {
        // Section 5.3: a new unpredictable key for each frame
        let masking_key = self.keys.as_mut().map(|keys| keys.next_u32().to_ne_bytes());
        let payload_length = payload.len() as u64;
        let header = FrameHeader { fin, rsv, opcode, masking_key, payload_length };
        frame::write(header, payload, &mut self.queue)?;
        self.trace.record(header);
        Ok(())
    }
}

impl Unfinished {
    fn check(&mut self, data: &[u8], fin: bool) -> Result<(), SendError> {
        if !self.is_checked {
            return Ok(());
        }
        let valid = self.utf8.push(data).and_then(|()| if fin { self.utf8.finish() } else { Ok(()) });
        valid.map_err(|_| SendError::TextNotUtf8)
    }
}
