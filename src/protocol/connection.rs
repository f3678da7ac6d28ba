//! The open connection (RFC 6455 sections 5 to 8): how it closes and how it fails.
//!
//! Interprets its input queue one event at a time, only when asked, and appends frames to its output queue. `incoming`
//! assembles messages, `outgoing` splits them into frames. Does not know where the bytes come from or where they go.

use rand::rngs::StdRng;

use super::buffer::Buffer;
use super::close::CloseFrame;
use super::deflate::{Deflater, Inflater, NegotiatedParameters};
use super::error::{ReceiveError, SendError};
use super::frame::{FrameHeader, MAX_CONTROL_PAYLOAD, Opcode};
use super::incoming::{Incoming, PendingEvent};
use super::message::Assembler;
use super::outgoing::{Outgoing, Sharing};
use super::role::Role;
use crate::memory;

pub use super::config::Config;
pub use super::event::Event;

/// A message to many connections that have the same settings, but for compression.
///
/// ```
/// use luws::protocol::connection::{Config, SharedMessage};
/// use luws::protocol::error::SendError;
/// use luws::protocol::frame::Opcode;
/// use luws::session::Session;
///
/// let mut news = SharedMessage::new(Opcode::Text, b"news");
/// let mut member = Session::server(None, Config::default()).unwrap();
/// assert_eq!(member.send_shared(&mut news), Err(SendError::NotOpen)); // before the upgrade
/// ```
#[derive(Debug)]
pub struct SharedMessage<'a> {
    opcode: Opcode,
    data: &'a [u8],
    is_compressible: bool,
    frames: Vec<(Sharing, Vec<u8>)>,
}

impl<'a> SharedMessage<'a> {
    #[must_use]
    pub fn new(opcode: Opcode, data: &'a [u8]) -> Self {
        Self { opcode, data, is_compressible: true, frames: Vec::new() }
    }

    /// The same message, which no connection compresses.
    #[must_use]
    pub fn uncompressed(self) -> Self {
        Self { is_compressible: false, ..self }
    }

    #[must_use]
    pub fn data(&self) -> &'a [u8] {
        self.data
    }
}

/// The open connection. Inputs: [`input`](Self::input), then [`next_event`](Self::next_event) until it is `None`;
/// [`send`](Self::send), [`send_close`](Self::send_close), [`reply_close`](Self::reply_close). Output:
/// [`output`](Self::output), which the caller writes and consumes.
///
/// A [`Session`](crate::session::Session) makes one, and has an example; by itself it is for tests:
///
/// ```
/// use luws::protocol::Role;
/// use luws::protocol::buffer::Buffer;
/// use luws::protocol::connection::{Config, Connection, Event};
/// use luws::protocol::frame::Opcode;
/// use rand::SeedableRng;
/// use rand::rngs::StdRng;
///
/// let (rng, none) = (StdRng::seed_from_u64(1), Buffer::default);
/// let mut connection = Connection::new(Role::Server, Config::default(), None, rng, none(), none());
/// connection.input().extend(b"\x81\x82\0\0\0\0hi")?;
/// let event = connection.next_event()?;
/// assert_eq!(event, Some(Event::Message { opcode: Opcode::Text, data: b"hi" }));
/// connection.send(Opcode::Text, b"hi", true)?;
/// assert_eq!(connection.output_len(), 4);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Connection {
    incoming: Incoming,
    outgoing: Outgoing,
    validate_utf8: bool,
    close_sent: Option<CloseFrame>,
    close_received: Option<CloseFrame>,
    failed: bool,
}

impl Connection {
    /// A connection whose opening handshake is complete. `input` may hold bytes that came right after it, `output`
    /// bytes that have not been written yet; `compression` is the result of the negotiation.
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
        // Most connections have no compression.
        let inflater = compression.as_ref().map(|all| Box::new(Inflater::new(all).sharing(&config.spares)));
        let deflater = compression.map(|all| Box::new(Deflater::new(all).sharing(&config.spares)));
        Self {
            incoming: Incoming::new(role, &config, input, inflater),
            outgoing: Outgoing::new(output, keys, deflater, &config),
            validate_utf8: config.validate_utf8,
            close_sent: None,
            close_received: None,
            failed: false,
        }
    }

    /// The queue of bytes from the peer; the caller appends to it. Bytes after a close frame or an error are of no
    /// interest (section 1.4), and `next_event` drops them.
    pub fn input(&mut self) -> &mut Buffer {
        self.incoming.queue()
    }

    /// The queue of bytes to the peer; the caller writes and consumes them.
    pub fn output(&mut self) -> &mut Buffer {
        self.outgoing.queue()
    }

    /// The message assembler, for its storage.
    pub fn assembler(&mut self) -> &mut Assembler {
        self.incoming.assembler()
    }

    #[must_use]
    pub fn output_len(&self) -> usize {
        self.outgoing.queue_len()
    }

    /// The length of the frames for a message or a fragment with this much data, without compression.
    #[must_use]
    pub fn frame_len(&self, data: usize) -> usize {
        self.outgoing.frame_len(data)
    }

    /// Bytes received but not yet interpreted.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.incoming.queue_len()
    }

    /// Whether no received bytes are held, not even those of the last event.
    #[must_use]
    pub fn is_input_empty(&self) -> bool {
        self.incoming.is_queue_empty()
    }

    /// The number of complete frames that the peer has sent, of any kind.
    #[must_use]
    pub fn frames_received(&self) -> u64 {
        self.incoming.frames_received()
    }

    /// Whether text must be UTF-8.
    #[must_use]
    pub fn validates_utf8(&self) -> bool {
        self.validate_utf8
    }

    #[must_use]
    pub fn close_received(&self) -> Option<&CloseFrame> {
        self.close_received.as_ref()
    }

    #[must_use]
    pub fn close_sent(&self) -> Option<&CloseFrame> {
        self.close_sent.as_ref()
    }

    /// Changes the size limit of messages, from the next frame header on.
    pub fn set_max_message_size(&mut self, bytes: usize) {
        self.incoming.set_max_message_size(bytes);
    }

    /// Sets whether the messages that begin from now on are compressed, if the ends have agreed on compression (RFC
    /// 7692 section 6.1 leaves that to the sender).
    pub fn set_compression(&mut self, on: bool) {
        self.outgoing.set_compression(on);
    }

    /// Sets whether frame headers are recorded for a log.
    pub fn set_trace(&mut self, on: bool) {
        self.incoming.trace().set(on);
        self.outgoing.trace().set(on);
    }

    /// Whether frame headers are recorded.
    #[must_use]
    pub fn is_traced(&self) -> bool {
        self.incoming.is_traced()
    }

    /// Returns the headers received and sent since the last call.
    pub fn take_trace(&mut self) -> (Vec<FrameHeader>, Vec<FrameHeader>) {
        (self.incoming.trace().take(), self.outgoing.trace().take())
    }

    /// Sets whether each message is announced by [`Event::Begin`].
    pub fn set_announce(&mut self, announce: bool) {
        self.incoming.set_announce(announce);
    }

    /// Sets whether a message that is not complete in the input is delivered in pieces, without being announced. The
    /// size limit applies to all of them together.
    pub fn set_streaming(&mut self, on: bool) {
        self.incoming.set_streaming(on);
    }

    /// Has text that is sent not checked any more, because the caller knows that it is UTF-8.
    pub fn trust_text(&mut self) {
        self.outgoing.trust_text();
    }

    /// Delivers the message that was just announced in pieces; the size limit does not apply to it. Returns whether
    /// there was such a message.
    pub fn stream_message(&mut self) -> bool {
        self.incoming.stream_message()
    }

    /// Forgets a partly received message: the rest of it is not delivered.
    pub fn forget_message(&mut self) {
        self.incoming.forget_message();
    }

    /// Forgets a partly received frame and message, so that the next input byte begins a frame. For input that does not
    /// come from a network, which would still send the rest.
    pub fn reset(&mut self) {
        self.incoming.reset();
    }

    /// The next event, or `None` when more input is needed. After a close event or an error it is `None` for good.
    ///
    /// # Errors
    /// The peer broke a rule, or a message is over the limit. The close frame that reports it (section 7.1.7) is
    /// already in the output.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, ReceiveError> {
        let pending = self.find_event()?;
        Ok(pending.and_then(|pending| self.event(pending)))
    }

    /// The data of the next event, if it is a short message of this kind. `None` for anything else, which is left to
    /// [`next_event`](Self::next_event).
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
                self.fail(&error);
                Err(error)
            }
        }
    }

    /// Fails the connection (section 7.1.7). The close frame that reports the error is in the output, unless one was
    /// sent before. What was received and not delivered is dropped.
    pub(crate) fn fail(&mut self, error: &ReceiveError) {
        self.failed = true;
        self.incoming.discard();
        if self.close_sent.is_none() {
            self.write_close(CloseFrame::about(error.code(), error.to_string()));
        }
    }

    /// The second half: resolves the event that was just found.
    pub(crate) fn event(&self, pending: PendingEvent) -> Option<Event<'_>> {
        match pending {
            PendingEvent::Close(_) => self.close_received.as_ref().map(Event::Close),
            pending => self.incoming.event(pending),
        }
    }

    /// Sends a message, a fragment of one, a ping or a pong.
    ///
    /// A message in fragments is a text or binary frame without `fin`, then [`Opcode::Continuation`] frames up to one
    /// with `fin`; control frames may come between.
    ///
    /// # Errors
    /// See [`SendError`]. Nothing was sent then, and the connection is unchanged.
    pub fn send(&mut self, opcode: Opcode, data: &[u8], fin: bool) -> Result<(), SendError> {
        self.check_open()?;
        match opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong if !fin => Err(SendError::ControlFragmented),
            Opcode::Close if data.len() > MAX_CONTROL_PAYLOAD => Err(SendError::ControlTooLong(data.len())),
            Opcode::Close => {
                let frame = CloseFrame::parse(data, self.validate_utf8)
                    .map_err(|error| SendError::Close(error.to_string()))?;
                self.send_close(frame)
            }
            Opcode::Ping | Opcode::Pong => self.outgoing.control(opcode, data),
            Opcode::Text | Opcode::Binary | Opcode::Continuation => self.outgoing.data(opcode, data, fin),
        }
    }

    /// Sends a whole message, text or binary, as [`send`](Self::send) does; but `write` is given its frame at once, as
    /// header and data, where that needs no copy of the data: nothing waits, and they are neither masked nor compressed
    /// nor sent in fragments. `write` returns how many bytes it has taken, and the rest is queued. Returns how many
    /// that were.
    ///
    /// # Errors
    /// See [`SendError`]. Nothing was sent then, and the connection is unchanged.
    pub fn send_at_once(
        &mut self,
        opcode: Opcode,
        data: &[u8],
        write: impl FnOnce(&[u8], &[u8]) -> usize,
    ) -> Result<usize, SendError> {
        self.check_open()?;
        match self.outgoing.data_at_once(opcode, data, write)? {
            Some(count) => Ok(count),
            None => self.send(opcode, data, true).map(|()| 0),
        }
    }

    /// Sends a message to one of many connections: the first of those that share its frames makes them.
    ///
    /// # Errors
    /// See [`send`](Self::send).
    pub fn send_shared(&mut self, message: &mut SharedMessage<'_>) -> Result<(), SendError> {
        if message.is_compressible {
            return self.share(message);
        }
        let before = self.outgoing.set_compression(false);
        let result = self.share(message);
        self.outgoing.set_compression(before);
        result
    }

    fn share(&mut self, message: &mut SharedMessage<'_>) -> Result<(), SendError> {
        let sharing = self.outgoing.sharing();
        let made = sharing.and_then(|sharing| message.frames.iter().find(|(by, _)| *by == sharing));
        if let Some((_, frames)) = made {
            self.check_open()?;
            return self.outgoing.encoded(frames);
        }
        let before = self.output_len();
        self.send(message.opcode, message.data, true)?;
        // Without memory for a copy, the next one makes its own.
        if let Some(sharing) = sharing
            && let Ok(frames) = memory::copy(&self.outgoing.queue().as_slice()[before..])
        {
            message.frames.push((sharing, frames));
        }
        Ok(())
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

    /// Whether the connection has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
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
        // It fits, as every CloseFrame does.
        let _ = self.outgoing.control(Opcode::Close, &close.payload());
        self.close_sent = Some(close);
    }
}
