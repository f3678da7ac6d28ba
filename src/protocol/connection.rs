//! The open connection (RFC 6455 sections 5 to 8): how it closes and how it fails.
//!
//! Interprets its input queue one event at a time and only when asked, and appends frames to its output
//! queue. Messages are put together in `incoming` and taken apart in
//! `outgoing`. Knows neither where the bytes come from nor where they go.

use rand::rngs::StdRng;

use super::buffer::Buffer;
use super::close::CloseFrame;
use super::deflate::{self, Deflater, Inflater, NegotiatedParameters};
use super::error::{ReceiveError, SendError};
use super::frame::{FrameHeader, MAX_CONTROL_PAYLOAD, Opcode};
use super::incoming::{Incoming, PendingEvent};
use super::message::Assembler;
use super::outgoing::Outgoing;
use super::role::Role;

pub use super::event::Event;

/// The choices about a connection.
#[derive(Clone, Debug)]
pub struct Config {
    /// The most bytes of one message; a larger one fails the connection with 1009.
    pub max_message_size: usize,
    /// Whether a client masks its frames. RFC 6455 section 5.1 wants it; some private servers do
    /// without. A server never masks.
    pub use_masking: bool,
    /// Messages of more bytes than this are sent in fragments of this size; 0: never.
    pub fragment_size: usize,
    /// What to offer (a client) or to accept (a server) of permessage-deflate; `None`: nothing.
    pub deflate: Option<deflate::Options>,
    /// Where the nonce and the masking keys come from, if not from the system's generator: the same numbers for the
    /// same seed. For tests; a peer must not be able to predict them (section 10.3).
    pub seed: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_message_size: 65535, use_masking: true, fragment_size: 0, deflate: None, seed: None }
    }
}

/// Inputs: [`input`](Self::input), then [`next_event`](Self::next_event) until it is `None`;
/// [`send`](Self::send), [`send_close`](Self::send_close), [`reply_close`](Self::reply_close).
/// Output: [`output`](Self::output), which the caller writes somewhere and consumes.
#[derive(Debug)]
pub struct Connection {
    incoming: Incoming,
    outgoing: Outgoing,
    close_sent: Option<CloseFrame>,
    close_received: Option<CloseFrame>,
    failed: bool,
}

impl Connection {
    /// A connection whose opening handshake is complete. `input` may hold what came right after
    /// it, `output` bytes that have not been written yet; `compression` is the outcome of the negotiation.
    #[must_use]
    pub fn new(
        role: Role,
        config: Config,
        compression: Option<NegotiatedParameters>,
        rng: StdRng,
        input: Buffer,
        output: Buffer,
    ) -> Self {
        let keys = (role == Role::Client && config.use_masking).then_some(rng);
        let inflater = compression.as_ref().map(Inflater::new);
        Self {
            incoming: Incoming::new(role, config.max_message_size, input, inflater),
            outgoing: Outgoing::new(output, keys, compression.map(Deflater::new), config.fragment_size),
            close_sent: None,
            close_received: None,
            failed: false,
        }
    }

    /// The queue of bytes from the peer, to be appended to. What comes after a close frame or
    /// an error is of no interest any more (section 1.4) and is dropped by `next_event`.
    pub fn input(&mut self) -> &mut Buffer {
        self.incoming.queue()
    }

    /// The queue of bytes to the peer, to be written and consumed.
    pub fn output(&mut self) -> &mut Buffer {
        self.outgoing.queue()
    }

    /// What puts messages together, for its storage.
    pub fn assembler(&mut self) -> &mut Assembler {
        self.incoming.assembler()
    }

    #[must_use]
    pub fn output_len(&self) -> usize {
        self.outgoing.queue_len()
    }

    /// Bytes that have arrived and were not interpreted yet.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.incoming.queue_len()
    }

    /// Whether there are none, not even those of the last event.
    #[must_use]
    pub fn is_input_empty(&self) -> bool {
        self.incoming.is_queue_empty()
    }

    /// The number of complete frames that the peer has sent, of any kind.
    #[must_use]
    pub fn frames_received(&self) -> u64 {
        self.incoming.frames_received()
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
        self.incoming.set_max_message_size(bytes);
    }

    /// Whether frame headers are kept for a log.
    pub fn set_trace(&mut self, on: bool) {
        self.incoming.trace().set(on);
        self.outgoing.trace().set(on);
    }

    /// Whether they are.
    #[must_use]
    pub fn is_traced(&self) -> bool {
        self.incoming.is_traced()
    }

    /// The headers that were received, and those that were sent, since the last call.
    pub fn take_trace(&mut self) -> (Vec<FrameHeader>, Vec<FrameHeader>) {
        (self.incoming.trace().take(), self.outgoing.trace().take())
    }

    /// Whether each message is announced by [`Event::Begin`].
    pub fn set_announce(&mut self, announce: bool) {
        self.incoming.set_announce(announce);
    }

    /// Has the message that was just announced delivered in pieces. The limit for messages does not hold for it.
    /// Whether there was such a message.
    pub fn stream_message(&mut self) -> bool {
        self.incoming.stream_message()
    }

    /// Forgets a partly received message: what still comes of it is not delivered.
    pub fn forget_message(&mut self) {
        self.incoming.forget_message();
    }

    /// Forgets a partly received frame and message, and takes the next byte of input for the beginning of a
    /// frame. That is right where the bytes are not those of a network, which will still send the rest.
    pub fn reset(&mut self) {
        self.incoming.reset();
    }

    /// The next thing that the peer did, or `None` when more input is needed. After a close
    /// event and after an error it is `None` for good.
    ///
    /// # Errors
    /// The peer broke a rule. The close frame that says so (section 7.1.7) is in the output already.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, ReceiveError> {
        let pending = self.find_event()?;
        Ok(pending.and_then(|pending| self.event(pending)))
    }

    /// The data of the next event, if that is one more message of this kind as most are; `None`:
    /// [`next_event`](Self::next_event) tells what it is, if there is one.
    #[inline]
    pub fn short_message(&mut self, opcode: Opcode) -> Option<&[u8]> {
        if self.failed || self.close_received.is_some() {
            return None;
        }
        self.incoming.short_message(opcode)
    }

    /// The first half of [`next_event`](Self::next_event), which borrows nothing.
    pub(crate) fn find_event(&mut self) -> Result<Option<PendingEvent>, ReceiveError> {
        if self.failed || self.close_received.is_some() {
            self.incoming.discard();
            return Ok(None);
        }
        match self.incoming.next() {
            Ok(mut pending) => {
                if let Some(PendingEvent::Close(frame)) = &mut pending {
                    self.close_received = Some(std::mem::take(frame));
                }
                Ok(pending)
            }
            Err(error) => {
                self.failed = true;
                if self.close_sent.is_none() {
                    self.write_close(CloseFrame::about(error.code(), error.to_string()));
                }
                Err(error)
            }
        }
    }

    /// The second half: what was just found.
    pub(crate) fn event(&self, pending: PendingEvent) -> Option<Event<'_>> {
        match pending {
            PendingEvent::Close(_) => self.close_received.as_ref().map(Event::Close),
            pending => self.incoming.event(pending),
        }
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
            Opcode::Close | Opcode::Ping | Opcode::Pong if !fin => Err(SendError::ControlFragmented),
            Opcode::Close if data.len() > MAX_CONTROL_PAYLOAD => Err(SendError::ControlTooLong(data.len())),
            Opcode::Close => {
                let frame = CloseFrame::parse(data).map_err(|error| SendError::Close(error.to_string()))?;
                self.send_close(frame)
            }
            Opcode::Ping | Opcode::Pong => self.outgoing.control(opcode, data),
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
            let answer = self.close_received.as_ref().map(CloseFrame::echo).unwrap_or_default();
            self.write_close(answer);
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
