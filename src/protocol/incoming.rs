//! Frames to events (RFC 6455 section 5): finds in a queue of bytes what the peer did, one thing at a time.
//!
//! What that means for the connection, and what is sent in answer, is for [`connection`](super::connection) to say.

use std::ops::Range;

use super::Role;
use super::buffer::Buffer;
use super::close::CloseFrame;
use super::connection::Event;
use super::deflate::Inflater;
use super::error::ProtocolError;
use super::frame::{FrameHeader, Opcode, RSV1, Trace};
use super::mask;
use super::message::Assembler;

/// How the message that is arriving, or is next, goes to the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Whole,
    /// Its first header is next in the input; the user has been asked.
    Announced,
    Pieces,
}

/// A message that is streamed is handed out in pieces of about this size, in bytes.
const STREAM_PIECE: usize = 32 * 1024;

/// So many bytes are taken at once where no limit holds: what is compressed may become a thousand times as many.
const STREAM_STEP: usize = 64;

/// A frame whose payload has not all arrived.
#[derive(Debug)]
struct PartialFrame {
    header: FrameHeader,
    /// Payload bytes that were taken off the input already.
    taken: u64,
}

/// Where the data of an event lies; resolved to a slice when the event is handed out.
pub(super) enum Found {
    MessageInPlace(Opcode, Range<usize>),
    MessageAssembled(Opcode),
    Begin(Opcode),
    Piece { last: bool },
    Ping(Range<usize>),
    Pong(Range<usize>),
    Close(CloseFrame),
}

/// The receiving half of a connection.
#[derive(Debug)]
pub(super) struct Incoming {
    role: Role,
    max_message_size: usize,
    queue: Buffer,
    /// Bytes at the start of `queue` that the last event borrowed.
    borrowed: usize,
    /// The last event borrowed the assembler's data.
    assembled: bool,
    frame: Option<PartialFrame>,
    assembler: Assembler,
    announce: bool,
    delivery: Delivery,
    /// RSV1 if permessage-deflate was agreed upon.
    message_rsv: u8,
    frames_received: u64,
    trace: Trace,
}

impl Incoming {
    /// `role` is our own; compressed messages are taken only with an inflater.
    pub(super) fn new(
        role: Role,
        max_message_size: usize,
        queue: Buffer,
        inflater: Option<Inflater>,
    ) -> Self {
        Self {
            role,
            max_message_size,
            queue,
            borrowed: 0,
            assembled: false,
            frame: None,
            announce: false,
            delivery: Delivery::Whole,
            message_rsv: if inflater.is_some() { RSV1 } else { 0 },
            assembler: Assembler::new(inflater),
            frames_received: 0,
            trace: Trace::default(),
        }
    }

    /// The bytes from the peer, to be appended to.
    pub(super) fn queue(&mut self) -> &mut Buffer {
        &mut self.queue
    }

    /// Bytes that were not interpreted yet.
    pub(super) fn queue_len(&self) -> usize {
        self.queue.len() - self.borrowed
    }

    pub(super) fn frames_received(&self) -> u64 {
        self.frames_received
    }

    /// The headers that were received.
    pub(super) fn trace(&mut self) -> &mut Trace {
        &mut self.trace
    }

    pub(super) fn set_max_message_size(&mut self, bytes: usize) {
        self.max_message_size = bytes;
    }

    /// Whether each message is announced by [`Event::Begin`].
    pub(super) fn set_announce(&mut self, announce: bool) {
        self.announce = announce;
    }

    /// Has the message that was just announced delivered in pieces. The limit for messages does not hold for it. Whether
    /// there was such a message.
    pub(super) fn stream_message(&mut self) -> bool {
        let is_announced = self.delivery == Delivery::Announced;
        if is_announced {
            self.delivery = Delivery::Pieces;
        }
        is_announced
    }

    /// Forgets a partly received message: what still comes of it is not delivered.
    pub(super) fn forget_message(&mut self) {
        self.settle();
        // Of a message that was just announced nothing has been taken yet: it is not partly received but next.
        if self.delivery == Delivery::Pieces {
            self.delivery = Delivery::Whole;
        }
        self.assembler.forget();
    }

    /// Forgets a partly received frame and message, and takes the next byte of input for the beginning of a
    /// frame. That is right where the bytes are not those of a network, which will still send the rest.
    pub(super) fn reset(&mut self) {
        self.settle();
        if let Some(partial) = self.frame.take() {
            let left = partial.header.payload_length - partial.taken;
            self.queue.consume(left.min(self.queue.len() as u64) as usize);
        }
        self.assembler.reset();
        let complete = self.complete_frames();
        self.queue.truncate(complete);
        if self.delivery == Delivery::Pieces || self.queue.is_empty() {
            self.delivery = Delivery::Whole;
        }
    }

    /// The length of the whole frames at the start of the input.
    fn complete_frames(&self) -> usize {
        let mut complete = 0;
        loop {
            let rest = &self.queue.as_slice()[complete..];
            match FrameHeader::parse(rest) {
                Ok(Some((header, length))) if header.payload_length <= (rest.len() - length) as u64 => {
                    complete += length + header.payload_length as usize;
                }
                Ok(_) => return complete,
                // For `next_event` to report.
                Err(_) => return self.queue.len(),
            }
        }
    }

    /// Nothing that has come, or will come, is of interest any more.
    pub(super) fn discard(&mut self) {
        self.settle();
        self.queue.clear();
    }

    /// What the peer did next, or `None` when more bytes are needed.
    pub(super) fn next(&mut self) -> Result<Option<Found>, ProtocolError> {
        self.settle();
        self.find_event()
    }

    /// What was found, with its data; `None` for a close frame, which has been taken out.
    pub(super) fn event(&self, found: Found) -> Option<Event<'_>> {
        Some(match found {
            Found::MessageInPlace(opcode, range) => {
                Event::Message { opcode, data: &self.queue.as_slice()[range] }
            }
            Found::MessageAssembled(opcode) => Event::Message { opcode, data: self.assembler.data() },
            Found::Begin(opcode) => Event::Begin(opcode),
            Found::Piece { last } => Event::Piece { data: self.assembler.data(), last },
            Found::Ping(range) => Event::Ping(&self.queue.as_slice()[range]),
            Found::Pong(range) => Event::Pong(&self.queue.as_slice()[range]),
            Found::Close(_) => return None,
        })
    }

    /// Gives back what the last event borrowed.
    fn settle(&mut self) {
        self.queue.consume(std::mem::take(&mut self.borrowed));
        if std::mem::take(&mut self.assembled) {
            self.assembler.release();
        }
    }

    fn find_event(&mut self) -> Result<Option<Found>, ProtocolError> {
        loop {
            if let Some(partial) = self.frame.take() {
                if let Some(found) = self.continue_frame(partial)? {
                    return Ok(Some(found));
                }
                if self.frame.is_some() {
                    return Ok(None);
                }
                continue;
            }
            let Some((header, length)) = FrameHeader::parse(self.queue.as_slice())? else {
                return Ok(None);
            };
            self.check_header(&header)?;
            if header.opcode.is_control() {
                return self.control_frame(&header, length);
            }
            let starts_message = header.opcode != Opcode::Continuation && self.assembler.is_idle();
            if starts_message && self.announce && self.delivery == Delivery::Whole {
                self.delivery = Delivery::Announced;
                return Ok(Some(Found::Begin(header.opcode)));
            }
            let streaming = self.delivery == Delivery::Pieces;
            self.assembler
                .begin_frame(&header, if streaming { usize::MAX } else { self.max_message_size })?;
            if !streaming {
                self.delivery = Delivery::Whole;
            }
            // A message in one frame that is all there is handed out where it lies.
            let available = (self.queue.len() - length) as u64;
            let is_whole = header.opcode != Opcode::Continuation && header.fin && !header.is_compressed();
            if is_whole && header.payload_length <= available && !streaming {
                return self.message_in_place(&header, length).map(Some);
            }
            self.trace.record(header);
            self.queue.consume(length);
            self.frame = Some(PartialFrame { header, taken: 0 });
        }
    }

    /// The rules about headers for which one must know the connection.
    fn check_header(&self, header: &FrameHeader) -> Result<(), ProtocolError> {
        // Section 5.2: zero unless an extension that was negotiated gives them a meaning. RFC 7692 section 6
        // gives one to RSV1, on the first frame of a message.
        let starts_message = matches!(header.opcode, Opcode::Text | Opcode::Binary);
        let known = if starts_message { self.message_rsv } else { 0 };
        if header.rsv & !known != 0 {
            let unknown = (1..=3).filter(|bit| header.rsv & !known & (8 >> bit) != 0);
            let names: Vec<_> = unknown.map(|bit| format!("RSV{bit}")).collect();
            return Err(ProtocolError::framing(format!("reserved bit set ({})", names.join(", "))));
        }
        match (self.role, header.masking_key) {
            (Role::Client, Some(_)) => Err(ProtocolError::framing("masked frame from a server")),
            (Role::Server, None) => Err(ProtocolError::framing("unmasked frame from a client")),
            _ => Ok(()),
        }
    }

    /// Unmasks a payload that is all in the input; its place there.
    fn whole_payload(&mut self, header: &FrameHeader, length: usize) -> Range<usize> {
        let range = length..length + header.payload_length as usize;
        if let Some(key) = header.masking_key {
            mask::apply(key, 0, &mut self.queue.as_mut_slice()[range.clone()]);
        }
        self.trace.record(*header);
        self.borrowed = range.end;
        self.frames_received += 1;
        range
    }

    fn message_in_place(&mut self, header: &FrameHeader, length: usize) -> Result<Found, ProtocolError> {
        let range = self.whole_payload(header, length);
        let data = &self.queue.as_slice()[range.clone()];
        if header.opcode == Opcode::Text && simdutf8::basic::from_utf8(data).is_err() {
            return Err(ProtocolError::not_utf8("text message"));
        }
        self.assembler.finish()?;
        Ok(Found::MessageInPlace(header.opcode, range))
    }

    fn control_frame(&mut self, header: &FrameHeader, length: usize) -> Result<Option<Found>, ProtocolError> {
        if self.queue.len() - length < header.payload_length as usize {
            return Ok(None);
        }
        let range = self.whole_payload(header, length);
        Ok(Some(match header.opcode {
            Opcode::Ping => Found::Ping(range),
            Opcode::Pong => Found::Pong(range),
            _ => Found::Close(CloseFrame::parse(&self.queue.as_slice()[range])?),
        }))
    }

    /// Takes what has arrived of a data frame's payload; an event if that completes a message.
    fn continue_frame(&mut self, mut partial: PartialFrame) -> Result<Option<Found>, ProtocolError> {
        let streaming = self.delivery == Delivery::Pieces;
        while partial.taken < partial.header.payload_length && !self.queue.is_empty() {
            if streaming && self.assembler.data().len() >= STREAM_PIECE {
                break;
            }
            let expected = partial.header.payload_length - partial.taken;
            // What is not delivered is not limited, either.
            let step = if streaming || self.assembler.is_forgetting() { STREAM_STEP } else { usize::MAX };
            let count = (expected.min(self.queue.len() as u64) as usize).min(step);
            let piece = &mut self.queue.as_mut_slice()[..count];
            if let Some(key) = partial.header.masking_key {
                mask::apply(key, (partial.taken % 4) as usize, piece);
            }
            self.assembler.push(piece, if streaming { 0 } else { expected })?;
            self.queue.consume(count);
            partial.taken += count as u64;
        }
        let is_complete = partial.taken == partial.header.payload_length;
        let is_last = is_complete && partial.header.fin;
        if is_complete {
            self.frames_received += 1;
        } else {
            self.frame = Some(partial);
        }
        if is_last {
            let opcode = self.assembler.finish()?;
            self.assembled = true;
            self.delivery = Delivery::Whole;
            return Ok(opcode.map(|opcode| {
                if streaming { Found::Piece { last: true } } else { Found::MessageAssembled(opcode) }
            }));
        }
        if streaming && !self.assembler.data().is_empty() {
            self.assembled = true;
            return Ok(Some(Found::Piece { last: false }));
        }
        Ok(None)
    }
}
