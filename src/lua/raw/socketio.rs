//! Packets of Socket.IO for Lua. What a packet is stands in [`crate::socketio`], how values are read and made in
//! [`json`](super::json).

use std::ffi::{CStr, c_int};
use std::ptr;

use mlua_sys as ffi;
use mlua_sys::lua_State as State;

use super::json::{Encoder, Maker, Wrong, caught, check_memory, protected, push_failure, push_result};
use super::{bytes, push_bytes, push_integer};
use crate::json::Token;
use crate::socketio::{self, Kind, MOST_ARGUMENTS, Packet};

pub(super) const FUNCTIONS: &[(&CStr, ffi::lua_CFunction)] =
    &[(c"socketio_decode", decode), (c"socketio_encode", encode)];

/// A packet whose namespace is in the text on the stack, or what is wrong with it.
type Parsed<'a> = Result<Packet<'a>, String>;

/// `socketio_decode(text, arrays, objects [, attachments])`: the kind of a packet, its namespace, its id or nil, and
/// how many binary values it has; then, if it has none or if they are given as a list, its data: the arguments of an
/// event or of an answer, or else one value, if there is one. Or nil, and what is wrong.
unsafe extern "C-unwind" fn decode(state: *mut State) -> c_int {
    unsafe {
        check_memory(state);
        ffi::lua_settop(state, 4);
        ffi::lua_pushcclosure(state, push_packet, 0);
        let text = bytes(state, 1).unwrap_or_default();
        let packet: Parsed<'_> = caught(|| Packet::parse(text));
        ffi::lua_pushlightuserdata(state, Box::into_raw(Box::new(packet)).cast());
        for argument in 2..=4 {
            ffi::lua_pushvalue(state, argument);
        }
        protected::<Parsed<'_>>(state, 5)
    }
}

/// Pushes a packet (1) with the metatables of arrays (2) and of empty objects (3), and the list of its binary values
/// (4).
unsafe extern "C-unwind" fn push_packet(state: *mut State) -> c_int {
    unsafe {
        let packet = match &*ffi::lua_touserdata(state, 1).cast::<Parsed<'_>>() {
            Ok(packet) => packet,
            Err(why) => return push_failure(state, why),
        };
        ffi::lua_pushinteger(state, packet.kind.number().into());
        push_bytes(state, packet.namespace);
        match packet.id {
            Some(id) => push_integer(state, id as i64),
            None => ffi::lua_pushnil(state),
        }
        ffi::lua_pushinteger(state, packet.attachments as ffi::lua_Integer);
        let attachments = (ffi::lua_type(state, 4) == ffi::LUA_TTABLE).then_some(4);
        if let Some(document) = &packet.data
            && (packet.attachments == 0 || attachments.is_some())
        {
            let attachments = attachments.filter(|_| packet.attachments > 0);
            let maker = Maker { document, arrays: 2, objects: 3, attachments };
            if packet.kind.has_arguments() {
                push_arguments(state, &maker);
            } else {
                maker.push(state, 0);
            }
        }
        ffi::lua_gettop(state) - 4
    }
}

/// Pushes the elements of an array, with nil for null.
unsafe fn push_arguments(state: *mut State, maker: &Maker<'_>) {
    unsafe {
        let Token::Array(count, _) = maker.document.token(0) else { return };
        ffi::luaL_checkstack(state, count as c_int + 4, ptr::null());
        let mut next = 1;
        for _ in 0..count {
            if maker.document.token(next) == Token::Null {
                ffi::lua_pushnil(state);
                next += 1;
            } else {
                next = maker.push(state, next);
            }
        }
    }
}

/// A packet that is being made: what it is made of, its text or what is wrong, and the numbers of the binary values in
/// the order in which they follow it.
struct Sending {
    encoder: Encoder,
    text: Result<Vec<u8>, String>,
    order: Vec<usize>,
}

const TOO_MANY: Wrong = Wrong::Text("more than 1000 arguments");

/// `socketio_encode(metatable, kind, namespace, id, ...)`: the text of a packet of this kind (a number), with the
/// arguments of the event or of the answer, or with one value. Then its binary values, which are those with the
/// metatable. Or nil, and what is wrong.
unsafe extern "C-unwind" fn encode(state: *mut State) -> c_int {
    unsafe {
        check_memory(state);
        ffi::lua_pushcclosure(state, push_sending, 0);
        ffi::lua_insert(state, 1);
        let sending = Sending { encoder: Encoder::default(), text: Ok(Vec::new()), order: Vec::new() };
        ffi::lua_pushlightuserdata(state, Box::into_raw(Box::new(sending)).cast());
        ffi::lua_insert(state, 2);
        protected::<Sending>(state, 1)
    }
}

/// The arguments of [`push_sending`].
const METATABLE: c_int = 2;
const KIND: c_int = 3;
const NAMESPACE: c_int = 4;
const ID: c_int = 5;
const VALUES: c_int = 6;

unsafe extern "C-unwind" fn push_sending(state: *mut State) -> c_int {
    unsafe {
        let sending = &mut *ffi::lua_touserdata(state, 1).cast::<Sending>();
        let last = ffi::lua_gettop(state);
        let kind = Kind::new(ffi::lua_tonumber(state, KIND) as usize).unwrap_or(Kind::Event);
        sending.encoder.begin(state, Some(METATABLE));
        let read = read_values(state, &mut sending.encoder, kind, last);
        let namespace = bytes(state, NAMESPACE).unwrap_or(b"/");
        let id = match ffi::lua_type(state, ID) {
            ffi::LUA_TNUMBER => Some(ffi::lua_tonumber(state, ID) as u64),
            _ => None,
        };
        sending.write(read, kind, namespace, id);
        if push_result(state, &sending.text) == 1 {
            ffi::luaL_checkstack(state, sending.order.len() as c_int + 1, ptr::null());
            for number in &sending.order {
                sending.encoder.push_attachment(state, *number);
            }
            return 1 + sending.order.len() as c_int;
        }
        2
    }
}

/// Reads the arguments of an event, the first of which is its name; those of an answer; or one value.
unsafe fn read_values(
    state: *mut State,
    encoder: &mut Encoder,
    kind: Kind,
    last: c_int,
) -> Result<(), Wrong> {
    unsafe {
        if !kind.has_arguments() {
            let is_there = ffi::lua_type(state, VALUES) > ffi::LUA_TNIL && last >= VALUES;
            return if is_there { encoder.read(state, VALUES) } else { Ok(()) };
        }
        let count = (last + 1 - VALUES) as usize;
        if count > MOST_ARGUMENTS {
            return Err(TOO_MANY);
        }
        let place = encoder.document.push(Token::Null)?;
        let first = usize::from(kind == Kind::Ack);
        for index in VALUES..=last {
            encoder.read_argument(state, index, (index - VALUES) as usize + first)?;
        }
        encoder.document.end_array(place, count);
        Ok(())
    }
}

impl Sending {
    fn write(&mut self, read: Result<(), Wrong>, kind: Kind, namespace: &[u8], id: Option<u64>) {
        let (encoder, order) = (&mut self.encoder, &mut self.order);
        self.text = caught(|| {
            read.map_err(|wrong| encoder.describe(wrong))?;
            let document = std::mem::take(&mut encoder.document);
            let data = Some(document).filter(|document| !document.is_empty());
            let packet = Packet { kind, attachments: encoder.attachments, namespace, id, data };
            let mut text = Vec::new();
            socketio::write(&packet, &mut text, order)?;
            Ok(text)
        });
    }
}
