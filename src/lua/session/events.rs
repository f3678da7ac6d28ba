//! The events of a session, one after the other. Each has a number and data, which are lent until they are a Lua
//! string.

use std::cell::Cell;

use super::{Inner, LuaSession};
use crate::net::{clock, coarse_clock};
use crate::protocol::connection::Connection;
use crate::protocol::event::Event as Received;
use crate::protocol::frame::Opcode;
use crate::session::Event;

/// The numbers of the events that are not opcodes.
pub(super) const OPEN: u8 = 16;
pub(super) const BEGIN: u8 = 17;
pub(super) const PIECE: u8 = 18;
pub(super) const LAST: u8 = 19;
pub(super) const FAILURE: u8 = 20;
pub(super) const REQUEST: u8 = 21;
/// The driver was interrupted between taking an event and delivering it.
pub(in crate::lua) const INTERRUPTED: u8 = 22;
/// More input is waiting to be interpreted, and there is no event yet.
pub(super) const WORKING: u8 = 23;
/// There may be more, but this turn is over.
pub(in crate::lua) const ENOUGH: u8 = 24;
/// A request is complete, with its body if it has one. Of a server that answers all kinds of requests, for whose head
/// the event is `REQUEST`.
pub(super) const BODY: u8 = 25;

/// The most events of a turn if nothing else is said, and the most seconds from its first event on. Without a limit, a
/// peer that always has more to say could keep a turn going for ever.
const MOST_EVENTS: u32 = 1000;
const LONGEST: f64 = 0.005;

/// How many bytes of data are taken before the exact clock is read. The coarse clock may stand still for longer than a
/// turn lasts, while small frames inflate to much.
const HEAVY: usize = 256 * 1024;

/// The bytes that an event counts as.
fn weight_of(number: u8, length: usize) -> usize {
    if number == WORKING { HEAVY } else { length }
}

/// The limits of one `wsreceive`. Without a turn there are none.
#[derive(Debug)]
pub(super) struct Turn {
    has_begun: Cell<bool>,
    /// The most events.
    most: Cell<u32>,
    /// How many events were delivered.
    events: Cell<u32>,
    /// On the clock of [`LuaSession::time`].
    deadline: Cell<f64>,
    /// The bytes of the events since the exact clock was read.
    weight: Cell<usize>,
    /// On the exact clock; 0 if that was not read yet.
    exact_deadline: Cell<f64>,
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            has_begun: Cell::new(false),
            most: Cell::new(MOST_EVENTS),
            events: Cell::new(0),
            deadline: Cell::new(0.0),
            weight: Cell::new(0),
            exact_deadline: Cell::new(0.0),
        }
    }
}

/// An event that is being handed over. Its data stay where they are until [`LuaSession::handed_over`] or
/// [`LuaSession::keep`], since until then nothing touches the session.
#[derive(Clone, Copy, Debug)]
pub(in crate::lua) struct Lent {
    pub(in crate::lua) number: u8,
    pub(in crate::lua) start: *const u8,
    pub(in crate::lua) length: usize,
}

impl Lent {
    /// Whether it is a message, or a piece of one.
    fn is_data(&self) -> bool {
        self.is_message() || matches!(self.number, PIECE | LAST)
    }

    /// Whether it is a whole message.
    pub(in crate::lua) fn is_message(&self) -> bool {
        self.number == Opcode::Text as u8 || self.number == Opcode::Binary as u8
    }
}

/// The result of `next`.
#[derive(Clone, Copy, Debug)]
pub(in crate::lua) enum Found {
    /// No event, and none will come without more bytes. `heard`: complete frames have come since the last report;
    /// `outgoing`: how many bytes wait to be sent.
    Nothing {
        heard: bool,
        outgoing: usize,
    },
    Event(Lent),
    /// The turn is over, and there may be more. `heard`: complete frames have come since the last report.
    Enough {
        heard: bool,
    },
    /// The last event was never delivered: the driver was interrupted.
    Interrupted,
}

impl Found {
    const NOT_NOW: Self = Self::Nothing { heard: false, outgoing: 0 };
}

impl LuaSession {
    /// Limits the turns from now on to this number of events; `None` for the usual one.
    #[inline]
    pub(in crate::lua) fn limit_turns(&self, most: Option<u32>) {
        self.turn.most.set(most.unwrap_or(MOST_EVENTS));
    }

    /// Begins a turn.
    pub(in crate::lua) fn begin_turn(&self) {
        self.turn.has_begun.set(true);
        self.turn.events.set(0);
        self.turn.weight.set(0);
        self.turn.exact_deadline.set(0.0);
        if let Ok(mut storage) = self.context.storage.try_borrow_mut() {
            storage.tidy(coarse_clock());
        }
    }

    /// Ends the present turn after the event that is being delivered.
    pub(super) fn end_turn(&self) {
        if self.turn.has_begun.get() {
            self.turn.events.set(u32::MAX);
        }
    }

    /// Seconds on a clock that is almost free to read.
    fn time(&self) -> f64 {
        self.clock.as_ref().map_or_else(coarse_clock, |clock| clock.get())
    }

    fn exact_time(&self) -> f64 {
        self.clock.as_ref().map_or_else(clock, |clock| clock.get())
    }

    /// Counts the bytes of an event, and ends the turn if the exact clock says so.
    #[inline]
    fn weigh(&self, number: u8, length: usize) {
        let weight = self.turn.weight.get() + weight_of(number, length);
        self.turn.weight.set(weight);
        if weight >= HEAVY {
            self.read_exact_clock();
        }
    }

    #[inline(never)]
    fn read_exact_clock(&self) {
        self.turn.weight.set(0);
        let (now, deadline) = (self.exact_time(), self.turn.exact_deadline.get());
        if deadline <= 0.0 {
            self.turn.exact_deadline.set(now + LONGEST);
        } else if now >= deadline {
            self.turn.events.set(MOST_EVENTS);
        }
    }

    /// Whether the turn may go on.
    #[inline]
    fn goes_on(&self) -> bool {
        let events = self.turn.events.get();
        let is_over = || events >= self.turn.most.get() || self.time() >= self.turn.deadline.get();
        events == 0 || !self.turn.has_begun.get() || !is_over()
    }

    /// The next event, which is lent until `handed_over` or `keep` is called.
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
        self.count_event(number, data.len());
        Found::Event(self.lend(number, data))
    }

    /// Like `next`, but faster for a short message.
    #[inline]
    pub(in crate::lua) fn next_quickly(&self) -> Found {
        self.short_message().map_or_else(|| self.next(), Found::Event)
    }

    /// The next event, if it is a message of the same kind as the last event; see [`Connection::short_message`].
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
        self.count_event(kind, data.len());
        Some(self.lend(kind, data))
    }

    /// Whether complete frames have come since the last call. If so, the peer counts as heard from now: handlers may
    /// have taken their time since the bytes were read.
    fn has_heard(&self, inner: &Inner) -> bool {
        let frames = inner.session.connection().map_or(0, Connection::frames_received);
        if self.frames.replace(frames) == frames {
            return false;
        }
        self.hear();
        true
    }

    /// Notes that the peer is heard from now.
    pub(super) fn hear(&self) {
        self.heard.set(self.exact_time());
    }

    fn count_event(&self, number: u8, length: usize) {
        let events = self.turn.events.get();
        if events == 0 {
            self.turn.deadline.set(self.time() + LONGEST);
        }
        self.turn.events.set(events.saturating_add(1));
        self.weigh(number, length);
    }

    #[inline]
    fn lend(&self, number: u8, data: &[u8]) -> Lent {
        let lent = Lent { number, start: data.as_ptr(), length: data.len() };
        self.lent.set(Some(lent));
        self.last.set(number);
        lent
    }

    /// Notes that the lent data were copied. Returns whether to deliver them: the connection may have ended meanwhile.
    pub(in crate::lua) fn handed_over(&self) -> bool {
        let lent = self.lent.take();
        let is_delivered = !self.retired.get();
        self.handed.set(is_delivered);
        if let (Some(traffic), Some(lent), true) = (&self.traffic, lent, is_delivered)
            && lent.is_data()
        {
            traffic.receive(lent.length, lent.number != PIECE);
        }
        is_delivered
    }

    /// Keeps lent data that could not be copied; the event is returned again.
    pub(in crate::lua) fn keep(&self, number: u8, data: Vec<u8>) {
        self.lent.set(None);
        let _ = self.with(|inner| (inner.kept, inner.own) = (Some(number), data));
    }

    /// Ends the connection because there is no memory for the lent data: the next event is that failure.
    pub(in crate::lua) fn fail_for_memory(&self) {
        self.lent.set(None);
        let _ = self.with(|inner| {
            inner.own = Vec::new();
            inner.session.fail_for_memory();
        });
    }

    /// Discards as many events as a turn has, or fewer if there is much in them. Returns whether the peer's close frame
    /// or a failure was among them, and whether there may be more.
    pub(super) fn discard(&self) -> (bool, bool) {
        let discarded = self.with(|inner| {
            let (mut answered, mut weight) = (false, 0);
            for _ in 0..MOST_EVENTS {
                let Some((number, data)) = inner.next() else {
                    self.context.storage.borrow_mut().take_back(&mut inner.session);
                    return (answered, false);
                };
                answered |= number == Opcode::Close as u8 || number == FAILURE;
                weight += weight_of(number, data.len());
                if weight >= HEAVY {
                    break;
                }
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
        // The data of the last event, if they were kept.
        self.own = Vec::new();
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
            Ok(Some(Event::Request(_) | Event::RequestHead(_))) => (REQUEST, b""),
            Ok(Some(Event::RequestBody(body) | Event::Response(body))) => (BODY, body),
            Ok(Some(Event::Open(_))) => (OPEN, b""),
            Err(failure) => {
                self.own = failure.text.clone().into_bytes();
                self.failure = Some(failure);
                (FAILURE, &self.own)
            }
        })
    }
}
