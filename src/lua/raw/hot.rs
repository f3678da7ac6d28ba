//! The functions that the driver calls often. They take their arguments directly from Lua's stack, and push numbers,
//! which allocates nothing; only the data of a message becomes a new string.
//!
//! Each function has two halves: one works on the session and makes no call to Lua that may raise, and a frame of plain
//! values pushes the result. The hottest functions know the session by its number.
//!
//! While the data of a message become a string, the collector may run anybody's finalisers. Meanwhile the data are
//! lent: the session is busy for everybody, and nothing is borrowed. If an error ends that, whoever catches it clears
//! the mark: [`hand_over`] itself, or the [`attempt`] that the same coroutine called it in.

use std::ffi::{CStr, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use mlua_sys as ffi;
use mlua_sys::lua_State as State;

use super::{PUSH, bytes, context, give, push_number, push_string, with_object};
use crate::lua::poller::{LuaPoller, Waited};
use crate::lua::session::{Came, ENOUGH, Found, INTERRUPTED, Lent, LuaSession, Reason};
use crate::lua::value::{Handle, Reply, failure};
use crate::memory;
use crate::net::clock;

/// Functions in addition to those of [`FUNCTIONS`](crate::lua::FUNCTIONS).
pub(super) const FUNCTIONS: &[(&CStr, ffi::lua_CFunction)] = &[
    (c"now", now),
    (c"time", time),
    (c"quick", super::quick::quick),
    (c"read", read),
    (c"write", write),
    (c"next", next),
    (c"deliver", deliver),
    (c"unguard", unguard),
    (c"attempt", attempt),
    (c"settle", settle),
    (c"heard", heard),
    (c"set_heard", set_heard),
    (c"keepalive_due", keepalive_due),
    (c"set_lingering", set_lingering),
    (c"set_driven", set_driven),
    (c"poller_wait", poller_wait),
    (c"without_yields", without_yields),
    (c"running", running),
    (c"done", done),
    (c"shelter", shelter),
    (c"is_busy", is_busy),
    (c"is_deep", is_deep),
    (c"send", send),
    (c"is_pending", is_pending),
    (c"incoming", incoming),
    (c"outgoing", outgoing),
    (c"sendable", sendable),
];

/// The session that is the first argument. It lives as long as its userdata is on the stack and nobody calls its
/// finaliser by hand.
pub(super) unsafe fn session<'a>(state: *mut State) -> Option<&'a LuaSession> {
    unsafe {
        let session = with_object(state, 1, |object| match object {
            Handle::Session(session) => Some(Rc::as_ptr(session)),
            _ => None,
        });
        session??.as_ref()
    }
}

/// The session whose number is the first argument. It lives until the function returns, even if that calls Lua: it
/// stays in the register until it is dropped, and nobody can drop it while it [is held](LuaSession::is_held).
#[inline]
unsafe fn numbered<'a>(state: *mut State) -> Option<&'a LuaSession> {
    unsafe {
        let number = ffi::lua_tonumber(state, 1);
        context(state)?.sessions.get(number).map(|session| session.as_ref())
    }
}

/// `settle(number, is_calm, can_send, is_plain, max_payload_size)`: whether a wsreceive has nothing to do but read,
/// whether messages can be sent at any time, whether incoming messages go to the handler and nowhere else, and the
/// value of that option as the session knows it. The next poll reads the options again.
unsafe extern "C-unwind" fn settle(state: *mut State) -> c_int {
    unsafe {
        let Some(session) = numbered(state) else { return 0 };
        let says = |index| ffi::lua_toboolean(state, index) != 0;
        session.settle(says(2), says(3), says(4), super::quick::size(state, 5));
        0
    }
}

/// `heard(number)`: when the peer was last heard from, on the clock of [`now`].
unsafe extern "C-unwind" fn heard(state: *mut State) -> c_int {
    unsafe {
        ffi::lua_pushnumber(state, numbered(state).map_or(f64::INFINITY, LuaSession::heard));
        1
    }
}

/// `set_heard(number, seconds)`
unsafe extern "C-unwind" fn set_heard(state: *mut State) -> c_int {
    unsafe {
        if let Some(session) = numbered(state) {
            session.set_heard(ffi::lua_tonumber(state, 2));
        }
        0
    }
}

/// `keepalive_due(number)`: when [`keep_alive`](crate::lua::session) has something to do at the latest, on the clock of
/// [`now`]; infinity for never.
unsafe extern "C-unwind" fn keepalive_due(state: *mut State) -> c_int {
    unsafe {
        ffi::lua_pushnumber(state, numbered(state).map_or(f64::INFINITY, LuaSession::keepalive_due));
        1
    }
}

/// `set_lingering(on)`: whether connections linger, so that each call must also advance them.
unsafe extern "C-unwind" fn set_lingering(state: *mut State) -> c_int {
    unsafe {
        if let Some(context) = context(state) {
            context.lingering.set(ffi::lua_toboolean(state, 1) != 0);
        }
        0
    }
}

/// `set_driven(number, on)`: whether the reactor drives the connection.
unsafe extern "C-unwind" fn set_driven(state: *mut State) -> c_int {
    unsafe {
        if let Some(session) = numbered(state) {
            session.set_driven(ffi::lua_toboolean(state, 2) != 0);
        }
        0
    }
}

/// Works with the poller that is the first argument, unless it is not one, or is at work.
unsafe fn with_poller<R>(state: *mut State, work: impl FnOnce(&mut LuaPoller) -> R) -> Option<R> {
    let looked = unsafe {
        with_object(state, 1, |object| match object {
            Handle::Poller(poller) => poller.try_borrow_mut().ok().map(|mut poller| work(&mut poller)),
            _ => None,
        })
    };
    looked.flatten()
}

/// `poller_wait(poller, seconds, into)`: waits for at most that time, or for ever. Returns nothing if nothing has happened;
/// false if the poller belongs to another process; otherwise how many tokens it has put into the array, each followed by
/// the sum of 1 (readable), 2 (writable) and 4 (ended), or 0 (woken). That may be 0: a signal came, or the timer has
/// ended.
unsafe extern "C-unwind" fn poller_wait(state: *mut State) -> c_int {
    unsafe {
        let seconds = ffi::lua_tonumber(state, 2);
        let wait = |poller: &mut LuaPoller| poller.wait(seconds);
        let waited = || with_poller(state, wait).unwrap_or(Waited::Nothing);
        let count = match catch_unwind(AssertUnwindSafe(waited)).unwrap_or(Waited::Nothing) {
            Waited::Nothing => return 0,
            Waited::Foreign => {
                ffi::lua_pushboolean(state, 0);
                return 1;
            }
            Waited::Found(count) => count,
        };
        // Nothing is borrowed while Lua may run out of memory.
        for index in 0..count {
            let found = with_poller(state, |poller| poller.found(index)).flatten();
            let (token, happened) = found.unwrap_or((0.0, 0)); // which is nobody's
            ffi::lua_pushnumber(state, token);
            ffi::lua_rawseti(state, 3, 2 * index as ffi::lua_Integer + 1);
            ffi::lua_pushinteger(state, happened.into());
            ffi::lua_rawseti(state, 3, 2 * index as ffi::lua_Integer + 2);
        }
        with_poller(state, |poller| poller.forget(count));
        push_number(state, count as f64);
        1
    }
}

/// `without_yields(f, ...)`: `pcall(f, ...)`. Yields cannot cross it, so handlers may be called as in the main coroutine.
unsafe extern "C-unwind" fn without_yields(state: *mut State) -> c_int {
    unsafe {
        let before = context(state).map(|context| context.unyielding.replace(state as usize));
        let status = ffi::lua_pcall(state, ffi::lua_gettop(state) - 1, ffi::LUA_MULTRET, 0);
        if let (Some(context), Some(before)) = (context(state), before) {
            context.unyielding.set(before);
        }
        ffi::lua_pushboolean(state, (status == ffi::LUA_OK).into());
        ffi::lua_insert(state, 1);
        ffi::lua_gettop(state)
    }
}

/// `running()`: the running coroutine; nil for the main one, and where nothing can yield.
unsafe extern "C-unwind" fn running(state: *mut State) -> c_int {
    unsafe {
        let can_yield = context(state).is_none_or(|context| context.unyielding.get() != state as usize);
        if ffi::lua_pushthread(state) != 0 || !can_yield {
            ffi::lua_pushnil(state);
        }
        1
    }
}

/// A reply with an error, for [`give`].
pub(super) fn refusal(why: Reason) -> *mut Reply {
    Box::into_raw(Box::new(failure(why.into_owned())))
}

/// Runs an operation that should not panic; if it does, that is an error.
pub(super) fn caught<R>(operation: impl FnOnce() -> Result<R, Reason>) -> Result<R, Reason> {
    catch_unwind(AssertUnwindSafe(operation)).unwrap_or(Err("internal error of luws (a panic)".into()))
}

/// `now()`: seconds on a monotonic clock. While the Lua state is being closed, every deadline has passed.
unsafe extern "C-unwind" fn now(state: *mut State) -> c_int {
    unsafe {
        let seconds = if context(state).is_some() { clock() } else { f64::INFINITY };
        ffi::lua_pushnumber(state, seconds);
        1
    }
}

/// `time()`: seconds since 1970, as `socket.gettime` returns them.
unsafe extern "C-unwind" fn time(state: *mut State) -> c_int {
    unsafe {
        ffi::lua_pushnumber(state, crate::lua::time());
        1
    }
}

/// `read(number [, most])`: one read from the session's own socket, of at most `most` bytes of plaintext; without
/// `most`, the session chooses. Returns the number of bytes and whether there may be more now. Returns nil if nothing
/// came and nothing is pending from before; nil and "closed" or the error if nothing will ever come.
unsafe extern "C-unwind" fn read(state: *mut State) -> c_int {
    unsafe {
        let came = match numbered(state) {
            Some(session) => {
                let most = limit(state, 2);
                caught(|| session.read(most)).map_err(refusal)
            }
            None => Err(refusal("closed".into())),
        };
        give_came(state, came)
    }
}

/// A number of bytes; `None` if the value is not such a number.
pub(super) unsafe fn limit(state: *mut State, index: c_int) -> Option<usize> {
    unsafe {
        let is_number = ffi::lua_type(state, index) == ffi::LUA_TNUMBER;
        is_number
            .then(|| ffi::lua_tonumber(state, index))
            .filter(|most| *most >= 0.0)
            .map(|most| most as usize)
    }
}

/// Pushes the result of a read.
pub(super) unsafe fn give_came(state: *mut State, came: Result<Came, *mut Reply>) -> c_int {
    unsafe {
        let (count, more) = match came {
            Ok(Came::Nothing { pending: false }) => {
                ffi::lua_pushnil(state);
                return 1;
            }
            Ok(Came::Nothing { pending: true }) => (0, false),
            Ok(Came::Bytes(count, more)) => (count, more),
            Err(reply) => return give(state, reply),
        };
        push_number(state, count as f64);
        ffi::lua_pushboolean(state, more.into());
        2
    }
}

/// Pushes true for success; otherwise nil and the error.
pub(super) unsafe fn give_result(state: *mut State, failed: Option<*mut Reply>) -> c_int {
    unsafe {
        if let Some(reply) = failed {
            return give(state, reply);
        }
        ffi::lua_pushboolean(state, 1);
        1
    }
}

/// `write(number)`: writes as much to the session's own socket as it takes. Returns true when nothing is left; or nil
/// and "timeout" (no room), "closed", or the error.
unsafe extern "C-unwind" fn write(state: *mut State) -> c_int {
    unsafe {
        let written = match numbered(state) {
            Some(session) => caught(|| session.write()),
            None => Err("closed".into()),
        };
        give_result(state, written.err().map(refusal))
    }
}

/// `send(session, opcode, data, fin)`: queues a frame or a message. Returns true; or nil and why nothing was queued.
unsafe extern "C-unwind" fn send(state: *mut State) -> c_int {
    unsafe fn failed(state: *mut State) -> Option<*mut Reply> {
        unsafe {
            let opcode = ffi::lua_tonumber(state, 2) as u8;
            let (data, fin) = (bytes(state, 3).unwrap_or_default(), ffi::lua_toboolean(state, 4) != 0);
            let sent = match session(state) {
                Some(session) => caught(|| session.send(opcode, data, fin)),
                None => Err("not connected".into()),
            };
            sent.err().map(refusal)
        }
    }
    unsafe {
        let failed = failed(state);
        give_result(state, failed)
    }
}

/// `next(number)`: the number of an event (an opcode, or one of [`session`](crate::lua::session)'s) and its data; or,
/// when more bytes are needed, nil, whether complete frames have come since the last report, and how many bytes wait to
/// be sent.
///
/// An event counts as handed over until `deliver`, `done` or the function that answers it is called. If none was called
/// before the next `next`, the driver was interrupted in between, and the event says so.
unsafe extern "C-unwind" fn next(state: *mut State) -> c_int {
    unsafe {
        let Some(session) = numbered(state) else { return 0 };
        give_found(state, session, find(session, LuaSession::next), false)
    }
}

/// Runs `search`. A session in which it panics cannot go on.
#[inline]
pub(super) fn find(session: &LuaSession, search: impl FnOnce(&LuaSession) -> Found) -> Found {
    catch_unwind(AssertUnwindSafe(|| search(session))).unwrap_or_else(|_| {
        session.break_off();
        Found::Interrupted
    })
}

/// Pushes what was found.
pub(super) unsafe fn give_found(
    state: *mut State,
    session: &LuaSession,
    found: Found,
    guards: bool,
) -> c_int {
    unsafe {
        match found {
            Found::Event(lent) => {
                let before = ffi::lua_gettop(state);
                ffi::lua_pushinteger(state, lent.number.into());
                if !hand_over(state, session, lent) {
                    ffi::lua_settop(state, before);
                    return give_found(state, session, find(session, LuaSession::next), guards);
                }
                session.set_guarded(guards);
                2
            }
            Found::Nothing { heard, outgoing } => {
                ffi::lua_pushnil(state);
                ffi::lua_pushboolean(state, heard.into());
                push_number(state, outgoing as f64);
                3
            }
            Found::Enough { heard } => {
                ffi::lua_pushinteger(state, ENOUGH.into());
                ffi::lua_pushboolean(state, heard.into());
                2
            }
            Found::Interrupted => {
                ffi::lua_pushinteger(state, INTERRUPTED.into());
                1
            }
        }
    }
}

/// Data of at least this length, in bytes, may be too much for Lua while it has memory for everything else.
const LARGE: usize = 64 * 1024;

/// Pushes the data that a session has lent. Returns whether they are still to be delivered; if not, the next event says
/// why: a finaliser has ended the connection meanwhile, or Lua has no memory for such large data.
///
/// In an attempt of the same coroutine an error goes straight to that attempt: the driver has no `pcall` between the
/// two.
#[inline]
pub(super) unsafe fn hand_over(state: *mut State, session: &LuaSession, lent: Lent) -> bool {
    unsafe {
        if lent.length < LARGE && session.is_attempt_of(state as usize) {
            push_string(state, lent.start, lent.length);
        } else if !push_protected(state, session, lent) {
            return false;
        }
        session.handed_over()
    }
}

/// Pushes lent data, or raises an error. Returns false if Lua has no memory for them, which ends the connection.
unsafe fn push_protected(state: *mut State, session: &LuaSession, lent: Lent) -> bool {
    unsafe {
        ffi::lua_pushvalue(state, PUSH);
        ffi::lua_pushlightuserdata(state, lent.start.cast_mut().cast());
        ffi::lua_pushnumber(state, lent.length as f64);
        match ffi::lua_pcall(state, 2, 1, 0) {
            ffi::LUA_OK => true,
            ffi::LUA_ERRMEM if lent.length >= LARGE => {
                let _ = catch_unwind(AssertUnwindSafe(|| session.fail_for_memory()));
                ffi::lua_settop(state, -2);
                false
            }
            _ => {
                keep(session, lent);
                ffi::lua_error(state)
            }
        }
    }
}

/// Keeps in the session the data that could not become a string.
pub(super) unsafe fn keep(session: &LuaSession, lent: Lent) {
    unsafe {
        let data = std::slice::from_raw_parts(lent.start, lent.length);
        let keep = || match memory::copy(data) {
            Ok(data) => session.keep(lent.number, data),
            Err(_) => session.fail_for_memory(),
        };
        let _ = catch_unwind(AssertUnwindSafe(keep));
    }
}

/// `attempt(number, f, ...)`: `pcall(f, ...)` that also cleans up after an error in f. Yields cannot cross it.
unsafe extern "C-unwind" fn attempt(state: *mut State) -> c_int {
    unsafe {
        let session = numbered(state);
        let before = session.map(|session| session.begin_attempt(state as usize));
        let status = ffi::lua_pcall(state, ffi::lua_gettop(state) - 2, ffi::LUA_MULTRET, 0);
        if let (Some(session), Some(before)) = (session, before)
            && let Some(lent) = session.end_attempt(before)
        {
            keep(session, lent);
        }
        ffi::lua_pushboolean(state, (status == ffi::LUA_OK).into());
        ffi::lua_replace(state, 1);
        ffi::lua_gettop(state)
    }
}

/// Calls a handler through `protected`, a `lua_pcall`. Returns whether it succeeded. The event counts as done in the
/// same step, so that no debug hook can come between.
#[inline]
pub(super) fn call(session: Option<&LuaSession>, protected: impl FnOnce() -> c_int) -> bool {
    if let Some(session) = session {
        session.begin_delivery();
    }
    let status = protected();
    if let Some(session) = session {
        session.end_delivery();
    }
    status == ffi::LUA_OK
}

/// `deliver(number, trace, f, ...)`: `xpcall(f, trace, ...)`, whose Lua 5.1 version takes no arguments for f; with nil
/// as `trace`, `pcall`. Yields cannot cross it.
unsafe extern "C-unwind" fn deliver(state: *mut State) -> c_int {
    unsafe {
        let trace = if ffi::lua_type(state, 2) == ffi::LUA_TFUNCTION { 2 } else { 0 };
        let count = ffi::lua_gettop(state) - 3;
        let ok = call(numbered(state), || ffi::lua_pcall(state, count, ffi::LUA_MULTRET, trace));
        ffi::lua_pushboolean(state, ok.into());
        ffi::lua_replace(state, 2);
        ffi::lua_gettop(state) - 1
    }
}

/// `done(session)`: the event that `next` has handed over needs nothing more.
unsafe extern "C-unwind" fn done(state: *mut State) -> c_int {
    unsafe {
        if let Some(session) = session(state) {
            session.done();
        }
        0
    }
}

/// `unguard(number)`: the driver was interrupted, and whoever caught that goes on.
unsafe extern "C-unwind" fn unguard(state: *mut State) -> c_int {
    unsafe {
        if let Some(session) = numbered(state) {
            session.set_guarded(false);
        }
        0
    }
}

/// `shelter(session, f, ...)`: `pcall(f, ...)` during which the session is busy for everybody else, so that a
/// finaliser's call is not mistaken for the next call after an interruption. f must not read, write or take events.
/// Yields cannot cross it.
unsafe extern "C-unwind" fn shelter(state: *mut State) -> c_int {
    unsafe {
        let arguments = ffi::lua_gettop(state) - 2;
        let before = session(state).is_some_and(|session| session.set_sheltered(true));
        let status = ffi::lua_pcall(state, arguments, ffi::LUA_MULTRET, 0);
        if let Some(session) = session(state) {
            session.set_sheltered(before);
        }
        ffi::lua_pushboolean(state, (status == ffi::LUA_OK).into());
        ffi::lua_replace(state, 1);
        ffi::lua_gettop(state)
    }
}

/// `is_deep()`: whether deliveries are nested as deeply as allowed.
unsafe extern "C-unwind" fn is_deep(state: *mut State) -> c_int {
    unsafe {
        let deep = context(state).is_some_and(|context| context.is_deep());
        ffi::lua_pushboolean(state, deep.into());
        1
    }
}

/// Pushes a number that the session is asked for.
unsafe fn ask(state: *mut State, question: impl FnOnce(&LuaSession) -> usize) -> c_int {
    unsafe {
        let ask = || session(state).map_or(0, question);
        let number = catch_unwind(AssertUnwindSafe(ask)).unwrap_or(0);
        push_number(state, number as f64);
        1
    }
}

/// `is_pending(session)`: whether a wsreceive has something to do without more bytes from the wire.
unsafe extern "C-unwind" fn is_pending(state: *mut State) -> c_int {
    unsafe {
        let ask = || session(state).is_some_and(LuaSession::is_pending);
        let pending = catch_unwind(AssertUnwindSafe(ask)).unwrap_or(true);
        ffi::lua_pushboolean(state, pending.into());
        1
    }
}

/// `is_busy(session)`: whether it is at work further up this stack, so that a finaliser must leave it alone.
unsafe extern "C-unwind" fn is_busy(state: *mut State) -> c_int {
    unsafe {
        let busy = session(state).is_some_and(LuaSession::is_busy);
        ffi::lua_pushboolean(state, busy.into());
        1
    }
}

/// `incoming(session)`: bytes received but not yet interpreted.
unsafe extern "C-unwind" fn incoming(state: *mut State) -> c_int {
    unsafe { ask(state, LuaSession::incoming) }
}

/// `outgoing(session)`: bytes that wait to be written.
unsafe extern "C-unwind" fn outgoing(state: *mut State) -> c_int {
    unsafe { ask(state, LuaSession::outgoing) }
}

/// `sendable(session)`: how many of the outgoing bytes could be written now; the rest waits for an earlier step.
unsafe extern "C-unwind" fn sendable(state: *mut State) -> c_int {
    unsafe { ask(state, LuaSession::sendable) }
}
