//! JSON for Lua: `json_decode` makes Lua values of a document, `json_encode` makes a document of Lua values. What JSON
//! is stands in [`crate::json`].
//!
//! Lua values are made and read in a function of their own under `lua_pcall`, in whose frames nothing is to be dropped:
//! what it works on is in a box, which [`protected`] frees, whatever has happened. No metamethods are called.

use std::ffi::{CStr, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlua_sys as ffi;
use mlua_sys::lua_State as State;

use super::{bytes, push_bytes, reserve};
use crate::json::Document;
use crate::memory::OutOfMemory;

mod encoder;
mod maker;

pub(super) use encoder::{Encoder, Wrong};
pub(super) use maker::Maker;

/// Functions in addition to those of [`FUNCTIONS`](crate::lua::FUNCTIONS).
pub(super) const FUNCTIONS: &[(&CStr, ffi::lua_CFunction)] =
    &[(c"json_decode", decode), (c"json_encode", encode)];

/// Raises Lua's own error if there is no memory to begin with.
pub(super) unsafe fn check_memory(state: *mut State) {
    unsafe {
        if !reserve::is_ready() {
            ffi::lua_pushliteral(state, c"not enough memory");
            ffi::lua_error(state);
        }
    }
}

/// What `work` returns, or that there is no memory, which is the only reason for a panic there.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(OutOfMemory.to_string()))
}

/// Calls a function, which is on the stack at this index with its arguments above it, under `lua_pcall`. Its first
/// argument is a light userdata of a box of `T`, which is freed. Raises the function's error, or returns how many
/// results are on the stack.
pub(super) unsafe fn protected<T>(state: *mut State, function: c_int) -> c_int {
    unsafe {
        let work = ffi::lua_touserdata(state, function + 1).cast::<T>();
        let arguments = ffi::lua_gettop(state) - function;
        let status = ffi::lua_pcall(state, arguments, ffi::LUA_MULTRET, 0);
        drop(Box::from_raw(work));
        if status != ffi::LUA_OK {
            ffi::lua_error(state);
        }
        ffi::lua_gettop(state) - function + 1
    }
}

/// Pushes a text; or nil and what is wrong. Returns how many values that are.
pub(super) unsafe fn push_result(state: *mut State, text: &Result<Vec<u8>, String>) -> c_int {
    unsafe {
        match text {
            Ok(text) => {
                push_bytes(state, text);
                1
            }
            Err(why) => push_failure(state, why),
        }
    }
}

/// Pushes nil and what is wrong. Returns how many values that are.
pub(super) unsafe fn push_failure(state: *mut State, why: &str) -> c_int {
    unsafe {
        ffi::lua_pushnil(state);
        push_bytes(state, why.as_bytes());
        2
    }
}

/// `json_decode(text, arrays, objects)`: the value of a JSON text; or nil, and what is wrong with the text. Arrays get
/// the metatable `arrays`, and empty objects get `objects`.
unsafe extern "C-unwind" fn decode(state: *mut State) -> c_int {
    unsafe {
        check_memory(state);
        ffi::lua_settop(state, 3);
        ffi::lua_pushcclosure(state, push_document, 0);
        let text = bytes(state, 1).unwrap_or_default();
        let document: Parsed = caught(|| Document::parse(text));
        ffi::lua_pushlightuserdata(state, Box::into_raw(Box::new(document)).cast());
        ffi::lua_pushvalue(state, 2);
        ffi::lua_pushvalue(state, 3);
        protected::<Parsed>(state, 4)
    }
}

type Parsed = Result<Document, String>;

/// Pushes the value of a document (1), with the metatables of arrays (2) and of empty objects (3).
unsafe extern "C-unwind" fn push_document(state: *mut State) -> c_int {
    unsafe {
        match &*ffi::lua_touserdata(state, 1).cast::<Parsed>() {
            Ok(document) => {
                Maker { document, arrays: 2, objects: 3, attachments: None }.push(state, 0);
                1
            }
            Err(why) => push_failure(state, why),
        }
    }
}

/// An encoder, and the text it has made, or what is wrong.
type Encoding = (Encoder, Result<Vec<u8>, String>);

/// `json_encode(value)`: the JSON text of a value; or nil, and what of it is not JSON.
unsafe extern "C-unwind" fn encode(state: *mut State) -> c_int {
    unsafe {
        check_memory(state);
        ffi::lua_settop(state, 1);
        ffi::lua_pushcclosure(state, push_text, 0);
        let encoding: Encoding = (Encoder::default(), Ok(Vec::new()));
        ffi::lua_pushlightuserdata(state, Box::into_raw(Box::new(encoding)).cast());
        ffi::lua_pushvalue(state, 1);
        protected::<Encoding>(state, 2)
    }
}

/// Pushes the text of a value (2), for which there is an encoder (1).
unsafe extern "C-unwind" fn push_text(state: *mut State) -> c_int {
    unsafe {
        let (encoder, text) = &mut *ffi::lua_touserdata(state, 1).cast::<Encoding>();
        encoder.begin(state, None);
        let read = encoder.read(state, 2);
        *text = caught(|| {
            read.map_err(|wrong| encoder.describe(wrong))?;
            encoder.document.write().map_err(|error| error.to_string())
        });
        push_result(state, text)
    }
}
