//! The server's end of the opening handshake (RFC 6455 section 4.2): a request in, a response out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Headers, MAX_HEADERS, accept_value, find_head};
use crate::protocol::deflate::{self, Agreement};
use crate::protocol::error::HandshakeError;
use crate::protocol::extensions::Extension;

/// A client's request that a server may accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Path and query, as sent.
    pub resource: String,
    pub headers: Headers,
    /// What the client offers, its preferred one first.
    pub subprotocols: Vec<String>,
    extensions: Vec<Extension>,
    key: Vec<u8>,
}

/// The server's end: waits for a request.
#[derive(Debug, Default)]
pub struct ServerHandshake {
    scanned: usize,
}

impl ServerHandshake {
    /// Looks for the request at the start of `input`: the request and its length in bytes, or
    /// `None` if it is not complete.
    ///
    /// # Errors
    /// [`HandshakeError::BadRequest`] with the status that [`refusal`] should answer (section 4.2.2).
    pub fn parse(&mut self, input: &[u8]) -> Result<Option<(Request, usize)>, HandshakeError> {
        let length = match find_head(input, &mut self.scanned) {
            Ok(Some(length)) => length,
            Ok(None) => return Ok(None),
            Err(error) => return Err(HandshakeError::bad_request(431, error.to_string())),
        };
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        if let Err(error) = parsed.parse(&input[..length]) {
            return Err(HandshakeError::bad_request(400, error.to_string()));
        }
        if parsed.method != Some("GET") {
            return Err(HandshakeError::bad_request(405, "the method is not GET"));
        }
        if parsed.version != Some(1) {
            return Err(HandshakeError::bad_request(505, "the HTTP version is not 1.1"));
        }
        let resource = parsed.path.unwrap_or("/").to_owned();
        let headers = Headers::from_httparse(parsed.headers);
        Self::verify(resource, headers).map(|request| Some((request, length)))
    }

    /// The rules of section 4.2.1.
    fn verify(resource: String, headers: Headers) -> Result<Request, HandshakeError> {
        let bad = |message: String| HandshakeError::bad_request(400, message);
        if headers.single("Host").map_err(bad)?.is_none() {
            return Err(HandshakeError::bad_request(400, "no Host header"));
        }
        if !headers.lists("Upgrade", "websocket") || !headers.lists("Connection", "Upgrade") {
            return Err(HandshakeError::bad_request(426, "not a WebSocket upgrade"));
        }
        if headers.single("Sec-WebSocket-Version").map_err(bad)? != Some(b"13") {
            return Err(HandshakeError::bad_request(426, "Sec-WebSocket-Version is not 13"));
        }
        let key = headers.single("Sec-WebSocket-Key").map_err(bad)?.unwrap_or_default().to_vec();
        if BASE64.decode(&key).map_or(0, |nonce| nonce.len()) != 16 {
            return Err(HandshakeError::bad_request(400, "Sec-WebSocket-Key is not 16 bytes in base64"));
        }
        let text = |element: &[u8]| String::from_utf8_lossy(element).into_owned();
        let subprotocols = headers.list("Sec-WebSocket-Protocol").map(text).collect();
        let extensions = headers.extensions().map_err(bad)?;
        Ok(Request { resource, headers, subprotocols, extensions, key })
    }
}

impl Request {
    /// The response that completes the handshake (section 4.2.2), and what is agreed upon of
    /// permessage-deflate. `subprotocol` is selected if it is one of those that the client offers.
    #[must_use]
    pub fn acceptance(
        &self,
        subprotocol: Option<&str>,
        deflate: Option<&deflate::Options>,
    ) -> (Vec<u8>, Option<Agreement>) {
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
        (head.into_bytes(), accepted.map(|(agreement, _)| agreement))
    }
}

/// The response that refuses a request, to be followed by the end of the connection.
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
        // Section 4.4: a server says which versions it knows.
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
