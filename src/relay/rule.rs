//! The rules by which a peer's bytes become messages: where the next one ends, and what kind it is.

use memchr::memmem::Finder;

use super::error::FramingError;
use super::json::{Scanned, Scanner};
use crate::protocol::utf8;

/// Whether messages are text or binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Text,
    Binary,
    /// Text if it is UTF-8.
    ByContent,
}

/// The order of a number's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    Big,
    Little,
}

/// What a message is.
///
/// See [`Framer`](super::framing::Framer) for an example.
#[derive(Clone, Debug)]
pub enum Rule {
    /// What a read has brought.
    AtOnce(Sort),
    /// Everything up to these bytes, and with them.
    Separator(Box<Finder<'static>>, Sort),
    /// This number of bytes, which is not 0.
    Fixed(usize),
    /// `offset` bytes, a number of 32 bits, and that many bytes and `extra` more.
    Dynamic { offset: usize, extra: i64, endian: Endian },
    /// One JSON value.
    Json,
    /// What the owner says, who looks at what is held.
    Owners,
}

/// What a rule has found at the front of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No message yet.
    Nothing,
    /// A message of this length, which may not be complete.
    Message(usize, Sort),
    AsMuchAsThereIs(Sort),
}

impl Rule {
    pub(super) fn find(
        &self,
        held: &[u8],
        searched: &mut usize,
        scanner: &mut Scanner,
    ) -> Result<Found, FramingError> {
        Ok(match self {
            Self::AtOnce(sort) => Found::AsMuchAsThereIs(*sort),
            Self::Separator(finder, sort) => {
                let length = finder.needle().len();
                if let Some(at) = finder.find(&held[*searched..]) {
                    return Ok(Found::Message(*searched + at + length, *sort));
                }
                // Its first bytes may have come.
                *searched = (*searched).max((held.len() + 1).saturating_sub(length));
                Found::Nothing
            }
            Self::Fixed(length) => Found::Message(*length, Sort::Binary),
            Self::Dynamic { offset, extra, endian } => {
                let number = held.get(*offset..).and_then(|rest| rest.first_chunk());
                let Some(number) = number.map(|bytes| endian.read(*bytes)) else { return Ok(Found::Nothing) };
                let total = i128::from(number) + i128::from(*extra) + *offset as i128 + 4;
                if total < 1 {
                    return Err(FramingError::Length);
                }
                Found::Message(usize::try_from(total).unwrap_or(usize::MAX), Sort::Binary)
            }
            Self::Json => match scanner.scan(held)? {
                Scanned::Unfinished => Found::Nothing,
                Scanned::Value(length) if utf8::is_valid(&held[..length]) => {
                    Found::Message(length, Sort::Text)
                }
                Scanned::Value(_) | Scanned::NotJson => Found::AsMuchAsThereIs(Sort::Binary),
            },
            Self::Owners => Found::Nothing,
        })
    }

    /// What the rest of a stream is sent as.
    pub(super) fn sort_of_rest(&self, scanner: &Scanner) -> Sort {
        match self {
            Self::AtOnce(sort) | Self::Separator(_, sort) => *sort,
            Self::Json if scanner.is_number() => Sort::Text,
            Self::Fixed(_) | Self::Dynamic { .. } | Self::Json | Self::Owners => Sort::Binary,
        }
    }
}

impl Endian {
    fn read(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Big => u32::from_be_bytes(bytes),
            Self::Little => u32::from_le_bytes(bytes),
        }
    }
}
