//! A [`Session`] as the Lua driver sees it. Only the driver holds these objects, so the types of their arguments are
//! the driver's care.
//!
//! A finaliser of anybody's may call in while the data of an event become a Lua string: so a session that is at work
//! says that it has nothing, and that is no error.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use super::socket::Socket;
use crate::net::describe;
use crate::protocol::connection::Connection;
use crate::protocol::error::SendError;
use crate::protocol::event::Event as Received;
use crate::protocol::frame::Opcode;
use crate::session::{Event, Failure, Session};

mod create;
mod functions;

pub(super) use functions::FUNCTIONS;

/// The numbers of events that are no opcodes.
const OPEN: u8 = 16;
const BEGIN: u8 = 17;
const PIECE: u8 = 18;
const LAST: u8 = 19;
/// More is there to be interpreted, and nothing to tell yet.
const WORKING: u8 = 23;
const FAILURE: u8 = 20;
const REQUEST: u8 = 21;
/// The driver was broken off between taking an event and delivering it.
pub(super) const INTERRUPTED: u8 = 22;

#[derive(Debug)]
pub(super) struct LuaSession {
    inner: RefCell<Option<Inner>>,
    /// An event was handed over and nothing has been done with it.
    handed: Cell<bool>,
    /// Something is called that is not to be disturbed.
    sheltered: Cell<bool>,
}

#[derive(Debug)]
struct Inner {
    session: Session,
    /// Reads and writes go here without becoming Lua strings.
    socket: Option<Rc<Socket>>,
    /// An event that could not be handed over, for the next time.
    kept: Option<(u8, Vec<u8>)>,
    failure: Option<Failure>,
}

/// Why a method of a session did nothing.
pub(super) type Reason = Cow<'static, str>;

/// What became of an event that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// There is none.
    Nothing,
    Taken,
    /// It will be offered again.
    Refused,
    /// The last one was taken, and nothing was done with it.
    Interrupted,
}

impl LuaSession {
    fn new(session: Session) -> Self {
        let inner = Inner { session, socket: None, kept: None, failure: None };
        Self { inner: RefCell::new(Some(inner)), handed: Cell::new(false), sheltered: Cell::new(false) }
    }

    /// Whether a call of a finaliser's would find it at work.
    pub(super) fn is_busy(&self) -> bool {
        self.sheltered.get() || self.inner.try_borrow_mut().is_err()
    }

    /// Whether it was so before.
    pub(super) fn set_sheltered(&self, sheltered: bool) -> bool {
        self.sheltered.replace(sheltered)
    }

    /// Runs `operation` on the session, if it has not been freed and nothing else is running on it.
    fn with<R>(&self, operation: impl FnOnce(&mut Inner) -> R) -> Result<R, Reason> {
        let mut inner = self.inner.try_borrow_mut().map_err(|_| "busy")?;
        Ok(operation(inner.as_mut().ok_or("closed")?))
    }

    /// The same on the open connection; whether there was one.
    fn open(&self, operation: impl FnOnce(&mut Connection)) -> bool {
        self.with(|inner| inner.session.connection_mut().map(operation)).is_ok_and(|done| done.is_some())
    }

    /// The same for a question, whose answer is nothing where there is no session.
    fn ask<R: Default>(&self, question: impl FnOnce(&Session) -> R) -> R {
        self.with(|inner| question(&inner.session)).unwrap_or_default()
    }

    pub(super) fn incoming(&self) -> usize {
        self.ask(Session::incoming_len)
    }

    /// Whether there may be an event without more bytes from the wire.
    pub(super) fn is_pending(&self) -> bool {
        self.with(|inner| inner.kept.is_some() || inner.session.is_pending()).unwrap_or_default()
    }

    pub(super) fn outgoing(&self) -> usize {
        self.ask(Session::outgoing_len)
    }

    pub(super) fn sendable(&self) -> usize {
        self.ask(Session::sendable_len)
    }

    pub(super) fn frames(&self) -> usize {
        self.ask(|session| session.connection().map_or(0, |connection| connection.frames_received() as usize))
    }

    /// What was handed over needs nothing more.
    pub(super) fn done(&self) {
        self.handed.set(false);
    }

    /// One read from the socket: how many bytes of plaintext it brought, and whether there may be more at once; `None`
    /// if there is nothing now.
    pub(super) fn read(&self, max: usize) -> Result<Option<(usize, bool)>, Reason> {
        // What is busy has nothing for a finaliser that calls in.
        if self.is_busy() {
            return Ok(None);
        }
        if self.handed.get() {
            return Err("interrupted".into());
        }
        let Ok(mut guard) = self.inner.try_borrow_mut() else { return Ok(None) };
        let Some(Inner { session, socket: Some(socket), .. }) = guard.as_mut() else {
            return Err("closed".into());
        };
        match socket.with(|tcp| session.receive_with(max, |space| tcp.read(space))) {
            Some(Ok(read)) if !read.is_end() => Ok(Some((read.plain, read.more))),
            Some(Ok(_)) | None => {
                session.receive_end();
                Err("closed".into())
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Some(Err(error)) => Err(describe(&error).into()),
        }
    }

    /// Writes to the socket what it takes, until nothing is left.
    pub(super) fn write(&self) -> Result<(), Reason> {
        if self.is_busy() {
            return Err("timeout".into());
        }
        self.with(|inner| {
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
            // What is left then has to wait for something that must come first.
            if session.outgoing_len() > 0 { Err("timeout".into()) } else { Ok(()) }
        })?
    }

    /// Queues a frame or a message, or says why not.
    pub(super) fn send(&self, opcode: u8, data: &[u8], fin: bool) -> Result<(), Reason> {
        self.queue(|session| match Opcode::try_from(opcode) {
            Ok(opcode) => session.send(opcode, data, fin),
            Err(_) => Err(SendError::Opcode(opcode.into())),
        })
    }

    fn queue(&self, operation: impl FnOnce(&mut Session) -> Result<(), SendError>) -> Result<(), Reason> {
        self.with(|inner| operation(&mut inner.session))?.map_err(|error| error.to_string().into())
    }

    /// Offers the next event to `take`, by its number and with its data; `take` says whether it has taken them.
    pub(super) fn offer(&self, take: impl FnOnce(u8, &[u8]) -> bool) -> Offer {
        if self.is_busy() {
            return Offer::Nothing;
        }
        if self.handed.get() {
            return Offer::Interrupted;
        }
        let Ok(mut guard) = self.inner.try_borrow_mut() else { return Offer::Nothing };
        let Some(inner) = guard.as_mut() else { return Offer::Nothing };
        let Some((number, data)) = inner.next() else { return Offer::Nothing };
        if take(number, &data) {
            self.handed.set(true);
            return Offer::Taken;
        }
        let data = data.into_owned();
        inner.kept = Some((number, data));
        Offer::Refused
    }
}

impl Inner {
    fn next(&mut self) -> Option<(u8, Cow<'_, [u8]>)> {
        if let Some((number, data)) = self.kept.take() {
            return Some((number, data.into()));
        }
        Some(match self.session.next_event() {
            Ok(None) => return None,
            Ok(Some(Event::Request(_))) => (REQUEST, b""[..].into()),
            Ok(Some(Event::Open(_))) => (OPEN, b""[..].into()),
            Ok(Some(Event::Received(event))) => match event {
                Received::Begin(opcode) => (BEGIN, vec![opcode as u8].into()),
                Received::Working => (WORKING, b""[..].into()),
                Received::Piece { data, last } => (if last { LAST } else { PIECE }, data.into()),
                Received::Message { opcode, data } => (opcode as u8, data.into()),
                Received::Ping(data) => (Opcode::Ping as u8, data.into()),
                Received::Pong(data) => (Opcode::Pong as u8, data.into()),
                Received::Close(frame) => (Opcode::Close as u8, frame.payload().into()),
            },
            Err(failure) => {
                let text = failure.text.clone().into_bytes();
                self.failure = Some(failure);
                (FAILURE, text.into())
            }
        })
    }
}
