//! What can go wrong, sorted by who is to blame: the peer while the connection was open
//! ([`ProtocolError`]), the peer during the opening handshake ([`HandshakeError`]), or the caller
//! ([`SendError`]). "No more bytes yet" and "closed normally" are not errors and have no place here.

use std::fmt;

use super::close::CloseCode;
use super::handshake::Response;

/// The peer broke a rule of RFC 6455, or went over a limit of ours; the connection has failed
/// (section 7.1.7). `code` is what the close frame tells the peer, the message names the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolError {
    pub code: CloseCode,
    message: String,
}

impl ProtocolError {
    /// Close code 1002: a rule of the framing was broken.
    pub(crate) fn framing(message: impl Into<String>) -> Self {
        Self { code: CloseCode::PROTOCOL_ERROR, message: message.into() }
    }

    /// Close code 1007: a text message or a close reason is not UTF-8 (section 8.1).
    pub(crate) fn not_utf8(what: &str) -> Self {
        Self { code: CloseCode::INVALID_PAYLOAD, message: format!("{what} is not valid UTF-8") }
    }

    /// Close code 1007: a compressed message is not DEFLATE (RFC 7692 section 7.2.2).
    pub(crate) fn not_deflate() -> Self {
        Self { code: CloseCode::INVALID_PAYLOAD, message: "compressed message is not valid DEFLATE".into() }
    }

    /// Close code 1009: a message is over the limit (section 10.4).
    pub(crate) fn too_big(limit: usize) -> Self {
        Self { code: CloseCode::TOO_BIG, message: format!("message too big (over {limit} bytes)") }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ProtocolError {}

/// The opening handshake failed (RFC 6455 section 4): the client's "_Fail the WebSocket
/// Connection_", or a request that a server must refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// An HTTP response other than 101, whose head is complete; its status line is the message.
    Refused(Box<Response>),
    /// What came is not the handshake that it should be.
    Invalid(String),
    /// A server's view: the request must be answered with this HTTP status (section 4.2.2).
    BadRequest { status: u16, message: String },
}

impl HandshakeError {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    pub(crate) fn bad_request(status: u16, message: impl Into<String>) -> Self {
        Self::BadRequest { status, message: message.into() }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(response) => f.write_str(&response.status_line()),
            Self::Invalid(message) | Self::BadRequest { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for HandshakeError {}

/// The caller asked for something that may not be sent. Nothing was sent, the connection goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The opening handshake has not been completed, or the connection has failed.
    NotOpen,
    /// A close frame was sent; nothing may follow it (section 5.5.1).
    Closing,
    /// 3 to 7 and 11 to 15 are reserved (section 5.2), and 0 is not for the caller to choose.
    Opcode(i64),
    /// A control frame holds at most 125 bytes (section 5.5). The number of bytes that were given.
    ControlTooLong(usize),
    /// A control frame is one frame (section 5.5).
    ControlFragmented,
    /// A text message has to be UTF-8 (section 5.6).
    TextNotUtf8,
    /// The code or the reason of a close frame may not be sent (section 7.4); says why.
    Close(String),
    /// The fragments of another message are still being sent (section 5.4).
    MessageInProgress,
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
        }
    }
}

impl std::error::Error for SendError {}
