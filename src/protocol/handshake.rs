//! The opening handshake of RFC 6455 section 4, both ends of it: HTTP heads in, HTTP heads out.
//!
//! The HTTP grammar is the `httparse` crate's; what the heads must say is judged here. Knows no
//! URLs and no frames.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::Rng;
use rand::rngs::StdRng;
use sha1::{Digest, Sha1};

use super::deflate::{self, Agreement};
use super::error::HandshakeError;
use super::extensions::{self, Extension};

/// The longest head that is accepted, in bytes: request or response line, headers, blank line.
pub const MAX_HEAD: usize = 16 * 1024;

/// The most headers that are accepted.
pub const MAX_HEADERS: usize = 100;

/// Section 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Headers as they stood on the wire, in order. Names are compared without regard to case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, Vec<u8>)>);

impl Headers {
    fn from_httparse(headers: &[httparse::Header<'_>]) -> Self {
        Self(headers.iter().map(|header| (header.name.to_owned(), header.value.to_vec())).collect())
    }

    /// Every value of the header, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_slice())
    }

    /// The elements of a header that is a comma-separated list, over all its lines.
    fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.all(name).flat_map(|v| v.split(|b| *b == b',')).map(<[u8]>::trim_ascii).filter(|e| !e.is_empty())
    }

    /// What stands in Sec-WebSocket-Extensions, over all its lines (section 9.1).
    fn extensions(&self) -> Result<Vec<Extension>, String> {
        let lines: Vec<_> = self.all("Sec-WebSocket-Extensions").map(String::from_utf8_lossy).collect();
        extensions::parse(&lines.join(",")).map_err(|why| format!("Sec-WebSocket-Extensions: {why}"))
    }

    fn lists(&self, name: &str, token: &str) -> bool {
        self.list(name).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The value of a header that may stand only once.
    fn single<'a>(&'a self, name: &'a str) -> Result<Option<&'a [u8]>, String> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(format!("more than one {name} header")),
            (value, None) => Ok(value.map(<[u8]>::trim_ascii)),
        }
    }
}

/// What a client asks for.
#[derive(Clone, Debug, Default)]
pub struct UpgradeRequest {
    /// The value of the Host header: with its port unless that is the scheme's own.
    pub host: String,
    /// Path and query (section 3).
    pub resource: String,
    /// Offered subprotocols, the preferred one first (section 1.9).
    pub subprotocols: Vec<String>,
    /// What to offer of permessage-deflate.
    pub deflate: Option<deflate::Options>,
    /// Further headers, sent as they are. See [`check_header`].
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Whether a header may be sent: its name a token (RFC 9110 section 5.6.2), its value on one line.
///
/// # Errors
/// Says what is wrong; with CR, LF or NUL in it, one header could smuggle in others.
pub fn check_header(name: &str, value: &[u8]) -> Result<(), String> {
    if !is_token(name) {
        return Err(format!("header name {name:?} is not a token"));
    }
    if value.iter().any(|b| *b < 0x20 && *b != b'\t' || *b == 0x7f) {
        return Err(format!("the value of header {name} has a control character in it"));
    }
    Ok(())
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}

/// A head that was answered to an upgrade request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The minor version of HTTP/1.
    pub version: u8,
    pub status: u16,
    pub reason: String,
    pub headers: Headers,
}

impl Response {
    /// The first line, as in `HTTP/1.1 404 Not Found`.
    #[must_use]
    pub fn status_line(&self) -> String {
        format!("HTTP/1.{} {} {}", self.version, self.status, self.reason).trim_end().to_owned()
    }

    /// The length of the body in bytes, as far as the head says it.
    #[must_use]
    pub fn content_length(&self) -> Option<usize> {
        std::str::from_utf8(self.headers.all("Content-Length").next()?).ok()?.trim().parse().ok()
    }

    /// The subprotocol that the server selected.
    #[must_use]
    pub fn subprotocol(&self) -> Option<String> {
        let value = self.headers.all("Sec-WebSocket-Protocol").next()?;
        Some(String::from_utf8_lossy(value.trim_ascii()).into_owned())
    }
}

/// A response that completes the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub response: Response,
    /// What was agreed upon of permessage-deflate.
    pub compression: Option<Agreement>,
    /// In bytes; what follows are frames.
    pub length: usize,
}

/// The client's end: has sent its request and waits for the response.
#[derive(Debug)]
pub struct ClientHandshake {
    accept: String,
    subprotocols: Vec<String>,
    deflate: Option<deflate::Options>,
    /// The length of the complete heads at the start of the input that did not complete the handshake.
    skipped: usize,
    scanned: usize,
}

impl ClientHandshake {
    /// Begins a handshake: its state, and the request to send (section 4.1).
    ///
    /// The headers of `request` are taken as they are; check them first ([`check_header`]).
    #[must_use]
    pub fn new(request: &UpgradeRequest, rng: &mut StdRng) -> (Self, Vec<u8>) {
        let mut nonce = [0; 16];
        rng.fill_bytes(&mut nonce);
        let key = BASE64.encode(nonce);
        let mut head = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n",
            request.resource, request.host
        );
        if !request.subprotocols.is_empty() {
            head += &format!("Sec-WebSocket-Protocol: {}\r\n", request.subprotocols.join(", "));
        }
        if let Some(options) = &request.deflate {
            head += &format!("Sec-WebSocket-Extensions: {}\r\n", options.offer());
        }
        let mut head = head.into_bytes();
        for (name, value) in &request.headers {
            head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        head.extend(b"\r\n");
        let handshake = Self {
            accept: accept_value(key.as_bytes()),
            subprotocols: request.subprotocols.clone(),
            deflate: request.deflate.clone(),
            skipped: 0,
            scanned: 0,
        };
        (handshake, head)
    }

    /// Looks for the response at the start of `input`, which is all that has come so far; `None` if it is
    /// not complete.
    ///
    /// # Errors
    /// Whatever must fail the connection by section 4.1.
    pub fn parse(&mut self, input: &[u8]) -> Result<Option<Accepted>, HandshakeError> {
        loop {
            let rest = &input[self.skipped..];
            check_start(rest)?;
            let Some(length) = find_head(rest, &mut self.scanned)? else { return Ok(None) };
            let response = parse_response(&rest[..length])?;
            match response.status {
                // Informational responses may come before the final one (RFC 9110 section 15.2).
                100 | 102..=199 => {
                    self.skipped += length;
                    self.scanned = 0;
                    if self.skipped > MAX_HEAD {
                        return Err(HandshakeError::invalid("too many informational responses"));
                    }
                }
                101 => {
                    let compression = self.verify(&response).map_err(HandshakeError::Invalid)?;
                    return Ok(Some(Accepted { response, compression, length: self.skipped + length }));
                }
                _ => {
                    self.skipped += length;
                    return Err(HandshakeError::Refused(Box::new(response)));
                }
            }
        }
    }

    /// Behind a refusal: where its body begins in the input.
    #[must_use]
    pub fn body_start(&self) -> usize {
        self.skipped
    }

    /// The rules of section 4.1 for a 101 response, in their order there. What was agreed upon.
    fn verify(&self, response: &Response) -> Result<Option<Agreement>, String> {
        let headers = &response.headers;
        if response.version != 1 {
            return Err("the response is not HTTP/1.1".into());
        }
        if !headers.single("Upgrade")?.is_some_and(|v| v.eq_ignore_ascii_case(b"websocket")) {
            return Err("the response has no \"Upgrade: websocket\"".into());
        }
        if !headers.lists("Connection", "Upgrade") {
            return Err("the response has no \"Connection: Upgrade\"".into());
        }
        match headers.single("Sec-WebSocket-Accept")? {
            None => return Err("the response has no Sec-WebSocket-Accept".into()),
            Some(value) if value != self.accept.as_bytes() => {
                return Err("Sec-WebSocket-Accept does not match the request's key".into());
            }
            Some(_) => {}
        }
        let compression = self.agree(&headers.extensions()?)?;
        if let Some(selected) = headers.single("Sec-WebSocket-Protocol")?
            && !self.subprotocols.iter().any(|offered| offered.as_bytes() == selected)
        {
            let name = String::from_utf8_lossy(selected);
            return Err(format!("the server selected a subprotocol that was not offered: {name}"));
        }
        Ok(compression)
    }

    /// Item 5 of section 4.1: only what was offered may be selected.
    fn agree(&self, selected: &[Extension]) -> Result<Option<Agreement>, String> {
        let mut compression = None;
        for extension in selected {
            match &self.deflate {
                Some(options) if extension.name == deflate::NAME && compression.is_none() => {
                    let agreement = options.agree(extension);
                    compression = Some(agreement.map_err(|why| format!("{}: {why}", extension.name))?);
                }
                _ => {
                    let name = &extension.name;
                    return Err(format!("the server selected an extension that was not offered: {name}"));
                }
            }
        }
        Ok(compression)
    }
}

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
    /// permessage-deflate. `subprotocol` is one of those that the client offered.
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
        if let Some(name) = subprotocol {
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

/// Sec-WebSocket-Accept for a key as it stood in the request (section 4.2.2, item 5.4).
fn accept_value(key: &[u8]) -> String {
    BASE64.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// Fails as soon as the bytes cannot become an HTTP/1 response, so that a server which speaks
/// something else is found out at once and not by a time-out.
fn check_start(input: &[u8]) -> Result<(), HandshakeError> {
    const START: &[u8] = b"HTTP/1.";
    let count = input.len().min(START.len());
    if input[..count] == START[..count] {
        return Ok(());
    }
    let line = input.split(|b| *b == b'\r' || *b == b'\n').next().unwrap_or_default();
    let shown = line[..line.len().min(60)].escape_ascii();
    Err(HandshakeError::invalid(format!("the answer is not HTTP: \"{shown}\"")))
}

/// The length of the head at the start of `input`, its blank line included. `scanned` remembers
/// how far earlier calls have looked, so that a head that drips in costs no more than another.
fn find_head(input: &[u8], scanned: &mut usize) -> Result<Option<usize>, HandshakeError> {
    let from = scanned.saturating_sub(3).min(input.len());
    let end = input[from..].windows(4).position(|w| w == b"\r\n\r\n").map(|at| from + at + 4);
    *scanned = input.len();
    if end.unwrap_or(input.len()) > MAX_HEAD {
        return Err(HandshakeError::invalid(format!("the head is over {MAX_HEAD} bytes")));
    }
    Ok(end)
}

fn parse_response(head: &[u8]) -> Result<Response, HandshakeError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(HandshakeError::invalid("the head is incomplete")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(HandshakeError::invalid(format!("over {MAX_HEADERS} headers")));
        }
        Err(error) => return Err(HandshakeError::invalid(error.to_string())),
    }
    Ok(Response {
        version: parsed.version.unwrap_or(0),
        status: parsed.code.unwrap_or(0),
        reason: parsed.reason.unwrap_or("").to_owned(),
        headers: Headers::from_httparse(parsed.headers),
    })
}
