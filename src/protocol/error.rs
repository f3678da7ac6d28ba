//! Errors, grouped by who is to blame: the peer while the connection is open ([`ReceiveError`]), the peer during the
//! opening handshake ([`HandshakeError`]), or the caller ([`SendError`], [`UpgradeRequestError`]). The texts are
//! written here.
//!
//! "More bytes are needed" and "closed normally" are not errors.

use std::fmt;

use super::close_code::{CloseCode, InvalidCloseCode};
use super::extensions::ExtensionsError;
use crate::http::{BodyError, DuplicateHeader, RequestError, Response, ResponseError};
use crate::memory::OutOfMemory;

/// Why an open connection has failed (RFC 6455 section 7.1.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiveError {
    /// The peer broke a rule.
    Protocol(ProtocolError),
    /// A message is over our own limit (section 10.4). Both numbers are in bytes; the length is there if the headers
    /// tell it.
    TooBig { limit: usize, length: Option<u64> },
    /// There is no memory for what the peer sends.
    OutOfMemory,
}

impl ReceiveError {
    /// The code of the close frame that reports the error.
    #[must_use]
    pub fn code(&self) -> CloseCode {
        match self {
            Self::Protocol(error) => error.code(),
            // Section 7.4.1: "too big for it to process" is what a message is that finds no memory. It tells the peer
            // to send less, which 1011 (try again) would not.
            Self::TooBig { .. } | Self::OutOfMemory => CloseCode::MESSAGE_TOO_BIG,
        }
    }
}

impl From<OutOfMemory> for ReceiveError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl From<ProtocolError> for ReceiveError {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(error) => error.fmt(f),
            Self::TooBig { limit, length: None } => {
                write!(f, "message too big (over {limit} bytes; see max_payload_size)")
            }
            Self::TooBig { limit, length: Some(length) } => {
                write!(f, "message too big (over {limit} bytes: it has {length}; see max_payload_size)")
            }
            Self::OutOfMemory => OutOfMemory.fmt(f),
        }
    }
}

impl std::error::Error for ReceiveError {}

/// The rule of RFC 6455 or RFC 7692 that the peer broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// A server masks its frames (section 5.1).
    MaskedFrame,
    /// A client does not mask its frames (section 5.1).
    UnmaskedFrame,
    /// A reserved bit is set without an extension (section 5.2): RSV1, RSV2 and RSV3 as the bits 4, 2 and 1.
    ReservedBits(u8),
    /// Reserved by section 5.2.
    ReservedOpcode(u8),
    /// Forbidden by section 5.5.
    FragmentedControl,
    /// Over 125 bytes (section 5.5).
    ControlTooLong,
    /// There is no message to continue (section 5.4).
    UnexpectedContinuation,
    /// A message begins inside another one (section 5.4).
    InterleavedMessage,
    /// Forbidden by section 5.2.
    LengthNotMinimal,
    /// 2^63 bytes or more (section 5.2).
    LengthTooLong,
    /// Forbidden by section 8.1.
    NotUtf8(Text),
    /// A compressed message cannot be inflated (RFC 7692 section 7.2.2).
    NotDeflate,
    /// A close frame has a body of one byte (section 5.5.1).
    CloseBodyTooShort,
    /// A close frame has a code that may not be sent (section 7.4).
    InvalidCloseCode(u16),
}

/// The texts that must be UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    Message,
    CloseReason,
}

impl ProtocolError {
    /// The code of the close frame: 1007 for the contents of a message or a reason, 1002 for the framing.
    #[must_use]
    pub fn code(self) -> CloseCode {
        match self {
            Self::NotUtf8(_) | Self::NotDeflate => CloseCode::INVALID_FRAME_PAYLOAD_DATA,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaskedFrame => f.write_str("masked frame from a server"),
            Self::UnmaskedFrame => f.write_str("unmasked frame from a client"),
            Self::ReservedBits(bits) => {
                let set = (1..=3).filter(|number| bits & (8 >> number) != 0);
                let names: Vec<_> = set.map(|number| format!("RSV{number}")).collect();
                write!(f, "reserved bit set ({})", names.join(", "))
            }
            Self::ReservedOpcode(opcode) => write!(f, "reserved opcode {opcode}"),
            Self::FragmentedControl => f.write_str("fragmented control frame"),
            Self::ControlTooLong => f.write_str("control frame over 125 bytes"),
            Self::UnexpectedContinuation => f.write_str("continuation frame with no message to continue"),
            Self::InterleavedMessage => f.write_str("new message inside a fragmented message"),
            Self::LengthNotMinimal => f.write_str("payload length not in its shortest form"),
            Self::LengthTooLong => f.write_str("payload length of 2^63 or more"),
            Self::NotUtf8(Text::Message) => f.write_str("text message is not valid UTF-8"),
            Self::NotUtf8(Text::CloseReason) => f.write_str("close reason is not valid UTF-8"),
            Self::NotDeflate => f.write_str("compressed message is not valid DEFLATE"),
            Self::CloseBodyTooShort => f.write_str("close frame with a body of one byte"),
            Self::InvalidCloseCode(code) => write!(f, "invalid close code {code}"),
        }
    }
}

impl std::error::Error for ProtocolError {}

/// The opening handshake failed (RFC 6455 section 4): the client must "_Fail the WebSocket Connection_", or the server
/// must refuse the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// Client only: an HTTP response other than 101, whose head is complete.
    Refused(Box<Response>),
    /// Client only: the response does not complete the handshake.
    Response(InvalidResponse),
    /// Server only: the request must be refused with the status that the error names.
    Request(InvalidRequest),
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(response) => f.write_str(&response.status_line()),
            Self::Response(error) => error.fmt(f),
            Self::Request(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HandshakeError {}

/// The rule of section 4.1 that a server's response breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidResponse {
    Http(ResponseError),
    TooManyInformational,
    Version,
    NoUpgrade,
    NoConnection,
    NoAccept,
    WrongAccept,
    Duplicate(DuplicateHeader),
    Extensions(ExtensionsError),
    ExtensionNotOffered(String),
    /// The parameters of the named extension do not match the offer (RFC 7692 section 7.1).
    Parameters(&'static str, ParametersError),
    SubprotocolNotOffered(String),
    /// The body is not one that is taken.
    Body(BodyError),
    /// TLS in response to a request without it.
    Tls,
    /// 101 in response to a request that asks for no upgrade.
    Switched,
}

impl fmt::Display for InvalidResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(ResponseError::Tls) => write!(f, "{} (is it wss?)", ResponseError::Tls),
            Self::Http(error) => error.fmt(f),
            Self::TooManyInformational => f.write_str("too many informational responses"),
            Self::Version => f.write_str("the response is not HTTP/1.1"),
            Self::NoUpgrade => f.write_str("the response has no \"Upgrade: websocket\""),
            Self::NoConnection => f.write_str("the response has no \"Connection: Upgrade\""),
            Self::NoAccept => f.write_str("the response has no Sec-WebSocket-Accept"),
            Self::WrongAccept => f.write_str("Sec-WebSocket-Accept does not match the request's key"),
            Self::Duplicate(error) => error.fmt(f),
            Self::Extensions(error) => write!(f, "Sec-WebSocket-Extensions: {error}"),
            Self::ExtensionNotOffered(name) => {
                write!(f, "the server selected an extension that was not offered: {name}")
            }
            Self::Parameters(extension, error) => write!(f, "{extension}: {error}"),
            Self::SubprotocolNotOffered(name) => {
                write!(f, "the server selected a subprotocol that was not offered: {name}")
            }
            Self::Body(error) => error.fmt(f),
            Self::Tls => write!(f, "{} (is it https?)", ResponseError::Tls),
            Self::Switched => f.write_str("the server switches protocols unasked"),
        }
    }
}

impl std::error::Error for InvalidResponse {}

impl From<DuplicateHeader> for InvalidResponse {
    fn from(error: DuplicateHeader) -> Self {
        Self::Duplicate(error)
    }
}

/// The rule of section 4.2.1 that a client's request breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidRequest {
    Http(RequestError),
    Method,
    HttpVersion,
    NoHost,
    /// The value of Host is no host.
    Host,
    Target,
    /// The bytes after the head would not be frames, or the body is not one that is taken.
    Body(BodyError),
    NotUpgrade,
    Version,
    Key,
    Duplicate(DuplicateHeader),
    Extensions(ExtensionsError),
}

impl InvalidRequest {
    /// The HTTP status that refuses the request (section 4.2.2).
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Http(RequestError::TooLong) => 431,
            Self::Http(RequestError::TargetTooLong) => 414,
            Self::Method => 405,
            Self::HttpVersion => 505,
            Self::NotUpgrade | Self::Version => 426,
            Self::Body(error) => error.status(),
            Self::Http(_)
            | Self::NoHost
            | Self::Host
            | Self::Target
            | Self::Key
            | Self::Duplicate(_)
            | Self::Extensions(_) => 400,
        }
    }
}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => error.fmt(f),
            Self::Method => f.write_str("the method is not GET"),
            Self::HttpVersion => f.write_str("the HTTP version is not 1.1"),
            Self::NoHost => f.write_str("no Host header"),
            Self::Host => f.write_str("the Host header is not a host"),
            Self::Target => f.write_str("the target is neither a path nor a URL"),
            Self::Body(error) => error.fmt(f),
            Self::NotUpgrade => f.write_str("not a WebSocket upgrade"),
            Self::Version => f.write_str("Sec-WebSocket-Version is not 13"),
            Self::Key => f.write_str("Sec-WebSocket-Key is not 16 bytes in base64"),
            Self::Duplicate(error) => error.fmt(f),
            Self::Extensions(error) => write!(f, "Sec-WebSocket-Extensions: {error}"),
        }
    }
}

impl std::error::Error for InvalidRequest {}

impl From<BodyError> for InvalidRequest {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl From<DuplicateHeader> for InvalidRequest {
    fn from(error: DuplicateHeader) -> Self {
        Self::Duplicate(error)
    }
}

/// Why permessage-deflate parameters cannot be accepted (RFC 7692 section 7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParametersError {
    Unknown(String),
    Twice(String),
    /// A parameter without values has this one.
    UnexpectedValue {
        name: String,
        value: String,
    },
    MissingValue(&'static str),
    /// The window size is not 8 to 15.
    WindowBits {
        name: String,
        value: String,
    },
    /// The offer asks for the parameter, and the answer lacks it.
    Missing(&'static str),
    /// The answer has a larger window than the client has offered.
    AboveOffered {
        bits: u8,
        offered: u8,
    },
}

impl fmt::Display for ParametersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "unknown parameter {name}"),
            Self::Twice(name) => write!(f, "{name} appears twice"),
            Self::UnexpectedValue { name, value } => write!(f, "{name} has a value ({value})"),
            Self::MissingValue(name) => write!(f, "{name} has no value"),
            Self::WindowBits { name, value } => write!(f, "{name} is {value}, not 8 to 15"),
            Self::Missing(name) => write!(f, "{name} was asked for and is missing"),
            Self::AboveOffered { bits, offered } => {
                write!(f, "client_max_window_bits is {bits}, over the {offered} that was offered")
            }
        }
    }
}

impl std::error::Error for ParametersError {}

/// The caller asks for something that cannot be part of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpgradeRequestError {
    Host(String),
    Resource(String),
    Subprotocol(String),
}

impl fmt::Display for UpgradeRequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => write!(f, "{host:?} cannot be the value of a Host header"),
            Self::Resource(resource) => write!(f, "{resource:?} cannot be asked for"),
            Self::Subprotocol(name) => write!(f, "the subprotocol {name:?} is not a token"),
        }
    }
}

impl std::error::Error for UpgradeRequestError {}

/// The caller asked for something that may not be sent. Nothing was sent, and the connection goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The opening handshake has not been completed, or the connection has failed.
    NotOpen,
    /// A close frame was sent; nothing may follow it (section 5.5.1).
    Closing,
    /// 3 to 7 and 11 to 15 are reserved (section 5.2), and a continuation needs an unfinished message.
    Opcode(i64),
    /// A control frame holds at most 125 bytes (section 5.5). Holds the number of bytes given.
    ControlTooLong(usize),
    /// A control frame is one frame (section 5.5).
    ControlFragmented,
    /// A text message must be UTF-8 (section 5.6).
    TextNotUtf8,
    /// The code or the reason of a close frame may not be sent (section 7.4). Holds why.
    Close(String),
    /// The fragments of another message are still being sent (section 5.4).
    MessageInProgress,
    /// There is no memory for the frame.
    OutOfMemory,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen => f.write_str("not connected"),
            Self::Closing => f.write_str("closing"),
            Self::Opcode(opcode) => {
                write!(f, "opcode {opcode} cannot be sent (1 text, 2 binary, 8 close, 9 ping, 10 pong)")
            }
            Self::ControlTooLong(length) => {
                write!(f, "a control frame holds at most 125 bytes, not {length}")
            }
            Self::ControlFragmented => f.write_str("a control frame cannot be fragmented"),
            Self::TextNotUtf8 => f.write_str("a text message must be valid UTF-8"),
            Self::Close(why) => write!(f, "invalid close frame: {why}"),
            Self::MessageInProgress => f.write_str("the fragments of another message are still being sent"),
            Self::OutOfMemory => OutOfMemory.fmt(f),
        }
    }
}

impl std::error::Error for SendError {}

impl From<OutOfMemory> for SendError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl From<InvalidCloseCode> for SendError {
    fn from(error: InvalidCloseCode) -> Self {
        Self::Close(error.to_string())
    }
}
