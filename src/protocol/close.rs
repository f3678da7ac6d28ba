//! The body of the close frame (RFC 6455 section 5.5.1). Does not know when one is sent.

use super::close_code::CloseCode;
use super::error::{ProtocolError, SendError, Text};
use super::frame::MAX_CONTROL_PAYLOAD;
use super::utf8;

/// The body of a close frame that may be on the wire. The default is an empty one.
///
/// ```
/// use luws::protocol::close::CloseFrame;
/// use luws::protocol::close_code::CloseCode;
///
/// let frame = CloseFrame::new(CloseCode::GOING_AWAY, "bye")?;
/// assert_eq!(frame.payload(), b"\x03\xe9bye");
/// assert_eq!(CloseFrame::parse(b"\x03\xe9bye", true)?, frame);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloseFrame {
    code: Option<CloseCode>,
    /// UTF-8, unless the connection does not validate it.
    reason: Vec<u8>,
}

impl CloseFrame {
    /// The code; `None` if the frame is empty.
    #[must_use]
    pub fn code(&self) -> Option<CloseCode> {
        self.code
    }

    #[must_use]
    pub fn reason(&self) -> &[u8] {
        &self.reason
    }

    /// The reply to this one: the same code (section 5.5.1).
    pub(super) fn echo(&self) -> Self {
        Self { code: self.code, reason: Vec::new() }
    }

    /// A close frame to be sent. The caller has made sure that the reason is UTF-8.
    ///
    /// # Errors
    /// [`SendError::Close`] if code and reason do not fit into a control frame (the reason may have 123 bytes).
    pub fn new(code: CloseCode, reason: impl AsRef<[u8]>) -> Result<Self, SendError> {
        let reason = reason.as_ref();
        if reason.len() > MAX_CONTROL_PAYLOAD - 2 {
            return Err(SendError::Close(format!(
                "the reason has {} bytes (at most {})",
                reason.len(),
                MAX_CONTROL_PAYLOAD - 2
            )));
        }
        Ok(Self { code: Some(code), reason: reason.to_owned() })
    }

    /// A close frame that tells the peer about an error, with the reason truncated to fit.
    pub(super) fn about(code: CloseCode, mut reason: String) -> Self {
        let mut length = reason.len().min(MAX_CONTROL_PAYLOAD - 2);
        while !reason.is_char_boundary(length) {
            length -= 1;
        }
        reason.truncate(length);
        Self { code: Some(code), reason: reason.into_bytes() }
    }

    /// The body of a close frame that the peer sent.
    ///
    /// # Errors
    /// 1002 for a body of one byte or over 125, or a code that may not be on the wire, 1007 for a reason that
    /// is not UTF-8, if that is validated.
    pub fn parse(payload: &[u8], validate_utf8: bool) -> Result<Self, ProtocolError> {
        if payload.len() > MAX_CONTROL_PAYLOAD {
            return Err(ProtocolError::ControlTooLong);
        }
        let [high, low, reason @ ..] = payload else {
            let result =
                if payload.is_empty() { Ok(Self::default()) } else { Err(ProtocolError::CloseBodyTooShort) };
            return result;
        };
        let number = u16::from_be_bytes([*high, *low]);
        let code = CloseCode::new(number).ok_or(ProtocolError::InvalidCloseCode(number))?;
        if validate_utf8 && !utf8::is_valid(reason) {
            return Err(ProtocolError::NotUtf8(Text::CloseReason));
        }
        Ok(Self { code: Some(code), reason: reason.to_owned() })
    }

    /// The body as it goes on the wire.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        match self.code {
            None => Vec::new(),
            Some(code) => [&code.get().to_be_bytes(), self.reason.as_slice()].concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_as_they_are_written() {
        // Invalid ones are in spec/vectors.
        for (frame, payload) in [
            (CloseFrame::default(), &b""[..]),
            (CloseFrame::new(CloseCode::NORMAL_CLOSURE, "").unwrap(), b"\x03\xe8"),
            (CloseFrame::new(CloseCode::NORMAL_CLOSURE, "bye").unwrap(), b"\x03\xe8bye"),
        ] {
            assert_eq!(frame.payload(), payload);
            assert_eq!(CloseFrame::parse(payload, true), Ok(frame));
        }
    }

    #[test]
    fn reasons_fit_a_control_frame() {
        let normal = |reason: String| CloseFrame::new(CloseCode::NORMAL_CLOSURE, &reason);
        assert_eq!(normal("x".repeat(123)).unwrap().payload().len(), 125);
        assert!(normal("x".repeat(124)).is_err());
        let long = CloseFrame::about(CloseCode::PROTOCOL_ERROR, "€".repeat(50));
        assert_eq!(long.reason, "€".repeat(41).as_bytes());
    }
}
