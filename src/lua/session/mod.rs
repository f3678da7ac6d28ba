//! A [`Session`] for the Lua driver, with marks that show where a call was interrupted. Only the driver holds these
//! objects, so it is responsible for the types of their arguments. `events` has the events of a session, `transfer` how
//! its bytes are read and written.
//!
//! Any finaliser may call in while the data of an event become a Lua string. A session at work then answers that it has
//! nothing; that is not an error.

use std::borrow::Cow;
use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;

use super::Context;
use super::socket::Socket;
use super::traffic::Traffic;
use crate::protocol::connection::Connection;
use crate::session::{Failure, Liveness, Session};

mod asking;
mod create;
mod events;
mod functions;
mod register;
mod relaying;
mod serving;
mod storage;
mod transfer;

pub(super) use asking::FUNCTIONS as ASKING_FUNCTIONS;
use events::Turn;
pub(super) use events::{ENOUGH, Found, INTERRUPTED, Lent};
pub(super) use functions::FUNCTIONS;
pub(super) use register::Register;
pub(super) use relaying::{Passed, TooLarge};
pub(super) use serving::FUNCTIONS as SERVING_FUNCTIONS;
pub(super) use storage::Shared;
pub(super) use transfer::{Came, Delivery};
use transfer::{Look, Reading};

#[derive(Debug)]
pub(super) struct LuaSession {
    context: Rc<Context>,
    number: Cell<Option<f64>>,
    /// The virtual clock, if there is one.
    clock: Option<Rc<Cell<f64>>>,
    /// Where messages are counted, if they are.
    traffic: Option<Rc<Traffic>>,
    inner: RefCell<Option<Inner>>,
    /// An event was handed over, and nothing has been done with it yet.
    handed: Cell<bool>,
    /// The number of the last event.
    last: Cell<u8>,
    /// The data being copied to Lua. Until that is done, nothing else may touch `inner`.
    lent: Cell<Option<Lent>>,
    /// A function is running that must not be disturbed (`shelter`).
    sheltered: Cell<bool>,
    /// The driver is between taking an event and delivering it, and must not be disturbed where the collector may run.
    guarded: Cell<bool>,
    /// The connection has ended for the user; nothing more is delivered.
    retired: Cell<bool>,
    /// A wsreceive has nothing to do but read from a native socket.
    calm: Cell<bool>,
    /// Messages can be sent at any time.
    can_send: Cell<bool>,
    /// Incoming messages go to the handler and nowhere else.
    plain: Cell<bool>,
    /// The reactor drives the connection, and must learn what a wsreceive of the program leaves.
    driven: Cell<bool>,
    /// The user's max_payload_size when the driver last looked at it.
    size: Cell<Option<f64>>,
    /// Something was queued, and nobody has tried to write it yet.
    unwritten: Cell<bool>,
    /// Bytes have come since `next` last found nothing.
    fresh: Cell<bool>,
    /// The coroutine (by its address) whose errors are caught in [`raw`](super::raw), which then cleans up these marks.
    attempt: Cell<usize>,
    /// How many functions of this session are calling Lua, and use the session afterwards.
    calls: Cell<u32>,
    /// The number of the last message that `send_once` has queued.
    sent_once: Cell<usize>,
    /// The number of complete frames when it was last asked for, and when the peer was last heard from, in seconds.
    frames: Cell<u64>,
    heard: Cell<f64>,
    /// Until when the keepalive surely has nothing to do.
    alive_until: Cell<f64>,
    turn: Turn,
    look: Cell<Look>,
    reading: Cell<Reading>,
}

/// What an attempt has replaced, and restores when it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    coroutine: usize,
    calls: u32,
    was_lent: bool,
}

#[derive(Debug)]
struct Inner {
    session: Session,
    /// Reads and writes use this socket without creating Lua strings.
    socket: Option<Rc<Socket>>,
    /// Data of an event that the session does not hold: a failure's, or those that could not be handed over.
    own: Vec<u8>,
    /// The number of the event that could not be handed over, for the next time. Its data are in `own`.
    kept: Option<u8>,
    failure: Option<Failure>,
    /// Small messages are gathered up to this size before they are written, in bytes; 0 for not at all.
    coalesce: usize,
    /// The most bytes that messages may make wait to be sent; 0 for any number.
    max_buffered: usize,
}

/// Why a method of a session did nothing, as text.
pub(super) type Reason = Cow<'static, str>;

impl LuaSession {
    /// A session, and the number under which [`Register`] knows it.
    fn new(
        session: Session,
        context: &Rc<Context>,
        clock: Option<Rc<Cell<f64>>>,
        traffic: Option<Rc<Traffic>>,
        [coalesce, max_buffered]: [usize; 2],
    ) -> Result<(Rc<Self>, f64), Reason> {
        let inner = Inner {
            session,
            socket: None,
            own: Vec::new(),
            kept: None,
            failure: None,
            coalesce,
            max_buffered,
        };
        let session = Rc::new(Self {
            context: Rc::clone(context),
            number: Cell::new(None),
            clock,
            traffic,
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
            driven: Cell::new(false),
            size: Cell::new(None),
            unwritten: Cell::new(false),
            fresh: Cell::new(false),
            attempt: Cell::new(0),
            calls: Cell::new(0),
            sent_once: Cell::new(0),
            frames: Cell::new(0),
            heard: Cell::new(0.0),
            alive_until: Cell::new(f64::INFINITY),
            turn: Turn::default(),
            look: Cell::default(),
            reading: Cell::default(),
        });
        let number = context.sessions.add(&session)?;
        session.number.set(Some(number));
        Ok((session, number))
    }

    /// Notes that a handler is being called: the event is done, and the nesting of deliveries is counted for the whole
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

    /// Whether a handler is being called, not counting those of coroutines that can yield in them.
    pub(super) fn is_delivering(&self) -> bool {
        self.calls.get() > 0
    }

    /// Whether deliveries are nested as deeply as allowed.
    pub(super) fn is_deep(&self) -> bool {
        self.context.is_deep()
    }

    /// Whether a function of this session is calling Lua, and will use the session afterwards.
    pub(super) fn is_held(&self) -> bool {
        self.calls.get() > 0 || self.lent.get().is_some()
    }

    /// The contents, for a caller that may touch them now. `None` while the session is at work, which only a finaliser
    /// can observe.
    #[inline]
    fn at_rest(&self) -> Option<RefMut<'_, Option<Inner>>> {
        if self.sheltered.get() || self.guarded.get() || self.lent.get().is_some() {
            return None;
        }
        self.inner.try_borrow_mut().ok()
    }

    /// Whether a finaliser's call would find the session at work.
    pub(super) fn is_busy(&self) -> bool {
        self.at_rest().is_none()
    }

    /// Sets the mark, and returns its previous value.
    pub(super) fn set_sheltered(&self, sheltered: bool) -> bool {
        self.sheltered.replace(sheltered)
    }

    /// Notes that errors of this coroutine are caught from now on. Pass the result to
    /// [`end_attempt`](Self::end_attempt).
    pub(super) fn begin_attempt(&self, coroutine: usize) -> Attempt {
        let before = Attempt {
            coroutine: self.attempt.replace(coroutine),
            calls: self.calls.get(),
            was_lent: self.lent.get().is_some(),
        };
        self.calls.set(before.calls + 1);
        before
    }

    /// Ends an attempt. Returns the data still lent, if it failed while they were being copied.
    pub(super) fn end_attempt(&self, before: Attempt) -> Option<Lent> {
        self.attempt.set(before.coroutine);
        self.calls.set(before.calls);
        // The attempt may be a finaliser's, run while a string is made further up the stack.
        if before.was_lent { None } else { self.lent.get() }
    }

    /// Whether an attempt is catching this coroutine's errors.
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

    /// Runs `operation` on the open connection. Returns whether there was one.
    fn open(&self, operation: impl FnOnce(&mut Connection)) -> bool {
        self.with(|inner| inner.session.connection_mut().map(operation)).is_ok_and(|done| done.is_some())
    }

    /// Asks the session a question. The answer is the default if there is no session.
    pub(in crate::lua) fn ask<R: Default>(&self, question: impl FnOnce(&Session) -> R) -> R {
        self.with(|inner| question(&inner.session)).unwrap_or_default()
    }

    pub(super) fn incoming(&self) -> usize {
        self.ask(Session::incoming_len)
    }

    /// Whether a wsreceive has something to do without more bytes from the wire: an event to take, an interruption to
    /// report, or bytes that nobody has tried to write.
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

    pub(in crate::lua) fn outgoing(&self) -> usize {
        self.ask(Session::outgoing_len)
    }

    pub(super) fn sendable(&self) -> usize {
        self.ask(Session::sendable_len)
    }

    /// Whether a wsreceive has nothing to do but read.
    pub(super) fn is_calm(&self) -> bool {
        self.calm.get()
    }

    /// Whether messages go to the handler and nowhere else.
    pub(super) fn is_plain(&self) -> bool {
        self.plain.get()
    }

    /// Whether connections linger, which must be advanced first.
    #[inline]
    pub(super) fn others_linger(&self) -> bool {
        self.context.lingering.get()
    }

    /// Whether the reactor drives the connection.
    pub(super) fn is_driven(&self) -> bool {
        self.driven.get()
    }

    pub(super) fn set_driven(&self, on: bool) {
        self.driven.set(on);
    }

    /// Whether the user's max_payload_size is unchanged.
    pub(super) fn size_is(&self, size: Option<f64>) -> bool {
        self.size.get() == size
    }

    /// Stores what the driver knows of all this.
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

    /// Pings after so many seconds of silence, and gives up after so many more: [`Session::set_keepalive`].
    fn set_keepalive(&self, interval: f64, timeout: f64) -> bool {
        let is_set = self.with(|inner| inner.session.set_keepalive(interval, timeout)).is_ok();
        self.alive_until.set(self.keepalive_due());
        is_set
    }

    /// Advances the keepalive: [`Session::keep_alive`].
    fn keep_alive(&self, now: f64) -> Liveness {
        let alive = self.with(|inner| inner.session.keep_alive(now, self.heard.get()));
        self.alive_until.set(self.keepalive_due());
        alive.unwrap_or(Liveness::Waiting)
    }

    /// When the keepalive has something to do at the latest.
    pub(super) fn keepalive_due(&self) -> f64 {
        self.with(|inner| inner.session.keepalive_due(self.heard.get())).unwrap_or(f64::INFINITY)
    }

    /// Notes that what was received before may have become an event.
    fn refresh(&self) {
        self.fresh.set(true);
    }

    /// Notes that a wsreceive has something to do.
    pub(super) fn stir(&self) {
        self.calm.set(false);
    }

    /// Returns unneeded storage to the pool.
    fn take_back(&self) -> bool {
        self.with(|inner| {
            let mut storage = self.context.storage.borrow_mut();
            storage.take_back(&mut inner.session);
            storage.take_back_output(&mut inner.session);
        })
        .is_ok()
    }

    /// Notes an interruption, for the next call to report.
    pub(super) fn break_off(&self) {
        self.handed.set(true);
    }

    /// Notes that the event handed over needs nothing more.
    pub(super) fn done(&self) {
        self.handed.set(false);
        self.guarded.set(false);
    }

    /// Sets whether the session is off limits for others until the event just handed over is done.
    pub(super) fn set_guarded(&self, guarded: bool) {
        self.guarded.set(guarded);
    }

    /// Ends the connection for the user.
    fn retire(&self) {
        self.retired.set(true);
        self.calm.set(false);
        self.can_send.set(false);
    }

    /// Frees all memory, unless the session is at work.
    fn free(&self) -> bool {
        let is_freed = self.lent.get().is_none()
            && self.inner.try_borrow_mut().is_ok_and(|mut inner| inner.take().is_some());
        if is_freed {
            self.context.note_freed();
            self.context.ended.set(self.context.ended.get() + 1);
        }
        is_freed
    }
}

impl Drop for LuaSession {
    fn drop(&mut self) {
        // What is left of a session keeps the pages around it in use.
        self.context.note_freed();
        if self.inner.get_mut().is_none() {
            self.context.ended.set(self.context.ended.get() - 1);
        }
        if let Some(number) = self.number.get() {
            self.context.sessions.remove(number);
        }
    }
}
