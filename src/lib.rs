//! luws: WebSocket (RFC 6455) for Lua programs, by polling.
//!
//! ```text
//!   Lua program          wsopen  wssend  wsreceive  wsclose, handlers
//!        |
//!   lua/                 the driver: the API, the life of a connection, handlers
//!        |
//!   src/lua              the binding: sessions and sockets as Lua objects (feature lua51 and its like)
//!      /    \
//!    net    session      proxies -> TLS -> upgrade -> frames: bytes of the wire in, events out
//!          /   |   \
//!     proxy   tls   protocol   RFC 6455 and 7692
//!                      |
//!                     http     heads and bodies of HTTP/1.1
//! ```
//!
//! The engine ([`session`], [`proxy`], [`tls`], [`protocol`], [`http`]) does no I/O: it is fed bytes and asked for
//! events. Without the Lua features the crate is this engine, with both roles of the protocol, and the client's TCP
//! sockets ([`net`]). [`session::Session`] is where to begin, and `examples/blocking_client.rs` is a client.

pub mod address;
pub mod cookies;
pub mod files;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod json;
pub mod memory;
pub mod net;
pub mod network;
pub mod protocol;
pub mod proxy;
pub mod relay;
pub mod session;
pub mod socketio;
pub mod text;
pub mod tls;
pub mod url;

#[cfg(feature = "lua")]
mod lua;
