//! The floor: the least that a WebSocket client for Lua 5.1 can do, as a module with luws's four functions. Its cost is
//! the cost of the kernel and of Lua, so the benchmark shows how far luws is from that.
//!
//! It models speed and nothing else. It trusts its caller and its peer: it does not check arguments, UTF-8 or the
//! protocol, has no TLS, options or timers, never answers a ping, and uses masks that anybody could guess. Only the
//! benchmark may use it.

use std::ffi::{CStr, c_int};
use std::io::{self, IoSliceMut, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use std::{mem, slice, str};

// Names that end with an underscore are Lua's own functions, without what mlua-sys adds for compatibility with later
// versions.
use mlua_sys::{
    LUA_REGISTRYINDEX, lua_CFunction, lua_State, lua_createtable, lua_pcall, lua_pushboolean,
    lua_pushcclosure, lua_pushinteger, lua_pushlightuserdata, lua_pushlstring_, lua_pushnil, lua_pushnumber,
    lua_pushvalue, lua_rawgeti_, lua_rawseti_, lua_setfield, lua_settop, lua_tointeger_, lua_tolstring,
    lua_touserdata, luaL_ref, luaL_unref,
};

/// The most bytes that one `wsreceive` reads.
const READ: usize = 256 * 1024;

/// If part of a frame larger than this (in bytes) has arrived, the rest is read straight into its message.
const SMALL: usize = 4096;

/// The most bytes of the server's response and of frames that come with it.
const HEAD: usize = 2048;

/// The most bytes that an unfinished frame may leave in the read buffer: a small frame and its header.
const REST: usize = SMALL + 16;

/// The memory of a message up to this size (in bytes) is kept for the next one.
const KEPT: usize = 1024 * 1024;

/// Roughly the time that the server takes to fill the socket again.
const NAP: Duration = Duration::from_micros(100);

const FUNCTIONS: &[(&CStr, lua_CFunction)] = &[
    (c"wsopen", wsopen),
    (c"wssend", wssend),
    (c"wsreceive", wsreceive),
    (c"wsclose", wsclose),
    (c"clock", clock),
    (c"nap", nap),
];

struct Connection {
    stream: TcpStream,
    /// The handler's place in the registry.
    handler: c_int,
    /// Where reads go. It begins with `rest` bytes of an unfinished frame.
    buffer: Vec<u8>,
    rest: usize,
    /// The message whose fragments, or parts of a large frame, have arrived.
    message: Vec<u8>,
    opcode: u8,
    /// How many bytes the large frame still lacks, and whether it ends the message.
    missing: usize,
    last: bool,
    mask: u64,
    out: Vec<u8>,
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn luaopen_floor(state: *mut lua_State) -> c_int {
    unsafe {
        lua_createtable(state, 0, FUNCTIONS.len() as c_int);
        for (name, function) in FUNCTIONS {
            lua_pushcclosure(state, *function, 0);
            lua_setfield(state, -2, name.as_ptr());
        }
    }
    1
}

/// `clock()`: returns the seconds since some moment. It is here because the benchmark needs nanoseconds, which Lua does
/// not have.
unsafe extern "C-unwind" fn clock(state: *mut lua_State) -> c_int {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    unsafe { lua_pushnumber(state, START.get_or_init(Instant::now).elapsed().as_secs_f64()) };
    1
}

/// `nap()`: sleeps a little, for a client that has outrun the server.
unsafe extern "C-unwind" fn nap(_: *mut lua_State) -> c_int {
    std::thread::sleep(NAP);
    0
}

/// `wsopen(url, handler)`: returns a table with the connection in it, or false.
unsafe extern "C-unwind" fn wsopen(state: *mut lua_State) -> c_int {
    unsafe {
        let Ok((stream, buffer)) = open(str::from_utf8_unchecked(bytes(state, 1))) else {
            lua_pushboolean(state, 0);
            return 1;
        };
        lua_pushvalue(state, 2);
        let connection = Connection {
            stream,
            handler: luaL_ref(state, LUA_REGISTRYINDEX),
            rest: buffer.len(),
            buffer,
            message: Vec::new(),
            opcode: 0,
            missing: 0,
            last: false,
            mask: 0x9E37_79B9_7F4A_7C15,
            out: Vec::new(),
        };
        lua_createtable(state, 1, 0);
        lua_pushlightuserdata(state, Box::into_raw(Box::new(connection)).cast());
        lua_rawseti_(state, -2, 1);
    }
    1
}

/// Opens a connection. Returns its socket, and the bytes after the response.
fn open(url: &str) -> io::Result<(TcpStream, Vec<u8>)> {
    let url = url.strip_prefix("ws://").unwrap_or(url);
    let (host, path) = url.split_once('/').unwrap_or((url, ""));
    let mut stream = TcpStream::connect(host)?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut received = vec![0; HEAD];
    let mut length = 0;
    let frames = loop {
        match stream.read(&mut received[length..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => length += count,
        }
        if let Some(end) = received[..length].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
    };
    stream.set_nonblocking(true)?;
    // Frames may have come together with the response.
    received.truncate(length);
    received.drain(..frames);
    Ok((stream, received))
}

/// `wsclose(conn)`: sends a close frame, and closes the socket.
unsafe extern "C-unwind" fn wsclose(state: *mut lua_State) -> c_int {
    unsafe {
        let mut connection = Box::from_raw(connection(state));
        luaL_unref(state, LUA_REGISTRYINDEX, connection.handler);
        let _ = connection.stream.write(&[0x88, 0x80, 0, 0, 0, 0]);
    }
    0
}

/// `wsreceive(conn)`: returns true and the number of bytes, false and 0 if nothing has arrived, or nil at the end.
unsafe extern "C-unwind" fn wsreceive(state: *mut lua_State) -> c_int {
    unsafe {
        // No reference: a handler may call wssend on the same connection.
        let connection = connection(state);
        let received =
            if (*connection).missing > 0 { read_on(state, connection) } else { read(state, connection) };
        match received {
            Ok(0) => {
                lua_pushnil(state);
                1
            }
            Ok(count) => {
                lua_pushboolean(state, 1);
                lua_pushinteger(state, count as i64);
                2
            }
            Err(_) => {
                lua_pushboolean(state, 0);
                lua_pushinteger(state, 0);
                2
            }
        }
    }
}

/// Reads frames.
unsafe fn read(state: *mut lua_State, connection: *mut Connection) -> io::Result<usize> {
    unsafe {
        let this = &mut *connection;
        this.buffer.resize(REST + READ, 0);
        let count = this.stream.read(&mut this.buffer[this.rest..][..READ])?;
        let length = mem::take(&mut this.rest) + count;
        take_frames(state, connection, 0, length);
        Ok(count)
    }
}

/// Reads the rest of a large frame straight into its message, and in the same call the bytes after it.
unsafe fn read_on(state: *mut lua_State, connection: *mut Connection) -> io::Result<usize> {
    unsafe {
        let this = &mut *connection;
        let length = this.message.len();
        let wanted = this.missing.min(READ);
        let spare = slice::from_raw_parts_mut(this.message.as_mut_ptr().add(length), wanted); // reserved above
        let mut slices = [IoSliceMut::new(spare), IoSliceMut::new(&mut this.buffer[..READ - wanted])];
        let count = this.stream.read_vectored(&mut slices[..1 + usize::from(wanted < READ)])?;
        let taken = count.min(wanted);
        this.message.set_len(length + taken);
        this.missing -= taken;
        if this.missing == 0 && this.last {
            deliver_message(state, connection);
        }
        take_frames(state, connection, 0, count - taken);
        Ok(count)
    }
}

/// Delivers the messages in the first `length` bytes of the buffer, and keeps what is unfinished.
unsafe fn take_frames(state: *mut lua_State, connection: *mut Connection, mut at: usize, length: usize) {
    unsafe {
        let buffer = (*connection).buffer.as_ptr();
        while length - at >= 2 {
            let frame = slice::from_raw_parts(buffer.add(at), length - at);
            let (header, size) = match frame[1] {
                126 if frame.len() >= 4 => (4, usize::from(u16::from_be_bytes([frame[2], frame[3]]))),
                127 if frame.len() >= 10 => {
                    (10, u64::from_be_bytes(frame[2..10].try_into().unwrap()) as usize)
                }
                126 | 127 => break,
                size => (2, usize::from(size)),
            };
            let (fin, opcode) = (frame[0] & 0x80 != 0, frame[0] & 0x0f);
            let whole = frame.len() - header >= size;
            if !whole && size <= SMALL {
                break;
            }
            let payload = &frame[header..frame.len().min(header + size)];
            at += header + payload.len();
            match opcode {
                8 => deliver(state, connection, None, b"receiver error: closed"),
                9 | 10 => {}
                1 | 2 if fin && whole => deliver(state, connection, Some(opcode), payload),
                _ => {
                    let this = &mut *connection;
                    if opcode != 0 {
                        this.opcode = opcode;
                    }
                    this.message.reserve(size);
                    this.message.extend_from_slice(payload);
                    (this.missing, this.last) = (size - payload.len(), fin);
                    if fin && whole {
                        deliver_message(state, connection);
                    }
                }
            }
        }
        let this = &mut *connection;
        this.buffer.copy_within(at..length, 0);
        this.rest = length - at;
    }
}

unsafe fn deliver_message(state: *mut lua_State, connection: *mut Connection) {
    unsafe {
        let message = mem::take(&mut (*connection).message);
        deliver(state, connection, Some((*connection).opcode), &message);
        if message.capacity() <= KEPT {
            (*connection).message = message;
            (*connection).message.clear();
        }
    }
}

/// Calls the handler, with `false` if there is no opcode. Ignores its errors.
unsafe fn deliver(state: *mut lua_State, connection: *mut Connection, opcode: Option<u8>, data: &[u8]) {
    unsafe {
        lua_rawgeti_(state, LUA_REGISTRYINDEX, (*connection).handler);
        lua_pushvalue(state, 1);
        match opcode {
            Some(opcode) => lua_pushinteger(state, opcode.into()),
            None => lua_pushboolean(state, 0),
        }
        lua_pushlstring_(state, data.as_ptr().cast(), data.len());
        if lua_pcall(state, 3, 0, 0) != 0 {
            lua_settop(state, -2);
        }
    }
}

/// `wssend(conn, opcode, data)`: returns whether the message was sent. Waits while the peer does not read.
unsafe extern "C-unwind" fn wssend(state: *mut lua_State) -> c_int {
    unsafe {
        let connection = &mut *connection(state);
        connection.encode(lua_tointeger_(state, 2) as u8, bytes(state, 3));
        lua_pushboolean(state, connection.flush().is_ok().into());
    }
    1
}

impl Connection {
    fn encode(&mut self, opcode: u8, payload: &[u8]) {
        // Xorshift: the cheapest mask that changes from frame to frame.
        self.mask ^= self.mask << 13;
        self.mask ^= self.mask >> 7;
        self.mask ^= self.mask << 17;
        let mask = (self.mask as u32).to_ne_bytes();

        self.out.reserve(payload.len() + 14);
        match payload.len() {
            size @ ..126 => self.out.extend([0x80 | opcode, 0x80 | size as u8]),
            size @ ..0x1_0000 => {
                self.out.extend([0x80 | opcode, 0x80 | 126]);
                self.out.extend((size as u16).to_be_bytes());
            }
            size => {
                self.out.extend([0x80 | opcode, 0x80 | 127]);
                self.out.extend((size as u64).to_be_bytes());
            }
        }
        self.out.extend(mask);
        // Masked while copying, in pieces that the compiler can vectorise.
        let length = self.out.len() + payload.len();
        let wide: [u8; 64] = std::array::from_fn(|i| mask[i % 4]);
        let (to, to_rest) = self.out.spare_capacity_mut()[..payload.len()].as_chunks_mut::<64>();
        let (from, from_rest) = payload.as_chunks::<64>();
        for (to, from) in to.iter_mut().zip(from) {
            for i in 0..64 {
                to[i].write(from[i] ^ wide[i]);
            }
        }
        for (i, (to, from)) in to_rest.iter_mut().zip(from_rest).enumerate() {
            to.write(from ^ mask[i % 4]);
        }
        unsafe { self.out.set_len(length) };
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.out.len() {
            match self.stream.write(&self.out[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut wait =
                        libc::pollfd { fd: self.stream.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
                    unsafe { libc::poll(&raw mut wait, 1, 5000) };
                }
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        Ok(())
    }
}

unsafe fn connection(state: *mut lua_State) -> *mut Connection {
    unsafe {
        lua_rawgeti_(state, 1, 1);
        let connection = lua_touserdata(state, -1);
        lua_settop(state, -2);
        connection.cast()
    }
}

/// Returns the string at `index`, which is valid as long as it is on the stack.
unsafe fn bytes<'a>(state: *mut lua_State, index: c_int) -> &'a [u8] {
    unsafe {
        let mut length = 0;
        let data = lua_tolstring(state, index, &raw mut length);
        slice::from_raw_parts(data.cast(), length)
    }
}
