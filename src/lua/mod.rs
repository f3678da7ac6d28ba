//! The only place that names mlua: what the Lua driver (`lua/`) is given to work with, and the
//! module's entry point.
//!
//! Nothing here calls user code, so no borrow is alive and no Rust frame is on the stack when a
//! handler runs; and nothing here returns an error for what a user can cause, because mlua would
//! hand it on as userdata. Failures are values: `nil` or `false`, and a string.
//!
//! What allocates in Lua may run the collector, and with it a user's finaliser, and that may raise an error: so mlua
//! is left to protect each such call (`skip_memory_check` would have those errors pass through frames of Rust, which
//! ends the process under LuaJIT).

mod options;
mod session;
mod socket;
mod tls;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mlua::{Function, IntoLua, Lua, LuaString, Result, Table, Value};

use crate::http::Header;
use crate::url::Target;

/// The driver, compiled in so that one file is the whole library.
const SOURCES: &[(&str, &str)] = &[
    ("loader", include_str!("../../lua/luws/loader.lua")),
    ("luws", include_str!("../../lua/luws.lua")),
    ("close", include_str!("../../lua/luws/close.lua")),
    ("dispatch", include_str!("../../lua/luws/dispatch.lua")),
    ("foreign", include_str!("../../lua/luws/foreign.lua")),
    ("log", include_str!("../../lua/luws/log.lua")),
    ("loop", include_str!("../../lua/luws/loop.lua")),
    ("open", include_str!("../../lua/luws/open.lua")),
    ("options", include_str!("../../lua/luws/options.lua")),
    ("protect", include_str!("../../lua/luws/protect.lua")),
    ("pump", include_str!("../../lua/luws/pump.lua")),
    ("send", include_str!("../../lua/luws/send.lua")),
    ("sink", include_str!("../../lua/luws/sink.lua")),
    ("tls", include_str!("../../lua/luws/tls.lua")),
    ("trace", include_str!("../../lua/luws/trace.lua")),
];

/// Whether it has been said that a server was not verified: once is enough for all Lua states of the process, and
/// they have nothing else in common.
static UNVERIFIED_SAID: AtomicBool = AtomicBool::new(false);

const LOADER_THREAD: &str = "luws.loader_thread";

/// `luaopen_luws`: what `require "luws"` calls.
// The export of a symbol is unsafe to the lint; the code behind it is mlua's.
#[allow(unsafe_code)]
#[mlua::lua_module]
fn luws(lua: &Lua) -> Result<Table> {
    // mlua goes on using the coroutine in which it was first loaded; without this, its collection
    // would leave a dangling state behind (Lua 5.1 does not register the main thread). A second load
    // does not change which one that is.
    if lua.named_registry_value::<Value>(LOADER_THREAD)?.is_nil() {
        lua.set_named_registry_value(LOADER_THREAD, lua.current_thread())?;
    }
    let native = lua.create_table()?;
    // Where a finaliser requires the module in the midst of their use, they stay as they are.
    let _ = lua.try_set_app_data(tls::Connectors::default());
    let _ = lua.try_set_app_data(tls::Files::default());
    let origin = Instant::now();
    native.set("source", lua.create_function(source)?)?;
    native.set("parse_url", lua.create_function(parse_url)?)?;
    native.set("check_header", lua.create_function(check_header)?)?;
    native.set("dial", lua.create_function(socket::dial)?)?;
    native.set("session", lua.create_function(session::create)?)?;
    native.set("time", lua.create_function(|_, ()| Ok(time()))?)?;
    native.set("monotonic", lua.create_function(move |_, ()| Ok(origin.elapsed().as_secs_f64()))?)?;
    native.set("sleep", lua.create_function(socket::sleep)?)?;
    // first_unverified(): true at the first call in the process.
    let first = |_: &Lua, ()| Ok(!UNVERIFIED_SAID.swap(true, Ordering::Relaxed));
    native.set("first_unverified", lua.create_function(first)?)?;
    source(lua, "loader".into())?.call(native)
}

/// A part of the driver, compiled.
fn source(lua: &Lua, name: String) -> Result<Function> {
    let (_, text) = SOURCES
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| mlua::Error::runtime(format!("luws has no part {name}")))?;
    lua.load(*text).set_name(format!("@luws/{name}.lua")).into_function()
}

/// Seconds since 1970, as `socket.gettime` and `os.time` have them.
fn time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// `parse_url(url)`: a table of the fields of [`Target`], or `nil` and what is wrong with it.
fn parse_url(lua: &Lua, url: LuaString) -> Result<(Value, Option<String>)> {
    let target = match Target::parse(url.as_bytes()) {
        Ok(target) => target,
        Err(why) => return Ok((Value::Nil, Some(why.to_string()))),
    };
    let table = lua.create_table()?;
    table.set("secure", target.secure)?;
    table.set("host", target.host)?;
    table.set("port", target.port)?;
    table.set("resource", target.resource)?;
    table.set("host_header", target.host_header)?;
    table.set("authorization", target.authorization)?;
    Ok((Value::Table(table), None))
}

/// `check_header(name, value)`: `nil`, or what is wrong with it.
fn check_header(_: &Lua, (name, value): (LuaString, LuaString)) -> Result<Option<String>> {
    Ok(Header::new(&name.to_string_lossy(), &value.as_bytes()).err().map(|error| error.to_string()))
}

/// `nil` and a message: how everything here fails.
fn failure<T: IntoLua>(lua: &Lua, message: T) -> Result<(Value, Value)> {
    Ok((Value::Nil, message.into_lua(lua)?))
}
