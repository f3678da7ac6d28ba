//! Lua values of a document. Must be called under `lua_pcall`, since making values may raise.

use std::ffi::c_int;
use std::ptr;

use mlua_sys as ffi;
use mlua_sys::lua_State as State;

use super::super::{push_bytes, push_integer};
use crate::json::{Document, Token};
use crate::socketio;

/// Where the stack has what the values of a document are made with.
pub(in super::super) struct Maker<'a> {
    pub(in super::super) document: &'a Document,
    /// The metatable of arrays.
    pub(in super::super) arrays: c_int,
    /// The metatable of empty objects.
    pub(in super::super) objects: c_int,
    /// A list of the values that placeholders stand for; without it they are objects like others.
    pub(in super::super) attachments: Option<c_int>,
}

impl Maker<'_> {
    /// Pushes the value at a place. Returns the place after it.
    pub(in super::super) unsafe fn push(&self, state: *mut State, place: usize) -> usize {
        unsafe {
            ffi::luaL_checkstack(state, 4, ptr::null());
            match self.document.token(place) {
                Token::Null | Token::Foreign(_) => ffi::lua_pushlightuserdata(state, ptr::null_mut()),
                Token::Boolean(value) => ffi::lua_pushboolean(state, value.into()),
                Token::Integer(value) => push_integer(state, value),
                Token::Number(value) => ffi::lua_pushnumber(state, value),
                Token::Text(start, end) => push_bytes(state, self.document.text(start, end).as_bytes()),
                Token::Array(count, end) => {
                    self.push_array(state, place, count);
                    return end;
                }
                Token::Object(count, end) => {
                    match self.attachment(place) {
                        Some((list, number)) => {
                            ffi::lua_rawgeti(state, list, (number + 1) as ffi::lua_Integer);
                        }
                        None => self.push_object(state, place, count),
                    }
                    return end;
                }
            }
            place + 1
        }
    }

    /// The list of attachments and the number of the one that the object at a place stands for, if it does.
    fn attachment(&self, place: usize) -> Option<(c_int, usize)> {
        let list = self.attachments?;
        Some((list, socketio::placeholder(self.document, place)?.ok()?))
    }

    unsafe fn push_array(&self, state: *mut State, place: usize, count: usize) {
        unsafe {
            ffi::lua_createtable(state, c_int::try_from(count).unwrap_or(0), 0);
            let mut next = place + 1;
            for index in 1..=count {
                next = self.push(state, next);
                ffi::lua_rawseti(state, -2, index as ffi::lua_Integer);
            }
            ffi::lua_pushvalue(state, self.arrays);
            ffi::lua_setmetatable(state, -2);
        }
    }

    unsafe fn push_object(&self, state: *mut State, place: usize, count: usize) {
        unsafe {
            ffi::lua_createtable(state, 0, c_int::try_from(count).unwrap_or(0));
            let mut next = place + 1;
            for _ in 0..count {
                next = self.push(state, next);
                next = self.push(state, next);
                ffi::lua_rawset(state, -3);
            }
            if count == 0 {
                ffi::lua_pushvalue(state, self.objects);
                ffi::lua_setmetatable(state, -2);
            }
        }
    }
}
