//! The events of an open connection, as its user sees them. Knows nothing of how they are found.

use super::close::CloseFrame;
use super::frame::Opcode;

/// What the peer did. The data is borrowed from the connection: use it before the next call.
///
/// See [`Connection`](super::connection::Connection) or [`Session`](crate::session::Session) for an example.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A complete message: text (then `data` is UTF-8) or binary.
    Message {
        opcode: Opcode,
        data: &'a [u8],
    },
    /// A message begins, if messages are announced
    /// ([`Connection::set_announce`](super::connection::Connection::set_announce)). It will be one event when it is
    /// complete, or pieces as they come, if
    /// [`Connection::stream_message`](super::connection::Connection::stream_message) is called now.
    Begin(Opcode),
    /// The next piece of a streamed message, of at most about 100 KiB; the last one may be empty. The pieces of a text
    /// are UTF-8 together, not each by itself.
    Piece {
        data: &'a [u8],
        last: bool,
    },
    /// No event yet, but there is more input to interpret: frames without data, or data that inflates to a lot. The
    /// caller may do something else before the next call.
    Working,
    /// Requires a pong with the same payload (section 5.5.2), which the caller sends.
    Ping(&'a [u8]),
    Pong(&'a [u8]),
    /// The last event of a connection. Requires a close frame in reply, which the caller sends
    /// ([`Connection::reply_close`](super::connection::Connection::reply_close)).
    Close(&'a CloseFrame),
}
