//! A [`Session`] as the Lua driver sees it. Only the driver holds these objects, so the types of
//! their arguments are the driver's care.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use mlua::{AnyUserData, Either, Lua, LuaString, Result as LuaResult, UserData, UserDataMethods, Value};

use super::socket::{Shared, Socket};
use super::tls;
use crate::http::Body;
use crate::net::describe;
use crate::protocol::close::CloseFrame;
use crate::protocol::close_code::CloseCode;
use crate::protocol::connection::{Connection, Event as Received};
use crate::protocol::error::SendError;
use crate::protocol::frame::Opcode;
use crate::protocol::handshake;
use crate::session::{Event, Hop, Kind, Session};

mod create;

pub(super) use create::create;

/// A collector's step may run while a result is made for Lua, and with it a user's finaliser, which may call
/// anything: so the session is borrowed here and not by mlua, and being busy is an answer and not an error.
struct LuaSession(RefCell<Option<Inner>>);

struct Inner {
    session: Session,
    /// Reads and writes go here without becoming Lua strings.
    socket: Option<Rc<Shared>>,
}

/// Why a method of a session did nothing.
type Reason = Cow<'static, str>;

impl LuaSession {
    /// Runs `operation` on the session, if it has not been freed and nothing else is running on it.
    fn with<R>(&self, operation: impl FnOnce(&mut Inner) -> R) -> Result<R, Reason> {
        let mut inner = self.0.try_borrow_mut().map_err(|_| "busy")?;
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
}

impl UserData for LuaSession {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        add_wire_methods(methods);
        add_event_methods(methods);
        add_send_methods(methods);
    }
}

fn add_wire_methods<M: UserDataMethods<LuaSession>>(methods: &mut M) {
    // attach(socket): read and write will use this native socket.
    methods.add_method("attach", |_, this, socket: AnyUserData| {
        let shared = Rc::clone(&socket.borrow::<Socket>()?.0);
        Ok(this.with(|inner| inner.socket = Some(shared)).is_ok())
    });
    // free(): gives back all memory; every other method then says that the session is closed.
    methods.add_method("free", |_, this, ()| {
        let freed = this.0.try_borrow_mut().ok().and_then(|mut inner| inner.take());
        Ok(freed.is_some())
    });
    // read(max): one read of at most max bytes from the socket. Returns how many bytes of plaintext it brought and
    // whether there may be more at once; or nil (nothing there), and "closed" or the error if there never will be.
    methods.add_method("read", |_, this, max: usize| {
        Ok(match this.with(|inner| inner.read(max)).and_then(|result| result) {
            Ok((count, more)) => (Some(count), Either::Left(more)),
            // Polling makes no strings; and "busy" is the answer to a finaliser in the midst of another call.
            Err(why) if why == "timeout" || why == "busy" => (None, Either::Right(None)),
            Err(why) => (None, Either::Right(Some(why))),
        })
    });
    // write(): writes to the socket what it takes. Returns true when nothing is left; or nil and
    // "timeout" (no room), "closed", or the error.
    methods.add_method("write", |_, this, ()| Ok(this.with(Inner::write).and_then(|result| result)));
    // receive_data(bytes): takes bytes of the wire that came in another way; how much plaintext they became.
    methods.add_method("receive_data", |_, this, bytes: LuaString| {
        Ok(this.with(|inner| inner.session.receive(&bytes.as_bytes())).unwrap_or(0))
    });
    // receive_plain(bytes): takes bytes that are plaintext, whatever the wire carries.
    methods.add_method("receive_plain", |_, this, bytes: LuaString| {
        Ok(this.with(|inner| inner.session.receive_plain(&bytes.as_bytes())).is_ok())
    });
    // receive_end(): no more bytes will come in that other way.
    methods
        .add_method("receive_end", |_, this, ()| Ok(this.with(|inner| inner.session.receive_end()).is_ok()));
    // peek(max): at most so many of the bytes that can be written now; sent(count): so many of them were.
    methods.add_method("peek", |lua, this, max: usize| {
        let mut bytes = Vec::new();
        // To take none of them is how to look at them.
        let _ = this.with(|inner| {
            inner.session.send_with(|outgoing| {
                bytes = outgoing[..outgoing.len().min(max)].to_vec();
                Ok::<_, ()>(0)
            })
        });
        lua.create_string(bytes)
    });
    methods.add_method("sent", |_, this, count: usize| {
        let take = |outgoing: &[u8]| Ok::<_, ()>(count.min(outgoing.len()));
        Ok(this.with(|inner| inner.session.send_with(take)).is_ok())
    });
    // outgoing(): the number of bytes that wait to be written; sendable(): how many of them could be written now.
    methods.add_method("outgoing", |_, this, ()| Ok(this.ask(Session::outgoing_len)));
    methods.add_method("sendable", |_, this, ()| Ok(this.ask(Session::sendable_len)));
    // incoming(): the number of bytes that have come and were not interpreted yet.
    methods.add_method("incoming", |_, this, ()| Ok(this.ask(Session::incoming_len)));
    // ended(): whether TLS said that nothing more will come.
    methods.add_method("ended", |_, this, ()| Ok(this.ask(|session| session.status().ended)));
    // holds_more(): whether bytes that were read wait inside TLS.
    methods.add_method("holds_more", |_, this, ()| Ok(this.ask(Session::holds_more)));
    // routed(), secured(): whether the proxy, and TLS, if there is to be any, are agreed upon; pid(): what
    // SockProxy calls the connection.
    methods.add_method("routed", |_, this, ()| Ok(this.ask(|session| session.hop() != Hop::Proxy)));
    methods.add_method("secured", |_, this, ()| {
        Ok(this.ask(|session| !matches!(session.hop(), Hop::Proxy | Hop::Tls)))
    });
    methods
        .add_method("pid", |_, this, ()| Ok(this.ask(|session| session.proxy_detail().map(str::to_owned))));
}

impl Inner {
    fn read(&mut self, max: usize) -> Result<(usize, bool), Reason> {
        let Self { session, socket: Some(socket) } = self else { return Err("closed".into()) };
        match socket.with(|tcp| session.receive_with(max, |space| tcp.read(space))) {
            Some(Ok(received)) if !received.is_end() => {
                Ok((received.plain, received.more && !session.status().ended))
            }
            Some(Ok(_)) | None => {
                session.receive_end();
                Err("closed".into())
            }
            Some(Err(error)) => Err(describe(&error).into()),
        }
    }

    fn write(&mut self) -> Result<bool, Reason> {
        let Self { session, socket: Some(socket) } = self else { return Err("closed".into()) };
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
        if session.outgoing_len() > 0 { Err("timeout".into()) } else { Ok(true) }
    }
}

/// The data of an event, which must not be lost because of somebody else's finaliser: its error, for which there is no
/// better place, ends here, and it runs only once.
fn string(lua: &Lua, data: &[u8]) -> LuaResult<LuaString> {
    /// More finalisers than this do not fail in a row.
    const TRIES: usize = 100;
    (0..TRIES).find_map(|_| lua.create_string(data).ok()).map_or_else(|| lua.create_string(data), Ok)
}

fn add_event_methods<M: UserDataMethods<LuaSession>>(methods: &mut M) {
    // next_event(): nil when more bytes are needed; opcode and data; true when the upgrade is complete; false, a
    // text, and whether it is of TLS, when the session is over; "begin" and an opcode where messages are announced;
    // "piece" or "last" and data of a message that is streamed.
    methods.add_method("next_event", |lua, this, ()| {
        let event = this.with(|inner| match inner.session.next_event() {
            // Only a server has requests.
            Ok(None | Some(Event::Request(_))) => Ok((Value::Nil, Value::Nil, false)),
            Ok(Some(Event::Open(_))) => Ok((Value::Boolean(true), Value::Nil, false)),
            Ok(Some(Event::Received(event))) => {
                let (opcode, data) = match event {
                    Received::Begin(opcode) => {
                        return Ok((
                            Value::String(string(lua, b"begin")?),
                            Value::Integer(opcode as _),
                            false,
                        ));
                    }
                    Received::Piece { data, last } => {
                        let kind = string(lua, if last { b"last" } else { b"piece" })?;
                        return Ok((Value::String(kind), Value::String(string(lua, data)?), false));
                    }
                    Received::Message { opcode, data } => (opcode, string(lua, data)?),
                    Received::Ping(data) => (Opcode::Ping, string(lua, data)?),
                    Received::Pong(data) => (Opcode::Pong, string(lua, data)?),
                    Received::Close(frame) => (Opcode::Close, string(lua, &frame.payload())?),
                };
                Ok((Value::Integer(opcode as _), Value::String(data), false))
            }
            Err(error) => {
                let of_tls = error.kind == Kind::Tls;
                Ok((Value::Boolean(false), Value::String(string(lua, error.to_string().as_bytes())?), of_tls))
            }
        });
        event.unwrap_or(Ok((Value::Nil, Value::Nil, false)))
    });
    // response(): the response that completed the upgrade, or refused it: its subprotocol (or nil), its
    // headers as a table (names in lower case, values of the same name joined by ", "), its status and reason.
    methods.add_method("response", |lua, this, ()| {
        let response = this.ask(|session| session.response().cloned()).unwrap_or_default();
        let headers = lua.create_table()?;
        for (name, value) in &response.headers.0 {
            let name = name.to_ascii_lowercase();
            let value = match headers.get::<Option<LuaString>>(name.as_str())? {
                Some(before) => [&before.as_bytes(), &b", "[..], value].concat(),
                None => value.clone(),
            };
            headers.set(name, lua.create_string(value)?)?;
        }
        Ok((handshake::subprotocol(&response), headers, response.status, response.reason))
    });
    // tls_error(): why TLS has failed, as long as next_event has not told; else nil.
    methods.add_method("tls_error", |_, this, ()| {
        Ok(this.ask(|session| {
            session.failure().filter(|failure| failure.kind == Kind::Tls).map(ToString::to_string)
        }))
    });
    // peer(): what TLS knows of the peer, for conn.tls; nil without TLS.
    methods.add_method("peer", |lua, this, ()| {
        this.ask(Session::tls_peer).map(|peer| tls::peer(lua, peer)).transpose()
    });
    // body(most): of a refused upgrade: at most so many bytes of the body, and whether that is all that is
    // to come of them.
    methods.add_method("body", |lua, this, most: usize| {
        let Body { mut bytes, complete } = this.ask(Session::body);
        let complete = complete || bytes.len() >= most;
        bytes.truncate(most);
        Ok((lua.create_string(&bytes)?, complete))
    });
    // frames(): how many complete frames have come.
    methods.add_method("frames", |_, this, ()| {
        Ok(this.ask(|session| session.connection().map_or(0, Connection::frames_received)))
    });
    // close_state(): whether a close frame was sent, whether one came, the code that came (1005: there
    // was none in the frame; 1006: no frame) and its reason.
    methods.add_method("close_state", |_, this, ()| {
        let state = this.ask(|session| {
            let state = session.close_state();
            let received = state.received;
            let code =
                received.map(|frame| frame.code().map_or(CloseCode::NO_STATUS_RECEIVED, CloseCode::get));
            let reason = received.map(|frame| frame.reason().to_owned()).unwrap_or_default();
            Some((state.sent.is_some(), code, reason))
        });
        let (sent, code, reason) = state.unwrap_or_default();
        Ok((sent, code.is_some(), code.unwrap_or(CloseCode::ABNORMAL_CLOSURE), reason))
    });
    // forget(): forgets a partly received message, though not what still comes of it. reset(): forgets that, too.
    methods.add_method("forget", |_, this, ()| Ok(this.open(Connection::forget_message)));
    methods.add_method("reset", |_, this, ()| Ok(this.open(Connection::reset)));
    // set_trace(on), trace(): lines for a log, one for each frame since the last call.
    methods.add_method("set_trace", |_, this, on: bool| Ok(this.open(|connection| connection.set_trace(on))));
    methods.add_method("trace", |_, this, ()| {
        let taken = this.with(|inner| inner.session.connection_mut().map(Connection::take_trace));
        let (received, sent) = taken.ok().flatten().unwrap_or_default();
        let received = received.iter().map(|header| format!("received {header}"));
        Ok(received.chain(sent.iter().map(|header| format!("sent {header}"))).collect::<Vec<_>>())
    });
    // announce(on): whether messages are announced; stream(): the one that was just announced comes in pieces; whether
    // there was one.
    methods
        .add_method("announce", |_, this, on: bool| Ok(this.open(|connection| connection.set_announce(on))));
    methods.add_method("stream", |_, this, ()| {
        let streams = this.with(|inner| inner.session.connection_mut().map(Connection::stream_message));
        Ok(streams.is_ok_and(|streams| streams == Some(true)))
    });
    // limit(bytes): the most bytes of a message.
    methods.add_method("limit", |_, this, bytes: f64| {
        Ok(this.with(|inner| inner.session.set_max_message_size(bytes as usize)).is_ok())
    });
}

fn add_send_methods<M: UserDataMethods<LuaSession>>(methods: &mut M) {
    // send(opcode, data, fin): queues a frame or message: true; or nil and why nothing was queued.
    methods.add_method("send", |_, this, (number, data, fin): (i64, LuaString, bool)| {
        Ok(this.queue(|session| {
            match u8::try_from(number).ok().and_then(|number| Opcode::try_from(number).ok()) {
                Some(opcode) => session.send(opcode, &data.as_bytes(), fin),
                None => Err(SendError::Opcode(number)),
            }
        }))
    });
    // pong(data): queues the answer to a ping.
    methods.add_method("pong", |_, this, data: LuaString| {
        Ok(this.queue(|session| session.send_pong(&data.as_bytes())))
    });
    // close(code, reason): queues a close frame: true; or nil and why not.
    methods.add_method("close", |_, this, (code, reason): (u16, LuaString)| {
        Ok(this.queue(|session| match reason.to_str() {
            Ok(reason) => {
                let frame = CloseFrame::new(CloseCode::try_from(code)?, &reason)?;
                session.send_close(frame)
            }
            Err(_) => Err(SendError::Close("the reason is not valid UTF-8".into())),
        }))
    });
    // reply_close(): queues the answer to the peer's close frame.
    methods
        .add_method("reply_close", |_, this, ()| Ok(this.with(|inner| inner.session.reply_close()).is_ok()));
    // shutdown(): queues the end of TLS.
    methods.add_method("shutdown", |_, this, ()| Ok(this.with(|inner| inner.session.shutdown()).is_ok()));
}

impl LuaSession {
    fn queue(&self, operation: impl FnOnce(&mut Session) -> Result<(), SendError>) -> Result<bool, Reason> {
        match self.with(|inner| operation(&mut inner.session))? {
            Ok(()) => Ok(true),
            Err(error) => Err(error.to_string().into()),
        }
    }
}
