//! What most calls of wsreceive and wssend do, each in one function: they are given the table that the user has of a
//! connection. All else is for the driver, to which they hand on what they have not done. Where an error leaves one of
//! them (a debug hook's, a finaliser's), what was not told yet is still in the session. To read fields of tables
//! allocates nothing and raises nothing.

use std::ffi::{CStr, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use mlua_sys as ffi;
use mlua_sys::lua_State as State;

use super::hot::{call, caught, find, give_came, give_found, give_result, hand_over, keep, limit, refusal};
use super::{bytes, context, push_number, raw_get};
use crate::lua::session::{Came, Found, LuaSession};
use crate::lua::value::Reply;

/// How many upvalues all functions have.
const COMMON: c_int = 3;

/// Those of the functions here that follow: what [`quick`] is given, the names of fields, and [`turn`].
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

/// How many upvalues there are, and how many functions [`quick`] makes.
const UPVALUES: c_int = COMMON + ARGUMENTS + NAMES.len() as c_int + 1;
const FUNCTIONS: c_int = 4;

/// The places of the arguments of most functions here.
const CONNECTION: c_int = 1;
const GIVEN_OPTIONS: c_int = 2;

/// `quick(state_key, number_key, settings, trace, can_yield)`: the functions `state_of`, `poll`, `next_event` and
/// `send_now`, for connection tables that have their state, and the number of their session, under these keys; settings
/// has debug_mode, trace makes an error a text with its stack, and with can_yield handlers may yield in coroutines.
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

/// A function with the upvalues that all have, and then those that [`quick`] has put on the stack so far, up to `turn`.
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

/// Pushes what the table at this place has under the key that is this upvalue, without regard to its metatable.
#[inline]
unsafe fn push_field(state: *mut State, table: c_int, key: c_int) {
    unsafe {
        ffi::lua_pushvalue(state, key);
        raw_get(state, table);
    }
}

/// Sets such a field to a number; raises an error if the table has none and there is no memory.
unsafe fn set_field(state: *mut State, table: c_int, key: c_int, value: f64) {
    unsafe {
        ffi::lua_pushvalue(state, key);
        ffi::lua_pushnumber(state, value);
        ffi::lua_rawset(state, table);
    }
}

/// Whether such a field is nil.
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

/// The session of the connection that is the first argument; `None` if that is none. `alone`: also if something
/// lingers, which would have to be seen to first.
#[inline]
unsafe fn session_of<'a>(state: *mut State, alone: bool) -> Option<&'a LuaSession> {
    unsafe {
        if ffi::lua_type(state, CONNECTION) != ffi::LUA_TTABLE {
            return None;
        }
        push_field(state, CONNECTION, NUMBER_KEY);
        let number = ffi::lua_tonumber(state, -1); // of what is none: 0, which no session has
        let context = context(state).filter(|context| !alone || !context.lingering.get())?;
        context.sessions.get(number).map(|session| session.as_ref())
    }
}

/// Puts the options of the connection in their place; whether they are a table that inherits from none: one that does
/// may raise errors, or yield, when it is read.
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

/// Pushes true: the driver is to go on.
unsafe fn go_on(state: *mut State) -> c_int {
    unsafe {
        ffi::lua_pushboolean(state, 1);
        1
    }
}

/// `poll(conn)`: what most calls of wsreceive are: a read, and messages for a handler. Returns nothing if nothing has
/// come; false, and what wsreceive returns, if all is done; or true, and the driver goes on from there:
///
/// - nothing more: nothing has been done;
/// - false: nothing was there, and the user wants to know if that lasts;
/// - what [`read`](super::hot) returns, if it has read;
/// - then true, if it has told what has come but for what is for the driver; or an error of the handler's, a text.
///
/// Options that say how to read are looked at with each tick of the coarse clock.
unsafe extern "C-unwind" fn poll(state: *mut State) -> c_int {
    unsafe {
        let Some(session) = session_of(state, true).filter(|session| session.is_calm()) else {
            return go_on(state);
        };
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
            has_timeout = ffi::lua_type(state, -1) != ffi::LUA_TNIL && ffi::lua_tonumber(state, -1) != 0.0;
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

/// What [`poll`] does, and returns, when bytes have come. Not inlined: most polls find nothing.
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
            ffi::lua_error(state); // a finaliser's, or there was no memory
        }
        let (is_done, turn) = (GIVEN_OPTIONS + 1, GIVEN_OPTIONS + 2);
        if ffi::lua_toboolean(state, is_done) != 0 {
            ffi::lua_pushboolean(state, 0);
            ffi::lua_pushboolean(state, more.into());
            push_number(state, count as f64);
            return 3;
        }
        session.stir();
        ffi::lua_pushboolean(state, 1);
        push_number(state, count as f64);
        ffi::lua_pushboolean(state, more.into());
        ffi::lua_pushvalue(state, turn);
        4
    }
}

/// Whether the user wants a line in the log for each frame. Leaves something on the stack.
#[inline]
unsafe fn is_debugging(state: *mut State) -> bool {
    unsafe {
        push_field(state, SETTINGS, DEBUG_MODE);
        ffi::lua_toboolean(state, -1) != 0
    }
}

/// Whether what has come can be told without the driver: the connection and its options are as most are, and nobody
/// watches. The options are then in their place.
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
        // In a coroutine, a handler that may yield is called by the driver.
        ffi::lua_toboolean(state, CAN_YIELD) == 0 || ffi::lua_pushthread(state) != 0
    }
}

/// The value of max_payload_size as the session is told it: nothing for nil, and what equals nothing for no number.
pub(super) unsafe fn size(state: *mut State, index: c_int) -> Option<f64> {
    unsafe {
        match ffi::lua_type(state, index) {
            ffi::LUA_TNIL | ffi::LUA_TNONE => None,
            ffi::LUA_TNUMBER => Some(ffi::lua_tonumber(state, index)),
            _ => Some(f64::NAN),
        }
    }
}

/// Why [`tell`] has stopped.
enum Stop {
    /// What comes next is no message, or none yet.
    Found(Found),
    /// The next is not for a handler, or with more arguments than all have.
    Unusual,
    /// The handler has raised an error, which lies on top of the stack.
    Failed,
}

/// Calls the handler of a connection with each message that has come; arguments as [`turn`] has them. An attempt of the
/// same coroutine is around it, or handing over costs more.
///
/// `time`: the time of day, by the system's clock if it is not given; then whether any has come.
unsafe fn tell(state: *mut State, session: &LuaSession, time: Option<f64>, told: &mut bool) -> Stop {
    unsafe {
        let [trace, handler_args, msghandler] = [1, 2, 3].map(|place| ffi::lua_gettop(state) + place);
        ffi::lua_pushvalue(state, TRACE);
        ffi::lua_pushvalue(state, HANDLER_ARGS); // names cost less to fetch from here
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
            // Nothing if a finaliser has ended the connection meanwhile.
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

/// `turn(conn, options)`: tells what has come. Returns true if nothing else is to be done; otherwise false, and true or
/// an error of the handler's. What is no message is left to the driver.
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
            Stop::Failed => {
                ffi::lua_pushboolean(state, 0);
                ffi::lua_insert(state, -2);
                return 2;
            }
            Stop::Found(Found::Event(lent)) => {
                keep(session, lent);
                false
            }
            Stop::Found(Found::Nothing { heard, outgoing: 0 }) if session.is_calm() => {
                heard || has_none(state, GIVEN_OPTIONS, RECEIVE_TIMEOUT)
            }
            _ => false,
        };
        ffi::lua_pushboolean(state, is_done.into());
        ffi::lua_pushboolean(state, 1);
        2
    }
}

/// `next_event(conn, options, time, begins, guards)`: the next event, as [`next`](super::hot) has it. `begins`: a turn
/// begins, that ends after some time or many events; then the event says that it is enough, though there may be more,
/// and its data are whether complete frames have come. `guards`: a finaliser that calls in between is not taken for the
/// driver's having been broken off, for it finds the session busy (see `unguard`).
///
/// With options that are a table, messages before the event are told to the handler, if these are as most are, at this
/// time of day; an error of the handler's is an event that is false.
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
            Stop::Failed => {
                ffi::lua_pushboolean(state, 0);
                ffi::lua_insert(state, -2);
                return 2;
            }
        };
        give_found(state, session, found, guards)
    }
}

/// `send_now(conn, opcode, data)`: what most calls of wssend are: sends a message, a ping or a pong, if it is a string
/// and nothing else waits to be sent. True if all of it has left; nil and why not, as [`write`](super::hot) says it, if
/// some of it is left in the queue; nothing if nothing has happened, for the driver to see to it.
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
