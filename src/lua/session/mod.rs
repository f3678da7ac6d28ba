//! A [`Session`] as the Lua driver sees it. Only the driver holds these objects, so the types of their arguments are
//! the driver's care.
//!
//! A finaliser of anybody's may call in while the data of an event become a Lua string: so a session that is at work
//! says that it has nothing, and that is no error.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use super::Context;
use super::socket::Socket;
use crate::net::{coarse_clock, describe};
use crate::protocol::connection::Connection;
use crate::protocol::error::SendError;
use crate::protocol::event::Event as Received;
use crate::protocol::frame::Opcode;
use crate::session::{Event, Failure, Session};

mod create;
mod functions;
mod register;
mod storage;

pub(super) use functions::FUNCTIONS;
pub(super) use register::Register;
pub(super) use storage::Shared;

/// The numbers of events that are no opcodes.
const OPEN: u8 = 16;
const BEGIN: u8 = 17;
const PIECE: u8 = 18;
const LAST: u8 = 19;
const FAILURE: u8 = 20;
const REQUEST: u8 = 21;
/// The driver was broken off between taking an event and delivering it.
const INTERRUPTED: u8 = 22;
/// More is there to be interpreted, and nothing to tell yet.
const WORKING: u8 = 23;
/// More may be there, but it is enough for this turn.
const ENOUGH: u8 = 24;

/// The most events of a turn: a peer that always has more could keep it for ever.
const MOST_EVENTS: u32 = 1000;

/// One read takes so much at first where the user has set no `receive_chunk_size`, in bytes; four times as much while
/// reads come back full, up to [`storage::LARGEST_READ`].
const READ: usize = 16 * 1024;

/// One read takes no more than this, whatever is asked for: space is made before it is known what will come.
const LARGEST_CHUNK: usize = 1024 * 1024;

/// After so many reads in turn that need not have been so large, they become smaller again; one that brings nothing
/// counts for four.
const MODEST_READS: u32 = 64;

#[derive(Debug)]
pub(super) struct LuaSession {
    context: Rc<Context>,
    number: Cell<Option<f64>>,
    /// If time is not the real one.
    clock: Option<Rc<Cell<f64>>>,
    inner: RefCell<Option<Inner>>,
    /// An event was handed over and nothing has been done with it.
    handed: Cell<bool>,
    /// The number of the last event.
    last: Cell<u8>,
    /// What is being copied to Lua. As long as that lasts nothing else may touch what is in `inner`.
    lent: Cell<Option<Lent>>,
    /// Something is called that is not to be disturbed.
    sheltered: Cell<bool>,
    /// The connection is over for the user, who is to be told nothing more.
    retired: Cell<bool>,
    /// There is nothing to do for a wsreceive but to read from a socket of ours.
    calm: Cell<bool>,
    /// Messages can be sent at any time.
    open: Cell<bool>,
    /// Bytes have come since `next` last had nothing to tell.
    fresh: Cell<bool>,
    /// Whose errors end in [`raw`](super::raw), which then sees what they have left behind: a coroutine, by its address.
    attempt: Cell<usize>,
    /// Calls of Lua from functions of this session, which hold on to it.
    calls: Cell<u32>,
    /// What is left of this one; where there are none, nothing limits what `next` tells.
    turn: Cell<Option<Turn>>,
    look: Cell<Look>,
    reading: Cell<Reading>,
}

/// What one `wsreceive` may do yet.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// That have been told.
    events: u32,
    /// How long it may take from the first event on, in seconds.
    longest: f64,
    /// By [`LuaSession::time`].
    deadline: f64,
}

/// The options that matter to a poll, as they were when it last looked at them.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    /// By the coarse clock.
    time: f64,
    /// What one read takes at most, in bytes.
    most: Option<usize>,
}

/// Whose errors end where the marks of a session are looked after, and what else there was before that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    coroutine: usize,
    calls: u32,
    was_lent: bool,
}

/// How much one read takes.
#[derive(Clone, Copy, Debug)]
struct Reading {
    size: usize,
    modest: u32,
}

impl Reading {
    /// The next one, after a read that has brought so much.
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

#[derive(Debug)]
struct Inner {
    session: Session,
    /// Reads and writes go here without becoming Lua strings.
    socket: Option<Rc<Socket>>,
    /// Data of an event that are not the session's: of a failure, or of what could not be handed over.
    own: Vec<u8>,
    /// What could not be handed over, for the next time: its number. The data are in `own`.
    kept: Option<u8>,
    failure: Option<Failure>,
    /// So much is gathered before it is written, in bytes; 0: nothing is.
    coalesce: usize,
}

/// Why a method of a session did nothing.
pub(super) type Reason = Cow<'static, str>;

/// An event that is being handed over. Its data stay where they are until [`LuaSession::handed_over`] or
/// [`LuaSession::keep`], for until then nothing touches the session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lent {
    pub(super) number: u8,
    pub(super) start: *const u8,
    pub(super) length: usize,
}

/// What `next` has found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// Nothing, and nothing will come without more bytes; how many complete frames have come, and how many bytes wait to
    /// be sent.
    Nothing(usize, usize),
    Event(Lent),
    /// One that has no data.
    Bare(u8),
}

impl Found {
    /// The driver was broken off.
    pub(super) const INTERRUPTED: Self = Self::Bare(INTERRUPTED);
    const NOT_NOW: Self = Self::Nothing(0, 0);
}

/// What one read has come to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Came {
    /// So many bytes of plaintext, and whether there may be more at once.
    Bytes(usize, bool),
    /// None; `pending`: what came before may not have been interpreted yet, or wait to be sent.
    Nothing { pending: bool },
}

impl LuaSession {
    fn new(
        session: Session,
        context: &Rc<Context>,
        clock: Option<Rc<Cell<f64>>>,
        coalesce: usize,
    ) -> Rc<Self> {
        let inner = Inner { session, socket: None, own: Vec::new(), kept: None, failure: None, coalesce };
        let session = Rc::new(Self {
            context: Rc::clone(context),
            number: Cell::new(None),
            clock,
            inner: RefCell::new(Some(inner)),
            handed: Cell::new(false),
            last: Cell::new(0),
            lent: Cell::new(None),
            sheltered: Cell::new(false),
            retired: Cell::new(false),
            calm: Cell::new(false),
            open: Cell::new(false),
            fresh: Cell::new(false),
            attempt: Cell::new(0),
            calls: Cell::new(0),
            turn: Cell::new(None),
            look: Cell::default(),
            reading: Cell::new(Reading { size: READ, modest: 0 }),
        });
        session.number.set(context.sessions.add(&session));
        session
    }

    /// By which [`Register`] knows it.
    fn number(&self) -> Option<f64> {
        self.number.get()
    }

    /// A handler is called: what was handed over is done, and deliveries within deliveries are counted for the whole
    /// module.
    pub(super) fn begin_delivery(&self) {
        self.done();
        self.calls.set(self.calls.get() + 1);
        self.context.depth.set(self.context.depth.get() + 1);
    }

    pub(super) fn end_delivery(&self) {
        self.calls.set(self.calls.get() - 1);
        self.context.depth.set(self.context.depth.get() - 1);
    }

    /// The number of the event that was handed over last.
    pub(super) fn last_number(&self) -> u8 {
        self.last.get()
    }

    /// Whether too many of them are under way.
    pub(super) fn is_deep(&self) -> bool {
        self.context.is_deep()
    }

    /// Whether a function of this session is under way that has called Lua, and goes on with it then.
    pub(super) fn is_held(&self) -> bool {
        self.calls.get() > 0 || self.lent.get().is_some()
    }

    /// Whether a call of a finaliser's would find it at work.
    pub(super) fn is_busy(&self) -> bool {
        self.sheltered.get() || self.lent.get().is_some() || self.inner.try_borrow_mut().is_err()
    }

    /// Whether it was so before.
    pub(super) fn set_sheltered(&self, sheltered: bool) -> bool {
        self.sheltered.replace(sheltered)
    }

    /// Errors of this coroutine's end from now on where the marks are looked after. Returns what
    /// [`end_attempt`](Self::end_attempt) is to be given.
    pub(super) fn begin_attempt(&self, coroutine: usize) -> Attempt {
        let before = Attempt {
            coroutine: self.attempt.replace(coroutine),
            calls: self.calls.get(),
            was_lent: self.lent.get().is_some(),
        };
        self.calls.set(before.calls + 1);
        before
    }

    /// Returns what was lent meanwhile, if the attempt has failed in the middle of that.
    pub(super) fn end_attempt(&self, before: Attempt) -> Option<Lent> {
        self.attempt.set(before.coroutine);
        self.calls.set(before.calls);
        // A finaliser may have made this attempt, while a string is made further up on the stack.
        if before.was_lent { None } else { self.lent.get() }
    }

    /// Whether errors of this coroutine's end there.
    pub(super) fn is_attempt_of(&self, coroutine: usize) -> bool {
        self.attempt.get() == coroutine
    }

    /// Runs `operation` on the session, if it has not been freed and nothing else is running on it.
    fn with<R>(&self, operation: impl FnOnce(&mut Inner) -> R) -> Result<R, Reason> {
        if self.lent.get().is_some() {
            return Err("busy".into());
        }
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

    /// Whether there may be an event without more bytes from the wire; it may be that nothing was done with the last.
    pub(super) fn is_pending(&self) -> bool {
        self.with(|inner| self.has_more(inner)).unwrap_or_default()
    }

    fn has_more(&self, inner: &Inner) -> bool {
        self.handed.get()
            || inner.kept.is_some()
            || self.fresh.get() && inner.session.is_pending()
            || inner.session.has_news()
    }

    pub(super) fn outgoing(&self) -> usize {
        self.ask(Session::outgoing_len)
    }

    pub(super) fn sendable(&self) -> usize {
        self.ask(Session::sendable_len)
    }

    /// Whether it is time for a poll to look at the options again: some milliseconds have passed.
    pub(super) fn begin_look(&self) -> bool {
        let (look, time) = (self.look.get(), coarse_clock());
        // The very same number: the clock has not ticked.
        if look.time.to_bits() == time.to_bits() {
            return false;
        }
        self.look.set(Look { time, ..look });
        true
    }

    pub(super) fn set_most(&self, most: Option<usize>) {
        self.look.set(Look { most, ..self.look.get() });
    }

    pub(super) fn most(&self) -> Option<usize> {
        self.look.get().most
    }

    pub(super) fn is_calm(&self) -> bool {
        self.calm.get()
    }

    pub(super) fn set_calm(&self, calm: bool) {
        self.calm.set(calm);
    }

    pub(super) fn set_open(&self, open: bool) {
        self.open.set(open);
        // What was needed to open it.
        let _ = self.with(|inner| self.context.storage.borrow_mut().take_back(&mut inner.session));
    }

    /// What was handed over needs nothing more.
    pub(super) fn done(&self) {
        self.handed.set(false);
    }

    /// One read from the socket, of at most `most` bytes of plaintext, or as much as seems right.
    pub(super) fn read(&self, most: Option<usize>) -> Result<Came, Reason> {
        const NOT_NOW: Came = Came::Nothing { pending: false };
        // What is busy has nothing for a finaliser that calls in.
        if self.sheltered.get() || self.lent.get().is_some() {
            return Ok(NOT_NOW);
        }
        let Ok(mut guard) = self.inner.try_borrow_mut() else { return Ok(NOT_NOW) };
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
            // Most reads find nothing, for which nothing need be lent.
            let read = |space: &mut [u8]| socket.with(|tcp| tcp.read(space)).transpose();
            storage.read(session, size, read)
        } else {
            storage.lend_input(session);
            socket.with(|tcp| session.receive_with(size, |space| tcp.read(space))).transpose()
        };
        let came = match result {
            Ok(Some(read)) if !read.is_end() => {
                self.fresh.set(true);
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
        if !is_plain {
            storage.take_back(&mut inner.session);
        }
        storage.note_poll();
        came
    }

    /// Writes to the socket what it takes, until nothing is left.
    pub(super) fn write(&self) -> Result<(), Reason> {
        if self.is_busy() {
            return Err("timeout".into());
        }
        self.with(|inner| self.write_out(inner))?
    }

    fn write_out(&self, inner: &mut Inner) -> Result<(), Reason> {
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
        if session.outgoing_len() > 0 {
            return Err("timeout".into());
        }
        self.context.storage.borrow_mut().take_back_output(session);
        Ok(())
    }

    /// Queues a frame or a message, or says why not.
    pub(super) fn send(&self, opcode: u8, data: &[u8], fin: bool) -> Result<(), Reason> {
        self.queue(|session| match Opcode::try_from(opcode) {
            Ok(opcode) => {
                self.context.storage.borrow_mut().lend_output(session, data.len());
                session.send(opcode, data, fin)
            }
            Err(_) => Err(SendError::Opcode(opcode.into())),
        })
    }

    fn queue(&self, operation: impl FnOnce(&mut Session) -> Result<(), SendError>) -> Result<(), Reason> {
        self.with(|inner| operation(&mut inner.session))?.map_err(|error| error.to_string().into())
    }

    /// Sends a message or a control frame at once, to a socket of our own and if nothing else waits to be sent. `None`:
    /// it was none of that, or cannot be sent, and nothing has happened. Otherwise it is queued, and has left, or why not
    /// all of it has.
    pub(super) fn send_now(&self, opcode: u8, data: &[u8]) -> Option<Result<(), Reason>> {
        if !self.open.get() || self.sheltered.get() || self.lent.get().is_some() {
            return None;
        }
        let mut guard = self.inner.try_borrow_mut().ok()?;
        let inner = guard.as_mut()?;
        let opcode = Opcode::try_from(opcode).ok()?;
        let waiting = inner.session.outgoing_len();
        // Small messages are gathered, and leave together; nothing else waits for that.
        let is_message = matches!(opcode, Opcode::Text | Opcode::Binary);
        let is_traced = inner.session.connection_mut().is_none_or(Connection::is_traced);
        let is_other = is_traced || matches!(opcode, Opcode::Close | Opcode::Continuation);
        if is_other || inner.socket.is_none() || waiting > inner.coalesce {
            return None;
        }
        self.context.storage.borrow_mut().lend_output(&mut inner.session, data.len().max(inner.coalesce));
        inner.session.send(opcode, data, true).ok()?;
        if is_message && inner.session.outgoing_len() < inner.coalesce {
            return Some(Ok(()));
        }
        Some(self.write_out(inner))
    }

    /// A turn begins, that takes no longer than so many seconds.
    pub(super) fn begin_turn(&self, seconds: f64) {
        let now = self.time();
        self.turn.set(Some(Turn { events: 0, longest: seconds, deadline: f64::INFINITY }));
        if let Ok(mut storage) = self.context.storage.try_borrow_mut() {
            storage.tidy(now);
        }
    }

    /// Seconds on a clock that costs next to nothing.
    fn time(&self) -> f64 {
        self.clock.as_ref().map_or_else(coarse_clock, |clock| clock.get())
    }

    /// Whether the turn is not over.
    fn goes_on(&self) -> bool {
        self.turn
            .get()
            .is_none_or(|turn| turn.events == 0 || turn.events < MOST_EVENTS && self.time() < turn.deadline)
    }

    /// The next event, which is lent until one of `handed_over` and `keep` is called.
    pub(super) fn next(&self) -> Found {
        if self.retired.get() || self.is_busy() {
            return Found::NOT_NOW;
        }
        if self.handed.get() {
            return Found::INTERRUPTED;
        }
        if !self.goes_on() {
            return Found::Bare(ENOUGH);
        }
        let Ok(mut guard) = self.inner.try_borrow_mut() else { return Found::NOT_NOW };
        let Some(inner) = guard.as_mut() else { return Found::NOT_NOW };
        let Some((number, data)) = inner.next() else {
            self.fresh.set(false);
            let session = &mut inner.session;
            self.context.storage.borrow_mut().take_back(session);
            let frames = session.connection().map_or(0, Connection::frames_received) as usize;
            return Found::Nothing(frames, session.outgoing_len());
        };
        self.count_event();
        Found::Event(self.lend(number, data))
    }

    /// The next message, if there is one of the kind that the last event was, and most are as it; see
    /// [`Session::short_message`]. `None`: `next` tells what comes.
    #[inline]
    pub(super) fn next_message(&self, kind: u8) -> Option<Lent> {
        if self.retired.get() || self.sheltered.get() || self.lent.get().is_some() || self.handed.get() {
            return None;
        }
        let opcode = match kind {
            1 => Opcode::Text,
            2 => Opcode::Binary,
            _ => return None,
        };
        let mut guard = self.inner.try_borrow_mut().ok()?;
        let inner = guard.as_mut().filter(|inner| inner.kept.is_none())?;
        if !self.goes_on() {
            return None;
        }
        let data = inner.session.short_message(opcode)?;
        self.count_event();
        Some(self.lend(kind, data))
    }

    fn count_event(&self) {
        let Some(mut turn) = self.turn.get() else { return };
        if turn.events == 0 {
            turn.deadline = self.time() + turn.longest;
        }
        turn.events += 1;
        self.turn.set(Some(turn));
    }

    #[inline]
    fn lend(&self, number: u8, data: &[u8]) -> Lent {
        let lent = Lent { number, start: data.as_ptr(), length: data.len() };
        self.lent.set(Some(lent));
        self.last.set(number);
        lent
    }

    /// What was lent has been taken; whether it is to be told, for the connection may be over meanwhile.
    pub(super) fn handed_over(&self) -> bool {
        self.lent.set(None);
        self.handed.set(!self.retired.get());
        self.handed.get()
    }

    /// What was lent, these data, could not be taken, and comes again.
    pub(super) fn keep(&self, number: u8, data: Vec<u8>) {
        self.lent.set(None);
        let _ = self.with(|inner| (inner.kept, inner.own) = (Some(number), data));
    }

    /// The connection is over for the user.
    fn retire(&self) {
        self.retired.set(true);
        self.calm.set(false);
        self.open.set(false);
    }

    /// Gives back all memory, unless it is at work.
    fn free(&self) -> bool {
        self.lent.get().is_none() && self.inner.try_borrow_mut().is_ok_and(|mut inner| inner.take().is_some())
    }

    /// Throws away what has come, at most so many events. Returns whether the peer's close frame, or its fault, was among
    /// it; and whether there may be more.
    fn discard(&self, most: u32) -> (bool, bool) {
        let discarded = self.with(|inner| {
            let mut answered = false;
            for _ in 0..most {
                let Some((number, _)) = inner.next() else {
                    self.context.storage.borrow_mut().take_back(&mut inner.session);
                    return (answered, false);
                };
                answered |= number == Opcode::Close as u8 || number == FAILURE;
            }
            (answered, true)
        });
        self.done();
        discarded.unwrap_or_default()
    }
}

impl Drop for LuaSession {
    fn drop(&mut self) {
        if let Some(number) = self.number.get() {
            self.context.sessions.remove(number);
        }
    }
}

impl Inner {
    fn next(&mut self) -> Option<(u8, &[u8])> {
        if let Some(number) = self.kept.take() {
            return Some((number, &self.own));
        }
        Some(match self.session.next_event() {
            Ok(None) => return None,
            Ok(Some(Event::Received(event))) => match event {
                Received::Message { opcode, data } => (opcode as u8, data),
                Received::Ping(data) => (Opcode::Ping as u8, data),
                Received::Pong(data) => (Opcode::Pong as u8, data),
                Received::Piece { data, last } => (if last { LAST } else { PIECE }, data),
                Received::Begin(opcode) => {
                    self.own = vec![opcode as u8];
                    (BEGIN, &self.own)
                }
                Received::Working => (WORKING, b""),
                Received::Close(frame) => {
                    self.own = frame.payload();
                    (Opcode::Close as u8, &self.own)
                }
            },
            Ok(Some(Event::Request(_))) => (REQUEST, b""),
            Ok(Some(Event::Open(_))) => (OPEN, b""),
            Err(failure) => {
                self.own = failure.text.clone().into_bytes();
                self.failure = Some(failure);
                (FAILURE, &self.own)
            }
        })
    }
}
