//! The results that a session gives its owner: events, the size of a read, the status. Failures are in `failure`.

use super::failure::Hop;
use crate::http::{self, Response};
use crate::protocol::close::CloseFrame;
use crate::protocol::event;
use crate::protocol::handshake::Request;

/// An event. Borrowed from the session: use it before the next call.
///
/// See [`Session`](super::Session) for an example.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A server's first event. Answer with [`Session::accept`](super::Session::accept) or
    /// [`Session::refuse`](super::Session::refuse).
    Request(&'a Request),
    /// The head of a request has come to a server that answers all kinds of them. Say what body it may have, with
    /// [`Session::take_body`](super::Session::take_body), or answer it with [`Session::reply`](super::Session::reply).
    RequestHead(&'a http::Request),
    /// The request is complete. Answer with [`Session::reply`](super::Session::reply), or open the connection with
    /// [`Session::accept`](super::Session::accept).
    RequestBody(&'a [u8]),
    /// A client's first event: the upgrade is complete.
    Open(&'a Response),
    /// The response to the request of a client that makes such, with its body. Ask again with
    /// [`Session::ask`](super::Session::ask).
    Response(&'a [u8]),
    /// An event of the open connection.
    Received(event::Event<'a>),
}

/// The result of [`Session::receive_with`](super::Session::receive_with).
///
/// ```
/// use luws::protocol::connection::Config;
/// use luws::session::Session;
///
/// let mut server = Session::server(None, Config::default())?;
/// let read = server.receive_with(1024, |space| std::io::Read::read(&mut &b"GET / HTTP"[..], space))?;
/// assert_eq!((read.wire, read.plain, read.is_end()), (10, 10, false));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BytesRead {
    /// Bytes from the wire; 0 if it has ended or was not read.
    pub wire: usize,
    /// Bytes of plaintext: fewer than those of the wire if some are for a proxy or for TLS itself, more if TLS held
    /// some from before.
    pub plain: usize,
    /// Whether there may be more now, without waiting for the wire.
    pub more: bool,
}

/// The result of a read for which there is no memory.
pub(super) const STARVED: BytesRead = BytesRead { wire: 0, plain: 0, more: true };

impl BytesRead {
    /// Whether the wire has ended and nothing is held any more.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.wire == 0 && self.plain == 0 && !self.more
    }
}

/// What is known of a silent peer.
///
/// ```
/// use luws::protocol::connection::Config;
/// use luws::session::{Liveness, Session};
///
/// let mut server = Session::server(None, Config::default())?;
/// server.set_keepalive(30.0, 10.0); // seconds
/// assert_eq!(server.keep_alive(20.0, 0.0), Liveness::Waiting); // it is 20 s, and was heard of at 0 s
/// # Ok::<_, luws::session::Failure>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It is not to be asked yet, or its time to answer is not over.
    Waiting,
    /// It was asked just now: there is a ping to be sent.
    Asked,
    /// It has not answered in time.
    Dead,
}

/// The state of a session.
///
/// ```
/// use luws::protocol::connection::Config;
/// use luws::session::{Hop, Session};
///
/// let status = Session::server(None, Config::default())?.status();
/// assert_eq!((status.hop, status.failed, status.sendable), (Hop::Upgrade, false, 0));
/// # Ok::<_, luws::session::Failure>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The first hop that was never complete; [`Hop::Frames`] if the connection is or was open.
    pub hop: Hop,
    /// Whether the peer has sent TLS's close_notify.
    pub ended: bool,
    /// Whether the session has failed: [`next_event`](super::Session::next_event) returns the failure, or has returned
    /// it.
    pub failed: bool,
    /// Bytes of plaintext received but not yet interpreted.
    pub incoming: usize,
    /// Bytes that wait to be sent, including those that must wait for an earlier step.
    pub outgoing: usize,
    /// How many of the outgoing bytes can be sent now.
    pub sendable: usize,
    /// The number of complete frames received, of any kind.
    pub frames: u64,
}

/// The two close frames of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloseState<'a> {
    pub sent: Option<&'a CloseFrame>,
    pub received: Option<&'a CloseFrame>,
}
