//! A session from the parameters that the Lua driver has put together.

use std::cell::RefCell;

use mlua::{AnyUserData, Lua, LuaString, Result as LuaResult, Table};

use super::{Inner, LuaSession};
use crate::http::Header;
use crate::lua::options::{self, field};
use crate::lua::tls::{self, Connectors, Fault};
use crate::protocol::connection::Config;
use crate::protocol::handshake::UpgradeRequest;
use crate::proxy::sockproxy::SockProxy;
use crate::session::{Kind, Session};

/// `session(parameters)`: a client session with its first bytes queued; or `nil`, why not, and which hop cannot even
/// begin, "tls" or "proxy", if it is one. The parameters: `host`, `host_header`, `resource`, `headers` (array of
/// `{name, value}`), `subprotocols` (array), `secure`, `tls` (LuaSec's names), `max_payload_size`, `use_masking`,
/// `fragment_size`, `deflate` and `sockproxy` (each a table of all that [`options`] reads of it, or nothing).
pub(in crate::lua) fn create(
    lua: &Lua,
    parameters: Table,
) -> LuaResult<(Option<AnyUserData>, Option<String>, Option<&'static str>)> {
    match session(lua, &parameters) {
        Ok(session) => {
            let inner = RefCell::new(Some(Inner { session, socket: None }));
            Ok((Some(lua.create_userdata(LuaSession(inner))?), None, None))
        }
        Err(Fault::Parameters(why)) => Ok((None, Some(why), None)),
        Err(Fault::Proxy(why)) => Ok((None, Some(why), Some("proxy"))),
        Err(Fault::Tls(why)) => Ok((None, Some(why), Some("tls"))),
        Err(Fault::Lua(error)) => Err(error),
    }
}

fn session(lua: &Lua, parameters: &Table) -> Result<Session, Fault> {
    let request = request(parameters)?;
    let deflate = parameters.get::<Option<Table>>("deflate")?;
    let config = Config {
        max_message_size: field(parameters, "max_payload_size")?,
        use_masking: parameters.get("use_masking")?,
        fragment_size: field(parameters, "fragment_size")?,
        deflate: deflate.map(|table| options::deflate(&table)).transpose()?,
        seed: None,
    };
    let secure = parameters.get::<bool>("secure")?;
    // What is wrong with the options is said for ws as well.
    let luasec = parameters.get("tls")?;
    let wanted = tls::wanted(lua, &luasec, secure)?;
    let connector = secure.then(|| Connectors::get(lua, wanted.options, &luasec)).transpose()?;
    let name = wanted.server_name.map_or_else(|| parameters.get("host"), Ok)?;
    let tls = connector.as_ref().map(|connector| (connector, name.as_str()));
    let session = Session::client(&request, tls, config).map_err(|failure| match failure.kind {
        Kind::Tls => Fault::Tls(failure.text),
        _ => Fault::Parameters(failure.text),
    })?;
    let Some(table) = parameters.get::<Option<Table>>("sockproxy")? else { return Ok(session) };
    match SockProxy::new(&options::sockproxy(&table)?) {
        Ok(negotiation) => Ok(session.through(Box::new(negotiation))),
        Err(error) => Err(Fault::Proxy(error.to_string())),
    }
}

/// The upgrade request, or what cannot stand in one.
fn request(parameters: &Table) -> Result<UpgradeRequest, Fault> {
    let (host, resource) = (parameters.get::<String>("host_header")?, parameters.get::<String>("resource")?);
    // The resource is a URL's, which has no such characters left.
    let mut request = UpgradeRequest::new(&host, &resource)
        .map_err(|why| Fault::Parameters(format!("bad option 'upgrade_headers' ({why})")))?;
    for name in parameters.get::<Option<Vec<String>>>("subprotocols")?.unwrap_or_default() {
        request.offer(&name).map_err(|error| error.to_string())?;
    }
    for pair in parameters.get::<Vec<Vec<LuaString>>>("headers")? {
        if let [name, value] = &pair[..] {
            let header = Header::new(&name.to_string_lossy(), &value.as_bytes());
            request.add(header.map_err(|error| error.to_string())?);
        }
    }
    Ok(request)
}
