//! Proxies as Lua sees them: reads their URLs, and makes negotiations from the parameters that the driver has put
//! together.

use std::ffi::CStr;
use std::rc::Rc;

use super::tls::Fault;
use super::value::{Reply, Table, Value, failure};
use super::{Context, Native, auth};
use crate::http::auth::{Credentials, Scheme};
use crate::proxy::address::{Address, Kind};
use crate::proxy::http_connect::{self, HttpConnect, Identity};
use crate::proxy::sockproxy::{self, SockProxy};
use crate::proxy::socks::{self, Host, Socks, Version};
use crate::proxy::{Negotiation, Retry, bypasses};
use crate::session;

pub(super) const FUNCTIONS: &[(&CStr, Native)] = &[
    // parse_proxy(url): a table of the fields of Address; or nil and what is wrong with the URL
    (c"parse_proxy", parse_proxy),
    // bypasses(list, host, port): whether a list in the form of no_proxy names this server
    (c"bypasses", bypassed),
];

fn parse_proxy(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let address = match Address::parse(arguments.first().and_then(Value::bytes).unwrap_or_default()) {
        Ok(address) => address,
        Err(why) => return failure(why.to_string()),
    };
    let mut table = Table::default();
    table.set("kind", address.kind.scheme());
    table.set("host", address.host);
    table.set("zone", address.zone);
    table.set("port", address.port);
    table.set("user", address.user);
    table.set("password", address.password);
    vec![table.into()]
}

fn bypassed(_: &Rc<Context>, arguments: &[Value]) -> Reply {
    let [list, host, port, ..] = arguments else { return vec![false.into()] };
    let (list, host) = (list.text().unwrap_or_default(), host.text().unwrap_or_default());
    vec![bypasses(&list, &host, port.size() as u16).into()]
}

/// The negotiation that a table asks for; the driver has checked and completed it (`proxy.lua`). `seed` is for tests.
///
/// # Errors
/// The proxy cannot be asked for this.
pub(super) fn negotiation(table: &Table, seed: Option<u64>) -> Result<Box<dyn Negotiation>, Fault> {
    let kind = table.get("kind").text().unwrap_or_default();
    let refused = |error: crate::proxy::ProxyError| Fault::Proxy(error.to_string());
    let version = match Kind::of_scheme(&kind) {
        None => return Ok(Box::new(SockProxy::new(&sockproxy(table)).map_err(refused)?)),
        Some(Kind::Http | Kind::Https) => return Ok(Box::new(HttpConnect::new(http_connect(table, seed)?))),
        Some(Kind::Socks4 | Kind::Socks4a) => Version::Socks4,
        Some(Kind::Socks5 | Kind::Socks5h) => Version::Socks5,
    };
    let (host, port) = target(table);
    let user = table.get("user").bytes().map(<[u8]>::to_vec);
    let password = table.get("password").bytes().unwrap_or_default().to_vec();
    let credentials = user.map(|user| (user, password));
    let options = socks::Options { version, host: Host::new(&host), port, credentials };
    Ok(Box::new(Socks::new(options).map_err(refused)?))
}

/// The server.
fn target(table: &Table) -> (String, u16) {
    (text(table, "target_host").unwrap_or_default(), table.get("target_port").size() as u16)
}

fn text(table: &Table, name: &str) -> Option<String> {
    table.get(name).text().map(std::borrow::Cow::into_owned)
}

fn http_connect(table: &Table, seed: Option<u64>) -> Result<http_connect::Options, Fault> {
    let wrong = |why: String| Fault::Parameters(format!("bad option 'proxy' ({why})"));
    let headers = table.get("headers").headers().map_err(|error| wrong(error.to_string()))?;
    let identity = match table.get("user").bytes() {
        None => None,
        Some(user) => {
            let password = table.get("password").bytes().unwrap_or_default();
            let credentials = Credentials::new(user, password).map_err(|error| wrong(error.to_string()))?;
            let only = table.get("auth").text().and_then(|name| Scheme::named(&name));
            // Digest can do with any user.
            if only != Some(Scheme::Digest) {
                credentials.basic().map_err(|error| wrong(error.to_string()))?;
            }
            let cnonce = session::token(seed).map_err(|failure| Fault::Parameters(failure.text))?;
            let at_once = table.get("at_once").boolean() == Some(true);
            Some(Identity { credentials, only, at_once, cnonce })
        }
    };
    let (host, port) = target(table);
    Ok(http_connect::Options { host, port, headers, identity, retry: retry(table) })
}

/// What [`Retry`] is in the driver's table: the value of the header, and a number for what was tried.
fn retry(table: &Table) -> Option<Retry> {
    let authorization = table.get("authorization").bytes()?.to_vec();
    Some(Retry { authorization, tried: auth::tried(table.get("tried")) })
}

/// The value of the header and the number, or nothing.
pub(super) fn retried(retry: Option<&Retry>) -> Reply {
    let Some(Retry { authorization, tried }) = retry else { return vec![] };
    vec![authorization.clone().into(), auth::number_of(*tried)]
}

/// What to ask of SockProxy.
fn sockproxy(table: &Table) -> sockproxy::Options {
    let notify = text(table, "device").map(|device| sockproxy::Notify {
        device,
        service: text(table, "service").unwrap_or_default(),
        action: text(table, "action").unwrap_or_default(),
        pid: text(table, "pid"),
    });
    let number = |name| table.get(name).number().unwrap_or(0.0);
    let (host, port) = target(table);
    sockproxy::Options { host, port, notify, rtim: number("rtim") as u64, pace: number("pace") as u64 }
}
