//! The peers of a bridge: how the bytes that they send become messages ([`framing`]). Does no I/O, and knows nothing of
//! Lua.

mod config;
mod error;
pub mod framing;
mod json;
pub mod peer;
mod rule;

pub use error::FramingError;
pub use rule::Rule;
