//! The functions by which the driver answers the requests that come to a server ("http" in `create.rs`).

use std::ffi::CStr;
use std::rc::Rc;

use super::functions::{argument, headers, session};
use crate::http::Reply as HttpReply;
use crate::lua::value::{Reply, Table, Value, failure};
use crate::lua::{Context, Native};
use crate::protocol::error::InvalidRequest;

pub(in crate::lua) const FUNCTIONS: &[(&CStr, Native)] = &[
    // request_head(session): method, target, headers, an array of the subprotocols that are offered, and whether the
    // client wants the connection to end after the response
    (c"request_head", request_head),
    // take_body(session, most): the event `body` follows, for a request without a body, too. Returns true; or nil, the
    // status with which to refuse the request, and why
    (c"take_body", take_body),
    // upgrade_problem(session): nil if the request asks for a WebSocket; otherwise a status and what is wrong
    (c"upgrade_problem", upgrade_problem),
    // reply(session, status, headers, body, length, keeps_alive): answers the request; headers is an array of {name,
    // value}. Returns true, and whether another request may follow; or nil and which header cannot be sent
    (c"reply", reply),
    // send_body(session, bytes): more of the body
    (c"send_body", send_body),
    // open(session, subprotocol, headers): answers the request with 101. Returns true, or nil and which header cannot
    // be sent
    (c"open", open),
    // end_turn(session): no more events are delivered in this turn
    (c"end_turn", end_turn),
];

fn request_head(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let found = session(arguments).and_then(|session| session.ask(|session| session.http_request().cloned()));
    let Some(request) = found else { return vec![] };
    let text = |element: &[u8]| String::from_utf8_lossy(element).into_owned();
    let subprotocols: Table = request.headers.list("Sec-WebSocket-Protocol").map(text).collect();
    let ends = request.headers.lists("Connection", "close");
    vec![
        request.method.into(),
        request.target.into(),
        headers(&request.headers.0).into(),
        subprotocols.into(),
        ends.into(),
    ]
}

fn problem(error: &InvalidRequest) -> Reply {
    vec![error.status().into(), error.to_string().into()]
}

fn take_body(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let Some(session) = session(arguments) else { return failure("closed") };
    let most = argument(arguments, 1).size();
    session.done();
    session.refresh();
    match session.with(|inner| inner.session.take_body(most)) {
        Ok(Ok(())) => vec![true.into()],
        Ok(Err(error)) => [vec![Value::Nil], problem(&error)].concat(),
        Err(why) => failure(why.into_owned()),
    }
}

fn upgrade_problem(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let found = session(arguments)
        .and_then(|session| session.with(|inner| inner.session.upgrade_problem()).ok().flatten());
    found.map(|error| problem(&error)).unwrap_or_default()
}

fn reply(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let Some(session) = session(arguments) else { return failure("closed") };
    let headers = match argument(arguments, 2).headers() {
        Ok(headers) => headers,
        Err(error) => return failure(error.to_string()),
    };
    let reply = HttpReply {
        status: argument(arguments, 1).size() as u16,
        headers: &headers,
        length: argument(arguments, 4).size() as u64,
        keeps_alive: argument(arguments, 5).boolean() == Some(true),
    };
    let body = argument(arguments, 3).bytes().unwrap_or_default();
    session.done();
    session.refresh();
    match session.with(|inner| inner.session.reply(&reply, body)) {
        Ok(goes_on) => vec![true.into(), goes_on.into()],
        Err(why) => failure(why.into_owned()),
    }
}

fn send_body(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let bytes = argument(arguments, 1).bytes().unwrap_or_default();
    let sent = session(arguments).map(|session| session.with(|inner| inner.session.send_body(bytes)).is_ok());
    vec![sent.into()]
}

fn open(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let Some(session) = session(arguments) else { return failure("closed") };
    let headers = match argument(arguments, 2).headers() {
        Ok(headers) => headers,
        Err(error) => return failure(error.to_string()),
    };
    let subprotocol = argument(arguments, 1).text();
    session.done();
    session.refresh();
    match session.with(|inner| inner.session.accept_with(subprotocol.as_deref(), &headers)) {
        Ok(()) => vec![true.into()],
        Err(why) => failure(why.into_owned()),
    }
}

fn end_turn(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    if let Some(session) = session(arguments) {
        session.end_turn();
    }
    vec![]
}
