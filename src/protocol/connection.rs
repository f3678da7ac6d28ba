//! The open connection (RFC 6455 sections 5 to 8): every transition of its state is in this file.
//!
//! Interprets what is in its input queue one event at a time and only when asked, and appends what
//! is sent to its output queue. It knows neither where the bytes come from nor where they go.

use std::ops::Range;

use rand::rngs::StdRng;

use super::Role;
use super::buffer::Buffer;
use super::close::CloseFrame;
use super::deflate::{self, Agreement, Deflater, Inflater};
use super::error::{ProtocolError, SendError};
use super::frame::{FrameHeader, Opcode, RSV1, Trace};
use super::mask;
use super::message::Assembler;
use super::outgoing::Outgoing;

/// What may be chosen about a connection.
#[derive(Clone, Debug)]
pub struct Config {
    /// The most bytes of one message; a larger one fails the connection with 1009.
    pub max_message_size: usize,
    /// Whether a client masks its frames. RFC 6455 section 5.1 wants it; some private servers do
    /// without. A server never masks.
    pub use_masking: bool,
    /// Messages of more bytes than this are sent in fragments of this size; 0: never.
    pub fragment_size: usize,
    /// What to offer or to accept of permessage-deflate; `None`: nothing.
    pub deflate: Option<deflate::Options>,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_message_size: 65535, use_masking: true, fragment_size: 0, deflate: None }
    }
}

/// What the peer did. The data is borrowed from the connection: use it before the next call.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A complete message: text (then `data` is UTF-8) or binary.
    Message {
        opcode: Opcode,
        data: &'a [u8],
    },
    /// A message begins, if that is announced ([`Connection::set_announce`]). It will be one event when it is
    /// complete, or, if [`Connection::stream_message`] is called now, pieces as they come.
    Begin(Opcode),
    /// The next piece of a message that is streamed, of at most about 100 KiB; `last` may be empty. The pieces of
    /// a text are UTF-8 together, not each by itself.
    Piece {
        data: &'a [u8],
        last: bool,
    },
    /// Wants a pong with the same payload (section 5.5.2), which the caller sends.
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// The last event of a connection. Wants a close frame in reply, which the caller sends
    /// ([`Connection::reply_close`]).
    Close(&'a CloseFrame),
}

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

/// So many bytes of it are taken at once: what is compressed may become a thousand times as many.
const STREAM_STEP: usize = 64;

/// A frame whose payload has not all arrived.
#[derive(Debug)]
struct PartialFrame {
    header: FrameHeader,
    /// Payload bytes that were taken off the input already.
    taken: u64,
}

/// Where the data of an event lies; resolved to a slice when the event is handed out.
enum Found {
    MessageInPlace(Opcode, Range<usize>),
    MessageAssembled(Opcode),
    Begin(Opcode),
    Piece { last: bool },
    Ping(Range<usize>),
    Pong(Range<usize>),
    Close,
}

/// Inputs: [`input`](Self::input), then [`next_event`](Self::next_event) until it is `None`;
/// [`send`](Self::send), [`send_close`](Self::send_close), [`reply_close`](Self::reply_close).
/// Output: [`output`](Self::output), which the caller writes somewhere and consumes.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    max_message_size: usize,
    input: Buffer,
    /// Bytes at the start of `input` that the last event borrowed.
    borrowed: usize,
    /// The last event borrowed the assembler's data.
    assembled: bool,
    frame: Option<PartialFrame>,
    assembler: Assembler,
    announce: bool,
    delivery: Delivery,
    outgoing: Outgoing,
    /// RSV1 if permessage-deflate was agreed upon.
    message_rsv: u8,
    close_sent: Option<CloseFrame>,
    close_received: Option<CloseFrame>,
    failed: bool,
    frames_received: u64,
    trace: Trace,
}

impl Connection {
    /// A connection whose opening handshake is complete. `input` may hold what came right behind
    /// it, `output` what has not been written yet; `compression` is what was agreed upon.
    #[must_use]
    pub fn new(
        role: Role,
        config: Config,
        compression: Option<Agreement>,
        rng: StdRng,
        input: Buffer,
        output: Buffer,
    ) -> Self {
        let keys = (role == Role::Client && config.use_masking).then_some(rng);
        Self {
            role,
            max_message_size: config.max_message_size,
            input,
            borrowed: 0,
            assembled: false,
            frame: None,
            announce: false,
            delivery: Delivery::Whole,
            assembler: Assembler::new(compression.as_ref().map(Inflater::new)),
            message_rsv: if compression.is_some() { RSV1 } else { 0 },
            outgoing: Outgoing::new(output, keys, compression.map(Deflater::new), config.fragment_size),
            close_sent: None,
            close_received: None,
            failed: false,
            frames_received: 0,
            trace: Trace::default(),
        }
    }

    /// The queue of bytes from the peer, to be appended to. What comes behind a close frame or
    /// an error is of no interest any more (section 1.4) and is dropped by `next_event`.
    pub fn input(&mut self) -> &mut Buffer {
        &mut self.input
    }

    /// The queue of bytes to the peer, to be written and consumed.
    pub fn output(&mut self) -> &mut Buffer {
        self.outgoing.queue()
    }

    #[must_use]
    pub fn output_len(&self) -> usize {
        self.outgoing.queue_len()
    }

    /// Bytes that have arrived and were not interpreted yet.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.input.len() - self.borrowed
    }

    /// The number of complete frames that the peer has sent, of any kind.
    #[must_use]
    pub fn frames_received(&self) -> u64 {
        self.frames_received
    }

    #[must_use]
    pub fn close_received(&self) -> Option<&CloseFrame> {
        self.close_received.as_ref()
    }

    #[must_use]
    pub fn close_sent(&self) -> Option<&CloseFrame> {
        self.close_sent.as_ref()
    }

    /// Changes the message limit, from the next frame header on.
    pub fn set_max_message_size(&mut self, bytes: usize) {
        self.max_message_size = bytes;
    }

    /// Whether frame headers are kept for a log.
    pub fn set_trace(&mut self, on: bool) {
        self.trace.set(on);
        self.outgoing.trace().set(on);
    }

    /// The headers that were received, and those that were sent, since the last call.
    pub fn take_trace(&mut self) -> (Vec<FrameHeader>, Vec<FrameHeader>) {
        (self.trace.take(), self.outgoing.trace().take())
    }

    /// Whether each message is announced by [`Event::Begin`].
    pub fn set_announce(&mut self, announce: bool) {
        self.announce = announce;
    }

    /// Has the message that was just announced delivered in pieces. The limit for messages does not hold for it.
    pub fn stream_message(&mut self) {
        if self.delivery == Delivery::Announced {
            self.delivery = Delivery::Pieces;
        }
    }

    /// Forgets a partly received message: what still comes of it is not delivered.
    pub fn forget_message(&mut self) {
        self.settle();
        self.delivery = Delivery::Whole;
        self.assembler.forget();
    }

    /// Forgets a partly received frame and message, and takes the next byte of input for the beginning of a
    /// frame. That is right where the bytes are not those of a network, which will still send the rest.
    pub fn reset(&mut self) {
        self.settle();
        (self.frame, self.delivery) = (None, Delivery::Whole);
        self.assembler.reset();
        let complete = self.complete_frames();
        self.input.truncate(complete);
    }

    /// The length of the whole frames at the start of the input.
    fn complete_frames(&self) -> usize {
        let mut complete = 0;
        loop {
            let rest = &self.input.as_slice()[complete..];
            match FrameHeader::parse(rest) {
                Ok(Some((header, length))) if header.payload_length <= (rest.len() - length) as u64 => {
                    complete += length + header.payload_length as usize;
                }
                Ok(_) => return complete,
                // For `next_event` to report.
                Err(_) => return self.input.len(),
            }
        }
    }

    /// The next thing that the peer did, or `None` when more input is needed. After a close
    /// event and after an error it is `None` for good.
    ///
    /// # Errors
    /// The peer broke a rule. The close frame that says so (section 7.1.7) is in the output already.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, ProtocolError> {
        self.settle();
        if self.failed || self.close_received.is_some() {
            self.input.clear();
            return Ok(None);
        }
        match self.find_event() {
            Ok(None) => Ok(None),
            Ok(Some(found)) => Ok(Some(match found {
                Found::MessageInPlace(opcode, range) => {
                    Event::Message { opcode, data: &self.input.as_slice()[range] }
                }
                Found::MessageAssembled(opcode) => Event::Message { opcode, data: self.assembler.data() },
                Found::Begin(opcode) => Event::Begin(opcode),
                Found::Piece { last } => Event::Piece { data: self.assembler.data(), last },
                Found::Ping(range) => Event::Ping(&self.input.as_slice()[range]),
                Found::Pong(range) => Event::Pong(&self.input.as_slice()[range]),
                Found::Close => Event::Close(self.close_received.get_or_insert_default()),
            })),
            Err(error) => {
                self.failed = true;
                if self.close_sent.is_none() {
                    self.write_close(CloseFrame::about(&error));
                }
                Err(error)
            }
        }
    }

    /// Gives back what the last event borrowed.
    fn settle(&mut self) {
        self.input.consume(std::mem::take(&mut self.borrowed));
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
            let Some((header, length)) = FrameHeader::parse(self.input.as_slice())? else {
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
            let available = (self.input.len() - length) as u64;
            let is_whole = header.opcode != Opcode::Continuation && header.fin && !header.is_compressed();
            if is_whole && header.payload_length <= available && !streaming {
                return self.message_in_place(&header, length).map(Some);
            }
            self.trace.record(header);
            self.input.consume(length);
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
            mask::apply(key, 0, &mut self.input.as_mut_slice()[range.clone()]);
        }
        self.trace.record(*header);
        self.borrowed = range.end;
        self.frames_received += 1;
        range
    }

    fn message_in_place(&mut self, header: &FrameHeader, length: usize) -> Result<Found, ProtocolError> {
        let range = self.whole_payload(header, length);
        let data = &self.input.as_slice()[range.clone()];
        if header.opcode == Opcode::Text && simdutf8::basic::from_utf8(data).is_err() {
            return Err(ProtocolError::not_utf8("text message"));
        }
        self.assembler.finish()?;
        Ok(Found::MessageInPlace(header.opcode, range))
    }

    fn control_frame(&mut self, header: &FrameHeader, length: usize) -> Result<Option<Found>, ProtocolError> {
        if self.input.len() - length < header.payload_length as usize {
            return Ok(None);
        }
        let range = self.whole_payload(header, length);
        Ok(Some(match header.opcode {
            Opcode::Ping => Found::Ping(range),
            Opcode::Pong => Found::Pong(range),
            _ => {
                self.close_received = Some(CloseFrame::parse(&self.input.as_slice()[range])?);
                Found::Close
            }
        }))
    }

    /// Takes what has arrived of a data frame's payload; an event if that completes a message.
    fn continue_frame(&mut self, mut partial: PartialFrame) -> Result<Option<Found>, ProtocolError> {
        let streaming = self.delivery == Delivery::Pieces;
        while partial.taken < partial.header.payload_length && !self.input.is_empty() {
            if streaming && self.assembler.data().len() >= STREAM_PIECE {
                break;
            }
            let expected = partial.header.payload_length - partial.taken;
            let step = if streaming { STREAM_STEP } else { usize::MAX };
            let count = (expected.min(self.input.len() as u64) as usize).min(step);
            let piece = &mut self.input.as_mut_slice()[..count];
            if let Some(key) = partial.header.masking_key {
                mask::apply(key, (partial.taken % 4) as usize, piece);
            }
            self.assembler.push(piece, if streaming { 0 } else { expected })?;
            self.input.consume(count);
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

    /// Sends a message, a fragment of one, a ping or a pong.
    ///
    /// A message in fragments is a text or binary frame without `fin`, then
    /// [`Opcode::Continuation`] up to the one with `fin`; control frames may come between.
    ///
    /// # Errors
    /// See [`SendError`]. Nothing was sent then, and the connection is as it was.
    pub fn send(&mut self, opcode: Opcode, data: &[u8], fin: bool) -> Result<(), SendError> {
        self.check_open()?;
        match opcode {
            Opcode::Close => {
                let frame = CloseFrame::parse(data).map_err(|error| SendError::Close(error.to_string()))?;
                self.send_close(frame)
            }
            Opcode::Ping | Opcode::Pong => {
                if !fin {
                    return Err(SendError::ControlFragmented);
                }
                self.outgoing.control(opcode, data)
            }
            Opcode::Text | Opcode::Binary | Opcode::Continuation => self.outgoing.data(opcode, data, fin),
        }
    }

    /// Begins the closing handshake, or answers the peer's. Nothing can be sent afterwards.
    ///
    /// # Errors
    /// [`SendError::Closing`] if a close frame was sent before, [`SendError::NotOpen`] after a failure.
    pub fn send_close(&mut self, frame: CloseFrame) -> Result<(), SendError> {
        self.check_open()?;
        self.write_close(frame);
        Ok(())
    }

    /// Answers the peer's close frame with its own code (section 5.5.1), if no close frame was sent yet.
    pub fn reply_close(&mut self) {
        if self.close_sent.is_none() {
            let code = self.close_received.as_ref().and_then(|frame| frame.code);
            self.write_close(CloseFrame { code, reason: String::new() });
        }
    }

    fn check_open(&self) -> Result<(), SendError> {
        if self.close_sent.is_some() {
            Err(SendError::Closing)
        } else if self.failed {
            Err(SendError::NotOpen)
        } else {
            Ok(())
        }
    }

    fn write_close(&mut self, close: CloseFrame) {
        // It fits: CloseFrame sees to that.
        let _ = self.outgoing.control(Opcode::Close, &close.payload());
        self.close_sent = Some(close);
    }
}
