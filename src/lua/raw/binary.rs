//! Binary values: bytes that are not text, as userdata. The bytes are the userdata's own block, so there is nothing to
//! be freed, and whatever userdata these functions are given, reading its block is sound.

use std::ffi::{CStr, c_int};
use std::ptr;

use mlua_sys as ffi;
use mlua_sys::lua_State as State;

use super::{bytes, push_string};

pub(super) const FUNCTIONS: &[(&CStr, ffi::lua_CFunction)] = &[
    (c"binary_new", new),
    (c"binary_is", is),
    (c"binary_bytes", push_contents),
    (c"binary_length", length),
    (c"binary_equal", equal),
];

/// `binary_new(bytes, metatable)`: a binary value of these bytes.
unsafe extern "C-unwind" fn new(state: *mut State) -> c_int {
    unsafe {
        ffi::lua_settop(state, 2);
        let bytes = bytes(state, 1).unwrap_or_default();
        let block = ffi::lua_newuserdata(state, bytes.len()).cast::<u8>();
        ptr::copy_nonoverlapping(bytes.as_ptr(), block, bytes.len());
        ffi::lua_pushvalue(state, 2);
        ffi::lua_setmetatable(state, -2);
        1
    }
}

/// The bytes of the userdata at this index; `None` for other values. Raises nothing.
unsafe fn contents<'a>(state: *mut State, index: c_int) -> Option<&'a [u8]> {
    unsafe {
        if ffi::lua_type(state, index) != ffi::LUA_TUSERDATA {
            return None;
        }
        let length = ffi::lua_rawlen(state, index) as usize;
        Some(std::slice::from_raw_parts(ffi::lua_touserdata(state, index).cast(), length))
    }
}

/// Whether the value at index 1 is userdata with the metatable at index 2. Raises nothing.
unsafe fn is_binary(state: *mut State) -> bool {
    unsafe {
        ffi::lua_settop(state, 2);
        ffi::lua_type(state, 1) == ffi::LUA_TUSERDATA
            && ffi::lua_getmetatable(state, 1) != 0
            && ffi::lua_rawequal(state, 2, 3) != 0
    }
}

/// `binary_is(value, metatable)`: whether any value is a binary one.
unsafe extern "C-unwind" fn is(state: *mut State) -> c_int {
    unsafe {
        let is_its = is_binary(state);
        ffi::lua_pushboolean(state, is_its.into());
        1
    }
}

/// `binary_bytes(value, metatable)`: the bytes of a binary value as a string; nothing for any other value.
unsafe extern "C-unwind" fn push_contents(state: *mut State) -> c_int {
    unsafe {
        let Some(bytes) = contents(state, 1).filter(|_| is_binary(state)) else { return 0 };
        push_string(state, bytes.as_ptr(), bytes.len());
        1
    }
}

/// `binary_length(value)`: the number of its bytes.
unsafe extern "C-unwind" fn length(state: *mut State) -> c_int {
    unsafe {
        let length = contents(state, 1).unwrap_or_default().len();
        ffi::lua_pushinteger(state, length as ffi::lua_Integer);
        1
    }
}

/// `binary_equal(a, b)`: whether both have the same bytes.
unsafe extern "C-unwind" fn equal(state: *mut State) -> c_int {
    unsafe {
        let is_equal = contents(state, 1) == contents(state, 2);
        ffi::lua_pushboolean(state, is_equal.into());
        1
    }
}
