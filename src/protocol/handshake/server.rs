//! The server's end of the opening handshake (RFC 6455 section 4.2): a request in, a response out. Does not decide
//! which valid requests are accepted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::common::{accept_value, extensions};
use crate::http::{self, BodyReader, Header, Headers, Reply, RequestReader, Upload};
use crate::protocol::deflate::{self, NegotiatedParameters};
use crate::protocol::error::{HandshakeError, InvalidRequest};
use crate::protocol::extensions::Extension;

/// A client's request that a server may accept.
///
/// See [`ServerHandshake`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Path and query, as sent.
    pub resource: String,
    pub headers: Headers,
    /// The subprotocols that the client offers, the preferred one first.
    pub subprotocols: Vec<String>,
    extensions: Vec<Extension>,
    key: Vec<u8>,
}

/// The server's end, which waits for a request.
///
/// ```
/// use luws::protocol::handshake::ServerHandshake;
///
/// let head = b"GET /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
///     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
/// let (request, length) = ServerHandshake::default().parse(head)?.unwrap();
/// assert_eq!((request.resource.as_str(), length), ("/chat", head.len()));
/// # Ok::<_, luws::protocol::error::HandshakeError>(())
/// ```
#[derive(Debug, Default)]
pub struct ServerHandshake {
    reader: RequestReader,
}

impl ServerHandshake {
    /// Looks for the request at the start of `input`. Returns the request and its length in bytes, or `None` if it is
    /// incomplete.
    ///
    /// # Errors
    /// [`HandshakeError::Request`] with the status that [`refusal`] should answer (section 4.2.2).
    pub fn parse(&mut self, input: &[u8]) -> Result<Option<(Request, usize)>, HandshakeError> {
        let read = self.reader.read(input).map_err(InvalidRequest::Http);
        let checked = read.and_then(|read| match read {
            Some((request, length)) => Ok(Some((Request::check(request)?, length))),
            None => Ok(None),
        });
        checked.map_err(HandshakeError::Request)
    }
}

impl Request {
    /// Checks the rules of section 4.2.1, for a server that takes nothing but upgrades.
    fn check(request: http::Request) -> Result<Self, InvalidRequest> {
        if request.method != "GET" {
            return Err(InvalidRequest::Method);
        }
        BodyReader::new(check_http(&request)?, 0)?;
        Self::upgrade(request)
    }

    /// The upgrade that a request without a body asks for.
    ///
    /// # Errors
    /// It asks for none, or breaks a rule of section 4.2.1 that concerns the upgrade.
    pub fn upgrade(request: http::Request) -> Result<Self, InvalidRequest> {
        let http::Request { method, target, headers, .. } = request;
        if method != "GET" {
            return Err(InvalidRequest::NotUpgrade);
        }
        if !headers.lists("Upgrade", "websocket") || !headers.lists("Connection", "Upgrade") {
            return Err(InvalidRequest::NotUpgrade);
        }
        if headers.single("Sec-WebSocket-Version")? != Some(b"13") {
            return Err(InvalidRequest::Version);
        }
        let key = headers.single("Sec-WebSocket-Key")?.unwrap_or_default().to_vec();
        if BASE64.decode(&key).map_or(0, |nonce| nonce.len()) != 16 {
            return Err(InvalidRequest::Key);
        }
        let text = |element: &[u8]| String::from_utf8_lossy(element).into_owned();
        let subprotocols = headers.list("Sec-WebSocket-Protocol").map(text).collect();
        let extensions = extensions(&headers).map_err(InvalidRequest::Extensions)?;
        Ok(Self { resource: target, headers, subprotocols, extensions, key })
    }

    /// The response that completes the handshake (section 4.2.2), and the negotiated permessage-deflate parameters.
    /// `subprotocol` is selected if the client offers it; `headers` are added.
    #[must_use]
    pub fn acceptance(
        &self,
        subprotocol: Option<&str>,
        deflate: Option<&deflate::Options>,
        headers: &[Header],
    ) -> (Vec<u8>, Option<NegotiatedParameters>) {
        let mut head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n",
            accept_value(&self.key)
        );
        if let Some(name) = subprotocol.filter(|name| self.subprotocols.iter().any(|offered| offered == name))
        {
            head += &format!("Sec-WebSocket-Protocol: {name}\r\n");
        }
        let accepted = deflate.and_then(|options| options.accept(&self.extensions));
        if let Some((_, answer)) = &accepted {
            head += &format!("Sec-WebSocket-Extensions: {answer}\r\n");
        }
        let mut head = head.into_bytes();
        head.extend(headers.iter().flat_map(Header::line));
        head.extend(b"\r\n");
        (head, accepted.map(|(parameters, _)| parameters))
    }
}

/// Checks what every request of HTTP/1.1 must have (RFC 9112 sections 2.3 and 3.2). Returns how its body ends.
///
/// # Errors
/// The rule that it breaks.
pub fn check_http(request: &http::Request) -> Result<Upload, InvalidRequest> {
    if request.version != 1 {
        return Err(InvalidRequest::HttpVersion);
    }
    let host = request.headers.single("Host")?.ok_or(InvalidRequest::NoHost)?;
    if !host.iter().all(|byte| is_of_host(*byte)) {
        return Err(InvalidRequest::Host);
    }
    if !is_target(&request.method, &request.target) {
        return Err(InvalidRequest::Target);
    }
    Ok(Upload::of(&request.headers)?)
}

/// Whether a byte may be in a host with its port (RFC 3986 section 3.2.2).
fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

/// Whether a target has one of the forms of RFC 9112 section 3.2, of which two are for one method each.
fn is_target(method: &str, target: &str) -> bool {
    let is_scheme =
        |scheme: &str| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    match method {
        "CONNECT" => target.bytes().all(is_of_host),
        "OPTIONS" if target == "*" => true,
        _ => target.starts_with('/') || target.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme)),
    }
}

/// The headers that go with the refusal of a request, beside those of its body.
fn refusal_headers(status: u16) -> &'static [(&'static str, &'static str)] {
    match status {
        // Section 4.4: a server names the versions it supports.
        426 => &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
        405 => &[("Allow", "GET")],
        _ => &[],
    }
}

/// The response that refuses a request; the connection must end after it.
#[must_use]
pub fn refusal(status: u16, message: &str) -> Vec<u8> {
    let text = [("Content-Type", "text/plain")];
    let headers = refusal_headers(status).iter().chain(&text);
    let headers: Vec<_> =
        headers.filter_map(|(name, value)| Header::new(name, value.as_bytes()).ok()).collect();
    let reply = Reply { status, headers: &headers, length: message.len() as u64 + 1, keeps_alive: false };
    [&reply.head(), message.as_bytes(), b"\n"].concat()
}
