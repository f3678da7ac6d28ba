//! The functions that the driver calls often, except those that take and deliver events
//! ([`delivery`](super::delivery)). They take their arguments directly from Lua's stack, and push numbers, which
//! allocates nothing.
//!
//! Each function has two halves: one works on the session and makes no call to Lua that may raise, and a frame of plain
//! values pushes the result. The hottest functions know the session by its number.

use std::ffi::{CStr, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use mlua_sys as ffi;
use mlua_sys::lua_State as State;

use super::{bytes, context, give, push_number, with_object};
use crate::lua::poller::{LuaPoller, Waited};
use crate::lua::session::{Came, LuaSession, Reason};
use crate::lua::value::{Handle, Reply, failure};
use crate::net::clock;

/// Functions in addition to those of [`FUNCTIONS`](crate::lua::FUNCTIONS).
pub(super) const FUNCTIONS: &[(&CStr, ffi::lua_CFunction)] = &[
    (c"now", now),
    (c"time", time),
    (c"quick", super::quick::quick),
    (c"read", read),
    (c"write", write),
    (c"settle", settle),
    (c"heard", heard),
    (c"set_heard", set_heard),
    (c"keepalive_due", keepalive_due),
    (c"set_lingering", set_lingering),
    (c"set_driven", set_driven),
    (c"poller_wait", poller_wait),
    (c"without_yields", without_yields),
    (c"running", running),
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
pub(super) unsafe fn numbered<'a>(state: *mut State) -> Option<&'a LuaSession> {
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

/// `poller_wait(poller, seconds, into)`: waits for at most that time, or for ever. Returns nothing if nothing has
/// happened; false if the poller belongs to another process; otherwise how many tokens it has put into the array, each
/// followed by the sum of 1 (readable), 2 (writable) and 4 (ended), or 0 (woken). That may be 0: a signal came, or the
/// timer has ended.
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

/// `without_yields(f, ...)`: `pcall(f, ...)`. Yields cannot cross it, so handlers may be called as in the main
/// coroutine.
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
