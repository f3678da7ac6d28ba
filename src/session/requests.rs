//! The requests of a session before it is a WebSocket: how a server answers them, and how a client makes more of them.

use super::Session;
use super::asking::{self, Asking};
use super::opening::OpeningHandshake;
use super::serving::Serving;
use super::websocket::WebSocket;
use crate::http::{self, Header, Outgoing, Reply, Response};
use crate::protocol::error::InvalidRequest;
use crate::protocol::handshake;

impl Session {
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

    /// The request of the last [`Event::RequestHead`](super::Event::RequestHead).
    #[must_use]
    pub fn http_request(&self) -> Option<&http::Request> {
        self.websocket.serving().and_then(Serving::request)
    }

    /// The body of that request, once it is complete.
    #[must_use]
    pub fn http_body(&self) -> Option<&[u8]> {
        self.websocket.serving().and_then(Serving::body)
    }

    /// Takes the body of the request, if it has at most `most` bytes. Then
    /// [`Event::RequestBody`](super::Event::RequestBody) follows, even if there is none.
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
        let has_ended = self.wire_ended || self.status().ended;
        keeps_alive && self.outgoing_len() == 0 && self.incoming_len() == 0 && !has_ended
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
}
