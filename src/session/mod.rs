//! A connection through all its hops, in order: proxies, TLS, upgrade, frames. Bytes of the wire go in, events come
//! out; messages go in, bytes of the wire come out.
//!
//! Knows nothing of sockets, Lua or any particular proxy, and time only as far as it is told. Its owner reads, writes and
//! gives up on it when time is up.

use std::convert::Infallible;

use crate::http::{self, Body, Header, Outgoing, Reply, Response};
use crate::memory::OutOfMemory;
use crate::protocol::Role;
use crate::protocol::close::CloseFrame;
use crate::protocol::connection::{Config, Connection, SharedMessage};
use crate::protocol::deflate::NegotiatedParameters;
use crate::protocol::error::{InvalidRequest, ProtocolError, ReceiveError, SendError};
use crate::protocol::frame::Opcode;
use crate::protocol::handshake::{self, ClientHandshake, Request, ServerHandshake, UpgradeRequest};
use crate::proxy::{Negotiation, Retry};
use crate::tls::{Acceptor, Connector, Peer, Tls};

mod asking;
mod event;
mod failure;
mod keepalive;
mod opening;
mod proxy_hop;
mod random;
mod serving;
mod tls_hop;
mod transport;
mod unsent;
mod websocket;

use asking::Asking;
use event::STARVED;
pub use event::{BytesRead, CloseState, Event, Liveness, Status};
pub use failure::{Failure, Hop, Kind};
use failure::{Verdict, out_of_memory};
use keepalive::{Keepalive, Queue, Step};
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

/// The plaintext in a full TLS record, and more than any cipher adds to one, in bytes.
const TLS_RECORD: usize = 16 * 1024;
const TLS_OVERHEAD: usize = 128;

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
        let tls =
            tls.map(|(connector, host)| TlsHop::new(Tls::client(connector, host), Hop::Tls)).transpose()?;
        let websocket = WebSocket::new(OpeningHandshake::Client(handshake), rng);
        let mut session = Self::new(Role::Client, websocket, tls, config);
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
        let tls = tls.map(|acceptor| TlsHop::new(Tls::server(acceptor), Hop::Tls)).transpose()?;
        let websocket = WebSocket::new(OpeningHandshake::Server(ServerHandshake::default()), rng);
        Ok(Self::new(Role::Server, websocket, tls, config))
    }

    /// A server that answers requests of all kinds, one after the other, until one of them becomes a WebSocket.
    ///
    /// # Errors
    /// See [`client`](Self::client).
    pub fn http_server(tls: Option<&Acceptor>, config: Config) -> Result<Self, Failure> {
        let mut session = Self::server(tls, config)?;
        if let WebSocket::Opening { handshake, .. } = &mut session.websocket {
            *handshake = OpeningHandshake::Serving(Serving::default());
        }
        Ok(session)
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
        let tls =
            tls.map(|(connector, host)| TlsHop::new(Tls::client(connector, host), Hop::Tls)).transpose()?;
        let websocket = WebSocket::new(OpeningHandshake::Asking(Asking::new(request, most)), rng);
        let mut session = Self::new(Role::Client, websocket, tls, config);
        let queued = asking::queue(request, body, session.websocket.output());
        queued.map_err(|error| out_of_memory(Hop::Upgrade, error))?;
        Ok(session)
    }

    fn new(role: Role, websocket: WebSocket, tls: Option<TlsHop>, config: Config) -> Self {
        let (transport, verdict) = (Transport::new(tls), Verdict::default());
        Self {
            role,
            config,
            transport,
            websocket,
            verdict,
            waiting_pong: None,
            keepalive: None,
            wire_ended: false,
            sent: 0,
            unsent: Unsent::default(),
        }
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
        let ended = self.wire_ended && !self.holds_more();
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

    /// Accepts the request of the last event; `subprotocol` must be one that it offers.
    pub fn accept(&mut self, subprotocol: Option<&str>) {
        self.accept_with(subprotocol, &[]);
    }

    /// Accepts the request of the last event, if it asks for an upgrade, and adds headers to the response.
    pub fn accept_with(&mut self, subprotocol: Option<&str>, headers: &[Header]) {
        let served = self.websocket.serving().and_then(|serving| serving.upgrade().ok());
        if let Some(request) = served.as_ref().or(self.websocket.request()) {
            let (head, compression) = request.acceptance(subprotocol, self.config.deflate.as_ref(), headers);
            if self.websocket.output().extend(&head).is_err() {
                return self.starve();
            }
            self.open(Response::default(), compression);
            self.encrypt_pending();
        }
    }

    /// The request of the last [`Event::RequestHead`].
    #[must_use]
    pub fn http_request(&self) -> Option<&http::Request> {
        self.websocket.serving().and_then(Serving::request)
    }

    /// The body of that request, once it is complete.
    #[must_use]
    pub fn http_body(&self) -> Option<&[u8]> {
        self.websocket.serving().and_then(Serving::body)
    }

    /// Takes the body of the request, if it has at most so many bytes: [`Event::RequestBody`] follows, even if there is
    /// none.
    ///
    /// # Errors
    /// It is larger, or there is one and `most` is 0. The request is still to be answered.
    pub fn take_body(&mut self, most: usize) -> Result<(), InvalidRequest> {
        let Some((serving, output)) = self.websocket.serving_mut() else { return Ok(()) };
        serving.take_body(most, output)?;
        self.encrypt_pending();
        Ok(())
    }

    /// What is wrong with the request as an upgrade, or `None`.
    #[must_use]
    pub fn upgrade_problem(&self) -> Option<InvalidRequest> {
        self.websocket.serving().and_then(|serving| serving.upgrade().err())
    }

    /// Answers the request of the last event with this head and body. Returns whether another request may follow; that
    /// takes a complete request. If `body` is shorter than the reply says, [`send_body`](Self::send_body) must send the
    /// rest.
    pub fn reply(&mut self, reply: &Reply<'_>, body: &[u8]) -> bool {
        let Some((serving, output)) = self.websocket.serving_mut() else { return false };
        let Ok(keeps_alive) = serving.reply(reply, body, output) else {
            self.starve();
            return false;
        };
        self.encrypt_pending();
        keeps_alive
    }

    /// Sends more of a response's body.
    pub fn send_body(&mut self, bytes: &[u8]) {
        if self.websocket.serving().is_some() {
            if self.websocket.output().extend(bytes).is_err() {
                return self.starve();
            }
            self.encrypt_pending();
        }
    }

    /// Whether the response to the last request allows another one on this connection.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        let keeps_alive = self.websocket.asking().is_some_and(Asking::keeps_alive);
        keeps_alive && self.outgoing_len() == 0 && self.incoming_len() == 0 && !self.wire_ended
    }

    /// Makes another request. Returns false if that cannot be; see [`can_ask`](Self::can_ask).
    pub fn ask(&mut self, request: &Outgoing, body: &[u8], most: usize) -> bool {
        if !self.can_ask() {
            return false;
        }
        if let WebSocket::Opening { handshake, output, .. } = &mut self.websocket {
            *handshake = OpeningHandshake::Asking(Asking::new(request, most));
            if asking::queue(request, body, output).is_err() {
                self.starve();
                return false;
            }
            self.encrypt_pending();
        }
        true
    }

    /// Refuses the request of the last event with an HTTP status of 400 or above.
    pub fn refuse(&mut self, status: u16, message: &str) {
        if let WebSocket::Opening { handshake: handshake @ OpeningHandshake::Requested(_), output, .. } =
            &mut self.websocket
        {
            if output.extend(&handshake::refusal(status, message)).is_err() {
                return self.starve();
            }
            *handshake = OpeningHandshake::Over(Response::default());
            self.encrypt_pending();
        }
    }

    /// Sends a message, a fragment, or a control frame: [`Connection::send`].
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(&mut self, opcode: Opcode, data: &[u8], fin: bool) -> Result<(), SendError> {
        let connection = self.websocket.connection_mut().ok_or(SendError::NotOpen)?;
        connection.send(opcode, data, fin)?;
        if !opcode.is_control() {
            self.unsent.note(data.len(), connection.output_len());
        }
        self.encrypt_pending();
        Ok(())
    }

    /// Sends a message to one of many sessions: [`Connection::send_shared`].
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_shared(&mut self, message: &mut SharedMessage<'_>) -> Result<(), SendError> {
        let connection = self.websocket.connection_mut().ok_or(SendError::NotOpen)?;
        connection.send_shared(message)?;
        self.unsent.note(message.data().len(), connection.output_len());
        self.encrypt_pending();
        Ok(())
    }

    /// Answers a ping: at once, or, if the peer is not reading, when it reads again.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_pong(&mut self, payload: &[u8]) -> Result<(), SendError> {
        if self.outgoing_len() >= PONG_BACKLOG {
            self.waiting_pong = Some(payload.to_vec());
            return Ok(());
        }
        self.send(Opcode::Pong, payload, true)
    }

    /// Pings the peer after `interval` seconds of silence, and gives it up after `timeout` more, as far as
    /// [`keep_alive`](Self::keep_alive) is called. With a `timeout` of 0 it only pings.
    pub fn set_keepalive(&mut self, interval: f64, timeout: f64) {
        self.keepalive = Some(Box::new(Keepalive::new(interval, timeout)));
    }

    /// Sends the ping that is due, if any. `now` is the time, and `heard` is when bytes were last received, both in seconds
    /// on the same clock. Must be called after a read that has found nothing; otherwise the peer may have answered.
    pub fn keep_alive(&mut self, now: f64, heard: f64) -> Liveness {
        let queue = Queue { outgoing: self.outgoing_len(), taken: self.sent };
        match self.keepalive.as_mut().map(|keepalive| keepalive.advance(now, heard, queue)) {
            None | Some(Step::Wait) => Liveness::Waiting,
            Some(Step::Dead) => Liveness::Dead,
            Some(Step::Ping(payload)) => {
                // If the connection is closing, the peer is to answer the close frame instead.
                let _ = self.send(Opcode::Ping, &payload, true);
                Liveness::Asked
            }
        }
    }

    /// When [`keep_alive`](Self::keep_alive) has something to do at the latest, if nothing is received until then.
    #[must_use]
    pub fn keepalive_due(&self, heard: f64) -> f64 {
        self.keepalive.as_ref().map_or(f64::INFINITY, |keepalive| keepalive.due(heard))
    }

    /// Whether a pong with this payload answers a ping of [`keep_alive`](Self::keep_alive), and the seconds that it has
    /// taken, if it is the pong of the last one. It was received at the time `heard`.
    pub fn keepalive_answer(&mut self, pong: &[u8], heard: f64) -> (bool, Option<f64>) {
        let Some(keepalive) = &mut self.keepalive else { return (false, None) };
        (keepalive.is_answer(pong), keepalive.latency(pong, heard))
    }

    /// Begins the closing handshake: [`Connection::send_close`].
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_close(&mut self, frame: CloseFrame) -> Result<(), SendError> {
        let connection = self.websocket.connection_mut().ok_or(SendError::NotOpen)?;
        connection.send_close(frame)?;
        self.encrypt_pending();
        Ok(())
    }

    /// Answers the peer's close frame: [`Connection::reply_close`].
    pub fn reply_close(&mut self) {
        if let Some(connection) = self.websocket.connection_mut() {
            connection.reply_close();
            self.encrypt_pending();
        }
    }

    /// Queues TLS's close_notify, after the last frame.
    pub fn shutdown(&mut self) {
        self.encrypt(usize::MAX);
        self.transport.shutdown();
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

    /// Borrows storage for received bytes, until [`give_back`](Self::give_back).
    pub fn borrow_input(&mut self, spare: &mut Storage) {
        for tls in self.transport.all_tls_mut() {
            tls.with_incoming(|queue| queue.borrow(&mut spare.ciphertext));
        }
        self.websocket.input().borrow(&mut spare.input);
    }

    /// Borrows storage for assembling messages, until [`give_back`](Self::give_back).
    pub fn borrow_message(&mut self, spare: &mut Storage) {
        if let Some(connection) = self.websocket.connection_mut() {
            connection.assembler().borrow(&mut spare.message);
        }
    }

    /// Borrows storage for bytes to send, until [`give_back_output`](Self::give_back_output).
    pub fn borrow_output(&mut self, spare: &mut Storage) {
        for tls in self.transport.all_tls_mut() {
            tls.with_outgoing(|queue| queue.borrow(&mut spare.sent_ciphertext));
        }
        self.websocket.output().borrow(&mut spare.output);
    }

    /// Gives back input storage that is not needed now, whether it was borrowed or has grown, so that an idle session
    /// has almost none. Returns the length of the longest message assembled since the last call.
    pub fn give_back(&mut self, spare: &mut Storage) -> usize {
        for tls in self.transport.all_tls_mut() {
            tls.with_incoming(|queue| queue.give_back(&mut spare.ciphertext));
        }
        self.websocket.input().give_back(&mut spare.input);
        let connection = self.websocket.connection_mut();
        connection.map_or(0, |connection| connection.assembler().give_back(&mut spare.message))
    }

    /// Gives back output storage that is not needed now.
    pub fn give_back_output(&mut self, spare: &mut Storage) {
        for tls in self.transport.all_tls_mut() {
            tls.with_outgoing(|queue| queue.give_back(&mut spare.sent_ciphertext));
        }
        self.websocket.output().give_back(&mut spare.output);
    }

    /// The state of the session, in one answer.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            hop: self.hop(),
            ended: self.transport.all_tls().any(Tls::is_ended),
            failed: self.verdict.failure().is_some(),
            incoming: self.incoming_len(),
            outgoing: self.outgoing_len(),
            sendable: self.sendable_len(),
            frames: self.connection().map_or(0, Connection::frames_received),
        }
    }

    /// The first hop that was never complete; [`Hop::Frames`] if the connection is or was open.
    #[must_use]
    pub fn hop(&self) -> Hop {
        let above = if self.connection().is_some() { Hop::Frames } else { Hop::Upgrade };
        self.transport.incomplete().unwrap_or(above)
    }

    /// Why the session has failed, if it has. [`next_event`](Self::next_event) returns the failure once, after the
    /// events that came before it.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.verdict.failure()
    }

    /// Whether [`next_event`](Self::next_event) may return something without more bytes from the wire.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.incoming_len() > 0 || self.has_news()
    }

    /// Whether [`next_event`](Self::next_event) has yet to return a failure.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.verdict.is_untold()
    }

    /// Whether bytes from the wire still wait inside TLS, so that [`receive_with`](Self::receive_with) may bring
    /// plaintext even if the wire has nothing.
    #[must_use]
    pub fn holds_more(&self) -> bool {
        self.transport.holds_more()
    }

    /// Bytes of plaintext received but not yet interpreted.
    #[must_use]
    pub fn incoming_len(&self) -> usize {
        self.websocket.input_len()
    }

    /// The bytes that wait to be sent, including those that must wait for an earlier step.
    #[must_use]
    pub fn outgoing_len(&self) -> usize {
        self.transport.outgoing_len() + self.websocket.output_len()
    }

    /// How many bytes the wire has taken since the beginning.
    #[must_use]
    pub fn sent_len(&self) -> u64 {
        self.sent
    }

    /// The bytes of data of the messages and fragments whose last byte the wire has not taken yet.
    #[must_use]
    pub fn unsent_len(&self) -> usize {
        self.unsent.total()
    }

    /// By how much a message or a fragment with this much data makes [`outgoing_len`](Self::outgoing_len) larger, at
    /// most: compression may make it less, and what TLS adds is an estimate from above.
    #[must_use]
    pub fn frame_len(&self, data: usize) -> usize {
        let plain = self.connection().map_or(data, |connection| connection.frame_len(data));
        self.transport.all_tls().fold(plain, |length, _| {
            length.saturating_add((length / TLS_RECORD + 1).saturating_mul(TLS_OVERHEAD))
        })
    }

    /// The bytes that [`send_with`](Self::send_with) would offer now.
    #[must_use]
    pub fn sendable_len(&self) -> usize {
        self.transport.sendable_len(self.websocket.output_len())
    }

    /// The proxy's identifier of this connection, if it has one: SockProxy's pid.
    #[must_use]
    pub fn proxy_detail(&self) -> Option<&str> {
        self.transport.proxy_detail()
    }

    /// What the negotiation with a proxy says over another connection, if this one ends now or has failed with
    /// [`Kind::Again`].
    #[must_use]
    pub fn proxy_retry(&self) -> Option<&Retry> {
        self.transport.proxy_retry()
    }

    /// What TLS knows of the server, once its handshake is complete.
    #[must_use]
    pub fn tls_peer(&self) -> Option<Peer> {
        self.transport.tls().and_then(Tls::peer)
    }

    /// Client only: the response that completed or refused the upgrade, or that answers the last request; `None` before.
    #[must_use]
    pub fn response(&self) -> Option<&Response> {
        self.websocket.response()
    }

    /// Server only: the request that waits to be accepted or refused.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        self.websocket.request()
    }

    /// Client only: the subprotocol that the server has selected.
    #[must_use]
    pub fn subprotocol(&self) -> Option<String> {
        self.response().and_then(handshake::subprotocol)
    }

    /// Client only, after a refused upgrade: the body of the response, as far as it has come, but at most `most` bytes of
    /// it.
    #[must_use]
    pub fn body(&self, most: usize) -> Body {
        match &self.websocket {
            WebSocket::Opening { handshake: OpeningHandshake::Over(response), input, .. } => {
                response.body(input.as_slice(), self.wire_ended && !self.holds_more(), most)
            }
            _ => Body { bytes: Vec::new(), complete: true },
        }
    }

    /// The close frames that were sent and received.
    #[must_use]
    pub fn close_state(&self) -> CloseState<'_> {
        let state = self.connection().map(|connection| CloseState {
            sent: connection.close_sent(),
            received: connection.close_received(),
        });
        state.unwrap_or_default()
    }

    /// The open connection, for queries.
    #[must_use]
    pub fn connection(&self) -> Option<&Connection> {
        self.websocket.connection()
    }
}
