//! Close codes (RFC 6455 section 7.4). Knows nothing of the frame that carries them.

use std::fmt;

/// A close code that may be in a close frame: defined by section 7.4.1 or the registry of section 11.7, or in one of
/// the ranges for libraries and applications (section 7.4.2).
///
/// ```
/// use luws::protocol::close_code::CloseCode;
///
/// assert_eq!(CloseCode::new(4000).map(CloseCode::get), Some(4000));
/// assert_eq!(CloseCode::new(1006), None); // never in a frame
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    pub const NORMAL_CLOSURE: Self = Self(1000);
    pub const GOING_AWAY: Self = Self(1001);
    pub const PROTOCOL_ERROR: Self = Self(1002);
    pub const INVALID_FRAME_PAYLOAD_DATA: Self = Self(1007);
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    pub const INTERNAL_ERROR: Self = Self(1011);

    /// Reported to an application if the close frame had no code. A plain number, because it may not be sent.
    pub const NO_STATUS_RECEIVED: u16 = 1005;
    /// Reported to an application if there was no close frame. A plain number, because it may not be sent.
    pub const ABNORMAL_CLOSURE: u16 = 1006;

    /// `None` if the code may not be sent.
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number that is not a close code, or one that may not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCloseCode(pub u16);

impl fmt::Display for InvalidCloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {} may not be sent", self.0)
    }
}

impl std::error::Error for InvalidCloseCode {}

impl TryFrom<u16> for CloseCode {
    type Error = InvalidCloseCode;

    fn try_from(code: u16) -> Result<Self, InvalidCloseCode> {
        Self::new(code).ok_or(InvalidCloseCode(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_may_be_sent_exist() {
        // Sections 7.4.1, 7.4.2 and the registry of 11.7.
        for code in
            [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
        {
            assert_eq!(CloseCode::new(code).map(CloseCode::get), Some(code));
        }
        for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert_eq!(CloseCode::new(code), None, "{code}");
        }
    }
}
