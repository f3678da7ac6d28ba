//! A [`Session`] as the Lua driver sees it. Only the driver holds these objects, so the types of their arguments are
//! the driver's care.
//!
//! A finaliser of anybody's may call in while the data of an event become a Lua string: so a session that is at work
//! says that it has nothing, and that is no error.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use super::socket::Socket;
use super::tls;
use super::value::{Handle, Reply, Table, Value, failure};
use super::{Context, Native};
use crate::net::describe;
use crate::protocol::close::CloseFrame;
use crate::protocol::close_code::CloseCode;
use crate::protocol::connection::Connection;
use crate::protocol::error::SendError;
use crate::protocol::event::Event as Received;
use crate::protocol::frame::Opcode;
use crate::protocol::handshake;
use crate::session::{Event, Failure, Session};

mod create;

pub(super) use create::create;

/// The numbers of events that are no opcodes.
const OPEN: u8 = 16;
const BEGIN: u8 = 17;
const PIECE: u8 = 18;
const LAST: u8 = 19;
/// More is there to be interpreted, and nothing to tell yet.
const WORKING: u8 = 23;
const FAILURE: u8 = 20;
const REQUEST: u8 = 21;
/// The driver was broken off between taking an event and delivering it.
pub(super) const INTERRUPTED: u8 = 22;

/// `event_numbers()`: the opcodes and the other events, by name.
pub(super) fn event_numbers(_: &Rc<Context>, _: &[Value]) -> Reply {
    let mut table = Table::default();
    for (name, number) in [
        ("text", Opcode::Text as u8),
        ("binary", Opcode::Binary as u8),
        ("close", Opcode::Close as u8),
        ("ping", Opcode::Ping as u8),
        ("pong", Opcode::Pong as u8),
        ("open", OPEN),
        ("begin", BEGIN),
        ("piece", PIECE),
        ("last", LAST),
        ("working", WORKING),
        ("failure", FAILURE),
        ("request", REQUEST),
        ("interrupted", INTERRUPTED),
    ] {
        table.set(name, usize::from(number));
    }
    vec![table.into()]
}

#[derive(Debug)]
pub(super) struct LuaSession {
    inner: RefCell<Option<Inner>>,
    /// An event was handed over and nothing has been done with it.
    handed: Cell<bool>,
    /// Something is called that is not to be disturbed.
    sheltered: Cell<bool>,
}

#[derive(Debug)]
struct Inner {
    session: Session,
    /// Reads and writes go here without becoming Lua strings.
    socket: Option<Rc<Socket>>,
    /// An event that could not be handed over, for the next time.
    kept: Option<(u8, Vec<u8>)>,
    failure: Option<Failure>,
}

/// Why a method of a session did nothing.
pub(super) type Reason = Cow<'static, str>;

/// What became of an event that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// There is none.
    Nothing,
    Taken,
    /// It will be offered again.
    Refused,
    /// The last one was taken, and nothing was done with it.
    Interrupted,
}

impl LuaSession {
    fn new(session: Session) -> Self {
        let inner = Inner { session, socket: None, kept: None, failure: None };
        Self { inner: RefCell::new(Some(inner)), handed: Cell::new(false), sheltered: Cell::new(false) }
    }

    /// Whether a call of a finaliser's would find it at work.
    pub(super) fn is_busy(&self) -> bool {
        self.sheltered.get() || self.inner.try_borrow_mut().is_err()
    }

    /// Whether it was so before.
    pub(super) fn set_sheltered(&self, sheltered: bool) -> bool {
        self.sheltered.replace(sheltered)
    }

    /// Runs `operation` on the session, if it has not been freed and nothing else is running on it.
    fn with<R>(&self, operation: impl FnOnce(&mut Inner) -> R) -> Result<R, Reason> {
        let mut inner = self.inner.try_borrow_mut().map_err(|_| "busy")?;
        Ok(operation(inner.as_mut().ok_or("closed")?))
    }

    /// The same on the open connection; whether there was one.
    fn open(&self, operation: impl FnOnce(&mut Connection)) -> bool {
        self.with(|inner| inner.session.connection_mut().map(operation)).is_ok_and(|done| done.is_some())
    }

    /// The same for a question, whose answer is nothing where there is no session.
    fn ask<R: Default>(&self, question: impl FnOnce(&Session) -> R) -> R {
        self.with(|inner| question(&inner.session)).unwrap_or_default()
    }

    pub(super) fn incoming(&self) -> usize {
        self.ask(Session::incoming_len)
    }

    /// Whether there may be an event without more bytes from the wire.
    pub(super) fn is_pending(&self) -> bool {
        self.with(|inner| inner.kept.is_some() || inner.session.is_pending()).unwrap_or_default()
    }

    pub(super) fn outgoing(&self) -> usize {
        self.ask(Session::outgoing_len)
    }

    pub(super) fn sendable(&self) -> usize {
        self.ask(Session::sendable_len)
    }

    pub(super) fn frames(&self) -> usize {
        self.ask(|session| session.connection().map_or(0, |connection| connection.frames_received() as usize))
    }

    /// What was handed over needs nothing more.
    pub(super) fn done(&self) {
        self.handed.set(false);
    }

    /// One read from the socket: how many bytes of plaintext it brought, and whether there may be more at once; `None`
    /// if there is nothing now.
    pub(super) fn read(&self, max: usize) -> Result<Option<(usize, bool)>, Reason> {
        // What is busy has nothing for a finaliser that calls in.
        if self.is_busy() {
            return Ok(None);
        }
        if self.handed.get() {
            return Err("interrupted".into());
        }
        let Ok(mut guard) = self.inner.try_borrow_mut() else { return Ok(None) };
        let Some(Inner { session, socket: Some(socket), .. }) = guard.as_mut() else {
            return Err("closed".into());
        };
        match socket.with(|tcp| session.receive_with(max, |space| tcp.read(space))) {
            Some(Ok(read)) if !read.is_end() => Ok(Some((read.plain, read.more))),
            Some(Ok(_)) | None => {
                session.receive_end();
                Err("closed".into())
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Some(Err(error)) => Err(describe(&error).into()),
        }
    }

    /// Writes to the socket what it takes, until nothing is left.
    pub(super) fn write(&self) -> Result<(), Reason> {
        if self.is_busy() {
            return Err("timeout".into());
        }
        self.with(|inner| {
            let Inner { session, socket: Some(socket), .. } = inner else { return Err("closed".into()) };
            while session.sendable_len() > 0 {
                match socket.with(|tcp| session.send_with(|bytes| tcp.write(bytes))) {
                    Some(Ok(count)) if count > 0 => {}
                    Some(Err(error)) if error.kind() != io::ErrorKind::WriteZero => {
                        return Err(describe(&error).into());
                    }
                    _ => return Err("closed".into()),
                }
            }
            // What is left then has to wait for something that must come first.
            if session.outgoing_len() > 0 { Err("timeout".into()) } else { Ok(()) }
        })?
    }

    /// Queues a frame or a message, or says why not.
    pub(super) fn send(&self, opcode: u8, data: &[u8], fin: bool) -> Result<(), Reason> {
        self.queue(|session| match Opcode::try_from(opcode) {
            Ok(opcode) => session.send(opcode, data, fin),
            Err(_) => Err(SendError::Opcode(opcode.into())),
        })
    }

    fn queue(&self, operation: impl FnOnce(&mut Session) -> Result<(), SendError>) -> Result<(), Reason> {
        self.with(|inner| operation(&mut inner.session))?.map_err(|error| error.to_string().into())
    }

    /// Offers the next event to `take`, by its number and with its data; `take` says whether it has taken them.
    pub(super) fn offer(&self, take: impl FnOnce(u8, &[u8]) -> bool) -> Offer {
        if self.is_busy() {
            return Offer::Nothing;
        }
        if self.handed.get() {
            return Offer::Interrupted;
        }
        let Ok(mut guard) = self.inner.try_borrow_mut() else { return Offer::Nothing };
        let Some(inner) = guard.as_mut() else { return Offer::Nothing };
        let Some((number, data)) = inner.next() else { return Offer::Nothing };
        if take(number, &data) {
            self.handed.set(true);
            return Offer::Taken;
        }
        let data = data.into_owned();
        inner.kept = Some((number, data));
        Offer::Refused
    }
}

impl Inner {
    fn next(&mut self) -> Option<(u8, Cow<'_, [u8]>)> {
        if let Some((number, data)) = self.kept.take() {
            return Some((number, data.into()));
        }
        Some(match self.session.next_event() {
            Ok(None) => return None,
            Ok(Some(Event::Request(_))) => (REQUEST, b""[..].into()),
            Ok(Some(Event::Open(_))) => (OPEN, b""[..].into()),
            Ok(Some(Event::Received(event))) => match event {
                Received::Begin(opcode) => (BEGIN, vec![opcode as u8].into()),
                Received::Working => (WORKING, b""[..].into()),
                Received::Piece { data, last } => (if last { LAST } else { PIECE }, data.into()),
                Received::Message { opcode, data } => (opcode as u8, data.into()),
                Received::Ping(data) => (Opcode::Ping as u8, data.into()),
                Received::Pong(data) => (Opcode::Pong as u8, data.into()),
                Received::Close(frame) => (Opcode::Close as u8, frame.payload().into()),
            },
            Err(failure) => {
                let text = failure.text.clone().into_bytes();
                self.failure = Some(failure);
                (FAILURE, text.into())
            }
        })
    }
}

/// What a function does with the session that is its first argument.
fn session(arguments: &[Value]) -> Option<&Rc<LuaSession>> {
    match arguments.first() {
        Some(Value::Handle(Handle::Session(session))) => Some(session),
        _ => None,
    }
}

/// The argument at this place, the first being 0.
fn argument(arguments: &[Value], index: usize) -> &Value {
    arguments.get(index).unwrap_or(&Value::Nil)
}

/// A function that does something with a session, and returns whether it could.
macro_rules! deed {
    ($name:ident, |$session:ident, $arguments:ident| $deed:expr) => {
        pub(super) fn $name(_: &Rc<Context>, $arguments: &[Value]) -> Reply {
            let Some($session) = session($arguments) else { return vec![false.into()] };
            vec![$deed.into()]
        }
    };
}

/// The functions by name, beside those that are called for each message (`raw/hot.rs`).
pub(super) const FUNCTIONS: &[(&std::ffi::CStr, Native)] = &[
    // session(parameters): a session; or nil, why not, and which hop cannot even begin (create.rs)
    (c"session", create),
    (c"event_numbers", event_numbers),
    // attach(session, socket): read and write will use this native socket, or none for nil
    (c"attach", attach),
    // free(session): gives back all memory
    (c"free", free),
    // receive_data(session, bytes): takes bytes of the wire that came in another way: how much plaintext they became,
    // and whether more is held
    (c"receive_data", receive_data),
    // receive_plain(session, bytes): takes bytes that are plaintext, whatever the wire carries
    (c"receive_plain", receive_plain),
    // receive_end(session): no more bytes will come in that other way
    (c"receive_end", receive_end),
    // peek(session, max): at most so many of the bytes that can be written now
    (c"peek", peek),
    // sent(session, count): so many of those were written
    (c"sent", sent),
    // status(session): the hop that is not complete yet ("proxy", "tls", "upgrade"; "frames" for none); whether TLS
    // says that the peer sends no more; whether it has failed
    (c"status", status),
    // failed(session): why it has failed, so that nothing can be sent; or nil
    (c"failed", failed),
    // holds_more(session): whether bytes that were read wait inside TLS
    (c"holds_more", holds_more),
    // was_interrupted(session): whether an event was handed over and nothing has been done with it
    (c"was_interrupted", was_interrupted),
    // failure(session): of the event of that name: the hop, the kind, the code of our close frame
    (c"failure", failure_of),
    // response(session): a client's: subprotocol, headers, status, reason
    (c"response", response),
    // request(session): a server's: resource, headers, subprotocols
    (c"request", request),
    // accept(session, subprotocol): answers the request
    (c"accept", accept),
    // refuse(session, status, message): the same
    (c"refuse", refuse),
    // proxy_detail(session): what the proxy calls the connection
    (c"proxy_detail", proxy_detail),
    // peer(session): what TLS knows of the peer, for conn.tls
    (c"peer", peer),
    // body(session, most): of a refused upgrade: at most so many bytes of the body, and whether that is all
    (c"body", body),
    // close_state(session): the close frames as four values: code and reason of the one that was sent, and of the one
    // that came; false as the code of one without a code, nil for no frame
    (c"close_state", close_state),
    // forget(session): forgets a partly received message; reset(session): and what still comes of it
    (c"forget", forget),
    (c"reset", reset),
    // set_trace(session, on), trace(session): an array of lines, one for each frame since the last call
    (c"set_trace", set_trace),
    (c"trace", trace),
    // announce(session, on): whether messages are announced; stream(session): the one that was announced comes in pieces
    (c"announce", announce),
    (c"stream", stream),
    // limit(session, bytes): the most bytes of a message
    (c"limit", limit),
    // pong(session, data), reply_close(session): the answers to control frames, which are done with that
    (c"pong", pong),
    (c"reply_close", reply_close),
    // close(session, code, reason): queues a close frame: true; or nil and why not
    (c"close", close),
    // shutdown(session): queues the end of TLS
    (c"shutdown", shutdown),
];

fn attach(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let Some(session) = session(arguments) else { return vec![false.into()] };
    let socket = match argument(arguments, 1) {
        Value::Handle(Handle::Socket(socket)) => Some(Rc::clone(socket)),
        _ => None,
    };
    vec![session.with(|inner| inner.socket = socket).is_ok().into()]
}

deed!(free, |session, arguments| session
    .inner
    .try_borrow_mut()
    .is_ok_and(|mut inner| inner.take().is_some()));

fn receive_data(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let bytes = argument(arguments, 1).bytes().unwrap_or_default();
    let received = session(arguments).and_then(|session| {
        session.with(|inner| (inner.session.receive(bytes), inner.session.holds_more())).ok()
    });
    let (count, more) = received.unwrap_or_default();
    vec![count.into(), more.into()]
}

deed!(receive_plain, |session, arguments| {
    let bytes = argument(arguments, 1).bytes().unwrap_or_default();
    session.with(|inner| inner.session.receive_plain(bytes)).is_ok()
});

deed!(receive_end, |session, arguments| session.with(|inner| inner.session.receive_end()).is_ok());

fn peek(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let max = argument(arguments, 1).size();
    let mut bytes = Vec::new();
    if let Some(session) = session(arguments) {
        let _ = session.with(|inner| {
            inner.session.send_with(|outgoing| {
                bytes.extend_from_slice(&outgoing[..outgoing.len().min(max)]);
                Ok::<_, ()>(0)
            })
        });
    }
    vec![bytes.into()]
}

deed!(sent, |session, arguments| {
    let count = argument(arguments, 1).size();
    let take = |outgoing: &[u8]| Ok::<_, ()>(count.min(outgoing.len()));
    session.with(|inner| inner.session.send_with(take)).is_ok()
});

fn status(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let status = session(arguments).and_then(|session| session.with(|inner| inner.session.status()).ok());
    match status {
        Some(status) => vec![status.hop.as_str().into(), status.ended.into(), status.failed.into()],
        None => vec![Value::Nil, true.into(), true.into()],
    }
}

deed!(failed, |session, arguments| {
    session.ask(|session| session.failure().map(|failure| failure.text.clone()))
});
deed!(holds_more, |session, arguments| session.ask(Session::holds_more));
deed!(was_interrupted, |session, arguments| session.handed.get() && !session.is_busy());

fn failure_of(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let failure =
        session(arguments).and_then(|session| session.with(|inner| inner.failure.clone()).ok().flatten());
    let Some(failure) = failure else { return vec![] };
    let code = failure.close_code.map(CloseCode::get);
    vec![failure.hop.as_str().into(), failure.kind.as_str().into(), code.into()]
}

/// Headers as a table: names in lower case, values of the same name joined by ", ".
fn headers(headers: &[(String, Vec<u8>)]) -> Table {
    let mut joined: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        match joined.iter_mut().find(|(known, _)| *known == name) {
            Some((_, before)) => before.extend_from_slice(&[b", ", value.as_slice()].concat()),
            None => joined.push((name, value.clone())),
        }
    }
    let mut table = Table::default();
    for (name, value) in joined {
        table.set(&name, value);
    }
    table
}

fn response(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let found = session(arguments).map(|session| session.ask(|session| session.response().cloned()));
    let response = found.flatten().unwrap_or_default();
    vec![
        handshake::subprotocol(&response).into(),
        headers(&response.headers.0).into(),
        response.status.into(),
        response.reason.into(),
    ]
}

fn request(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let found = session(arguments).and_then(|session| session.ask(|session| session.request().cloned()));
    let Some(request) = found else { return vec![] };
    let subprotocols: Table = request.subprotocols.iter().map(String::as_str).collect();
    vec![request.resource.as_str().into(), headers(&request.headers.0).into(), subprotocols.into()]
}

deed!(accept, |session, arguments| {
    let subprotocol = argument(arguments, 1).text();
    session.done();
    session.with(|inner| inner.session.accept(subprotocol.as_deref())).is_ok()
});

deed!(refuse, |session, arguments| {
    let (status, message) = (argument(arguments, 1).size() as u16, argument(arguments, 2).text());
    session.done();
    session.with(|inner| inner.session.refuse(status, &message.unwrap_or_default())).is_ok()
});

fn proxy_detail(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let detail = session(arguments)
        .and_then(|session| session.ask(|session| session.proxy_detail().map(str::to_owned)));
    vec![detail.into()]
}

fn peer(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let peer = session(arguments).and_then(|session| session.ask(Session::tls_peer));
    vec![peer.map(tls::peer).into()]
}

fn body(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let most = argument(arguments, 1).size();
    let Some(body) = session(arguments).and_then(|session| session.with(|inner| inner.session.body()).ok())
    else {
        return vec!["".into(), true.into()];
    };
    let (mut bytes, complete) = (body.bytes, body.complete);
    let complete = complete || bytes.len() >= most;
    bytes.truncate(most);
    vec![bytes.into(), complete.into()]
}

fn close_state(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    fn shown(frame: Option<&CloseFrame>) -> [Value; 2] {
        let Some(frame) = frame else { return [Value::Nil, Value::Nil] };
        let code = frame.code().map_or(Value::Boolean(false), |code| code.get().into());
        [code, frame.reason().into()]
    }
    let values = session(arguments).and_then(|session| {
        let state = |inner: &mut Inner| {
            let state = inner.session.close_state();
            [shown(state.sent), shown(state.received)].concat()
        };
        session.with(state).ok()
    });
    values.unwrap_or_default()
}

deed!(forget, |session, arguments| session.open(Connection::forget_message));
deed!(reset, |session, arguments| session.open(Connection::reset));
deed!(set_trace, |session, arguments| {
    let on = argument(arguments, 1).boolean() == Some(true);
    session.open(|connection| connection.set_trace(on))
});

fn trace(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let taken = session(arguments).and_then(|session| {
        session.with(|inner| inner.session.connection_mut().map(Connection::take_trace)).ok().flatten()
    });
    let (received, sent) = taken.unwrap_or_default();
    let received = received.iter().map(|header| format!("received {header}"));
    let lines: Table = received.chain(sent.iter().map(|header| format!("sent {header}"))).collect();
    vec![lines.into()]
}

deed!(announce, |session, arguments| {
    let on = argument(arguments, 1).boolean() == Some(true);
    session.open(|connection| connection.set_announce(on))
});
deed!(stream, |session, arguments| {
    let streams = session.with(|inner| inner.session.connection_mut().map(Connection::stream_message));
    streams.is_ok_and(|streams| streams == Some(true))
});
deed!(limit, |session, arguments| {
    let bytes = argument(arguments, 1).size();
    session.with(|inner| inner.session.set_max_message_size(bytes)).is_ok()
});
deed!(pong, |session, arguments| {
    let payload = argument(arguments, 1).bytes().unwrap_or_default();
    session.done();
    session.queue(|session| session.send_pong(payload)).is_ok()
});
deed!(reply_close, |session, arguments| {
    session.done();
    session.with(|inner| inner.session.reply_close()).is_ok()
});
deed!(shutdown, |session, arguments| session.with(|inner| inner.session.shutdown()).is_ok());

fn close(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let Some(session) = session(arguments) else { return failure("not connected") };
    let (code, reason) =
        (argument(arguments, 1).size() as u16, argument(arguments, 2).bytes().unwrap_or_default());
    let queued = session.queue(|session| {
        let reason = std::str::from_utf8(reason)
            .map_err(|_| SendError::Close("the reason is not valid UTF-8".into()))?;
        let code =
            CloseCode::new(code).ok_or_else(|| SendError::Close(format!("code {code} may not be sent")))?;
        session.send_close(CloseFrame::new(code, reason)?)
    });
    match queued {
        Ok(()) => vec![true.into()],
        Err(why) => failure(why.into_owned()),
    }
}
