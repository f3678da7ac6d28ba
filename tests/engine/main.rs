//! Tests of the engine from outside, without Lua and without sockets.

mod asking;
#[cfg(not(any(windows, target_vendor = "apple")))] // where OpenSSL can make certificates
mod certificate;
mod connection;
mod cookies;
mod deflate;
mod feeding;
mod framing;
mod fuzzing;
mod handshake;
mod http;
mod proxies;
mod redirects;
mod serving;
mod session;
#[cfg(not(any(windows, target_vendor = "apple")))]
mod tls;
mod tls_server;
mod vectors;
