//! The two ends of a connection. Knows nothing of what they do.

/// Which end of the connection this is (RFC 6455 section 1.2). The two differ in who masks
/// (section 5.1) and in their halves of the opening handshake (section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}
