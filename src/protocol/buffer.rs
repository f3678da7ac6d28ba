//! A byte queue that is filled at its end and consumed at its start, without a copy per message.
//!
//! Both queues of a connection are of this type: received bytes that have not been interpreted yet, and bytes that have
//! not been written yet. Knows nothing of what the bytes mean.

use crate::memory::{self, OutOfMemory};

/// An empty buffer keeps at most this many bytes of storage for the next use, so that one large message does not hold
/// its memory for the life of the connection.
pub const KEEP: usize = 4 * 1024 * 1024;

/// A buffer that has given back its storage keeps at most this many bytes of its own, unless it holds more data.
const IDLE: usize = 1024;

/// The queue is the bytes `start..end` of `storage`. `storage` is always initialised up to its length, so that a socket
/// can write into its free end.
///
/// ```
/// use luws::protocol::buffer::Buffer;
///
/// let mut buffer = Buffer::default();
/// buffer.extend(b"abc")?;
/// assert_eq!(buffer.len(), 3);
/// # Ok::<_, luws::memory::OutOfMemory>(())
/// ```
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

    /// The queue, to be modified in place (unmasking).
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.end]
    }

    /// Removes the oldest `count` bytes from the queue.
    ///
    /// `count` should not be more than [`len`](Self::len); if it is, the queue becomes empty.
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

    /// Free space of exactly `count` bytes after the queue, for a reader to fill; [`commit`](Self::commit) then makes
    /// the filled part of it part of the queue.
    ///
    /// # Errors
    /// There is no memory. The queue is unchanged.
    pub fn space(&mut self, count: usize) -> Result<&mut [u8], OutOfMemory> {
        if self.storage.len() - self.end < count && self.start > 0 {
            self.storage.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let wanted = self.end.checked_add(count).ok_or(OutOfMemory)?;
        if self.storage.len() < wanted {
            self.grow(wanted)?;
        }
        Ok(&mut self.storage[self.end..wanted])
    }

    /// Makes the storage longer: at least `wanted` bytes. Not inlined, because it seldom is needed.
    #[inline(never)]
    fn grow(&mut self, wanted: usize) -> Result<(), OutOfMemory> {
        // Doubling keeps the cost linear for a queue that grows in small pieces.
        let before = self.storage.len();
        let doubled = wanted.max(before.saturating_mul(2));
        memory::reserve(&mut self.storage, doubled - before)
            .or_else(|_| memory::reserve(&mut self.storage, wanted - before))?;
        self.storage.resize(doubled.min(self.storage.capacity()), 0);
        Ok(())
    }

    /// Makes the first `count` bytes of the last [`space`](Self::space) part of the queue.
    pub fn commit(&mut self, count: usize) {
        self.end = (self.end + count).min(self.storage.len());
    }

    /// Appends a copy of `bytes`.
    ///
    /// # Errors
    /// There is no memory. The queue is unchanged.
    pub fn extend(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        self.space(bytes.len())?.copy_from_slice(bytes);
        self.commit(bytes.len());
        Ok(())
    }

    /// Takes `spare` as its storage, if that is larger and there is little in the queue. So buffers that are used in
    /// turn need large storage only once. `spare` must be initialised up to its length, as storage given back is.
    pub fn borrow(&mut self, spare: &mut Vec<u8>) {
        let held = self.len();
        if held > IDLE || self.storage.len() >= spare.len() {
            return;
        }
        spare[..held].copy_from_slice(self.as_slice());
        std::mem::swap(&mut self.storage, spare);
        (self.start, self.end) = (0, held);
    }

    /// Swaps the storage of an empty queue for `storage`, whose first `count` bytes become the queue.
    pub fn exchange(&mut self, storage: &mut Vec<u8>, count: usize) {
        debug_assert!(self.is_empty());
        std::mem::swap(&mut self.storage, storage);
        (self.start, self.end) = (0, count.min(self.storage.len()));
    }

    /// Gives its storage away as the spare one, whether it was borrowed or has grown, unless the queue fills much of
    /// it. What is in the queue is moved to storage of its own. So a peer that sends little and then waits holds
    /// little. If there is no memory for that, it keeps what it has.
    pub fn give_back(&mut self, spare: &mut Vec<u8>) {
        if self.storage.len() <= IDLE || self.len() > IDLE.max(self.storage.len() / 2) {
            return;
        }
        // The spare storage may be the small one that this buffer had before, or another's.
        let own = if self.is_empty() && spare.len() <= IDLE {
            std::mem::take(spare)
        } else {
            let Ok(copy) = memory::copy(self.as_slice()) else { return };
            copy
        };
        let end = self.len();
        let storage = std::mem::replace(self, Self { storage: own, start: 0, end }).storage;
        if spare.len() < storage.len() {
            *spare = storage;
        }
    }

    /// Drops everything after the oldest `count` bytes.
    pub fn truncate(&mut self, count: usize) {
        self.end = self.end.min(self.start + count);
    }

    /// Drops everything in the queue.
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
            buffer.extend(&bytes).unwrap();
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
        buffer.extend(&vec![7; KEEP + 1]).unwrap();
        buffer.consume(KEEP + 1);
        assert_eq!(buffer.storage.len(), 0);
        buffer.extend(&vec![7; KEEP]).unwrap();
        buffer.consume(KEEP);
        assert_eq!(buffer.storage.len(), KEEP);
    }

    #[test]
    fn borrows_storage_and_gives_it_back() {
        let mut spare = vec![0; 8192];
        let (mut one, mut other) = (Buffer::default(), Buffer::default());
        one.extend(b"be").unwrap();
        one.borrow(&mut spare);
        assert_eq!((one.as_slice(), one.storage.len()), (&b"be"[..], 8192));
        one.extend(b"ginning").unwrap();
        other.borrow(&mut spare);
        other.extend(b"other").unwrap();
        one.consume(2);
        one.give_back(&mut spare);
        assert_eq!((one.as_slice(), one.storage.len(), spare.len()), (&b"ginning"[..], 7, 8192));
        // A queue that fills its storage stays where it is.
        other.extend(&[7; 2 * IDLE]).unwrap();
        other.give_back(&mut spare);
        assert_eq!((other.len(), spare.len()), (5 + 2 * IDLE, 8192));
        other.clear();
        other.give_back(&mut spare);
        assert!(other.storage.len() <= IDLE && spare.len() == 8192);
        assert_eq!(one.as_slice(), b"ginning");
    }

    #[test]
    fn keeps_no_more_storage_than_twice_what_is_in_it() {
        for length in [IDLE + 1, 4000, 4096] {
            let mut spare = vec![0; 8192];
            let mut buffer = Buffer::default();
            buffer.borrow(&mut spare);
            buffer.extend(&[7; 4100]).unwrap();
            buffer.consume(4100 - length);
            buffer.give_back(&mut spare);
            assert_eq!((buffer.len(), buffer.storage.len(), spare.len()), (length, length, 8192));
        }
    }

    #[test]
    fn exchanges_storage_that_was_filled() {
        let (mut buffer, mut storage) = (Buffer::default(), b"filled, and more".to_vec());
        buffer.extend(b"own").unwrap();
        buffer.consume(3);
        buffer.exchange(&mut storage, 6);
        assert_eq!((buffer.as_slice(), storage.len()), (&b"filled"[..], 3));
        buffer.extend(b" up").unwrap();
        assert_eq!(buffer.as_slice(), b"filled up");
    }
}
