//! Reads the options of compression from a Lua table that the driver has checked and completed.

use super::value::{Table, Value};
use crate::protocol::deflate;

/// The options of permessage-deflate.
pub(super) fn deflate(table: &Table) -> deflate::Options {
    let on = |name| table.get(name).boolean() == Some(true);
    let bits = |name| table.get(name).number().map(|bits| bits as u8);
    deflate::Options {
        server_no_context_takeover: on("server_no_context_takeover"),
        client_no_context_takeover: on("client_no_context_takeover"),
        server_max_window_bits: bits("server_max_window_bits"),
        client_max_window_bits: bits("client_max_window_bits"),
        level: table.get("level").size() as u32,
        threshold: table.get("threshold").size(),
    }
}

/// Whether Lua takes the value for true.
pub(super) fn is_true(value: &Value) -> bool {
    !matches!(value, Value::Nil | Value::Boolean(false))
}
