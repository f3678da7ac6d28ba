//! The functions that the Lua driver calls with a session, except those of `raw`. Each takes its arguments from
//! a slice of values. A finaliser that asks something of a session at work gets the same answer as if there were no
//! session.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::rc::Rc;

use super::events::{BEGIN, BODY, ENOUGH, FAILURE, INTERRUPTED, LAST, OPEN, PIECE, REQUEST, WORKING};
use super::{Inner, LuaSession, create};
use crate::lua::value::{Handle, Reply, Table, Value, failure};
use crate::lua::{Context, Native, proxy, tls};
use crate::memory;
use crate::protocol::close::CloseFrame;
use crate::protocol::close_code::CloseCode;
use crate::protocol::connection::Connection;
use crate::protocol::error::SendError;
use crate::protocol::frame::Opcode;
use crate::protocol::handshake;
use crate::session::{Liveness, Session};

const SET_COOKIE: &str = "set-cookie";

/// An allocation of this size, in bytes, is small: there is always memory for it.
const FEW: usize = 4096;

/// The session that is the first argument.
pub(super) fn session(arguments: &[Value]) -> Option<&Rc<LuaSession>> {
    match arguments.first() {
        Some(Value::Handle(Handle::Session(session))) => Some(session),
        _ => None,
    }
}

/// The argument at this index, counted from 0.
pub(super) fn argument(arguments: &[Value], index: usize) -> &Value {
    arguments.get(index).unwrap_or(&Value::Nil)
}

/// A function that does something with a session and returns whether it could, or a value.
macro_rules! deed {
    ($name:ident, |$session:ident, $arguments:ident| $deed:expr) => {
        fn $name(_: &Rc<Context>, $arguments: &[Value]) -> Reply {
            let Some($session) = session($arguments) else { return vec![false.into()] };
            vec![$deed.into()]
        }
    };
}

/// The functions by name, except those that are called for each message (`raw/hot.rs`, `raw/delivery.rs`) or take what
/// was received (`raw/input.rs`).
pub(in crate::lua) const FUNCTIONS: &[(&CStr, Native)] = &[
    // session(parameters): a session and its number; or nil, the error, and the hop that cannot even begin (create.rs)
    (c"session", create::create),
    (c"event_numbers", event_numbers),
    // attach(session, socket): read and write will use this native socket; nil for none
    (c"attach", attach),
    // free(session): frees all memory
    (c"free", free),
    // take_back(session): returns unneeded storage to the pool
    (c"take_back", take_back),
    // retire(session): nothing more is delivered to the user: `next` finds nothing from now on
    (c"retire", retire),
    // discard(session): discards a batch of events; returns whether the peer's close frame or a failure was among them,
    // and whether there may be more
    (c"discard", discard),
    // receive_end(session): the wire will deliver no more bytes
    (c"receive_end", receive_end),
    // peek(session, max): up to `max` of the bytes that can be written now
    (c"peek", peek),
    // sent(session, count): `count` of those bytes were written
    (c"sent", sent),
    // has_room(session, size): whether a message or a fragment with this much data may be queued (max_buffered)
    (c"has_room", has_room),
    // taken(session): how many bytes the wire has taken since the beginning
    (c"taken", taken),
    // unsent(session): the bytes of data of the messages whose last byte the wire has not taken yet
    (c"unsent", unsent),
    // status(session): the first incomplete hop ("proxy", "tls", "upgrade", or "frames" if all are complete); whether
    // the peer has ended TLS; whether the session has failed
    (c"status", status),
    // failed(session): why the session has failed, so that nothing can be sent; or nil
    (c"failed", failed),
    // holds_more(session): whether bytes that were read wait inside TLS
    (c"holds_more", holds_more),
    // was_interrupted(session): whether an event was handed over and never delivered
    (c"was_interrupted", was_interrupted),
    // hand_over(session): counts something that the driver has for a handler as an event that was handed over
    (c"hand_over", hand_over),
    // is_delivering(session): whether one of its handlers is being called
    (c"is_delivering", is_delivering),
    // send_once(session, number, opcode, data): queues a message, unless one with this number, or a later one, was
    // queued by this function before; so whoever is interrupted can repeat it. Returns true; or nil and why it was not
    // queued
    (c"send_once", send_once),
    // failure(session): details of the failure event: the hop, the kind, the code of our close frame, the status of our
    // response
    (c"failure", failure_of),
    // response(session): client only: subprotocol, headers, status, reason
    (c"response", response),
    // request(session): server only: resource, headers, subprotocols
    (c"request", request),
    // accept(session, subprotocol): accepts the upgrade
    (c"accept", accept),
    // refuse(session, status, message): refuses the upgrade
    (c"refuse", refuse),
    // proxy_detail(session): the proxy's identifier of the connection
    (c"proxy_detail", proxy_detail),
    // proxy_retry(session): what the proxy is to be asked at once over another connection, as the parameters
    // `authorization` and `tried` of a session's proxy; nothing if it is not
    (c"proxy_retry", proxy_retry),
    // peer(session): information about the TLS peer, for conn.tls
    (c"peer", peer),
    // body(session, most): up to `most` bytes of the body of a refused upgrade, and whether it is complete
    (c"body", body),
    // close_state(session): the close frames as four values: code and reason of the sent one, then of the received one.
    // The code is false for a frame without one, nil for no frame
    (c"close_state", close_state),
    // forget(session): forgets a partly received message; reset(session): the same, and the next byte begins a frame
    (c"forget", forget),
    (c"reset", reset),
    // set_trace(session, on), trace(session): an array of lines, one for each frame since the last call
    (c"set_trace", set_trace),
    (c"trace", trace),
    // announce(session, on): whether messages are announced; stream(session): the announced message is returned in
    // pieces
    (c"announce", announce),
    (c"stream", stream),
    // limit(session, bytes): the maximum size of a message
    (c"limit", limit),
    // set_compression(session, on): whether messages are compressed from now on, if that was agreed on; returns whether
    // the connection is open
    (c"set_compression", set_compression),
    // pong(session, data), reply_close(session): answer a control frame, which is then done
    (c"pong", pong),
    (c"reply_close", reply_close),
    // set_keepalive(session, interval, timeout): pings after so many seconds of silence, and gives up after so many
    // more
    (c"set_keepalive", set_keepalive),
    // keep_alive(session, now): true if a ping was queued; false if the peer is gone; nil if nothing was to be done
    (c"keep_alive", keep_alive),
    // keepalive_answer(session, pong): whether it answers such a ping, and its latency in seconds, if that is known
    (c"keepalive_answer", keepalive_answer),
    // close(session, code, reason): queues a close frame; returns true, or nil and the error
    (c"close", close),
    // shutdown(session): queues TLS's close_notify
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

deed!(free, |session, arguments| session.free());

deed!(take_back, |session, arguments| session.take_back());

deed!(retire, |session, arguments| {
    session.retire();
    true
});

fn discard(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let (answered, more) = session(arguments).map(|session| session.discard()).unwrap_or_default();
    vec![answered.into(), more.into()]
}

deed!(receive_end, |session, arguments| session.with(|inner| inner.session.receive_end()).is_ok());

fn peek(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let max = argument(arguments, 1).size();
    let mut bytes = Vec::new();
    if let Some(session) = session(arguments) {
        session.unwritten.set(false);
        let _ = session.with(|inner| {
            inner.session.send_with(|outgoing| {
                let some = &outgoing[..outgoing.len().min(max)];
                // Where there is memory for few bytes only, the others follow.
                bytes = memory::copy(some).unwrap_or_else(|_| some[..some.len().min(FEW)].to_vec());
                Ok::<_, ()>(0)
            })
        });
    }
    vec![bytes.into()]
}

deed!(sent, |session, arguments| { session.sent(argument(arguments, 1).size()) });

deed!(has_room, |session, arguments| { session.has_room(argument(arguments, 1).size()) });

fn taken(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let taken = session(arguments).map_or(0, |session| session.ask(Session::sent_len));
    vec![(taken as f64).into()]
}

fn unsent(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let unsent = session(arguments).map_or(0, |session| session.ask(Session::unsent_len));
    vec![unsent.into()]
}

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

deed!(hand_over, |session, arguments| {
    session.break_off();
    true
});

deed!(is_delivering, |session, arguments| session.is_delivering());

fn send_once(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let Some(session) = session(arguments) else { return failure("not connected") };
    let [number, opcode] = [1, 2].map(|index| argument(arguments, index).size());
    let data = argument(arguments, 3).bytes().unwrap_or_default();
    match session.send_once(number, opcode as u8, data) {
        Ok(()) => vec![true.into()],
        Err(why) => failure(why.into_owned()),
    }
}

fn failure_of(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let failure =
        session(arguments).and_then(|session| session.with(|inner| inner.failure.clone()).ok().flatten());
    let Some(failure) = failure else { return vec![] };
    let code = failure.close_code.map(CloseCode::get);
    vec![failure.hop.as_str().into(), failure.kind.as_str().into(), code.into(), failure.status.into()]
}

/// Headers as a table: names in lower case, values of repeated names joined by ", " (those of Cookie by "; ", RFC 9113
/// section 8.2.3). The values of Set-Cookie, in which commas mean other things (RFC 9110 section 5.3), are an array.
/// Without memory for all of them it is empty.
pub(super) fn headers(headers: &[(String, Vec<u8>)]) -> Table {
    // A head has room for thousands of names.
    let mut joined: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let (mut table, mut cookies) = (Table::default(), Vec::new());
    if memory::reserve(&mut table.0, headers.len() + 1).is_err() {
        return table;
    }
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        if name == SET_COOKIE {
            cookies.push(value.clone());
            continue;
        }
        let separator: &[u8] = if name == "cookie" { b"; " } else { b", " };
        joined
            .entry(name)
            .and_modify(|before| before.extend_from_slice(&[separator, value.as_slice()].concat()))
            .or_insert_with(|| value.clone());
    }
    for (name, value) in joined {
        table.set(&name, value);
    }
    if !cookies.is_empty() {
        table.set(SET_COOKIE, cookies.into_iter().collect::<Table>());
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
    session.fresh.set(true);
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

fn proxy_retry(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let retry = session(arguments).and_then(|session| session.ask(|session| session.proxy_retry().cloned()));
    proxy::retried(retry.as_ref())
}

fn peer(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let peer = session(arguments).and_then(|session| session.ask(Session::tls_peer));
    vec![peer.map(tls::peer).into()]
}

fn body(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let most = argument(arguments, 1).size();
    let Some(body) =
        session(arguments).and_then(|session| session.with(|inner| inner.session.body(most)).ok())
    else {
        return vec!["".into(), true.into()];
    };
    let complete = body.complete || body.bytes.len() >= most;
    vec![body.bytes.into(), complete.into()]
}

fn close_state(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    fn shown(frame: Option<&CloseFrame>) -> [Value; 2] {
        let Some(frame) = frame else { return [Value::Nil, Value::Nil] };
        let code = frame.code().map_or(Value::Boolean(false), |code| code.get().into());
        [code, frame.reason().to_vec().into()]
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
deed!(set_compression, |session, arguments| {
    let on = argument(arguments, 1).boolean() == Some(true);
    session.open(|connection| connection.set_compression(on))
});
deed!(reply_close, |session, arguments| {
    session.done();
    session.with(|inner| inner.session.reply_close()).is_ok()
});
deed!(shutdown, |session, arguments| session.with(|inner| inner.session.shutdown()).is_ok());

/// A number of seconds.
fn seconds(arguments: &[Value], index: usize) -> f64 {
    argument(arguments, index).number().unwrap_or_default()
}

deed!(set_keepalive, |session, arguments| {
    session.set_keepalive(seconds(arguments, 1), seconds(arguments, 2))
});

fn keep_alive(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    match session(arguments).map(|session| session.keep_alive(seconds(arguments, 1))) {
        None | Some(Liveness::Waiting) => vec![],
        Some(Liveness::Asked) => vec![true.into()],
        Some(Liveness::Dead) => vec![false.into()],
    }
}

fn keepalive_answer(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let pong = argument(arguments, 1).bytes().unwrap_or_default();
    let answer = session(arguments)
        .and_then(|session| session.with(|inner| inner.session.keepalive_answer(pong, session.heard())).ok());
    let (is_answer, latency) = answer.unwrap_or_default();
    vec![is_answer.into(), latency.into()]
}

fn close(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let Some(session) = session(arguments) else { return failure("not connected") };
    let (code, reason) =
        (argument(arguments, 1).size() as u16, argument(arguments, 2).bytes().unwrap_or_default());
    let queued = session.queue(|session| {
        let validates = session.connection().is_none_or(Connection::validates_utf8);
        if validates && std::str::from_utf8(reason).is_err() {
            return Err(SendError::Close("the reason is not valid UTF-8".into()));
        }
        let code =
            CloseCode::new(code).ok_or_else(|| SendError::Close(format!("code {code} may not be sent")))?;
        session.send_close(CloseFrame::new(code, reason)?)
    });
    match queued {
        Ok(()) => vec![true.into()],
        Err(why) => failure(why.into_owned()),
    }
}

/// `event_numbers()`: the opcodes and the other events, by name.
fn event_numbers(_: &Rc<Context>, _: &[Value]) -> Reply {
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
        ("body", BODY),
        ("interrupted", INTERRUPTED),
        ("enough", ENOUGH),
    ] {
        table.set(name, usize::from(number));
    }
    vec![table.into()]
}
