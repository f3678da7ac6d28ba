//! How the bytes of a session are read and written over a native socket, and how messages are queued.

use std::convert::Infallible;
use std::io::{self, IoSlice};

use super::{Inner, LuaSession, Reason, storage};
use crate::net::{coarse_clock, describe};
use crate::protocol::connection::{Connection, SharedMessage};
use crate::protocol::error::SendError;
use crate::protocol::frame::Opcode;
use crate::session::Session;

/// The initial size of a read if the user has not set `receive_chunk_size`, in bytes. It is multiplied by four while
/// reads come back full, up to [`storage::LARGEST_READ`].
const READ: usize = 16 * 1024;

/// The maximum size of a read in bytes, whatever the user asks for: the space is allocated before the read.
const LARGEST_CHUNK: usize = 1024 * 1024;

/// After this many consecutive reads that used little of their size, reads become smaller again. A read that finds
/// nothing counts as four.
const MODEST_READS: u32 = 64;

/// The size of reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    size: usize,
    modest: u32,
}

impl Default for Reading {
    fn default() -> Self {
        Self { size: READ, modest: 0 }
    }
}

impl Reading {
    /// The size of the next read, after one that brought `count` bytes.
    fn after(mut self, count: usize) -> Self {
        if count >= self.size {
            return Self { size: (self.size * 4).min(storage::LARGEST_READ), modest: 0 };
        }
        if count > self.size / 4 {
            self.modest = 0;
            return self;
        }
        self.modest += if count == 0 { 4 } else { 1 };
        if self.modest < MODEST_READS {
            return self;
        }
        Self { size: (self.size / 4).max(READ), modest: 0 }
    }
}

/// The coarse clock may be late by this much, in seconds.
const TICK: f64 = 0.01;

/// The options that concern a poll, as it last saw them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    /// On the coarse clock.
    time: f64,
    /// The maximum size of a read, in bytes.
    most: Option<usize>,
}

/// The result of a read.
#[derive(Clone, Copy, Debug)]
pub(in crate::lua) enum Came {
    /// The number of bytes of plaintext, and whether there may be more now.
    Bytes(usize, bool),
    /// No bytes. `pending`: earlier bytes may be waiting to be interpreted or sent.
    Nothing { pending: bool },
}

/// What has become of a message that goes to many sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lua) enum Delivery {
    Queued,
    /// There is no room.
    Full,
    /// It cannot be sent now: another message is in progress, or there is no memory.
    Busy,
    /// The connection is over, or about to be.
    Over,
}

impl LuaSession {
    /// Whether a poll should read the options again, because some milliseconds have passed.
    pub(in crate::lua) fn begin_look(&self) -> bool {
        let (look, time) = (self.look.get(), coarse_clock());
        // Compared exactly: the clock has not ticked.
        if look.time.to_bits() == time.to_bits() {
            return false;
        }
        self.look.set(Look { time, ..look });
        true
    }

    /// Makes the next poll read the options again.
    pub(in crate::lua) fn forget_look(&self) {
        self.look.set(Look::default());
    }

    /// Whether the keepalive may have something to do, as of the last look.
    pub(in crate::lua) fn may_be_silent(&self) -> bool {
        self.look.get().time + TICK >= self.alive_until.get()
    }

    pub(in crate::lua) fn set_most(&self, most: Option<usize>) {
        self.look.set(Look { most, ..self.look.get() });
    }

    pub(in crate::lua) fn most(&self) -> Option<usize> {
        self.look.get().most
    }

    /// Reads from the socket once, at most `most` bytes of plaintext; without `most`, the size adapts.
    pub(in crate::lua) fn read(&self, most: Option<usize>) -> Result<Came, Reason> {
        let Some(mut guard) = self.at_rest() else { return Ok(Came::Nothing { pending: false }) };
        if self.handed.get() {
            return Err("interrupted".into());
        }
        let Some(inner) = guard.as_mut() else { return Err("closed".into()) };
        let Inner { session, socket: Some(socket), .. } = inner else { return Err("closed".into()) };
        let reading = self.reading.get();
        let size = most.map_or(reading.size, |most| most.clamp(1, LARGEST_CHUNK));
        let mut storage = self.context.storage.borrow_mut();
        let is_plain = session.takes_plain_input();
        let result = if is_plain {
            // Most reads find nothing, so no storage is lent yet.
            let read = |space: &mut [u8]| socket.with(|tcp| tcp.read(space)).transpose();
            storage.read(session, size, read)
        } else {
            storage.lend_input(session);
            socket.with(|tcp| session.receive_with(size, |space| tcp.read(space))).transpose()
        };
        let came = match result {
            Ok(Some(read)) if !read.is_end() => {
                self.fresh.set(true);
                self.hear();
                storage.lend_message(session);
                self.reading.set(reading.after(if most.is_none() { read.plain } else { 0 }));
                return Ok(Came::Bytes(read.plain, read.more));
            }
            Ok(_) => {
                session.receive_end();
                Err("closed".into())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.reading.set(reading.after(0));
                let pending = self.has_more(inner) || inner.session.outgoing_len() > 0;
                Ok(Came::Nothing { pending })
            }
            Err(error) => Err(describe(&error).into()),
        };
        if !matches!(came, Ok(Came::Nothing { .. })) || !is_plain {
            storage.take_back(&mut inner.session);
        }
        storage.note_poll();
        came
    }

    /// Takes bytes of the wire that the driver has read itself. Returns the number of plaintext bytes, and whether TLS
    /// holds more.
    pub(in crate::lua) fn receive(&self, bytes: &[u8]) -> Option<(usize, bool)> {
        self.fresh.set(true);
        self.hear();
        let receive = |inner: &mut Inner| {
            let mut storage = self.context.storage.borrow_mut();
            storage.lend_input(&mut inner.session);
            storage.lend_message(&mut inner.session);
            (inner.session.receive(bytes), inner.session.holds_more())
        };
        self.with(receive).ok()
    }

    /// Takes bytes that are plaintext, whatever the wire carries. Returns whether there was a session.
    pub(in crate::lua) fn receive_plain(&self, bytes: &[u8]) -> bool {
        self.fresh.set(true);
        self.hear();
        self.with(|inner| inner.session.receive_plain(bytes)).is_ok()
    }

    /// Notes that the driver has written `count` bytes itself. Returns whether there was a session.
    pub(super) fn sent(&self, count: usize) -> bool {
        let sent = |inner: &mut Inner| {
            let Ok(_) = inner.session.send_with(|bytes| Ok::<_, Infallible>(count.min(bytes.len())));
            if inner.session.outgoing_len() == 0 {
                self.context.storage.borrow_mut().take_back_output(&mut inner.session);
            }
        };
        self.with(sent).is_ok()
    }

    /// Writes to the socket until nothing is left or it takes no more.
    pub(in crate::lua) fn write(&self) -> Result<(), Reason> {
        if self.is_busy() {
            return Err("timeout".into());
        }
        self.with(|inner| self.write_out(inner))?
    }

    fn write_out(&self, inner: &mut Inner) -> Result<(), Reason> {
        self.unwritten.set(false);
        let Inner { session, socket: Some(socket), .. } = inner else { return Err("closed".into()) };
        while session.sendable_len() > 0 {
            match socket.with(|tcp| session.send_with(|bytes| tcp.write(bytes))) {
                Some(Ok(count)) if count > 0 => {}
                Some(Err(error)) if error.kind() != io::ErrorKind::WriteZero => {
                    return Err(describe(&error).into());
                }
                _ => return Err("closed".into()),
            }
        }
        // The rest has to wait for an earlier step.
        if session.outgoing_len() > 0 {
            return Err("timeout".into());
        }
        self.context.storage.borrow_mut().take_back_output(session);
        Ok(())
    }

    /// Queues a frame or a message.
    pub(in crate::lua) fn send(&self, opcode: u8, data: &[u8], fin: bool) -> Result<(), Reason> {
        let Ok(opcode) = Opcode::try_from(opcode) else {
            return Err(SendError::Opcode(opcode.into()).to_string().into());
        };
        self.queue(|session| self.send_lending(session, opcode, data, fin, data.len()))
    }

    /// Sends a whole message. What the socket has room for is not copied, if nothing is between the two.
    pub(in crate::lua) fn send_at_once(&self, opcode: Opcode, data: &[u8]) -> Result<(), Reason> {
        self.unwritten.set(true);
        let sent = self.with(|inner| {
            let Inner { session, socket, .. } = inner;
            let mut storage = self.context.storage.borrow_mut();
            storage.lend_output(session, data.len());
            let sent = session.send_at_once(opcode, data, |header, data| {
                let parts = [IoSlice::new(header), IoSlice::new(data)];
                let written = socket.as_ref().and_then(|socket| socket.with(|tcp| tcp.write_parts(&parts)));
                written.and_then(Result::ok).unwrap_or(0) // an error shows to the next write
            });
            if session.outgoing_len() == 0 {
                storage.take_back_output(session);
            }
            sent
        })?;
        sent.map_err(|error| error.to_string())?;
        if let Some(traffic) = &self.traffic {
            traffic.send(data.len(), true);
        }
        Ok(())
    }

    /// Queues a message, unless one with this number or a later one was queued by this function before.
    pub(super) fn send_once(&self, number: usize, opcode: u8, data: &[u8]) -> Result<(), Reason> {
        if number > self.sent_once.get() {
            self.send(opcode, data, true)?;
            self.sent_once.set(number);
        }
        Ok(())
    }

    /// Sends with borrowed storage for `length` bytes, which is returned if nothing was queued.
    fn send_lending(
        &self,
        session: &mut Session,
        opcode: Opcode,
        data: &[u8],
        fin: bool,
        length: usize,
    ) -> Result<(), SendError> {
        let mut storage = self.context.storage.borrow_mut();
        storage.lend_output(session, length);
        session.send(opcode, data, fin).inspect_err(|_| {
            if session.outgoing_len() == 0 {
                storage.take_back_output(session);
            }
        })?;
        if let Some(traffic) = self.traffic.as_ref().filter(|_| !opcode.is_control()) {
            traffic.send(data.len(), fin);
        }
        Ok(())
    }

    pub(super) fn queue(
        &self,
        operation: impl FnOnce(&mut Session) -> Result<(), SendError>,
    ) -> Result<(), Reason> {
        self.unwritten.set(true);
        self.with(|inner| operation(&mut inner.session))?.map_err(|error| error.to_string().into())
    }

    /// Whether a message or a fragment with this much data may be queued.
    pub(super) fn has_room(&self, data: usize) -> bool {
        self.with(|inner| inner.has_room(data)).unwrap_or(true)
    }

    /// Queues a message that goes to many sessions.
    pub(in crate::lua) fn send_shared(&self, message: &mut SharedMessage<'_>) -> Delivery {
        if self.retired.get() {
            return Delivery::Over;
        }
        let Some(mut guard) = self.at_rest() else { return Delivery::Busy };
        let Some(inner) = guard.as_mut() else { return Delivery::Over };
        if !inner.has_room(message.data().len()) {
            return Delivery::Full;
        }
        match inner.session.send_shared(message) {
            Ok(()) => {
                self.unwritten.set(true);
                if let Some(traffic) = &self.traffic {
                    traffic.send(message.data().len(), true);
                }
                Delivery::Queued
            }
            Err(SendError::NotOpen | SendError::Closing) => Delivery::Over,
            Err(_) => Delivery::Busy,
        }
    }

    /// Writes what was queued and nobody has tried to write. Returns whether something is left.
    pub(in crate::lua) fn write_queued(&self) -> bool {
        if !self.unwritten.get() || self.retired.get() {
            return false;
        }
        // A failure shows to the connection's own turn.
        self.write().is_err()
    }

    /// Sends a message or a control frame at once, if there is a native socket and nothing else waits to be sent.
    /// Returns `None` if it cannot, and nothing was done. Otherwise the frame is queued, and the result says whether
    /// everything was written.
    pub(in crate::lua) fn send_now(&self, opcode: u8, data: &[u8]) -> Option<Result<(), Reason>> {
        if !self.can_send.get() {
            return None;
        }
        let mut guard = self.at_rest()?;
        let inner = guard.as_mut()?;
        let opcode = Opcode::try_from(opcode).ok()?;
        let waiting = inner.session.outgoing_len();
        // Small messages are gathered and written together; other frames do not wait.
        let is_message = matches!(opcode, Opcode::Text | Opcode::Binary);
        let is_traced = inner.session.connection().is_none_or(Connection::is_traced);
        let is_other = is_traced || matches!(opcode, Opcode::Close | Opcode::Continuation);
        if is_other || inner.socket.is_none() || waiting > inner.coalesce {
            return None;
        }
        if waiting > 0 && is_message && !inner.has_room(data.len()) {
            return None;
        }
        let length = data.len().max(inner.coalesce);
        self.send_lending(&mut inner.session, opcode, data, true, length).ok()?;
        if is_message && inner.session.outgoing_len() < inner.coalesce {
            self.unwritten.set(true);
            return Some(Ok(()));
        }
        Some(self.write_out(inner))
    }
}

impl Inner {
    /// Whether a message or a fragment with this much data keeps the queue within `max_buffered`. One that is larger
    /// than that has room while nothing waits, since otherwise it could never be sent.
    fn has_room(&self, data: usize) -> bool {
        let waiting = self.session.outgoing_len();
        self.max_buffered == 0
            || waiting == 0
            || waiting.saturating_add(self.session.frame_len(data)) <= self.max_buffered
    }
}
