//! The client's end of the opening handshake (RFC 6455 section 4.1): a request out, a response in. Knows nothing of
//! URLs or frames.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::Rng;
use rand::rngs::StdRng;

use super::common::{accept_value, extensions};
use crate::http::response::MAX_HEAD;
use crate::http::{Header, Response, ResponseReader, is_token};
use crate::protocol::deflate::{self, NegotiatedParameters};
use crate::protocol::error::{HandshakeError, InvalidResponse, UpgradeRequestError};
use crate::protocol::extensions::Extension;
use crate::text::shown;

/// The parts of an upgrade request that a user chooses.
///
/// ```
/// use luws::http::Header;
/// use luws::protocol::handshake::UpgradeRequest;
///
/// let mut request = UpgradeRequest::new("example.com:8080", "/chat?room=1")?;
/// request.offer("mqtt")?;
/// request.add(Header::new("Origin", b"https://example.com")?);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct UpgradeRequest {
    host: String,
    resource: String,
    subprotocols: Vec<String>,
    headers: Vec<Header>,
}

impl UpgradeRequest {
    /// Takes the value of the Host header (with a port that is not the scheme's own), and path and query (section 3).
    ///
    /// # Errors
    /// See [`UpgradeRequestError`].
    pub fn new(host: &str, resource: &str) -> Result<Self, UpgradeRequestError> {
        let visible = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        if host.is_empty() || !visible(host) {
            return Err(UpgradeRequestError::Host(host.to_owned()));
        }
        if !resource.starts_with('/') || !visible(resource) {
            return Err(UpgradeRequestError::Resource(resource.to_owned()));
        }
        Ok(Self {
            host: host.into(),
            resource: resource.into(),
            subprotocols: Vec::new(),
            headers: Vec::new(),
        })
    }

    /// Offers a subprotocol (section 1.9). Call it for the preferred one first.
    ///
    /// # Errors
    /// [`UpgradeRequestError::Subprotocol`] if it is not a token.
    pub fn offer(&mut self, subprotocol: &str) -> Result<(), UpgradeRequestError> {
        if !is_token(subprotocol) {
            return Err(UpgradeRequestError::Subprotocol(subprotocol.to_owned()));
        }
        self.subprotocols.push(subprotocol.into());
        Ok(())
    }

    /// Adds a header.
    pub fn add(&mut self, header: Header) {
        self.headers.push(header);
    }
}

/// The subprotocol that the server selected in its response.
#[must_use]
pub fn subprotocol(response: &Response) -> Option<String> {
    let value = response.headers.all("Sec-WebSocket-Protocol").next()?;
    Some(String::from_utf8_lossy(value.trim_ascii()).into_owned())
}

/// A response that completes the handshake.
///
/// See [`ClientHandshake`] for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub response: Response,
    /// The parameters of permessage-deflate, if it is used.
    pub compression: Option<NegotiatedParameters>,
    /// The length of the head in bytes; frames follow it.
    pub length: usize,
}

/// The client's end, which has sent its request and waits for the response.
///
/// ```
/// use luws::protocol::handshake::{ClientHandshake, UpgradeRequest};
/// use rand::SeedableRng;
/// use rand::rngs::StdRng;
///
/// let request = UpgradeRequest::new("example.com", "/")?;
/// let (mut handshake, head) = ClientHandshake::new(&request, None, &mut StdRng::seed_from_u64(1));
/// assert!(head.starts_with(b"GET / HTTP/1.1\r\nHost: example.com\r\n"));
/// assert_eq!(handshake.parse(b"HTTP/1.1 101 Sw")?, None); // more is needed
/// assert!(handshake.parse(b"HTTP/1.1 404 Not Found\r\n\r\n").is_err());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ClientHandshake {
    accept: String,
    subprotocols: Vec<String>,
    deflate: Option<deflate::Options>,
    /// The length of the heads at the start of the input that were read and did not complete the handshake.
    skipped: usize,
    reader: ResponseReader,
}

impl ClientHandshake {
    /// Begins a handshake. Returns its state, and the request to send (section 4.1), which may offer
    /// permessage-deflate.
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
        head.extend(request.headers.iter().flat_map(Header::line));
        head.extend(b"\r\n");
        let handshake = Self {
            accept: accept_value(key.as_bytes()),
            subprotocols: request.subprotocols.clone(),
            deflate: deflate.cloned(),
            skipped: 0,
            reader: ResponseReader::default(),
        };
        (handshake, head)
    }

    /// Looks for the response at the start of `input`, which holds everything received so far. Returns `None` if it is
    /// incomplete.
    ///
    /// # Errors
    /// The response must fail the connection (section 4.1).
    pub fn parse(&mut self, input: &[u8]) -> Result<Option<Accepted>, HandshakeError> {
        loop {
            let read = self.reader.read(&input[self.skipped..]);
            let read = read.map_err(|error| HandshakeError::Response(InvalidResponse::Http(error)))?;
            let Some((response, length)) = read else { return Ok(None) };
            match response.status {
                // Informational responses may come before the final one (RFC 9110 section 15.2).
                100 | 102..=199 => {
                    self.skipped += length;
                    if self.skipped > MAX_HEAD {
                        return Err(HandshakeError::Response(InvalidResponse::TooManyInformational));
                    }
                }
                101 => {
                    let compression = self.verify(&response).map_err(HandshakeError::Response)?;
                    return Ok(Some(Accepted { response, compression, length: self.skipped + length }));
                }
                _ => {
                    self.skipped += length;
                    return Err(HandshakeError::Refused(Box::new(response)));
                }
            }
        }
    }

    /// Where the body begins in the input, after a refusal.
    #[must_use]
    pub fn body_start(&self) -> usize {
        self.skipped
    }

    /// Checks the rules of section 4.1 for a 101 response, in the order given there. Returns the negotiated
    /// compression.
    fn verify(&self, response: &Response) -> Result<Option<NegotiatedParameters>, InvalidResponse> {
        let headers = &response.headers;
        if response.version != 1 {
            return Err(InvalidResponse::Version);
        }
        // A list (RFC 9110 section 7.8); proxies that copy it repeat it.
        let is_websocket = |protocol: &[u8]| protocol.eq_ignore_ascii_case(b"websocket");
        if !headers.lists("Upgrade", "websocket") || !headers.list("Upgrade").all(is_websocket) {
            return Err(InvalidResponse::NoUpgrade);
        }
        if !headers.lists("Connection", "Upgrade") {
            return Err(InvalidResponse::NoConnection);
        }
        match headers.single("Sec-WebSocket-Accept")? {
            None => return Err(InvalidResponse::NoAccept),
            Some(value) if value != self.accept.as_bytes() => return Err(InvalidResponse::WrongAccept),
            Some(_) => {}
        }
        let compression = self.agree(&extensions(headers).map_err(InvalidResponse::Extensions)?)?;
        if let Some(selected) = headers.single("Sec-WebSocket-Protocol")?
            && !self.subprotocols.iter().any(|offered| offered.as_bytes() == selected)
        {
            return Err(InvalidResponse::SubprotocolNotOffered(shown(selected)));
        }
        Ok(compression)
    }

    /// Item 5 of section 4.1: only offered extensions may be selected.
    fn agree(&self, selected: &[Extension]) -> Result<Option<NegotiatedParameters>, InvalidResponse> {
        let mut compression = None;
        for extension in selected {
            match &self.deflate {
                Some(options) if extension.name == deflate::NAME && compression.is_none() => {
                    let parameters = options.agree(extension);
                    let invalid = |error| InvalidResponse::Parameters(deflate::NAME, error);
                    compression = Some(parameters.map_err(invalid)?);
                }
                _ => return Err(InvalidResponse::ExtensionNotOffered(extension.name.clone())),
            }
        }
        Ok(compression)
    }
}
