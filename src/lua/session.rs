//! A [`Session`] as the Lua driver sees it. Only the driver holds these objects, so the types of
//! their arguments are the driver's care.

use std::io;
use std::rc::Rc;

use mlua::{AnyUserData, IntoLua, Lua, LuaString, Result, Table, UserData, UserDataMethods, Value};

use super::failure;
use super::options::{self, field};
use super::socket::{Shared, Socket};
use crate::net::describe;
use crate::protocol::close::{CloseCode, CloseFrame};
use crate::protocol::connection::{Config, Event as Received};
use crate::protocol::frame::Opcode;
use crate::protocol::handshake::UpgradeRequest;
use crate::session::{Event, Session};
use crate::tls::{Connector, TlsOptions};

struct LuaSession {
    session: Session,
    /// Reads and writes go here without becoming Lua strings.
    socket: Option<Rc<Shared>>,
}

/// `session(parameters)`: a client session with its first bytes queued, or `nil` and why not. The
/// parameters: `host`, `host_header`, `resource`, `headers` (array of `{name, value}`),
/// `subprotocols` (array), `secure`, `tls` (LuaSec's names), `max_payload_size`, `use_masking`,
/// `fragment_size`, `deflate` (a table of all that [`options::deflate`] reads, or nothing).
pub(super) fn create(lua: &Lua, parameters: Table) -> Result<(Value, Value)> {
    let mut headers = Vec::new();
    for pair in parameters.get::<Vec<Vec<LuaString>>>("headers")? {
        if let [name, value] = &pair[..] {
            headers.push((name.to_string_lossy(), value.to_string_lossy()));
        }
    }
    let deflate =
        parameters.get::<Option<Table>>("deflate")?.map(|table| options::deflate(&table)).transpose()?;
    let request = UpgradeRequest {
        deflate: deflate.clone(),
        host: parameters.get("host_header")?,
        resource: parameters.get("resource")?,
        subprotocols: parameters.get::<Option<_>>("subprotocols")?.unwrap_or_default(),
        headers,
    };
    let config = Config {
        max_message_size: field(&parameters, "max_payload_size")?,
        use_masking: parameters.get("use_masking")?,
        fragment_size: field(&parameters, "fragment_size")?,
        deflate,
    };
    let host: String = parameters.get("host")?;
    let connector =
        match parameters.get::<bool>("secure")?.then(|| parameters.get::<Table>("tls")).transpose()? {
            Some(table) => match Connectors::get(lua, &table) {
                Ok(connector) => Some(connector),
                Err(why) => return failure(lua, why),
            },
            None => None,
        };
    let tls = connector.as_ref().map(|connector| (connector, host.as_str()));
    match Session::client(&request, tls, config) {
        Ok(session) => {
            let session = LuaSession { session, socket: None };
            Ok((Value::UserData(lua.create_userdata(session)?), Value::Nil))
        }
        Err(error) => failure(lua, error.to_string()),
    }
}

/// The connectors of a Lua state, most recently made last: a program that reconnects has them made once.
#[derive(Default)]
pub(super) struct Connectors(Vec<(TlsOptions, Connector)>);

impl Connectors {
    /// More sets of options than this are not remembered.
    const MOST: usize = 8;

    fn get(lua: &Lua, table: &Table) -> std::result::Result<Connector, String> {
        let options = options::tls(table)?;
        let Some(mut known) = lua.app_data_mut::<Self>() else {
            return options.connector().map_err(|error| error.to_string());
        };
        if let Some((_, connector)) = known.0.iter().find(|(o, _)| *o == options) {
            return Ok(connector.clone());
        }
        let connector = options.connector().map_err(|error| error.to_string())?;
        if known.0.len() == Self::MOST {
            known.0.remove(0);
        }
        known.0.push((options, connector.clone()));
        Ok(connector)
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
    methods.add_method_mut("attach", |_, this, socket: AnyUserData| {
        this.socket = Some(Rc::clone(&socket.borrow::<Socket>()?.0));
        Ok(())
    });
    // read(max): one read of at most max bytes from the socket. Returns how many bytes of plaintext
    // it brought and whether there may be more at once; or nil and "timeout" (nothing there),
    // "closed", or the error.
    methods.add_method_mut("read", |lua, this, max: usize| {
        let LuaSession { session, socket: Some(socket) } = this else { return failure(lua, "closed") };
        match socket.with(|tcp| session.receive_with(max, |space| tcp.read(space))) {
            Some(Ok(received)) if received.wire > 0 => {
                let more = received.wire == max && !session.is_ended();
                Ok((Value::Integer(received.plain as _), Value::Boolean(more)))
            }
            Some(Ok(_)) | None => {
                session.receive_end();
                failure(lua, "closed")
            }
            Some(Err(error)) => failure(lua, describe(&error)),
        }
    });
    // write(): writes to the socket what it takes. Returns true when nothing is left; or nil and
    // "timeout" (no room), "closed", or the error.
    methods.add_method_mut("write", |lua, this, ()| {
        let LuaSession { session, socket: Some(socket) } = this else { return failure(lua, "closed") };
        while session.outgoing_len() > 0 {
            match socket.with(|tcp| session.send_with(|bytes| tcp.write(bytes))) {
                Some(Ok(count)) if count > 0 => {}
                Some(Err(error)) if error.kind() != io::ErrorKind::WriteZero => {
                    return failure(lua, describe(&error));
                }
                _ => return failure(lua, "closed"),
            }
        }
        Ok((Value::Boolean(true), Value::Nil))
    });
    // receive_data(bytes): takes bytes that came in another way; how much plaintext they became.
    methods.add_method_mut("receive_data", |_, this, bytes: LuaString| {
        Ok(this.session.receive(&bytes.as_bytes()))
    });
    // outgoing(): the number of bytes that wait to be written.
    methods.add_method("outgoing", |_, this, ()| Ok(this.session.outgoing_len()));
    // incoming(): the number of bytes that have come and were not interpreted yet.
    methods.add_method("incoming", |_, this, ()| Ok(this.session.incoming_len()));
    // ended(): whether TLS said that nothing more will come.
    methods.add_method("ended", |_, this, ()| Ok(this.session.is_ended()));
    // secured(): whether TLS, if there is to be any, is agreed upon.
    methods.add_method("secured", |_, this, ()| Ok(this.session.is_secured()));
}

fn add_event_methods<M: UserDataMethods<LuaSession>>(methods: &mut M) {
    // next_event(): nil when more bytes are needed; opcode and data; true when the upgrade is
    // complete; false and a text when the session is over.
    methods.add_method_mut("next_event", |lua, this, ()| {
        let (opcode, data) = match this.session.next_event() {
            Ok(Some(Event::Open(_))) => return Ok((Value::Boolean(true), Value::Nil)),
            // Only a server has requests.
            Ok(None | Some(Event::Request(_))) => return Ok((Value::Nil, Value::Nil)),
            Ok(Some(Event::Received(event))) => match event {
                Received::Message { opcode, data } => (opcode, lua.create_string(data)?),
                Received::Ping(data) => (Opcode::Ping, lua.create_string(data)?),
                Received::Pong(data) => (Opcode::Pong, lua.create_string(data)?),
                Received::Close(frame) => (Opcode::Close, lua.create_string(frame.payload())?),
            },
            Err(error) => {
                return Ok((Value::Boolean(false), error.to_string().into_lua(lua)?));
            }
        };
        Ok((Value::Integer(opcode as _), Value::String(data)))
    });
    // response(): the response that completed the upgrade, or refused it: its subprotocol (or nil), its
    // headers as a table (names in lower case, values of the same name joined by ", "), its status and reason.
    methods.add_method("response", |lua, this, ()| {
        let response = this.session.response();
        let headers = lua.create_table()?;
        for (name, value) in &response.headers.0 {
            let name = name.to_ascii_lowercase();
            let value = match headers.get::<Option<LuaString>>(name.as_str())? {
                Some(before) => [&before.as_bytes(), &b", "[..], value].concat(),
                None => value.clone(),
            };
            headers.set(name, lua.create_string(value)?)?;
        }
        Ok((response.subprotocol(), headers, response.status, response.reason.clone()))
    });
    // body(most): of a refused upgrade: at most so many bytes of the body, and whether that is all that is
    // to come of them.
    methods.add_method("body", |lua, this, most: usize| {
        let body = this.session.body();
        let wanted = this.session.response().content_length().unwrap_or(usize::MAX).min(most);
        let shown = &body[..body.len().min(most)];
        Ok((lua.create_string(shown)?, shown.len() >= wanted))
    });
    // frames(): how many complete frames have come.
    methods.add_method("frames", |_, this, ()| {
        Ok(this
            .session
            .connection()
            .map_or(0, super::super::protocol::connection::Connection::frames_received))
    });
    // close_state(): whether a close frame was sent, whether one came, the code that came (1005: there
    // was none in the frame; 1006: no frame) and its reason.
    methods.add_method("close_state", |_, this, ()| {
        let Some(connection) = this.session.connection() else {
            return Ok((false, false, CloseCode::ABNORMAL.0, String::new()));
        };
        let (code, reason) = match connection.close_received() {
            Some(frame) => (frame.code.unwrap_or(CloseCode::NO_STATUS), frame.reason.clone()),
            None => (CloseCode::ABNORMAL, String::new()),
        };
        Ok((connection.close_sent().is_some(), connection.close_received().is_some(), code.0, reason))
    });
    // reset(): forgets a partly received message.
    methods.add_method_mut("reset", |_, this, ()| {
        this.session.reset();
        Ok(())
    });
    // limit(bytes): the most bytes of a message.
    methods.add_method_mut("limit", |_, this, bytes: f64| {
        this.session.set_max_message_size(bytes as usize);
        Ok(())
    });
}

fn add_send_methods<M: UserDataMethods<LuaSession>>(methods: &mut M) {
    // send(opcode, data, fin): queues a frame or message: true; or nil and why nothing was queued.
    methods.add_method_mut("send", |lua, this, (number, data, fin): (i64, LuaString, bool)| {
        let Some(opcode) = Opcode::from_number(number) else {
            return failure(lua, crate::protocol::error::SendError::Opcode(number).to_string());
        };
        queued(lua, this.session.send(opcode, &data.as_bytes(), fin))
    });
    // pong(data): queues the answer to a ping.
    methods.add_method_mut("pong", |lua, this, data: LuaString| {
        queued(lua, this.session.send_pong(&data.as_bytes()))
    });
    // close(code, reason): queues a close frame: true; or nil and why not.
    methods.add_method_mut("close", |lua, this, (code, reason): (u16, LuaString)| {
        let Ok(reason) = reason.to_str() else {
            return failure(lua, "invalid close frame: the reason is not valid UTF-8");
        };
        let frame = CloseFrame::new(CloseCode(code), &reason);
        queued(lua, frame.and_then(|frame| this.session.send_close(frame)))
    });
    // reply_close(): queues the answer to the peer's close frame.
    methods.add_method_mut("reply_close", |_, this, ()| {
        this.session.reply_close();
        Ok(())
    });
    // shutdown(): queues the end of TLS.
    methods.add_method_mut("shutdown", |_, this, ()| {
        this.session.shutdown();
        Ok(())
    });
}

fn queued<E: ToString>(lua: &Lua, result: std::result::Result<(), E>) -> Result<(Value, Value)> {
    match result {
        Ok(()) => Ok((Value::Boolean(true), Value::Nil)),
        Err(error) => failure(lua, error.to_string()),
    }
}
