//! How events leave a session: their data become Lua strings, and handlers are called with them. Knows no particular
//! event.
//!
//! While the data of a message become a string, the collector may run anybody's finalisers. Meanwhile the data are
//! lent: the session is busy for everybody, and nothing is borrowed. If an error ends that, whoever catches it clears
//! the mark: [`hand_over`] itself, or the [`attempt`] that the same coroutine called it in.

use std::ffi::{CStr, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlua_sys as ffi;
use mlua_sys::lua_State as State;

use super::hot::{numbered, session};
use super::{PUSH, push_number, push_string};
use crate::lua::session::{ENOUGH, Found, INTERRUPTED, Lent, LuaSession};
use crate::memory;

/// Functions in addition to those of [`FUNCTIONS`](crate::lua::FUNCTIONS).
pub(super) const FUNCTIONS: &[(&CStr, ffi::lua_CFunction)] = &[
    (c"next", next),
    (c"deliver", deliver),
    (c"unguard", unguard),
    (c"attempt", attempt),
    (c"done", done),
    (c"shelter", shelter),
];

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
