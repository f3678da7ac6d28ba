//! Reads the options of compression and of SockProxy from Lua tables that the driver has checked and completed.

use super::value::{Table, Value};
use crate::protocol::deflate;
use crate::proxy::sockproxy;

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

/// What to ask of SockProxy.
pub(super) fn sockproxy(table: &Table) -> sockproxy::Options {
    let text = |name| table.get(name).text().map(std::borrow::Cow::into_owned);
    let notify = text("device").map(|device| sockproxy::Notify {
        device,
        service: text("service").unwrap_or_default(),
        action: text("action").unwrap_or_default(),
        pid: text("pid"),
    });
    let number = |name| table.get(name).number().unwrap_or(0.0);
    sockproxy::Options {
        host: text("target_host").unwrap_or_default(),
        port: number("target_port") as u16,
        notify,
        rtim: number("rtim") as u64,
        pace: number("pace") as u64,
    }
}

/// Whether Lua takes the value for true.
pub(super) fn is_true(value: &Value) -> bool {
    !matches!(value, Value::Nil | Value::Boolean(false))
}
