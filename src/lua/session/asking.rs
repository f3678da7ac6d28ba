//! The functions by which the driver makes further requests on a connection ("ask" in `create.rs`).

use std::ffi::CStr;
use std::rc::Rc;

use super::create::asked;
use super::functions::{argument, session};
use crate::lua::value::{Reply, Table, Value};
use crate::lua::{Context, Native};
use crate::session::Session;

pub(in crate::lua) const FUNCTIONS: &[(&CStr, Native)] = &[
    // can_ask(session): whether the response to the last request allows another one on this connection
    (c"can_ask", can_ask),
    // ask(session, parameters): makes another request, with the parameters of `create.rs`. Returns whether it could
    (c"ask", ask),
];

fn can_ask(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    vec![session(arguments).is_some_and(|session| session.ask(Session::can_ask)).into()]
}

fn ask(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let empty = Table::default();
    let parameters = argument(arguments, 1).table().unwrap_or(&empty);
    let Some(session) = session(arguments) else { return vec![false.into()] };
    // Parameters that cannot be sent are told where a new connection is made for them.
    let Ok((request, body, most)) = asked(parameters) else { return vec![false.into()] };
    session.refresh();
    let is_asked = session.with(|inner| inner.session.ask(&request, body, most));
    vec![is_asked.unwrap_or_default().into()]
}
