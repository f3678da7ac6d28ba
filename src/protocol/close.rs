//! Close codes and the body of the close frame (RFC 6455 sections 5.5.1 and 7.4).

use std::fmt;

use super::error::{ProtocolError, SendError};
use super::frame::MAX_CONTROL_PAYLOAD;

/// A close status code (section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl CloseCode {
    pub const NORMAL: Self = Self(1000);
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// Never on the wire: the close frame had no code.
    pub const NO_STATUS: Self = Self(1005);
    /// Never on the wire: there was no close frame.
    pub const ABNORMAL: Self = Self(1006);
    pub const INVALID_PAYLOAD: Self = Self(1007);
    pub const TOO_BIG: Self = Self(1009);

    /// Whether the code may stand in a close frame: those that section 7.4.1 and the registry of
    /// section 11.7 define for it, and the ranges for libraries and applications (section 7.4.2).
    #[must_use]
    pub fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The body of a close frame: one that may be on the wire. The default is the empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloseFrame {
    code: Option<CloseCode>,
    reason: String,
}

impl CloseFrame {
    /// `None`: the frame is empty.
    #[must_use]
    pub fn code(&self) -> Option<CloseCode> {
        self.code
    }

    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The answer to this one: the same code (section 5.5.1).
    pub(crate) fn echo(&self) -> Self {
        Self { code: self.code, reason: String::new() }
    }

    /// A close frame to be sent.
    ///
    /// # Errors
    /// [`SendError::Close`] if the code may not be sent, or if code and reason do not fit into a
    /// control frame (the reason has at most 123 bytes).
    pub fn new(code: CloseCode, reason: &str) -> Result<Self, SendError> {
        if !code.may_be_sent() {
            return Err(SendError::Close(format!("code {code} may not be sent")));
        }
        if reason.len() > MAX_CONTROL_PAYLOAD - 2 {
            return Err(SendError::Close(format!(
                "the reason has {} bytes, {} are the most",
                reason.len(),
                MAX_CONTROL_PAYLOAD - 2
            )));
        }
        Ok(Self { code: Some(code), reason: reason.to_owned() })
    }

    /// A close frame about an error of the peer's, its reason cut to what fits.
    pub(crate) fn about(error: &ProtocolError) -> Self {
        let mut reason = error.to_string();
        let mut length = reason.len().min(MAX_CONTROL_PAYLOAD - 2);
        while !reason.is_char_boundary(length) {
            length -= 1;
        }
        reason.truncate(length);
        Self { code: Some(error.code), reason }
    }

    /// The body of a close frame that the peer sent.
    ///
    /// # Errors
    /// 1002 for a body of one byte or over 125, or a code that may not be on the wire, 1007 for a reason that
    /// is not UTF-8.
    pub fn parse(payload: &[u8]) -> Result<Self, ProtocolError> {
        if payload.len() > MAX_CONTROL_PAYLOAD {
            return Err(ProtocolError::framing("control frame over 125 bytes"));
        }
        let [high, low, reason @ ..] = payload else {
            return if payload.is_empty() {
                Ok(Self::default())
            } else {
                Err(ProtocolError::framing("close frame with a body of one byte"))
            };
        };
        let code = CloseCode(u16::from_be_bytes([*high, *low]));
        if !code.may_be_sent() {
            return Err(ProtocolError::framing(format!("invalid close code {code}")));
        }
        match simdutf8::basic::from_utf8(reason) {
            Ok(reason) => Ok(Self { code: Some(code), reason: reason.to_owned() }),
            Err(_) => Err(ProtocolError::not_utf8("close reason")),
        }
    }

    /// The body as it goes on the wire.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        match self.code {
            None => Vec::new(),
            Some(code) => [&code.0.to_be_bytes(), self.reason.as_bytes()].concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_on_the_wire() {
        // Section 7.4.1, 7.4.2 and the registry of 11.7.
        for code in
            [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
        {
            assert!(CloseCode(code).may_be_sent(), "{code}");
        }
        for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert!(!CloseCode(code).may_be_sent(), "{code}");
        }
    }

    #[test]
    fn bodies() {
        let parsed = |payload: &[u8]| CloseFrame::parse(payload).map_err(|e| (e.code.0, e.to_string()));
        assert_eq!(parsed(b""), Ok(CloseFrame::default()));
        let normal = CloseFrame::new(CloseCode::NORMAL, "bye").unwrap();
        assert_eq!(normal.payload(), b"\x03\xe8bye");
        assert_eq!(parsed(b"\x03\xe8bye"), Ok(normal));
        assert_eq!(parsed(b"\x03"), Err((1002, "close frame with a body of one byte".into())));
        assert_eq!(parsed(b"\x03\xed"), Err((1002, "invalid close code 1005".into())));
        assert_eq!(parsed(b"\x03\xe8\xff"), Err((1007, "close reason is not valid UTF-8".into())));
    }

    #[test]
    fn reasons_fit_a_control_frame() {
        assert_eq!(CloseFrame::new(CloseCode::NORMAL, &"x".repeat(123)).unwrap().payload().len(), 125);
        assert!(CloseFrame::new(CloseCode::NORMAL, &"x".repeat(124)).is_err());
        let long = ProtocolError::framing("€".repeat(50));
        assert_eq!(CloseFrame::about(&long).reason, "€".repeat(41));
    }
}
