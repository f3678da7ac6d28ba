//! Tests of the engine from outside, without Lua and without sockets.

mod connection;
mod deflate;
mod feeding;
mod fuzzing;
mod handshake;
mod session;
mod vectors;
