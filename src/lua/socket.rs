//! The native socket as Lua sees it: LuaSocket's methods, with LuaSocket's meanings.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mlua::{Lua, LuaString, Result as LuaResult, UserData, UserDataMethods, Value};

use super::failure;
use crate::net::describe;
use crate::net::tcp::{self, Dial, Progress, TcpSocket};

/// A socket that may have been closed. Shared by the object that the user sees (`conn.socket`) and
/// the session that reads and writes through it.
#[derive(Debug)]
pub(super) struct Shared {
    tcp: RefCell<Option<TcpSocket>>,
    /// As set by `settimeout`; `None` blocks for ever, as LuaSocket's sockets do at first.
    timeout: Cell<Option<Duration>>,
}

impl Shared {
    /// Runs `operation` on the socket, if it is still open.
    pub(super) fn with<R>(&self, operation: impl FnOnce(&TcpSocket) -> R) -> Option<R> {
        self.tcp.borrow().as_ref().map(operation)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Socket(pub Rc<Shared>);

/// Seconds as Lua has them: negative ones are none, absurd ones are the most there is.
pub(super) fn duration(seconds: f64) -> Duration {
    if seconds.is_nan() || seconds <= 0.0 {
        return Duration::ZERO;
    }
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// A connection being made, as Lua sees it.
struct LuaDial(Dial);

/// `dial(host, port)`: begins to connect; never blocks.
pub(super) fn dial(_: &Lua, (host, port): (LuaString, u16)) -> LuaResult<impl UserData + use<>> {
    Ok(LuaDial(Dial::start(&host.to_string_lossy(), port)))
}

/// `sleep(seconds)`: whether it was so long; a signal interrupts it.
pub(super) fn sleep(_: &Lua, seconds: f64) -> LuaResult<bool> {
    // A day is longer than anybody means to sleep, and shorter than what the system refuses.
    Ok(tcp::sleep(duration(seconds).min(Duration::from_secs(86_400))))
}

impl UserData for LuaDial {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        // cancel(): gives up, and closes what has not been connected.
        methods.add_method_mut("cancel", |_, this, ()| {
            this.0.cancel();
            Ok(())
        });
        // advance(seconds): a socket; or nil (go on later; a signal may have come, and its hook must find no call that
        // is protected here); or nil and why not.
        methods.add_method_mut("advance", |lua, this, seconds: f64| {
            match this.0.advance(duration(seconds)) {
                Progress::Connected(tcp) => {
                    let shared = Shared { tcp: RefCell::new(Some(tcp)), timeout: Cell::new(None) };
                    let socket = lua.create_userdata(Socket(Rc::new(shared)))?;
                    Ok((Value::UserData(socket), Value::Nil))
                }
                Progress::Pending => Ok((Value::Nil, Value::Nil)),
                Progress::Failed(error) => failure(lua, describe(&error)),
            }
        });
    }
}

/// A Lua number, whichever of its two kinds it is.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or(value.as_i64().map(|integer| integer as f64))
}

/// The socket behind a method call, whatever the method was called on.
fn socket(value: &Value) -> Option<Rc<Shared>> {
    let socket = value.as_userdata()?.borrow::<Socket>().ok()?;
    Some(Rc::clone(&socket.0))
}

// These are plain functions, not methods: mlua raises userdata when a method is called on something
// else, and these can be reached by users.
impl UserData for Socket {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        // getfd(): the descriptor's number, -1 once closed. Never fails: event loops call it.
        methods.add_function("getfd", |_, this: Value| {
            Ok(socket(&this).and_then(|shared| shared.with(TcpSocket::fd)).unwrap_or(-1))
        });
        // settimeout(seconds): for send and receive; nil or negative blocks. Returns 1.
        methods.add_function("settimeout", |_, (this, seconds): (Value, Value)| {
            if let Some(shared) = socket(&this) {
                shared.timeout.set(number(&seconds).filter(|s| *s >= 0.0).map(duration));
            }
            Ok(1)
        });
        // setoption(name, on): "tcp-nodelay" and "keepalive". Returns 1, or nil and why not.
        methods.add_function("setoption", |lua, (this, name, on): (Value, Value, Value)| {
            let Some(shared) = socket(&this) else { return failure(lua, "closed") };
            let on = !matches!(on, Value::Nil | Value::Boolean(false));
            let result = match name.as_string().map(mlua::LuaString::to_string_lossy).as_deref() {
                Some("tcp-nodelay") => shared.with(|tcp| tcp.set_nodelay(on)),
                Some("keepalive") => shared.with(|tcp| tcp.set_keepalive(on)),
                _ => return failure(lua, "unsupported option"),
            };
            match result {
                Some(Ok(())) => Ok((Value::Integer(1), Value::Nil)),
                Some(Err(error)) => failure(lua, describe(&error)),
                None => failure(lua, "closed"),
            }
        });
        // send(data): its length, or nil, why not, and how much of it was sent.
        methods.add_function("send", |lua, (this, data): (Value, Value)| {
            let (Some(shared), Some(data)) = (socket(&this), data.as_string().map(LuaString::as_bytes))
            else {
                return Ok((Value::Nil, Some(lua.create_string("closed")?), Some(0)));
            };
            match send(&shared, &data) {
                Ok(sent) => Ok((Value::Integer(sent as _), None, None)),
                Err((sent, why)) => Ok((Value::Nil, Some(lua.create_string(why)?), Some(sent))),
            }
        });
        // receive(count): exactly so many bytes, or nil, why not, and what came.
        methods.add_function("receive", |lua, (this, count): (Value, Value)| {
            let count = number(&count).unwrap_or(0.0) as usize; // which makes 0 of what is negative
            let Some(shared) = socket(&this) else {
                return Ok((None, Some(lua.create_string("closed")?), Some(lua.create_string("")?)));
            };
            let (data, why) = receive(&shared, count);
            let data = Some(lua.create_string(data)?);
            Ok(match why {
                None => (data, None, None),
                Some(why) => (None, Some(lua.create_string(why)?), data),
            })
        });
        // wait(read, write, seconds): whether it can be read from or written to by then; nil if a signal came first.
        methods.add_function("wait", |_, (this, read, write, seconds): (Value, bool, bool, Value)| {
            let seconds = Some(duration(number(&seconds).unwrap_or(0.0)));
            let waited = socket(&this).and_then(|shared| shared.with(|tcp| tcp.wait(read, write, seconds)));
            Ok(match waited {
                Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => None,
                Some(Ok(ready)) => Some(ready),
                // A closed socket, or one that cannot be waited for, says so when it is used.
                Some(Err(_)) | None => Some(true),
            })
        });
        // shutdown(): nothing more will be sent.
        methods.add_function("shutdown", |_, this: Value| {
            if let Some(shared) = socket(&this) {
                // It may be gone already.
                let _ = shared.with(TcpSocket::shutdown_write);
            }
            Ok(1)
        });
        methods.add_function("close", |_, this: Value| {
            if let Some(shared) = socket(&this) {
                shared.tcp.take();
            }
            Ok(1)
        });
    }
}

fn send(shared: &Shared, data: &[u8]) -> Result<usize, (usize, String)> {
    let deadline = shared.timeout.get().and_then(|timeout| Instant::now().checked_add(timeout));
    let mut sent = 0;
    while sent < data.len() {
        match shared.with(|tcp| tcp.write(&data[sent..])) {
            Some(Ok(count)) => sent += count,
            Some(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if !wait(shared, false, deadline) {
                    return Err((sent, "timeout".into()));
                }
            }
            Some(Err(error)) => return Err((sent, describe(&error))),
            None => return Err((sent, "closed".into())),
        }
    }
    Ok(sent)
}

/// What has come of `count` bytes, and why that is not all of them.
fn receive(shared: &Shared, count: usize) -> (Vec<u8>, Option<String>) {
    /// However many bytes are asked for, space is made only for what comes.
    const PIECE: usize = 64 * 1024;
    let deadline = shared.timeout.get().and_then(|timeout| Instant::now().checked_add(timeout));
    let mut data = Vec::new();
    while data.len() < count {
        let before = data.len();
        data.resize(before + PIECE.min(count - before), 0);
        let result = shared.with(|tcp| tcp.read(&mut data[before..]));
        data.truncate(before + result.as_ref().and_then(|r| r.as_ref().ok()).copied().unwrap_or(0));
        match result {
            Some(Ok(0)) | None => return (data, Some("closed".into())),
            Some(Ok(_)) => {}
            Some(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if !wait(shared, true, deadline) {
                    return (data, Some("timeout".into()));
                }
            }
            Some(Err(error)) => return (data, Some(describe(&error))),
        }
    }
    (data, None)
}

/// Waits until the deadline, if there is one; whether it was worth it.
fn wait(shared: &Shared, read: bool, deadline: Option<Instant>) -> bool {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    // An error shows itself at the next read or write.
    shared.with(|tcp| tcp.wait(read, !read, left).unwrap_or(true)).unwrap_or(true)
}
