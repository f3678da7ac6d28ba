//! Reads the TLS options of a server. They have LuaSec's names and values, as a client's.

use std::rc::Rc;

use super::files::wrong_identity;
use super::{Refusal, alpn, authorities, crypto, files, refused, versions, words};
use crate::lua::Context;
use crate::lua::value::{Handle, Reply, Table, Value, failure};
use crate::tls::identity::Identity;
use crate::tls::{Acceptor, Clients, ServerOptions};
use crate::url::domain;

/// `acceptor(table)`: what accepts a server's TLS connections; or nil and what is wrong with the options. These have
/// LuaSec's own names; `certificates` is a table of tables with `certificate`, `key` and `password`, by the name that
/// clients ask for.
pub(in crate::lua) fn acceptor(context: &Rc<Context>, arguments: &[Value]) -> Reply {
    let empty = Table::default();
    let table = arguments.first().and_then(Value::table).unwrap_or(&empty);
    match make(context, table) {
        Ok(acceptor) => vec![Handle::Acceptor(Rc::new(acceptor)).into()],
        Err(why) => failure(why),
    }
}

fn make(context: &Context, table: &Table) -> Result<Acceptor, Refusal> {
    for word in words(table, "mode")? {
        if word != "server" {
            return Err(refused("mode", "a WebSocket server is a TLS server", &word));
        }
    }
    let settings = words(table, "options")?;
    let (min, max) = versions(&words(table, "protocol")?, &settings)?;
    let clients = clients(table)?;
    let authorities = authorities::named(context, table)?.unwrap_or_default();
    if clients != Clients::Anonymous && authorities.is_empty() {
        return Err(
            "bad option 'ssl_verify' (it needs ssl_cafile or ssl_capath: whose certificates clients \
                    may have)"
                .into(),
        );
    }
    let identity = files::identity(table)?.ok_or("bad option 'ssl_certificate' (a server needs one)")?;
    let options = ServerOptions {
        min,
        max,
        identity,
        named: named(table)?,
        clients,
        authorities,
        alpn: alpn(table)?,
        crypto: crypto::crypto(table, &settings)?,
    };
    options.acceptor().map_err(|(error, name)| match name {
        None => wrong_identity(table, &error),
        Some(name) => within(name, &wrong_identity(entry(table, name).unwrap_or(table), &error)),
    })
}

/// What is asked of clients. In LuaSec, "peer" alone has a server take those, too, that have no certificate.
fn clients(table: &Table) -> Result<Clients, Refusal> {
    let words = words(table, "verify")?;
    for word in &words {
        if !["none", "peer", "client_once", "fail_if_no_peer_cert"].contains(&word.as_str()) {
            return Err(refused("verify", "invalid verify option", word));
        }
    }
    let has = |name: &str| words.iter().any(|word| word == name);
    Ok(match (has("peer"), has("fail_if_no_peer_cert")) {
        (true, true) => Clients::Identified,
        (true, false) => Clients::Known,
        // It would be without effect in OpenSSL.
        (false, true) => {
            return Err(refused("verify", "it needs peer as well", "fail_if_no_peer_cert"));
        }
        (false, false) => Clients::Anonymous,
    })
}

fn entry<'a>(table: &'a Table, name: &str) -> Option<&'a Table> {
    table.get("certificates").table()?.get(name).table()
}

/// The identities by name.
fn named(table: &Table) -> Result<Vec<(String, Identity)>, Refusal> {
    let Some(entries) = table.get("certificates").table() else { return Ok(Vec::new()) };
    let mut named = Vec::new();
    for (key, value) in &entries.0 {
        let wrong = |why: &str| format!("bad option 'ssl_certificates' ({why})");
        let name = key.text().ok_or_else(|| wrong("a table of tables, by the names of hosts, expected"))?;
        let entry = value.table().ok_or_else(|| wrong(&format!("{name}: table expected")))?;
        let (star, host) = name.strip_prefix("*.").map_or(("", &*name), |host| ("*.", host));
        let host = domain(host).ok_or_else(|| wrong(&format!("{name}: not the name of a host")))?;
        let identity = files::identity(entry).map_err(|why| within(&name, &why))?;
        let identity = identity.ok_or_else(|| wrong(&format!("{name}: ssl_certificate is missing")))?;
        named.push((format!("{star}{host}"), identity));
    }
    // A table of Lua's has no order.
    named.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(named)
}

/// The error in the entry of a name.
fn within(name: &str, why: &str) -> Refusal {
    let why = why.strip_prefix("bad option '").and_then(|rest| {
        let (option, why) = rest.split_once('\'')?;
        Some(format!("{option}{why}"))
    });
    format!("bad option 'ssl_certificates' ({name}: {})", why.unwrap_or_default())
}
