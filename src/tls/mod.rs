//! TLS over an in-memory pipe: ciphertext in and out, plaintext in and out. TLS libraries are used in this part only
//! (`library`). Knows neither what carries the ciphertext (our socket, a user's, a proxy) nor what the plaintext means.

use std::io;
use std::rc::Rc;

use crate::memory::OutOfMemory;
use crate::protocol::buffer::Buffer;

mod acceptor;
pub mod certificate;
mod connector;
mod error;
pub mod fingerprint;
mod hello;
pub mod identity;
mod library;
mod options;
mod pipe;
pub mod roots;

pub use acceptor::Acceptor;
use certificate::Certificate;
pub use connector::Connector;
use error::clear_error_queue;
pub use error::{OptionsError, TlsError};
use fingerprint::Fingerprint;
pub use hello::Agreement;
use hello::Hello;
use library::{Handshake, Progress, Stream};
pub use options::{Clients, Crypto, ServerOptions, TlsOptions, Verify, Version};
use pipe::Pipe;

#[derive(Debug)]
enum State {
    Handshake(Box<dyn Handshake>),
    Open(Box<dyn Stream>),
    /// The peer has sent close_notify.
    Ended(Box<dyn Stream>),
    Failed,
}

impl From<Progress> for State {
    fn from(progress: Progress) -> Self {
        match progress {
            Progress::Pending(handshake) => Self::Handshake(handshake),
            Progress::Complete(stream) => Self::Open(stream),
        }
    }
}

/// A TLS connection. Ciphertext: [`receive_with`](Self::receive_with), [`send_with`](Self::send_with). Plaintext:
/// [`decrypt`](Self::decrypt), [`encrypt`](Self::encrypt).
///
/// ```
/// use luws::tls::{Tls, TlsOptions};
///
/// let mut tls = Tls::client(&TlsOptions::default().connector()?, "example.com")?;
/// tls.send_with(|bytes| {
///     assert_eq!(bytes[0], 22); // a handshake (RFC 8446 section 5.1)
///     Ok::<_, std::convert::Infallible>(bytes.len())
/// })
/// .unwrap();
/// assert!(!tls.is_open());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Tls {
    pipe: Pipe,
    state: State,
    /// Whether the library verifies the peer's certificate, if it has one.
    verifies: bool,
    /// If there are any, the peer must match one of them.
    fingerprints: Rc<[Fingerprint]>,
    /// The certificate that matched, in DER.
    found: Option<Vec<u8>>,
    /// What a server has said first.
    hello: Hello,
    /// Bytes that the library has queued by itself in reply to what it received, since the queue was last empty.
    answers: usize,
}

/// What is known of the peer after the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Whether it has a certificate that was verified, by a trusted authority or by its fingerprint.
    pub verified: bool,
    pub certificate: Option<Certificate>,
    /// The application protocol that the server has chosen (RFC 7301).
    pub alpn: Option<String>,
    /// The version and the cipher that the server has chosen.
    pub agreement: Option<Agreement>,
}

/// The most bytes that the library may queue by itself while the peer does not read: a peer can ask for answers (key
/// updates) without end.
const ANSWERS_BACKLOG: usize = 64 * 1024;

/// Plaintext is taken from the library in pieces of this size, the maximum of a record.
const RECORD: usize = 16 * 1024;

impl Tls {
    /// Begins a client's handshake with `host` (for SNI, and as the name that the certificate must have).
    ///
    /// # Errors
    /// The library cannot begin.
    pub fn client(connector: &Connector, host: &str) -> Result<Self, TlsError> {
        clear_error_queue();
        let pipe = Pipe::default();
        // A trailing dot marks a fully qualified name; certificates and SNI leave it out (RFC 6066 section 3).
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.is_empty() || host.starts_with('.') || host.contains('*') {
            // The library would not check an empty name, and treat the others as patterns.
            return Err(TlsError::Host(host.to_owned()));
        }
        let state = connector.library.connect(host, pipe.clone())?.into();
        let fingerprints = Rc::clone(&connector.fingerprints);
        Ok(Self {
            pipe,
            state,
            verifies: connector.verifies,
            fingerprints,
            found: None,
            hello: Hello::default(),
            answers: 0,
        })
    }

    /// Begins a server's handshake.
    ///
    /// # Errors
    /// The library cannot begin.
    pub fn server(acceptor: &Acceptor) -> Result<Self, TlsError> {
        clear_error_queue();
        let pipe = Pipe::default();
        let state = acceptor.library.accept(pipe.clone())?.into();
        Ok(Self {
            pipe,
            state,
            verifies: acceptor.verifies,
            fingerprints: Rc::new([]),
            found: None,
            hello: Hello::default(),
            answers: 0,
        })
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

    /// What is known of the peer, once the handshake is complete.
    #[must_use]
    pub fn peer(&self) -> Option<Peer> {
        let (State::Open(stream) | State::Ended(stream)) = &self.state else { return None };
        let certificate = stream.certificate().map(|der| Certificate::read(&der));
        Some(Peer {
            verified: self.verifies && certificate.is_some() || !self.fingerprints.is_empty(),
            certificate,
            alpn: stream.alpn().map(|name| String::from_utf8_lossy(&name).into_owned()),
            agreement: self.hello.agreement(),
        })
    }

    /// Has `read` fill at most `max` bytes of ciphertext.
    ///
    /// # Errors
    /// There is no memory, and `read` was not called. Inside are the errors of `read`.
    pub fn receive_with<E>(
        &mut self,
        max: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Result<usize, E>, OutOfMemory> {
        let incoming = &mut self.pipe.0.borrow_mut().incoming;
        let result = read(incoming.space(max)?);
        // Nobody will look at what comes after a failure or the end.
        if let Ok(count) = result
            && matches!(self.state, State::Handshake(_) | State::Open(_))
        {
            incoming.commit(count);
            if let State::Handshake(_) = self.state {
                let came = incoming.as_slice();
                self.hello.see(&came[came.len() - count..]);
            }
        }
        Ok(result)
    }

    /// Takes ciphertext.
    ///
    /// # Errors
    /// There is no memory, and nothing was taken.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        let Ok(_) = self.receive_with(bytes.len(), |space| {
            space.copy_from_slice(bytes);
            Ok::<_, std::convert::Infallible>(bytes.len())
        })?;
        Ok(())
    }

    /// Gives access to the received ciphertext, for its storage.
    pub fn with_incoming<R>(&mut self, operation: impl FnOnce(&mut Buffer) -> R) -> R {
        operation(&mut self.pipe.0.borrow_mut().incoming)
    }

    /// Gives access to the ciphertext to be sent, for its storage.
    pub fn with_outgoing<R>(&mut self, operation: impl FnOnce(&mut Buffer) -> R) -> R {
        operation(&mut self.pipe.0.borrow_mut().outgoing)
    }

    /// Whether received bytes wait to be decrypted or taken: records, or parts of one.
    #[must_use]
    pub fn holds_more(&self) -> bool {
        let State::Open(stream) = &self.state else { return false };
        !self.pipe.0.borrow().incoming.is_empty() || stream.pending() > 0
    }

    /// Has `write` take ciphertext to be sent, and returns how much it took.
    ///
    /// # Errors
    /// Returns the errors of `write`.
    pub fn send_with<E>(&mut self, write: impl FnOnce(&[u8]) -> Result<usize, E>) -> Result<usize, E> {
        let outgoing = &mut self.pipe.0.borrow_mut().outgoing;
        let count = write(outgoing.as_slice())?;
        outgoing.consume(count);
        Ok(count)
    }

    /// The number of bytes of ciphertext that wait to be sent.
    #[must_use]
    pub fn outgoing_len(&self) -> usize {
        self.pipe.0.borrow().outgoing.len()
    }

    /// Advances the handshake if it is not complete, then appends decrypted plaintext to `plain`, up to `max` bytes.
    /// The rest stays in the pipe or inside the library.
    ///
    /// # Errors
    /// The connection has failed; `plain` has what came before.
    pub fn decrypt(&mut self, plain: &mut Buffer, max: usize) -> Result<(), TlsError> {
        let (before, was_open) = (self.outgoing_len(), self.is_open());
        let result = self.try_decrypt(plain, max);
        if before == 0 {
            self.answers = 0;
        }
        if was_open {
            // The handshake's own answers are limited, and it has a deadline.
            self.answers += self.outgoing_len().saturating_sub(before);
        }
        if self.answers > ANSWERS_BACKLOG && result.is_ok() {
            self.abort();
            return Err(TlsError::TooManyAnswers);
        }
        if matches!(self.state, State::Failed | State::Ended(_)) {
            self.pipe.0.borrow_mut().incoming.clear();
        }
        result
    }

    fn try_decrypt(&mut self, plain: &mut Buffer, max: usize) -> Result<(), TlsError> {
        clear_error_queue();
        if let State::Handshake(_) = self.state {
            let State::Handshake(handshake) = std::mem::replace(&mut self.state, State::Failed) else {
                return Ok(());
            };
            self.state = handshake.advance()?.into();
            self.check_fingerprint()?;
        }
        let before = plain.len();
        let result = self.read_records(plain, max);
        // A renegotiation (TLS 1.2) may have brought another certificate; while one is under way there is none.
        if self.found.is_some()
            && let State::Open(stream) | State::Ended(stream) = &self.state
            && let Some(now) = stream.certificate()
            && self.found.as_ref() != Some(&now)
        {
            self.check_fingerprint().inspect_err(|_| plain.truncate(before))?;
        }
        result
    }

    fn read_records(&mut self, plain: &mut Buffer, max: usize) -> Result<(), TlsError> {
        let mut room = max;
        while room > 0
            && let State::Open(stream) = &mut self.state
        {
            match stream.read(plain.space(RECORD.min(room))?) {
                Ok(0) => {
                    if let State::Open(stream) = std::mem::replace(&mut self.state, State::Failed) {
                        self.state = State::Ended(stream);
                    }
                }
                Ok(count) => {
                    plain.commit(count);
                    room -= count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.state = State::Failed;
                    return Err(TlsError::of_connection(error));
                }
            }
        }
        Ok(())
    }

    /// Checks the certificate. The first time, no plaintext has been sent to the peer yet, and none will be if the peer
    /// is the wrong one.
    fn check_fingerprint(&mut self) -> Result<(), TlsError> {
        let (State::Open(stream) | State::Ended(stream)) = &self.state else { return Ok(()) };
        if self.fingerprints.is_empty() {
            return Ok(());
        }
        let der = stream.certificate();
        let certificate = der.as_deref().map(Certificate::read);
        if certificate.as_ref().is_some_and(|certificate| certificate.is_one_of(&self.fingerprints)) {
            self.found = der;
            return Ok(());
        }
        self.abort();
        Err(match certificate {
            Some(Certificate { fingerprint, public_key, .. }) => {
                TlsError::Fingerprint { certificate: fingerprint, public_key }
            }
            None => TlsError::NoCertificate,
        })
    }

    /// Fails the connection for a reason that the library does not know. What it has queued is not sent: in TLS 1.3
    /// that can include our certificate.
    pub fn abort(&mut self) {
        self.state = State::Failed;
        let mut cipher = self.pipe.0.borrow_mut();
        cipher.incoming.clear();
        cipher.outgoing.clear();
    }

    /// Encrypts `plain` if the handshake is complete, until `most` bytes of ciphertext wait to be sent; leaves the
    /// rest.
    ///
    /// # Errors
    /// The connection has failed.
    pub fn encrypt(&mut self, plain: &mut Buffer, most: usize) -> Result<(), TlsError> {
        if !plain.is_empty() {
            clear_error_queue();
        }
        while !plain.is_empty() && self.outgoing_len() < most {
            let (State::Open(stream) | State::Ended(stream)) = &mut self.state else { break };
            match stream.write(plain.as_slice()) {
                Ok(count) => plain.consume(count),
                // The library wants to read first (a renegotiation); the next call goes on.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.state = State::Failed;
                    return Err(TlsError::of_connection(error));
                }
            }
        }
        Ok(())
    }

    /// Queues a close_notify, which tells the peer that nothing more will be sent.
    pub fn shutdown(&mut self) {
        clear_error_queue();
        if let State::Open(stream) | State::Ended(stream) = &mut self.state {
            stream.shutdown();
        }
    }
}
