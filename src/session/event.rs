//! What a session tells its owner: events, how much a read has brought, where it stands. Failures have a file
//! of their own.

use super::failure::Hop;
use crate::http::Response;
use crate::protocol::close::CloseFrame;
use crate::protocol::event;
use crate::protocol::handshake::Request;

/// Something that has happened. Borrowed from the session: use it before the next call.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A server's first event: answer with [`Session::accept`](super::Session::accept) or
    /// [`Session::refuse`](super::Session::refuse).
    Request(&'a Request),
    /// A client's first event: the upgrade is complete.
    Open(&'a Response),
    /// Something that the peer sent.
    Received(event::Event<'a>),
}

/// The result of [`Session::receive_with`](super::Session::receive_with).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BytesRead {
    /// Bytes from the wire. 0 if it has ended, and also if it was not read.
    pub wire: usize,
    /// Bytes of plaintext: fewer than those of the wire if they are for a proxy or for TLS itself, and more if TLS
    /// has held some back.
    pub plain: usize,
    /// Whether there may be more at once, without waiting for the wire.
    pub more: bool,
}

impl BytesRead {
    /// Whether the wire has ended and nothing is held back any more.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.wire == 0 && self.plain == 0
    }
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The first hop that was never complete; [`Hop::Frames`] if the connection is, or was, open.
    pub hop: Hop,
    /// Whether TLS has said that the peer sends no more.
    pub ended: bool,
    /// Whether the session has failed: [`next_event`](super::Session::next_event) will tell why, or has told.
    pub failed: bool,
    /// Bytes of plaintext that have come and were not interpreted yet.
    pub incoming: usize,
    /// Bytes that wait to be sent, some of them perhaps for something that must come first.
    pub outgoing: usize,
    /// The bytes among them that can be sent now.
    pub sendable: usize,
    /// Complete frames that have come, of any kind.
    pub frames: u64,
}

/// The two close frames of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloseState<'a> {
    pub sent: Option<&'a CloseFrame>,
    pub received: Option<&'a CloseFrame>,
}
