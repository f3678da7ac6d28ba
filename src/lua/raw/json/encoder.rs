//! A document of Lua values. In these frames nothing is to be dropped, for reading may raise.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use mlua_sys as ffi;
use mlua_sys::lua_State as State;

use super::super::{bytes, integer, raw_get};
use crate::json::{DEEPEST, Document, TOO_DEEP, Token};
use crate::memory::{self, OutOfMemory};
use crate::socketio::MOST_ATTACHMENTS;

/// The field of a metatable that says whether a table is an array or an object, as other libraries have it, too.
const KIND: &CStr = c"__jsontype";

/// How much of a path to a value an error has, in bytes.
const LONGEST_PATH: usize = 100;

/// Where a value is in the one above it.
enum Step {
    /// The place of the key among the document's texts.
    Key(usize, usize),
    Index(usize),
    /// It is an argument of an event, by its number.
    Argument(usize),
}

/// A document that is being made of Lua values.
#[derive(Default)]
pub(in super::super) struct Encoder {
    pub(in super::super) document: Document,
    /// The way to the value that is read now, or that was wrong.
    path: Vec<Step>,
    /// The tables on that way.
    tables: Vec<*const c_void>,
    /// Where the stack has [`KIND`], as nothing may be allocated in Lua while tables are read, but for binary values.
    kind: c_int,
    /// Where the stack has the metatable of binary values, if there may be any; and the list of those that were found,
    /// or nil.
    binary: Option<c_int>,
    list: c_int,
    /// How many were found.
    pub(in super::super) attachments: usize,
}

#[derive(Clone, Copy)]
pub(in super::super) enum Wrong {
    Memory,
    Type(&'static str),
    Text(&'static str),
}

impl From<OutOfMemory> for Wrong {
    fn from(_: OutOfMemory) -> Self {
        Self::Memory
    }
}

const NOT_UTF8: Wrong = Wrong::Text("the string is not UTF-8");
const BYTES: Wrong = Wrong::Text("the string is not UTF-8; use io.binary for bytes");
const KEY_NOT_UTF8: Wrong = Wrong::Text("a key is not UTF-8");
const KEYS: Wrong = Wrong::Text("the keys of a table must be 1 to n without gaps, or all strings");
const CIRCLE: Wrong = Wrong::Text("the table contains itself");
const TOO_MANY: Wrong = Wrong::Text("more than 1000 binary values");

impl Encoder {
    /// Begins: pushes what is needed on the stack while values are read. `binary` is where the metatable of binary
    /// values is, if they may occur.
    pub(in super::super) unsafe fn begin(&mut self, state: *mut State, binary: Option<c_int>) {
        unsafe {
            ffi::luaL_checkstack(state, 8, ptr::null());
            ffi::lua_pushstring(state, KIND.as_ptr());
            ffi::lua_pushnil(state);
            self.list = ffi::lua_gettop(state);
            self.kind = self.list - 1;
            self.binary = binary;
        }
    }

    /// Reads a value.
    pub(in super::super) unsafe fn read(&mut self, state: *mut State, index: c_int) -> Result<(), Wrong> {
        unsafe { read_value(state, self, index) }
    }

    /// Reads a value as the argument of that number.
    pub(in super::super) unsafe fn read_argument(
        &mut self,
        state: *mut State,
        index: c_int,
        number: usize,
    ) -> Result<(), Wrong> {
        memory::push(&mut self.path, Step::Argument(number))?;
        unsafe { self.read(state, index)? };
        self.path.pop();
        Ok(())
    }

    /// Pushes a binary value that was read.
    pub(in super::super) unsafe fn push_attachment(&self, state: *mut State, number: usize) {
        unsafe {
            ffi::lua_rawgeti(state, self.list, (number + 1) as ffi::lua_Integer);
        }
    }

    /// What is wrong with the value that was read last, and where it is.
    pub(in super::super) fn describe(&self, wrong: Wrong) -> String {
        match wrong {
            Wrong::Memory => OutOfMemory.to_string(),
            Wrong::Type(name) => format!("{}cannot encode a {name}", self.place()),
            Wrong::Text(what) => format!("{}{what}", self.place()),
        }
    }

    /// The path as Lua would write it, for an error.
    fn place(&self) -> String {
        let (mut path, mut argument) = (String::new(), String::new());
        for step in &self.path {
            if path.len() > LONGEST_PATH {
                path.push_str("...");
                break;
            }
            match step {
                Step::Argument(number) => argument = format!("argument {number}: "),
                Step::Index(index) => path.push_str(&format!("[{index}]")),
                Step::Key(start, end) => {
                    let key = self.document.text(*start, *end);
                    let is_name = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                    if !is_name {
                        let shown: String = key.chars().take(LONGEST_PATH).collect();
                        path.push_str(&format!("[{shown:?}]"));
                    } else if path.is_empty() {
                        path.push_str(key);
                    } else {
                        path.push_str(&format!(".{key}"));
                    }
                }
            }
        }
        if path.is_empty() { argument } else { format!("{argument}{path}: ") }
    }
}

unsafe fn read_value(state: *mut State, encoder: &mut Encoder, index: c_int) -> Result<(), Wrong> {
    unsafe {
        let token = match ffi::lua_type(state, index) {
            ffi::LUA_TNIL | ffi::LUA_TNONE => Token::Null,
            ffi::LUA_TLIGHTUSERDATA if ffi::lua_touserdata(state, index).is_null() => Token::Null,
            ffi::LUA_TBOOLEAN => Token::Boolean(ffi::lua_toboolean(state, index) != 0),
            ffi::LUA_TNUMBER => number(state, index),
            ffi::LUA_TSTRING => {
                let wrong = if encoder.binary.is_some() { BYTES } else { NOT_UTF8 };
                read_text(state, encoder, index, wrong)?;
                return Ok(());
            }
            ffi::LUA_TTABLE => return read_table(state, encoder, index),
            ffi::LUA_TFUNCTION => return Err(Wrong::Type("function")),
            ffi::LUA_TTHREAD => return Err(Wrong::Type("thread")),
            ffi::LUA_TUSERDATA if is_binary(state, encoder, index) => {
                return read_binary(state, encoder, index);
            }
            ffi::LUA_TUSERDATA | ffi::LUA_TLIGHTUSERDATA => return Err(Wrong::Type("userdata")),
            _ => return Err(Wrong::Type("cdata")),
        };
        encoder.document.push(token)?;
        Ok(())
    }
}

/// Whether the userdata at this index is a binary value, and such may occur.
unsafe fn is_binary(state: *mut State, encoder: &Encoder, index: c_int) -> bool {
    unsafe {
        let Some(metatable) = encoder.binary else { return false };
        if ffi::lua_getmetatable(state, index) == 0 {
            return false;
        }
        let is_its = ffi::lua_rawequal(state, -1, metatable) != 0;
        ffi::lua_settop(state, -2);
        is_its
    }
}

/// Reads a binary value, which is kept in the list.
unsafe fn read_binary(state: *mut State, encoder: &mut Encoder, index: c_int) -> Result<(), Wrong> {
    unsafe {
        if encoder.attachments >= MOST_ATTACHMENTS {
            return Err(TOO_MANY);
        }
        encoder.document.push(Token::Foreign(encoder.attachments))?;
        encoder.attachments += 1;
        if encoder.attachments == 1 {
            ffi::lua_createtable(state, 1, 0);
            ffi::lua_replace(state, encoder.list);
        }
        ffi::lua_pushvalue(state, index);
        ffi::lua_rawseti(state, encoder.list, encoder.attachments as ffi::lua_Integer);
        Ok(())
    }
}

unsafe fn number(state: *mut State, index: c_int) -> Token {
    unsafe {
        integer(state, index).map_or_else(|| Token::Number(ffi::lua_tonumber(state, index)), Token::Integer)
    }
}

/// Reads a string. Returns where it is among the document's texts.
unsafe fn read_text(
    state: *mut State,
    encoder: &mut Encoder,
    index: c_int,
    wrong: Wrong,
) -> Result<Step, Wrong> {
    unsafe {
        let text = bytes(state, index).unwrap_or_default();
        let Ok(text) = simdutf8::basic::from_utf8(text) else { return Err(wrong) };
        match encoder.document.push_text(text)? {
            Token::Text(start, end) => Ok(Step::Key(start, end)),
            _ => Ok(Step::Index(0)),
        }
    }
}

/// What the metatable of a table says of its kind: whether it is an array, or nothing.
unsafe fn kind(state: *mut State, encoder: &Encoder, table: c_int) -> Option<bool> {
    unsafe {
        if ffi::lua_getmetatable(state, table) == 0 {
            return None;
        }
        ffi::lua_pushvalue(state, encoder.kind);
        raw_get(state, -2);
        let kind = match bytes(state, -1) {
            Some(b"array") => Some(true),
            Some(b"object") => Some(false),
            _ => None,
        };
        ffi::lua_settop(state, -3);
        kind
    }
}

unsafe fn read_table(state: *mut State, encoder: &mut Encoder, table: c_int) -> Result<(), Wrong> {
    unsafe {
        ffi::luaL_checkstack(state, 6, ptr::null());
        let address = ffi::lua_topointer(state, table);
        if encoder.tables.contains(&address) {
            return Err(CIRCLE);
        }
        if encoder.tables.len() >= DEEPEST {
            return Err(Wrong::Text(TOO_DEEP));
        }
        memory::push(&mut encoder.tables, address)?;
        let place = encoder.document.push(Token::Null)?;
        let kind = kind(state, encoder, table);
        ffi::lua_pushnil(state);
        if ffi::lua_next(state, table) == 0 {
            if kind == Some(true) {
                encoder.document.end_array(place, 0);
            } else {
                encoder.document.end_object(place, 0);
            }
        } else if kind.unwrap_or(ffi::lua_type(state, -2) == ffi::LUA_TNUMBER) {
            ffi::lua_settop(state, -2);
            let count = count_elements(state, table)?;
            for index in 1..=count {
                ffi::lua_rawgeti(state, table, index as ffi::lua_Integer);
                memory::push(&mut encoder.path, Step::Index(index))?;
                read_value(state, encoder, ffi::lua_gettop(state))?;
                encoder.path.pop();
                ffi::lua_settop(state, -2);
            }
            encoder.document.end_array(place, count);
        } else {
            let count = read_members(state, encoder, table)?;
            encoder.document.end_object(place, count);
        }
        encoder.tables.pop();
        Ok(())
    }
}

/// The number of elements of an array, whose first key is on the stack, and is taken off.
unsafe fn count_elements(state: *mut State, table: c_int) -> Result<usize, Wrong> {
    unsafe {
        let length = ffi::lua_rawlen(state, table) as usize;
        let mut count = 0;
        loop {
            let key =
                if ffi::lua_type(state, -1) == ffi::LUA_TNUMBER { ffi::lua_tonumber(state, -1) } else { 0.0 };
            if key.fract() != 0.0 || key < 1.0 || key > length as f64 {
                return Err(KEYS);
            }
            count += 1;
            if ffi::lua_next(state, table) == 0 {
                break;
            }
            ffi::lua_settop(state, -2);
        }
        if count == length { Ok(count) } else { Err(KEYS) }
    }
}

/// Reads the members of an object, whose first key and value are on the stack, and are taken off. Returns how many
/// there are.
unsafe fn read_members(state: *mut State, encoder: &mut Encoder, table: c_int) -> Result<usize, Wrong> {
    unsafe {
        let mut count = 0;
        loop {
            if ffi::lua_type(state, -2) != ffi::LUA_TSTRING {
                return Err(KEYS);
            }
            let step = read_text(state, encoder, -2, KEY_NOT_UTF8)?;
            memory::push(&mut encoder.path, step)?;
            read_value(state, encoder, ffi::lua_gettop(state))?;
            encoder.path.pop();
            count += 1;
            ffi::lua_settop(state, -2);
            if ffi::lua_next(state, table) == 0 {
                return Ok(count);
            }
        }
    }
}
