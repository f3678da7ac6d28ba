//! The native socket and the dial as Lua sees them.
//!
//! Data is read and written by the session that the socket is attached to. A program that has the socket
//! (`conn.socket`) can ask for its descriptor and set options, but cannot take bytes out of the middle of a connection.

use std::cell::RefCell;
use std::ffi::CStr;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::options::is_true;
use super::value::{Handle, Reply, Table, Value, failure};
use super::{Context, Native};
use crate::net::describe;
use crate::net::tcp::{self, Address, Dial, Progress, TcpSocket};

/// A socket that may have been closed, or the user's object for it (`conn.socket`), which may have been taken away.
#[derive(Debug)]
pub(super) struct Socket {
    tcp: RefCell<Option<Rc<TcpSocket>>>,
    is_users: bool,
}

impl Socket {
    pub(super) fn new(tcp: Rc<TcpSocket>, is_users: bool) -> Self {
        Self { tcp: RefCell::new(Some(tcp)), is_users }
    }

    /// Takes the socket out, which is closed for everybody else.
    pub(super) fn take(&self) -> Option<Rc<TcpSocket>> {
        self.tcp.take()
    }

    /// Runs `operation` on the socket, if it is still open.
    pub(super) fn with<R>(&self, operation: impl FnOnce(&TcpSocket) -> R) -> Option<R> {
        self.tcp.borrow().as_ref().map(|tcp| operation(tcp))
    }
}

pub(super) const FUNCTIONS: &[(&CStr, Native)] = &[
    // sleep(seconds): whether it slept that long; a signal interrupts it
    (c"sleep", sleep),
    // dial(host, port): starts to connect; never blocks
    (c"dial", dial),
    // dial_advance(dial, seconds): a socket; or nil if it must be called again (time is up, or a signal came, whose
    // debug hook must not run inside a call of ours); or nil and the error
    (c"dial_advance", dial_advance),
    // dial_is_queued(dial): whether its name look-up has yet to begin, because others are in the way
    (c"dial_is_queued", dial_is_queued),
    // dial_hold(dial): has it begin no attempt before dial_go_on(dial); dial_untried(dial): the addresses to be tried,
    // as a table, once the name has been looked up
    (c"dial_hold", dial_hold),
    (c"dial_go_on", dial_go_on),
    (c"dial_untried", dial_untried),
    // dial_retain(dial, addresses): tries only those in this array
    (c"dial_retain", dial_retain),
    // dial_descriptors(dial): those of the attempts begun since the last call, as a table; nothing if there are none
    (c"dial_descriptors", dial_descriptors),
    // dial_due(dial): after how many seconds it is to be advanced at the latest; nil for no time
    (c"dial_due", dial_due),
    // dial_cancel(dial): gives up and closes all unfinished attempts
    (c"dial_cancel", dial_cancel),
    // socket_wait(socket, read, write, seconds): whether it became readable or writable in that time; "signal" if a
    // signal came
    (c"socket_wait", socket_wait),
    // socket_shutdown(socket): ends the sending side
    (c"socket_shutdown", socket_shutdown),
    // socket_for_user(socket): the same socket as another object; socket_release(object): takes that away
    (c"socket_for_user", socket_for_user),
    (c"socket_release", socket_release),
    // The methods of conn.socket; they can be called on anything, and never raise.
    // getfd(): the descriptor's number, -1 once closed
    (c"socket_getfd", socket_getfd),
    // getpeername(): the peer's address, its port, and "inet" or "inet6"; or nil and the error
    (c"socket_getpeername", socket_getpeername),
    // getsockname(): the same of our own end
    (c"socket_getsockname", socket_getsockname),
    // setoption(name, on): "tcp-nodelay" and "keepalive"; returns 1, or nil and the error
    (c"socket_setoption", socket_setoption),
    (c"socket_close", socket_close),
];

/// Converts a number of seconds from Lua: negative numbers become zero, too large ones the maximum.
pub(super) fn duration(seconds: &Value) -> Duration {
    let seconds = seconds.number().unwrap_or(0.0);
    if seconds.is_nan() || seconds <= 0.0 {
        return Duration::ZERO;
    }
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

fn sleep(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    // A day is longer than anybody means to sleep, and shorter than what the system rejects.
    let time = arguments.first().map_or(Duration::ZERO, duration);
    vec![tcp::sleep(time.min(Duration::from_secs(86_400))).into()]
}

fn dial(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let host = arguments.first().and_then(Value::text).unwrap_or_default();
    let port = arguments.get(1).and_then(Value::number).unwrap_or(0.0) as u16;
    vec![Handle::Dial(Rc::new(RefCell::new(Dial::start(&host, port)))).into()]
}

fn dial_advance(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let [Value::Handle(Handle::Dial(dial)), seconds, ..] = arguments else { return failure("closed") };
    match dial.borrow_mut().advance(duration(seconds)) {
        Progress::Connected(tcp) => vec![Handle::Socket(Rc::new(Socket::new(Rc::new(tcp), false))).into()],
        Progress::Pending => vec![Value::Nil],
        Progress::Failed(error) => failure(describe(&error)),
    }
}

fn dial_is_queued(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let [Value::Handle(Handle::Dial(dial)), ..] = arguments else { return vec![false.into()] };
    vec![dial.borrow().is_queued().into()]
}

fn dial_hold(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    if let [Value::Handle(Handle::Dial(dial)), ..] = arguments {
        dial.borrow_mut().hold();
    }
    vec![]
}

fn dial_go_on(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    if let [Value::Handle(Handle::Dial(dial)), ..] = arguments {
        dial.borrow_mut().go_on();
    }
    vec![]
}

fn dial_untried(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let [Value::Handle(Handle::Dial(dial)), ..] = arguments else { return vec![] };
    let dial = dial.borrow();
    let addresses = dial.untried().map(|untried| untried.map(|ip| ip.to_string()).collect::<Table>());
    addresses.map(|table| vec![table.into()]).unwrap_or_default()
}

fn dial_retain(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let [Value::Handle(Handle::Dial(dial)), Value::Table(wanted), ..] = arguments else { return vec![] };
    let wanted: Vec<_> = wanted.elements().into_iter().filter_map(Value::text).collect();
    dial.borrow_mut().retain(|address| wanted.iter().any(|text| *text == address.to_string()));
    vec![]
}

fn dial_descriptors(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let [Value::Handle(Handle::Dial(dial)), ..] = arguments else { return vec![] };
    let found = dial.borrow_mut().take_descriptors();
    if found.is_empty() {
        return vec![];
    }
    vec![found.into_iter().map(f64::from).collect::<Table>().into()]
}

fn dial_due(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let [Value::Handle(Handle::Dial(dial)), ..] = arguments else { return vec![] };
    vec![dial.borrow().due().map(|left| left.as_secs_f64()).into()]
}

fn dial_cancel(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    if let [Value::Handle(Handle::Dial(dial)), ..] = arguments {
        dial.borrow_mut().cancel();
    }
    vec![]
}

/// The socket that is the first argument.
fn socket(arguments: &[Value]) -> Option<&Rc<Socket>> {
    match arguments.first() {
        Some(Value::Handle(Handle::Socket(socket))) => Some(socket),
        _ => None,
    }
}

fn socket_wait(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let argument = |index| arguments.get(index).unwrap_or(&Value::Nil);
    let (read, write, seconds) = (is_true(argument(1)), is_true(argument(2)), duration(argument(3)));
    let waited = socket(arguments).and_then(|socket| socket.with(|tcp| tcp.wait(read, write, Some(seconds))));
    vec![match waited {
        Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => "signal".into(),
        Some(Ok(ready)) => ready.into(),
        // A closed socket, or one that cannot be polled, reports that when it is used.
        Some(Err(_)) | None => true.into(),
    }]
}

fn socket_shutdown(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    // The connection may be gone already.
    let _ = socket(arguments).and_then(|socket| socket.with(TcpSocket::shutdown_write));
    vec![]
}

fn socket_for_user(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let tcp = socket(arguments).and_then(|socket| socket.tcp.borrow().clone());
    vec![tcp.map(|tcp| Handle::Socket(Rc::new(Socket::new(tcp, true)))).into()]
}

fn socket_release(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    if let Some(socket) = socket(arguments) {
        socket.tcp.take();
    }
    vec![]
}

fn socket_getfd(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let fd = socket(arguments).and_then(|socket| socket.with(TcpSocket::fd)).unwrap_or(-1);
    vec![f64::from(fd).into()]
}

fn socket_getpeername(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    place(arguments, TcpSocket::peer)
}

/// An address of the socket that is the first argument, and its family.
fn place(arguments: &[Value], ask: impl FnOnce(&TcpSocket) -> io::Result<Address>) -> Reply {
    match socket(arguments).and_then(|socket| socket.with(ask)) {
        Some(Ok(address)) => {
            let family = if address.is_ipv6() { "inet6" } else { "inet" };
            vec![address.ip().to_string().into(), address.port().into(), family.into()]
        }
        Some(Err(error)) => failure(describe(&error)),
        None => failure("closed"),
    }
}

fn socket_getsockname(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    place(arguments, TcpSocket::local)
}

fn socket_setoption(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let Some(socket) = socket(arguments) else { return failure("closed") };
    let on = arguments.get(2).is_some_and(is_true);
    let result = match arguments.get(1).and_then(Value::text).as_deref() {
        Some("tcp-nodelay") => socket.with(|tcp| tcp.set_nodelay(on)),
        Some("keepalive") => socket.with(|tcp| tcp.set_keepalive(on)),
        _ => return failure("unsupported option"),
    };
    match result {
        Some(Ok(())) => vec![1.0.into()],
        Some(Err(error)) => failure(describe(&error)),
        None => failure("closed"),
    }
}

fn socket_close(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    if let Some(socket) = socket(arguments)
        && let Some(tcp) = socket.tcp.take()
        && socket.is_users
    {
        // The connection will notice that it has ended.
        let _ = tcp.shutdown();
    }
    vec![1.0.into()]
}
