//! The client's end of the opening handshake (RFC 6455 section 4.1): a request out, a response in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::Rng;
use rand::rngs::StdRng;

use super::{Header, Headers, MAX_HEAD, MAX_HEADERS, accept_value, find_head, is_token};
use crate::protocol::deflate::{self, Agreement};
use crate::protocol::error::HandshakeError;
use crate::protocol::extensions::Extension;

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct UpgradeRequest {
    host: String,
    resource: String,
    subprotocols: Vec<String>,
    headers: Vec<Header>,
}

impl UpgradeRequest {
    /// The value of the Host header (with its port unless that is the scheme's own), and path and query (section 3).
    ///
    /// # Errors
    /// Says which of them cannot stand in a request.
    pub fn new(host: &str, resource: &str) -> Result<Self, String> {
        let visible = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        if host.is_empty() || !visible(host) {
            return Err(format!("{host:?} cannot be the value of a Host header"));
        }
        if !resource.starts_with('/') || !visible(resource) {
            return Err(format!("{resource:?} cannot be asked for"));
        }
        Ok(Self {
            host: host.into(),
            resource: resource.into(),
            subprotocols: Vec::new(),
            headers: Vec::new(),
        })
    }

    /// Offers a subprotocol (section 1.9), the preferred one first.
    ///
    /// # Errors
    /// It is not a token.
    pub fn offer(&mut self, subprotocol: &str) -> Result<(), String> {
        if !is_token(subprotocol) {
            return Err(format!("the subprotocol {subprotocol:?} is not a token"));
        }
        self.subprotocols.push(subprotocol.into());
        Ok(())
    }

    /// Adds a header.
    pub fn add(&mut self, header: Header) {
        self.headers.push(header);
    }
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

    /// The body, as far as it has come, and whether that is all of it (RFC 9112 section 6). `received` is what came
    /// behind the head. Where the head does not tell where the body ends, the connection's end does.
    #[must_use]
    pub fn body(&self, received: &[u8]) -> (Vec<u8>, bool) {
        if self.headers.lists("Transfer-Encoding", "chunked") {
            return unchunk(received);
        }
        let length =
            self.headers.all("Content-Length").next().and_then(|value| std::str::from_utf8(value).ok());
        let length = match self.status {
            204 | 304 => 0,
            _ => length.and_then(|text| text.trim().parse().ok()).unwrap_or(usize::MAX),
        };
        (received[..received.len().min(length)].to_vec(), received.len() >= length)
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
    /// Begins a handshake: its state, and the request to send (section 4.1), which may offer permessage-deflate.
    #[must_use]
    pub fn new(
        request: &UpgradeRequest,
        deflate: Option<&deflate::Options>,
        rng: &mut StdRng,
    ) -> (Self, Vec<u8>) {
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
        if let Some(options) = deflate {
            head += &format!("Sec-WebSocket-Extensions: {}\r\n", options.offer());
        }
        let mut head = head.into_bytes();
        for Header { name, value } in &request.headers {
            head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        head.extend(b"\r\n");
        let handshake = Self {
            accept: accept_value(key.as_bytes()),
            subprotocols: request.subprotocols.clone(),
            deflate: deflate.cloned(),
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

/// What chunks (RFC 9112 section 7.1) hold, and whether the last one has come, or nothing that could be one.
fn unchunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let (start, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete((start, size))) => {
                (start, usize::try_from(size).unwrap_or(usize::MAX))
            }
            Ok(httparse::Status::Partial) => return (body, false),
            Err(_) => return (body, true),
        };
        if size == 0 {
            return (body, true);
        }
        let data = &rest[start..];
        body.extend_from_slice(&data[..data.len().min(size)]);
        let Some(behind) = data.get(size..).and_then(|behind| behind.get(b"\r\n".len()..)) else {
            return (body, false);
        };
        rest = behind;
    }
}

/// Fails as soon as the bytes cannot become an HTTP/1 response, so that a server which speaks
/// something else is found out at once and not by a time-out.
fn check_start(input: &[u8]) -> Result<(), HandshakeError> {
    const START: &[u8] = b"HTTP/1.";
    let count = input.len().min(START.len());
    if input[..count] == START[..count] {
        return Ok(());
    }
    // An alert of TLS, in answer to what was taken for a ClientHello (RFC 8446 section 5.1).
    if input.first() == Some(&0x15) {
        return Err(HandshakeError::invalid("the answer is TLS: is this a wss server?"));
    }
    let line = input.split(|b| *b == b'\r' || *b == b'\n').next().unwrap_or_default();
    let shown = line[..line.len().min(60)].escape_ascii();
    Err(HandshakeError::invalid(format!("the answer is not HTTP: \"{shown}\"")))
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
