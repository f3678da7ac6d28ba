//! The storage for which the sessions of a Lua state take turns: who reads, or sends much, borrows it and gives it back
//! when everything is interpreted, or sent. So it exists once, and an idle connection has none.
//!
//! Knows what of it is used, and lets go of what has not been for a while.

use crate::net::coarse_clock;
use crate::session::{BytesRead, Session, Storage};

/// One read takes no more than this where the user has set no `receive_chunk_size`, in bytes.
pub(super) const LARGEST_READ: usize = 256 * 1024;

/// Beside what a read brings, a queue may hold the beginning of a header or of a control frame.
const INPUT: usize = LARGEST_READ + 4096;

/// Messages below this size are sent from storage that each session has of its own, in bytes.
const SMALL: usize = 512;

/// Messages from this size on are a reason to keep storage for the next one, in bytes.
const LARGE: usize = 16 * 1024;

/// Storage for large messages that has not been used for so long is let go, in seconds.
const IDLE: f64 = 1.0;

/// The clock is asked once in so many polls that find nothing.
const POLLS: u32 = 64;

#[derive(Debug, Default)]
pub(in crate::lua) struct Shared {
    spare: Storage,
    /// When large messages were last received, and sent, by the coarse clock.
    received: f64,
    sent: f64,
    /// Polls that found nothing, since the clock was asked.
    polls: u32,
}

impl Shared {
    /// Before a read.
    pub(super) fn lend_input(&mut self, session: &mut Session) {
        if self.spare.input.is_empty() {
            // Pages that are never written to cost nothing.
            self.spare.input = vec![0; INPUT];
        }
        session.borrow_input(&mut self.spare);
    }

    /// [`Session::receive_with`], for a session that [takes plaintext](Session::takes_plain_input): it is lent what was
    /// read, if anything was. `None` if `read` returns that.
    pub(super) fn read<E>(
        &mut self,
        session: &mut Session,
        size: usize,
        read: impl FnOnce(&mut [u8]) -> Result<Option<usize>, E>,
    ) -> Result<Option<BytesRead>, E> {
        if self.spare.input.len() < size {
            self.spare.input = vec![0; INPUT.max(size)];
        }
        let Some(count) = read(&mut self.spare.input[..size])? else { return Ok(None) };
        Ok(Some(session.receive_storage(&mut self.spare.input, count, size)))
    }

    /// After a read that has brought something.
    pub(super) fn lend_message(&mut self, session: &mut Session) {
        session.borrow_message(&mut self.spare);
    }

    /// When nothing that was read is left to be interpreted.
    pub(super) fn take_back(&mut self, session: &mut Session) {
        if session.give_back(&mut self.spare) >= LARGE {
            self.received = coarse_clock();
        }
    }

    /// A read has brought nothing.
    pub(super) fn note_poll(&mut self) {
        self.polls += 1;
        if self.polls >= POLLS {
            self.tidy(coarse_clock());
        }
    }

    /// Before a message of this length is sent.
    pub(super) fn lend_output(&mut self, session: &mut Session, length: usize) {
        if length >= SMALL {
            session.borrow_output(&mut self.spare);
            self.sent = coarse_clock();
        }
    }

    /// When everything is sent.
    pub(super) fn take_back_output(&mut self, session: &mut Session) {
        session.give_back_output(&mut self.spare);
    }

    /// Lets go of what has not been used for a while; `now` is the coarse clock's.
    pub(super) fn tidy(&mut self, now: f64) {
        self.polls = 0;
        for bytes in [&mut self.spare.input, &mut self.spare.ciphertext] {
            // More than that was wanted for once.
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
