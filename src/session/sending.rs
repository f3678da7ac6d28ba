//! What a session is given to send once it is open, and when it asks a silent peer for an answer.

use super::event::Liveness;
use super::keepalive::{Keepalive, Queue, Step};
use super::{PONG_BACKLOG, Session};
use crate::protocol::close::CloseFrame;
use crate::protocol::connection::SharedMessage;
use crate::protocol::error::SendError;
use crate::protocol::frame::Opcode;

impl Session {
    /// Sends a message, a fragment, or a control frame:
    /// [`Connection::send`](crate::protocol::connection::Connection::send).
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

    /// Sends a whole message, text or binary. `write` is given its frame at once, as header and data, where nothing is
    /// between that and the wire, so that large data need not be copied:
    /// [`Connection::send_at_once`](crate::protocol::connection::Connection::send_at_once).
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_at_once(
        &mut self,
        opcode: Opcode,
        data: &[u8],
        write: impl FnOnce(&[u8], &[u8]) -> usize,
    ) -> Result<(), SendError> {
        if !self.transport.is_open_plain() {
            return self.send(opcode, data, true);
        }
        let connection = self.websocket.connection_mut().ok_or(SendError::NotOpen)?;
        let count = connection.send_at_once(opcode, data, write)?;
        self.unsent.note(data.len(), count + connection.output_len());
        self.unsent.left(count);
        self.sent += count as u64;
        Ok(())
    }

    /// Sends a message to one of many sessions:
    /// [`Connection::send_shared`](crate::protocol::connection::Connection::send_shared).
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

    /// Sends the ping that is due, if any. `now` is the time, and `heard` is when bytes were last received, both in
    /// seconds on the same clock. Must be called after a read that has found nothing; otherwise the peer may have
    /// answered.
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

    /// Begins the closing handshake: [`Connection::send_close`](crate::protocol::connection::Connection::send_close).
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_close(&mut self, frame: CloseFrame) -> Result<(), SendError> {
        let connection = self.websocket.connection_mut().ok_or(SendError::NotOpen)?;
        connection.send_close(frame)?;
        self.encrypt_pending();
        Ok(())
    }

    /// Answers the peer's close frame:
    /// [`Connection::reply_close`](crate::protocol::connection::Connection::reply_close).
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
}
