//! A connection through all its hops, in order: proxies, TLS, upgrade, frames. Bytes of the wire go in, events come
//! out; messages go in, bytes of the wire come out.
//!
//! Knows nothing of sockets, Lua or any particular proxy, and time only as far as it is told. Its owner reads, writes
//! and gives up on it when time is up.

use std::convert::Infallible;

use rand::rngs::StdRng;

use crate::http::{Outgoing, Response};
use crate::memory::OutOfMemory;
use crate::protocol::Role;
use crate::protocol::connection::{Config, Connection};
use crate::protocol::deflate::NegotiatedParameters;
use crate::protocol::error::{ProtocolError, ReceiveError};
use crate::protocol::frame::Opcode;
use crate::protocol::handshake::{ClientHandshake, ServerHandshake, UpgradeRequest};
use crate::proxy::Negotiation;
use crate::tls::{Acceptor, Connector, Tls, TlsError};

mod asking;
mod event;
mod failure;
mod keepalive;
mod opening;
mod proxy_hop;
mod queries;
mod random;
mod requests;
mod sending;
mod serving;
mod storage;
mod tls_hop;
mod transport;
mod unsent;
mod websocket;

use asking::Asking;
use event::STARVED;
pub use event::{BytesRead, CloseState, Event, Liveness, Status};
pub use failure::{Failure, Hop, Kind};
use failure::{Verdict, out_of_memory};
use keepalive::Keepalive;
use opening::{OpeningHandshake, Progress};
use random::generator;
pub use random::token;
use serving::Serving;
use tls_hop::TlsHop;
use transport::Transport;
use unsent::Unsent;
use websocket::WebSocket;

/// While this many bytes wait to be sent, only the most recent ping is answered (RFC 6455 section 5.5.3), so that a
/// peer that sends pings and never reads costs no memory.
const PONG_BACKLOG: usize = 64 * 1024;

/// Plaintext is encrypted only until this much ciphertext waits to be sent, so that a large message does not need its
/// memory twice.
const CIPHERTEXT: usize = 256 * 1024;

/// Storage that sessions share, so that idle ones need none. Its owner decides how much of it to keep, and for how
/// long.
///
/// ```
/// use luws::protocol::connection::Config;
/// use luws::session::{Session, Storage};
///
/// let (mut spare, mut session) = (Storage::default(), Session::server(None, Config::default())?);
/// session.borrow_input(&mut spare);
/// session.receive(b"GET / HTTP/1.1\r\n");
/// session.next_event()?;
/// session.give_back(&mut spare); // all that is empty
/// # Ok::<_, luws::session::Failure>(())
/// ```
#[derive(Debug, Default)]
pub struct Storage {
    pub input: Vec<u8>,
    pub ciphertext: Vec<u8>,
    pub sent_ciphertext: Vec<u8>,
    pub message: Vec<u8>,
    pub output: Vec<u8>,
}

/// A connection from its first byte to its last, for either role.
///
/// Inputs: [`receive_with`](Self::receive_with) or [`receive`](Self::receive), [`receive_end`](Self::receive_end), and
/// the functions that send: [`send`](Self::send), [`send_pong`](Self::send_pong), [`send_close`](Self::send_close),
/// [`reply_close`](Self::reply_close), [`shutdown`](Self::shutdown); and the time, with
/// [`keep_alive`](Self::keep_alive).
///
/// Outputs: [`next_event`](Self::next_event) until it is `None`, and [`send_with`](Self::send_with) while
/// [`sendable_len`](Self::sendable_len) is above 0. Each input and each event may produce output of both kinds.
/// `next_event` returns a failure; a caller that only writes sees [`Status::failed`].
///
/// Queries: everything that takes `&self`. They change nothing.
///
/// Two sessions, and the bytes that would go over the wire between them. `examples/blocking_client.rs` has a socket.
///
/// ```
/// use luws::protocol::connection::{Config, Event as Received};
/// use luws::protocol::frame::Opcode;
/// use luws::protocol::handshake::UpgradeRequest;
/// use luws::session::{Event, Session};
///
/// /// Moves what one end has to send to the other.
/// fn carry(from: &mut Session, to: &mut Session) {
///     let mut wire = Vec::new();
///     while from.sendable_len() > 0 {
///         from.send_with(|bytes| {
///             wire.extend_from_slice(bytes);
///             Ok::<_, std::convert::Infallible>(bytes.len())
///         })
///         .unwrap();
///     }
///     to.receive(&wire);
/// }
///
/// let request = UpgradeRequest::new("example.com", "/")?;
/// let mut client = Session::client(&request, None, Config::default())?;
/// let mut server = Session::server(None, Config::default())?;
///
/// carry(&mut client, &mut server);
/// assert!(matches!(server.next_event()?, Some(Event::Request(request)) if request.resource == "/"));
/// server.accept(None);
/// carry(&mut server, &mut client);
/// assert!(matches!(client.next_event()?, Some(Event::Open(_))));
///
/// client.send(Opcode::Text, b"hello", true)?;
/// carry(&mut client, &mut server);
/// let Some(Event::Received(Received::Message { data, .. })) = server.next_event()? else { panic!() };
/// assert_eq!(data, b"hello");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Session {
    role: Role,
    config: Config,
    transport: Transport,
    websocket: WebSocket,
    verdict: Verdict,
    waiting_pong: Option<Vec<u8>>,
    keepalive: Option<Box<Keepalive>>,
    wire_ended: bool,
    /// The bytes that the wire has taken.
    sent: u64,
    unsent: Unsent,
}

impl Session {
    /// A client that requests an upgrade, over TLS if there is a connector and the name of the host. Its first bytes
    /// can be sent at once.
    ///
    /// # Errors
    /// [`Kind::Tls`] if TLS cannot begin, [`Kind::Random`], [`Kind::Memory`].
    pub fn client(
        request: &UpgradeRequest,
        tls: Option<(&Connector, &str)>,
        config: Config,
    ) -> Result<Self, Failure> {
        let mut rng = generator(config.seed, Hop::Upgrade)?;
        let (handshake, head) = ClientHandshake::new(request, config.deflate.as_ref(), &mut rng);
        let tls = tls.map(|(connector, host)| Tls::client(connector, host));
        let mut session = Self::new(Role::Client, OpeningHandshake::Client(handshake), rng, tls, config)?;
        let queued = session.websocket.output().extend(&head);
        queued.map_err(|error| out_of_memory(Hop::Upgrade, error))?;
        Ok(session)
    }

    /// A server that waits for a request.
    ///
    /// # Errors
    /// See [`client`](Self::client).
    pub fn server(tls: Option<&Acceptor>, config: Config) -> Result<Self, Failure> {
        let rng = generator(config.seed, Hop::Upgrade)?;
        let handshake = OpeningHandshake::Server(ServerHandshake::default());
        Self::new(Role::Server, handshake, rng, tls.map(Tls::server), config)
    }

    /// A server that answers requests of all kinds, one after the other, until one of them becomes a WebSocket.
    ///
    /// # Errors
    /// See [`client`](Self::client).
    pub fn http_server(tls: Option<&Acceptor>, config: Config) -> Result<Self, Failure> {
        let rng = generator(config.seed, Hop::Upgrade)?;
        let handshake = OpeningHandshake::Serving(Serving::default());
        Self::new(Role::Server, handshake, rng, tls.map(Tls::server), config)
    }

    /// A client that makes requests, over TLS if there is a connector and the name of the host: each is answered by an
    /// [`Event::Response`], with a body of at most `most` bytes. The first one is queued.
    ///
    /// # Errors
    /// See [`client`](Self::client).
    pub fn http_client(
        request: &Outgoing,
        body: &[u8],
        most: usize,
        tls: Option<(&Connector, &str)>,
        config: Config,
    ) -> Result<Self, Failure> {
        let rng = generator(config.seed, Hop::Upgrade)?;
        let handshake = OpeningHandshake::Asking(Asking::new(request, most));
        let tls = tls.map(|(connector, host)| Tls::client(connector, host));
        let mut session = Self::new(Role::Client, handshake, rng, tls, config)?;
        let queued = asking::queue(request, body, session.websocket.output());
        queued.map_err(|error| out_of_memory(Hop::Upgrade, error))?;
        Ok(session)
    }

    fn new(
        role: Role,
        handshake: OpeningHandshake,
        rng: StdRng,
        tls: Option<Result<Tls, TlsError>>,
        config: Config,
    ) -> Result<Self, Failure> {
        let tls = tls.map(|tls| TlsHop::new(tls, Hop::Tls)).transpose()?;
        Ok(Self {
            role,
            config,
            transport: Transport::new(tls),
            websocket: WebSocket::new(handshake, rng),
            verdict: Verdict::default(),
            waiting_pong: None,
            keepalive: None,
            wire_ended: false,
            sent: 0,
            unsent: Unsent::default(),
        })
    }

    /// Adds a proxy, which is negotiated with before anything else is sent, including TLS. With several, each is
    /// reached through the one added before it. Must be called before anything is received.
    #[must_use]
    pub fn through(mut self, negotiation: Box<dyn Negotiation>) -> Self {
        self.transport.add_proxy(negotiation);
        // The negotiation may have to speak first.
        self.advance(0);
        self
    }

    /// Adds TLS to the proxy that is added next. Must be called before anything is received.
    ///
    /// # Errors
    /// TLS cannot begin; the failure is one of the proxy's hop.
    pub fn secured(mut self, connector: &Connector, host: &str) -> Result<Self, Failure> {
        self.transport.add_proxy_tls(TlsHop::new(Tls::client(connector, host), Hop::Proxy)?);
        Ok(self)
    }

    /// Has `read` put bytes from the wire into a buffer, and takes them. `max`, which must be above 0, limits the
    /// plaintext.
    ///
    /// Without TLS this is one read of at most `max` bytes, and `more` says that the read was full. With TLS, plaintext
    /// held from earlier reads is taken first. If that is less than `max`, the wire is read once, for 17 KiB or `max`
    /// bytes, whichever is more, and decrypted up to `max` bytes in total. `more` says that `plain` is `max`; the rest
    /// is held for the next call.
    ///
    /// While [`holds_more`](Self::holds_more), `read` must not block, since that would keep the held plaintext from the
    /// caller. It may fail at once; see below.
    ///
    /// The wire has ended when `wire` and `plain` are both 0 ([`BytesRead::is_end`]). A caller that reads until then
    /// loses nothing, because held plaintext comes first. `wire` alone says nothing: it is also 0 when the wire was not
    /// read.
    ///
    /// Without memory the session fails, and nothing more is read; `more` is set, for there is an event to take.
    ///
    /// # Errors
    /// Returns the errors of `read`, unless there was held plaintext; then the next call meets the error again.
    pub fn receive_with<E>(
        &mut self,
        max: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<BytesRead, E> {
        if self.is_starved() {
            return Ok(STARVED);
        }
        let held = if self.transport.holds_more() { self.advance(max) } else { 0 };
        if held > 0 && held >= max {
            return Ok(BytesRead { wire: 0, plain: held, more: true });
        }
        let before = self.websocket.input().len();
        let mut offered = 0;
        let read = |space: &mut [u8]| {
            offered = space.len();
            read(space)
        };
        let wire = match self.transport.receive_with(max, self.websocket.input(), read) {
            Ok(Ok(wire)) => wire,
            Ok(Err(error)) if held == 0 => return Err(error),
            Ok(Err(_)) => return Ok(BytesRead { wire: 0, plain: held, more: false }),
            Err(OutOfMemory) => {
                self.starve();
                return Ok(BytesRead { plain: held, ..STARVED });
            }
        };
        self.advance(max - held);
        let plain = held + self.websocket.input().len() - before;
        if self.is_starved() {
            return Ok(BytesRead { wire, plain, more: true });
        }
        // A read that came back full may have left something, even if TLS has made less of it.
        Ok(BytesRead { wire, plain, more: wire >= offered || plain >= max })
    }

    /// Whether bytes of the wire are plaintext and none are waiting, so that [`receive_storage`](Self::receive_storage)
    /// can take over the storage they were read into.
    #[must_use]
    pub fn takes_plain_input(&self) -> bool {
        self.transport.is_open_plain() && self.websocket.is_input_empty() && !self.verdict.is_untold()
    }

    /// Takes storage whose first `count` bytes have come from the wire, and leaves its own in exchange; otherwise like
    /// [`receive_with`](Self::receive_with).
    pub fn receive_storage(&mut self, storage: &mut Vec<u8>, count: usize, max: usize) -> BytesRead {
        self.websocket.input().exchange(storage, count);
        BytesRead { wire: count, plain: count, more: count >= max }
    }

    /// Takes all of these bytes from the wire. Returns how many bytes of plaintext they became, including what was
    /// held. Without memory the session fails.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        if self.is_starved() {
            return 0;
        }
        let before = self.websocket.input().len();
        let copy = |space: &mut [u8]| {
            space[..bytes.len()].copy_from_slice(bytes);
            Ok::<_, Infallible>(bytes.len())
        };
        match self.transport.receive_with(bytes.len(), self.websocket.input(), copy) {
            Ok(Ok(_)) => {}
            Err(OutOfMemory) => self.starve(),
        }
        self.advance(usize::MAX);
        self.websocket.input().len() - before
    }

    /// Takes bytes that are plaintext, whatever the wire carries, and that the caller has received itself. Without
    /// memory the session fails.
    pub fn receive_plain(&mut self, bytes: &[u8]) {
        if !self.is_starved() && self.websocket.input().extend(bytes).is_err() {
            self.starve();
        }
    }

    /// Notes that the wire has ended, and with it a body without a length. Bytes that came before can still become
    /// events, and [`receive_with`](Self::receive_with) still returns plaintext that TLS holds.
    pub fn receive_end(&mut self) {
        self.wire_ended = true;
    }

    /// Advances the hops with what they hold, up to `max` bytes of plaintext. Returns the number of those bytes.
    fn advance(&mut self, max: usize) -> usize {
        let input = self.websocket.input();
        let before = input.len();
        let result = self.transport.advance(input, max);
        let plain = input.len() - before;
        self.verdict.note(result);
        // The TLS handshake may be complete now.
        self.encrypt_pending();
        plain
    }

    /// Has `write` take bytes for the wire, and returns how many it took. If 0, nothing has changed.
    ///
    /// # Errors
    /// Returns the errors of `write`.
    pub fn send_with<E>(&mut self, write: impl FnOnce(&[u8]) -> Result<usize, E>) -> Result<usize, E> {
        let before = self.websocket.output_len();
        let count = self.transport.send_with(self.websocket.output(), write)?;
        self.sent += count as u64;
        self.unsent.left(before - self.websocket.output_len());
        self.unsent.written(self.sent);
        if count > 0
            && self.outgoing_len() < PONG_BACKLOG
            && let Some(payload) = self.waiting_pong.take()
        {
            // If the connection is closing by now, the ping needs no answer.
            let _ = self.send(Opcode::Pong, &payload, true);
        }
        if count > 0 && (self.websocket.output_len() > 0 || self.transport.is_layered()) {
            self.encrypt_pending();
        }
        Ok(count)
    }

    /// The next event, or `None` when more bytes are needed. After a failure it is `None` for good.
    ///
    /// # Errors
    /// The session has failed. There may still be bytes to send that tell the peer.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, Failure> {
        let closing = match &mut self.websocket {
            WebSocket::Opening { .. } => return self.next_opening_event(),
            WebSocket::Open { connection, .. } => connection.close_sent().is_some(),
        };
        match self.websocket.connection_mut().map(Connection::find_event) {
            Some(Ok(Some(pending))) => {
                let event = self.connection().and_then(|connection| connection.event(pending));
                Ok(event.map(Event::Received))
            }
            Some(Err(error)) => Err(self.fail(&error, closing)),
            Some(Ok(None)) | None => self.nothing_more(),
        }
    }

    /// The data of the next event, if it is a short message of this kind; faster than `next_event`. See
    /// [`Connection::short_message`].
    #[inline]
    pub fn short_message(&mut self, opcode: Opcode) -> Option<&[u8]> {
        self.websocket.connection_mut()?.short_message(opcode)
    }

    fn next_opening_event(&mut self) -> Result<Option<Event<'_>>, Failure> {
        // Over TLS, only close_notify tells the end of a body from its loss (RFC 9112 section 9.8).
        let ended = self.transport.tls().map_or(self.wire_ended, Tls::is_ended) && !self.holds_more();
        let WebSocket::Opening { handshake, input, output, .. } = &mut self.websocket else {
            return Ok(None);
        };
        match handshake.advance(input, output, ended) {
            Ok(Progress::Waiting) => self.nothing_more(),
            Ok(Progress::Accepted(accepted)) => {
                self.open(accepted.response, accepted.compression);
                Ok(self.response().map(Event::Open))
            }
            Ok(Progress::Requested) => Ok(self.websocket.request().map(Event::Request)),
            Ok(Progress::Head) => Ok(self.http_request().map(Event::RequestHead)),
            Ok(Progress::Body) => Ok(self.http_body().map(Event::RequestBody)),
            Ok(Progress::Response) => Ok(self.websocket.asking().and_then(Asking::body).map(Event::Response)),
            Err(failure) => {
                // A server's refusal may wait to be sent.
                self.encrypt_pending();
                Err(self.verdict.told(failure))
            }
        }
    }

    /// The result when there is no event: `None`, or the failure of a hop that has not been returned yet.
    fn nothing_more(&mut self) -> Result<Option<Event<'_>>, Failure> {
        let Err(failure) = self.verdict.tell() else { return Ok(None) };
        match self.connection() {
            Some(connection) if failure.kind == Kind::Memory && !connection.has_failed() => {
                Err(self.end_for_memory())
            }
            _ => Err(failure),
        }
    }

    /// Notes that there was no memory for received bytes. The session fails when the events that came before them are
    /// taken; until then it takes no more bytes.
    fn starve(&mut self) {
        let failure = out_of_memory(self.hop(), OutOfMemory);
        self.verdict.note(Err(failure));
    }

    /// Whether there was no memory, and the owner has not been told.
    fn is_starved(&self) -> bool {
        self.verdict.is_untold() && self.failure().is_some_and(|failure| failure.kind == Kind::Memory)
    }

    /// Fails the session because its owner has no memory for the last event. What came after it is dropped.
    pub fn fail_for_memory(&mut self) {
        let failure = self.end_for_memory();
        self.verdict.retell(failure);
    }

    /// Ends the open connection for want of memory, and drops what it holds.
    fn end_for_memory(&mut self) -> Failure {
        let error = ReceiveError::OutOfMemory;
        let Some(connection) = self.websocket.connection_mut() else {
            return self.verdict.told(out_of_memory(self.hop(), OutOfMemory));
        };
        let closing = connection.close_sent().is_some();
        connection.fail(&error);
        self.fail(&error, closing)
    }

    /// Fails the open connection. Its close frame is in the output, unless one was sent before.
    fn fail(&mut self, error: &ReceiveError, closing: bool) -> Failure {
        self.encrypt_pending();
        let kind = match error {
            ReceiveError::TooBig { .. } => Kind::TooBig,
            ReceiveError::OutOfMemory => Kind::Memory,
            ReceiveError::Protocol(ProtocolError::NotUtf8(_) | ProtocolError::NotDeflate) => Kind::Encoding,
            ReceiveError::Protocol(_) => Kind::Protocol,
        };
        let close_code = (!closing).then(|| error.code());
        self.verdict.told(Failure { close_code, ..Failure::new(Hop::Frames, kind, error) })
    }

    fn open(&mut self, response: Response, compression: Option<NegotiatedParameters>) {
        self.websocket.open(self.role, self.config.clone(), response, compression);
    }

    /// Encrypts the plaintext to be sent, as far as that is needed now, once the TLS handshake is complete. Every input
    /// ends with this.
    fn encrypt_pending(&mut self) {
        self.encrypt(CIPHERTEXT);
    }

    /// Encrypts until `most` bytes of ciphertext wait to be sent.
    fn encrypt(&mut self, most: usize) {
        let before = self.websocket.output_len();
        let result = self.transport.encrypt(self.websocket.output(), most);
        let count = before - self.websocket.output_len();
        if count > 0 {
            self.unsent.encrypted(count, self.sent + self.transport.outgoing_len() as u64);
        }
        self.verdict.note(result);
    }

    /// Changes the message limit: [`Connection::set_max_message_size`].
    pub fn set_max_message_size(&mut self, bytes: usize) {
        self.config.max_message_size = bytes;
        if let Some(connection) = self.websocket.connection_mut() {
            connection.set_max_message_size(bytes);
        }
    }

    /// The open connection, for its settings. A frame sent on it directly is encrypted only with the next input of the
    /// session.
    pub fn connection_mut(&mut self) -> Option<&mut Connection> {
        self.websocket.connection_mut()
    }
}
