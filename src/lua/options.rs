//! Options from Lua tables that the driver has checked and completed: those of compression and of SockProxy.

use crate::protocol::deflate;
use crate::proxy::sockproxy;
use mlua::{Result as LuaResult, Table};

/// A size in bytes that Lua may hold as a float (`math.huge` is as much as there is).
pub(super) fn field(table: &Table, name: &str) -> LuaResult<usize> {
    // Rust's conversion saturates, and makes 0 of what is negative or not a number.
    Ok(table.get::<f64>(name)? as usize)
}

/// The options of permessage-deflate from a table that the driver has checked and completed.
pub(super) fn deflate(table: &Table) -> LuaResult<deflate::Options> {
    Ok(deflate::Options {
        server_no_context_takeover: table.get("server_no_context_takeover")?,
        client_no_context_takeover: table.get("client_no_context_takeover")?,
        server_max_window_bits: table.get("server_max_window_bits")?,
        client_max_window_bits: table.get("client_max_window_bits")?,
        level: table.get("level")?,
        threshold: field(table, "threshold")?,
    })
}

/// What is asked of SockProxy, from a table that the driver has checked and completed.
pub(super) fn sockproxy(table: &Table) -> LuaResult<sockproxy::Options> {
    let device = table.get::<Option<String>>("device")?;
    let notify = match device {
        Some(device) => Some(sockproxy::Notify {
            device,
            service: table.get("service")?,
            action: table.get("action")?,
            pid: table.get("pid")?,
        }),
        None => None,
    };
    Ok(sockproxy::Options {
        host: table.get("target_host")?,
        port: table.get("target_port")?,
        notify,
        rtim: field(table, "rtim")? as u64,
        pace: field(table, "pace")? as u64,
    })
}
