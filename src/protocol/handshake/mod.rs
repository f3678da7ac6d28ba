//! The opening handshake of RFC 6455 section 4, for both ends: HTTP heads in, HTTP heads out.
//!
//! [`http`](crate::http) reads the heads; this part checks their contents. Knows nothing of URLs or frames.

mod client;
mod common;
mod server;

pub use client::{Accepted, ClientHandshake, UpgradeRequest, subprotocol};
pub use server::{Request, ServerHandshake, check_http, refusal};
