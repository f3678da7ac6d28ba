//! A byte queue that is filled at its end and consumed at its start, without copying per message.
//!
//! Both queues of a connection are of this type: what has come from the peer and has not been
//! interpreted yet, and what is to go to the peer and has not been written yet. It knows nothing
//! of what the bytes mean.

/// An empty buffer keeps this many bytes of storage for the next use and gives back what is above
/// it, so that one large message does not pin its memory for the life of the connection.
pub const KEEP: usize = 4 * 1024 * 1024;

/// A buffer that has given back what it borrowed has no more storage of its own than this, unless it holds more bytes.
const IDLE: usize = 1024;

/// The bytes `start..end` of `storage` are the queue. `storage` is always initialised to its whole
/// length, so that a socket may write into the free end of it.
#[derive(Debug, Default)]
pub struct Buffer {
    storage: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// The number of bytes in the queue.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The queue, oldest byte first.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.storage[self.start..self.end]
    }

    /// The queue, to be changed in place (unmasking).
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.end]
    }

    /// Takes the oldest `count` bytes off the queue.
    ///
    /// `count` is never more than [`len`](Self::len); if it were, the queue would just be empty.
    pub fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
            if self.storage.len() > KEEP {
                self.storage = Vec::new();
            }
        }
    }

    /// Free space of exactly `count` bytes after the queue, for a reader to fill; what was filled
    /// is then made part of the queue by [`commit`](Self::commit).
    pub fn space(&mut self, count: usize) -> &mut [u8] {
        if self.storage.len() - self.end < count && self.start > 0 {
            self.storage.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let wanted = self.end + count;
        if self.storage.len() < wanted {
            // Doubling keeps a queue that grows by small pieces linear in its bytes.
            let length = wanted.max(self.storage.len().saturating_mul(2).min(wanted.saturating_mul(2)));
            self.storage.resize(length, 0);
        }
        &mut self.storage[self.end..wanted]
    }

    /// Makes the first `count` bytes of the last [`space`](Self::space) part of the queue.
    pub fn commit(&mut self, count: usize) {
        self.end = (self.end + count).min(self.storage.len());
    }

    /// Appends a copy of `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.space(bytes.len()).copy_from_slice(bytes);
        self.commit(bytes.len());
    }

    /// Takes `spare` for its storage, if that is the larger one and there is little in the queue. So buffers that are
    /// used in turn need large storage only once. `spare` must be initialised to its whole length, as what is given
    /// back is.
    pub fn borrow(&mut self, spare: &mut Vec<u8>) {
        let held = self.len();
        if held > IDLE || self.storage.len() >= spare.len() {
            return;
        }
        spare[..held].copy_from_slice(self.as_slice());
        std::mem::swap(&mut self.storage, spare);
        (self.start, self.end) = (0, held);
    }

    /// Of a queue that is empty: takes `storage`, whose first `count` bytes are in it then, and leaves its own.
    pub fn exchange(&mut self, storage: &mut Vec<u8>, count: usize) {
        debug_assert!(self.is_empty());
        std::mem::swap(&mut self.storage, storage);
        (self.start, self.end) = (0, count.min(self.storage.len()));
    }

    /// Makes its storage the spare one, whether it was borrowed or has grown, unless there is much in the queue. A
    /// little moves to storage of its own.
    pub fn give_back(&mut self, spare: &mut Vec<u8>) {
        if self.storage.len() <= IDLE || self.len() > IDLE {
            return;
        }
        // What is spare is its own that it had before, or another's.
        let own = if self.is_empty() && spare.len() <= IDLE {
            std::mem::take(spare)
        } else {
            self.as_slice().to_vec()
        };
        let end = self.len();
        let storage = std::mem::replace(self, Self { storage: own, start: 0, end }).storage;
        if spare.len() < storage.len() {
            *spare = storage;
        }
    }

    /// Forgets everything after the oldest `count` bytes.
    pub fn truncate(&mut self, count: usize) {
        self.end = self.end.min(self.start + count);
    }

    /// Forgets everything in the queue.
    pub fn clear(&mut self) {
        self.consume(self.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_across_compaction_and_growth() {
        let mut buffer = Buffer::default();
        let mut expected = std::collections::VecDeque::new();
        let mut next = 0_u8;
        for step in 0..500_usize {
            let bytes: Vec<u8> = (0..step % 37)
                .map(|_| {
                    next = next.wrapping_add(1);
                    next
                })
                .collect();
            buffer.extend(&bytes);
            expected.extend(bytes);
            let take = (step * 7 % 41).min(buffer.len());
            assert!(buffer.as_slice()[..take].iter().eq(expected.iter().take(take)));
            buffer.consume(take);
            expected.drain(..take);
        }
        assert!(buffer.as_slice().iter().eq(expected.iter()));
    }

    #[test]
    fn gives_back_the_storage_of_a_large_message() {
        let mut buffer = Buffer::default();
        buffer.extend(&vec![7; KEEP + 1]);
        buffer.consume(KEEP + 1);
        assert_eq!(buffer.storage.len(), 0);
        buffer.extend(&vec![7; KEEP]);
        buffer.consume(KEEP);
        assert_eq!(buffer.storage.len(), KEEP);
    }

    #[test]
    fn borrows_storage_and_gives_it_back() {
        let mut spare = vec![0; 8192];
        let (mut one, mut other) = (Buffer::default(), Buffer::default());
        one.extend(b"be");
        one.borrow(&mut spare);
        assert_eq!((one.as_slice(), one.storage.len()), (&b"be"[..], 8192));
        one.extend(b"ginning");
        other.borrow(&mut spare);
        other.extend(b"other");
        one.consume(2);
        one.give_back(&mut spare);
        assert_eq!((one.as_slice(), one.storage.len(), spare.len()), (&b"ginning"[..], 7, 8192));
        // What is long stays where it is.
        other.extend(&[7; 2 * IDLE]);
        other.give_back(&mut spare);
        assert_eq!(other.len(), 5 + 2 * IDLE);
        other.clear();
        other.give_back(&mut spare);
        assert!(other.storage.len() <= IDLE && spare.len() == 8192);
        assert_eq!(one.as_slice(), b"ginning");
    }

    #[test]
    fn exchanges_storage_that_was_filled() {
        let (mut buffer, mut storage) = (Buffer::default(), b"filled, and more".to_vec());
        buffer.extend(b"own");
        buffer.consume(3);
        buffer.exchange(&mut storage, 6);
        assert_eq!((buffer.as_slice(), storage.len()), (&b"filled"[..], 3));
        buffer.extend(b" up");
        assert_eq!(buffer.as_slice(), b"filled up");
    }
}
