//! Listeners as Lua sees them.

use std::cell::RefCell;
use std::ffi::CStr;
use std::rc::Rc;

use super::options::is_true;
use super::raw::borrow_descriptor;
use super::socket::Socket;
use super::value::{Handle, Reply, Table, Value, failure};
use super::{Context, Native};
use crate::net::describe;
use crate::net::listen::{Listener, NotAccepted, Place, Settings};

/// A listener that may have been closed.
#[derive(Debug)]
pub(super) struct LuaListener(RefCell<Option<Listener>>);

pub(super) const FUNCTIONS: &[(&CStr, Native)] = &[
    // listen_tcp(host, port, backlog, reuseport): an array of listeners, one for each address of the host; or nil and
    // the error
    (c"listen_tcp", listen_tcp),
    // listen_unix(path, backlog, mode): a listener, whose file has these permissions unless they are nil; or nil and
    // the error
    (c"listen_unix", listen_unix),
    // listen_fd(number): a listener with a copy of this descriptor; or nil and the error
    (c"listen_fd", listen_fd),
    // listener_accept(listener): a socket, and the address and the port of its peer (nil for a unix domain socket).
    // Nothing if nobody waits; nil, the error, and whether it is over only when somebody closes a descriptor
    (c"listener_accept", listener_accept),
    // listener_place(listener): host and port, or the path of a unix domain socket
    (c"listener_place", listener_place),
    // listener_fd(listener): its descriptor, -1 once closed; listener_close(listener)
    (c"listener_fd", listener_fd),
    (c"listener_close", listener_close),
];

fn handle(listener: Listener) -> Handle {
    Handle::Listener(Rc::new(LuaListener(RefCell::new(Some(listener)))))
}

fn settings(backlog: Option<&Value>) -> Settings {
    let backlog = backlog.map_or(0, Value::size).clamp(1, i32::MAX as usize);
    Settings { backlog: backlog as i32, reuseport: false, mode: None }
}

fn listen_tcp(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let host = arguments.first().and_then(Value::text).unwrap_or_default();
    let port = arguments.get(1).map_or(0, Value::size) as u16;
    let reuseport = arguments.get(3).is_some_and(is_true);
    match Listener::tcp(&host, port, Settings { reuseport, ..settings(arguments.get(2)) }) {
        Ok(listeners) => vec![listeners.into_iter().map(handle).collect::<Table>().into()],
        Err(error) => failure(describe(&error)),
    }
}

fn listen_unix(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let path = arguments.first().and_then(Value::text).unwrap_or_default();
    let mode = arguments.get(2).and_then(Value::number).map(|mode| mode as u32);
    match Listener::unix(&path, Settings { mode, ..settings(arguments.get(1)) }) {
        Ok(listener) => vec![handle(listener).into()],
        Err(error) => failure(describe(&error)),
    }
}

fn listen_fd(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let number = arguments.first().and_then(Value::number).unwrap_or(-1.0);
    let Some(fd) = borrow_descriptor(number) else { return failure("Bad file descriptor") };
    match Listener::given(fd) {
        Ok(listener) => vec![handle(listener).into()],
        Err(error) => failure(describe(&error)),
    }
}

fn with<R>(arguments: &[Value], f: impl FnOnce(&Listener) -> R) -> Option<R> {
    let Some(Value::Handle(Handle::Listener(listener))) = arguments.first() else { return None };
    listener.0.borrow().as_ref().map(f)
}

/// Host and port, or a path. The IPv4 address of a peer at an IPv6 socket is told as such.
fn place(place: Place) -> Reply {
    match place {
        Place::Ip(address) => vec![address.ip().to_canonical().to_string().into(), address.port().into()],
        Place::Unix(path) => vec![path.to_string_lossy().into_owned().into()],
    }
}

fn listener_accept(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    match with(arguments, Listener::accept) {
        Some(Ok((tcp, peer))) => {
            let socket = Handle::Socket(Rc::new(Socket::new(Rc::new(tcp), false)));
            let is_unix = matches!(peer, Place::Unix(_));
            let peer = if is_unix { vec![] } else { place(peer) };
            [vec![socket.into()], peer].concat()
        }
        Some(Err(NotAccepted::Nobody)) => vec![],
        Some(Err(NotAccepted::Full(error))) => vec![Value::Nil, describe(&error).into(), true.into()],
        Some(Err(NotAccepted::Failed(error))) => vec![Value::Nil, describe(&error).into(), false.into()],
        None => vec![Value::Nil, "closed".into(), false.into()],
    }
}

fn listener_place(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    with(arguments, Listener::place).and_then(Result::ok).map(place).unwrap_or_default()
}

fn listener_fd(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    vec![f64::from(with(arguments, Listener::fd).unwrap_or(-1)).into()]
}

fn listener_close(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    if let Some(Value::Handle(Handle::Listener(listener))) = arguments.first() {
        listener.0.take();
    }
    vec![]
}
