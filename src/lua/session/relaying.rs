//! How a relay takes what the peer of a session sends, without Lua.

use super::LuaSession;
use crate::protocol::event::Event as Received;
use crate::session::{Event, Kind};

/// How many events, and how many bytes of data, are taken in one go.
const EVENTS: usize = 256;
const WEIGHT: usize = 256 * 1024;

/// A message is larger than whoever takes it can take.
pub(in crate::lua) struct TooLarge;

/// The reason for which no more was taken.
#[derive(Debug)]
pub(in crate::lua) enum Passed {
    /// More bytes are needed.
    Everything,
    /// There may be more.
    Enough,
    /// Whoever takes it wants no more now.
    Refused,
    /// The peer has closed the connection, and the answer to that is queued.
    Closed,
    /// A message is larger than the limit, or than whoever takes it can take.
    TooLarge,
    /// The session has failed, in these words.
    Failed(String),
    /// Somebody else has ended the connection, or is at work on it.
    Over,
}

impl LuaSession {
    /// Prepares for a relay: whether messages for [`pass_on`](Self::pass_on) that are not complete come in pieces, and
    /// how large one may be. What is sent as text must be UTF-8 from now on.
    pub(in crate::lua) fn prepare_to_pass_on(&self, streams: bool, most: usize) {
        let _ = self.with(|inner| {
            inner.session.set_max_message_size(most);
            if let Some(connection) = inner.session.connection_mut() {
                connection.set_streaming(streams);
                connection.trust_text();
            }
        });
    }

    /// Gives the data of messages to `take` until it returns false or an error; answers pings and the close frame.
    pub(in crate::lua) fn pass_on(&self, mut take: impl FnMut(&[u8]) -> Result<bool, TooLarge>) -> Passed {
        if self.retired.get() {
            return Passed::Over;
        }
        let Some(mut guard) = self.at_rest() else { return Passed::Over };
        let Some(inner) = guard.as_mut() else { return Passed::Over };
        let (heard, mut weight) = (self.heard.get(), 0);
        for _ in 0..EVENTS {
            let session = &mut inner.session;
            let data = match session.next_event() {
                Ok(Some(Event::Received(Received::Message { data, .. } | Received::Piece { data, .. }))) => {
                    data
                }
                Ok(Some(Event::Received(Received::Ping(data)))) => {
                    let payload = data.to_vec();
                    // If the connection is closing, it needs no answer.
                    let _ = session.send_pong(&payload);
                    continue;
                }
                Ok(Some(Event::Received(Received::Pong(data)))) => {
                    let payload = data.to_vec();
                    session.keepalive_answer(&payload, heard);
                    continue;
                }
                Ok(Some(Event::Received(Received::Close(_)))) => {
                    session.reply_close();
                    return Passed::Closed;
                }
                Ok(Some(Event::Received(Received::Working))) => return Passed::Enough,
                // Nothing is announced, and the opening is over.
                Ok(Some(_)) => continue,
                Ok(None) => {
                    self.fresh.set(false);
                    self.context.storage.borrow_mut().take_back(session);
                    return Passed::Everything;
                }
                Err(failure) if failure.kind == Kind::TooBig => return Passed::TooLarge,
                Err(failure) => return Passed::Failed(failure.text),
            };
            weight += data.len();
            match take(data) {
                Ok(true) => {}
                Ok(false) => return Passed::Refused,
                Err(TooLarge) => return Passed::TooLarge,
            }
            if weight >= WEIGHT {
                break;
            }
        }
        Passed::Enough
    }
}
