//! Relays as Lua sees them: what carries bytes between a WebSocket and the peer of a bridge.

use std::ffi::CStr;
use std::rc::Rc;

use super::value::{Reply, Value};
use super::{Context, Native};
use crate::relay::Rule;

pub(super) const FUNCTIONS: &[(&CStr, Native)] = &[
    // check_framing(name, config): nil, or what is wrong with a framing
    (c"check_framing", check_framing),
];

fn check_framing(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let name = arguments.first().and_then(Value::text).unwrap_or_default();
    let config = arguments.get(1).and_then(Value::bytes);
    vec![Rule::parse(&name, config).err().into()]
}
