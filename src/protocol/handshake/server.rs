//! The server's end of the opening handshake (RFC 6455 section 4.2): a request in, a response out. Does not decide
//! which valid requests are accepted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::common::{accept_value, extensions};
use crate::http::{self, Headers, RequestReader};
use crate::protocol::deflate::{self, NegotiatedParameters};
use crate::protocol::error::{HandshakeError, InvalidRequest};
use crate::protocol::extensions::Extension;

/// A client's request that a server may accept.
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
    /// Checks the rules of section 4.2.1.
    fn check(
        http::Request { method, target, version, headers }: http::Request,
    ) -> Result<Self, InvalidRequest> {
        if method != "GET" {
            return Err(InvalidRequest::Method);
        }
        if version != 1 {
            return Err(InvalidRequest::HttpVersion);
        }
        if headers.single("Host")?.is_none() {
            return Err(InvalidRequest::NoHost);
        }
        // RFC 9112 section 6.3
        let has_length = headers.list("Content-Length").any(|length| length != b"0");
        if has_length || headers.all("Transfer-Encoding").next().is_some() {
            return Err(InvalidRequest::Body);
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
    /// `subprotocol` is selected if the client offers it.
    #[must_use]
    pub fn acceptance(
        &self,
        subprotocol: Option<&str>,
        deflate: Option<&deflate::Options>,
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
        head += "\r\n";
        (head.into_bytes(), accepted.map(|(parameters, _)| parameters))
    }
}

/// The response that refuses a request; the connection must end after it.
#[must_use]
pub fn refusal(status: u16, message: &str) -> Vec<u8> {
    let reason = match status {
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        505 => "HTTP Version Not Supported",
        _ => "Refused",
    };
    let more = match status {
        // Section 4.4: a server names the versions it supports.
        426 => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        405 => "Allow: GET\r\n",
        _ => "",
    };
    let length = message.len() + 1;
    format!(
        "HTTP/1.1 {status} {reason}\r\n{more}Connection: close\r\n\
         Content-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{message}\n"
    )
    .into_bytes()
}
