//! HTTP/1.1 messages (RFC 9112) as bytes: reads heads, bodies and dates, writes heads, and answers
//! challenges.
//!
//! Requests are read strictly, because a server decides what it lets in. Responses are read leniently, because a client
//! gains nothing by rejecting a well-meaning server. Knows nothing of sockets, or of the protocols on top of HTTP: the
//! upgrade to WebSocket is in [`protocol::handshake`](crate::protocol::handshake).

pub mod auth;
pub mod body;
pub mod coding;
pub mod date;
mod head;
pub mod headers;
pub mod outgoing;
pub mod reply;
pub mod request;
pub mod response;
pub mod skip;
pub mod upload;

pub use body::Body;
pub use headers::{DuplicateHeader, Header, HeaderError, Headers, is_token};
pub use outgoing::{Outgoing, OutgoingError};
pub use reply::Reply;
pub use request::{Request, RequestError, RequestReader};
pub use response::{Response, ResponseError, ResponseReader};
pub use upload::{BodyError, BodyReader, Upload};
