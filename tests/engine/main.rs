//! Tests of the engine from outside, without Lua and without sockets.

mod connection;
mod deflate;
mod feeding;
mod fuzzing;
mod handshake;
mod http;
mod session;
#[cfg(not(any(windows, target_vendor = "apple")))] // where there is OpenSSL to make certificates
mod tls;
mod vectors;
