//! RFC 6455 and RFC 7692, and nothing else: bytes in, events out; messages in, bytes out.
//!
//! Knows no sockets, no TLS, no proxies, no Lua, no clock and no threads, and of HTTP only what an upgrade needs. The
//! two parts of a WebSocket's life are [`handshake`] (section 4) and [`connection`] (sections 5 to 8); the rest of
//! the files are the pieces that those two are made of.

pub mod buffer;
pub mod close;
pub mod close_code;
pub mod connection;
pub mod deflate;
pub mod error;
pub mod event;
pub mod extensions;
pub mod frame;
pub mod handshake;
mod incoming;
pub mod mask;
pub mod message;
mod outgoing;
mod role;
pub mod utf8;

pub use role::Role;
