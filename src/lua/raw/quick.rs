//! The usual paths of wsreceive and wssend, each in one function that is given the user's connection table. Everything
//! else is left to the driver. If an error leaves one of these functions (raised by a debug hook or a finaliser),
//! undelivered events are still in the session. Reading fields of tables allocates nothing and raises nothing.

use std::ffi::{CStr, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use mlua_sys as ffi;
use mlua_sys::lua_State as State;

use super::delivery::{call, find, give_found, hand_over, keep};
use super::hot::{caught, give_came, give_result, limit, refusal};
use super::{bytes, context, push_number, raw_get};
use crate::lua::session::{Came, Found, LuaSession};
use crate::lua::value::Reply;

/// The number of upvalues that all functions of the binding have.
const COMMON: c_int = 3;

/// The further upvalues of the functions here: the arguments of [`quick`], the names of fields, and [`turn`].
const STATE_KEY: c_int = ffi::lua_upvalueindex(4);
const NUMBER_KEY: c_int = ffi::lua_upvalueindex(5);
const SETTINGS: c_int = ffi::lua_upvalueindex(6);
const TRACE: c_int = ffi::lua_upvalueindex(7);
const CAN_YIELD: c_int = ffi::lua_upvalueindex(8);
const OPTIONS: c_int = ffi::lua_upvalueindex(9);
const RECEIVE_CHUNK_SIZE: c_int = ffi::lua_upvalueindex(10);
const RECEIVE_TIMEOUT: c_int = ffi::lua_upvalueindex(11);
const HANDLER_ARGS: c_int = ffi::lua_upvalueindex(12);
const SINK: c_int = ffi::lua_upvalueindex(13);
const MAX_PAYLOAD_SIZE: c_int = ffi::lua_upvalueindex(14);
const MSGHANDLER: c_int = ffi::lua_upvalueindex(15);
const LAST_MESSAGE: c_int = ffi::lua_upvalueindex(16);
const LAST_PING: c_int = ffi::lua_upvalueindex(17);
const DEBUG_MODE: c_int = ffi::lua_upvalueindex(18);
const TURN: c_int = ffi::lua_upvalueindex(19);

const ARGUMENTS: c_int = 5;
const NAMES: [&CStr; 10] = [
    c"options",
    c"receive_chunk_size",
    c"receive_timeout",
    c"handler_args",
    c"sink",
    c"max_payload_size",
    c"msghandler",
    c"lastMessage",
    c"lastPing",
    c"debug_mode",
];

/// The number of upvalues, and of functions that [`quick`] makes.
const UPVALUES: c_int = COMMON + ARGUMENTS + NAMES.len() as c_int + 1;
const FUNCTIONS: c_int = 4;

/// The stack positions of the arguments of most functions here.
const CONNECTION: c_int = 1;
const GIVEN_OPTIONS: c_int = 2;

/// `quick(state_key, number_key, settings, trace, can_yield)`: returns the functions `state_of`, `poll`, `next_event`
/// and `send_now`. Connection tables hold their state and the number of their session under the two keys. `settings`
/// has the field debug_mode, `trace` turns an error into a text with a traceback, and `can_yield` says that handlers
/// may yield in coroutines.
pub(super) unsafe extern "C-unwind" fn quick(state: *mut State) -> c_int {
    unsafe {
        ffi::lua_settop(state, ARGUMENTS);
        for name in NAMES {
            ffi::lua_pushstring(state, name.as_ptr());
        }
        ffi::luaL_checkstack(state, 2 * UPVALUES + FUNCTIONS, ptr::null());
        push_closure(state, turn);
        for function in [state_of, poll, next_event, send_now] as [ffi::lua_CFunction; FUNCTIONS as usize] {
            push_closure(state, function);
        }
        FUNCTIONS
    }
}

/// Pushes a function with the common upvalues and those that [`quick`] has on the stack so far, at most up to `turn`.
unsafe fn push_closure(state: *mut State, function: ffi::lua_CFunction) {
    unsafe {
        let own = ffi::lua_gettop(state).min(UPVALUES - COMMON);
        for index in 1..=COMMON {
            ffi::lua_pushvalue(state, ffi::lua_upvalueindex(index));
        }
        for index in 1..=own {
            ffi::lua_pushvalue(state, index);
        }
        ffi::lua_pushcclosure(state, function, COMMON + own);
    }
}

/// Pushes the field of a table whose key is this upvalue, ignoring metatables.
#[inline]
unsafe fn push_field(state: *mut State, table: c_int, key: c_int) {
    unsafe {
        ffi::lua_pushvalue(state, key);
        raw_get(state, table);
    }
}

/// Sets a field to a number; raises an error if the field is new and memory runs out.
unsafe fn set_field(state: *mut State, table: c_int, key: c_int, value: f64) {
    unsafe {
        ffi::lua_pushvalue(state, key);
        ffi::lua_pushnumber(state, value);
        ffi::lua_rawset(state, table);
    }
}

/// Whether a field is nil.
#[inline]
unsafe fn has_none(state: *mut State, table: c_int, key: c_int) -> bool {
    unsafe {
        push_field(state, table, key);
        let is_nil = ffi::lua_type(state, -1) == ffi::LUA_TNIL;
        ffi::lua_settop(state, -2);
        is_nil
    }
}

/// `state_of(conn)`: the state of a connection; nil for anything else.
unsafe extern "C-unwind" fn state_of(state: *mut State) -> c_int {
    unsafe {
        if ffi::lua_type(state, CONNECTION) != ffi::LUA_TTABLE {
            return 0;
        }
        push_field(state, CONNECTION, STATE_KEY);
        1
    }
}

/// The session of the connection that is the first argument; `None` for anything else. With `alone`, also `None` while
/// connections linger, since those must be advanced first.
#[inline]
unsafe fn session_of<'a>(state: *mut State, alone: bool) -> Option<&'a LuaSession> {
    unsafe {
        if ffi::lua_type(state, CONNECTION) != ffi::LUA_TTABLE {
            return None;
        }
        push_field(state, CONNECTION, NUMBER_KEY);
        let number = ffi::lua_tonumber(state, -1); // 0 for anything else, which no session has
        let context = context(state).filter(|context| !alone || !context.lingering.get())?;
        context.sessions.get(number).map(|session| session.as_ref())
    }
}

/// Puts the connection's options in their stack position. Returns whether they are a table without a metatable: reading
/// one with a metatable may raise or yield.
unsafe fn push_options(state: *mut State) -> bool {
    unsafe {
        ffi::lua_settop(state, CONNECTION);
        push_field(state, CONNECTION, OPTIONS);
        is_plain_table(state)
    }
}

unsafe fn is_plain_table(state: *mut State) -> bool {
    unsafe {
        ffi::lua_type(state, GIVEN_OPTIONS) == ffi::LUA_TTABLE
            && ffi::lua_getmetatable(state, GIVEN_OPTIONS) == 0
    }
}

/// Pushes true: the driver must go on.
unsafe fn go_on(state: *mut State) -> c_int {
    unsafe {
        ffi::lua_pushboolean(state, 1);
        1
    }
}

/// `poll(conn [, most])`: the usual wsreceive: a read, and messages for a handler. The reactor gives the most events of
/// its turn; a call without it is the program's own, of which the driver must tell the reactor if that drives the
/// connection.
///
/// Returns nothing if nothing has come. Returns false and wsreceive's results if everything is done. Otherwise returns
/// true and where the driver must go on:
///
/// - no further value: nothing has been done;
/// - false: nothing was there, and the user has set receive_timeout, or the peer may have to be pinged;
/// - the results of [`read`](super::hot), if it has read;
/// - after those, true if it has delivered everything except what only the driver can; or a handler's error, as text.
///
/// The options that concern reading are read again at each tick of the coarse clock.
unsafe extern "C-unwind" fn poll(state: *mut State) -> c_int {
    unsafe {
        let most = limit(state, GIVEN_OPTIONS).map(|most| most as u32);
        let Some(session) = session_of(state, false) else { return go_on(state) };
        session.limit_turns(most);
        if session.others_linger() || !session.is_calm() || session.is_driven() && most.is_none() {
            return go_on(state);
        }
        if session.is_deep() {
            return 0;
        }
        let mut has_timeout = false;
        if session.begin_look() {
            if !push_options(state) {
                session.forget_look();
                return go_on(state);
            }
            push_field(state, GIVEN_OPTIONS, RECEIVE_TIMEOUT);
            has_timeout = ffi::lua_type(state, -1) != ffi::LUA_TNIL && ffi::lua_tonumber(state, -1) != 0.0
                || session.may_be_silent();
            push_field(state, GIVEN_OPTIONS, RECEIVE_CHUNK_SIZE);
            session.set_most(limit(state, -1));
        }
        let came = caught(|| session.read(session.most())).map_err(refusal);
        match came {
            Ok(Came::Bytes(count, more)) => receive(state, session, count, more),
            Ok(Came::Nothing { pending: false }) if !has_timeout => 0,
            Ok(Came::Nothing { pending: false }) => {
                ffi::lua_pushboolean(state, 1);
                ffi::lua_pushboolean(state, 0);
                2
            }
            _ => {
                session.stir();
                go_on(state) + give_came(state, came)
            }
        }
    }
}

/// The rest of [`poll`] when bytes have come. Not inlined, because most polls find nothing.
#[inline(never)]
unsafe fn receive(state: *mut State, session: &LuaSession, count: usize, more: bool) -> c_int {
    unsafe {
        if !is_usual(state, session) {
            session.stir();
            return go_on(state) + give_came(state, Ok(Came::Bytes(count, more)));
        }
        session.begin_turn();
        session.forget_look();
        ffi::lua_settop(state, GIVEN_OPTIONS);
        ffi::lua_pushvalue(state, TURN);
        ffi::lua_pushvalue(state, CONNECTION);
        ffi::lua_pushvalue(state, GIVEN_OPTIONS);
        let before = session.begin_attempt(state as usize);
        let status = ffi::lua_pcall(state, 2, 2, 0);
        if let Some(lent) = session.end_attempt(before) {
            keep(session, lent);
        }
        if status != ffi::LUA_OK {
            session.stir();
            ffi::lua_error(state); // a finaliser's error, or out of memory
        }
        let (is_done, turn) = (GIVEN_OPTIONS + 1, GIVEN_OPTIONS + 2);
        if ffi::lua_toboolean(state, is_done) != 0 {
            ffi::lua_pushboolean(state, 0);
            ffi::lua_pushboolean(state, more.into());
            push_number(state, count as f64);
            return 3;
        }
        session.stir();
        let pushed = go_on(state) + give_came(state, Ok(Came::Bytes(count, more)));
        ffi::lua_pushvalue(state, turn);
        pushed + 1
    }
}

/// Whether the user wants each frame logged. Leaves one value on the stack.
#[inline]
unsafe fn is_debugging(state: *mut State) -> bool {
    unsafe {
        push_field(state, SETTINGS, DEBUG_MODE);
        ffi::lua_toboolean(state, -1) != 0
    }
}

/// Whether events can be delivered without the driver: the connection and its options are ordinary, and there is no
/// sink and no debug log. Leaves the options in their stack position.
unsafe fn is_usual(state: *mut State, session: &LuaSession) -> bool {
    unsafe {
        if !session.is_plain() || !push_options(state) || !has_none(state, GIVEN_OPTIONS, SINK) {
            return false;
        }
        push_field(state, GIVEN_OPTIONS, MAX_PAYLOAD_SIZE);
        let is_known = session.size_is(size(state, -1));
        if !is_known || is_debugging(state) {
            return false;
        }
        // In a coroutine, the driver calls handlers that may yield.
        ffi::lua_toboolean(state, CAN_YIELD) == 0
            || ffi::lua_pushthread(state) != 0
            || context(state).is_some_and(|context| context.unyielding.get() == state as usize)
    }
}

/// The value of max_payload_size for the session: `None` for nil, and NaN, which equals nothing, if it is not a number.
pub(super) unsafe fn size(state: *mut State, index: c_int) -> Option<f64> {
    unsafe {
        match ffi::lua_type(state, index) {
            ffi::LUA_TNIL | ffi::LUA_TNONE => None,
            ffi::LUA_TNUMBER => Some(ffi::lua_tonumber(state, index)),
            _ => Some(f64::NAN),
        }
    }
}

/// Why [`tell`] stopped.
enum Stop {
    /// The next event is not a message, or there is none yet.
    Found(Found),
    /// The next message is not for a handler function, or the handler takes extra arguments.
    Unusual,
    /// The handler raised an error, which is on top of the stack.
    Failed,
}

/// Calls the handler of a connection with each message that has come; arguments are placed as for [`turn`]. Within an
/// attempt of the same coroutine, handing over is cheaper.
///
/// `time` is the time of day, or `None` for the system clock's; `told` is set once a message has come.
unsafe fn tell(state: *mut State, session: &LuaSession, time: Option<f64>, told: &mut bool) -> Stop {
    unsafe {
        let [trace, handler_args, msghandler] = [1, 2, 3].map(|place| ffi::lua_gettop(state) + place);
        ffi::lua_pushvalue(state, TRACE);
        ffi::lua_pushvalue(state, HANDLER_ARGS); // names are cheaper to fetch from here
        ffi::lua_pushvalue(state, MSGHANDLER);
        loop {
            if !has_none(state, GIVEN_OPTIONS, handler_args) {
                return Stop::Unusual;
            }
            push_field(state, CONNECTION, msghandler);
            if ffi::lua_type(state, -1) != ffi::LUA_TFUNCTION {
                return Stop::Unusual;
            }
            let found = find(session, LuaSession::next_quickly);
            let lent = match found {
                Found::Event(lent) if lent.is_message() => lent,
                _ => return Stop::Found(found),
            };
            ffi::lua_pushvalue(state, CONNECTION);
            ffi::lua_pushinteger(state, lent.number.into());
            // If not, the driver finds out why.
            if !hand_over(state, session, lent) {
                return Stop::Unusual;
            }
            if !*told {
                *told = true;
                let time = time.unwrap_or_else(crate::lua::time);
                set_field(state, CONNECTION, LAST_MESSAGE, time);
                set_field(state, CONNECTION, LAST_PING, time);
            }
            if !call(Some(session), || ffi::lua_pcall(state, 3, 0, trace)) {
                return Stop::Failed;
            }
        }
    }
}

/// Puts false under the error of a handler, which is on top of the stack.
unsafe fn give_failed(state: *mut State) -> c_int {
    unsafe {
        ffi::lua_pushboolean(state, 0);
        ffi::lua_insert(state, -2);
        2
    }
}

/// `turn(conn, options)`: delivers the messages that have come. Returns true if nothing else is to be done; otherwise
/// false, and true or a handler's error. Other events are left to the driver.
unsafe extern "C-unwind" fn turn(state: *mut State) -> c_int {
    unsafe {
        let Some(session) = session_of(state, false) else { return 0 };
        let mut told = false;
        let stop = tell(state, session, None, &mut told);
        if let Stop::Found(Found::Nothing { heard: true, .. } | Found::Enough { heard: true }) = stop
            && !told
        {
            set_field(state, CONNECTION, LAST_PING, crate::lua::time());
        }
        let is_done = match stop {
            Stop::Failed => return give_failed(state),
            Stop::Found(Found::Event(lent)) => {
                keep(session, lent);
                false
            }
            Stop::Found(Found::Nothing { heard, outgoing: 0 }) if session.is_calm() => {
                // The reactor must know when the time will be over.
                heard && !session.is_driven() || has_none(state, GIVEN_OPTIONS, RECEIVE_TIMEOUT)
            }
            _ => false,
        };
        ffi::lua_pushboolean(state, is_done.into());
        ffi::lua_pushboolean(state, 1);
        2
    }
}

/// `next_event(conn, options, time, begins, guards)`: the next event, as [`next`](super::delivery) returns it. `begins`
/// starts a turn, which is limited in time and events; at its end the event is ENOUGH, though there may be more, and
/// its data are whether complete frames have come. `guards` marks the session as busy, so that a finaliser's call in
/// between is not mistaken for an interruption of the driver (see `unguard`).
///
/// If `options` is a table, ordinary messages before that event are delivered to the handler, with `time` as the time
/// of day; a handler's error is returned as the event false.
unsafe extern "C-unwind" fn next_event(state: *mut State) -> c_int {
    unsafe {
        let Some(session) = session_of(state, false) else { return 0 };
        if ffi::lua_toboolean(state, 4) != 0 {
            session.begin_turn();
        }
        let (time, guards) = (ffi::lua_tonumber(state, 3), ffi::lua_toboolean(state, 5) != 0);
        let mut told = false;
        let stop =
            if is_plain_table(state) { tell(state, session, Some(time), &mut told) } else { Stop::Unusual };
        let found = match stop {
            Stop::Found(found) => found,
            Stop::Unusual => find(session, LuaSession::next),
            Stop::Failed => return give_failed(state),
        };
        give_found(state, session, found, guards)
    }
}

/// `send_now(conn, opcode, data)`: the usual wssend: sends a message, a ping or a pong, if `data` is a string and
/// nothing else waits to be sent. Returns true if all of it was written or gathered; nil and the error, as
/// [`write`](super::hot) has it, if some of it is still queued; nothing if nothing was done and the driver must handle
/// it.
unsafe extern "C-unwind" fn send_now(state: *mut State) -> c_int {
    unsafe fn sent(state: *mut State) -> Option<Result<(), *mut Reply>> {
        unsafe {
            if ffi::lua_type(state, 2) != ffi::LUA_TNUMBER || is_debugging(state) {
                return None;
            }
            let session = session_of(state, true)?;
            let number = ffi::lua_tonumber(state, 2);
            let (opcode, data) = (number as u8, bytes(state, 3)?);
            if f64::from(opcode).to_bits() != number.to_bits() {
                return None;
            }
            let sent = catch_unwind(AssertUnwindSafe(|| session.send_now(opcode, data)));
            let panic = || Some(Err("internal error of luws (a panic)".into()));
            Some(sent.unwrap_or_else(|_| panic())?.map_err(refusal))
        }
    }
    unsafe {
        let Some(sent) = sent(state) else { return 0 };
        give_result(state, sent.err())
    }
}
