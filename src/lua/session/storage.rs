//! The storage that the sessions of a Lua state share. A session borrows it to read, or to send large messages, and
//! gives it back when everything is interpreted or sent. So it exists once, and an idle connection has none.
//!
//! Tracks which parts are used, and frees those that have not been used for a while.

use crate::memory;
use crate::net::coarse_clock;
use crate::session::{BytesRead, Session, Storage};

/// The largest read if the user has not set `receive_chunk_size`, in bytes.
pub(super) const LARGEST_READ: usize = 256 * 1024;

/// Besides the bytes of a read, a queue may hold the beginning of a header or of a control frame.
const INPUT: usize = LARGEST_READ + 4096;

/// Messages below this size are sent from each session's own storage, in bytes.
const SMALL: usize = 512;

/// Messages from this size on are a reason to keep storage for the next one, in bytes.
const LARGE: usize = 16 * 1024;

/// Storage for large messages is freed when it has not been used for this long, in seconds.
const IDLE: f64 = 1.0;

/// The clock is read once in this many polls that find nothing.
const POLLS: u32 = 64;

#[derive(Debug, Default)]
pub(in crate::lua) struct Shared {
    spare: Storage,
    /// When large messages were last received, and sent, by the coarse clock.
    received: f64,
    sent: f64,
    /// Polls that found nothing since the clock was last read.
    polls: u32,
}

impl Shared {
    /// Lends storage before a read.
    pub(super) fn lend_input(&mut self, session: &mut Session) {
        self.input(); // without memory for it, the session has its own storage grow
        session.borrow_input(&mut self.spare);
    }

    /// [`Session::receive_with`] for a session that [takes plaintext](Session::takes_plain_input): the session borrows
    /// storage only if something was read. Returns `None` if `read` does. Without memory the session fails.
    pub(super) fn read<E>(
        &mut self,
        session: &mut Session,
        size: usize,
        read: impl FnOnce(&mut [u8]) -> Result<Option<usize>, E>,
    ) -> Result<Option<BytesRead>, E> {
        if self.spare.input.len() < size {
            let Ok(storage) = memory::zeros(INPUT.max(size)).or_else(|_| memory::zeros(size)) else {
                return session.receive_with(size, |space| Ok(read(space)?.unwrap_or(0))).map(Some);
            };
            self.spare.input = storage;
        }
        let Some(count) = read(&mut self.spare.input[..size])? else { return Ok(None) };
        Ok(Some(session.receive_storage(&mut self.spare.input, count, size)))
    }

    /// Lends storage after a read that has brought something.
    pub(super) fn lend_message(&mut self, session: &mut Session) {
        session.borrow_message(&mut self.spare);
    }

    /// Takes the input storage back, once everything read is interpreted.
    pub(super) fn take_back(&mut self, session: &mut Session) {
        if session.give_back(&mut self.spare) >= LARGE {
            self.received = coarse_clock();
        }
    }

    /// Counts a read that has brought nothing.
    pub(super) fn note_poll(&mut self) {
        self.polls += 1;
        if self.polls >= POLLS {
            self.tidy(coarse_clock());
        }
    }

    /// Lends storage before a message of this length is sent.
    pub(super) fn lend_output(&mut self, session: &mut Session, length: usize) {
        if length >= SMALL {
            session.borrow_output(&mut self.spare);
            self.sent = coarse_clock();
        }
    }

    /// Takes the output storage back, once everything is sent.
    pub(super) fn take_back_output(&mut self, session: &mut Session) {
        session.give_back_output(&mut self.spare);
    }

    /// The storage for received bytes, which a relay's peer borrows as well.
    pub(in crate::lua) fn input(&mut self) -> &mut Vec<u8> {
        if self.spare.input.is_empty() {
            self.spare.input = memory::zeros(INPUT).unwrap_or_default();
        }
        &mut self.spare.input
    }

    /// Where the peer of a relay gives back its storage for received bytes, and for bytes to be sent.
    pub(in crate::lua) fn queues(&mut self) -> (&mut Vec<u8>, &mut Vec<u8>) {
        (&mut self.spare.input, &mut self.spare.output)
    }

    /// Frees storage that has not been used for a while; `now` is the coarse clock's time.
    pub(super) fn tidy(&mut self, now: f64) {
        self.polls = 0;
        for bytes in [&mut self.spare.input, &mut self.spare.ciphertext] {
            // The larger size was needed for a single read.
            if bytes.len() > 2 * INPUT {
                *bytes = Vec::new();
            }
        }
        if now - self.received > IDLE {
            self.spare.message = Vec::new();
        }
        if now - self.sent > IDLE {
            self.spare.output = Vec::new();
            self.spare.sent_ciphertext = Vec::new();
        }
    }
}
