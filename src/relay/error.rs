//! The faults of a peer's stream.

use std::fmt;

use crate::memory::OutOfMemory;

/// Why a peer's bytes cannot be cut into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingError {
    /// A message is longer than the limit.
    TooLong {
        limit: usize,
    },
    /// The length that the peer gives for a message is below one byte.
    Length,
    OutOfMemory,
}

impl fmt::Display for FramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => write!(f, "a message of the peer is longer than {limit} bytes"),
            Self::Length => f.write_str("the peer gives a message a length below one byte"),
            Self::OutOfMemory => OutOfMemory.fmt(f),
        }
    }
}

impl std::error::Error for FramingError {}

impl From<OutOfMemory> for FramingError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}
