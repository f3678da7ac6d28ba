//! How much of the data of sent messages has not left yet: their own bytes, without what frames, compression and TLS
//! make of them. Knows positions in the two streams of a session, and nothing of what is at them.

use std::collections::VecDeque;

/// Data that has left once its stream has come to a position.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    end: u64,
    data: usize,
}

/// Marks in the order of their positions.
#[derive(Debug, Default)]
struct Marks(VecDeque<Mark>);

impl Marks {
    #[inline(never)]
    fn push(&mut self, mark: Mark) {
        if self.0.len() == self.0.capacity() && self.0.try_reserve(1).is_err() {
            // Without memory the last messages count as one.
            if let Some(last) = self.0.back_mut() {
                *last = Mark { end: mark.end, data: last.data + mark.data };
            }
            return;
        }
        self.0.push_back(mark);
    }

    /// Takes the marks up to a position. Returns their data.
    #[inline(never)]
    fn take(&mut self, position: u64) -> usize {
        let mut data = 0;
        while let Some(mark) = self.0.front().filter(|mark| mark.end <= position) {
            data += mark.data;
            self.0.pop_front();
        }
        if data > 0 && self.0.is_empty() && self.0.capacity() > KEPT {
            self.0 = VecDeque::new();
        }
        data
    }
}

/// Room for this many marks is kept while there are none.
const KEPT: usize = 64;

/// The data that has not left yet. With TLS, a message leaves the plaintext first, and then the ciphertext.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    /// The bytes of plaintext that were taken from the queue of frames.
    taken: u64,
    /// The first message whose plaintext has not left; without data if there is none. Most leave before the next one.
    first: Mark,
    /// Those after it.
    plain: Marks,
    encrypted: Marks,
    total: usize,
}

impl Unsent {
    /// Notes a message or a fragment with this much data, whose frames end where the queue of `waiting` bytes ends now.
    #[inline]
    pub(super) fn note(&mut self, data: usize, waiting: usize) {
        if data == 0 {
            return;
        }
        let mark = Mark { end: self.taken + waiting as u64, data };
        self.total += data;
        if self.first.data == 0 {
            self.first = mark;
        } else {
            self.plain.push(mark);
        }
    }

    /// Takes `count` bytes of plaintext. Returns the data of the messages that have left it.
    #[inline]
    fn take(&mut self, count: usize) -> usize {
        self.taken += count as u64;
        let Mark { end, data } = self.first;
        if data == 0 || end > self.taken {
            return 0;
        }
        self.first = Mark::default();
        if self.plain.0.is_empty() {
            return data;
        }
        let more = self.plain.take(self.taken);
        self.first = self.plain.0.pop_front().unwrap_or_default();
        data + more
    }

    /// Notes that `count` bytes of plaintext have left for the wire.
    #[inline]
    pub(super) fn left(&mut self, count: usize) {
        self.total -= self.take(count);
    }

    /// Notes that `count` bytes of plaintext were encrypted; the ciphertext ends at this position on the wire. What was
    /// encrypted at once counts as one.
    pub(super) fn encrypted(&mut self, count: usize, end: u64) {
        let data = self.take(count);
        if data > 0 {
            self.encrypted.push(Mark { end, data });
        }
    }

    /// Notes that the wire has taken everything up to this position.
    #[inline]
    pub(super) fn written(&mut self, position: u64) {
        if !self.encrypted.0.is_empty() {
            self.total -= self.encrypted.take(position);
        }
    }

    /// The bytes of data.
    pub(super) fn total(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT, Unsent};

    #[test]
    fn a_message_counts_until_its_last_byte_has_left() {
        let mut unsent = Unsent::default();
        unsent.note(10, 16);
        unsent.note(5, 27);
        assert_eq!(unsent.total(), 15);
        for (count, total) in [(15, 15), (1, 5), (10, 5), (1, 0)] {
            unsent.left(count);
            assert_eq!(unsent.total(), total);
        }
        unsent.note(0, 6); // an empty message has no data
        assert_eq!(unsent.total(), 0);
    }

    #[test]
    fn with_tls_it_counts_until_the_ciphertext_has_left() {
        let mut unsent = Unsent::default();
        unsent.note(10, 16);
        unsent.encrypted(16, 138);
        unsent.note(20, 26);
        assert_eq!(unsent.total(), 30);
        unsent.written(137);
        assert_eq!(unsent.total(), 30);
        unsent.written(138);
        assert_eq!(unsent.total(), 20);
        unsent.encrypted(13, 200);
        unsent.written(200);
        assert_eq!(unsent.total(), 20);
        unsent.encrypted(13, 260);
        unsent.written(260);
        assert_eq!(unsent.total(), 0);
    }

    #[test]
    fn it_keeps_little_room_once_all_has_left() {
        let mut unsent = Unsent::default();
        for number in 1..=10 * KEPT {
            unsent.note(1, 7 * number);
        }
        assert_eq!(unsent.total(), 10 * KEPT);
        unsent.left(70 * KEPT);
        assert_eq!(unsent.total(), 0);
        assert!(unsent.plain.0.capacity() <= KEPT);
    }
}
