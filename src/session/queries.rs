//! What there is to know of a session. Nothing here changes it.

use super::Session;
use super::event::{CloseState, Status};
use super::failure::{Failure, Hop};
use super::opening::OpeningHandshake;
use super::websocket::WebSocket;
use crate::http::{Body, Response};
use crate::protocol::connection::Connection;
use crate::protocol::handshake::{self, Request};
use crate::proxy::Retry;
use crate::tls::{Peer, Tls};

/// The plaintext in a full TLS record, and more than any cipher adds to one, in bytes.
const TLS_RECORD: usize = 16 * 1024;
const TLS_OVERHEAD: usize = 128;

impl Session {
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
    /// [`Kind::Again`](super::Kind::Again).
    #[must_use]
    pub fn proxy_retry(&self) -> Option<&Retry> {
        self.transport.proxy_retry()
    }

    /// What TLS knows of the server, once its handshake is complete.
    #[must_use]
    pub fn tls_peer(&self) -> Option<Peer> {
        self.transport.tls().and_then(Tls::peer)
    }

    /// Client only: the response that completed or refused the upgrade, or that answers the last request; `None`
    /// before.
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

    /// Client only, after a refused upgrade: the body of the response, as far as it has come, but at most `most` bytes
    /// of it.
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
