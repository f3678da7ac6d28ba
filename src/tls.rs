//! TLS over an in-memory pipe: ciphertext in and out, plaintext in and out, over the `native-tls`
//! crate. Whatever carries the ciphertext (our socket, a user's, a proxy) is unknown here, and so is
//! what the plaintext says.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read, Write};
use std::rc::Rc;

use native_tls::{Certificate, HandshakeError, MidHandshakeTlsStream, Protocol, TlsStream};
use native_tls::{TlsAcceptor, TlsConnector};

use crate::protocol::buffer::Buffer;

/// TLS failed; the text is the library's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError(String);

impl TlsError {
    fn new(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Tls10,
    Tls11,
    Tls12,
    Tls13,
}

impl From<Version> for Protocol {
    fn from(version: Version) -> Self {
        match version {
            Version::Tls10 => Self::Tlsv10,
            Version::Tls11 => Self::Tlsv11,
            Version::Tls12 => Self::Tlsv12,
            Version::Tls13 => Self::Tlsv13,
        }
    }
}

/// What a client wants of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// The oldest version of the protocol that is allowed.
    pub min: Version,
    /// The newest; `None`: whatever the library knows.
    pub max: Option<Version>,
    /// Whether the certificate must be trusted, and be for the host.
    pub verify: bool,
    /// PEM certificates; if there are any, only these are trusted.
    pub ca: Option<Vec<u8>>,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self { min: Version::Tls12, max: None, verify: true, ca: None }
    }
}

impl TlsOptions {
    /// What connections are made with. To make one is dear, for the library reads all of the system's
    /// certificates (50 ms were seen); it can be used again and again.
    ///
    /// # Errors
    /// The options cannot be met.
    pub fn connector(&self) -> Result<Connector, TlsError> {
        let mut builder = TlsConnector::builder();
        builder.min_protocol_version(Some(self.min.into())).max_protocol_version(self.max.map(Into::into));
        // This turns the check of the name off as well. SNI stays on.
        builder.danger_accept_invalid_certs(!self.verify);
        builder.danger_accept_invalid_hostnames(!self.verify);
        if let Some(pem) = &self.ca {
            builder.disable_built_in_roots(true);
            for certificate in Certificate::stack_from_pem(pem).map_err(TlsError::new)? {
                builder.add_root_certificate(certificate);
            }
        }
        builder.build().map(Connector).map_err(TlsError::new)
    }
}

/// What connections of a client are made with; see [`TlsOptions::connector`]. Copies are cheap.
#[derive(Clone, Debug)]
pub struct Connector(TlsConnector);

/// The two directions of ciphertext.
#[derive(Debug, Default)]
struct Ciphertext {
    incoming: Buffer,
    outgoing: Buffer,
    /// The carrier has ended: nothing will be added to `incoming`.
    ended: bool,
}

/// What the TLS library takes for a socket. Shared, because the library drops its end when a
/// handshake fails, and the alert that it wrote before has still to be sent.
#[derive(Clone, Debug, Default)]
struct Pipe(Rc<RefCell<Ciphertext>>);

impl Read for Pipe {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let mut cipher = self.0.borrow_mut();
        let count = target.len().min(cipher.incoming.len());
        if count == 0 && !cipher.ended && !target.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        target[..count].copy_from_slice(&cipher.incoming.as_slice()[..count]);
        cipher.incoming.consume(count);
        Ok(count)
    }
}

impl Write for Pipe {
    fn write(&mut self, source: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().outgoing.extend(source);
        Ok(source.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
enum State {
    Handshake(MidHandshakeTlsStream<Pipe>),
    Open(TlsStream<Pipe>),
    /// The peer has said that it sends no more.
    Ended(TlsStream<Pipe>),
    Failed,
}

/// One TLS connection. Ciphertext: [`receive_with`](Self::receive_with), [`send_with`](Self::send_with).
/// Plaintext: [`decrypt`](Self::decrypt), [`encrypt`](Self::encrypt).
#[derive(Debug)]
pub struct Tls {
    pipe: Pipe,
    state: State,
}

/// Plaintext is taken from the library in pieces of this size, the most that a record holds.
const RECORD: usize = 16 * 1024;

impl Tls {
    /// Begins a client's handshake with `host` (SNI, and the name that the certificate must have).
    ///
    /// # Errors
    /// The library's, before anything was received.
    pub fn client(connector: &Connector, host: &str) -> Result<Self, TlsError> {
        forget_errors_of_others();
        let pipe = Pipe::default();
        let state = State::after(connector.0.connect(host, pipe.clone()))?;
        Ok(Self { pipe, state })
    }

    /// Begins a server's handshake.
    ///
    /// # Errors
    /// The library's, before anything was received.
    pub fn server(acceptor: &TlsAcceptor) -> Result<Self, TlsError> {
        let pipe = Pipe::default();
        let state = State::after(acceptor.accept(pipe.clone()))?;
        Ok(Self { pipe, state })
    }

    /// Whether the handshake is complete.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_) | State::Ended(_))
    }

    /// Whether the peer has ended its side with a close_notify.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// Has `read` fill at most `max` bytes of ciphertext.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn receive_with<E>(
        &mut self,
        max: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let incoming = &mut self.pipe.0.borrow_mut().incoming;
        let count = read(incoming.space(max))?;
        // Nobody will ever look at what comes behind a failure or the end.
        if matches!(self.state, State::Handshake(_) | State::Open(_)) {
            incoming.commit(count);
        }
        Ok(count)
    }

    /// The carrier has ended.
    pub fn receive_end(&mut self) {
        self.pipe.0.borrow_mut().ended = true;
    }

    /// Has `write` take from the ciphertext to be sent; returns how much it took.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn send_with<E>(&mut self, write: impl FnOnce(&[u8]) -> Result<usize, E>) -> Result<usize, E> {
        let outgoing = &mut self.pipe.0.borrow_mut().outgoing;
        let count = write(outgoing.as_slice())?;
        outgoing.consume(count);
        Ok(count)
    }

    /// The bytes of ciphertext that wait to be sent.
    #[must_use]
    pub fn outgoing_len(&self) -> usize {
        self.pipe.0.borrow().outgoing.len()
    }

    /// Goes on with the handshake if it is not complete, then appends all plaintext that the
    /// received ciphertext holds to `plain`.
    ///
    /// # Errors
    /// The connection has failed; `plain` has what came before.
    pub fn decrypt(&mut self, plain: &mut Buffer) -> Result<(), TlsError> {
        let result = self.try_decrypt(plain);
        if matches!(self.state, State::Failed | State::Ended(_)) {
            self.pipe.0.borrow_mut().incoming.clear();
        }
        result
    }

    fn try_decrypt(&mut self, plain: &mut Buffer) -> Result<(), TlsError> {
        forget_errors_of_others();
        if let State::Handshake(_) = self.state {
            let State::Handshake(handshake) = std::mem::replace(&mut self.state, State::Failed) else {
                return Ok(());
            };
            self.state = State::after(handshake.handshake())?;
        }
        while let State::Open(stream) = &mut self.state {
            match stream.read(plain.space(RECORD)) {
                Ok(0) => {
                    if let State::Open(stream) = std::mem::replace(&mut self.state, State::Failed) {
                        self.state = State::Ended(stream);
                    }
                }
                Ok(count) => plain.commit(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.state = State::Failed;
                    return Err(TlsError::new(error));
                }
            }
        }
        Ok(())
    }

    /// Ends the connection as failed, for a reason that the library does not know of.
    pub fn give_up(&mut self, why: &str) -> TlsError {
        self.state = State::Failed;
        let mut cipher = self.pipe.0.borrow_mut();
        cipher.incoming.clear();
        cipher.outgoing.clear();
        TlsError::new(why)
    }

    /// Encrypts all of `plain`, if the handshake is complete; before, it is left where it is.
    ///
    /// # Errors
    /// The connection has failed.
    pub fn encrypt(&mut self, plain: &mut Buffer) -> Result<(), TlsError> {
        if !plain.is_empty() {
            forget_errors_of_others();
        }
        while !plain.is_empty() {
            let (State::Open(stream) | State::Ended(stream)) = &mut self.state else { break };
            match stream.write(plain.as_slice()) {
                Ok(count) => plain.consume(count),
                // The library wants to read first (a renegotiation); the next call goes on.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.state = State::Failed;
                    return Err(TlsError::new(error));
                }
            }
        }
        Ok(())
    }

    /// Says to the peer that nothing more will be sent (close_notify).
    pub fn shutdown(&mut self) {
        forget_errors_of_others();
        if let State::Open(stream) | State::Ended(stream) = &mut self.state {
            // It cannot be told to anybody if the library has no wish to say goodbye.
            let _ = stream.shutdown();
        }
    }
}

/// OpenSSL keeps its errors in a queue of the thread, and takes what it finds there for its own. Other users of
/// it in this process (LuaSec, in other plugins) leave some there.
fn forget_errors_of_others() {
    #[cfg(not(any(windows, target_vendor = "apple")))]
    drop(openssl::error::ErrorStack::get());
}

impl State {
    fn after(result: Result<TlsStream<Pipe>, HandshakeError<Pipe>>) -> Result<Self, TlsError> {
        match result {
            Ok(stream) => Ok(Self::Open(stream)),
            Err(HandshakeError::WouldBlock(handshake)) => Ok(Self::Handshake(handshake)),
            Err(HandshakeError::Failure(error)) => Err(TlsError::new(error)),
        }
    }
}
