//! What a session tells, one event after the other: each by its number and with its data, which are lent until they are
//! a Lua string.

use std::cell::Cell;

use super::{Inner, LuaSession};
use crate::net::{clock, coarse_clock};
use crate::protocol::connection::Connection;
use crate::protocol::event::Event as Received;
use crate::protocol::frame::Opcode;
use crate::session::Event;

/// The numbers of events that are no opcodes.
pub(super) const OPEN: u8 = 16;
pub(super) const BEGIN: u8 = 17;
pub(super) const PIECE: u8 = 18;
pub(super) const LAST: u8 = 19;
pub(super) const FAILURE: u8 = 20;
pub(super) const REQUEST: u8 = 21;
/// The driver was broken off between taking an event and delivering it.
pub(in crate::lua) const INTERRUPTED: u8 = 22;
/// More is there to be interpreted, and nothing to tell yet.
pub(super) const WORKING: u8 = 23;
/// More may be there, but it is enough for this turn.
pub(in crate::lua) const ENOUGH: u8 = 24;

/// The most events of a turn, and how long it may take from the first event on, in seconds: a peer that always has more
/// could keep it for ever.
const MOST_EVENTS: u32 = 1000;
const LONGEST: f64 = 0.005;

/// What one `wsreceive` may do yet. Where no turn has begun, nothing limits what is told.
#[derive(Debug, Default)]
pub(super) struct Turn {
    has_begun: Cell<bool>,
    /// That have been told.
    events: Cell<u32>,
    /// By [`LuaSession::time`].
    deadline: Cell<f64>,
}

/// An event that is being handed over. Its data stay where they are until [`LuaSession::handed_over`] or
/// [`LuaSession::keep`], for until then nothing touches the session.
#[derive(Clone, Copy, Debug)]
pub(in crate::lua) struct Lent {
    pub(in crate::lua) number: u8,
    pub(in crate::lua) start: *const u8,
    pub(in crate::lua) length: usize,
}

impl Lent {
    /// Whether it is a whole message.
    pub(in crate::lua) fn is_message(&self) -> bool {
        self.number == Opcode::Text as u8 || self.number == Opcode::Binary as u8
    }
}

/// What `next` has found.
#[derive(Clone, Copy, Debug)]
pub(in crate::lua) enum Found {
    /// Nothing, and nothing will come without more bytes; whether complete frames have come since that was last said,
    /// and how many bytes wait to be sent.
    Nothing {
        heard: bool,
        outgoing: usize,
    },
    Event(Lent),
    /// The turn is over, and there may be more; whether complete frames have come.
    Enough {
        heard: bool,
    },
    /// Nothing was done with the last event: the driver was broken off.
    Interrupted,
}

impl Found {
    const NOT_NOW: Self = Self::Nothing { heard: false, outgoing: 0 };
}

impl LuaSession {
    /// A turn begins.
    pub(in crate::lua) fn begin_turn(&self) {
        self.turn.has_begun.set(true);
        self.turn.events.set(0);
        if let Ok(mut storage) = self.context.storage.try_borrow_mut() {
            storage.tidy(coarse_clock());
        }
    }

    /// Seconds on a clock that costs next to nothing.
    fn time(&self) -> f64 {
        self.clock.as_ref().map_or_else(coarse_clock, |clock| clock.get())
    }

    /// Whether the turn is not over.
    #[inline]
    fn goes_on(&self) -> bool {
        let events = self.turn.events.get();
        let is_over = || events >= MOST_EVENTS || self.time() >= self.turn.deadline.get();
        events == 0 || !self.turn.has_begun.get() || !is_over()
    }

    /// The next event, which is lent until one of `handed_over` and `keep` is called.
    pub(in crate::lua) fn next(&self) -> Found {
        if self.retired.get() {
            return Found::NOT_NOW;
        }
        let Some(mut guard) = self.at_rest() else { return Found::NOT_NOW };
        if self.handed.get() {
            return Found::Interrupted;
        }
        let Some(inner) = guard.as_mut() else { return Found::NOT_NOW };
        if !self.goes_on() && (inner.kept.is_some() || inner.session.is_pending()) {
            return Found::Enough { heard: self.has_heard(inner) };
        }
        let Some((number, data)) = inner.next() else {
            self.fresh.set(false);
            self.context.storage.borrow_mut().take_back(&mut inner.session);
            return Found::Nothing { heard: self.has_heard(inner), outgoing: inner.session.outgoing_len() };
        };
        self.count_event(number);
        Found::Event(self.lend(number, data))
    }

    /// The same, in less time if it is a message as most are.
    #[inline]
    pub(in crate::lua) fn next_quickly(&self) -> Found {
        self.short_message().map_or_else(|| self.next(), Found::Event)
    }

    /// The next event, if that is a message of the kind that the last event was; see [`Session::short_message`].
    #[inline]
    fn short_message(&self) -> Option<Lent> {
        if self.retired.get() || self.handed.get() {
            return None;
        }
        let kind = self.last.get();
        let opcode = match kind {
            1 => Opcode::Text,
            2 => Opcode::Binary,
            _ => return None,
        };
        let mut guard = self.at_rest()?;
        let inner = guard.as_mut().filter(|inner| inner.kept.is_none())?;
        if !self.goes_on() {
            return None;
        }
        let data = inner.session.short_message(opcode)?;
        self.count_event(kind);
        Some(self.lend(kind, data))
    }

    /// Whether complete frames have come since this was last asked; if so, the peer was heard of now.
    fn has_heard(&self, inner: &Inner) -> bool {
        let frames = inner.session.connection().map_or(0, Connection::frames_received);
        if self.frames.replace(frames) == frames {
            return false;
        }
        self.hear();
        true
    }

    fn hear(&self) {
        self.heard.set(self.clock.as_ref().map_or_else(clock, |clock| clock.get()));
    }

    /// Counts an event of this number. If it is a complete frame, the peer was heard of before a handler is called, which
    /// may receive, too.
    fn count_event(&self, number: u8) {
        let events = self.turn.events.get();
        if events == 0 {
            self.turn.deadline.set(self.time() + LONGEST);
            if number < OPEN || number == LAST {
                self.hear();
            }
        }
        self.turn.events.set(events.saturating_add(1));
    }

    #[inline]
    fn lend(&self, number: u8, data: &[u8]) -> Lent {
        let lent = Lent { number, start: data.as_ptr(), length: data.len() };
        self.lent.set(Some(lent));
        self.last.set(number);
        lent
    }

    /// What was lent has been taken; whether it is to be told, for the connection may be over meanwhile.
    pub(in crate::lua) fn handed_over(&self) -> bool {
        self.lent.set(None);
        self.handed.set(!self.retired.get());
        self.handed.get()
    }

    /// What was lent, these data, could not be taken, and comes again.
    pub(in crate::lua) fn keep(&self, number: u8, data: Vec<u8>) {
        self.lent.set(None);
        let _ = self.with(|inner| (inner.kept, inner.own) = (Some(number), data));
    }

    /// Throws away what has come, at most so many events. Returns whether the peer's close frame, or its fault, was
    /// among it; and whether there may be more.
    pub(super) fn discard(&self, most: u32) -> (bool, bool) {
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
