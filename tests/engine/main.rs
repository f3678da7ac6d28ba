//! Tests of the engine from outside, without Lua and without sockets.

mod connection;
mod deflate;
mod feeding;
mod fuzzing;
mod handshake;
mod http;
mod session;
#[cfg(not(any(windows, target_vendor = "apple")))] // where OpenSSL can make certificates
mod tls;
mod vectors;
