//! Turns frames into events (RFC 6455 section 5), one at a time, from a queue of bytes.
//!
//! Sends nothing and closes nothing: [`connection`](super::connection) decides what an event or an error means.

use std::ops::Range;

use super::buffer::Buffer;
use super::close::CloseFrame;
use super::config::Config;
use super::deflate::Inflater;
use super::error::{ProtocolError, ReceiveError, Text};
use super::event::Event;
use super::frame::{FrameHeader, Lengths, Opcode, RSV1, Trace};
use super::mask;
use super::message::Assembler;
use super::role::Role;
use super::utf8;

/// How the current or next message is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Whole,
    /// Its first header is next in the input, and the user has been asked.
    Announced,
    Pieces,
}

/// How messages are to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Whole,
    /// Each is announced, and the user says how.
    Announce,
    /// In pieces, unless they are complete in the input.
    Stream,
}

/// A streamed message is delivered in pieces of about this size, in bytes.
const STREAM_PIECE: usize = 32 * 1024;

/// How many bytes of a compressed message are taken in one step where no size limit applies: they may grow a
/// thousandfold.
const STREAM_STEP: usize = 64;

/// How many bytes of a compressed message are taken in one step.
const INFLATE_STEP: usize = 1024;

/// How much work is done before the caller gets control again. A frame is one unit, and so is 1 KiB of inflated data.
const WORK: usize = 1000;

/// A frame whose payload has not fully arrived.
#[derive(Debug)]
struct PartialFrame {
    header: FrameHeader,
    /// Payload bytes already taken off the input.
    taken: u64,
}

/// An event and the place of its data, which is resolved to a slice when the event is returned.
#[derive(Debug)]
pub(crate) enum PendingEvent {
    MessageInPlace(Opcode, Range<usize>),
    MessageAssembled(Opcode),
    Begin(Opcode),
    Piece { last: bool },
    Working,
    Ping(Range<usize>),
    Pong(Range<usize>),
    Close(CloseFrame),
}

/// The receiving half of a connection.
#[derive(Debug)]
pub(super) struct Incoming {
    role: Role,
    max_message_size: usize,
    validate_utf8: bool,
    lengths: Lengths,
    queue: Buffer,
    /// The number of bytes at the start of `queue` that the last event borrowed.
    borrowed: usize,
    /// The last event borrowed the assembler's data.
    assembled: bool,
    frame: Option<PartialFrame>,
    assembler: Assembler,
    policy: Policy,
    delivery: Delivery,
    /// RSV1 if permessage-deflate was negotiated.
    message_rsv: u8,
    frames_received: u64,
    /// Units of work since the last event.
    work: usize,
    trace: Trace,
}

impl Incoming {
    /// `role` is our own; without an inflater, compressed messages are rejected.
    pub(super) fn new(role: Role, config: &Config, queue: Buffer, inflater: Option<Box<Inflater>>) -> Self {
        Self {
            role,
            max_message_size: config.max_message_size,
            validate_utf8: config.validate_utf8,
            lengths: if config.allow_long_lengths { Lengths::Any } else { Lengths::Shortest },
            queue,
            borrowed: 0,
            assembled: false,
            frame: None,
            policy: Policy::Whole,
            delivery: Delivery::Whole,
            message_rsv: if inflater.is_some() { RSV1 } else { 0 },
            assembler: Assembler::new(inflater, config.validate_utf8),
            frames_received: 0,
            work: 0,
            trace: Trace::default(),
        }
    }

    /// The bytes from the peer; the caller appends to them.
    pub(super) fn queue(&mut self) -> &mut Buffer {
        &mut self.queue
    }

    /// The message assembler, for its storage.
    pub(super) fn assembler(&mut self) -> &mut Assembler {
        &mut self.assembler
    }

    /// The number of bytes not yet interpreted.
    pub(super) fn queue_len(&self) -> usize {
        self.queue.len() - self.borrowed
    }

    /// Whether no bytes are held, not even those that the last event has borrowed.
    pub(super) fn is_queue_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn frames_received(&self) -> u64 {
        self.frames_received
    }

    /// The record of received headers.
    pub(super) fn trace(&mut self) -> &mut Trace {
        &mut self.trace
    }

    /// Whether headers are recorded.
    pub(super) fn is_traced(&self) -> bool {
        self.trace.is_on()
    }

    pub(super) fn set_max_message_size(&mut self, bytes: usize) {
        self.max_message_size = bytes;
    }

    /// Sets whether each message is announced by [`Event::Begin`].
    pub(super) fn set_announce(&mut self, announce: bool) {
        self.policy = if announce { Policy::Announce } else { Policy::Whole };
    }

    /// Sets whether a message that is not complete in the input is delivered in pieces, without being announced. The
    /// size limit applies to all of them together.
    pub(super) fn set_streaming(&mut self, on: bool) {
        self.policy = if on { Policy::Stream } else { Policy::Whole };
    }

    /// Delivers the message that was just announced in pieces; the size limit does not apply to it. Returns whether
    /// there was such a message.
    pub(super) fn stream_message(&mut self) -> bool {
        let is_announced = self.delivery == Delivery::Announced;
        if is_announced {
            self.delivery = Delivery::Pieces;
        }
        is_announced
    }

    /// Forgets a partly received message: the rest of it is not delivered.
    pub(super) fn forget_message(&mut self) {
        self.release_borrowed();
        // A message that was just announced is not partly received: nothing of it has been taken yet.
        if self.delivery == Delivery::Pieces {
            self.delivery = Delivery::Whole;
        }
        self.assembler.forget();
    }

    /// Forgets a partly received frame and message, so that the next input byte begins a frame. For input that does not
    /// come from a network, which would still send the rest.
    pub(super) fn reset(&mut self) {
        self.release_borrowed();
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

    /// The length of the complete frames at the start of the input.
    fn complete_frames(&self) -> usize {
        let mut complete = 0;
        loop {
            let rest = &self.queue.as_slice()[complete..];
            match FrameHeader::parse(rest, self.lengths) {
                Ok(Some((header, length))) if header.payload_length <= (rest.len() - length) as u64 => {
                    complete += length + header.payload_length as usize;
                }
                Ok(_) => return complete,
                // `next_event` will report the error.
                Err(_) => return self.queue.len(),
            }
        }
    }

    /// Drops the input and the message being received, which are no longer of interest.
    pub(super) fn discard(&mut self) {
        self.release_borrowed();
        self.queue.clear();
        self.assembler.discard();
    }

    /// The next event, or `None` when more bytes are needed.
    pub(super) fn next(&mut self) -> Result<Option<PendingEvent>, ReceiveError> {
        self.release_borrowed();
        self.find_event()
    }

    /// The data of the next event, if it is an ordinary message of this kind: in one frame, complete, unmasked and
    /// short. `None` for anything else, including protocol errors, which is left to [`next`](Self::next).
    #[inline]
    pub(super) fn short_message(&mut self, opcode: Opcode) -> Option<&[u8]> {
        self.release_borrowed();
        let is_between = self.frame.is_none() && self.assembler.is_idle();
        let is_plain =
            self.role == Role::Client && self.policy != Policy::Announce && self.delivery == Delivery::Whole;
        if !is_between || !is_plain || self.trace.is_on() {
            return None;
        }
        let queue = self.queue.as_slice();
        let &[first, length, ref rest @ ..] = queue else { return None };
        let (start, length) = match (length, rest) {
            (0..=125, _) => (2, usize::from(length)),
            (126, &[high, low, ..]) if high > 0 || low > 125 => {
                (4, usize::from(u16::from_be_bytes([high, low])))
            }
            _ => return None,
        };
        let data = queue.get(start..start + length)?;
        let is_sound = first == 0x80 | opcode as u8
            && length <= self.max_message_size
            && (opcode != Opcode::Text || !self.validate_utf8 || utf8::is_valid(data));
        if !is_sound {
            return None;
        }
        self.borrowed = start + length;
        self.frames_received += 1;
        Some(data)
    }

    /// The event with its data; `None` for a close frame, which was taken out before.
    pub(super) fn event(&self, pending: PendingEvent) -> Option<Event<'_>> {
        Some(match pending {
            PendingEvent::MessageInPlace(opcode, range) => {
                Event::Message { opcode, data: &self.queue.as_slice()[range] }
            }
            PendingEvent::MessageAssembled(opcode) => Event::Message { opcode, data: self.assembler.data() },
            PendingEvent::Begin(opcode) => Event::Begin(opcode),
            PendingEvent::Working => Event::Working,
            PendingEvent::Piece { last } => Event::Piece { data: self.assembler.data(), last },
            PendingEvent::Ping(range) => Event::Ping(&self.queue.as_slice()[range]),
            PendingEvent::Pong(range) => Event::Pong(&self.queue.as_slice()[range]),
            PendingEvent::Close(_) => return None,
        })
    }

    /// Releases what the last event borrowed.
    fn release_borrowed(&mut self) {
        self.queue.consume(std::mem::take(&mut self.borrowed));
        if std::mem::take(&mut self.assembled) {
            self.assembler.release();
        }
    }

    fn find_event(&mut self) -> Result<Option<PendingEvent>, ReceiveError> {
        self.work = 0;
        loop {
            if self.work > WORK {
                return Ok(Some(PendingEvent::Working));
            }
            if let Some(partial) = self.frame.take() {
                if let Some(event) = self.continue_frame(partial)? {
                    return Ok(Some(event));
                }
                if self.frame.is_some() && self.work <= WORK {
                    return Ok(None);
                }
                continue;
            }
            let Some((header, length)) = FrameHeader::parse(self.queue.as_slice(), self.lengths)? else {
                return Ok(None);
            };
            self.check_header(&header)?;
            if header.opcode.is_control() {
                return self.control_frame(&header, length);
            }
            let starts_message = header.opcode != Opcode::Continuation && self.assembler.is_idle();
            if starts_message && self.policy == Policy::Announce && self.delivery == Delivery::Whole {
                self.delivery = Delivery::Announced;
                return Ok(Some(PendingEvent::Begin(header.opcode)));
            }
            // A complete message in one frame is returned in place.
            let available = (self.queue.len() - length) as u64;
            let is_whole = header.opcode != Opcode::Continuation
                && header.fin
                && !header.is_compressed()
                && header.payload_length <= available;
            if starts_message && self.policy == Policy::Stream && !is_whole {
                self.delivery = Delivery::Pieces;
            }
            let streaming = self.delivery == Delivery::Pieces;
            // Who has asked for the pieces of this message takes any number of them.
            let is_limited = !streaming || self.policy == Policy::Stream;
            self.assembler
                .begin_frame(&header, if is_limited { self.max_message_size } else { usize::MAX })?;
            if !streaming {
                self.delivery = Delivery::Whole;
            }
            if is_whole && !streaming {
                return self.message_in_place(&header, length).map(Some);
            }
            self.trace.record(header);
            self.queue.consume(length);
            self.work += 1;
            self.frame = Some(PartialFrame { header, taken: 0 });
        }
    }

    /// Checks the rules about headers that depend on the connection.
    fn check_header(&self, header: &FrameHeader) -> Result<(), ProtocolError> {
        // Section 5.2: zero unless a negotiated extension defines them. RFC 7692 section 6 defines RSV1 on the first
        // frame of a message.
        let starts_message = matches!(header.opcode, Opcode::Text | Opcode::Binary);
        let known = if starts_message { self.message_rsv } else { 0 };
        if header.rsv & !known != 0 {
            return Err(ProtocolError::ReservedBits(header.rsv & !known));
        }
        match (self.role, header.masking_key) {
            (Role::Client, Some(_)) => Err(ProtocolError::MaskedFrame),
            (Role::Server, None) => Err(ProtocolError::UnmaskedFrame),
            _ => Ok(()),
        }
    }

    /// Unmasks a payload that is complete in the input, and returns its place there.
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

    fn message_in_place(
        &mut self,
        header: &FrameHeader,
        length: usize,
    ) -> Result<PendingEvent, ReceiveError> {
        let range = self.whole_payload(header, length);
        let data = &self.queue.as_slice()[range.clone()];
        if header.opcode == Opcode::Text && self.validate_utf8 && !utf8::is_valid(data) {
            return Err(ProtocolError::NotUtf8(Text::Message).into());
        }
        self.assembler.finish()?;
        Ok(PendingEvent::MessageInPlace(header.opcode, range))
    }

    fn control_frame(
        &mut self,
        header: &FrameHeader,
        length: usize,
    ) -> Result<Option<PendingEvent>, ReceiveError> {
        if self.queue.len() - length < header.payload_length as usize {
            return Ok(None);
        }
        let range = self.whole_payload(header, length);
        Ok(Some(match header.opcode {
            Opcode::Ping => PendingEvent::Ping(range),
            Opcode::Pong => PendingEvent::Pong(range),
            _ => PendingEvent::Close(CloseFrame::parse(&self.queue.as_slice()[range], self.validate_utf8)?),
        }))
    }

    /// Takes the payload of a data frame that has arrived. Returns an event if that completes a message or a piece.
    fn continue_frame(&mut self, mut partial: PartialFrame) -> Result<Option<PendingEvent>, ReceiveError> {
        let streaming = self.delivery == Delivery::Pieces;
        while partial.taken < partial.header.payload_length && !self.queue.is_empty() {
            if streaming && self.assembler.data().len() >= STREAM_PIECE {
                break;
            }
            let expected = partial.header.payload_length - partial.taken;
            if self.work > WORK {
                break;
            }
            let step = match (self.assembler.is_inflating(), streaming || self.assembler.is_forgetting()) {
                (true, true) => STREAM_STEP,
                (true, false) => INFLATE_STEP,
                (false, true) => STREAM_PIECE,
                (false, false) => usize::MAX,
            };
            let count = (expected.min(self.queue.len() as u64) as usize).min(step);
            let piece = &mut self.queue.as_mut_slice()[..count];
            if let Some(key) = partial.header.masking_key {
                mask::apply(key, (partial.taken % 4) as usize, piece);
            }
            self.work += self.assembler.push(piece, if streaming { 0 } else { expected })? / 1024;
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
                if streaming {
                    PendingEvent::Piece { last: true }
                } else {
                    PendingEvent::MessageAssembled(opcode)
                }
            }));
        }
        if streaming && !self.assembler.data().is_empty() {
            self.assembled = true;
            return Ok(Some(PendingEvent::Piece { last: false }));
        }
        Ok(None)
    }
}
