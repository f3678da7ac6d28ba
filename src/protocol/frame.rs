//! The frame header of RFC 6455 section 5.2, parsed and written by pure functions.
//!
//! Knows nothing of the connection: `incoming` checks who may mask, which reserved bits an extension uses, and the
//! order of frames.

use std::fmt;

use super::buffer::Buffer;
use super::error::ProtocolError;
use super::mask;
use crate::memory::OutOfMemory;

/// The maximum payload of a control frame, in bytes (section 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// The longest frame header: two bytes, a 64-bit length and a masking key.
pub const MAX_HEADER: usize = 14;

/// The opcodes that section 5.2 defines; all others are reserved.
///
/// ```
/// use luws::protocol::frame::Opcode;
///
/// assert_eq!(Opcode::Ping as u8, 9);
/// assert!(Opcode::Ping.is_control() && !Opcode::Text.is_control());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl TryFrom<u8> for Opcode {
    type Error = ProtocolError;

    /// # Errors
    /// [`ProtocolError::ReservedOpcode`].
    fn try_from(number: u8) -> Result<Self, ProtocolError> {
        match number {
            0 => Ok(Self::Continuation),
            1 => Ok(Self::Text),
            2 => Ok(Self::Binary),
            8 => Ok(Self::Close),
            9 => Ok(Self::Ping),
            10 => Ok(Self::Pong),
            _ => Err(ProtocolError::ReservedOpcode(number)),
        }
    }
}

impl Opcode {
    /// Whether it is close, ping or pong (section 5.5).
    #[must_use]
    pub fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// The forms of a payload length that are accepted.
///
/// See [`FrameHeader`] for an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lengths {
    /// The shortest one only (section 5.2).
    Shortest,
    /// Longer ones as well.
    Any,
}

/// A frame header that obeys every rule that does not depend on the connection.
///
/// ```
/// use luws::protocol::frame::{FrameHeader, Lengths, Opcode};
///
/// assert_eq!(FrameHeader::parse(&[0x81], Lengths::Shortest)?, None); // more is needed
/// let (header, length) = FrameHeader::parse(&[0x81, 0x05, b'h'], Lengths::Shortest)?.unwrap();
/// assert_eq!((header.opcode, header.payload_length, length), (Opcode::Text, 5, 2));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub fin: bool,
    /// RSV1, RSV2 and RSV3 as the bits 4, 2 and 1.
    pub rsv: u8,
    pub opcode: Opcode,
    pub masking_key: Option<[u8; 4]>,
    /// In bytes, below 2^63.
    pub payload_length: u64,
}

/// RSV1 in [`FrameHeader::rsv`]: marks the first frame of a compressed message (RFC 7692 section 6).
pub const RSV1: u8 = 4;

impl fmt::Display for FrameHeader {
    /// Formats it as `text (opcode 1), 5 bytes, fin=1 rsv=000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{:?}", self.opcode).to_lowercase();
        let fin = u8::from(self.fin);
        write!(f, "{name} (opcode {}), {} bytes, ", self.opcode as u8, self.payload_length)?;
        write!(f, "fin={fin} rsv={:03b}", self.rsv)
    }
}

/// A record of received or sent headers for a log. It is off by default, and keeps at most a thousand headers.
#[derive(Debug, Default)]
pub struct Trace(Option<Vec<FrameHeader>>);

impl Trace {
    pub fn set(&mut self, on: bool) {
        self.0 = on.then(Vec::new);
    }

    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub fn record(&mut self, header: FrameHeader) {
        if let Some(headers) = self.0.as_mut().filter(|headers| headers.len() < 1000) {
            headers.push(header);
        }
    }

    /// Returns the headers recorded since the last call.
    pub fn take(&mut self) -> Vec<FrameHeader> {
        self.0.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

impl FrameHeader {
    /// Whether RSV1 is set.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.rsv & RSV1 != 0
    }

    /// Returns the header at the start of `bytes` and its own length in bytes, or `None` if it is incomplete. A broken
    /// rule is reported as soon as the byte that breaks it is there.
    ///
    /// # Errors
    /// A reserved opcode, a control frame that is fragmented or over 125 bytes, a length that is in a form not accepted
    /// or has its highest bit set: close code 1002 for all of them.
    pub fn parse(bytes: &[u8], lengths: Lengths) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let fin = first & 0x80 != 0;
        let number = first & 0x0f;
        let opcode = Opcode::try_from(number)?;
        if opcode.is_control() && !fin {
            return Err(ProtocolError::FragmentedControl);
        }
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let (payload_length, mut length) = match second & 0x7f {
            126 | 127 if opcode.is_control() && lengths == Lengths::Shortest => {
                return Err(ProtocolError::ControlTooLong);
            }
            126 => {
                let Some(extended) = array(bytes, 2) else { return Ok(None) };
                let extended = u64::from(u16::from_be_bytes(extended));
                if extended < 126 && lengths == Lengths::Shortest {
                    return Err(ProtocolError::LengthNotMinimal);
                }
                (extended, 4)
            }
            127 => {
                let Some(extended) = array(bytes, 2) else { return Ok(None) };
                let extended = u64::from_be_bytes(extended);
                if extended >> 63 != 0 {
                    return Err(ProtocolError::LengthTooLong);
                }
                if u16::try_from(extended).is_ok() && lengths == Lengths::Shortest {
                    return Err(ProtocolError::LengthNotMinimal);
                }
                (extended, 10)
            }
            short => (u64::from(short), 2),
        };
        if lengths == Lengths::Any && opcode.is_control() && payload_length > MAX_CONTROL_PAYLOAD as u64 {
            return Err(ProtocolError::ControlTooLong);
        }
        let mut masking_key = None;
        if second & 0x80 != 0 {
            let Some(key) = array(bytes, length) else { return Ok(None) };
            masking_key = Some(key);
            length += 4;
        }
        let rsv = first >> 4 & 7;
        Ok(Some((Self { fin, rsv, opcode, masking_key, payload_length }, length)))
    }

    /// Writes the header in its shortest form to the start of `bytes`, which has room for [`MAX_HEADER`]. Returns its
    /// length.
    fn put(&self, bytes: &mut [u8]) -> usize {
        bytes[0] = u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode as u8;
        let mut length = match self.payload_length {
            short @ 0..=125 => {
                bytes[1] = short as u8;
                2
            }
            medium @ 126..=0xffff => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&(medium as u16).to_be_bytes());
                4
            }
            long => {
                bytes[1] = 127;
                bytes[2..10].copy_from_slice(&long.to_be_bytes());
                10
            }
        };
        if let Some(key) = self.masking_key {
            bytes[1] |= 0x80;
            bytes[length..length + 4].copy_from_slice(&key);
            length += 4;
        }
        length
    }

    /// The bytes of the header in its shortest form, and how many they are.
    pub(super) fn bytes(&self) -> ([u8; MAX_HEADER], usize) {
        let mut bytes = [0; MAX_HEADER];
        let length = self.put(&mut bytes);
        (bytes, length)
    }

    /// Appends the header in its shortest form.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn write(&self, output: &mut Buffer) -> Result<(), OutOfMemory> {
        let length = self.put(output.space(MAX_HEADER)?);
        output.commit(length);
        Ok(())
    }
}

/// The length in bytes of the header of a frame with this much payload.
#[must_use]
pub fn header_len(payload: usize, masked: bool) -> usize {
    let length = match payload {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    if masked { length + 4 } else { length }
}

/// Appends a whole frame, masked if there is a key. `header` must have the length of `payload`.
///
/// # Errors
/// There is no memory for it.
pub fn write(header: FrameHeader, payload: &[u8], output: &mut Buffer) -> Result<(), OutOfMemory> {
    let space = output.space(MAX_HEADER + payload.len())?;
    let length = header.put(space);
    let target = &mut space[length..length + payload.len()];
    match header.masking_key {
        None => target.copy_from_slice(payload),
        Some(key) => mask::copy(key, payload, target),
    }
    output.commit(length + payload.len());
    Ok(())
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}
