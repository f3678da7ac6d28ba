//! The opening handshake of RFC 6455 section 4, both ends of it: HTTP heads in, HTTP heads out.
//!
//! The heads are read by [`http`](crate::http); this part judges what they must say. Knows no URLs and no
//! frames.

mod client;
mod common;
mod server;

pub use client::{Accepted, ClientHandshake, UpgradeRequest, subprotocol};
pub use server::{Request, ServerHandshake, refusal};
