//! The settings of a connection, whichever part of it they are for.

use super::deflate;
use super::spare::Spares;

/// The settings of a connection.
///
/// ```
/// use luws::protocol::connection::Config;
/// use luws::protocol::deflate;
///
/// let config = Config {
///     max_message_size: 1024 * 1024,
///     deflate: Some(deflate::Options::default()),
///     ..Config::default()
/// };
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// The largest message in bytes; a larger one fails the connection with 1009.
    pub max_message_size: usize,
    /// Whether a client masks its frames. RFC 6455 section 5.1 requires it; some private servers do without. A server
    /// never masks.
    pub use_masking: bool,
    /// Messages of more bytes than this are sent in fragments of this size; 0 for never.
    pub fragment_size: usize,
    /// Whether text messages and the reasons of close frames must be UTF-8, in both directions. RFC 6455 sections 5.6
    /// and 8.1 require it; some devices send ISO 8859-1.
    pub validate_utf8: bool,
    /// Whether received payload lengths may be longer than their shortest form, which section 5.2 forbids senders.
    pub allow_long_lengths: bool,
    /// The permessage-deflate parameters to offer (client) or to accept (server); `None` for no compression.
    pub deflate: Option<deflate::Options>,
    /// What it compresses and inflates with, if it keeps no window between messages and shares that with others.
    pub spares: Spares,
    /// A seed for the nonce and the masking keys, instead of the system's generator. For tests only: a peer must not be
    /// able to predict them (section 10.3).
    pub seed: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_message_size: 65535,
            use_masking: true,
            fragment_size: 0,
            validate_utf8: true,
            allow_long_lengths: false,
            deflate: None,
            spares: Spares::default(),
            seed: None,
        }
    }
}
