//! A [`Session`] as the Lua driver sees it: what it is made of, and the marks that tell where a call was broken off.
//! Only the driver holds these objects, so the types of their arguments are the driver's care. What comes out of a
//! session is in `events`, how its bytes come and go in `transfer`.
//!
//! A finaliser of anybody's may call in while the data of an event become a Lua string: so a session that is at work
//! says that it has nothing, and that is no error.

use std::borrow::Cow;
use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;

use super::Context;
use super::socket::Socket;
use crate::protocol::connection::Connection;
use crate::session::{Failure, Session};

mod create;
mod events;
mod functions;
mod register;
mod storage;
mod transfer;

use events::Turn;
pub(super) use events::{ENOUGH, Found, INTERRUPTED, Lent};
pub(super) use functions::FUNCTIONS;
pub(super) use register::Register;
pub(super) use storage::Shared;
pub(super) use transfer::Came;
use transfer::{Look, Reading};

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
    /// Nor is the driver between taking an event and delivering it, where the collector can run there.
    guarded: Cell<bool>,
    /// The connection is over for the user, who is to be told nothing more.
    retired: Cell<bool>,
    /// There is nothing to do for a wsreceive but to read from a socket of ours.
    calm: Cell<bool>,
    /// Messages can be sent at any time.
    can_send: Cell<bool>,
    /// Messages that come may go to the handler and nowhere else.
    plain: Cell<bool>,
    /// The user's max_payload_size, as the driver saw it last.
    size: Cell<Option<f64>>,
    /// Something was queued that nobody has tried to write yet.
    unwritten: Cell<bool>,
    /// Bytes have come since `next` last had nothing to tell.
    fresh: Cell<bool>,
    /// Whose errors end in [`raw`](super::raw), which then sees what they have left behind: a coroutine, by its
    /// address.
    attempt: Cell<usize>,
    /// Calls of Lua from functions of this session, which hold on to it.
    calls: Cell<u32>,
    /// How many complete frames had come when that was last asked for, and when the peer was last heard of, in seconds.
    frames: Cell<u64>,
    heard: Cell<f64>,
    turn: Turn,
    look: Cell<Look>,
    reading: Cell<Reading>,
}

/// Whose errors end where the marks of a session are looked after, and what else there was before that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    coroutine: usize,
    calls: u32,
    was_lent: bool,
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
            guarded: Cell::new(false),
            retired: Cell::new(false),
            calm: Cell::new(false),
            can_send: Cell::new(false),
            plain: Cell::new(false),
            size: Cell::new(None),
            unwritten: Cell::new(false),
            fresh: Cell::new(false),
            attempt: Cell::new(0),
            calls: Cell::new(0),
            frames: Cell::new(0),
            heard: Cell::new(0.0),
            turn: Turn::default(),
            look: Cell::default(),
            reading: Cell::default(),
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

    /// Whether too many of them are under way.
    pub(super) fn is_deep(&self) -> bool {
        self.context.is_deep()
    }

    /// Whether a function of this session is under way that has called Lua, and goes on with it then.
    pub(super) fn is_held(&self) -> bool {
        self.calls.get() > 0 || self.lent.get().is_some()
    }

    /// What is in it, for whoever may touch that now: nobody while it is at work, of which a finaliser may know
    /// nothing.
    #[inline]
    fn at_rest(&self) -> Option<RefMut<'_, Option<Inner>>> {
        if self.sheltered.get() || self.guarded.get() || self.lent.get().is_some() {
            return None;
        }
        self.inner.try_borrow_mut().ok()
    }

    /// Whether a call of a finaliser's would find it at work.
    pub(super) fn is_busy(&self) -> bool {
        self.at_rest().is_none()
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

    /// Whether a wsreceive has something to do without more bytes from the wire: events, one of which may be the last
    /// with which nothing was done, or bytes that wait for somebody to write them.
    pub(super) fn is_pending(&self) -> bool {
        let pending = |inner: &mut Inner| {
            self.has_more(inner) || self.unwritten.get() && inner.session.outgoing_len() > 0
        };
        self.with(pending).unwrap_or_default()
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

    /// Whether there is nothing to do for a wsreceive but to read.
    pub(super) fn is_calm(&self) -> bool {
        self.calm.get()
    }

    /// Whether messages may go to the handler and nowhere else.
    pub(super) fn is_plain(&self) -> bool {
        self.plain.get()
    }

    /// Whether the user's max_payload_size is what it was.
    pub(super) fn size_is(&self, size: Option<f64>) -> bool {
        self.size.get() == size
    }

    /// What the driver knows of all that.
    pub(super) fn settle(&self, is_calm: bool, can_send: bool, is_plain: bool, size: Option<f64>) {
        self.calm.set(is_calm);
        self.can_send.set(can_send);
        self.plain.set(is_plain);
        self.size.set(size);
        self.forget_look();
    }

    pub(super) fn heard(&self) -> f64 {
        self.heard.get()
    }

    pub(super) fn set_heard(&self, heard: f64) {
        self.heard.set(heard);
    }

    /// There is something to do.
    pub(super) fn stir(&self) {
        self.calm.set(false);
    }

    /// Gives back the storage that is not needed now.
    fn take_back(&self) -> bool {
        self.with(|inner| self.context.storage.borrow_mut().take_back(&mut inner.session)).is_ok()
    }

    /// Something has broken off in the middle: the next call finds that.
    pub(super) fn break_off(&self) {
        self.handed.set(true);
    }

    /// What was handed over needs nothing more.
    pub(super) fn done(&self) {
        self.handed.set(false);
        self.guarded.set(false);
    }

    /// Nobody else may touch the session until what was just handed over is done; or not any more.
    pub(super) fn set_guarded(&self, guarded: bool) {
        self.guarded.set(guarded);
    }

    /// The connection is over for the user.
    fn retire(&self) {
        self.retired.set(true);
        self.calm.set(false);
        self.can_send.set(false);
    }

    /// Gives back all memory, unless it is at work.
    fn free(&self) -> bool {
        self.lent.get().is_none() && self.inner.try_borrow_mut().is_ok_and(|mut inner| inner.take().is_some())
    }
}

impl Drop for LuaSession {
    fn drop(&mut self) {
        if let Some(number) = self.number.get() {
            self.context.sessions.remove(number);
        }
    }
}
