//! Why a negotiation fails, in words. Knows no protocol.

use std::fmt;

use crate::http::ResponseError;
use crate::text::excerpt;

/// Why a negotiation has failed, or cannot begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// The proxy refuses. Holds its own words, escaped.
    Refused(String),
    /// The answer is not in this proxy's protocol. Holds its beginning, escaped.
    Unexpected { proxy: &'static str, start: String },
    /// The proxy cannot do what the options ask for. Holds why.
    Unsupported(&'static str),
    /// A SOCKS proxy; holds which ("SOCKS5").
    Socks(&'static str, SocksError),
    /// The answer to CONNECT cannot be read.
    NotHttp(ResponseError),
    /// An HTTP proxy refuses. Holds its status, its status line, and the schemes of authentication that it asks for.
    Status { status: u16, line: String, schemes: String },
    /// An HTTP proxy is to be asked again, over another connection: [`Negotiation::retry`](super::Negotiation::retry)
    /// says with what.
    Again,
}

/// Why a SOCKS proxy fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocksError {
    /// The answer is not one of this version.
    NotSocks,
    /// The proxy takes none of the methods of authentication.
    NoMethod,
    /// It has chosen a method that was not offered.
    Method(u8),
    /// User or password are wrong.
    Rejected,
    /// The request has failed. Holds the code of SOCKS4.
    Reply4(u8),
    /// The request has failed. Holds the code of SOCKS5.
    Reply5(u8),
    /// The answer has an address of an unknown type.
    AddressType(u8),
    /// The name of the server has over 255 bytes.
    LongName,
    /// The user or the password has over 255 bytes.
    LongCredentials,
    /// SOCKS4 ends a user at a NUL, and what comes after it would be read as the name of a server.
    NulInUser,
    /// SOCKS4 has no IPv6 addresses.
    NoIpv6,
}

impl ProxyError {
    /// The error for an answer that is not in the proxy's protocol.
    #[must_use]
    pub fn unexpected(proxy: &'static str, input: &[u8]) -> Self {
        Self::Unexpected { proxy, start: excerpt(input, 60) }
    }

    /// Whether the proxy knows what it refuses: it wants another password, or its rules do not allow this connection.
    /// Asking again hardly helps.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 401 | 403..=405 | 407),
            Self::Socks(_, error) => matches!(
                error,
                SocksError::NoMethod
                    | SocksError::Rejected
                    | SocksError::Reply4(92 | 93)
                    | SocksError::Reply5(0x02 | 0xf4 | 0xf5)
            ),
            _ => false,
        }
    }

    /// Whether the proxy could not reach the server at this address, though it may at another.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Socks(_, SocksError::Reply4(91) | SocksError::Reply5(1 | 3..=6 | 8)))
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => f.write_str(why),
            Self::Unexpected { proxy, start } => write!(f, "this is not {proxy}: \"{start}\""),
            Self::Unsupported(why) => f.write_str(why),
            Self::Socks(version, SocksError::NotSocks) => write!(f, "not a {version} proxy"),
            Self::Socks(version, error) => write!(f, "{version}: {error}"),
            Self::NotHttp(ResponseError::NotHttp(start)) => write!(f, "not an HTTP proxy: \"{start}\""),
            Self::NotHttp(ResponseError::Tls) => {
                f.write_str("not an HTTP proxy: it speaks TLS (is it https?)")
            }
            Self::NotHttp(error) => write!(f, "HTTP: {error}"),
            Self::Status { line, schemes, .. } if schemes.is_empty() => f.write_str(line),
            Self::Status { line, schemes, .. } => write!(f, "{line} ({schemes})"),
            Self::Again => f.write_str("the proxy closed the connection"),
        }
    }
}

impl std::error::Error for ProxyError {}

/// What the codes of SOCKS5 mean (RFC 1928 section 6), those of Tor's ExtendedErrors included.
const SOCKS5_REPLIES: [(u8, &str); 16] = [
    (0x01, "general SOCKS server failure"),
    (0x02, "connection not allowed by ruleset"),
    (0x03, "network unreachable"),
    (0x04, "host unreachable"),
    (0x05, "connection refused"),
    (0x06, "TTL expired"),
    (0x07, "command not supported"),
    (0x08, "address type not supported"),
    (0xf0, "onion service descriptor not found"),
    (0xf1, "onion service descriptor invalid"),
    (0xf2, "onion service introduction failed"),
    (0xf3, "onion service rendezvous failed"),
    (0xf4, "onion service client authorization missing"),
    (0xf5, "onion service client authorization wrong"),
    (0xf6, "onion service address invalid"),
    (0xf7, "onion service introduction timed out"),
];

/// What the codes of SOCKS4 mean.
const SOCKS4_REPLIES: [(u8, &str); 3] = [
    (91, "request rejected or failed"),
    (92, "request rejected: it cannot reach identd here"),
    (93, "request rejected: identd here names another user"),
];

impl fmt::Display for SocksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSocks => f.write_str("not a SOCKS proxy"),
            Self::NoMethod => f.write_str("no acceptable authentication method"),
            Self::Method(method) => write!(f, "unexpected authentication method {method}"),
            Self::Rejected => f.write_str("authentication rejected"),
            Self::Reply4(code) => write!(f, "{} (reply {code})", meaning(&SOCKS4_REPLIES, *code)),
            // Tor's codes are known by their hexadecimal form.
            Self::Reply5(code @ 0xf0..) => {
                write!(f, "{} (reply 0x{code:X})", meaning(&SOCKS5_REPLIES, *code))
            }
            Self::Reply5(code) => write!(f, "{} (reply {code})", meaning(&SOCKS5_REPLIES, *code)),
            Self::AddressType(kind) => write!(f, "unexpected address type {kind}"),
            Self::LongName => f.write_str("host name longer than 255 bytes"),
            Self::LongCredentials => f.write_str("user or password longer than 255 bytes"),
            Self::NulInUser => f.write_str("user with a NUL in it"),
            Self::NoIpv6 => f.write_str("no IPv6 addresses"),
        }
    }
}

fn meaning(known: &[(u8, &'static str)], code: u8) -> &'static str {
    known.iter().find(|(known, _)| *known == code).map_or("unknown error", |(_, meaning)| meaning)
}
