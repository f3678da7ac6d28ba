//! The parts of the opening handshake that both ends need: the hash of the key and the list of extensions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::{Digest, Sha1};

use crate::http::Headers;
use crate::protocol::extensions::{self, Extension, ExtensionsError};

/// RFC 6455 section 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The value of Sec-WebSocket-Accept for the key in a request (section 4.2.2, item 5.4).
pub(super) fn accept_value(key: &[u8]) -> String {
    BASE64.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// The list in Sec-WebSocket-Extensions, from all its lines (section 9.1).
pub(super) fn extensions(headers: &Headers) -> Result<Vec<Extension>, ExtensionsError> {
    let lines: Vec<_> = headers.all("Sec-WebSocket-Extensions").map(String::from_utf8_lossy).collect();
    extensions::parse(&lines.join(","))
}
