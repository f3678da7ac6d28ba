//! Makes a session from the parameters that the Lua driver has put together.

use std::rc::Rc;

use super::LuaSession;
use crate::http::Outgoing;
use crate::lua::Context;
use crate::lua::options;
use crate::lua::proxy;
use crate::lua::tls::{self, Fault};
use crate::lua::value::{Handle, Reply, Table, Value, failure};
use crate::protocol::connection::Config;
use crate::protocol::handshake::UpgradeRequest;
use crate::session::{Kind, Session};
use crate::tls::identity::Identity;
use crate::tls::{Acceptor, ServerOptions};

/// `session(parameters)`: a session (a client's has its first bytes queued) and its number; or `nil`, the error, and
/// the hop that cannot even begin, "tls" or "proxy", if it is one.
///
/// Parameters of both roles: `role` ("server", "http" for a server that answers requests of all kinds, "ask" for a
/// client that makes such requests, or nil), `seed` (of nonces and masking keys, for tests), `clock` (a virtual one or
/// nil), `traffic` (what counts messages, or nil), `max_payload_size`, `use_masking`, `fragment_size`, `validate_utf8`,
/// `allow_long_lengths`, `coalesce` and `max_buffered` (bytes), `deflate` (a table with everything that [`options`]
/// reads, or nil). Server only: `acceptor`, or `certificate` and `key` (PEM); nil without
/// TLS. Client only: `host`, `host_header`, `resource`, `headers` (array of `{name, value}`), `subprotocols` (array),
/// `secure`, `tls` (with LuaSec's names) and `proxy` (a table or nil, like `deflate`, with `tls` for one that is
/// reached over TLS). For the role "ask" also what [`asked`] reads.
pub(in crate::lua) fn create(context: &Rc<Context>, arguments: &[Value]) -> Reply {
    let empty = Table::default();
    let parameters = arguments.first().and_then(Value::table).unwrap_or(&empty);
    let clock = match parameters.get("clock") {
        Value::Handle(Handle::Clock(clock)) => Some(Rc::clone(clock)),
        _ => None,
    };
    let traffic = match parameters.get("traffic") {
        Value::Handle(Handle::Traffic(traffic)) => Some(Rc::clone(traffic)),
        _ => None,
    };
    let (why, step) = match session(context, parameters) {
        Ok(session) => {
            let limits = ["coalesce", "max_buffered"].map(|name| parameters.get(name).size());
            return match LuaSession::new(session, context, clock, traffic, limits) {
                Ok((session, number)) => vec![Handle::Session(session).into(), number.into()],
                Err(why) => failure(why.into_owned()),
            };
        }
        Err(Fault::Parameters(why)) => (why, None),
        Err(Fault::Proxy(why)) => (why, Some("proxy")),
        Err(Fault::Tls(why)) => (why, Some("tls")),
    };
    vec![Value::Nil, why.into(), step.into()]
}

fn session(context: &Context, parameters: &Table) -> Result<Session, Fault> {
    let seed = parameters.get("seed").number().map(|seed| seed as u64);
    let config = Config {
        max_message_size: parameters.get("max_payload_size").size(),
        use_masking: parameters.get("use_masking").boolean() != Some(false),
        fragment_size: parameters.get("fragment_size").size(),
        validate_utf8: parameters.get("validate_utf8").boolean() != Some(false),
        allow_long_lengths: parameters.get("allow_long_lengths").boolean() == Some(true),
        deflate: parameters.get("deflate").table().map(options::deflate),
        spares: context.spares.clone(),
        seed,
    };
    let role = parameters.get("role").text().unwrap_or_default();
    if role == "server" || role == "http" {
        let acceptor = acceptor(parameters)?;
        let make = if role == "http" { Session::http_server } else { Session::server };
        return make(acceptor.as_deref(), config).map_err(|error| Fault::Parameters(error.to_string()));
    }
    let secure = parameters.get("secure").boolean() == Some(true);
    // Wrong options are reported for ws URLs as well.
    let empty = Table::default();
    let luasec = parameters.get("tls").table().unwrap_or(&empty);
    let wanted = tls::wanted(context, luasec, secure)?;
    let connector = secure.then(|| context.connector(wanted.options, luasec)).transpose()?;
    let name = wanted.server_name.or_else(|| Some(parameters.get("host").text()?.into_owned()));
    let name = name.unwrap_or_default();
    let tls = connector.as_ref().map(|connector| (connector, name.as_str()));
    let session = if role == "ask" {
        let (request, body, most) = asked(parameters)?;
        Session::http_client(&request, body, most, tls, config)
    } else {
        Session::client(&request(parameters)?, tls, config)
    };
    let session = session.map_err(|failure| match failure.kind {
        Kind::Tls => Fault::Tls(failure.text),
        _ => Fault::Parameters(failure.text),
    })?;
    match parameters.get("proxy").table() {
        Some(table) => through(context, session, table, seed),
        None => Ok(session),
    }
}

/// The session through this proxy.
fn through(context: &Context, session: Session, table: &Table, seed: Option<u64>) -> Result<Session, Fault> {
    let negotiation = proxy::negotiation(table, seed)?;
    let Some(luasec) = table.get("tls").table() else { return Ok(session.through(negotiation)) };
    let named = |fault| match fault {
        Fault::Parameters(why) => Fault::Parameters(why.replacen("option 'ssl_", "option 'proxy_ssl.", 1)),
        Fault::Tls(why) => Fault::Proxy(format!("TLS: {why}")),
        fault @ Fault::Proxy(_) => fault,
    };
    let (connector, server_name) = tls::connector(context, luasec).map_err(named)?;
    let host = table.get("host").text().unwrap_or_default();
    let name = server_name.unwrap_or_else(|| host.into_owned());
    let session = session.secured(&connector, &name).map_err(|failure| Fault::Proxy(failure.text))?;
    Ok(session.through(negotiation))
}

/// What accepts TLS for a server, if it has a certificate.
fn acceptor(parameters: &Table) -> Result<Option<Rc<Acceptor>>, Fault> {
    if let Value::Handle(Handle::Acceptor(acceptor)) = parameters.get("acceptor") {
        return Ok(Some(Rc::clone(acceptor)));
    }
    let (Some(certificate), Some(key)) =
        (parameters.get("certificate").bytes(), parameters.get("key").bytes())
    else {
        return Ok(None);
    };
    let identity = Identity::from_pem(certificate, key);
    let made =
        identity.and_then(|identity| ServerOptions::new(identity).acceptor().map_err(|(error, _)| error));
    made.map(Rc::new).map(Some).map_err(|error| Fault::Parameters(error.to_string()))
}

/// The upgrade request, or the parameter that cannot be part of one.
fn request(parameters: &Table) -> Result<UpgradeRequest, Fault> {
    let text = |name| parameters.get(name).text().unwrap_or_default();
    let refused = |why: String| Fault::Parameters(format!("bad option 'upgrade_headers' ({why})"));
    // The resource comes from a parsed URL, which has no forbidden characters left.
    let mut request = UpgradeRequest::new(&text("host_header"), &text("resource"))
        .map_err(|error| refused(error.to_string()))?;
    for name in parameters.get("subprotocols").table().map(Table::elements).unwrap_or_default() {
        request
            .offer(&name.text().unwrap_or_default())
            .map_err(|error| Fault::Parameters(error.to_string()))?;
    }
    let headers = parameters.get("headers").headers();
    for header in headers.map_err(|error| Fault::Parameters(error.to_string()))? {
        request.add(header);
    }
    Ok(request)
}

/// A request, its body, and the most bytes of the response's, from the parameters `method`, `body` and `max_body`,
/// `host_header`, `resource` and `headers`.
pub(super) fn asked(parameters: &Table) -> Result<(Outgoing, &[u8], usize), Fault> {
    let text = |name| parameters.get(name).text().unwrap_or_default();
    let mut request = Outgoing::new(&text("method"), &text("host_header"), &text("resource"))
        .map_err(|error| Fault::Parameters(error.to_string()))?;
    let headers = parameters.get("headers").headers();
    for header in headers.map_err(|error| Fault::Parameters(error.to_string()))? {
        request.add(header);
    }
    Ok((request, parameters.get("body").bytes().unwrap_or_default(), parameters.get("max_body").size()))
}
