//! Lua's C API, and the only unsafe code of the crate: functions that Lua calls, conversion of values, userdata.
//!
//! Why it is sound:
//! - A Lua error leaves a function by longjmp (PUC Lua) or by unwinding (LuaJIT). Either may pass through a Rust frame
//!   only if nothing on that frame needs to be dropped. So each call that may raise is made by a frame that holds only
//!   numbers, references and raw pointers, or under `lua_pcall`, which no error escapes.
//! - Any allocation in Lua may run the collector, and with it anybody's finaliser, which may raise an error or call
//!   this module again. Results that allocate are therefore pushed under `lua_pcall` by [`push`], whose closure exists
//!   already (creating one would allocate), and whatever is borrowed meanwhile is in a `RefCell` and accessed with
//!   `try_borrow`. The exception is the data of an event ([`delivery`]): they are lent, which keeps everybody else away
//!   from the session as a borrow would. An attempt (begun by the driver with [`delivery`]'s `attempt`, or by
//!   [`quick`]'s `poll`) catches any error meanwhile; without an attempt, the string is made under `lua_pcall`.
//! - A panic never reaches Lua: it is caught, and becomes a message or ends the connection.
//! - Userdata is recognised by its metatable, which each function has as an upvalue, and has only the place of its
//!   object ([`userdata`]). The hottest functions know a session by its number. A session is in the register from its
//!   creation until it is dropped, and a finaliser that finds it in use leaves it alone.
//! - Small allocations of Rust's do not end the process while there is a reserve for them ([`reserve`]).
//!
//! Knows nothing of sessions except how to find them. [`quick`] holds the usual paths of wsreceive and wssend,
//! [`delivery`] takes events out of sessions and calls handlers, [`hot`] has the other functions that are called often,
//! [`input`] those that take received bytes, [`json`] those that make Lua values of JSON and back, [`socketio`] does
//! that with whole packets, [`binary`] has the values for bytes in them. [`versions`] is what differs between the
//! versions of Lua. [`signals`] is not about Lua: it sets what happens at signals, which is unsafe, too.

#![expect(unsafe_code, reason = "this is where the C API is called; the rest of the crate has none")]

use std::ffi::{CStr, c_int};
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use mlua_sys as ffi;
use mlua_sys::lua_State as State;

use super::sources::SOURCES;
use super::value::{Reply, Table, Value, failure};
use super::{FUNCTIONS, MANY};
use crate::memory::{self, OutOfMemory};

mod binary;
mod delivery;
mod fork;
mod hot;
mod input;
mod json;
mod quick;
mod reserve;
mod signals;
mod socketio;
mod userdata;
mod versions;

pub(super) use reserve::trim;
pub(super) use signals::SignalWatch;
use userdata::{context, push_object, with_object};
use versions::{integer, push_integer, push_string, raw_get};

/// The upvalues of every function, then the function's number for those that share [`call`].
const CONTEXT: c_int = ffi::lua_upvalueindex(1);
const PUSH: c_int = ffi::lua_upvalueindex(2);
const METATABLE: c_int = ffi::lua_upvalueindex(3);
const NUMBER: c_int = ffi::lua_upvalueindex(4);

/// A function's number is its group's index times this, plus its index in the group.
const GROUP: usize = 256;

/// Nested tables are read to this depth, which fits on the stack that every C function has.
const DEEPEST: usize = 4;

/// The functions that take their arguments from Lua's stack themselves.
const RAW_FUNCTIONS: &[&[(&CStr, ffi::lua_CFunction)]] = &[
    hot::FUNCTIONS,
    delivery::FUNCTIONS,
    input::FUNCTIONS,
    json::FUNCTIONS,
    binary::FUNCTIONS,
    socketio::FUNCTIONS,
];

/// The functions that `require` calls: each is named after its module, and returns what the driver has under that name.
macro_rules! modules {
    ($($function:ident => $name:literal),* $(,)?) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $function(state: *mut State) -> c_int {
            fork::watch();
            unsafe { open_module(state, $name) }
        }
    )*};
}

modules! {
    luaopen_luws => c"luws",
    luaopen_luws_engineio => c"engineio",
    luaopen_luws_http => c"http",
    luaopen_luws_bridge => c"bridge",
    luaopen_luws_json => c"json",
    luaopen_luws_mock => c"mock",
    luaopen_luws_reactor => c"reactor",
    luaopen_luws_server => c"server",
    luaopen_luws_record => c"record",
    luaopen_luws_command => c"command",
    luaopen_luws_cookies => c"cookies",
    luaopen_luws_socketio => c"socketio",
    luaopen_luws_websocket => c"websocket",
}

/// The key in Lua's registry of the function that the loader returns. Its address is what counts.
static LOADED: u8 = 0;

/// Has the loader open a module. All modules of a Lua state share one context. Nothing in this frame needs to be
/// dropped: any error here is an error of `require`.
unsafe fn open_module(state: *mut State, name: &'static CStr) -> c_int {
    unsafe {
        let key = (&raw const LOADED).cast_mut().cast();
        ffi::lua_settop(state, 0);
        ffi::lua_pushlightuserdata(state, key);
        raw_get(state, ffi::LUA_REGISTRYINDEX);
        if ffi::lua_type(state, 1) == ffi::LUA_TNIL {
            ffi::lua_settop(state, 0);
            load_driver(state);
            ffi::lua_pushlightuserdata(state, key);
            ffi::lua_pushvalue(state, 1);
            ffi::lua_rawset(state, ffi::LUA_REGISTRYINDEX);
        }
        ffi::lua_pushstring(state, name.as_ptr());
        ffi::lua_call(state, 1, 1);
        1
    }
}

/// Runs the loader with the table of native functions. Its result is the only value on the stack then.
unsafe fn load_driver(state: *mut State) {
    unsafe {
        // 1: the metatable of native objects; 2: the context
        ffi::lua_createtable(state, 0, 3);
        userdata::push_context(state);
        // 3: push, which has no use for itself
        ffi::lua_pushnil(state);
        push_function(state, push, 0);
        ffi::lua_replace(state, 3);
        push_function(state, userdata::collect, 0);
        userdata::finish_metatable(state, 1);
        // 4: the functions
        let shared = FUNCTIONS.iter().map(|functions| functions.len()).sum::<usize>();
        let own = RAW_FUNCTIONS.iter().map(|functions| functions.len()).sum::<usize>();
        ffi::lua_createtable(state, 0, (shared + own + 1) as c_int);
        for (group, functions) in FUNCTIONS.iter().enumerate() {
            for (index, (name, _)) in functions.iter().enumerate() {
                push_function(state, call, group * GROUP + index);
                ffi::lua_setfield(state, 4, name.as_ptr());
            }
        }
        for functions in RAW_FUNCTIONS {
            for (name, function) in *functions {
                push_function(state, *function, 0);
                ffi::lua_setfield(state, 4, name.as_ptr());
            }
        }
        push_function(state, source, 0);
        ffi::lua_setfield(state, 4, c"source".as_ptr());
        // The methods of the user's objects (conn.socket) are the functions named after them.
        ffi::lua_createtable(state, 0, 3);
        for (method, name) in [
            (c"getfd", c"socket_getfd"),
            (c"getpeername", c"socket_getpeername"),
            (c"getsockname", c"socket_getsockname"),
            (c"setoption", c"socket_setoption"),
            (c"close", c"socket_close"),
        ] {
            ffi::lua_getfield(state, 4, name.as_ptr());
            ffi::lua_setfield(state, -2, method.as_ptr());
        }
        ffi::lua_setfield(state, 1, c"__index".as_ptr());
        load(state, c"loader");
        ffi::lua_pushvalue(state, 4);
        ffi::lua_call(state, 1, 1);
        ffi::lua_replace(state, 1);
        ffi::lua_settop(state, 1);
    }
}

/// Pushes a function with its upvalues, from where [`load_driver`] keeps them on the stack.
unsafe fn push_function(state: *mut State, function: ffi::lua_CFunction, number: usize) {
    unsafe {
        ffi::lua_pushvalue(state, 2);
        ffi::lua_pushvalue(state, 3);
        ffi::lua_pushvalue(state, 1);
        ffi::lua_pushinteger(state, number as ffi::lua_Integer);
        ffi::lua_pushcclosure(state, function, 4);
    }
}

/// Pushes a compiled part of the driver. Raises an error if there is no such part, which would be a bug in the driver.
unsafe fn load(state: *mut State, part: &CStr) {
    unsafe {
        let Some(source) = SOURCES.iter().find(|source| source.name == part) else {
            ffi::lua_pushliteral(state, c"luws has no such part");
            ffi::lua_error(state);
        };
        // The text is Lua's, as an error may leave this frame.
        let text = ffi::lua_newuserdata(state, source.length).cast::<u8>();
        text.write_bytes(0, source.length);
        if !reserve::is_ready() || source.unpack(std::slice::from_raw_parts_mut(text, source.length)).is_err()
        {
            ffi::lua_pushliteral(state, c"not enough memory");
            ffi::lua_error(state);
        }
        let name = source.chunk_name.as_ptr();
        if ffi::luaL_loadbuffer(state, text.cast(), source.length, name) != ffi::LUA_OK {
            ffi::lua_error(state);
        }
        ffi::lua_remove(state, -2);
    }
}

/// `source(name)`: a compiled part of the driver.
unsafe extern "C-unwind" fn source(state: *mut State) -> c_int {
    unsafe {
        let name = ffi::lua_tolstring(state, 1, ptr::null_mut());
        load(state, if name.is_null() { c"" } else { CStr::from_ptr(name) });
        1
    }
}

/// A descriptor that Lua knows by its number; `None` for what is no number of a descriptor.
///
/// Nothing is read from it or written to it: it is only given to the system to be watched, and a number that stands for
/// nothing, or for something else by now, is the system's to refuse.
pub(super) fn borrow_descriptor(number: f64) -> Option<BorrowedFd<'static>> {
    let fd = number as i32;
    if fd < 0 || f64::from(fd).to_bits() != number.to_bits() {
        return None;
    }
    // -1 is the only value that must not be borrowed.
    Some(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// The entry of all functions that are not hot: reads the arguments, calls the function, and pushes the reply. Raises
/// Lua's own error if there is no memory to begin with.
unsafe extern "C-unwind" fn call(state: *mut State) -> c_int {
    unsafe {
        if !reserve::is_ready() {
            ffi::lua_pushliteral(state, c"not enough memory");
            ffi::lua_error(state);
        }
        let reply = Box::into_raw(Box::new(answer(state)));
        give(state, reply)
    }
}

/// Calls the function whose number is the upvalue. Calls nothing of Lua's that may raise an error.
unsafe fn answer(state: *mut State) -> Reply {
    unsafe {
        let Some(context) = context(state) else { return failure("the Lua state is being closed") };
        let number = ffi::lua_tointeger(state, NUMBER) as usize;
        let Some((_, function)) = FUNCTIONS.get(number / GROUP).and_then(|group| group.get(number % GROUP))
        else {
            return vec![];
        };
        let mut size = 0;
        let arguments: Result<Vec<_>, _> =
            (1..=ffi::lua_gettop(state)).map(|index| read(state, index, 0, &mut size)).collect();
        // The functions do not check whether there is memory for their own copies of the arguments.
        let is_room = size < LARGE || memory::probe(size.saturating_mul(COPIES)).is_ok();
        let Some(arguments) = arguments.ok().filter(|_| is_room) else {
            return failure(OutOfMemory.to_string());
        };
        let reply = catch_unwind(AssertUnwindSafe(|| function(context, &arguments)))
            .unwrap_or_else(|_| failure("internal error of luws (a panic)"));
        context.give_back(MANY);
        reply
    }
}

/// Arguments of at least this size together, in bytes, are so large that there may be no memory for copies of them, of
/// which a function makes at most so many.
const LARGE: usize = 64 * 1024;
const COPIES: usize = 8;

/// The number of values that fit on every C function's stack, whatever else is there.
const MOST_PLAIN: usize = 4;

/// Whether pushing the value allocates nothing, and so raises nothing.
fn is_plain(value: &Value) -> bool {
    matches!(value, Value::Nil | Value::Boolean(_) | Value::Number(_))
}

/// Pushes the values of a reply, and frees it even after an error. The frame holds only numbers and pointers.
unsafe fn give(state: *mut State, reply: *mut Reply) -> c_int {
    unsafe {
        let before = ffi::lua_gettop(state);
        if (*reply).len() <= MOST_PLAIN && (*reply).iter().all(is_plain) {
            (*reply).iter().for_each(|value| push_value(state, value));
            drop(Box::from_raw(reply));
            return ffi::lua_gettop(state) - before;
        }
        ffi::lua_pushvalue(state, PUSH);
        ffi::lua_pushlightuserdata(state, reply.cast());
        let status = ffi::lua_pcall(state, 1, ffi::LUA_MULTRET, 0);
        drop(Box::from_raw(reply));
        if status != ffi::LUA_OK {
            ffi::lua_error(state);
        }
        ffi::lua_gettop(state) - before
    }
}

/// Pushes what a light userdata points to: a [`Reply`]; or, if a length follows, that number of bytes. Must be called
/// under `lua_pcall`, since it may raise.
unsafe extern "C-unwind" fn push(state: *mut State) -> c_int {
    unsafe {
        let pointer = ffi::lua_touserdata(state, 1);
        if ffi::lua_gettop(state) == 2 {
            let length = ffi::lua_tonumber(state, 2) as usize;
            push_string(state, pointer.cast(), length);
            return 1;
        }
        let reply = pointer.cast::<Reply>();
        ffi::luaL_checkstack(state, (*reply).len() as c_int + 16, ptr::null());
        for value in &*reply {
            push_value(state, value);
        }
        (*reply).len() as c_int
    }
}

unsafe fn push_value(state: *mut State, value: &Value) {
    unsafe {
        match value {
            Value::Nil | Value::Other => ffi::lua_pushnil(state),
            Value::Boolean(value) => ffi::lua_pushboolean(state, (*value).into()),
            Value::Number(value) => push_number(state, *value),
            Value::Bytes(bytes) => push_bytes(state, bytes),
            Value::Table(Table(pairs)) => {
                ffi::luaL_checkstack(state, 4, ptr::null());
                ffi::lua_createtable(state, 0, pairs.len() as c_int);
                for (key, value) in pairs {
                    push_value(state, key);
                    push_value(state, value);
                    ffi::lua_rawset(state, -3);
                }
            }
            Value::Handle(handle) => push_object(state, handle),
        }
    }
}

/// Pushes whole numbers as integers in Lua versions that have them.
unsafe fn push_number(state: *mut State, value: f64) {
    unsafe {
        if value.fract() == 0.0 && value.abs() <= f64::from(i32::MAX) {
            ffi::lua_pushinteger(state, value as ffi::lua_Integer);
        } else {
            ffi::lua_pushnumber(state, value);
        }
    }
}

unsafe fn push_bytes(state: *mut State, bytes: &[u8]) {
    unsafe { push_string(state, bytes.as_ptr(), bytes.len()) }
}

/// The string at this index, valid while it is on the stack; `None` for anything else, even a number. Raises nothing.
unsafe fn bytes<'a>(state: *mut State, index: c_int) -> Option<&'a [u8]> {
    unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TSTRING {
            return None;
        }
        let mut length = 0;
        let start = ffi::lua_tolstring(state, index, &raw mut length);
        Some(std::slice::from_raw_parts(start.cast(), length))
    }
}

/// A copy of the value at this index; `size` grows by the length of its strings. Raises nothing: strings are not
/// converted, metatables are ignored, and the stack has room for the depth.
unsafe fn read(
    state: *mut State,
    index: c_int,
    depth: usize,
    size: &mut usize,
) -> Result<Value, OutOfMemory> {
    unsafe {
        Ok(match ffi::lua_type(state, index) {
            ffi::LUA_TNIL | ffi::LUA_TNONE => Value::Nil,
            ffi::LUA_TBOOLEAN => Value::Boolean(ffi::lua_toboolean(state, index) != 0),
            ffi::LUA_TNUMBER => Value::Number(ffi::lua_tonumber(state, index)),
            ffi::LUA_TSTRING => {
                let bytes = bytes(state, index).unwrap_or_default();
                *size += bytes.len();
                Value::Bytes(memory::copy(bytes)?)
            }
            ffi::LUA_TTABLE if depth < DEEPEST => {
                let mut pairs = Vec::new();
                let table = ffi::lua_absindex(state, index);
                ffi::lua_pushnil(state);
                while ffi::lua_next(state, table) != 0 {
                    let key = read(state, -2, DEEPEST, size)?;
                    memory::push(&mut pairs, (key, read(state, -1, depth + 1, size)?))?;
                    ffi::lua_settop(state, -2);
                }
                Value::Table(Table(pairs))
            }
            ffi::LUA_TUSERDATA => {
                with_object(state, index, |object| Value::Handle(object.clone())).unwrap_or(Value::Other)
            }
            _ => Value::Other,
        })
    }
}
