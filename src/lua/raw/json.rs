//! JSON for Lua: `json_decode` makes Lua values of a document, `json_encode` makes a document of Lua values. What JSON is
//! stands in [`crate::json`].
//!
//! Both make Lua values, or read them, in a function of their own under `lua_pcall`, in whose frames nothing is to be
//! dropped: what they work on is in a box, which the caller frees, whatever has happened. No metamethods are called.

use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use mlua_sys as ffi;
use mlua_sys::lua_State as State;

use super::super::value::{Reply, Value, failure};
use super::{bytes, give, push_bytes, raw_get, reserve};
use crate::json::{DEEPEST, Document, TOO_DEEP, Token};
use crate::memory::{self, OutOfMemory};

/// Functions in addition to those of [`FUNCTIONS`](crate::lua::FUNCTIONS).
pub(super) const FUNCTIONS: &[(&CStr, ffi::lua_CFunction)] =
    &[(c"json_decode", decode), (c"json_encode", encode)];

/// The field of a metatable that says whether a table is an array or an object, as other libraries have it, too.
const KIND: &CStr = c"__jsontype";

/// How much of a path to a value an error has, in bytes.
const LONGEST_PATH: usize = 100;

/// Raises Lua's own error if there is no memory to begin with.
unsafe fn check_memory(state: *mut State) {
    unsafe {
        if !reserve::is_ready() {
            ffi::lua_pushliteral(state, c"not enough memory");
            ffi::lua_error(state);
        }
    }
}

fn boxed(reply: Reply) -> *mut Reply {
    Box::into_raw(Box::new(reply))
}

/// `json_decode(text, arrays, objects)`: the value of a JSON text; or nil, and what is wrong with the text. Arrays get
/// the metatable `arrays`, and empty objects get `objects`.
unsafe extern "C-unwind" fn decode(state: *mut State) -> c_int {
    unsafe {
        check_memory(state);
        ffi::lua_settop(state, 3);
        ffi::lua_pushcclosure(state, push_document, 0);
        let document = match parse(bytes(state, 1).unwrap_or_default()) {
            Ok(document) => document,
            Err(reply) => return give(state, reply),
        };
        ffi::lua_pushlightuserdata(state, document.cast());
        ffi::lua_pushvalue(state, 2);
        ffi::lua_pushvalue(state, 3);
        let status = ffi::lua_pcall(state, 3, 1, 0);
        drop(Box::from_raw(document));
        if status != ffi::LUA_OK {
            ffi::lua_error(state);
        }
        1
    }
}

fn parse(text: &[u8]) -> Result<*mut Document, *mut Reply> {
    match catch_unwind(AssertUnwindSafe(|| Document::parse(text))) {
        Ok(Ok(document)) => Ok(Box::into_raw(Box::new(document))),
        Ok(Err(why)) => Err(boxed(failure(why))),
        Err(_) => Err(boxed(failure(OutOfMemory.to_string()))),
    }
}

/// Pushes the value of a document (1), with the metatables of arrays (2) and of empty objects (3).
unsafe extern "C-unwind" fn push_document(state: *mut State) -> c_int {
    unsafe {
        let document = ffi::lua_touserdata(state, 1).cast::<Document>();
        push_value(state, &*document, 0);
        1
    }
}

/// Pushes the value at a place. Returns the place after it.
unsafe fn push_value(state: *mut State, document: &Document, place: usize) -> usize {
    unsafe {
        ffi::luaL_checkstack(state, 4, ptr::null());
        match document.token(place) {
            Token::Null => ffi::lua_pushlightuserdata(state, ptr::null_mut()),
            Token::Boolean(value) => ffi::lua_pushboolean(state, value.into()),
            Token::Integer(value) => push_integer(state, value),
            Token::Number(value) => ffi::lua_pushnumber(state, value),
            Token::Text(start, end) => push_bytes(state, document.text(start, end).as_bytes()),
            Token::Array(count, end) => {
                ffi::lua_createtable(state, c_int::try_from(count).unwrap_or(0), 0);
                let mut next = place + 1;
                for index in 1..=count {
                    next = push_value(state, document, next);
                    ffi::lua_rawseti(state, -2, index as ffi::lua_Integer);
                }
                ffi::lua_pushvalue(state, 2);
                ffi::lua_setmetatable(state, -2);
                return end;
            }
            Token::Object(count, end) => {
                ffi::lua_createtable(state, 0, c_int::try_from(count).unwrap_or(0));
                let mut next = place + 1;
                for _ in 0..count {
                    next = push_value(state, document, next);
                    next = push_value(state, document, next);
                    ffi::lua_rawset(state, -3);
                }
                if count == 0 {
                    ffi::lua_pushvalue(state, 3);
                    ffi::lua_setmetatable(state, -2);
                }
                return end;
            }
        }
        place + 1
    }
}

/// Pushes a whole number: an integer, in Lua versions that have them.
unsafe fn push_integer(state: *mut State, value: i64) {
    #[cfg(any(feature = "lua53", feature = "lua54"))]
    unsafe {
        ffi::lua_pushinteger(state, value as ffi::lua_Integer);
    }
    #[cfg(not(any(feature = "lua53", feature = "lua54")))]
    unsafe {
        ffi::lua_pushnumber(state, value as f64);
    }
}

/// Where a value is in the one above it.
enum Step {
    /// The place of the key among the document's texts.
    Key(usize, usize),
    Index(usize),
}

/// A document that is being made of a Lua value.
#[derive(Default)]
struct Encoder {
    document: Document,
    /// The way to the value that is read now, or that was wrong.
    path: Vec<Step>,
    /// The tables on that way.
    tables: Vec<*const c_void>,
    wrong: Option<Wrong>,
}

enum Wrong {
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
const KEY_NOT_UTF8: Wrong = Wrong::Text("a key is not UTF-8");
const KEYS: Wrong = Wrong::Text("the keys of a table must be 1 to n without gaps, or all strings");
const CIRCLE: Wrong = Wrong::Text("the table contains itself");

/// `json_encode(value)`: the JSON text of a value; or nil, and what of it is not JSON.
unsafe extern "C-unwind" fn encode(state: *mut State) -> c_int {
    unsafe {
        check_memory(state);
        ffi::lua_settop(state, 1);
        ffi::lua_pushcclosure(state, read_document, 0);
        let encoder = Box::into_raw(Box::<Encoder>::default());
        ffi::lua_pushlightuserdata(state, encoder.cast());
        ffi::lua_pushvalue(state, 1);
        let status = ffi::lua_pcall(state, 2, 0, 0);
        let reply = boxed(if status == ffi::LUA_OK { (*encoder).reply() } else { Reply::new() });
        drop(Box::from_raw(encoder));
        if status != ffi::LUA_OK {
            drop(Box::from_raw(reply));
            ffi::lua_error(state);
        }
        give(state, reply)
    }
}

impl Encoder {
    fn reply(&self) -> Reply {
        let what = match &self.wrong {
            Some(Wrong::Memory) => OutOfMemory.to_string(),
            Some(Wrong::Type(name)) => format!("{}cannot encode a {name}", self.place()),
            Some(Wrong::Text(what)) => format!("{}{what}", self.place()),
            None => {
                let written = catch_unwind(AssertUnwindSafe(|| self.document.write()));
                return match written {
                    Ok(Ok(text)) => vec![Value::Bytes(text)],
                    _ => failure(OutOfMemory.to_string()),
                };
            }
        };
        failure(what)
    }

    /// The path as Lua would write it, for an error.
    fn place(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            if path.len() > LONGEST_PATH {
                path.push_str("...");
                break;
            }
            match step {
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
        if path.is_empty() { path } else { path + ": " }
    }
}

/// Reads a value (2) into an encoder (1).
unsafe extern "C-unwind" fn read_document(state: *mut State) -> c_int {
    unsafe {
        ffi::lua_settop(state, 2);
        let encoder = ffi::lua_touserdata(state, 1).cast::<Encoder>();
        ffi::lua_pushstring(state, KIND.as_ptr()); // 3, as nothing may be allocated in Lua while tables are read
        if let Err(wrong) = read_value(state, &mut *encoder, 2) {
            (*encoder).wrong = Some(wrong);
        }
        0
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
                read_text(state, encoder, index, NOT_UTF8)?;
                return Ok(());
            }
            ffi::LUA_TTABLE => return read_table(state, encoder, index),
            ffi::LUA_TFUNCTION => return Err(Wrong::Type("function")),
            ffi::LUA_TTHREAD => return Err(Wrong::Type("thread")),
            ffi::LUA_TUSERDATA | ffi::LUA_TLIGHTUSERDATA => return Err(Wrong::Type("userdata")),
            _ => return Err(Wrong::Type("cdata")),
        };
        encoder.document.push(token)?;
        Ok(())
    }
}

unsafe fn number(state: *mut State, index: c_int) -> Token {
    unsafe {
        #[cfg(any(feature = "lua53", feature = "lua54"))]
        if ffi::lua_isinteger(state, index) != 0 {
            return Token::Integer(ffi::lua_tointeger(state, index));
        }
        Token::Number(ffi::lua_tonumber(state, index))
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
unsafe fn kind(state: *mut State, table: c_int) -> Option<bool> {
    unsafe {
        if ffi::lua_getmetatable(state, table) == 0 {
            return None;
        }
        ffi::lua_pushvalue(state, 3);
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
        let kind = kind(state, table);
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
