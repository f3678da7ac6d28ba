//! How much of the data of sent messages has not left yet: their own bytes, without what frames, compression and TLS
//! make of them. Knows positions in the two streams of a session, and nothing of what is at them.

use std::collections::VecDeque;

/// Data that has left once its stream has come to a position.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    end: u64,
    data: usize,
}

/// Marks in the order of their positions. However small the messages are, their marks take less memory than their
/// frames: those after the first are the distance from the one before and the data, as numbers in pieces of 7 bits.
#[derive(Debug, Default)]
struct Marks {
    /// Most messages leave before the next one. Without data there is none.
    first: Mark,
    others: VecDeque<u8>,
    /// The end of the last one.
    end: u64,
}

/// The most octets of two numbers.
const LONGEST: usize = 20;

/// Room for this many octets is kept while there are no others than the first.
const KEPT: usize = 512;

impl Marks {
    #[inline]
    fn push(&mut self, mark: Mark) {
        if self.first.data == 0 {
            (self.first, self.end) = (mark, mark.end);
        } else {
            self.push_other(mark);
        }
    }

    #[inline(never)]
    fn push_other(&mut self, mark: Mark) {
        if self.others.try_reserve(LONGEST).is_ok() {
            self.put(mark.end - self.end);
            self.put(mark.data as u64);
        } else {
            // Without memory they count as one.
            self.first = Mark { end: mark.end, data: self.take(u64::MAX) + mark.data };
        }
        self.end = mark.end;
    }

    /// Takes the marks up to a position. Returns their data.
    #[inline]
    fn take(&mut self, position: u64) -> usize {
        let Mark { end, data } = self.first;
        if data == 0 || end > position {
            return 0;
        }
        if self.others.is_empty() {
            self.first = Mark::default();
            return data;
        }
        self.take_others(position)
    }

    #[inline(never)]
    fn take_others(&mut self, position: u64) -> usize {
        let mut data = 0;
        while self.first.data > 0 && self.first.end <= position {
            data += self.first.data;
            self.first = Mark { end: self.first.end + self.get(), data: self.get() as usize };
        }
        if self.others.is_empty() && self.others.capacity() > KEPT {
            self.others = VecDeque::new();
        }
        data
    }

    fn put(&mut self, mut number: u64) {
        while number > 0x7f {
            self.others.push_back(number as u8 | 0x80);
            number >>= 7;
        }
        self.others.push_back(number as u8);
    }

    /// The next number; 0 if there is none.
    fn get(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        while let Some(octet) = self.others.pop_front() {
            number |= u64::from(octet & 0x7f) << shift;
            shift += 7;
            if octet < 0x80 {
                break;
            }
        }
        number
    }
}

/// The data that has not left yet. With TLS, a message leaves the plaintext first, and then the ciphertext.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    /// The bytes of plaintext that were taken from the queue of frames.
    taken: u64,
    plain: Marks,
    encrypted: Marks,
    total: usize,
}

impl Unsent {
    /// Notes a message or a fragment with this much data, whose frames end where the queue of `waiting` bytes ends now.
    #[inline]
    pub(super) fn note(&mut self, data: usize, waiting: usize) {
        if data > 0 {
            self.total += data;
            self.plain.push(Mark { end: self.taken + waiting as u64, data });
        }
    }

    /// Takes `count` bytes of plaintext. Returns the data of the messages that have left it.
    #[inline]
    fn take(&mut self, count: usize) -> usize {
        self.taken += count as u64;
        self.plain.take(self.taken)
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
        self.total -= self.encrypted.take(position);
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
    fn each_message_counts_by_itself_whatever_its_size() {
        let sizes = [1, 125, 126, 1 << 14, 3, usize::MAX >> 8, 1 << 31, 1];
        let mut unsent = Unsent::default();
        let (mut end, mut left) = (0, 0);
        for data in sizes {
            end += data + 14;
            unsent.note(data, end);
            left += data;
        }
        for data in sizes {
            unsent.left(data + 13);
            assert_eq!(unsent.total(), left);
            unsent.left(1);
            left -= data;
            assert_eq!(unsent.total(), left);
        }
    }

    #[test]
    fn small_messages_take_two_octets_each_and_what_the_queue_grows_ahead() {
        const COUNT: usize = 100_000;
        let mut unsent = Unsent::default();
        for number in 1..=COUNT {
            unsent.note(1, 3 * number);
        }
        assert_eq!(unsent.total(), COUNT);
        assert!(unsent.plain.others.capacity() <= 2 * 2 * COUNT);
        unsent.left(3 * COUNT);
        assert_eq!(unsent.total(), 0);
        assert!(unsent.plain.others.capacity() <= KEPT);
    }
}
