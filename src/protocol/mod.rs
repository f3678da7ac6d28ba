//! RFC 6455 and RFC 7692: bytes in, events out; messages in, bytes out.
//!
//! Knows nothing of sockets, TLS, proxies, Lua, time or threads, and of HTTP only what an upgrade needs. The two phases
//! of a WebSocket are [`handshake`] (section 4) and [`connection`] (sections 5 to 8); the other files are their
//! building blocks.

pub mod buffer;
pub mod close;
pub mod close_code;
mod config;
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
pub mod spare;
pub mod utf8;

pub use role::Role;
