//! The functions that are called for each message or each poll. They take their arguments where they lie on Lua's
//! stack, and push numbers, which allocate nothing; only the data of a message becomes a new string.
//!
//! Each is in two halves: one that works on the session and calls nothing of Lua's that may raise an error, and a frame
//! of plain values that hands out what the first has come to.

use std::ffi::{CStr, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlua_sys as ffi;
use mlua_sys::lua_State as State;

use super::{PUSH, bytes, context, give, handle, push_number};
use crate::lua::session::{INTERRUPTED, LuaSession, Offer, Reason};
use crate::lua::value::{Handle, Reply, failure};

/// What is added to those of [`FUNCTIONS`](crate::lua::FUNCTIONS).
pub(super) const FUNCTIONS: &[(&CStr, ffi::lua_CFunction)] = &[
    (c"now", now),
    (c"coarse", coarse),
    (c"time", time),
    (c"read", read),
    (c"write", write),
    (c"next_event", next_event),
    (c"done", done),
    (c"deliver", deliver),
    (c"shelter", shelter),
    (c"is_busy", is_busy),
    (c"is_deep", is_deep),
    (c"send", send),
    (c"is_pending", is_pending),
    (c"incoming", incoming),
    (c"outgoing", outgoing),
    (c"sendable", sendable),
    (c"frames", frames),
];

/// Deliveries within deliveries: further down nothing is received, for the stack of C is finite.
const DEEPEST: u32 = 50;

/// The session that is the first argument.
unsafe fn session<'a>(state: *mut State) -> Option<&'a LuaSession> {
    unsafe {
        match handle(state, 1) {
            Some(Handle::Session(session)) => Some(session),
            _ => None,
        }
    }
}

/// A reply that says why not, for [`give`].
fn refusal(why: Reason) -> *mut Reply {
    Box::into_raw(Box::new(failure(why.into_owned())))
}

/// Runs what may panic, but should not.
fn caught<R>(operation: impl FnOnce() -> Result<R, Reason>) -> Result<R, Reason> {
    catch_unwind(AssertUnwindSafe(operation)).unwrap_or(Err("internal error of luws (a panic)".into()))
}

/// `now()`: seconds on a clock that only goes forward. While the Lua state is being closed every deadline is over.
unsafe extern "C-unwind" fn now(state: *mut State) -> c_int {
    unsafe {
        let seconds = context(state).map_or(f64::INFINITY, |context| context.now());
        ffi::lua_pushnumber(state, seconds);
        1
    }
}

/// `coarse()`: the same on a clock that ticks a few hundred times in a second and costs next to nothing.
unsafe extern "C-unwind" fn coarse(state: *mut State) -> c_int {
    unsafe {
        ffi::lua_pushnumber(state, crate::net::coarse_clock());
        1
    }
}

/// `time()`: seconds since 1970, as `socket.gettime` and `os.time` have them.
unsafe extern "C-unwind" fn time(state: *mut State) -> c_int {
    unsafe {
        ffi::lua_pushnumber(state, crate::lua::time());
        1
    }
}

/// `read(session, max)`: one read from the session's own socket, that is to bring at most `max` bytes of plaintext.
/// Returns how many it brought and whether there may be more at once; or nil (nothing there), and "closed" or the error
/// if there never will be.
unsafe extern "C-unwind" fn read(state: *mut State) -> c_int {
    #[derive(Clone, Copy)]
    enum Outcome {
        Came(usize, bool),
        NotNow,
        Never(*mut Reply),
    }
    unsafe fn outcome(state: *mut State) -> Outcome {
        unsafe {
            let Some(session) = session(state) else { return Outcome::Never(refusal("closed".into())) };
            let max = ffi::lua_tonumber(state, 2) as usize;
            match caught(|| session.read(max)) {
                Ok(Some((count, more))) => Outcome::Came(count, more),
                Ok(None) => Outcome::NotNow,
                Err(why) => Outcome::Never(refusal(why)),
            }
        }
    }
    unsafe {
        match outcome(state) {
            Outcome::Came(count, more) => {
                push_number(state, count as f64);
                ffi::lua_pushboolean(state, more.into());
                2
            }
            Outcome::NotNow => {
                ffi::lua_pushnil(state);
                1
            }
            Outcome::Never(reply) => give(state, reply),
        }
    }
}

/// Pushes true for success; otherwise nil and why not.
unsafe fn give_result(state: *mut State, failed: Option<*mut Reply>) -> c_int {
    unsafe {
        if let Some(reply) = failed {
            return give(state, reply);
        }
        ffi::lua_pushboolean(state, 1);
        1
    }
}

/// `write(session)`: writes to the session's own socket what it takes. Returns true when nothing is left; or nil and
/// "timeout" (no room), "closed", or the error.
unsafe extern "C-unwind" fn write(state: *mut State) -> c_int {
    unsafe {
        let written = match session(state) {
            Some(session) => caught(|| session.write()),
            None => Err("closed".into()),
        };
        give_result(state, written.err().map(refusal))
    }
}

/// `send(session, opcode, data, fin)`: queues a frame or a message: true; or nil and why nothing was queued.
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

/// `next_event(session)`: nothing when more bytes are needed; or the number of an event (an opcode, or those of
/// [`session`](crate::lua::session)) and its data. The event counts as handed over, until `deliver`, `done`, or what
/// answers it is called: if the next call finds that nobody has, the driver was broken off in between, and the event
/// is [`INTERRUPTED`].
unsafe extern "C-unwind" fn next_event(state: *mut State) -> c_int {
    #[derive(Clone, Copy)]
    enum Outcome {
        Nothing,
        /// The number and the data are on the stack.
        Pushed,
        Interrupted,
        /// The error is on the stack.
        Raised,
    }
    unsafe fn outcome(state: *mut State) -> Outcome {
        unsafe {
            let Some(session) = session(state) else { return Outcome::Nothing };
            let take = |number: u8, data: &[u8]| {
                ffi::lua_pushinteger(state, ffi::lua_Integer::from(number));
                ffi::lua_pushvalue(state, PUSH);
                ffi::lua_pushlightuserdata(state, data.as_ptr().cast_mut().cast());
                ffi::lua_pushnumber(state, data.len() as f64);
                ffi::lua_pcall(state, 2, 1, 0) == ffi::LUA_OK
            };
            // What has panicked is in no state to go on with.
            match catch_unwind(AssertUnwindSafe(|| session.offer(take))).unwrap_or(Offer::Interrupted) {
                Offer::Nothing => Outcome::Nothing,
                Offer::Taken => Outcome::Pushed,
                Offer::Refused => Outcome::Raised,
                Offer::Interrupted => Outcome::Interrupted,
            }
        }
    }
    unsafe {
        match outcome(state) {
            Outcome::Nothing => 0,
            Outcome::Pushed => 2,
            Outcome::Interrupted => {
                ffi::lua_pushinteger(state, INTERRUPTED.into());
                1
            }
            Outcome::Raised => ffi::lua_error(state),
        }
    }
}

/// `done(session)`: what `next_event` has handed over needs nothing more.
unsafe extern "C-unwind" fn done(state: *mut State) -> c_int {
    unsafe {
        if let Some(session) = session(state) {
            session.done();
        }
        0
    }
}

/// `deliver(session, trace, f, ...)`: `xpcall(f, trace, ...)`, which takes no arguments for f in Lua 5.1; with nil as
/// `trace`, pcall. In one step with the begin of f, what `next_event` has handed over is done: no debug hook can come
/// between. No yield passes through.
unsafe extern "C-unwind" fn deliver(state: *mut State) -> c_int {
    unsafe {
        let traces = ffi::lua_type(state, 2) == ffi::LUA_TFUNCTION;
        let arguments = ffi::lua_gettop(state) - 3;
        if let Some(session) = session(state) {
            session.done();
        }
        count_depth(state, 1);
        let status = ffi::lua_pcall(state, arguments, ffi::LUA_MULTRET, if traces { 2 } else { 0 });
        count_depth(state, -1);
        ffi::lua_pushboolean(state, (status == ffi::LUA_OK).into());
        ffi::lua_replace(state, 2);
        ffi::lua_gettop(state) - 1
    }
}

/// `shelter(session, f, ...)`: `pcall(f, ...)`, in which the session is busy for everybody else: what a finaliser calls
/// meanwhile cannot be taken for a call after something was broken off. f must not read, write or take events. No yield
/// passes through.
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

/// `is_deep()`: whether deliveries are within deliveries to the end of what there may be of that.
unsafe extern "C-unwind" fn is_deep(state: *mut State) -> c_int {
    unsafe {
        let deep = context(state).is_some_and(|context| context.depth.get() >= DEEPEST);
        ffi::lua_pushboolean(state, deep.into());
        1
    }
}

unsafe fn count_depth(state: *mut State, by: i32) {
    unsafe {
        if let Some(context) = context(state) {
            context.depth.set(context.depth.get().saturating_add_signed(by));
        }
    }
}

/// Pushes a number that is asked of the session.
unsafe fn ask(state: *mut State, question: impl FnOnce(&LuaSession) -> usize) -> c_int {
    unsafe {
        let ask = || session(state).map_or(0, question);
        let number = catch_unwind(AssertUnwindSafe(ask)).unwrap_or(0);
        push_number(state, number as f64);
        1
    }
}

/// `is_pending(session)`: whether `next_event` may have something without more bytes from the wire.
unsafe extern "C-unwind" fn is_pending(state: *mut State) -> c_int {
    unsafe {
        let ask = || session(state).is_some_and(LuaSession::is_pending);
        let pending = catch_unwind(AssertUnwindSafe(ask)).unwrap_or(true);
        ffi::lua_pushboolean(state, pending.into());
        1
    }
}

/// `is_busy(session)`: whether it is at work further up on this stack, so that a finaliser is to leave it alone.
unsafe extern "C-unwind" fn is_busy(state: *mut State) -> c_int {
    unsafe {
        let busy = session(state).is_some_and(LuaSession::is_busy);
        ffi::lua_pushboolean(state, busy.into());
        1
    }
}

/// `incoming(session)`: bytes that have come and were not interpreted yet.
unsafe extern "C-unwind" fn incoming(state: *mut State) -> c_int {
    unsafe { ask(state, LuaSession::incoming) }
}

/// `outgoing(session)`: bytes that wait to be written.
unsafe extern "C-unwind" fn outgoing(state: *mut State) -> c_int {
    unsafe { ask(state, LuaSession::outgoing) }
}

/// `sendable(session)`: how many of those could be written now; the rest must wait for something that comes first.
unsafe extern "C-unwind" fn sendable(state: *mut State) -> c_int {
    unsafe { ask(state, LuaSession::sendable) }
}

/// `frames(session)`: how many complete frames have come.
unsafe extern "C-unwind" fn frames(state: *mut State) -> c_int {
    unsafe { ask(state, LuaSession::frames) }
}
