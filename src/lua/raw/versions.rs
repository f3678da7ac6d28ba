//! What differs between the versions of Lua: whether there are integers; and `lua_pushlstring` and `lua_rawget`, which
//! mlua-sys wraps for those before 5.3, and calls into Lua once more.

use std::ffi::c_int;

use mlua_sys as ffi;
use mlua_sys::lua_State as State;

pub(super) use of_version::{integer, push_integer, push_string, raw_get};

#[cfg(any(feature = "lua51", feature = "luajit", feature = "lua52"))]
mod of_version {
    use super::{State, c_int, ffi};

    pub(in super::super) unsafe fn push_string(state: *mut State, start: *const u8, length: usize) {
        unsafe {
            ffi::lua_pushlstring_(state, start.cast(), length);
        }
    }

    pub(in super::super) unsafe fn raw_get(state: *mut State, index: c_int) {
        unsafe { ffi::lua_rawget_(state, index) }
    }

    pub(in super::super) unsafe fn push_integer(state: *mut State, value: i64) {
        unsafe { ffi::lua_pushnumber(state, value as f64) }
    }

    /// The integer at this index, if Lua has such values and it is one.
    pub(in super::super) unsafe fn integer(_: *mut State, _: c_int) -> Option<i64> {
        None
    }
}

#[cfg(not(any(feature = "lua51", feature = "luajit", feature = "lua52")))]
mod of_version {
    use super::{State, c_int, ffi};

    pub(in super::super) unsafe fn push_string(state: *mut State, start: *const u8, length: usize) {
        unsafe {
            ffi::lua_pushlstring(state, start.cast(), length);
        }
    }

    pub(in super::super) unsafe fn raw_get(state: *mut State, index: c_int) {
        unsafe {
            ffi::lua_rawget(state, index);
        }
    }

    pub(in super::super) unsafe fn push_integer(state: *mut State, value: i64) {
        unsafe { ffi::lua_pushinteger(state, value) }
    }

    pub(in super::super) unsafe fn integer(state: *mut State, index: c_int) -> Option<i64> {
        unsafe { (ffi::lua_isinteger(state, index) != 0).then(|| ffi::lua_tointeger(state, index)) }
    }
}
