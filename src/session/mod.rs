//! A connection through all its hops, in order: proxy, TLS, upgrade, frames. Bytes of the wire in, events
//! out; sends in, bytes of the wire out.
//!
//! Knows no sockets, no Lua and no clock: whoever owns one of these reads for it, writes for it, and
//! gives up on it when its time is over.

use native_tls::TlsAcceptor;
use rand::SeedableRng;
use rand::rngs::{StdRng, SysRng};

use crate::protocol::Role;
use crate::protocol::close::CloseFrame;
use crate::protocol::connection::{Config, Connection};
use crate::protocol::deflate::Agreement;
use crate::protocol::error::{HandshakeError, SendError};
use crate::protocol::frame::Opcode;
use crate::protocol::handshake::{self, ClientHandshake, Request, Response, ServerHandshake, UpgradeRequest};
use crate::proxy::Hop;
use crate::proxy::sockproxy::SockProxy;
use crate::tls::{Connector, Peer, Tls, TlsError};

mod event;
mod security;
mod stage;
mod upgrade;

pub use event::{Error, Event, Intake};
use security::Security;
use stage::Stage;
use upgrade::{Step, Upgrade};

/// While this many bytes wait to be sent, pings are not answered one by one but only the most recent
/// one is (RFC 6455 section 5.5.3), so that a peer that asks and never reads costs no memory.
const PONG_BACKLOG: usize = 64 * 1024;

/// Inputs: [`receive_with`](Self::receive_with) or [`receive`](Self::receive),
/// [`receive_end`](Self::receive_end), and what is to be sent: [`send`](Self::send),
/// [`send_pong`](Self::send_pong), [`send_close`](Self::send_close), [`reply_close`](Self::reply_close).
/// Outputs: [`next_event`](Self::next_event) until it is `None`, and [`send_with`](Self::send_with).
/// After each input there may be output of both kinds.
#[derive(Debug)]
pub struct Session {
    role: Role,
    config: Config,
    proxy: Option<Hop>,
    security: Option<Security>,
    stage: Stage,
    waiting_pong: Option<Vec<u8>>,
}

impl Session {
    /// A client that wants to upgrade, over TLS if there is a connector and the name of the host. Its first
    /// bytes can be sent at once.
    ///
    /// # Errors
    /// [`Error::Tls`] if TLS cannot begin, [`Error::Random`].
    pub fn client(
        request: &UpgradeRequest,
        tls: Option<(&Connector, &str)>,
        config: Config,
    ) -> Result<Self, Error> {
        let mut rng = seed()?;
        let (handshake, head) = ClientHandshake::new(request, config.deflate.as_ref(), &mut rng);
        let tls = tls.map(|(connector, host)| Tls::client(connector, host)).transpose();
        let stage = Stage::new(Upgrade::Client(handshake), rng);
        let mut session = Self::new(Role::Client, stage, tls.map_err(Error::Tls)?, config);
        session.stage.output().extend(&head);
        session.seal();
        Ok(session)
    }

    /// A server that waits for a request.
    ///
    /// # Errors
    /// As [`client`](Self::client).
    pub fn server(tls: Option<&TlsAcceptor>, config: Config) -> Result<Self, Error> {
        let stage = Stage::new(Upgrade::Server(ServerHandshake::default()), seed()?);
        let tls = tls.map(Tls::server).transpose().map_err(Error::Tls)?;
        Ok(Self::new(Role::Server, stage, tls, config))
    }

    fn new(role: Role, stage: Stage, tls: Option<Tls>, config: Config) -> Self {
        let security = tls.map(Security::new);
        Self { role, config, proxy: None, security, stage, waiting_pong: None }
    }

    /// The same through a proxy, which is to be negotiated with before anything is sent or received.
    #[must_use]
    pub fn through(mut self, negotiation: SockProxy) -> Self {
        self.proxy = Some(Hop::new(negotiation));
        self
    }

    /// Whether everything goes through a proxy that has agreed to it, or none was asked for.
    #[must_use]
    pub fn is_routed(&self) -> bool {
        self.proxy.as_ref().is_none_or(Hop::is_done)
    }

    /// What SockProxy calls this connection.
    #[must_use]
    pub fn proxy_pid(&self) -> Option<&str> {
        self.proxy.as_ref().and_then(Hop::pid)
    }

    /// Has `read` put at most `max` bytes from the wire into a buffer and takes them; returns how
    /// many bytes of plaintext they became.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn receive_with<E>(
        &mut self,
        max: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Intake, E> {
        if let Some(proxy) = self.proxy.as_mut().filter(|proxy| !proxy.is_done()) {
            let wire = proxy.receive_with(max, read)?;
            let behind = proxy.take_rest();
            let plain = if behind.is_empty() { 0 } else { self.receive(&behind) };
            return Ok(Intake { wire, plain });
        }
        let input = self.stage.input();
        let before = input.len();
        let wire = if let Some(security) = &mut self.security {
            let wire = security.receive_with(max, read)?;
            security.decrypt(input);
            wire
        } else {
            let wire = read(input.space(max))?;
            input.commit(wire);
            wire
        };
        let plain = input.len() - before;
        // What has waited for TLS can be said now.
        self.seal();
        Ok(Intake { wire, plain })
    }

    /// Takes bytes that are plaintext, whatever the wire carries, and have come in another way.
    pub fn receive_plain(&mut self, bytes: &[u8]) {
        self.stage.input().extend(bytes);
    }

    /// Takes bytes from the wire; returns how many bytes of plaintext they became.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        let received = self.receive_with(bytes.len(), |space| {
            space.copy_from_slice(bytes);
            Ok::<_, std::convert::Infallible>(bytes.len())
        });
        received.map_or(0, |received| received.plain)
    }

    /// The wire has ended. What came before can still become events.
    pub fn receive_end(&mut self) {
        if let Some(security) = &mut self.security {
            security.receive_end(self.stage.input());
            self.seal();
        }
    }

    /// Whether TLS has said that the peer will send no more.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.tls().is_some_and(Tls::is_ended)
    }

    /// Has `write` take bytes for the wire; returns how many it took.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn send_with<E>(&mut self, write: impl FnOnce(&[u8]) -> Result<usize, E>) -> Result<usize, E> {
        if let Some(proxy) = self.proxy.as_mut().filter(|proxy| proxy.holds_the_wire()) {
            return proxy.send_with(write);
        }
        // The connection writes its own close frame when it fails.
        self.seal();
        let count = if let Some(security) = &mut self.security {
            security.send_with(write)?
        } else {
            let output = self.stage.output();
            let count = write(output.as_slice())?;
            output.consume(count);
            count
        };
        if self.outgoing_len() < PONG_BACKLOG
            && let Some(payload) = self.waiting_pong.take()
        {
            // The connection may have begun to close since; then the ping needs no answer.
            let _ = self.send(Opcode::Pong, &payload, true);
        }
        Ok(count)
    }

    /// The bytes that [`send_with`](Self::send_with) would offer now.
    #[must_use]
    pub fn sendable_len(&self) -> usize {
        match (&self.proxy, self.tls()) {
            (Some(proxy), _) if proxy.holds_the_wire() => proxy.outgoing_len(),
            (_, Some(tls)) => tls.outgoing_len(),
            (_, None) => self.stage.output_len(),
        }
    }

    /// The bytes that wait to be put on the wire, some of them perhaps for something that must come first.
    #[must_use]
    pub fn outgoing_len(&self) -> usize {
        let proxied = self.proxy.as_ref().map_or(0, Hop::outgoing_len);
        proxied + self.stage.output_len() + self.tls().map_or(0, Tls::outgoing_len)
    }

    /// Bytes that have come and were not interpreted yet.
    #[must_use]
    pub fn incoming_len(&self) -> usize {
        self.stage.input_len()
    }

    /// Whether TLS, if there is to be any, has been agreed upon.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.tls().is_none_or(Tls::is_open)
    }

    /// Why TLS has failed, as long as [`next_event`](Self::next_event) has not told: what waits to be sent then waits
    /// in vain.
    #[must_use]
    pub fn tls_error(&self) -> Option<&TlsError> {
        self.security.as_ref().and_then(Security::error)
    }

    /// What TLS knows of the peer, if there is TLS and it has been agreed upon.
    #[must_use]
    pub fn tls_peer(&self) -> Option<Peer> {
        self.tls().and_then(Tls::peer)
    }

    fn tls(&self) -> Option<&Tls> {
        self.security.as_ref().map(Security::tls)
    }

    /// A client's view: the response that completed the upgrade or refused it; `None` before.
    #[must_use]
    pub fn response(&self) -> Option<&Response> {
        self.stage.response()
    }

    /// A client's view of a refused upgrade: what has come of the response's body, and whether that is all.
    #[must_use]
    pub fn body(&self) -> (Vec<u8>, bool) {
        match &self.stage {
            Stage::Opening { upgrade: Upgrade::Over(response), input, .. } => response.body(input.as_slice()),
            _ => (Vec::new(), true),
        }
    }

    /// The open connection, for what can be asked of it.
    #[must_use]
    pub fn connection(&self) -> Option<&Connection> {
        self.stage.connection()
    }

    /// The next thing that has happened, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// The session is over. There may still be bytes to send that tell the peer.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, Error> {
        if let Some(error) = self.proxy.as_mut().and_then(Hop::take_error) {
            return Err(Error::Proxy(error));
        }
        if let Stage::Opening { .. } = self.stage {
            return self.next_upgrade_event();
        }
        let Some(connection) = self.stage.connection_mut() else { return Ok(None) };
        match connection.next_event() {
            Ok(None) => nothing(&mut self.security),
            Ok(Some(event)) => Ok(Some(Event::Received(event))),
            Err(error) => Err(Error::Protocol(error)),
        }
    }

    fn next_upgrade_event(&mut self) -> Result<Option<Event<'_>>, Error> {
        let Stage::Opening { upgrade, input, .. } = &mut self.stage else { return Ok(None) };
        match upgrade.step(input) {
            Ok(Step::Wait) => nothing(&mut self.security),
            Ok(Step::Accepted(accepted)) => {
                self.open(accepted.response, accepted.compression);
                Ok(self.response().map(Event::Open))
            }
            Ok(Step::Requested) => Ok(self.request().map(Event::Request)),
            Err(error) => {
                if let HandshakeError::BadRequest { status, message } = &error {
                    self.answer_refusal(*status, message);
                }
                Err(Error::Handshake(error))
            }
        }
    }

    fn open(&mut self, response: Response, compression: Option<Agreement>) {
        self.stage.open(self.role, self.config.clone(), response, compression);
    }

    /// The request that waits to be accepted or refused.
    fn request(&self) -> Option<&Request> {
        match &self.stage {
            Stage::Opening { upgrade: Upgrade::Requested(request), .. } => Some(request),
            _ => None,
        }
    }

    /// Accepts the request that was the last event; `subprotocol` is one that it offers.
    pub fn accept(&mut self, subprotocol: Option<&str>) {
        if let Some(request) = self.request() {
            let (head, compression) = request.acceptance(subprotocol, self.config.deflate.as_ref());
            self.stage.output().extend(&head);
            self.open(Response::default(), compression);
            self.seal();
        }
    }

    /// Refuses the request that was the last event with an HTTP status of 400 or above.
    pub fn refuse(&mut self, status: u16, message: &str) {
        if self.request().is_some() {
            self.answer_refusal(status, message);
        }
    }

    fn answer_refusal(&mut self, status: u16, message: &str) {
        if let Stage::Opening { upgrade, output, .. } = &mut self.stage {
            output.extend(&handshake::refusal(status, message));
            *upgrade = Upgrade::Over(Response::default());
            self.seal();
        }
    }

    /// Sends a message, a fragment, or a control frame: [`Connection::send`].
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(&mut self, opcode: Opcode, data: &[u8], fin: bool) -> Result<(), SendError> {
        let connection = self.stage.connection_mut().ok_or(SendError::NotOpen)?;
        connection.send(opcode, data, fin)?;
        self.seal();
        Ok(())
    }

    /// Answers a ping, at once or, if the peer does not read what it is sent, when it reads again.
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

    /// Begins the closing handshake: [`Connection::send_close`].
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_close(&mut self, frame: CloseFrame) -> Result<(), SendError> {
        let connection = self.stage.connection_mut().ok_or(SendError::NotOpen)?;
        connection.send_close(frame)?;
        self.seal();
        Ok(())
    }

    /// Answers the peer's close frame: [`Connection::reply_close`].
    pub fn reply_close(&mut self) {
        if let Some(connection) = self.stage.connection_mut() {
            connection.reply_close();
            self.seal();
        }
    }

    /// Says goodbye on the TLS level, after the last frame.
    pub fn shutdown(&mut self) {
        self.seal();
        if let Some(security) = &mut self.security {
            security.shutdown();
        }
    }

    /// The open connection, for what can be changed about it.
    pub fn connection_mut(&mut self) -> Option<&mut Connection> {
        self.stage.connection_mut()
    }

    /// Changes the message limit: [`Connection::set_max_message_size`].
    pub fn set_max_message_size(&mut self, bytes: usize) {
        self.config.max_message_size = bytes;
        if let Some(connection) = self.stage.connection_mut() {
            connection.set_max_message_size(bytes);
        }
    }

    /// Plaintext to be sent becomes ciphertext, as soon as TLS is agreed upon.
    fn seal(&mut self) {
        if let Some(security) = &mut self.security {
            security.encrypt(self.stage.output());
        }
    }
}

/// There is no event, for more bytes are needed; unless TLS has failed and no more will come.
fn nothing(security: &mut Option<Security>) -> Result<Option<Event<'static>>, Error> {
    security.as_mut().and_then(Security::take_error).map_or(Ok(None), |error| Err(Error::Tls(error)))
}

/// RFC 6455 sections 4.1 and 5.3 want numbers that cannot be predicted.
fn seed() -> Result<StdRng, Error> {
    StdRng::try_from_rng(&mut SysRng).map_err(|error| Error::Random(error.to_string()))
}
