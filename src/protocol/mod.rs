//! RFC 6455 and RFC 7692, and nothing else: bytes in, events out; messages in, bytes out.
//!
//! Knows no sockets, no TLS, no proxies, no Lua, no clock and no threads. The two parts of a
//! WebSocket's life are [`handshake`] (section 4) and [`connection`] (sections 5 to 8); the rest of
//! the files are the pieces that those two are made of.

pub mod buffer;
pub mod close;
pub mod connection;
pub mod deflate;
pub mod error;
pub mod extensions;
pub mod frame;
pub mod handshake;
mod incoming;
pub mod mask;
pub mod message;
mod outgoing;
pub mod utf8;

/// Which end of the connection this is (RFC 6455 section 1.2). The two differ in who masks
/// (section 5.1) and in their halves of the opening handshake (section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}
